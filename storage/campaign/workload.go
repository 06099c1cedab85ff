package campaign

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"

	"basalt/storage"
)

const (
	colls       = 3   // collections, numbered from 1
	keyCount    = 120 // of a collection
	objectCount = 8   // of a collection
	objectMax   = 96 << 10
	farMax      = 3 << 20   // of object 0 of each collection, which is sparse
	numberKey   = "~number" // in collection 1: the number of the last transaction
)

type kind uint8

const (
	putKey kind = iota
	putBig      // a value that lives out of line
	delKey
	delRange
	getKey
	scanKeys
	write       // any offset and length
	writeBlocks // whole blocks
	truncate
	punch
	remove
	setAttr
	stat
	writeFar // far behind the end: a hole before it
	punchFar // a long hole, or the end of a sparse object
	bulk     // many keys at once
	patch    // a few bytes of an object
	recreate // delete a collection and make it again
	appendTo // behind the end
	zeroOut  // zeros in place of data, perhaps behind the end
	create   // exclusively: of an object that exists it must fail
	delAttr
	list // a page of a collection's objects, and the version of one
	clone
	kinds
)

// weights of a mixed workload. A life multiplies each by 0, 1 or 4 (swarm): some lives never do some things.
var weights = [kinds]int{putKey: 20, putBig: 4, delKey: 6, delRange: 2, getKey: 6, scanKeys: 3, write: 10, writeBlocks: 10,
	truncate: 3, punch: 3, remove: 2, setAttr: 3, stat: 3, writeFar: 1, punchFar: 1, bulk: 1, recreate: 1, appendTo: 3, zeroOut: 2, create: 2, delAttr: 1, list: 2, clone: 6}

// action is one step of a transaction, drawn before the transaction runs: a closure that runs again must do the same.
type action struct {
	kind   kind
	coll   int
	name   string
	hi     string
	off, n int
	data   []byte
}

func (a *action) isObject() bool {
	switch a.kind {
	case write, writeBlocks, writeFar, patch, truncate, punch, punchFar, setAttr, stat, appendTo, zeroOut, create, delAttr:
		return true
	}
	return false
}

// source draws transactions.
type source struct {
	rng   *rand.Rand
	w     [kinds]int
	total int
	max   int // actions of one transaction
}

// patchy is almost only small writes: many dirty blocks for a checkpoint to write, and to be overwritten meanwhile.
var patchy = [kinds]int{putKey: 1, patch: 60, writeBlocks: 2, truncate: 1, punch: 2, remove: 1, stat: 1, clone: 3}

func newSource(rng *rand.Rand, p *plan) *source {
	s := &source{rng: rng, w: weights, max: p.actions}
	if p.patchy {
		s.w = patchy
	}
	for k := range s.w {
		if p.swarm && !p.patchy {
			s.w[k] *= [4]int{0, 1, 1, 4}[rng.IntN(4)]
		}
		s.total += s.w[k]
	}
	if s.total == 0 {
		s.w, s.total = [kinds]int{write: 1}, 1
	}
	return s
}

// txn draws a transaction.
func (s *source) txn() []action {
	n := 1
	for n < s.max && s.rng.IntN(3) > 0 {
		n++
	}
	t := make([]action, n)
	for i := range t {
		t[i] = s.action()
	}
	return t
}

func (s *source) kind() kind {
	n := s.rng.IntN(s.total)
	for k := range s.w {
		if n -= s.w[k]; n < 0 {
			return kind(k)
		}
	}
	panic("campaign: weights")
}

func (s *source) action() action {
	r := s.rng
	a := action{kind: s.kind(), coll: 1 + r.IntN(colls)}
	switch a.kind {
	case putKey, putBig, delKey, getKey:
		a.name = fmt.Sprintf("k%03d", r.IntN(keyCount))
		if a.kind == putKey {
			a.data = fill(r, r.IntN(300))
		} else if a.kind == putBig {
			a.data = fill(r, 1000+r.IntN(9000))
		}
	case bulk:
		a.off, a.n = r.IntN(keyCount), 1+r.IntN(20)
		a.data = fill(r, 1200)
	case delRange, scanKeys:
		from := r.IntN(keyCount)
		a.name, a.hi = fmt.Sprintf("k%03d", from), fmt.Sprintf("k%03d", from+1+r.IntN(keyCount/3))
	case recreate:
	default:
		a.name = fmt.Sprintf("o%d", r.IntN(objectCount))
		s.extent(&a)
	}
	return a
}

