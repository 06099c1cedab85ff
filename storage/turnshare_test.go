package storage

import (
	"fmt"
	"testing"

	"basalt/engine"
)

// turnWatch holds what a checkpoint works through against what it was one turn before.
type turnWatch struct {
	b    *bench
	last [watched]int64
	most [watched]int64
}

const (
	cameFree  = iota // extents of limbo
	givenBack        // pages of the arena
	nodesWritten
	nodesRead
	gone // through: items of the delta, extents for the map
	watched
)

var watchedNames = [watched]string{"extents of limbo", "pages of the arena", "nodes written", "nodes read", "items and extents for the map"}

// look compares; it is called between turns.
func (w *turnWatch) look() {
	s := w.b.s
	now := [watched]int64{
		givenBack: -w.b.r.Arena().Used() / blockSize, nodesWritten: int64(s.tree.Stats().FoldWritten),
		nodesRead: int64(s.tree.Stats().FoldRead), gone: int64(s.check.seen),
	}
	for _, b := range s.limbo.held {
		for l := b.extents; !l.empty(); l.next(nil) {
			now[cameFree]--
		}
	}
	for i := range now {
		w.most[i] = max(w.most[i], now[i]-w.last[i])
	}
	w.last = now
}

// No turn of a checkpoint takes more steps than it may, however much there is to fold, to write down and to release: single blocks that were
// overwritten, dirty blocks, keys, keys that a range deletion hides, the chunks of the delta, what a reader held.
func TestTurnsOfACheckpointAreShort(t *testing.T) {
	const blocks, keys, bound = 1024, 4000, 64
	b := newBench(t, 261, nil, 64<<20)
	b.opt = Options{CacheBytes: 1 << 20, DeltaBytesMax: 6 << 20, SlabChunkBytes: 8 << 10, TxnRecordMax: 4 << 10, TxnDataMax: 256 << 10,
		GroupRecordMax: 32 << 10, GroupDataMax: 512 << 10, LimboShare: 1, TurnSteps: bound}
	b.do(func(f *engine.Fiber) error {
		return Format(f, b.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 8 << 20, NodeBytes: 8 << 10})
	})
	b.mount()
	name, data := []byte("object"), make([]byte, blockSize)
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	write := func(i, off, n int) {
		b.update(func(tx *Tx) error { return tx.Write(1, name, uint64(i)*blockSize+uint64(off), data[:n]) })
	}
	for i := range blocks {
		write(i, 0, blockSize)
	}
	b.settledFree()
	change := func(round int) {
		for i := 0; i < blocks; i += 2 {
			write(i, 0, blockSize)
		}
		for i := range keys {
			b.update(func(tx *Tx) error { return tx.Put(1, fmt.Appendf(nil, "%d-%06d", i%2, i), []byte("value")) })
		}
		b.update(func(tx *Tx) error { return tx.DeleteRange(1, []byte("0"), []byte("1")) })
		for i := 1; i < blocks/2; i += 2 {
			write(i, 10*round, 100)
		}
	}
	change(1)
	// A snapshot holds the blocks of the first round, and the memory of the delta.
	var snap *Snapshot
	b.do(func(f *engine.Fiber) error { snap, _ = b.s.Snapshot(f.Turn()); return b.s.Checkpoint(f) })
	change(2)
	if b.s.frozen != nil || b.s.limbo.fresh.blocks < blocks/2 || len(b.s.limbo.held) == 0 || b.s.active.dirtyLive < blocks/4 {
		t.Fatalf("nothing to do: %d blocks in limbo, %d dirty", b.s.limbo.blocks, b.s.active.dirtyLive)
	}
	w := &turnWatch{b: b}
	w.look()
	w.most = [watched]int64{}
	run := func(fn func(f *engine.Fiber) error) {
		done := false
		b.must(b.w.Go(b.r, func(f *engine.Fiber) { b.must(fn(f)); done = true }))
		b.must(b.w.Run(func() bool { w.look(); return done && !b.s.reaping() }))
	}
	run(b.s.Checkpoint)
	run(func(f *engine.Fiber) error { snap.Release(f.Turn()); return nil })
	run(b.s.Checkpoint)
	chunk := int64(b.opt.SlabChunkBytes / blockSize)
	for what, most := range [watched]int64{cameFree: bound, givenBack: bound * chunk, nodesWritten: bound/nodeSteps + 1, nodesRead: bound/nodeSteps + 1, gone: bound + lookSteps} {
		if got := w.most[what]; got == 0 || got > most {
			t.Errorf("%s: %d in one turn, at most %d are allowed", watchedNames[what], got, most)
		}
	}
	b.unmount()
}

// A fold that nobody waits for takes no more of the device than its share; one that somebody waits for takes what it can get.
func TestFoldKeepsToItsBandwidth(t *testing.T) {
	b := newBench(t, 263, nil, 64<<20)
	b.opt.DeltaBytesMax, b.opt.FoldBytesPerSec = 8<<20, 1<<20
	b.do(func(f *engine.Fiber) error {
		return Format(f, b.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 16 << 20, NodeBytes: 8 << 10})
	})
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	fold := func(fn func(f *engine.Fiber)) (tookNs int64) {
		for i := range 1500 {
			b.update(func(tx *Tx) error { return tx.Put(1, fmt.Appendf(nil, "%06d", i), make([]byte, 900)) })
		}
		written, start := b.s.stats.FoldBytes, b.w.Now()
		ended := b.s.check.ended
		b.do(func(f *engine.Fiber) error { fn(f); return nil })
		b.must(b.w.Run(func() bool { return b.s.check.ended > ended }))
		if b.s.stats.FoldBytes-written < 1<<20 {
			t.Fatalf("the fold has written %d bytes", b.s.stats.FoldBytes-written)
		}
		return b.w.Now() - start
	}
	if took := fold(func(f *engine.Fiber) { b.s.wantCheckpoint(f.Turn()) }); took < 1e9 {
		t.Errorf("more than a MiB in %d ns of virtual time, allowed is one a second", took)
	}
	if took := fold(func(f *engine.Fiber) { b.must(b.s.Checkpoint(f)) }); took > 1e9/2 {
		t.Errorf("a checkpoint that somebody waits for took %d ns of virtual time", took)
	}
	b.unmount()
}
