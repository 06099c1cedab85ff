package storage

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/sim"
)

// discarding is a bench with a mounted store that discards in chunks of 64 KiB, and what it has discarded.
type discarding struct {
	*bench
	got []Extent // that a discard has begun of, since the last look
	bad []string
}

const discardChunk = 16 // blocks

func newDiscarding(t *testing.T, seed uint64, bytes int64, change func(o *Options)) *discarding {
	d := &discarding{bench: newBench(t, seed, nil, bytes)}
	d.opt.Discard, d.opt.DiscardMinBytes, d.opt.DiscardDelayNs, d.opt.LimboShare = true, discardChunk*blockSize, 1e6, 1
	if change != nil {
		change(&d.opt)
	}
	d.do(func(f *engine.Fiber) error {
		return Format(f, d.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 1 << 20, NodeBytes: 8 << 10})
	})
	d.mount()
	d.disk.OnEvent(func(_ *sim.Disk, what string) {
		if what == "begin discard" {
			d.begun()
		}
	})
	d.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	return d
}

// begun looks at a discard that has just been submitted: whole chunks, which nobody else may give out, and which nobody holds.
func (d *discarding) begun() {
	s := d.s
	e := s.discards.held
	d.got = append(d.got, e)
	if e.Len == 0 || e.Start%discardChunk != 0 || e.Len%discardChunk != 0 || !s.owns(e) {
		d.bad = append(d.bad, fmt.Sprintf("%v is discarded", e))
	}
	if s.alloc.AnyFree(e) {
		d.bad = append(d.bad, fmt.Sprintf("%v is discarded, and can be given out meanwhile", e))
	}
	if have, need := s.alloc.Pieces()*uint64(s.pool), s.foldNeed()+s.deleteReserve(); have < need {
		d.bad = append(d.bad, fmt.Sprintf("%v is discarded, %d blocks are left and the next fold may need %d", e, have, need))
	}
	lists := []extentList{s.limbo.fresh, s.limbo.frozen}
	for i := range s.limbo.held {
		lists = append(lists, s.limbo.held[i].extents)
	}
	for _, l := range lists {
		for x, ok := l.next(nil); ok; x, ok = l.next(nil) {
			if x.Overlaps(e) {
				d.bad = append(d.bad, fmt.Sprintf("%v is discarded, and %v is in limbo", e, x))
			}
		}
	}
}

// settle lets the store do what it wants to do, and fails if a discard was wrong. It returns what was discarded since the last look.
func (d *discarding) settle() []Extent {
	d.t.Helper()
	d.do(func(f *engine.Fiber) error { f.Sleep(60e9); return nil })
	return d.look()
}

func (d *discarding) look() []Extent {
	d.t.Helper()
	if len(d.bad) > 0 {
		d.t.Fatalf("%d wrong discards, the first: %s", len(d.bad), d.bad[0])
	}
	got := d.got
	d.got = nil
	return got
}

// of is the extents of a space object.
func (d *discarding) of(i int) (out []Extent) {
	d.t.Helper()
	d.do(func(f *engine.Fiber) error {
		return d.s.View(f, func(tx *Tx) error {
			out = out[:0]
			for off := uint64(0); off < spaceBlocks; {
				p, ok, err := tx.extentAt(1, spaceObject(i), off)
				if err != nil || !ok {
					return errors.Join(err, fmt.Errorf("object %d has no block %d: %v", i, off, ok))
				}
				out, off = append(out, p.rec.Extent()), p.end()
			}
			return nil
		})
	})
	return out
}

func meets(all, some []Extent) bool {
	for _, a := range all {
		for _, b := range some {
			if a.Overlaps(b) {
				return true
			}
		}
	}
	return false
}

func blocksIn(all []Extent) (n uint64) {
	for _, e := range all {
		n += uint64(e.Len)
	}
	return n
}

