package storage

import (
	"errors"
	"fmt"
	"testing"

	"basalt/engine"
)

// beside is a store of keys with less free space than two folds of it could take beside each other; the checkpoint of some changes has begun,
// and as many are made once more. during runs then.
func beside(t *testing.T, seed uint64, during func(c *crowd, f *engine.Fiber)) *crowd {
	t.Helper()
	c := roomy(t, seed, 32<<20, 4<<10)
	const n, step = 72000, 300
	put := func(f *engine.Fiber, from, step int) {
		for i := from; i < n; i += 40 * step {
			_, err := c.s.Update(f, func(tx *Tx) error {
				var err error
				for k := i; k < min(i+40*step, n) && err == nil; k += step {
					err = tx.Put(1, fmt.Appendf(nil, "%08d", k), make([]byte, 100))
				}
				return err
			})
			c.must(err)
		}
	}
	c.do(func(f *engine.Fiber) error { put(f, 0, 1); return c.s.Checkpoint(f) })
	have := func() uint64 { return c.s.alloc.Pieces() * uint64(c.s.pool) }
	enough := c.s.foldBound(2*n/step, 0, uint64(c.s.super.Tree.Height), c.s.treeNodes()) + c.s.deleteReserve() + 200
	for i := 0; have() > enough; i++ {
		c.update(func(tx *Tx) error {
			return tx.Write(1, []byte("rest"), uint64(i)*16*blockSize, make([]byte, 16*blockSize))
		})
	}
	c.do(c.s.Checkpoint)
	c.do(func(f *engine.Fiber) error {
		put(f, 3, step)
		ended := c.s.check.ended
		c.s.wantCheckpoint(f.Turn())
		for c.s.frozen == nil {
			f.Sleep(1e6)
		}
		put(f, 5, step)
		if c.s.frozen == nil || c.s.check.ended != ended {
			t.Fatalf("the second changes have waited for the checkpoint of the first: %d and %d ended, %d of %d blocks, tree %d, the folds %d and %d, reserve %d",
				ended, c.s.check.ended, c.s.foldNeed(), have(), c.s.treeNodes(), c.s.check.bound, c.s.foldBlocks(c.s.active), c.s.deleteReserve())
		}
		during(c, f)
		for c.s.frozen != nil {
			f.Sleep(1e9)
		}
		return nil
	})
	return c
}

// What a fold replaces comes free before the next one begins: there need not be room for both beside each other. As long as that is counted on, no
// snapshot may hold it.
func TestNextFoldCountsOnWhatThisOneGivesBack(t *testing.T) {
	c := beside(t, 2400, func(c *crowd, f *engine.Fiber) {
		s := c.s
		left, next, have := s.check.bound-s.check.tookBlocks, s.foldBlocks(s.active), s.alloc.Pieces()*uint64(s.pool)
		if left+next <= have || s.foldNeed() > have {
			t.Fatalf("the folds may take %d and %d blocks, together %d, of %d", left, next, s.foldNeed(), have)
		}
		if _, ok := s.Snapshot(f.Turn()); ok {
			t.Fatal("a snapshot holds what the next fold needs")
		}
	})
	c.do(func(f *engine.Fiber) error {
		snap, ok := c.s.Snapshot(f.Turn())
		if !ok {
			t.Fatal("no snapshot though no checkpoint runs")
		}
		err := c.s.Checkpoint(f)
		snap.Release(f.Turn())
		return err
	})
	c.unmount()
	c.fsck()
}

// A snapshot that was there before the checkpoint holds what that replaces: both folds must find room.
func TestFoldsFindRoomBesideEachOtherUnderASnapshot(t *testing.T) {
	c := newCrowd(t, 2401, 24<<20, 4<<10)
	c.update(func(tx *Tx) error { return tx.Put(1, []byte("k"), make([]byte, 100)) })
	c.do(func(f *engine.Fiber) error {
		snap, _ := c.s.Snapshot(f.Turn())
		s := c.s
		s.frozen, s.check.bound, s.check.grows, s.check.tookBlocks = s.active, 100, 10, 30
		under := s.foldNeed()
		snap.Release(f.Turn())
		free, next := s.foldNeed(), s.foldBlocks(s.active)
		s.frozen = nil
		if under != 70+next || free != 70 {
			t.Fatalf("%d blocks under a snapshot, %d without, the next fold needs %d", under, free, next)
		}
		return nil
	})
	c.unmount()
}

