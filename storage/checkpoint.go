package storage

import (
	"fmt"

	"basalt/engine"
	"basalt/engine/invariant"
	"basalt/storage/alloc"
	"basalt/storage/btree"
	"basalt/storage/format"
)

// Checkpoint. A stage starts when every write of the one before it has completed; only a flush makes them durable.
type checkpointStage uint8

const (
	stageIdle   checkpointStage = iota
	stageFreeze                 // at a group boundary S the active delta becomes the frozen one
	stageData                   // dirty blocks of objects, to blocks that nothing durable points at
	stageNodes                  // tree nodes and long values, same rule
	stageMap                    // the space map of S, to the older of its two regions
	stageFence                  // flush: all that the superblock will name is on media; and S must be committed
	stageSuper                  // the older superblock slot, two copies, then flush again
	stageThaw                   // limbo and journal space of this epoch become free
)

// checkpoint is the one that runs, or will.
type checkpoint struct {
	stage      checkpointStage
	running    bool // from the freeze to the thaw
	want       bool
	wantFreeze bool
	started    uint64 // checkpoints begun, and ended, since the mount
	ended      uint64
	wake       engine.WaitList // the checkpoint fiber, when it has nothing to do
	frozen     engine.WaitList // the same fiber, waiting for a group boundary
	stop       bool            // Unmount: no more of them
	done       bool            // the fiber has ended

	// free is what the durable superblock calls free; from the freeze on, on its way to what the next one will. What has come out of limbo
	// since was free in it already: nobody who mounts has readers of an older state.
	free *alloc.FreeMap

	// Of the freeze.
	last       uint64 // S
	super      format.Superblock
	end        uint64     // position in the ring behind the record of S
	taken      extentList // by the groups between the boundary before and S
	tookBlocks uint64     // by the fold so far
	bound      uint64     // of tookBlocks
	spots      uint64     // of the frozen delta
	grows      uint64     // of bound, what the bytes fill that are put
	passed     int        // of those bytes, what the fold has gone through
	tree       uint64     // nodes before the fold
	freed      uint64     // nodes that folds had done away with then

	sort    extentSort
	share   turnShare
	dueNs   int64 // when the fold may write again
	awaited int   // how many wait for a checkpoint and nothing else
	folded  int   // items of the delta that the fold has taken
	seen    int   // items of deltas, and extents for the map, that checkpoints have gone through
}

// coming tells whether a checkpoint runs or will: one that waits for its group boundary takes what is applied until then.
func (c *checkpoint) coming() bool { return c.want || c.wantFreeze || c.running }

// wantCheckpoint starts one soon.
func (s *Store) wantCheckpoint(t *engine.Turn) {
	if s.check.coming() {
		return
	}
	s.check.want = true
	s.check.wake.WakeAll(t)
}

// considerCheckpoint starts one when the delta, the journal or limbo is half full of what it may be. Of limbo only that counts which a
// checkpoint can release: what a snapshot holds stays where it is, however many checkpoints there are.
func (s *Store) considerCheckpoint(t *engine.Turn) {
	switch {
	case s.check.coming():
	case s.active.bytes() >= s.opt.DeltaBytesMax/2,
		s.ring.Used() >= s.ring.Blocks()/2,
		s.limbo.young() >= s.super.Blocks/uint64(s.opt.LimboShare):
		s.wantCheckpoint(t)
	}
}

// Checkpoint brings everything that is applied now into the tree, and waits until that is durable.
func (s *Store) Checkpoint(f *engine.Fiber) error {
	if s.opt.ReadOnly {
		return ErrReadOnly
	}
	s.check.awaited++
	defer func() { s.check.awaited-- }()
	for goal := s.check.started + 1; s.check.ended < goal; {
		if s.failed != nil {
			return s.failed
		}
		if s.check.done {
			return ErrClosed
		}
		s.wantCheckpoint(f.Turn())
		s.waitSlot.Wait(f)
	}
	return nil
}

// runCheckpoints is the fiber that makes them.
func (s *Store) runCheckpoints(f *engine.Fiber) {
	for s.failed == nil && !s.check.stop {
		if !s.check.want && !s.counted {
			s.countNodes(f)
			continue
		}
		if !s.check.want {
			s.check.wake.Wait(f)
			continue
		}
		s.check.want = false
		if err := s.makeCheckpoint(f); err != nil {
			s.fail(f.Turn(), err)
		}
		s.waitSlot.WakeAll(f.Turn())
	}
	s.check.done = true
	s.waitSlot.WakeAll(f.Turn())
	s.waitDrain.WakeAll(f.Turn())
}