// The first pass of a mount discards every whole chunk that is free, and no later one does it again.
func TestDiscardBeginsWithAllThatIsFree(t *testing.T) {
	d := newDiscarding(t, 301, 16<<20, nil)
	got := d.settle()
	if n, free := blocksIn(got), d.s.alloc.FreeBlocks(); n < free-free/20 || n > free {
		t.Fatalf("%d blocks discarded of %d that are free: %v", n, free, got)
	}
	if more := d.settle(); len(more) > 0 {
		t.Fatalf("discarded again: %v", more)
	}
	st := d.s.Stats()
	if st.Discards != uint64(len(got)) || st.DiscardedBytes != blocksIn(got)*blockSize || st.Discard.By != device.DiscardCommand.String() ||
		st.Discard.ChunkBytes != discardChunk*blockSize || st.Discard.HeldBlocks != 0 || st.Discard.MarkBytes != 8*4 {
		t.Fatalf("%+v", st)
	}
	d.unmount()
	d.fsck()
}

// What was freed is discarded only when a superblock that does not need it is durable.
func TestDiscardWaitsForTheSuperblock(t *testing.T) {
	d := newDiscarding(t, 302, 16<<20, nil)
	for i := range 40 {
		d.add(i)
	}
	d.do(d.s.Checkpoint)
	d.settle()
	var gone []Extent
	for i := range 40 {
		gone = append(gone, d.of(i)...)
		d.remove(i)
	}
	epoch := d.s.super.Epoch
	if got := d.settle(); len(got) > 0 || d.s.super.Epoch != epoch {
		t.Fatalf("%v discarded, superblock %d was durable then and %d is now", got, epoch, d.s.super.Epoch)
	}
	d.do(d.s.Checkpoint)
	if got := d.settle(); !meets(got, gone) || blocksIn(got) < 40*spaceBlocks*8/10 {
		t.Fatalf("removed were %v, discarded %v", gone, got)
	}
	d.unmount()
	d.fsck()
}

// Nor while a snapshot holds it, or a read in flight.
func TestDiscardWaitsForReaders(t *testing.T) {
	d := newDiscarding(t, 303, 16<<20, nil)
	for i := range 20 {
		d.add(i)
	}
	d.do(d.s.Checkpoint)
	d.settle()
	var snap *Snapshot
	d.do(func(f *engine.Fiber) error { snap, _ = d.s.Snapshot(f.Turn()); return nil })
	var gone []Extent
	for i := range 20 {
		gone = append(gone, d.of(i)...)
		d.remove(i)
	}
	for range 3 {
		d.do(d.s.Checkpoint)
		if got := d.settle(); meets(got, gone) {
			t.Fatalf("a snapshot holds %v, discarded was %v", gone, got)
		}
	}
	d.do(func(f *engine.Fiber) error { snap.Release(f.Turn()); return nil })
	if got := d.settle(); blocksIn(got) < 20*spaceBlocks*8/10 {
		t.Fatalf("released were %v, discarded %v", gone, got)
	}
	d.unmount()
	d.fsck()
}

// Fragments wait until they have merged to a whole chunk.
func TestDiscardWaitsForFragmentsToMerge(t *testing.T) {
	d := newDiscarding(t, 304, 16<<20, nil)
	for i := range 64 {
		d.add(i)
	}
	d.do(d.s.Checkpoint)
	d.settle()
	var left []Extent
	for i := 0; i < 64; i += 2 {
		d.remove(i)
		left = append(left, d.of(i+1)...)
	}
	d.do(d.s.Checkpoint)
	some := d.settle()
	if blocksIn(some) > 32*spaceBlocks/2 || meets(some, left) {
		t.Fatalf("every other object was removed, discarded %v", some)
	}
	if d.s.Stats().Discard.Marked < 32*discardChunk*blockSize {
		t.Fatalf("%+v", d.s.Stats().Discard)
	}
	for i := 1; i < 64; i += 2 {
		d.remove(i)
	}
	d.do(d.s.Checkpoint)
	if n := blocksIn(append(some, d.settle()...)); n < 64*spaceBlocks*8/10 {
		t.Fatalf("%d blocks discarded of %d", n, 64*spaceBlocks)
	}
	d.unmount()
	d.fsck()
}

