package storage

import (
	"errors"

	"basalt/engine"
	"basalt/storage/format"
)

// What the fold of a delta may take before it frees anything. Admission lets nobody in whose fold might not find it, so the bound must hold
// whatever the tree looks like; and a removal must get in on a full store, so it must be small where little is rewritten.
//
// Where little is rewritten it counts spots: places between which the tree stays as it is. An item is one, and so is each end of a tombstone.
// The items of a run are two, however many they are: nothing of the tree between the first and the last of them survives, so only the nodes at
// its two ends have something to keep, and what the run puts is counted by its bytes. A spot in a leaf makes at most two of it: the leaf is
// divided, or it has become small and takes in its neighbour, never both. Above the leaves it makes at most three: the entries behind a small
// node at the end of its parent go to the next parent, which is divided. The root has no neighbour; it and what may come above it get as many
// nodes as there are spots, which is more than their entries can fill.
//
// Where much is rewritten it counts the nodes of the tree: old nodes that follow each other are packed, so that all but the last one of such a
// row are full, but for one entry of the longest kind. Between two rows lies a node that stays, so there are no more nodes than before. (Keys
// that share long beginnings inside a node and nothing with those of the next one could need more. Tests with such keys stay below.)

// runPuts is how far a transaction is in putting the extents of a run, see layer.spots.
type runPuts uint8

const (
	runNone runPuts = iota // not in a run
	runOpen                // nothing was put yet
	runOne                 // one extent, which is a spot
	runMore                // the other end is counted too
)

// beginRun says that the extents which are put until endRun replace all that an object has between the first and the last of them; false: that
// was said before.
func (tx *Tx) beginRun() (begun bool) {
	if tx.run != runNone {
		return false
	}
	tx.run = runOpen
	return true
}

func (tx *Tx) endRun(begun bool) {
	if begun {
		tx.run = runNone
	}
}

// insideRun tells whether an item is inside a run, so that it is no spot of its own.
func (tx *Tx) insideRun(key []byte) bool {
	if tx.run == runNone || format.Kind(key[2]) != format.KindExtent {
		return false
	}
	switch tx.run {
	case runOpen:
		tx.run = runOne
		return false
	case runOne:
		tx.run = runMore
		tx.s.active.spots++
	}
	return true
}

// foldNeed is what the folds of everything that is applied may still take of what is free now. What the fold of the frozen delta replaces comes
// free before the next one begins, but for what the tree gets longer, unless a snapshot holds it: then both must find room beside each other. And after
// a crash one fold does the work of both, from what was free when the first one began.
func (s *Store) foldNeed() uint64 {
	active := s.foldBlocks(s.active)
	if s.frozen == nil {
		return active
	}
	c := &s.check
	if _, held := s.limbo.longest(); held {
		return s.beside(active)
	}
	grows := c.grows + s.growthBlocks(s.active, s.active.treeBytes())
	both := s.foldBound(c.spots+s.active.places(), grows, uint64(s.super.Tree.Height), c.tree)
	need := max(c.bound, both, active+s.longerBlocks())
	return need - min(c.tookBlocks, need)
}

// foldsBeside tells whether both folds have room beside each other: a snapshot may be taken.
func (s *Store) foldsBeside() bool {
	if s.frozen == nil {
		return true
	}
	return s.beside(s.foldBlocks(s.active)) <= s.alloc.Pieces()*uint64(s.pool)
}

// beside is what the fold of the frozen delta may still take, and so many blocks more for the next one.
func (s *Store) beside(active uint64) uint64 {
	return s.check.bound - min(s.check.tookBlocks, s.check.bound) + active
}

// foldBlocks bounds what a fold of the layer can take before it frees anything: new nodes, the dirty blocks and the long values. Each old node
// that is rewritten makes at most three, besides what the bytes fill that are put; and all together are not many more than they were.
func (s *Store) foldBlocks(l *layer) uint64 {
	if l.empty() {
		return 0
	}
	height, tree := uint64(s.super.Tree.Height), s.treeNodes()
	if s.frozen != nil && l != s.frozen { // by then
		height++
		tree = s.check.tree + s.longerBlocks()/uint64(s.pool)
	}
	return s.foldBound(l.places(), s.growthBlocks(l, l.treeBytes()), height, tree)
}

// foldBound is foldBlocks for so many spots in a tree of so many nodes. grows is what bytes fill.
func (s *Store) foldBound(spots, grows, height, tree uint64) uint64 {
	return min(spotNodes(spots, height), s.packedNodes(tree))*uint64(s.pool) + grows
}

