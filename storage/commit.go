package storage

import (
	"errors"
	"fmt"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/storage/format"

	"golang.org/x/sys/unix"
)

// Group commit. A sealed group's blocks and its record are written at the same time; when all of them have been written, one flush makes
// them durable, and then the group is committed. Everything here runs on completions: no fiber waits for a group.

// kick has the end of this turn look whether the open group should start, so that whoever else runs in this turn still joins it.
func (s *Store) kick(t *engine.Turn) {
	if !s.kicked {
		s.kicked = true
		t.AtEnd((*sealer)(s))
	}
}

type sealer Store

func (k *sealer) Deliver(t *engine.Turn) {
	s := (*Store)(k)
	s.kicked = false
	s.sealIfReady(t)
}

// groupTimer starts a group that nobody awaits.
type groupTimer Store

func (k *groupTimer) Fire(t *engine.Turn) {
	s := (*Store)(k)
	s.timer = false
	if s.open == nil || s.open.Empty() || s.failed != nil {
		return
	}
	s.sealIfReady(t)
	if !s.open.Empty() {
		s.timer = true
		t.After(max(s.open.SinceNs+s.opt.GroupDelayNs-t.Now(), s.opt.GroupDelayNs/8+1), (*groupTimer)(s))
	}
}

func (s *Store) sealIfReady(t *engine.Turn) {
	if s.open == nil || s.failed != nil { // unmounted meanwhile, or not to be written any more
		return
	}
	if s.pipe.Ready(t.Now()) || s.check.wantFreeze && s.pipe.MaySeal() {
		s.seal(t)
	}
	if s.check.wantFreeze && s.open.Empty() {
		s.freeze(t)
	}
}

// seal ends the open group and sends it to the device.
func (s *Store) seal(t *engine.Turn) {
	g := s.open
	s.spareRec, s.spareMem = g.cut(s.spareRec, s.spareMem)
	for i := range g.table.runs {
		s.giveBack(&g.table.runs[i])
		s.noteTaken(&g.table.runs[i])
	}
	next := s.spare[len(s.spare)-1]
	s.spare = s.spare[:len(s.spare)-1]
	next.reset()
	durable := s.pipe.Durable()
	s.pipe.Seal(&next.Group)
	s.open = next
	s.sealed = append(s.sealed, g)

	h := format.JournalHeader{
		Store: s.super.Store, Mount: s.super.Mount, Sequence: g.Record, FlushedThrough: durable, Epoch: s.super.Epoch,
		FirstTxn: g.First, Txns: uint32(g.txns), PrecedingCrc: s.lastCrc,
	}
	g.at, g.end = s.ring.Place(recordBlocks(g.n))
	h.Position = s.ring.Block(g.at)
	record := format.SealJournal(g.mem, g.n-format.JournalHeaderBytes, &h)
	g.crc, s.lastCrc = h.Crc, h.Crc
	s.stats.sealed(g)
	s.send(t, g, record)
	if s.check.wantFreeze {
		s.freeze(t)
	}
}

// giveBack returns the blocks of a run that the record does not name: the unused tail and what was superseded.
func (s *Store) giveBack(r *run) {
	if tail := r.ext.Len - r.used; tail > 0 {
		s.alloc.Free(Extent{Start: r.ext.Start + BlockNo(r.used), Len: tail})
	}
	for i := BlockCount(0); i < r.used; i++ {
		if r.isDead(i) {
			n := i + 1
			for n < r.used && r.isDead(n) {
				n++
			}
			s.alloc.Free(Extent{Start: r.ext.Start + BlockNo(i), Len: n - i})
			i = n
		}
	}
	r.ext.Len = r.used
}

// noteTaken has the next checkpoint know what a sealed group took.
func (s *Store) noteTaken(r *run) {
	for i := BlockCount(0); i < r.used; i++ {
		n := r.liveFrom(i)
		if n > i {
			s.taken.add(Extent{Start: r.ext.Start + BlockNo(i), Len: n - i}, &s.limbo.pool)
		}
		i = n // superseded
	}
}

// send writes a sealed group: a few large writes of whole blocks, and the record.
func (s *Store) send(t *engine.Turn, g *group, record []byte) {
	g.pending = 1 // not done before all are submitted
	for i := range g.table.runs {
		r := &g.table.runs[i]
		for b := BlockCount(0); b < r.used; b++ {
			n := r.liveFrom(b)
			if n > b {
				s.write(t, g, r.mem[int(b)*format.BlockBytes:int(n)*format.BlockBytes], offsetOf(r.ext.Start+BlockNo(b)))
			}
			b = n
		}
	}
	at := s.super.Journal.Start + BlockNo(s.ring.Block(g.at))
	s.write(t, g, record, offsetOf(at))
	s.wrote(t, g)
}

// groupWrite is one write of a group in flight.
type groupWrite struct {
	s     *Store
	g     *group
	p     []byte
	off   int64
	tries int         // after EINTR or EAGAIN, or without a whole block
	next  *groupWrite // free list
}