// While the device works on free blocks nobody gets them: what is written meanwhile goes elsewhere, is there afterwards, and a crash finds the
// blocks free.
func TestBlocksBeingDiscardedAreNotGivenOut(t *testing.T) {
	const window = 60 // objects that are there at a time
	d := newDiscarding(t, 305, 8<<20, func(o *Options) { o.DiscardBytesPerSec = 8 << 20 })
	d.disk.SetFaults(sim.Faults{Slow: 1, SlowNs: 100e6})
	data := func(i int) []byte { return bytes.Repeat([]byte{byte(i) | 1}, spaceBlocks*blockSize) }
	beside, crashes := 0, 0
	for i := range 300 {
		d.update(func(tx *Tx) error { return tx.Write(1, spaceObject(i), 0, data(i)) })
		held := d.s.discards.held
		if held.Len > 0 {
			beside++
			if meets(d.of(i), []Extent{held}) {
				t.Fatalf("object %d has got %v while %v is being discarded", i, d.of(i), held)
			}
			if free := d.s.Space().Free; free < d.s.alloc.FreeBlocks()+uint64(held.Len) || d.s.Stats().FreeBlocks != d.s.alloc.FreeBlocks()+uint64(held.Len) {
				t.Fatalf("%d blocks are free, %v is being discarded", free, held)
			}
		}
		if i >= window {
			d.remove(i - window)
		}
		if held.Len > 0 && beside%8 == 0 || i%10 == 0 {
			d.do(d.s.Checkpoint)
			if d.reboot(uint64(i)).fsck(); held.Len > 0 {
				crashes++
			}
		}
		d.do(func(f *engine.Fiber) error { f.Sleep(20e6); return nil })
	}
	if beside < 50 || crashes < 5 || len(d.look()) == 0 {
		t.Fatalf("only %d objects were written beside a discard, and %d checkpoints began", beside, crashes)
	}
	d.disk.SetFaults(sim.Faults{})
	for i := 300 - window; i < 300; i++ {
		d.do(func(f *engine.Fiber) error {
			p := make([]byte, spaceBlocks*blockSize)
			if _, err := d.s.Read(f, 1, spaceObject(i), 0, p); err != nil || !bytes.Equal(p, data(i)) {
				return fmt.Errorf("object %d is something else now: %v", i, err)
			}
			return nil
		})
	}
	d.unmount()
	d.fsck()
}

// The rate is kept, over many discards, and none is longer than an eighth of a second takes.
func TestDiscardsKeepTheirRate(t *testing.T) {
	const rate = 8 << 20
	d := newDiscarding(t, 306, 32<<20, func(o *Options) { o.DiscardBytesPerSec = rate })
	var from, to int64
	d.do(func(f *engine.Fiber) error { from = f.Turn().Now(); return nil })
	for d.s.discards.marked > discardChunk {
		d.do(func(f *engine.Fiber) error {
			f.Sleep(10e6)
			to = f.Turn().Now()
			if may := uint64((to-from)*rate/1e9) + 2*rate/discardsPerSec; d.s.stats.DiscardedBytes > may {
				return fmt.Errorf("%d bytes discarded after %d ms", d.s.stats.DiscardedBytes, (to-from)/1e6)
			}
			if to-from > 20e9 {
				return fmt.Errorf("only %d bytes discarded after %d ms", d.s.stats.DiscardedBytes, (to-from)/1e6)
			}
			return nil
		})
	}
	got := d.look()
	for _, e := range got {
		if e.Bytes() > rate/discardsPerSec {
			t.Fatalf("%v is discarded at once", e)
		}
	}
	if len(got) < 20 {
		t.Fatalf("%d discards", len(got))
	}
	d.unmount()
}

// A failed discard is counted and told once, ends the discarding, and nothing else.
func TestFailedDiscardEndsOnlyTheDiscarding(t *testing.T) {
	d := newDiscarding(t, 307, 16<<20, nil)
	told := 0
	d.s.OnDiscardFail(func(_ *engine.Turn, err error) {
		var bad *device.IOError
		if !errors.As(err, &bad) || bad.Op != device.OpDiscard {
			t.Errorf("told %v", err)
		}
		told++
	})
	free := d.s.Stats().FreeBlocks
	d.disk.FaultAt(sim.FaultWriteError, 1)
	if got := d.settle(); len(got) != 1 || told != 1 {
		t.Fatalf("%v discarded, told %d times", got, told)
	}
	st := d.s.Stats()
	if st.ReadOnly || st.DiscardErrors != 1 || st.Discards != 0 || st.Discard.Why == "" || st.FreeBlocks != free || d.s.discards.running {
		t.Fatalf("%+v, %d blocks were free", st, free)
	}
	for i := range 20 {
		d.add(i)
		d.remove(i)
	}
	d.do(d.s.Checkpoint)
	if got := d.settle(); len(got) > 0 || told != 1 {
		t.Fatalf("%v discarded after a failure, told %d times", got, told)
	}
	d.unmount()
	d.fsck()
}

