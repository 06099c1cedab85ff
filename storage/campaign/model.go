package campaign

import (
	"bytes"
	"fmt"
	"sort"
)

// model is what the store must hold, for every transaction number: each key and object has its history. A transaction
// is recorded while it runs, under the number that it will have; when it runs again, or fails and another takes its
// number, what was recorded under that number is replaced.
type model struct {
	keys    table[[]byte]
	objects table[*object]

	touched []undo // by the transaction of number last, in order
	last    uint64
}

type undo struct{ key, object *history }

// table is the histories of one kind of thing, found by name and walked in order.
type table[V any] struct {
	byName map[string]*history
	names  []string // sorted
	vals   []V      // versions of all histories, by number
}

// history is the versions of one thing, oldest first.
type history struct {
	name     string
	versions []version
}

type version struct {
	seq uint64
	val int // index in table.vals; absent = gone
}

const absent = -1

// object is one immutable state of an object.
type object struct {
	size  int
	pages [][]byte // 4 KiB each, immutable and shared between versions; nil = zero
	attrs []attr   // sorted by name
}

type attr struct{ name, val string }

func newModel() *model {
	return &model{
		keys:    table[[]byte]{byName: make(map[string]*history)},
		objects: table[*object]{byName: make(map[string]*history)},
	}
}

// path is the name of a thing in a collection.
func path(c int, name string) string { return string([]byte{byte(c)}) + name }

// begin starts (again) the transaction seq.
func (m *model) begin(seq uint64) {
	if seq == m.last {
		for i := len(m.touched) - 1; i >= 0; i-- {
			for _, h := range [2]*history{m.touched[i].key, m.touched[i].object} {
				if h != nil {
					h.versions = h.versions[:len(h.versions)-1]
				}
			}
		}
	} else if seq < m.last {
		panic(fmt.Sprintf("campaign: transaction %d after %d", seq, m.last))
	}
	m.touched, m.last = m.touched[:0], seq
}

// forgetAfter drops everything above seq: a crash has undone it, and the numbers may be used again.
func (m *model) forgetAfter(seq uint64) {
	m.keys.forgetAfter(seq)
	m.objects.forgetAfter(seq)
	m.touched, m.last = m.touched[:0], seq
}

func (t *table[V]) forgetAfter(seq uint64) {
	for _, n := range t.names {
		h := t.byName[n]
		for len(h.versions) > 0 && h.versions[len(h.versions)-1].seq > seq {
			h.versions = h.versions[:len(h.versions)-1]
		}
	}
}

func (t *table[V]) of(name string) *history {
	h := t.byName[name]
	if h == nil {
		h = &history{name: name}
		t.byName[name] = h
		i := sort.SearchStrings(t.names, name)
		t.names = append(t.names, "")
		copy(t.names[i+1:], t.names[i:])
		t.names[i] = name
	}
	return h
}

// at is the value of h after transaction seq.
func (t *table[V]) at(h *history, seq uint64) (v V, ok bool) {
	if h == nil {
		return v, false
	}
	i := sort.Search(len(h.versions), func(i int) bool { return h.versions[i].seq > seq })
	if i == 0 || h.versions[i-1].val == absent {
		return v, false
	}
	return t.vals[h.versions[i-1].val], true
}

// set appends a version under the running transaction; several of one transaction are all kept, the last one counts.
func (t *table[V]) set(h *history, seq uint64, v V) {
	h.versions = append(h.versions, version{seq, len(t.vals)})
	t.vals = append(t.vals, v)
}

func (m *model) put(c int, key string, val []byte) {
	h := m.keys.of(path(c, key))
	m.keys.set(h, m.last, bytes.Clone(val))
	m.touched = append(m.touched, undo{key: h})
}

func (m *model) del(c int, key string) {
	h := m.keys.of(path(c, key))
	h.versions = append(h.versions, version{m.last, absent})
	m.touched = append(m.touched, undo{key: h})
}

// delRange removes the keys in [lo, hi) of a collection; an empty hi is its end.
func (m *model) delRange(c int, lo, hi string) {
	for _, k := range m.scan(c, lo, hi, m.last) {
		m.del(c, k.key)
	}
}

