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
	n := s.active.bytes() + s.reap.bytes
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
func (s *Store) affordable(tx *Tx, p *patience) error {
	g := s.open
	n := g.bytes() + len(tx.drops)*2*(format.WritePieceBytes+4)
	if n > s.opt.GroupRecordMax || !s.ring.Fits(recordBlocks(n)) || g.data > s.opt.GroupDataMax {
		return errGroupFull
	}
	need := s.foldNeed()
	switch {
	case tx.grew || !tx.shrank || tx.putBytes > smallPut:
		need += s.deleteReserve()
	case tx.holed || tx.putBytes > 0 && !tx.room:
		need += s.removalBlocks()
	}
	if s.alloc.Pieces()*uint64(s.pool) < need || tx.grew && s.hungry > 0 && p.space == 0 {
		return errNoSpace
	}
	return nil
}

// makeRoom does what may let a closure succeed that failed with err, or returns the error for the caller.
func (s *Store) makeRoom(f *engine.Fiber, err error, p *patience) error {
	switch {
	case errors.Is(err, errNoSpace):
		return s.makeSpace(f, p)
	case errors.Is(err, errOldFormat):
		return s.raiseFormat(f)
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

// spaceTriesMax bounds how often one Update waits for space: one checkpoint releases everything that waited in limbo when it began, but those
// who waited longer are served first, and some of it may still be held by reads in flight.
const spaceTriesMax = 8

// makeSpace waits for the blocks that are on their way back, or says that there are none.
func (s *Store) makeSpace(f *engine.Fiber, p *patience) error {
	if p.space++; p.space == 1 {
		s.hungry++
	}
	if s.waitForDiscard(f) {
		return nil
	}
	if p.space > spaceTriesMax {
		return ErrFull
	}
	if s.frozen != nil || s.limbo.young() > 0 || !s.active.empty() && p.space <= 2 {
		return s.Checkpoint(f)
	}
	epoch, ok := s.limbo.awaited()
	if !ok && s.hungry > 1 && p.space == 1 {
		return nil // it may only have been the turn of others
	}
	if !ok {
		return ErrFull
	}
	s.stats.Stalled++
	for now := epoch; ok && now == epoch && s.failed == nil && !s.closing; now, ok = s.limbo.awaited() {
		s.waitSlot.Wait(f)
	}
	return nil
}
