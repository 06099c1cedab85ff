package storage

import (
	"fmt"

	"basalt/engine"
	"basalt/storage/btree"
	"basalt/storage/format"
	"basalt/storage/journal"
)

// What a repair writes before its superblock is durable must not hit anything of the state before: if the power goes, or the repair stops because it
// meets more than was named, that state is all there is, and what could not be read may be readable in another machine. So
//   - the blocks of every record of the journal are kept, of those too that stand behind one that has rotted and are given up;
//   - what the lost nodes of a torn tree name is not free in the space map. Without one the map is made from what can be read of the tree, and the places of the
//     lost nodes are kept: their parents name them;
//   - what only the lost nodes name nobody knows. But the superblock counts what was free: if as much is free without the lost nodes, they name nothing.
//     Else some of what seems to be free is not, and the repair writes only if that was named and wished (RepairWish.Unmapped).

// keep takes what is free of e out of what may be written, and says what that was.
func (s *Store) keep(e Extent) (kept []Extent) {
	switch {
	case !s.owns(e):
		return nil
	case s.alloc.Claim(e):
		return []Extent{e}
	}
	for no := e.Start; no < e.End(); no++ {
		if one := (Extent{Start: no, Len: 1}); s.alloc.Claim(one) {
			kept = append(kept, one)
		}
	}
	return kept
}

// keepRecord keeps the blocks of a record.
func (s *Store) keepRecord(r *journal.Record) error {
	return eachPiece(r, func(q *format.Piece) error {
		s.keep(q.Extent)
		return nil
	})
}

// sparing has the walk that makes a space map keep the places of nodes that cannot be read.
func (sv *salvage) sparing(s *Store, v btree.Visitor) btree.Visitor {
	if sv == nil {
		return v
	}
	pass := v.Bad
	v.Bad = func(ptr format.ChildPtr, level int, err error) error {
		if err := pass(ptr, level, err); err != nil {
			return err
		}
		at := Extent{Start: ptr.Block, Len: BlockCount(s.pool)}
		if sv.fitting && s.alloc.AnyFree(at) {
			return sv.misfit(s, at, "lost node")
		}
		s.keep(at)
		return nil
	}
	return v
}

// mapFits refuses, over a torn tree, a space map that calls blocks free which the tree names: nothing may be written by it, and it does not tell either
// what the lost nodes name.
func (sv *salvage) mapFits(f *engine.Fiber, s *Store) error {
	if !sv.torn() {
		return nil
	}
	sv.fitting = true
	err := s.eachNamed(f, func(e Extent, what string) error {
		if !s.alloc.AnyFree(e) {
			return nil
		}
		return sv.misfit(s, e, what)
	})
	sv.fitting = false
	return err
}

func (sv *salvage) misfit(s *Store, e Extent, what string) error {
	sv.wrongMap = true
	return &format.CorruptError{Place: format.Place{Device: s.name, Extent: e}, What: "space map", Want: what + " in use", Got: "free blocks"}
}

// countUnmapped finds out how many blocks that seem to be free, now that the map was made from a torn tree, may be named by what is lost of it.
func (sv *salvage) countUnmapped(s *Store) {
	if !sv.torn() {
		return
	}
	switch free := s.alloc.FreeBlocks(); {
	case sv.wrongMap || free < s.super.FreeBlocks: // the count was wrong too, and proves nothing
		sv.losses.Unmapped = free
	default:
		sv.losses.Unmapped = free - s.super.FreeBlocks
	}
}

// spareJournal keeps the blocks that records of the journal name. Those of records that replay will apply it returns: replay takes them by itself.
func (sv *salvage) spareJournal(f *engine.Fiber, s *Store) (replayed []Extent, err error) {
	err = s.scanJournal(f, func(scan *journal.Scan) error {
		if _, err := s.findEnd(f, scan); err != nil {
			return err
		}
		err := eachRecord(f, scan, func(r *journal.Record) error {
			return eachPiece(r, func(q *format.Piece) error {
				replayed = append(replayed, s.keep(q.Extent)...)
				return nil
			})
		})
		if err != nil {
			return err
		}
		return scan.Behind(f, s.keepRecord)
	})
	return replayed, err
}

// spareTail keeps, once the journal is replayed, the blocks that records name which are given up with the end of the log: the state before the repair has
// them until the next superblock is durable.
func (sv *salvage) spareTail(f *engine.Fiber, s *Store) error {
	if sv == nil || sv.losses.Tail == nil || s.opt.ReadOnly {
		return nil
	}
	keep := func(r *journal.Record) error {
		if r.Header.Sequence < sv.losses.Tail.Rot.Record {
			return nil
		}
		return s.keepRecord(r)
	}
	return s.scanJournal(f, func(scan *journal.Scan) error {
		if err := eachRecord(f, scan, keep); err != nil {
			return err
		}
		return scan.Behind(f, keep)
	})
}

// mayWrite refuses, before the first write, what nobody has agreed to.
func (sv *salvage) mayWrite(s *Store) error {
	if l := &sv.losses; l.Tail != nil && !sv.wish.Journal || l.Unmapped > sv.named.Unmapped {
		return fmt.Errorf("storage: %s shows other damage than a moment ago: the store was left as it is; look once more", s.name)
	}
	return nil
}