// A fold that counts on what a read in flight holds, or the device discards, waits for that, also when the store is being unmounted.
func TestFoldWaitsForReadsInFlight(t *testing.T) {
	c := newCrowd(t, 2402, 24<<20, 4<<10)
	for range 2 {
		c.do(c.s.Checkpoint)
		c.update(func(tx *Tx) error { return tx.Put(1, []byte("k"), make([]byte, 100)) })
	}
	c.do(func(f *engine.Fiber) error {
		s := c.s
		pin := s.limbo.pin(s.super.Epoch)
		if err := s.Checkpoint(f); err != nil {
			return err
		}
		if len(s.limbo.held) == 0 {
			t.Fatal("nothing is held")
		}
		s.check.bound = s.alloc.Pieces()*uint64(s.pool) + 1
		waited := false
		c.must(f.Turn().Go("read", func(g *engine.Fiber) {
			g.Sleep(1e9)
			waited = true
			s.unpin(g.Turn(), pin)
		}))
		s.awaitRoom(f)
		if !waited {
			t.Fatal("the fold did not wait")
		}
		s.awaitRoom(f) // nobody holds anything: what there is must do
		waited, s.closing = false, true
		s.discards.held, _ = s.alloc.Alloc(1, 0)
		c.must(f.Turn().Go("discard", func(g *engine.Fiber) {
			g.Sleep(1e9)
			waited = true
			s.alloc.Free(s.discards.held)
			s.discards.held = Extent{}
			s.waitSlot.WakeAll(g.Turn())
		}))
		s.awaitRoom(f)
		s.closing = false
		if !waited {
			t.Fatal("the fold did not wait for the discard")
		}
		return nil
	})
	c.unmount()
}

// Whoever puts as much as it removes cannot use up what removals need, whatever the pieces are that it frees.
func TestPutsWithPunchesLeaveTheWayOut(t *testing.T) {
	c := newCrowd(t, 2403, 20<<20, 4<<10)
	c.fill(3)
	name := c.names[0]
	for _, n := range c.names {
		if len(n) == 150 { // a scattered one
			name = n
			break
		}
	}
	taken, refused := 0, 0
	for i := 0; i < 1000 && refused < 20; i++ {
		ok := c.try(func(tx *Tx) error {
			key := fmt.Appendf(nil, "%08d", i*7919%1000)
			return errors.Join(tx.Punch(1, name, uint64(2*(i%100)+i%2)*blockSize, blockSize),
				tx.Put(1, key, make([]byte, 900)), tx.Put(1, append(key, '.'), make([]byte, 900)))
		})
		if taken++; !ok {
			taken--
			refused++
		}
	}
	t.Logf("%d were taken, %d refused", taken, refused)
	if refused == 0 {
		t.Fatal("none was refused: the store was not full")
	}
	if have, need := c.s.alloc.Pieces()*uint64(c.s.pool), c.s.foldNeed()+c.s.removalBlocks(); have < need {
		t.Fatalf("%d blocks are left, of %d", have, need)
	}
	c.shuffle()
	for _, name := range c.names {
		c.takeAway(name)
	}
	c.unmount()
	c.fsck()
}

// The end of a run stays a spot when the same run puts the key again.
func TestEndOfARunStaysASpot(t *testing.T) {
	c := newCrowd(t, 2404, 20<<20, 4<<10)
	l := newLayer(c.s.arena, c.s.opt.SlabChunkBytes, &c.s.nodes)
	for _, inside := range []bool{false, true, true} {
		if _, _, _, err := l.put([]byte("key"), nil, itemPut, 0, true, inside); err != nil || l.spots != 1 {
			t.Fatalf("%d spots, %v", l.spots, err)
		}
	}
	c.do(func(f *engine.Fiber) error { c.s.releaseLayer(f.Turn(), l); return nil })
	c.unmount()
}

// Share records on both sides of a segment's end stay two.
func TestShareRecordsAreNotJoinedAcrossSegments(t *testing.T) {
	s := &Store{space: []Extent{{Start: 100, Len: 100}, {Start: 200, Len: 100}}}
	for _, p := range []struct {
		a, b Extent
		want bool
	}{
		{Extent{Start: 190, Len: 5}, Extent{Start: 195, Len: 5}, true},
		{Extent{Start: 190, Len: 10}, Extent{Start: 200, Len: 5}, false},
		{Extent{Start: 200, Len: 60}, Extent{Start: 260, Len: 5}, false},
	} {
		if got := s.joinable(p.a, p.b); got != p.want {
			t.Errorf("%v and %v: %v", p.a, p.b, got)
		}
	}
}