// Who finds no space because the device is discarding it waits for the discard; and while somebody waits for space, none begins.
func TestDiscardYieldsToWhoNeedsTheSpace(t *testing.T) {
	d := newDiscarding(t, 308, 8<<20, func(o *Options) { o.DiscardDelayNs = 1e6 })
	d.settle()
	n := 0
	for ; d.s.alloc.FreeBlocks() > 700; n++ {
		if !d.add(n) {
			t.Fatal("full")
		}
	}
	d.do(d.s.Checkpoint)
	d.settle()
	for i := range n / 2 {
		d.remove(i)
	}
	d.disk.SetFaults(sim.Faults{Slow: 1, SlowNs: 2e9})
	waited := uint64(0)
	d.do(func(f *engine.Fiber) error {
		if err := d.s.Checkpoint(f); err != nil {
			return err
		}
		for d.s.discards.held.Len == 0 {
			f.Sleep(1e6)
		}
		d.disk.SetFaults(sim.Faults{})
		stalled, left := d.s.discards.held, d.s.alloc.FreeBlocks()
		for i := n; d.s.discards.held == stalled; i++ {
			if ok, err := d.addOn(f, i); !ok {
				return fmt.Errorf("full with %v being discarded, %d blocks were left: %v", stalled, left, err)
			}
			waited++
		}
		return nil
	})
	if waited < 3 {
		t.Fatalf("only %d objects were written beside a discard", waited)
	}
	d.look()
	limit := d.s.opt.DeltaBytesMax
	for _, need := range []struct {
		what        string
		begins, end func()
	}{
		{"somebody waited for space", func() { d.s.hungry++ }, func() { d.s.hungry-- }},
		{"writers were slowed down", func() { d.s.check.running, d.s.opt.DeltaBytesMax = true, d.s.deltaBytes()+1 },
			func() { d.s.check.running, d.s.opt.DeltaBytesMax = false, limit }},
	} {
		d.do(func(f *engine.Fiber) error {
			need.begins()
			defer need.end()
			d.s.discards.freed(d.s.space[0])
			d.s.discards.kick(f.Turn())
			f.Sleep(10e9)
			return nil
		})
		if got := d.look(); len(got) > 0 {
			t.Fatalf("%v discarded while %s", got, need.what)
		}
	}
	if got := d.settle(); len(got) == 0 {
		t.Fatal("nothing discarded when nobody waited any more")
	}
	d.unmount()
	d.fsck()
}

// What the next fold may need is left alone, however long its delta is.
func TestDiscardLeavesWhatTheNextFoldNeeds(t *testing.T) {
	d := newDiscarding(t, 310, 8<<20, func(o *Options) { o.DiscardDelayNs, o.DeltaBytesMax = 1e9, 4<<20 })
	d.settle()
	n := 0
	for ; d.s.alloc.FreeBlocks() > 150; n++ {
		if !d.add(n) {
			t.Fatal("full")
		}
	}
	d.do(d.s.Checkpoint)
	for i := range 35 {
		d.remove(i)
	}
	d.do(d.s.Checkpoint)
	for i := 0; d.s.frozen != nil || d.s.foldNeed() < 250; i++ {
		d.update(func(tx *Tx) error { return tx.Put(1, []byte(fmt.Sprintf("k%05d", i)), make([]byte, 900)) })
	}
	d.look()
	if have, need := d.s.alloc.Pieces()*uint64(d.s.pool), d.s.foldNeed()+d.s.deleteReserve(); have > 2*need || have < need+discardChunk {
		t.Fatalf("%d blocks are left and the next fold may need %d", have, need)
	}
	if got := d.settle(); len(got) > 0 {
		t.Fatalf("%v discarded with a delta that may need what is left", got)
	}
	d.do(d.s.Checkpoint)
	if got := d.settle(); len(got) == 0 {
		t.Fatal("nothing discarded when the delta was folded")
	}
	d.unmount()
	d.fsck()
}