// extent draws what an action on an object needs.
func (s *source) extent(a *action) {
	r := s.rng
	a.off, a.n = r.IntN(objectMax), 1+r.IntN(12_000)
	switch a.kind {
	case write:
		if r.IntN(3) == 0 {
			a.n = 1 + r.IntN(200)
		}
		a.data = fill(r, a.n)
	case writeBlocks:
		a.off = a.off / pageSize * pageSize
		a.data = fill(r, pageSize*(1+r.IntN(8)))
	case patch:
		a.data = fill(r, 1+r.IntN(200))
	case appendTo:
		a.data = fill(r, a.n/(1+r.IntN(20)))
	case list:
		a.n = 1 + r.IntN(6)
	case writeFar:
		a.name, a.off = "o0", r.IntN(farMax)
		a.data = fill(r, a.n)
	case punchFar:
		a.name, a.off, a.n = "o0", r.IntN(farMax), r.IntN(farMax)
	case clone:
		a.hi = fmt.Sprintf("o%d", r.IntN(objectCount))
		a.data = fill(r, pageSize)
	case setAttr, delAttr:
		a.hi = fmt.Sprintf("a%d", r.IntN(4))
		a.data = fill(r, r.IntN(60))
	}
}

// fill makes n bytes that nothing else has: the head names the draw, the rest repeats it.
func fill(r *rand.Rand, n int) []byte {
	p := make([]byte, n+8)
	binary.LittleEndian.PutUint64(p, r.Uint64())
	for done := 8; done < len(p); done *= 2 {
		copy(p[done:], p[:done])
	}
	return p[:n]
}

// mismatch is a difference between the store and the model: the finding of a campaign.
type mismatch struct{ what string }

func (m *mismatch) Error() string { return m.what }

func differ(format string, args ...any) error { return &mismatch{fmt.Sprintf(format, args...)} }

// apply runs the actions in tx and, side by side, in the model.
func apply(tx *storage.Tx, m *model, t []action) error {
	seq := uint64(tx.NextSeq())
	m.begin(seq)
	for i := range t {
		if err := applyOne(tx, m, &t[i]); err != nil {
			return err
		}
	}
	if makesRoom(t) {
		tx.MakesRoom()
	}
	var number [8]byte
	binary.LittleEndian.PutUint64(number[:], seq)
	m.put(1, numberKey, number[:])
	return tx.Put(1, []byte(numberKey), number[:])
}

// makesRoom tells whether a transaction only removes: that must be taken on a full store, with the number that each puts.
func makesRoom(t []action) bool {
	for i := range t {
		if k := t[i].kind; k != remove && k != recreate && k != delRange {
			return false
		}
	}
	return len(t) > 0
}

func applyOne(tx *storage.Tx, m *model, a *action) error {
	c, name := storage.Coll(a.coll), []byte(a.name)
	switch a.kind {
	case putKey, putBig:
		m.put(a.coll, a.name, a.data)
		return tx.Put(c, name, a.data)
	case delKey:
		m.del(a.coll, a.name)
		return tx.Delete(c, name)
	case delRange:
		m.delRange(a.coll, a.name, a.hi)
		return tx.DeleteRange(c, name, []byte(a.hi))
	case getKey:
		return checkGet(tx, m, a, m.last)
	case scanKeys:
		return checkScan(tx, m, a.coll, a.name, a.hi, m.last)
	case bulk:
		return applyBulk(tx, m, a)
	case recreate:
		m.clear(a.coll)
		if err := tx.DeleteCollection(c); err != nil {
			return err
		}
		return tx.CreateCollection(c)
	}
	return applyObject(tx, m, a)
}

// applyBulk puts keys of many lengths, some in line and some not.
func applyBulk(tx *storage.Tx, m *model, a *action) error {
	for i := range a.n {
		key, val := fmt.Sprintf("k%03d", (a.off+i)%keyCount), a.data[:len(a.data)-i*53]
		m.put(a.coll, key, val)
		if err := tx.Put(storage.Coll(a.coll), []byte(key), val); err != nil {
			return err
		}
	}
	return nil
}