func (s *Store) makeCheckpoint(f *engine.Fiber) error {
	c := &s.check
	c.wantFreeze, c.stage = true, stageFreeze
	for c.wantFreeze {
		if s.failed != nil {
			return s.failed
		}
		s.kick(f.Turn())
		c.frozen.Wait(f)
	}
	root, err := s.fold(f)
	if err != nil {
		return err
	}
	next := &c.super
	next.Tree = root
	if err := s.writeMap(f, next); err != nil {
		return err
	}
	if plantedReuse {
		s.limbo.release(next.Epoch)
		for s.reapOne(f.Turn()) {
		}
	}
	if plantedDiscard {
		s.discardEarly(f)
	}
	c.stage = stageFence
	if err := s.flush(f); err != nil {
		return err
	}
	if err := s.Commit(f, Seq(c.last)); err != nil {
		return err
	}
	c.stage = stageSuper
	if err := s.writeSuper(f, next); err != nil {
		return err
	}
	s.thaw(f)
	return nil
}

// freeze is called at a group boundary: every transaction so far is in a sealed group, and none has been applied since.
func (s *Store) freeze(t *engine.Turn) {
	c := &s.check
	if !s.open.Empty() || s.frozen != nil {
		panic("storage: freeze in the middle of a group, or of a checkpoint")
	}
	c.wantFreeze, c.running = false, true
	c.started++
	c.last, c.end = s.pipe.Applied(), s.ring.Head()
	c.super = s.super
	c.super.Epoch++
	c.super.Start = format.JournalStart{
		Position: s.ring.Block(c.end), Sequence: s.pipe.Record() + 1, PrecedingCrc: s.lastCrc,
	}
	c.super.NextTxn = c.last + 1
	c.super.Flags = 0
	if s.raise {
		c.super.Version = format.Version
	}
	if s.closing {
		c.super.Flags = format.SuperClean
	}
	c.super.WallNs = t.Wall()
	s.frozen, s.active = s.active, newLayer(s.arena, s.opt.SlabChunkBytes, &s.nodes)
	c.taken, s.taken = s.taken, extentList{}
	all := s.alloc.FreeBlocks() + uint64(s.discards.held.Len) + s.limbo.heldBlocks() + c.taken.blocks
	if all != c.free.FreeBlocks() {
		panicAccounts(all, c.free.FreeBlocks())
	}
	s.limbo.freeze()
	c.tookBlocks, c.folded = 0, 0
	c.bound, c.spots, c.tree = s.foldBlocks(s.frozen), s.frozen.places(), s.treeNodes()
	c.grows, c.passed, c.freed = s.growthBlocks(s.frozen, s.frozen.treeBytes()), 0, s.tree.Freed()
	c.frozen.WakeAll(t)
}

// fold brings the frozen delta into a new tree.
func (s *Store) fold(f *engine.Fiber) (btree.Root, error) {
	c := &s.check
	c.share.begin(f.Turn())
	for e, ok := c.taken.next(&s.limbo.pool); ok; e, ok = c.taken.next(&s.limbo.pool) {
		if !c.free.Claim(e) {
			panic("storage: a group took blocks that are not free in the map: " + e.String())
		}
		c.seen++
		s.rest(f, 1)
	}
	s.awaitRoom(f)
	c.stage = stageData
	env := &foldEnv{f: f, s: s, hint: s.hint}
	if err := env.writeDirty(f); err != nil {
		return btree.Root{}, err
	}
	c.stage = stageNodes
	src := newFoldSource(f, s, s.frozen)
	root, err := s.tree.Fold(f, s.super.Tree, c.super.Epoch, src, env)
	if err != nil {
		return root, err
	}
	if invariant.Enabled && c.tookBlocks > c.bound {
		panic(fmt.Sprintf("storage: a fold took %d blocks, the bound was %d", c.tookBlocks, c.bound))
	}
	s.sortFrozen(f)
	s.freeInMap(f, s.limbo.frozen)
	return root, nil
}

