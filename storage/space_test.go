package storage

import (
	"errors"
	"fmt"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
)

// object number i of the space tests, and how many blocks it has.
func spaceObject(i int) []byte { return []byte(fmt.Sprintf("o%05d", i)) }

const spaceBlocks = 12

// full is a bench with a store that took objects until it was full; n is how many.
func full(t *testing.T, seed uint64, bytes int64) (b *bench, n int) {
	b = newBench(t, seed, nil, bytes)
	b.format()
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	for ; b.add(n); n++ {
	}
	if n < 100 {
		t.Fatalf("full after %d objects", n)
	}
	return b, n
}

// add writes an object; false: the store is full.
func (b *bench) add(i int) (ok bool) {
	b.t.Helper()
	b.do(func(f *engine.Fiber) error {
		var err error
		ok, err = b.addOn(f, i)
		return err
	})
	return ok
}

func (b *bench) addOn(f *engine.Fiber, i int) (ok bool, err error) {
	_, err = b.s.Update(f, func(tx *Tx) error { return tx.Write(1, spaceObject(i), 0, make([]byte, spaceBlocks*blockSize)) })
	if errors.Is(err, ErrFull) {
		return false, nil
	}
	return err == nil, err
}

func (b *bench) remove(i int) {
	b.t.Helper()
	b.update(func(tx *Tx) error { return tx.Remove(1, spaceObject(i)) })
}

// What deletes have freed is available at once, although it waits in limbo and the delta is full of their traces; and all that is said to be
// available can be had: whoever meets the end of the free blocks waits for a checkpoint.
func TestSpaceInLimboIsAvailableAndCanBeHad(t *testing.T) {
	b, n := full(t, 201, 16<<20)
	b.opt.LimboShare = 1
	if at := b.s.Space().Avail; at > spaceBlocks+8 {
		t.Fatalf("%d blocks are available on a full device", at)
	}
	b.settledFree()
	removed := uint64(0)
	checkpoints := b.s.stats.Checkpoints
	for i := 0; i < n; i += 2 {
		b.s.opt.LimboShare = 1 // no checkpoint because of limbo
		b.remove(i)
		removed += spaceBlocks
	}
	sp := b.s.Space()
	if b.s.stats.Checkpoints != checkpoints || b.s.limbo.blocks < removed {
		t.Fatalf("%d blocks are in limbo after %d checkpoints, removed were %d", b.s.limbo.blocks, b.s.stats.Checkpoints-checkpoints, removed)
	}
	if sp.Avail < removed*9/10 || sp.Avail > sp.Free || sp.Free > sp.Total {
		t.Fatalf("%+v, removed were %d blocks", sp, removed)
	}
	took := uint64(0)
	for i := n; took+spaceBlocks <= sp.Avail; i++ {
		if !b.add(i) {
			t.Fatalf("full after %d blocks, %d were said to be available: %+v", took, sp.Avail, b.s.Space())
		}
		took += spaceBlocks
	}
	more := uint64(0)
	for i := 2 * n; b.add(i); i++ {
		more += spaceBlocks
	}
	if more > sp.Avail/10 {
		t.Fatalf("%d blocks more than the %d that were said to be available", more, sp.Avail)
	}
	b.unmount()
	b.fsck()
}

// What a snapshot holds is free, and not available before the snapshot ends.
func TestAvailLeavesOutWhatASnapshotHolds(t *testing.T) {
	b, n := full(t, 202, 8<<20)
	b.settledFree()
	var snap *Snapshot
	b.do(func(f *engine.Fiber) error { snap, _ = b.s.Snapshot(f.Turn()); return nil })
	for i := range n / 2 {
		b.remove(i)
	}
	for range 2 {
		if sp := b.s.Space(); sp.Avail > 2*spaceBlocks || sp.Free < uint64(n/2*spaceBlocks) {
			t.Fatalf("%+v with a snapshot, removed were %d blocks", sp, n/2*spaceBlocks)
		}
		b.do(b.s.Checkpoint)
	}
	if b.add(n) {
		b.remove(n)
	}
	b.do(func(f *engine.Fiber) error { snap.Release(f.Turn()); return nil })
	if sp := b.s.Space(); sp.Avail < uint64(n/2*spaceBlocks*9/10) {
		t.Fatalf("%+v without the snapshot, removed were %d blocks", sp, n/2*spaceBlocks)
	}
	b.unmount()
}

// Limbo above its share starts a checkpoint; but what a snapshot holds no checkpoint can release, and none is made for it.
func TestLimboStartsCheckpointsOnlyForWhatTheyRelease(t *testing.T) {
	b := newBench(t, 203, nil, 8<<20)
	b.opt.DeltaBytesMax, b.opt.LimboShare = 4<<20, 16
	b.do(func(f *engine.Fiber) error {
		return Format(f, b.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 2 << 20})
	})
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	for i := range 40 {
		if !b.add(i) {
			t.Fatal("full")
		}
	}
	b.do(b.s.Checkpoint)
	var snap *Snapshot
	b.do(func(f *engine.Fiber) error { snap, _ = b.s.Snapshot(f.Turn()); return nil })
	before := b.s.stats.Checkpoints
	for i := range 40 {
		b.remove(i)
	}
	b.do(func(f *engine.Fiber) error { f.Sleep(1e9); return nil })
	if b.s.limbo.blocks < 40*spaceBlocks || b.s.stats.Checkpoints == before {
		t.Fatalf("%d blocks in limbo, %d checkpoints", b.s.limbo.blocks, b.s.stats.Checkpoints-before)
	}
	before = b.s.stats.Checkpoints
	b.do(func(f *engine.Fiber) error { f.Sleep(10e9); return nil })
	if got := b.s.stats.Checkpoints - before; got != 0 {
		t.Fatalf("%d checkpoints while nothing happened", got)
	}
	b.do(func(f *engine.Fiber) error { snap.Release(f.Turn()); return nil })
	if len(b.s.limbo.held) > 0 {
		t.Fatal("the snapshot has gone and its blocks are still held")
	}
	b.unmount()
}

