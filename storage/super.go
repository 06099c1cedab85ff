package storage

import (
	"basalt/engine"
	"basalt/storage/alloc"
	"basalt/storage/format"
)

const mapStep = 16       // free extents, or pages of the checksum, between two looks at the clock
const mapChunk = 1 << 20 // bytes of a map read at once

// writeMap writes the space map of the superblock that is being made to the region that the durable one does not use.
func (s *Store) writeMap(f *engine.Fiber, next *format.Superblock) error {
	s.check.stage = stageMap
	region := 0
	if s.super.Map.Region == 0 {
		region = 1
	}
	place := next.SpaceMap[region]
	enc := alloc.NewMapEncoder(s.check.free, format.SpaceMapHeader{
		Store: next.Store, Epoch: next.Epoch, Self: place.Start, Slice: uint32(next.Slice), Blocks: next.Blocks,
	})
	for !enc.Step(mapStep) {
		s.rest(f, mapStep)
	}
	all := enc.Bytes()
	next.Map = format.MapRef{Region: uint32(region), Bytes: uint64(len(all)), Crc: enc.Header().Crc}
	next.FreeBlocks = s.check.free.FreeBlocks()
	mem := s.workMem
	for off := int64(0); len(all) > 0; {
		n := copy(mem, all)
		whole := int(format.BlocksFor(int64(n))) * format.BlockBytes
		clear(mem[n:whole])
		if err := s.dev.Write(f, mem[:whole:whole], place.Offset()+off); err != nil {
			return err
		}
		all, off = all[n:], off+int64(whole)
	}
	return nil
}

// writeSuper writes both copies of a superblock to its slot, which the durable one does not use, and makes them durable.
func (s *Store) writeSuper(f *engine.Fiber, next *format.Superblock) error {
	mem := s.workMem[:format.SuperBytes]
	for i, at := range s.supers[next.Epoch&1] {
		next.Copy, next.Self = uint16(i), at
		next.Encode(mem)
		if err := s.dev.Write(f, mem, int64(at)*format.BlockBytes); err != nil {
			return err
		}
	}
	return s.flush(f)
}

// flush makes every write that has completed durable. If anything of the store failed meanwhile, this one may not count, although it
// succeeded: what a failed one covered, nodes of this very checkpoint among it, no later flush makes good.
func (s *Store) flush(f *engine.Fiber) error {
	if plantedNoFlush {
		return nil
	}
	s.stats.Flushes++
	w := &fence{s: s}
	s.dev.StartFlush(f.Turn(), w)
	for !w.done {
		w.wait.Wait(f)
	}
	if w.err != nil {
		return w.err
	}
	if s.failed != nil {
		return s.failed
	}
	return nil
}

// fence is a flush that a fiber waits for. A failure counts from its completion on, not from when the fiber runs: a group's flush that
// completes in the same turn must not commit what this one has lost.
type fence struct {
	s    *Store
	err  error
	done bool
	wait engine.WaitList
}

// Flushed ends the flush.
func (w *fence) Flushed(t *engine.Turn, err error) {
	w.err, w.done = err, true
	if err != nil {
		w.s.fail(t, err)
	}
	w.wait.WakeAll(t)
}