type pair struct {
	key string
	val []byte
}

// scan lists the keys in [lo, hi) of a collection after transaction seq.
func (m *model) scan(c int, lo, hi string, seq uint64) []pair {
	var out []pair
	from := path(c, lo)
	for i := sort.SearchStrings(m.keys.names, from); i < len(m.keys.names); i++ {
		n := m.keys.names[i]
		if int(n[0]) != c || hi != "" && n[1:] >= hi {
			break
		}
		if v, ok := m.keys.at(m.keys.byName[n], seq); ok {
			out = append(out, pair{n[1:], v})
		}
	}
	return out
}

func (m *model) object(c int, name string, seq uint64) (*object, bool) {
	return m.objects.at(m.objects.byName[path(c, name)], seq)
}

// version is the number of the last transaction up to seq that changed an object; 0: there is none.
func (m *model) version(c int, name string, seq uint64) uint64 {
	h := m.objects.byName[path(c, name)]
	if _, ok := m.objects.at(h, seq); !ok {
		return 0
	}
	i := sort.Search(len(h.versions), func(i int) bool { return h.versions[i].seq > seq })
	return h.versions[i-1].seq
}

// list names the objects of a collection after transaction seq, in the order of a listing.
func (m *model) list(c int, seq uint64) (names []string) {
	for i := sort.SearchStrings(m.objects.names, path(c, "")); i < len(m.objects.names) && int(m.objects.names[i][0]) == c; i++ {
		if n := m.objects.names[i]; m.version(c, n[1:], seq) != 0 {
			names = append(names, n[1:])
		}
	}
	sort.SliceStable(names, func(i, j int) bool { return len(names[i]) < len(names[j]) })
	return names
}

// change makes the next version of an object from its current one (an empty one if there is none).
func (m *model) change(c int, name string, fn func(o *object)) {
	h := m.objects.of(path(c, name))
	next := object{}
	if o, ok := m.objects.at(h, m.last); ok {
		next = *o
	}
	next.pages = append([][]byte(nil), next.pages...)
	fn(&next)
	m.objects.set(h, m.last, &next)
	m.touched = append(m.touched, undo{object: h})
}

func (m *model) remove(c int, name string) {
	h := m.objects.of(path(c, name))
	h.versions = append(h.versions, version{m.last, absent})
	m.touched = append(m.touched, undo{object: h})
}

const pageSize = 4096

func (o *object) resize(size int) {
	if size < o.size {
		o.zero(size, o.size-size)
	}
	o.size = size
	pages := (size + pageSize - 1) / pageSize
	for len(o.pages) < pages {
		o.pages = append(o.pages, nil)
	}
	o.pages = o.pages[:pages]
}

// edit gives page i to be changed.
func (o *object) edit(i int) []byte {
	p := make([]byte, pageSize)
	copy(p, o.pages[i])
	o.pages[i] = p
	return p
}

func (o *object) write(off int, data []byte) {
	if off+len(data) > o.size {
		o.resize(off + len(data))
	}
	for len(data) > 0 {
		n := copy(o.edit(off / pageSize)[off%pageSize:], data)
		data, off = data[n:], off+n
	}
}

// zero is a punch: the size stays.
func (o *object) zero(off, n int) {
	n = min(n, o.size-off)
	for n > 0 {
		i, in := off/pageSize, off%pageSize
		k := min(n, pageSize-in)
		if k == pageSize {
			o.pages[i] = nil
		} else if o.pages[i] != nil {
			clear(o.edit(i)[in : in+k])
		}
		off, n = off+k, n-k
	}
}

// isZero says whether every byte in [from, to) is zero.
func (o *object) isZero(from, to int) bool {
	for from < to {
		i, in := from/pageSize, from%pageSize
		n := min(to-from, pageSize-in)
		if p := o.pages[i]; p != nil && !bytes.Equal(p[in:in+n], zeros[:n]) {
			return false
		}
		from += n
	}
	return true
}