// A write that finds no free block while a read in flight holds what was released waits for the read.
func TestFullWriteWaitsForReadsInFlight(t *testing.T) {
	b, n := full(t, 204, 8<<20)
	b.settledFree()
	for b.add(n) {
		n++
	}
	b.disk.SetFaults(sim.Faults{SlowRead: 1, SlowNs: 5e9})
	reading, read := false, error(nil)
	buf := b.r.Arena()
	b.do(func(f *engine.Fiber) error {
		mem, err := buf.Get(spaceBlocks * blockSize)
		if err != nil {
			return err
		}
		defer buf.Put(mem)
		reading = true
		if err := f.Turn().Go("reader", func(f *engine.Fiber) {
			_, read = b.s.Read(f, 1, spaceObject(7), 0, buf.Bytes(mem))
			reading = false
		}); err != nil {
			return err
		}
		f.Yield()
		f.Yield()
		if _, err := b.s.Update(f, func(tx *Tx) error { // two: the tree has perhaps a node more than when the last write was let in
			return errors.Join(tx.Remove(1, spaceObject(7)), tx.Remove(1, spaceObject(8)))
		}); err != nil {
			return err
		}
		if !reading {
			return errors.New("the read was over before it began")
		}
		ok, err := b.addOn(f, n)
		if err != nil || !ok {
			return fmt.Errorf("a write beside a read that holds the blocks: full %v, %v", !ok, err)
		}
		if reading {
			return errors.New("the blocks of a read in flight were given away")
		}
		return read
	})
	b.unmount()
	b.fsck()
}

// Overwriting on a nearly full device goes on for ever: each write waits for the checkpoint that gives the blocks of those before it back.
func TestOverwritingOnANearlyFullDeviceGoesOn(t *testing.T) {
	b, n := full(t, 205, 16<<20)
	for i := range 12 {
		b.remove(i)
	}
	b.settledFree()
	b.do(func(f *engine.Fiber) error {
		left, bad := 8, error(nil)
		var all engine.WaitList
		for w := range left {
			if err := f.Turn().Go("writer", func(f *engine.Fiber) {
				for i := 12 + w; i < n && bad == nil; i += 8 {
					if ok, err := b.addOn(f, i); !ok && bad == nil {
						bad = fmt.Errorf("object %d: full, %v; %+v", i, err, b.s.Space())
					}
				}
				if left--; left == 0 {
					all.WakeAll(f.Turn())
				}
			}); err != nil {
				return err
			}
		}
		all.Wait(f)
		return bad
	})
	b.unmount()
	b.fsck()
}

// What deletes will free only when a fold has seen what they delete, long values and tree nodes, is waited for as well.
func TestFullWriteFoldsWhatDeletesWillFree(t *testing.T) {
	b := newBench(t, 206, nil, 8<<20)
	b.format()
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	n := 0
	for isFull := false; !isFull; n++ {
		b.do(func(f *engine.Fiber) error {
			_, err := b.s.Update(f, func(tx *Tx) error { return tx.Put(1, spaceObject(n), make([]byte, 4000)) })
			if isFull = errors.Is(err, ErrFull); isFull {
				return nil
			}
			return err
		})
	}
	b.settledFree()
	for i := range n {
		b.update(func(tx *Tx) error { return tx.Delete(1, spaceObject(i)) })
	}
	for i := range n / spaceBlocks * 8 / 10 {
		if !b.add(i) {
			t.Fatalf("full after %d objects of %d blocks, %d values had a block each: %+v", i, spaceBlocks, n, b.s.Space())
		}
	}
	b.unmount()
	b.fsck()
}

// Free blocks that lie too far apart for a node are for data: they are said to be available, and can be had. What is refused was not available.
func TestSpaceInShortPiecesCanBeHad(t *testing.T) {
	b := newBench(t, 207, nil, 12<<20)
	b.do(func(f *engine.Fiber) error {
		return Format(f, b.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 128 << 10})
	})
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	one := func(i int) (ok bool) {
		t.Helper()
		b.do(func(f *engine.Fiber) error {
			_, err := b.s.Update(f, func(tx *Tx) error { return tx.Write(1, spaceObject(i), 0, make([]byte, blockSize)) })
			if ok = err == nil; errors.Is(err, ErrFull) {
				err = nil
			}
			return err
		})
		return ok
	}
	n := 0
	for ; one(n); n++ {
	}
	for i := 0; i < n; i += 2 {
		b.remove(i)
	}
	b.settledFree()
	sp := b.s.Space()
	if short := sp.Free - b.s.alloc.Pieces()*uint64(b.s.pool); short < uint64(n/3) || sp.Avail < uint64(n/8) {
		t.Fatalf("%d of the free blocks lie apart, %d objects were removed: %+v", short, n/2, sp)
	}
	took := uint64(0)
	for ; one(n + int(took)); took++ {
	}
	if took < sp.Avail*9/10 {
		t.Fatalf("%d blocks were taken, %d were said to be available", took, sp.Avail)
	}
	if now := b.s.Space(); now.Avail > 8 {
		t.Fatalf("%d blocks are available where one is refused: %+v", now.Avail, now)
	}
	b.unmount()
	b.fsck()
}
