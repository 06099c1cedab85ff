package alloc

import (
	"fmt"
	"math/bits"

	"basalt/storage/format"
)

// FreeMap is which blocks a superblock calls free, one bit for each block of the space: 1 TiB / 4 KiB / 8 bits = 32 MiB. A checkpoint brings
// it from one superblock to the next by what came and went in between, in any order and in as many steps as it likes, while the allocator
// goes its own way. (A snapshot of the allocator's sets did that before: their nodes were copied one by one as both sides changed.)
type FreeMap struct {
	space  []extent // immutable; ascending, disjoint
	total  uint64   // immutable; blocks of space
	words  []uint64 // bit c%64 of word c/64: the block with coordinate c is free
	blocks uint64   // that are free
	runs   uint64   // maximal free extents, cut at the ends of the space's extents
}

// FreeMap is what is free now.
func (a *Allocator) FreeMap() *FreeMap {
	m := &FreeMap{space: a.free.space, total: a.free.total, words: make([]uint64, (a.free.total+63)/64)}
	a.free.Ascend(func(e extent) bool { m.Free(e); return true })
	return m
}

// FreeBlocks is the number of free blocks.
func (m *FreeMap) FreeBlocks() uint64 { return m.blocks }

// Bytes is the memory that the map takes.
func (m *FreeMap) Bytes() int { return 8 * len(m.words) }

// Free adds an extent that is not free.
func (m *FreeMap) Free(e format.Extent) {
	from, left, right := m.look(e)
	if !m.all(from, uint64(e.Len), 0) {
		panicExtent("a block of the map came free twice", e, e)
	}
	m.flip(from, uint64(e.Len))
	m.blocks += uint64(e.Len)
	m.runs += 1 - left - right
}

// Claim removes exactly e; false, and nothing happens, if not all of it is free.
func (m *FreeMap) Claim(e format.Extent) bool {
	from, left, right := m.look(e)
	if !m.all(from, uint64(e.Len), ^uint64(0)) {
		return false
	}
	m.flip(from, uint64(e.Len))
	m.blocks -= uint64(e.Len)
	m.runs += left + right - 1
	return true
}

// look finds the coordinate of the first block of e, and whether the blocks beside e, in the same extent of the space, are free.
func (m *FreeMap) look(e extent) (from, left, right uint64) {
	home, base := m.home(e)
	from = base + uint64(e.Start-home.Start)
	if e.Start > home.Start {
		left = m.bit(from - 1)
	}
	if e.End() < home.End() {
		right = m.bit(from + uint64(e.Len))
	}
	return from, left, right
}

// home is the extent of the space that holds all of e, and the coordinate of its first block.
func (m *FreeMap) home(e extent) (home extent, base uint64) {
	for _, home = range m.space {
		if home.Contains(e) && !e.Empty() {
			return home, base
		}
		base += uint64(home.Len)
	}
	panicExtent("map of blocks outside the space", e, e)
	return home, base
}

func (m *FreeMap) bit(c uint64) uint64 { return m.words[c/64] >> (c % 64) & 1 }

// each calls fn for the words that n bits from the from-th on lie in, with a mask of those bits.
func each(from, n uint64, fn func(word int, mask uint64) bool) bool {
	for n > 0 {
		low := from % 64
		k := min(64-low, n)
		if !fn(int(from/64), ^uint64(0)>>(64-k)<<low) {
			return false
		}
		from, n = from+k, n-k
	}
	return true
}

// all tells whether n bits from the from-th on are as in want, which is all zeros or all ones.
func (m *FreeMap) all(from, n, want uint64) bool {
	return each(from, n, func(w int, mask uint64) bool { return (m.words[w]^want)&mask == 0 })
}

func (m *FreeMap) flip(from, n uint64) {
	each(from, n, func(w int, mask uint64) bool { m.words[w] ^= mask; return true })
}

// seekWords are looked at in one step.
const seekWords = 64

// seek is the first coordinate in [from, end) whose block is free, or in use; false: there is none before the coordinate that it returns, which
// is end or as far as one step goes.
func (m *FreeMap) seek(from, end uint64, free bool) (at uint64, found bool) {
	flip := uint64(0)
	if !free {
		flip = ^uint64(0)
	}
	for range seekWords {
		if from >= end {
			return end, false
		}
		if w := (m.words[from/64] ^ flip) >> (from % 64); w != 0 {
			at = from + uint64(bits.TrailingZeros64(w))
			return min(at, end), at < end
		}
		from = (from/64 + 1) * 64
	}
	return min(from, end), false
}

// Ascend visits the free extents by position until fn returns false.
func (m *FreeMap) Ascend(fn func(e format.Extent) bool) {
	base := uint64(0)
	for _, home := range m.space {
		end := base + uint64(home.Len)
		for at := base; at < end; {
			from, found := m.seek(at, end, true)
			if at = from; !found {
				continue
			}
			for found = false; !found && at < end; {
				at, found = m.seek(at, end, false)
			}
			if !fn(extent{Start: home.Start + blockNo(from-base), Len: blockCount(at - from)}) {
				return
			}
		}
		base = end
	}
}

// check verifies the counts.
func (m *FreeMap) check() error {
	var runs, blocks uint64
	m.Ascend(func(e extent) bool { runs, blocks = runs+1, blocks+uint64(e.Len); return true })
	if runs != m.runs || blocks != m.blocks {
		return fmt.Errorf("alloc: %d blocks are free in %d extents, the counts say %d and %d", blocks, runs, m.blocks, m.runs)
	}
	return nil
}
