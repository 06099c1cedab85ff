// Package alloc knows which blocks of a slice are free.
//
// It is a pure state machine: no I/O, no clock. Owner: the shard's store. Limbo (freed, not yet reusable) is the
// store's business; what is in limbo is simply not yet free here.
//
// Invariants:
//   - Free extents are disjoint, lie in the space, are maximal (no two touch within one extent of the space), and each
//     is in the set by position and in the set of exactly one size class.
//   - Freeing a free block, or claiming a block in use, is our own bug and panics; IsFree and InSpace exist for callers
//     that got the extent from a device and must ask first.
//
// No locks. It survives nothing by itself: MapEncoder and DecodeMap are its form on disk, and it can be rebuilt by
// starting with everything free and claiming what the tree names.
//
// Read alloc.go first, then classes.go (how an extent is found), freeset.go, freemap.go (what a superblock calls free), spacemap.go.
package alloc

import (
	"fmt"

	"basalt/storage/format"
)

// Allocator is the free blocks of one slice. All fields are owned by the store's loop.
type Allocator struct {
	free     freeSet
	classes  classes
	reserved uint64
}

// New makes an allocator of that space (ascending, disjoint) with nothing free. piece is the length of a tree node in
// blocks, see Pieces.
func New(space []format.Extent, piece format.BlockCount) *Allocator {
	if piece == 0 {
		panic("alloc: piece of 0 blocks")
	}
	a := &Allocator{}
	a.free.init(space)
	a.classes.init(piece, &a.free.nodes)
	a.free.index = &a.classes
	return a
}

// NewFree makes an allocator with all of the space free.
func NewFree(space []format.Extent, piece format.BlockCount) *Allocator {
	a := New(space, piece)
	for _, e := range space {
		a.Free(e)
	}
	return a
}

// Alloc takes one extent of at most want blocks: the one that begins at hint, else one at or after hint in the smallest
// size class that holds want. It is shorter than want only where no class that surely holds want has a member; then it is
// from the largest class there is. false: nothing is free.
func (a *Allocator) Alloc(want format.BlockCount, hint format.BlockNo) (format.Extent, bool) {
	return a.AllocRun(want, 1, hint)
}

// AllocRun takes one extent of least…want blocks. Up to ExactMax blocks it fails only if no free extent has least;
// above that it looks at a few members of the class that least falls into and at every larger class.
func (a *Allocator) AllocRun(want, least format.BlockCount, hint format.BlockNo) (format.Extent, bool) {
	if want == 0 || least == 0 || least > want {
		panic(fmt.Sprintf("alloc: %d…%d blocks wanted", least, want))
	}
	e, ok := a.find(want, least, hint)
	if !ok {
		return extent{}, false
	}
	if !a.free.Claim(e) {
		panic(fmt.Sprintf("alloc: found extent %v is not free", e))
	}
	return e, true
}

// find says what AllocRun takes.
func (a *Allocator) find(want, least blockCount, hint blockNo) (extent, bool) {
	if e, ok := a.free.containing(hint); ok {
		if n := e.End() - hint; n >= blockNo(want) {
			return extent{Start: hint, Len: want}, true
		}
	}
	e, ok := a.classes.fit(want, hint)
	if !ok {
		e, ok = a.classes.largest(least, hint)
	}
	if !ok || e.Len < least {
		return extent{}, false
	}
	return extent{Start: e.Start, Len: min(e.Len, want)}, true
}

// AllocShort takes up to want blocks of the longest free extent that is shorter than a piece; false: there is none.
func (a *Allocator) AllocShort(want format.BlockCount) (format.Extent, bool) {
	e, ok := a.classes.short()
	if !ok || want == 0 {
		return extent{}, false
	}
	e.Len = min(e.Len, want)
	if !a.free.Claim(e) {
		panic(fmt.Sprintf("alloc: found extent %v is not free", e))
	}
	return e, true
}

// AllocAll takes n blocks in as few extents as it can and appends them to dst; all or nothing.
func (a *Allocator) AllocAll(n format.BlockCount, hint format.BlockNo, dst []format.Extent) ([]format.Extent, bool) {
	if uint64(n) > a.free.blocks {
		return dst, false
	}
	for n > 0 {
		e, ok := a.Alloc(n, hint)
		if !ok {
			panic(fmt.Sprintf("alloc: %d blocks are free by the count and none by the sets", a.free.blocks))
		}
		dst = append(dst, e)
		n -= e.Len
		hint = e.End()
	}
	return dst, true
}

// Free gives an extent back.
func (a *Allocator) Free(e format.Extent) { a.free.Free(e) }

// Claim takes exactly e; false (and nothing taken) if not all of it is free or it lies outside.
func (a *Allocator) Claim(e format.Extent) bool { return a.free.Claim(e) }

// IsFree tells whether all of e is free.
func (a *Allocator) IsFree(e format.Extent) bool { return a.free.IsFree(e) }

// AnyFree tells whether a block of e is free.
func (a *Allocator) AnyFree(e format.Extent) bool { return a.free.AnyFree(e) }

// InSpace tells whether e lies in one extent of the space, that is: may be given to Free at all.
func (a *Allocator) InSpace(e format.Extent) bool { return a.free.InSpace(e) }

// FreeBlocks is the number of free blocks, reserved ones included.
func (a *Allocator) FreeBlocks() uint64 { return a.free.blocks }

// SpaceBlocks is the number of blocks of the space.
func (a *Allocator) SpaceBlocks() uint64 { return a.free.total }

// Runs is the number of free extents.
func (a *Allocator) Runs() int { return a.free.Runs() }

// Pieces is how many runs of piece blocks the free extents hold: what a fold can still write as nodes.
func (a *Allocator) Pieces() uint64 { return a.classes.pieces }

// Ascend visits the free extents by position until fn returns false.
func (a *Allocator) Ascend(fn func(e format.Extent) bool) { a.free.Ascend(fn) }

// Reserve sets n free blocks aside in the accounts; false if fewer are available. Alloc does not look at it: who
// allocates for a reservation forfeits as much of it.
func (a *Allocator) Reserve(n uint64) bool {
	if n > a.Available() {
		return false
	}
	a.reserved += n
	return true
}

// Forfeit ends a reservation of n blocks.
func (a *Allocator) Forfeit(n uint64) {
	if n > a.reserved {
		panic(fmt.Sprintf("alloc: forfeit of %d blocks, reserved are %d", n, a.reserved))
	}
	a.reserved -= n
}

// Reserved is the number of blocks set aside.
func (a *Allocator) Reserved() uint64 { return a.reserved }

// Available is FreeBlocks less what is reserved, not below 0.
func (a *Allocator) Available() uint64 { return a.free.blocks - min(a.free.blocks, a.reserved) }

// Check verifies every invariant of the sets; for tests and checked builds, it takes time with the number of extents.
func (a *Allocator) Check() error {
	if err := a.free.check(); err != nil {
		return err
	}
	return a.classes.check(&a.free)
}
