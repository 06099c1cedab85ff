package storage

import (
	"errors"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/storage/format"
)

// errGroupFull: the transaction does not fit into the open group any more, though it would fit into an empty one.
var errGroupFull = errors.New("storage: group full")

// patience counts how often one Update has been asked to wait for the same thing.
type patience struct{ space, group, memory int }

// admit waits until a transaction of any permitted size can be applied: there is room for it in the delta, in the open group and in the
// journal ring. When it returns nil nothing has run since it looked.
func (s *Store) admit(f *engine.Fiber) error {
	for paced := false; ; {
		switch {
		case s.closing:
			return ErrClosed
		case s.failed != nil:
			return s.failed
		case s.opt.ReadOnly:
			return ErrReadOnly
		}
		t := f.Turn()
		if d := s.paceNs(); d > 0 && !paced {
			paced = true
			s.stats.Paced++
			f.Sleep(d)
			continue
		}
		g := s.open
		switch {
		case s.deltaBytes() >= s.opt.DeltaBytesMax:
			s.wantCheckpoint(t)
		case g.bytes()+s.opt.TxnRecordMax > s.opt.GroupRecordMax || g.data+s.opt.TxnDataMax > s.opt.GroupDataMax:
			if s.pipe.MaySeal() {
				s.seal(t)
				continue
			}
		case !s.ring.Fits(recordBlocks(g.bytes() + s.opt.TxnRecordMax)):
			s.wantCheckpoint(t)
		default:
			return nil
		}
		s.stats.Stalled++
		s.waitSlot.Wait(f)
	}
}

func (s *Store) deltaBytes() int {
	n := s.active.bytes()
	if s.frozen != nil {
		n += s.frozen.bytes()
	}
	return n
}

// paceNs delays a writer the more, the nearer the delta or the journal is to its limit, so that nobody runs into a wall: nothing below three
// quarters, then growing with the square up to 10 ms.
func (s *Store) paceNs() int64 {
	if !s.check.running {
		return 0
	}
	over := func(used, limit uint64) int64 { // 0…1000 over the last quarter
		if used*4 <= limit*3 {
			return 0
		}
		return int64(min((used*4-limit*3)*1000/limit, 1000))
	}
	x := max(over(uint64(s.deltaBytes()), uint64(s.opt.DeltaBytesMax)), over(s.ring.Used(), s.ring.Blocks()))
	return x * x * 10
}

// affordable decides, after a closure ran and before anybody sees what it did, whether the store can keep it: whether its record fits, and
// whether the worst fold of everything that is not in the tree yet still finds space.
func (s *Store) affordable(tx *Tx) error {
	g := s.open
	n := g.bytes() + len(tx.drops)*2*(format.WritePieceBytes+4)
	if n > s.opt.GroupRecordMax || !s.ring.Fits(recordBlocks(n)) || g.data > s.opt.GroupDataMax {
		return errGroupFull
	}
	need := s.foldBlocks(s.active)
	if s.frozen != nil {
		need += s.foldBlocks(s.frozen) - min(s.check.tookBlocks, s.foldBlocks(s.frozen))
	}
	if tx.grew || !tx.shrank || tx.putBytes > smallPut {
		need += s.deleteReserve()
	}
	if s.alloc.Pieces()*uint64(s.pool) < need {
		return errNoSpace
	}
	return nil
}

// smallPut is how many bytes a transaction that removes something may put besides and still use the space that is kept for deletes.
const smallPut = 4096

// deleteReserve is space that only transactions which remove something may use: the fold needs some before it can free more.
func (s *Store) deleteReserve() uint64 {
	return s.super.Blocks/128 + 8*uint64(s.pool)
}

// foldBlocks bounds what a fold of the layer can take before it frees anything: every path to a changed key is written anew, but never more
// than the whole tree; besides what is new, packed half full at the worst, the dirty blocks and the long values.
func (s *Store) foldBlocks(l *layer) uint64 {
	changes := uint64(l.items.Len() + 2*l.tombs.len())
	if changes == 0 {
		return 0
	}
	height := uint64(s.super.Tree.Height) + 1
	nodes := min(changes*height, s.treeBlocks/uint64(s.pool)+1)
	room := uint64(s.super.NodeBytes) - format.NodeHeaderBytes
	nodes += 2*uint64(l.slab.next)*9/8/room + height + 1
	return nodes*uint64(s.pool) + uint64(l.dirtyLive) + uint64(l.valueBlocks)
}

// makeRoom does what may let a closure succeed that failed with err, or returns the error for the caller.
func (s *Store) makeRoom(f *engine.Fiber, err error, p *patience) error {
	switch {
	case errors.Is(err, errNoSpace):
		if p.space++; p.space > 2 || !s.reclaimable() {
			return ErrFull
		}
		return s.Checkpoint(f)
	case errors.Is(err, errGroupFull):
		if p.group++; p.group > 8 {
			return ErrTooLarge
		}
		return s.startGroup(f)
	case errors.Is(err, arena.ErrExhausted):
		switch p.memory++; p.memory {
		case 1: // the groups in flight give theirs back
			return s.Commit(f, s.Applied())
		case 2: // and so does a delta
			return s.Checkpoint(f)
		}
		return ErrBusy
	}
	return err
}

// startGroup seals the open group, or waits until one may be sealed.
func (s *Store) startGroup(f *engine.Fiber) error {
	switch {
	case s.failed != nil:
		return s.failed
	case s.open.Empty(): // the ring is what is full
		return s.Checkpoint(f)
	case s.pipe.MaySeal():
		s.seal(f.Turn())
	default:
		s.waitSlot.Wait(f)
	}
	return nil
}

// reclaimable tells whether a checkpoint could make any space.
func (s *Store) reclaimable() bool {
	return s.limbo.blocks > 0 || !s.active.empty() || s.frozen != nil
}
