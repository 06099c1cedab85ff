package storage

import (
	"bytes"

	"github.com/google/btree"
)

// tomb says that every key in [lo, hi) was deleted when the layer had made `order` changes. What the layer wrote later stands.
type tomb struct {
	order    uint64
	lo, hi   slabRef
	klo, khi uint16
}

// tombSet is the set of range deletions of one layer: intervals that never overlap, sorted. A new one is newer than all that it meets, so it
// simply cuts them.
type tombSet struct {
	l    *layer
	tree *btree.BTreeG[tomb] // its order asks the memory, not the set, so that a clone may share it
	cut  []tomb              // scratch of add
	meet func(tomb) bool
	upto []byte // meet stops at the first tombstone that starts here or later
	best tomb
	hit  bool
	pick func(tomb) bool
}

// tombChange is one step of add, for undo.
type tombChange struct {
	t     tomb
	added bool
}

func (s *tombSet) init(l *layer) {
	s.l = l
	m := l.memory
	s.tree = btree.NewG(layerDegree, func(a, b tomb) bool {
		return bytes.Compare(m.key(a.lo, a.klo), m.key(b.lo, b.klo)) < 0
	})
	s.bind()
}

// bind makes the callbacks once, so that no lookup makes a closure.
func (s *tombSet) bind() {
	s.meet = func(t tomb) bool {
		if bytes.Compare(s.lo(&t), s.upto) >= 0 {
			return false
		}
		s.cut = append(s.cut, t)
		return true
	}
	s.pick = func(t tomb) bool { s.best, s.hit = t, true; return false }
}

func (s *tombSet) len() int {
	if s.tree == nil {
		return 0
	}
	return s.tree.Len()
}

func (s *tombSet) lo(t *tomb) []byte { return s.l.key(t.lo, t.klo) }
func (s *tombSet) hi(t *tomb) []byte { return s.l.key(t.hi, t.khi) }

// at finds the tombstone that covers key.
func (s *tombSet) at(key []byte) (tomb, bool) {
	if s.len() == 0 {
		return tomb{}, false
	}
	s.l.probe, s.hit = key, false
	s.tree.DescendLessOrEqual(tomb{lo: probeRef}, s.pick)
	if s.hit && bytes.Compare(key, s.hi(&s.best)) < 0 {
		return s.best, true
	}
	return tomb{}, false
}

// from finds the first tombstone that starts at key or later.
func (s *tombSet) from(key []byte) (tomb, bool) {
	if s.len() == 0 {
		return tomb{}, false
	}
	s.l.probe, s.hit = key, false
	s.tree.AscendGreaterOrEqual(tomb{lo: probeRef}, s.pick)
	return s.best, s.hit
}

// add deletes [lo, hi). The steps it took are appended to log.
func (s *tombSet) add(lo, hi []byte, log []tombChange) ([]tombChange, error) {
	pad := (len(lo) + slabUnit - 1) &^ (slabUnit - 1)
	ref, mem, err := s.l.slab.alloc(pad + len(hi))
	if err != nil {
		return log, err
	}
	copy(mem, lo)
	copy(mem[pad:], hi)
	now := tomb{lo: ref, hi: ref + slabRef(pad/slabUnit), klo: uint16(len(lo)), khi: uint16(len(hi))}

	s.cut, s.upto = s.cut[:0], hi
	if t, ok := s.at(lo); ok {
		s.cut = append(s.cut, t)
		lo = s.hi(&t) // those that start inside are met from here on; t itself is not met twice
	}
	s.l.probe = lo
	s.tree.AscendGreaterOrEqual(tomb{lo: probeRef}, s.meet)
	lo = s.lo(&now)
	for _, t := range s.cut {
		s.remove(t)
		log = append(log, tombChange{t: t})
		if bytes.Compare(s.lo(&t), lo) < 0 {
			left := t
			left.hi, left.khi = now.lo, now.klo
			log = s.insert(left, log)
		}
		if bytes.Compare(hi, s.hi(&t)) < 0 {
			right := t
			right.lo, right.klo = now.hi, now.khi
			log = s.insert(right, log)
		}
	}
	s.l.order++
	s.l.muts++
	now.order = s.l.order
	return s.insert(now, log), nil
}

func (s *tombSet) insert(t tomb, log []tombChange) []tombChange {
	if _, had := s.tree.ReplaceOrInsert(t); had {
		panic("storage: two tombstones start at one key")
	}
	return append(log, tombChange{t: t, added: true})
}

func (s *tombSet) remove(t tomb) {
	if _, ok := s.tree.Delete(t); !ok {
		panic("storage: tombstone lost")
	}
}

// undo takes the steps back, the last one first.
func (s *tombSet) undo(log []tombChange) {
	s.l.muts++
	for i := len(log) - 1; i >= 0; i-- {
		if log[i].added {
			s.remove(log[i].t)
		} else {
			s.insert(log[i].t, nil)
		}
	}
}