// An unmount waits for the discard in flight and for nothing else: not for its turn, not for what is still marked. All that was done is durable.
func TestUnmountEndsDiscards(t *testing.T) {
	for _, inFlight := range []bool{true, false} {
		d := newDiscarding(t, 309, 16<<20, func(o *Options) { o.DiscardBytesPerSec = discardChunk * blockSize / 10 })
		d.disk.SetFaults(sim.Faults{Slow: 1, SlowNs: 300e6})
		d.do(func(f *engine.Fiber) error {
			for (d.s.discards.held.Len > 0) != inFlight || d.s.discards.dueNs == 0 && !inFlight {
				f.Sleep(1e6)
			}
			from := f.Turn().Now()
			err := d.s.Unmount(f)
			if took := f.Turn().Now() - from; took > 5e9 {
				return fmt.Errorf("the unmount took %d ms", took/1e6)
			}
			return err
		})
		if n := d.disk.Volatile(); n > 0 || d.s.discards.marked == 0 || d.s.discards.running || d.s.discards.held.Len > 0 {
			t.Fatalf("%d operations are not durable, %d chunks are marked, discarding %v %v", n, d.s.discards.marked, d.s.discards.running, d.s.discards.held)
		}
		if n := d.r.Arena().Used() - d.base; n != 0 {
			t.Fatalf("%d bytes of the arena are still taken", n)
		}
		d.fsck()
	}
}

// Chunks are whole units of the device, lie in one extent of the space, and exactly those are marked that something freed lies in.
func TestDiscardChunks(t *testing.T) {
	space := []Extent{{Start: 100, Len: 1000}, {Start: 1100, Len: 30}, {Start: 2000, Len: 5000}}
	for _, x := range []struct {
		unit, align, least int64 // bytes
		chunk              BlockCount
		first              BlockNo
		chunks             int
	}{
		{4096, 0, 4096, 1, 100, 6030}, {4096, 0, 64 << 10, 16, 112, 61 + 1 + 312}, {64 << 10, 0, 4096, 16, 112, 61 + 1 + 312},
		{64 << 10, 12 << 10, 100 << 10, 32, 131, 30 + 155}, {1 << 20, 232 * 4096, 4096, 256, 232, 3 + 19},
		{32 << 20, 0, 4096, 8192, 0, 0},
	} {
		var d discarder
		opt := Options{DiscardMinBytes: int(x.least), DiscardBytesPerSec: 1 << 30}
		d.cut(space, device.Geometry{DiscardBytes: x.unit, DiscardAlign: x.align}, &opt)
		if d.chunk != x.chunk || d.marked != x.chunks || x.chunks > 0 && d.extent(0, 1).Start != x.first {
			t.Fatalf("%+v: chunks of %d blocks, %d of them, %v", x, d.chunk, d.marked, d.parts)
		}
		for i := range x.chunks {
			e := d.extent(i, 1)
			home := 0
			for _, s := range space {
				if s.Contains(e) {
					home++
				}
			}
			if home != 1 || int64(e.Start-BlockNo(x.align/4096))%(x.unit/4096) != 0 {
				t.Fatalf("%+v: chunk %d is %v", x, i, e)
			}
			if at, _ := d.next(i); at != i {
				t.Fatalf("chunk %d is not marked", i)
			}
			d.clear(i)
		}
		if at, _ := d.next(0); at != -1 || d.marked != 0 {
			t.Fatalf("chunk %d is marked, %d are", at, d.marked)
		}
		for _, e := range []Extent{{Start: 100, Len: 1}, {Start: 130, Len: 33}, {Start: 1099, Len: 1}, {Start: 1100, Len: 30}, {Start: 2500, Len: 700}, {Start: 6999, Len: 1}} {
			d.freed(e)
			n := 0
			for i := range x.chunks {
				if want := d.extent(i, 1).Overlaps(e); d.isMarked(i) != want {
					t.Fatalf("%+v: %v freed, chunk %v is marked %v", x, e, d.extent(i, 1), !want)
				} else if want {
					n++
					d.clear(i)
				}
			}
			if d.marked != 0 {
				t.Fatalf("%+v: the count is wrong by %d after %d", x, d.marked, n)
			}
		}
	}
}