func applyObject(tx *storage.Tx, m *model, a *action) error {
	c, name := storage.Coll(a.coll), []byte(a.name)
	o, exists := m.object(a.coll, a.name, m.last)
	switch a.kind {
	case write, writeBlocks, writeFar, patch:
		m.change(a.coll, a.name, func(o *object) { o.write(a.off, a.data) })
		return tx.Write(c, name, uint64(a.off), a.data)
	case stat:
		return checkStat(tx, m, a.coll, a.name, m.last)
	case appendTo, zeroOut, create, list, clone:
		return applyMore(tx, m, a, o)
	}
	if !exists {
		return nil // what there is not, is neither cut nor removed
	}
	switch a.kind {
	case truncate:
		m.change(a.coll, a.name, func(o *object) { o.resize(a.off) })
		return tx.Truncate(c, name, uint64(a.off))
	case punch, punchFar:
		n := min(a.n, max(0, o.size-a.off))
		if n == 0 {
			return nil
		}
		m.change(a.coll, a.name, func(o *object) { o.zero(a.off, n) })
		return tx.Punch(c, name, uint64(a.off), uint64(n))
	case remove:
		m.remove(a.coll, a.name)
		return tx.Remove(c, name)
	case setAttr:
		m.change(a.coll, a.name, func(o *object) { o.setAttr(a.hi, string(a.data)) })
		return tx.SetAttr(c, name, []byte(a.hi), a.data)
	case delAttr:
		return removeAttr(tx, m, a, o)
	}
	panic("campaign: unknown action")
}

func checkGet(tx *storage.Tx, m *model, a *action, seq uint64) error {
	got, err := tx.Get(storage.Coll(a.coll), []byte(a.name))
	want, ok := m.keys.at(m.keys.byName[path(a.coll, a.name)], seq)
	switch {
	case errors.Is(err, storage.ErrNotFound) && !ok:
		return nil
	case errors.Is(err, storage.ErrNotFound):
		return differ("key %d/%s is missing, want %d bytes", a.coll, a.name, len(want))
	case err != nil:
		return err
	case !ok:
		return differ("key %d/%s has %d bytes, want none", a.coll, a.name, len(got))
	case !bytes.Equal(got, want):
		return differ("key %d/%s has %s, want %s", a.coll, a.name, short(got), short(want))
	}
	return nil
}

// checkScan compares a range of keys with the model after transaction seq.
func checkScan(tx *storage.Tx, m *model, c int, lo, hi string, seq uint64) error {
	want := m.scan(c, lo, hi, seq)
	cmp := comparer{c: c, want: want}
	if err := tx.Scan(storage.Coll(c), []byte(lo), []byte(hi), 0, cmp.next); err != nil {
		return err
	}
	return cmp.end()
}

// comparer compares keys as they come with those wanted.
type comparer struct {
	c    int
	want []pair
	n    int
	bad  error
}

func (c *comparer) next(key, val []byte) bool {
	switch {
	case c.n == len(c.want):
		c.bad = differ("collection %d has key %q, want no more", c.c, key)
	case c.want[c.n].key != string(key):
		c.bad = differ("collection %d has key %q where %q is wanted", c.c, key, c.want[c.n].key)
	case !bytes.Equal(c.want[c.n].val, val):
		c.bad = differ("key %d/%s has %s, want %s", c.c, key, short(val), short(c.want[c.n].val))
	}
	c.n++
	return c.bad == nil
}

func (c *comparer) end() error {
	if c.bad == nil && c.n < len(c.want) {
		return differ("collection %d ends before key %q", c.c, c.want[c.n].key)
	}
	return c.bad
}

// checkStat compares size and attributes of an object with the model after transaction seq.
func checkStat(tx *storage.Tx, m *model, c int, name string, seq uint64) error {
	info, err := tx.Stat(storage.Coll(c), []byte(name))
	o, ok := m.object(c, name, seq)
	switch {
	case errors.Is(err, storage.ErrNotFound) && !ok:
		return nil
	case errors.Is(err, storage.ErrNotFound):
		return differ("object %d/%s is missing, want %d bytes", c, name, o.size)
	case err != nil:
		return err
	case !ok:
		return differ("object %d/%s has %d bytes, want none", c, name, info.Size)
	case info.Size != uint64(o.size):
		return differ("object %d/%s has %d bytes, want %d", c, name, info.Size, o.size)
	case info.Version != m.version(c, name, seq):
		return differ("object %d/%s has version %d, want %d", c, name, info.Version, m.version(c, name, seq))
	}
	if err := sameAttrs(tx, c, name, o); err != nil {
		return err
	}
	for _, a := range o.attrs {
		val, err := tx.GetAttr(storage.Coll(c), []byte(name), []byte(a.name))
		if errors.Is(err, storage.ErrNotFound) {
			return differ("object %d/%s lacks attribute %s", c, name, a.name)
		}
		if err != nil {
			return err
		}
		if string(val) != a.val {
			return differ("object %d/%s: attribute %s is %s, want %s", c, name, a.name, short(val), short([]byte(a.val)))
		}
	}
	return nil
}

// short shows enough of a value to recognize it.
func short(p []byte) string {
	if len(p) > 12 {
		return fmt.Sprintf("%d bytes %x…", len(p), p[:12])
	}
	return fmt.Sprintf("%d bytes %x", len(p), p)
}