// longerBlocks is what the fold of the frozen delta takes for good, at most: what it has made the tree longer by, and what it still can. Each spot
// makes at most one node more on each level but the root's; a full node becomes two only where its neighbours stay, which is every other one of those
// that are left at most; and there are the bytes that it has not put yet. What the builder holds of nodes that it has done away with is less than two
// of each level.
func (s *Store) longerBlocks() uint64 {
	c, height := &s.check, uint64(s.super.Tree.Height)
	left := c.tree - min(c.tree, s.tree.Freed()-c.freed)
	bySpots := c.spots * (max(height, 2) - 1)
	more := min(bySpots, s.packedNodes(left)-left/2) + 2*height
	so := s.treeNodes() - min(c.tree, s.treeNodes())
	return (so+more)*uint64(s.pool) + s.growthBlocks(s.frozen, s.frozen.treeBytes()-c.passed)
}

// treeNodes is how many nodes the tree has; while a fold runs, those of the old one that it has not replaced yet among them.
func (s *Store) treeNodes() uint64 { return uint64(max(s.nodesAt+s.tree.Grown(), 0)) }

// errCountLater: there is more urgent work.
var errCountLater = errors.New("storage: the nodes are counted later")

// countNodes counts the nodes of the tree, unless a checkpoint is wanted: then it begins anew after that. A tree that cannot be read keeps the
// number that there could be; it is not for us to report.
func (s *Store) countNodes(f *engine.Fiber) {
	s.check.share.begin(f.Turn())
	n, err := s.tree.CountNodes(f, s.super.Tree, func(f *engine.Fiber) error {
		s.rest(f, nodeSteps)
		if s.check.want || s.check.stop || s.failed != nil {
			return errCountLater
		}
		return nil
	})
	if err == nil {
		s.nodesAt = int64(n) - s.tree.Grown()
	}
	s.counted = err != errCountLater
}

// packedNodes is how many nodes a tree of n nodes can become, at most, when any of it is rewritten and nothing added. At the end of each inner
// node a row ends too.
func (s *Store) packedNodes(n uint64) uint64 {
	room := s.nodeRoom()
	return (n+n/64+1)*room/(room-format.LeafEntryMax) + 1
}

func (s *Store) nodeRoom() uint64 { return uint64(s.super.NodeBytes) - format.NodeHeaderBytes }

// spotNodes is how many nodes of a tree a fold writes for so many spots, but for what bytes fill.
func spotNodes(spots, height uint64) uint64 { return 3*spots*max(height, 2) - 3*spots }

// growthBlocks is the part of a fold that it does not give back by replacing what was there: nodes for so many bytes, an eighth of them above the
// leaves, and more than enough for a new root.
func (s *Store) growthBlocks(l *layer, bytes int) uint64 {
	nodes := uint64(bytes)*9/8/(s.nodeRoom()-format.LeafEntryMax) + uint64(s.super.Tree.Height) + 3
	if l.dirtyLive > 0 { // the last run of each batch of them may leave a piece that is too short for a node
		nodes += uint64(l.dirtyLive*format.BlockBytes/len(s.workMem)) + 1
	}
	return nodes*uint64(s.pool) + uint64(l.dirtyLive) + uint64(l.valueBlocks)
}

// inPieces is how many blocks a value of n blocks may cost the nodes: where free space lies in pieces of one node each, what is left of the last one is
// too short.
func (s *Store) inPieces(n BlockCount) BlockCount {
	pool := BlockCount(s.pool)
	return (n + pool - 1) / pool * pool
}

// smallPut is how many bytes a transaction that removes something may put besides and still use the space that is kept for deletes.
const smallPut = 4096

// deleteReserve is space that only transactions which remove something may use: the fold needs some before it can free more. The last of it,
// removalBlocks, is for those that make room: what puts as much as it removes must not use up the way out, nor what makes holes. A hole of fewer blocks
// than a node has gives nothing that a fold can use, and the extents on both sides of it need records.
func (s *Store) deleteReserve() uint64 {
	return s.super.Blocks/128 + 8*uint64(s.pool) + s.removalBlocks()
}

// removalSpots is how many spots a removal has that can't be cut any shorter: a record of the object and both ends of its extents; of a shared
// block, three share records besides; and some keys of whoever keeps count.
const removalSpots = 8

// removalBlocks bounds the fold of one short removal, in a tree that has just become higher.
func (s *Store) removalBlocks() uint64 {
	return s.stepBlocks(removalSpots, uint64(s.super.Tree.Height)+1)
}

// stepBlocks bounds the fold of one short transaction in a tree of that height.
func (s *Store) stepBlocks(spots, height uint64) uint64 {
	return (spotNodes(spots, height) + height + 2) * uint64(s.pool)
}

// MakesRoom says that the transaction is there to make room on a store that may be full: what it puts besides, up to 4 KiB of keys and values,
// may use the last of the space that is kept for removals. Others that remove something and put something must leave that, and so must all that make
// holes.
func (tx *Tx) MakesRoom() { tx.shrank, tx.room = true, true }