func (o *object) setAttr(name, val string) {
	i := sort.Search(len(o.attrs), func(i int) bool { return o.attrs[i].name >= name })
	if i < len(o.attrs) && o.attrs[i].name == name {
		o.attrs = append([]attr(nil), o.attrs...)
		o.attrs[i].val = val
		return
	}
	attrs := append([]attr(nil), o.attrs[:i]...)
	attrs = append(attrs, attr{name, val})
	o.attrs = append(attrs, o.attrs[i:]...)
}

func (o *object) removeAttr(name string) bool {
	for i := range o.attrs {
		if o.attrs[i].name == name {
			o.attrs = append(append([]attr(nil), o.attrs[:i]...), o.attrs[i+1:]...)
			return true
		}
	}
	return false
}

// differs compares the object with bytes that were read from offset off; -1: equal.
func (o *object) differs(got []byte, off int) int {
	for len(got) > 0 {
		n := min(len(got), pageSize-off%pageSize)
		want := zeros[:n]
		if off < o.size && o.pages[off/pageSize] != nil {
			n = min(n, o.size-off)
			want = o.pages[off/pageSize][off%pageSize:][:n]
		}
		if !bytes.Equal(got[:n], want) {
			for i := range want {
				if got[i] != want[i] {
					return off + i
				}
			}
		}
		got, off = got[n:], off+n
	}
	return -1
}

var zeros [pageSize]byte

// clear removes everything in a collection.
func (m *model) clear(c int) {
	m.delRange(c, "", "")
	for i := sort.SearchStrings(m.objects.names, path(c, "")); i < len(m.objects.names); i++ {
		n := m.objects.names[i]
		if int(n[0]) != c {
			break
		}
		if _, ok := m.objects.at(m.objects.byName[n], m.last); ok {
			m.remove(c, n[1:])
		}
	}
}

// states lists what an object was after transaction from, and after each up to `to` that changed it; nil = absent.
func (m *model) states(c int, name string, from, to uint64) []*object {
	h := m.objects.byName[path(c, name)]
	first, _ := m.objects.at(h, from)
	out := []*object{first}
	if h == nil {
		return out
	}
	for i, v := range h.versions {
		last := i+1 == len(h.versions) || h.versions[i+1].seq != v.seq
		if v.seq <= from || v.seq > to || !last {
			continue
		}
		if v.val == absent {
			out = append(out, nil)
		} else {
			out = append(out, m.objects.vals[v.val])
		}
	}
	return out
}

// checkRead judges what a read of up to most bytes at off gave, while transactions from+1 to `to` were applied: its length
// and each of its pages must be those of some state in between.
func (m *model) checkRead(c int, name string, off int, got []byte, most int, notFound bool, from, to uint64) error {
	states := m.states(c, name, from, to)
	fits := false
	for _, o := range states {
		switch {
		case o == nil:
			fits = fits || notFound
		case !notFound:
			fits = fits || len(got) == min(most, max(0, o.size-off))
		}
	}
	if !fits {
		return differ("object %d/%s: read of %d at %d gave %d bytes (not found: %v), transactions %d to %d, %s",
			c, name, most, off, len(got), notFound, from, to, sizes(states))
	}
	for len(got) > 0 {
		n := min(len(got), pageSize-off%pageSize)
		if at, ok := anyHas(states, got[:n], off); !ok {
			return differ("object %d/%s: byte %d is wrong, transactions %d to %d, %s", c, name, at, from, to, sizes(states))
		}
		got, off = got[n:], off+n
	}
	return nil
}

func anyHas(states []*object, p []byte, off int) (at int, ok bool) {
	for _, o := range states {
		if o == nil {
			continue
		}
		bad := o.differs(p, off)
		if bad < 0 {
			return 0, true
		}
		at = max(at, bad)
	}
	return at, false
}

func sizes(states []*object) string {
	out := "sizes"
	for _, o := range states {
		if o == nil {
			out += " none"
		} else {
			out += fmt.Sprintf(" %d", o.size)
		}
	}
	return out
}