// awaitRoom waits for what the checkpoint before has given back and reads in flight still hold, or the device works on, where the fold may need
// it: the transactions were let in for it.
func (s *Store) awaitRoom(f *engine.Fiber) {
	for s.alloc.Pieces()*uint64(s.pool) < s.check.bound && s.failed == nil {
		if _, held := s.limbo.awaited(); !held && s.discards.held.Empty() {
			return
		}
		s.waitSlot.Wait(f)
	}
}

// panicAccounts: blocks free and held, and what groups have taken, are not what the map had when they began.
//
//go:noinline
func panicAccounts(now, before uint64) {
	panic(fmt.Sprintf("storage: %d blocks are free, being discarded, held in limbo or taken since the last boundary; the map had %d", now, before))
}

// freeInMap makes extents free for whoever mounts, step by step.
func (s *Store) freeInMap(f *engine.Fiber, l extentList) {
	for e, ok := l.next(nil); ok; e, ok = l.next(nil) {
		s.check.free.Free(e)
		s.check.seen++
		s.rest(f, 1)
	}
}

// sortFrozen brings what this checkpoint will release into order, step by step. Nothing is added to it any more.
func (s *Store) sortFrozen(f *engine.Fiber) {
	c := &s.check
	c.sort.begin(s.limbo.frozen, &s.limbo.pool)
	for n := c.sort.step(); n > 0; n = c.sort.step() {
		c.seen++
		s.rest(f, n)
	}
	s.limbo.frozen = c.sort.take()
}

// rest counts n steps of the checkpoint, and lets the others run when it has had its share of the turn.
func (s *Store) rest(f *engine.Fiber, n int) {
	if c := &s.check; c.share.take(f.Turn(), n, s.opt.TurnSteps, s.turnNs()) {
		f.Yield()
		c.share.begin(f.Turn())
	}
}

// foldDelayNs counts what the fold has written against its share of the device's bandwidth and tells how long it should pause, so that the groups,
// whose writes and flushes stand in the same queue, are not held up. The share grows eightfold until delta or journal are three quarters full;
// from there on, and where somebody waits for the checkpoint itself, it has no bound.
func (s *Store) foldDelayNs(now int64, written int) int64 {
	over := func(used, limit uint64) uint64 { // 0…1000 over the third quarter
		if used*2 <= limit {
			return 0
		}
		return min((used*4-limit*2)*1000/limit, 1000)
	}
	x := max(over(uint64(s.deltaBytes()), uint64(s.opt.DeltaBytesMax)), over(s.ring.Used(), s.ring.Blocks()))
	if x == 1000 || s.check.awaited > 0 || s.hungry > 0 || s.closing {
		s.check.dueNs = 0
		return 0
	}
	rate := s.opt.FoldBytesPerSec + s.opt.FoldBytesPerSec/1000*7*int64(x)
	s.check.dueNs = max(s.check.dueNs, now) + int64(written)*1e9/rate
	return s.check.dueNs - now
}

// turnNs is the checkpoint's share of a turn. It grows as the journal fills up: better slow than stopped.
func (s *Store) turnNs() int64 {
	share := s.opt.TurnBudgetNs
	if used, all := s.ring.Used(), s.ring.Blocks(); used*2 > all {
		share += share * int64((used*2-all)*8/all)
	}
	return share
}

// thaw installs the superblock that is durable now, and waits until everything that it has made free, and nobody holds, can be had.
func (s *Store) thaw(f *engine.Fiber) {
	c := &s.check
	t := f.Turn()
	c.stage = stageThaw
	s.clones = min(s.super.Version, c.super.Version) >= format.VersionClone
	s.super = c.super
	s.limbo.release(s.super.Epoch)
	s.ring.Release(c.end)
	frozen := s.frozen
	s.frozen = nil
	s.releaseLayer(t, frozen)
	s.startReaping(t)
	s.waitSlot.WakeAll(t) // there is room in the journal
	for s.reaping() {
		s.reap.idle.Wait(f)
	}
	c.running, c.stage = false, stageIdle
	c.ended = c.started
	s.stats.Checkpoints++
	s.considerCheckpoint(f.Turn())
}

// unpin ends what limbo.pin began, and frees what it was the last to hold.
func (s *Store) unpin(t *engine.Turn, epoch uint64) {
	s.limbo.unpin(epoch)
	s.startReaping(t)
}
