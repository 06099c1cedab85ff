package storage

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// shelf is what a store must hold, in maps. A copy shares what does not change: pages, strings.
type shelf struct {
	seq     uint64 // of the last transaction
	changed bool   // by the running one
	colls   map[Coll]*shelfColl
}

type shelfColl struct {
	keys map[string]string
	objs map[string]*shelfObject
}

type shelfObject struct {
	size, version uint64
	pages         map[uint64]string // 4 KiB each; one that is not there is a hole
	attrs         map[string]string
}

func (m *shelf) copy() *shelf {
	n := &shelf{seq: m.seq, colls: map[Coll]*shelfColl{}}
	for c, coll := range m.colls {
		k := &shelfColl{keys: maps.Clone(coll.keys), objs: map[string]*shelfObject{}}
		for name, o := range coll.objs {
			k.objs[name] = o.copy()
		}
		n.colls[c] = k
	}
	return n
}

func (o *shelfObject) copy() *shelfObject {
	return &shelfObject{size: o.size, version: o.version, pages: maps.Clone(o.pages), attrs: maps.Clone(o.attrs)}
}

func (m *shelf) object(c Coll, name string) *shelfObject {
	if coll := m.colls[c]; coll != nil {
		return coll.objs[name]
	}
	return nil
}

// touch is an object that the running transaction changes, made as needed.
func (m *shelf) touch(c Coll, name string) *shelfObject {
	o := m.colls[c].objs[name]
	if o == nil {
		o = &shelfObject{pages: map[uint64]string{}, attrs: map[string]string{}}
		m.colls[c].objs[name] = o
	}
	o.version, m.changed = m.seq+1, true
	return o
}

// overlay changes bytes [off, off+len(data)) of a page.
func (o *shelfObject) overlay(page uint64, off int, data string) {
	old, ok := o.pages[page]
	if !ok {
		old = strings.Repeat("\x00", blockSize)
	}
	o.pages[page] = old[:off] + data + old[off+len(data):]
}

func (o *shelfObject) write(off uint64, data string) {
	o.size = max(o.size, off+uint64(len(data)))
	for len(data) > 0 {
		in := int(off % blockSize)
		n := min(len(data), blockSize-in)
		o.overlay(off/blockSize, in, data[:n])
		off, data = off+uint64(n), data[n:]
	}
}

// punch makes a hole in [off, end), and of the rest of the pages that it meets zeros.
func (o *shelfObject) punch(off, end uint64) {
	toEnd := end >= o.size
	end = min(end, o.size)
	for _, p := range slices.Collect(maps.Keys(o.pages)) {
		lo, hi := max(off, p*blockSize), min(end, (p+1)*blockSize)
		switch {
		case lo >= hi:
		case off <= p*blockSize && (end >= (p+1)*blockSize || toEnd):
			delete(o.pages, p)
		default:
			o.overlay(p, int(lo-p*blockSize), strings.Repeat("\x00", int(hi-lo)))
		}
	}
}

func (o *shelfObject) truncate(size uint64) {
	if size < o.size {
		o.punch(size, o.size)
	}
	o.size = size
}

// read is up to n bytes at off.
func (o *shelfObject) read(off uint64, n int) string {
	var out strings.Builder
	for end := min(off+uint64(n), o.size); off < end; {
		k := min(blockSize-off%blockSize, end-off)
		if p, ok := o.pages[off/blockSize]; ok {
			out.WriteString(p[off%blockSize:][:k])
		} else {
			out.WriteString(strings.Repeat("\x00", int(k)))
		}
		off += k
	}
	return out.String()
}

// runs are the pages that have data, as runs of bytes.
func (o *shelfObject) runs() (out []string) {
	pages := slices.Sorted(maps.Keys(o.pages))
	for i := 0; i < len(pages); {
		j := i + 1
		for j < len(pages) && pages[j] == pages[j-1]+1 {
			j++
		}
		out = append(out, fmt.Sprintf("%d…%d", pages[i]*blockSize, min((pages[j-1]+1)*blockSize, o.size)))
		i = j
	}
	return out
}

// scan are the keys from lo on, before hi (empty: all), at most limit (0: all).
func (k *shelfColl) scan(lo, hi string, limit int) (out []string) {
	for _, key := range slices.Sorted(maps.Keys(k.keys)) {
		if key >= lo && (hi == "" || key < hi) && (limit == 0 || len(out) < limit) {
			out = append(out, show(key, k.keys[key]))
		}
	}
	return out
}

// list are the names behind one, in the order of a listing, at most limit, and whether there are more.
func (k *shelfColl) list(after string, limit int) (out []string, more bool) {
	names := slices.SortedFunc(maps.Keys(k.objs), shorterFirst)
	for _, n := range names {
		if after != "" && shorterFirst(n, after) <= 0 {
			continue
		}
		if len(out) == limit {
			return out, true
		}
		o := k.objs[n]
		out = append(out, fmt.Sprintf("%s: %d bytes, version %d", n, o.size, o.version))
	}
	return out, false
}

func shorterFirst(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// show names a key or attribute and its value, shortly.
func show(key, val string) string {
	if len(val) > 8 {
		return fmt.Sprintf("%s=%d bytes of %x", key, len(val), val[:8])
	}
	return fmt.Sprintf("%s=%x", key, val)
}

func (o *shelfObject) attrList() (out []string) {
	for _, n := range slices.Sorted(maps.Keys(o.attrs)) {
		out = append(out, show(n, o.attrs[n]))
	}
	return out
}
