package storage

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
)

// free is what the store could give out after everything that waits has been folded.
func (b *bench) settledFree() uint64 {
	b.t.Helper()
	b.do(func(f *engine.Fiber) error {
		if err := b.s.Checkpoint(f); err != nil {
			return err
		}
		return b.s.Checkpoint(f)
	})
	if b.s.limbo.blocks != 0 {
		b.t.Fatalf("%d blocks are still in limbo after two checkpoints", b.s.limbo.blocks)
	}
	return b.s.alloc.FreeBlocks()
}

func (b *bench) reboot(seed uint64) *bench {
	c := newBench(b.t, seed, b.disk.AfterPowerLoss(), 0)
	c.opt = b.opt
	return c
}

// A sparse object with blocks at both ends of a tebibyte: truncated, punched and removed in one step each, whether its blocks are still in
// the delta or in the tree, and every block comes back.
func TestSparseTebibyte(t *testing.T) {
	const fifth = (ObjectBytesMax - 3*blockSize) / 5 / blockSize * blockSize
	for _, inTree := range []bool{false, true} {
		b := newBench(t, 11, nil, 8<<20)
		b.opt.ExactBlocksMax = 2
		b.format()
		b.mount()
		b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
		before := b.settledFree()
		name, data := []byte("sparse"), bytes.Repeat([]byte("d"), 3*blockSize)
		fill := func() {
			for i := range uint64(6) {
				b.update(func(tx *Tx) error { return tx.Write(1, name, i*fifth, data) })
			}
			if inTree {
				b.settledFree()
			}
		}
		fill()
		b.update(func(tx *Tx) error { return tx.Punch(1, name, fifth, fifth) })
		b.update(func(tx *Tx) error { return tx.Truncate(1, name, fifth*3+100) })
		b.do(func(f *engine.Fiber) error {
			p := make([]byte, 200)
			if n, err := b.s.Read(f, 1, name, fifth*3, p); err != nil || !bytes.Equal(p[:n][:100], data[:100]) {
				return fmt.Errorf("%d bytes, %v", n, err)
			}
			at, err := b.s.SeekData(f, 1, name, 4*blockSize)
			if want := uint64(2 * fifth); err != nil || at != want {
				return fmt.Errorf("data at %d, want %d: %v", at, want, err)
			}
			return nil
		})
		fill() // over tombstones
		c := b.reboot(12)
		c.fsck()
		b.update(func(tx *Tx) error { return tx.Remove(1, name) })
		fill()
		b.update(func(tx *Tx) error { return tx.DeleteCollection(1) })
		b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
		if after := b.settledFree(); after != before {
			t.Fatalf("in the tree %v: %d blocks were free, now %d are", inTree, before, after)
		}
		b.unmount()
		b.fsck()
	}
}

// A full device refuses what adds and still takes what removes, down to the last object; then it is empty again.
func TestFullDevice(t *testing.T) {
	b := newBench(t, 21, nil, 4<<20)
	b.format()
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	before := b.settledFree()
	name := func(i int) []byte { return []byte(fmt.Sprintf("object%04d", i)) }
	n := 0
	for full := false; !full; {
		b.do(func(f *engine.Fiber) error {
			_, err := b.s.Update(f, func(tx *Tx) error {
				if err := tx.Put(1, name(n), bytes.Repeat([]byte{1}, 200)); err != nil {
					return err
				}
				return tx.Write(1, name(n), 0, make([]byte, 6000+n%3*3000))
			})
			if errors.Is(err, ErrFull) {
				full, err = true, nil
			}
			return err
		})
		n++
	}
	if n < 100 {
		t.Fatalf("full after %d objects", n)
	}
	b.reboot(22).fsck()
	for i := range n - 1 {
		seq := b.update(func(tx *Tx) error {
			if err := tx.Delete(1, name(i)); err != nil {
				return err
			}
			return tx.Remove(1, name(i))
		})
		if i%16 == 0 {
			b.commit(seq)
		}
	}
	if after := b.settledFree(); after < before-4 {
		t.Fatalf("%d blocks were free, now %d are", before, after)
	}
	b.unmount()
	b.fsck()
}

// A snapshot shows the keys as they were, over checkpoints that fold them and would reuse the nodes; the blocks come back when it goes.
func TestSnapshotOutlivesCheckpoints(t *testing.T) {
	b := newBench(t, 31, nil, 8<<20)
	b.format()
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	round := func(r int) {
		for i := range 300 {
			b.update(func(tx *Tx) error {
				return tx.Put(1, []byte(fmt.Sprintf("key%04d", i)), []byte(fmt.Sprintf("%d-%d", r, i)))
			})
		}
	}
	round(0)
	b.settledFree()
	round(1)
	var snap *Snapshot
	b.do(func(f *engine.Fiber) error { snap, _ = b.s.Snapshot(f.Turn()); return nil })
	for r := 2; r < 6; r++ {
		round(r)
		b.do(b.s.Checkpoint)
	}
	b.update(func(tx *Tx) error { return tx.DeleteRange(1, nil, nil) })
	if b.s.limbo.blocks == 0 {
		t.Fatal("the snapshot holds nothing")
	}
	n := 0
	b.do(func(f *engine.Fiber) error {
		var bad error
		err := snap.Scan(f, 1, nil, nil, func(key, val []byte) bool {
			if want := fmt.Sprintf("1-%d", n); string(val) != want {
				bad = fmt.Errorf("%s is %s, want %s", key, val, want)
			}
			n++
			return bad == nil
		})
		snap.Release(f.Turn())
		return errors.Join(err, bad)
	})
	if n != 300 {
		t.Fatalf("%d keys", n)
	}
	b.settledFree()
	b.unmount()
	b.fsck()
}

