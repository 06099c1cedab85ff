// Package arena is memory outside the Go heap, in blocks of 4 KiB to 4 MiB that are aligned to their
// size: what the ring reads into and writes from, and where caches live unseen by the garbage collector.
//
// An Arena belongs to one reactor and is used on its thread only. A block has one owner at a time: Get
// makes the caller the owner, Put ends it, and while an operation is in flight the kernel has it.
//
// Invariants: a page is either in exactly one free block or in exactly one allocated block; two free
// buddies of one order are always merged. A Buf that is not allocated (put twice, never got, also if the block
// has a new owner by now) panics.
//
// No locks. Exhaustion is an error, ErrExhausted, never a panic: the caller waits or refuses.
//
// Read arena.go, then buddy.go.
package arena

import (
	"errors"
	"fmt"

	"basalt/engine/invariant"
)

// Sizes.
const (
	PageBytes   = 4 << 10
	BlockMax    = PageBytes << orderMax
	orderMax    = 10      // 4 KiB << 10 = 4 MiB
	segmentMax  = 1 << 30 // the kernel pins at most 1 GiB by one registered buffer
	freedByte   = 0xdb    // pattern of memory that nobody owns, in checked builds
	pagesMax    = 1 << 30
	pagePerBase = BlockMax / PageBytes
)

// ErrExhausted: no free block of that size.
var ErrExhausted = errors.New("arena: exhausted")

// Buf is a handle of an allocated block; the zero Buf is none. It holds no pointer.
type Buf struct {
	page uint32 // index of the first page, plus one
	n    uint32 // bytes asked for; above lenBits the generation of the page: a Put ends it
}

const (
	lenBits = 23 // BlockMax = 1 << 22
	lenMask = 1<<lenBits - 1
	_       = uint(lenMask - BlockMax)
	_       = uint(32 - lenBits - genBits)
)

// Valid tells whether b is a block at all.
func (b Buf) Valid() bool { return b.page != 0 }

// Len is the number of bytes asked for.
func (b Buf) Len() int { return int(b.n & lenMask) }

// Arena is a set of pages and who has them.
type Arena struct {
	mem        []byte // immutable; off-heap
	base       uint64 // immutable: address of mem[0], a multiple of BlockMax
	raw        []byte // immutable: the mapping mem was cut from
	registered bool   // set once, at start

	buddy     buddy
	usedBytes int64
	usedMax   int64
}

// New maps an arena of the given size, rounded down to whole blocks of BlockMax, or to whole pages if
// it is smaller than one.
func New(bytes int) (*Arena, error) {
	if bytes < PageBytes || bytes/PageBytes > pagesMax {
		return nil, fmt.Errorf("arena: size %d out of range", bytes)
	}
	if bytes > BlockMax {
		bytes -= bytes % BlockMax
	} else {
		bytes -= bytes % PageBytes
	}
	raw, mem, err := mapAligned(bytes, BlockMax)
	if err != nil {
		return nil, fmt.Errorf("arena: mapping %d bytes: %w", bytes, err)
	}
	a := &Arena{raw: raw, mem: mem, base: address(mem)}
	a.buddy.init(bytes / PageBytes)
	return a, nil
}

// Get allocates a block of at least n bytes, aligned to its size. The content is undefined.
func (a *Arena) Get(n int) (Buf, error) {
	if n <= 0 || n > BlockMax {
		return Buf{}, fmt.Errorf("arena: block of %d bytes, at most %d", n, BlockMax)
	}
	order := orderOf(n)
	page, ok := a.buddy.alloc(order)
	if !ok {
		return Buf{}, ErrExhausted
	}
	a.usedBytes += PageBytes << order
	a.usedMax = max(a.usedMax, a.usedBytes)
	return Buf{page: page + 1, n: a.buddy.generation(page)<<lenBits | uint32(n)}, nil
}

// Put gives the block back. b must not be used any more.
func (a *Arena) Put(b Buf) {
	a.check(b)
	order := orderOf(b.Len())
	if invariant.Enabled {
		fill(a.block(b, order))
	}
	a.usedBytes -= PageBytes << order
	a.buddy.free(b.page-1, order)
}

// Bytes is the block's memory: the length asked for, the capacity it has.
func (a *Arena) Bytes(b Buf) []byte {
	a.check(b)
	return a.block(b, orderOf(b.Len()))[:b.Len()]
}

// Addr is the block's address, for an SQE.
func (a *Arena) Addr(b Buf) uint64 {
	a.check(b)
	return a.base + uint64(b.page-1)*PageBytes
}

// AddrOf is the address of p, which lies in this arena.
func (a *Arena) AddrOf(p []byte) uint64 {
	addr := address(p)
	if addr < a.base || addr+uint64(len(p)) > a.base+uint64(len(a.mem)) {
		panicForeign(addr, len(p))
	}
	return addr
}

// Contains tells whether all of p lies in this arena.
func (a *Arena) Contains(p []byte) bool {
	if len(p) == 0 {
		return false
	}
	addr := address(p)
	return addr >= a.base && addr+uint64(len(p)) <= a.base+uint64(len(a.mem))
}

// Index is the number of the registered buffer that contains the block.
func (a *Arena) Index(b Buf) uint16 {
	a.check(b)
	return uint16(uint64(b.page-1) * PageBytes / segmentMax)
}

// IndexOf is the number of the registered buffer that contains addr, an address of this arena. No block
// lies across two of them: blocks are aligned to their size, which divides the segment.
func (a *Arena) IndexOf(addr uint64) uint16 { return uint16((addr - a.base) / segmentMax) }

// Registered tells whether the ring knows this memory, so that the *Fixed operations work.
func (a *Arena) Registered() bool { return a.registered }

// SetRegistered notes that it does.
func (a *Arena) SetRegistered() { a.registered = true }

// Segments is the whole arena in pieces that can be registered; the position is the Index.
func (a *Arena) Segments() [][]byte {
	var s [][]byte
	for off := 0; off < len(a.mem); off += segmentMax {
		s = append(s, a.mem[off:min(off+segmentMax, len(a.mem))])
	}
	return s
}

// Used is how many bytes are allocated now, Peak the most ever, Cap all there are.
func (a *Arena) Used() int64 { return a.usedBytes }
func (a *Arena) Peak() int64 { return a.usedMax }
func (a *Arena) Cap() int64  { return int64(len(a.mem)) }

// Close unmaps the memory. Nothing may use it any more, the kernel included.
func (a *Arena) Close() error {
	raw := a.raw
	a.mem, a.raw = nil, nil
	if raw == nil {
		return nil
	}
	return unmap(raw)
}

func (a *Arena) block(b Buf, order uint8) []byte {
	start, n := int(b.page-1)*PageBytes, PageBytes<<order
	return a.mem[start : start+n : start+n]
}

// check panics unless b is allocated, with the order its length says, and has been since its Get: 255 of 256
// uses after a Put are found although somebody else has the block.
func (a *Arena) check(b Buf) {
	if b.page == 0 || b.Len() == 0 || !a.buddy.allocated(b.page-1, orderOf(b.Len()), b.n>>lenBits) {
		panicBuf(b)
	}
}

func fill(p []byte) {
	for i := range p {
		p[i] = freedByte
	}
}

//go:noinline
func panicBuf(b Buf) {
	panic(fmt.Sprintf("arena: block at page %d of %d bytes is not allocated (put twice, or never got)", int64(b.page)-1, b.Len()))
}

//go:noinline
func panicForeign(addr uint64, n int) {
	panic(fmt.Sprintf("arena: %d bytes at %#x are not in this arena", n, addr))
}
