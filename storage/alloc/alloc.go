// Package alloc knows which blocks of a slice are free.
//
// It is a pure state machine: no I/O, no clock. Owner: the shard's store. Limbo (freed, not yet reusable) is the
// store's business; what is in limbo is simply not yet free here.
//
// Invariants:
//   - Free extents are disjoint, lie in the space, are maximal (no two touch within one extent of the space), and each
//     is in the set by position and in the set of exactly one size class.
//   - Freeing a free block, or claiming a block in use, is our own bug and panics; Claim and Check exist for callers
//     that got the extent from a device and must ask first.
//
// No locks. It survives nothing by itself: EncodeMap and DecodeMap are its form on disk, and it can be rebuilt by
// starting with everything free and claiming what the tree names.
//
// Read alloc.go, then freeset.go, then spacemap.go.
package alloc

import "basalt/storage/format"

type (
	blockNo    = format.BlockNo
	blockCount = format.BlockCount
	extent     = format.Extent
)

// Allocator is the free blocks of one slice.
type Allocator struct{}

// New makes an allocator of that space with nothing free. piece is the length of a tree node in blocks, see Pieces.
func New(space []format.Extent, piece format.BlockCount) *Allocator { panic("alloc: on its way") }

// Alloc takes one extent of at most want blocks, as near to hint (at or after it) as its size allows; it is shorter only if
// there is no free extent so long. false: nothing is free.
func (a *Allocator) Alloc(want format.BlockCount, hint format.BlockNo) (format.Extent, bool) {
	panic("alloc: on its way")
}

// AllocRun takes one extent of least…want blocks; false: no free extent has least.
func (a *Allocator) AllocRun(want, least format.BlockCount, hint format.BlockNo) (format.Extent, bool) {
	panic("alloc: on its way")
}

// AllocAll takes n blocks in as few extents as it can and appends them to dst; all or nothing.
func (a *Allocator) AllocAll(n format.BlockCount, hint format.BlockNo, dst []format.Extent) ([]format.Extent, bool) {
	panic("alloc: on its way")
}

// Free gives an extent back.
func (a *Allocator) Free(e format.Extent) { panic("alloc: on its way") }

// Claim takes exactly e; false (and nothing taken) if not all of it is free or it lies outside.
func (a *Allocator) Claim(e format.Extent) bool { panic("alloc: on its way") }

// IsFree tells whether all of e is free.
func (a *Allocator) IsFree(e format.Extent) bool { panic("alloc: on its way") }

// FreeBlocks is the number of free blocks, reserved ones included.
func (a *Allocator) FreeBlocks() uint64 { panic("alloc: on its way") }

// Pieces is how many runs of piece blocks the free extents hold: what a fold can still write as nodes.
func (a *Allocator) Pieces() uint64 { panic("alloc: on its way") }

// Reserve sets n free blocks aside in the accounts; false if fewer are available. Alloc does not look at it.
func (a *Allocator) Reserve(n uint64) bool { panic("alloc: on its way") }

// Forfeit ends a reservation of n blocks.
func (a *Allocator) Forfeit(n uint64) { panic("alloc: on its way") }

// Available is FreeBlocks less what is reserved, not below 0.
func (a *Allocator) Available() uint64 { panic("alloc: on its way") }

// Snapshot is the set of free extents now, O(1); later changes of one do not show in the other.
func (a *Allocator) Snapshot() *FreeSet { panic("alloc: on its way") }

// FreeSet is a set of free extents by position. It has Free, Claim, IsFree, FreeBlocks, Runs, Ascend.
type FreeSet struct{}

// Free adds an extent.
func (s *FreeSet) Free(e format.Extent) { panic("alloc: on its way") }

// Claim removes exactly e.
func (s *FreeSet) Claim(e format.Extent) bool { panic("alloc: on its way") }

// MapEncoder writes a space map in steps.
type MapEncoder struct{}

// NewMapEncoder begins a map of s, which must not change until it is done.
func NewMapEncoder(s *FreeSet, h format.SpaceMapHeader) *MapEncoder { panic("alloc: on its way") }

// Step encodes up to n free extents; true = the map is complete.
func (m *MapEncoder) Step(n int) bool { panic("alloc: on its way") }

// Bytes is the complete map, header included, and Header its header (whose Crc the superblock names).
func (m *MapEncoder) Bytes() []byte { panic("alloc: on its way") }

// Header is the header of the complete map.
func (m *MapEncoder) Header() format.SpaceMapHeader { panic("alloc: on its way") }

// DecodeMap makes an allocator from a map that was read from p.
func DecodeMap(p format.Place, b []byte, space []format.Extent, piece format.BlockCount) (*Allocator, format.SpaceMapHeader, error) {
	panic("alloc: on its way")
}