// After a failed flush nothing is reported committed any more, the owner is told once, and reads go on.
func TestFailedFlushMakesReadOnly(t *testing.T) {
	b := newBench(t, 41, nil, 8<<20)
	b.format()
	b.mount()
	told := 0
	b.s.OnFail(func(*engine.Turn, error) { told++ })
	seq := b.update(func(tx *Tx) error {
		if err := tx.CreateCollection(1); err != nil {
			return err
		}
		return tx.Put(1, []byte("k"), []byte("v"))
	})
	b.disk.FaultAt(sim.FaultFlushError, 1)
	b.do(func(f *engine.Fiber) error {
		if err := b.s.Commit(f, seq); !errors.Is(err, ErrReadOnly) {
			return fmt.Errorf("commit: %v", err)
		}
		if _, err := b.s.Update(f, func(tx *Tx) error { return tx.Put(1, []byte("k"), nil) }); !errors.Is(err, ErrReadOnly) {
			return fmt.Errorf("update: %v", err)
		}
		if err := b.s.Checkpoint(f); !errors.Is(err, ErrReadOnly) {
			return fmt.Errorf("checkpoint: %v", err)
		}
		return b.s.View(f, func(tx *Tx) error { _, err := tx.Get(1, []byte("k")); return err })
	})
	if told != 1 {
		t.Fatalf("told %d times", told)
	}
	if b.s.Committed() >= seq {
		t.Fatal("committed by a flush that failed")
	}
	b.do(func(f *engine.Fiber) error {
		if err := b.s.Unmount(f); !errors.Is(err, ErrReadOnly) {
			return fmt.Errorf("unmount: %v", err)
		}
		return nil
	})
	if n := b.r.Arena().Used() - b.base; n != 0 {
		t.Fatalf("%d bytes of the arena are still taken", n)
	}
}

// What a group overwrites, punches and removes before it is sealed is never written, and its record still replays to the same state.
func TestSupersededInsideAGroup(t *testing.T) {
	b := newBench(t, 51, nil, 8<<20)
	b.opt.GroupDelayNs = 1e12
	b.opt.GroupStartBytes = 1 << 30
	b.format()
	b.mount()
	block := func(c byte, n int) []byte { return bytes.Repeat([]byte{c}, n*blockSize) }
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	b.update(func(tx *Tx) error { return tx.Write(1, []byte("a"), 0, block('1', 8)) })
	b.update(func(tx *Tx) error { return tx.Write(1, []byte("a"), 2*blockSize, block('2', 2)) })
	b.update(func(tx *Tx) error { return tx.Punch(1, []byte("a"), 5*blockSize, blockSize) })
	b.update(func(tx *Tx) error { return tx.Write(1, []byte("gone"), 0, block('3', 4)) })
	b.update(func(tx *Tx) error { return tx.Write(1, []byte("a"), 7*blockSize+10, []byte("patch")) })
	b.update(func(tx *Tx) error { return tx.Remove(1, []byte("gone")) })
	seq := b.update(func(tx *Tx) error { return tx.Truncate(1, []byte("a"), 8*blockSize-100) })
	b.commit(seq)
	if got := b.s.stats.Superseded; got != 2+1+4 || b.s.stats.Groups != 1 {
		t.Fatalf("%d blocks superseded in %d groups", got, b.s.stats.Groups)
	}
	want := block('1', 8)
	copy(want[2*blockSize:], block('2', 2))
	clear(want[5*blockSize : 6*blockSize])
	copy(want[7*blockSize+10:], "patch")
	want = want[:8*blockSize-100]
	check := func(b *bench) {
		t.Helper()
		b.do(func(f *engine.Fiber) error {
			p := make([]byte, 9*blockSize)
			n, err := b.s.Read(f, 1, []byte("a"), 0, p)
			if err == nil && !bytes.Equal(p[:n], want) {
				err = fmt.Errorf("%d bytes differ", n)
			}
			return err
		})
	}
	check(b)
	c := b.reboot(52)
	c.fsck()
	if rep := c.mount(); rep.Transactions != 8 {
		t.Fatalf("%+v", rep)
	}
	check(c)
	c.unmount()
	c.fsck()
}

// An operation that failed half way undoes the whole transaction, whatever the closure makes of its error.
func TestSwallowedErrorUndoesAll(t *testing.T) {
	b := newBench(t, 81, nil, 8<<20)
	b.format()
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	b.do(func(f *engine.Fiber) error {
		_, err := b.s.Update(f, func(tx *Tx) error {
			if err := tx.Put(1, []byte("first"), []byte("1")); err != nil {
				return err
			}
			for i := range 10 { // more than one record takes
				_ = tx.Put(1, []byte{byte(i)}, make([]byte, 4000))
			}
			return nil
		})
		if !errors.Is(err, ErrTooLarge) {
			return fmt.Errorf("update: %v", err)
		}
		_, err = b.s.Update(f, func(tx *Tx) error { return tx.Write(1, []byte("empty"), 100, nil) })
		if err != nil {
			return err
		}
		return b.s.View(f, func(tx *Tx) error {
			if _, err := tx.Get(1, []byte("first")); !errors.Is(err, ErrNotFound) {
				return fmt.Errorf("get: %v", err)
			}
			if _, err := tx.Stat(1, []byte("empty")); !errors.Is(err, ErrNotFound) {
				return fmt.Errorf("stat: %v", err)
			}
			return nil
		})
	})
	b.unmount()
	b.fsck()
}
