package storage

import (
	"basalt/engine"
	"basalt/storage/btree"
)

// Snapshot is the ordered keys of the store as they were when it was taken, in O(1): the tree that was durable then, with its blocks pinned,
// and clones of the deltas. It keeps limbo from draining, so it should not live long.
type Snapshot struct {
	s   *Store
	v   view
	pin uint64
	cur viewCursor
}

// Snapshot takes one. Release must end it. false: on a nearly full store the checkpoint that runs must first give back what the next one may
// need, and a snapshot would hold that; when it has ended there can be one.
func (s *Store) Snapshot(_ *engine.Turn) (*Snapshot, bool) {
	if !s.foldsBeside() {
		return nil, false
	}
	p := &Snapshot{s: s, v: s.view(), pin: s.limbo.pinLong(s.super.Epoch)}
	p.v.active = s.active.clone()
	if s.frozen != nil {
		p.v.frozen = s.frozen.clone()
	}
	s.stats.Snapshots++
	return p, true
}

// Scan calls fn for the user keys in [lo, hi), in order, until fn says false; an empty hi is the end of the collection. Key and value are lent
// until fn returns. Between two calls the fiber may be suspended.
func (p *Snapshot) Scan(f *engine.Fiber, c Coll, lo, hi []byte, fn func(key, val []byte) bool) error {
	if p.s == nil {
		panic("storage: scan of a released snapshot")
	}
	var pins btree.Pins
	defer p.s.tree.Release(&pins)
	cur := &p.cur
	cur.lo, cur.end = userRange(cur.lo[:0], cur.end[:0], c, lo, hi)
	miss := cur.open(p.v, cur.lo, cur.end)
	for n := 1; ; miss = cur.next() {
		for !miss.None() {
			if err := p.s.tree.Load(f, miss, &pins); err != nil {
				return err
			}
			miss = cur.next()
			p.s.tree.Release(&pins)
		}
		if !cur.valid || !fn(cur.cur.key[userKeyAt:], cur.cur.val) {
			return nil
		}
		if n++; n%scanYield == 0 && !p.rest(f) {
			return ErrClosed
		}
	}
}

const scanYield = 256 // keys that a scan visits before it lets the others run

// rest lets the others run. The cursor's place survives it: what it lent does not.
func (p *Snapshot) rest(f *engine.Fiber) bool {
	cur := &p.cur
	cur.last = append(append(cur.last[:0], cur.cur.key...), 0)
	cur.valid, cur.again = false, true
	f.Yield()
	return p.s != nil
}

// Release ends the snapshot.
func (p *Snapshot) Release(t *engine.Turn) {
	if p.s == nil {
		panic("storage: snapshot released twice")
	}
	s := p.s
	p.s = nil
	s.releaseLayer(t, p.v.active)
	if p.v.frozen != nil {
		s.releaseLayer(t, p.v.frozen)
	}
	s.stats.Snapshots--
	s.limbo.unpinLong(p.pin)
	s.startReaping(t)
}