const triesMax = 16

func (s *Store) write(t *engine.Turn, g *group, p []byte, off int64) {
	w := s.writeFree
	if w == nil {
		w = &groupWrite{s: s}
	} else {
		s.writeFree = w.next
	}
	w.g, w.p, w.off, w.tries = g, p, off, 0
	g.pending++
	s.inFlight++
	t.Submit(s.dev.WriteOp(p, off), w)
}

// Complete takes the result of one write. A short one goes on with the block that it ended in, an interrupted one begins again.
func (w *groupWrite) Complete(t *engine.Turn, res int32, _ uint32) {
	s, g := w.s, w.g
	again := res == -int32(unix.EINTR) || res == -int32(unix.EAGAIN) || res > 0 && res < format.BlockBytes
	if again && w.tries < triesMax || res >= format.BlockBytes && int(res) < len(w.p) {
		if w.tries++; !again {
			whole := res - res%format.BlockBytes
			w.p, w.off, w.tries = w.p[whole:], w.off+int64(whole), 0
		}
		t.Submit(s.dev.WriteOp(w.p, w.off), w)
		return
	}
	s.inFlight--
	if err := s.dev.Error(device.OpWrite, w.off, len(w.p), res); err != nil {
		s.fail(t, fmt.Errorf("journal record %d: %w", g.Record, err))
	}
	w.g, w.p, w.next = nil, nil, s.writeFree
	s.writeFree = w
	s.wrote(t, g)
	s.drained(t)
}

// wrote counts a write of a group; after the last one the group waits for a flush.
func (s *Store) wrote(t *engine.Turn, g *group) {
	if g.pending--; g.pending > 0 || s.failed != nil {
		return
	}
	s.pipe.Wrote(&g.Group)
	s.flushIfReady(t)
}

func (s *Store) flushIfReady(t *engine.Turn) {
	if s.failed != nil || !s.pipe.MayFlush() {
		return
	}
	s.pipe.Flush()
	if plantedNoFlush {
		s.flushed(t)
		return
	}
	s.inFlight++
	s.dev.StartFlush(t, (*groupFlush)(s))
}

type groupFlush Store

// Flushed ends the flush. One that failed, or does not count because another shard's on this device did, is never retried: the device may have
// dropped what it could not write, and a second flush would say that all is well.
func (k *groupFlush) Flushed(t *engine.Turn, err error) {
	s := (*Store)(k)
	s.inFlight--
	if err != nil {
		s.fail(t, err)
	}
	if s.failed == nil {
		s.flushed(t)
	}
	s.drained(t)
}

// flushed retires the groups that the flush committed.
func (s *Store) flushed(t *engine.Turn) {
	s.stats.Flushes++
	for n := s.pipe.Flushed(); n > 0; n-- {
		g := s.sealed[0]
		if s.pipe.Retire() != &g.Group {
			panic("storage: groups retire out of order")
		}
		s.sealed = append(s.sealed[:0], s.sealed[1:]...)
		s.releaseRuns(g)
		g.awaited.WakeAll(t)
		s.spare = append(s.spare, g)
	}
	s.waitSlot.WakeAll(t)
	if s.onCommit != nil {
		s.onCommit(t, s.Committed())
	}
	s.flushIfReady(t)
	s.kick(t)
}

func (s *Store) releaseRuns(g *group) {
	for i := range g.table.runs {
		s.arena.Put(g.table.runs[i].buf)
	}
	g.table.clear()
}

// fail makes the store read-only, for good. If the device has failed, every store on it becomes so.
func (s *Store) fail(t *engine.Turn, err error) {
	s.failDevice(t, err)
	if s.failed != nil {
		return
	}
	s.failed = &FailedError{Cause: err}
	for _, g := range s.sealed {
		g.awaited.WakeAll(t)
	}
	if s.open != nil {
		s.open.awaited.WakeAll(t)
	}
	s.waitSlot.WakeAll(t)
	s.check.wake.WakeAll(t)
	s.check.frozen.WakeAll(t)
	s.discards.wake.WakeAll(t)
	if s.onFail != nil {
		s.onFail(t, s.failed)
	}
}

// failDevice tells the other stores of the device of a write or a flush that failed: what they wrote may have been lost with it.
func (s *Store) failDevice(t *engine.Turn, err error) {
	var io *device.IOError
	if errors.As(err, &io) && (io.Op == device.OpWrite || io.Op == device.OpFlush) {
		s.dev.Fail(t, err)
	}
}

// deviceFailed hears that the write or flush of another store on this device failed.
func (s *Store) deviceFailed(t *engine.Turn, err *device.FailedError) { s.fail(t, err) }

// drained tells Unmount that nothing is in flight any more.
func (s *Store) drained(t *engine.Turn) {
	if s.inFlight == 0 {
		s.waitDrain.WakeAll(t)
	}
}
