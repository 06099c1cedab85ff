package alloc

import (
	"fmt"
	"sort"

	"github.com/google/btree"

	"basalt/storage/format"
)

type (
	blockNo    = format.BlockNo
	blockCount = format.BlockCount
	extent     = format.Extent
)

// treeDegree is the fan-out of the sets: nodes of about 1 KiB of 16-byte items without pointers.
const treeDegree = 32

func byStart(a, b extent) bool { return a.Start < b.Start }

// FreeSet is a set of free extents by position: the whole truth of an allocator, and what a snapshot of it is.
type FreeSet struct {
	space  []extent // immutable; ascending, disjoint
	total  uint64   // immutable; blocks of space
	pos    *btree.BTreeG[extent]
	blocks uint64
	index  *classes // told about every change; nil in a snapshot
}

func (s *FreeSet) init(space []extent) {
	s.space = append([]extent(nil), space...)
	for i, e := range s.space {
		if e.Empty() || (i > 0 && e.Start < s.space[i-1].End()) {
			panic(fmt.Sprintf("alloc: space %v is not ascending", space))
		}
		s.total += uint64(e.Len)
	}
	s.pos = btree.NewG(treeDegree, byStart)
}

func (s *FreeSet) clone() *FreeSet {
	return &FreeSet{space: s.space, total: s.total, pos: s.pos.Clone(), blocks: s.blocks}
}

// FreeBlocks is the number of free blocks.
func (s *FreeSet) FreeBlocks() uint64 { return s.blocks }

// Runs is the number of free extents.
func (s *FreeSet) Runs() int { return s.pos.Len() }

// Ascend visits the free extents by position until fn returns false.
func (s *FreeSet) Ascend(fn func(e format.Extent) bool) { s.pos.Ascend(fn) }

// home is the extent of the space that holds all of e.
func (s *FreeSet) home(e extent) (extent, bool) {
	i := sort.Search(len(s.space), func(i int) bool { return s.space[i].End() > e.Start })
	if i == len(s.space) || e.Empty() || e.End() < e.Start || !s.space[i].Contains(e) {
		return extent{}, false
	}
	return s.space[i], true
}

// InSpace tells whether e lies in one extent of the space.
func (s *FreeSet) InSpace(e format.Extent) bool {
	_, ok := s.home(e)
	return ok
}

// atOrBefore is the last free extent that starts at or before b.
func (s *FreeSet) atOrBefore(b blockNo) (out extent, ok bool) {
	s.pos.DescendLessOrEqual(extent{Start: b}, func(e extent) bool {
		out, ok = e, true
		return false
	})
	return out, ok
}

// after is the first free extent that starts after b.
func (s *FreeSet) after(b blockNo) (out extent, ok bool) {
	s.pos.AscendGreaterOrEqual(extent{Start: b + 1}, func(e extent) bool {
		out, ok = e, true
		return false
	})
	return out, ok
}

// containing is the free extent that holds block b.
func (s *FreeSet) containing(b blockNo) (extent, bool) {
	e, ok := s.atOrBefore(b)
	return e, ok && b < e.End()
}

// IsFree tells whether all of e is free.
func (s *FreeSet) IsFree(e format.Extent) bool {
	f, ok := s.containing(e.Start)
	return ok && f.Contains(e) && !e.Empty()
}

// AnyFree tells whether a block of e is free.
func (s *FreeSet) AnyFree(e format.Extent) bool {
	if f, ok := s.atOrBefore(e.Start); ok && f.Overlaps(e) {
		return true
	}
	f, ok := s.after(e.Start)
	return ok && f.Overlaps(e)
}

// Free adds an extent that is not free, and merges it with its neighbours.
func (s *FreeSet) Free(e format.Extent) {
	home, ok := s.home(e)
	if !ok {
		panicExtent("free of blocks outside the space", e, e)
	}
	merged := e
	left, lok := s.atOrBefore(e.Start)
	right, rok := s.after(e.Start)
	if lok && left.End() > e.Start {
		panicExtent("free of a free block", e, left)
	}
	if rok && right.Start < e.End() {
		panicExtent("free of a free block", e, right)
	}
	if lok && left.End() == e.Start && left.Start >= home.Start {
		s.remove(left)
		merged = extent{Start: left.Start, Len: left.Len + merged.Len}
	}
	if rok && right.Start == e.End() && right.End() <= home.End() {
		s.remove(right)
		merged.Len += right.Len
	}
	s.insert(merged)
	s.blocks += uint64(e.Len)
}

// Claim removes exactly e; false, and nothing happens, if not all of it is free.
func (s *FreeSet) Claim(e format.Extent) bool {
	f, ok := s.containing(e.Start)
	if !ok || e.Empty() || !f.Contains(e) {
		return false
	}
	s.remove(f)
	if f.Start < e.Start {
		s.insert(extent{Start: f.Start, Len: blockCount(e.Start - f.Start)})
	}
	if e.End() < f.End() {
		s.insert(extent{Start: e.End(), Len: blockCount(f.End() - e.End())})
	}
	s.blocks -= uint64(e.Len)
	return true
}

func (s *FreeSet) insert(e extent) {
	s.pos.ReplaceOrInsert(e)
	if s.index != nil {
		s.index.insert(e)
	}
}

func (s *FreeSet) remove(e extent) {
	s.pos.Delete(e)
	if s.index != nil {
		s.index.remove(e)
	}
}

func (s *FreeSet) check() (err error) {
	var last extent
	var blocks uint64
	s.pos.Ascend(func(e extent) bool {
		home, ok := s.home(e)
		switch {
		case !ok:
			err = fmt.Errorf("alloc: free extent %v outside the space", e)
		case e.Start < last.End() || (e.Start == last.End() && last.Len > 0 && last.Start >= home.Start):
			err = fmt.Errorf("alloc: free extents %v and %v overlap or touch", last, e)
		}
		last = e
		blocks += uint64(e.Len)
		return err == nil
	})
	if err == nil && blocks != s.blocks {
		err = fmt.Errorf("alloc: %d blocks are free, the count says %d", blocks, s.blocks)
	}
	return err
}

//go:noinline
func panicExtent(what string, e, at extent) {
	panic(fmt.Sprintf("alloc: %s: %v (meets %v)", what, e, at))
}
