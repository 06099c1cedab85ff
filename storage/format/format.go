// Package format holds every structure that the store writes to a device, its codec, and nothing else. docs/FORMAT.md
// is its specification; a test compares the tables there with what the encoders here do.
//
// Owner: none. Every type is a plain value; a view (Node, Txn, Op) borrows the bytes it was made from.
//
// Invariants:
//   - All integers are little-endian and encoded field by field; keys are ordered by bytes.Compare, so integers inside
//     keys are big-endian.
//   - Padding is zero, and Decode refuses padding that is not.
//   - Decode never panics and never guesses: whatever is wrong with bytes that came from a device is a *CorruptError.
//     Encode panics when the caller asks for something that the format cannot express, because that is our own bug.
//
// It survives nothing and needs nothing: no I/O, no clock, no goroutine, no lock.
//
// Read superblock.go first, then node.go, journal.go and op.go.
package format

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// BlockNo is the index of a block on one device (not of a slice, so that a segment can move between slices).
type BlockNo uint64

// BlockCount is a length in blocks, never a position.
type BlockCount uint32

// Extent is the half-open run of blocks start~length.
type Extent struct {
	Start BlockNo
	Len   BlockCount
}

// End is the first block after the extent.
func (e Extent) End() BlockNo { return e.Start + BlockNo(e.Len) }

// Empty tells whether the extent covers no block.
func (e Extent) Empty() bool { return e.Len == 0 }

// Bytes is the length of the extent in bytes.
func (e Extent) Bytes() int64 { return int64(e.Len) * BlockBytes }

// Offset is the position of the extent on its device in bytes.
func (e Extent) Offset() int64 { return int64(e.Start) * BlockBytes }

// Contains tells whether o lies wholly inside e. It is safe for an o of any bytes: its end may wrap around.
func (e Extent) Contains(o Extent) bool {
	return o.Start >= e.Start && o.End() <= e.End() && o.Start <= o.End()
}

// Overlaps tells whether e and o share a block.
func (e Extent) Overlaps(o Extent) bool {
	return e.Start < o.End() && o.Start < e.End() && !e.Empty() && !o.Empty()
}

func (e Extent) String() string { return fmt.Sprintf("%d~%d", e.Start, e.Len) }

// BlocksFor is the number of blocks that n bytes need.
func BlocksFor(n int64) BlockCount { return BlockCount((n + BlockBytes - 1) / BlockBytes) }

// UUID names a device, a store or a mount. The zero UUID names nothing and is refused where a name is required.
type UUID [16]byte

func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// IsZero tells whether u names nothing.
func (u UUID) IsZero() bool { return u == UUID{} }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Crc is the crc32c of p. Every checksum of the format is one of these.
func Crc(p []byte) uint32 { return crc32.Update(0, castagnoli, p) }

// CrcAdd continues a crc32c over more bytes.
func CrcAdd(crc uint32, p []byte) uint32 { return crc32.Update(crc, castagnoli, p) }

var le = binary.LittleEndian

// What each structure begins with, for those who look for structures on a device.
const (
	LabelMagic    = labelMagic
	SuperMagic    = superMagic
	JournalMagic  = journalMagic
	NodeMagic     = nodeMagic
	SpaceMapMagic = spaceMapMagic
)

// nonZero is the index of the first byte of p that is not zero, or -1.
func nonZero(p []byte) int {
	i := 0
	for ; i+8 <= len(p); i += 8 {
		if le.Uint64(p[i:]) != 0 {
			break
		}
	}
	for ; i < len(p); i++ {
		if p[i] != 0 {
			return i
		}
	}
	return -1
}

// mustLen panics unless p has at least n bytes: a caller's buffer that is too small is our bug, not the disk's.
func mustLen(what string, p []byte, n int) {
	if len(p) < n {
		panicShort(what, len(p), n)
	}
}

//go:noinline
func panicShort(what string, have, need int) {
	panic(fmt.Sprintf("format: buffer for %s has %d bytes, needs %d", what, have, need))
}
