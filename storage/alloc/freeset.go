package alloc

import (
	"fmt"
	"sort"

	"basalt/storage/format"
)

type (
	blockNo    = format.BlockNo
	blockCount = format.BlockCount
	extent     = format.Extent
)

// freeSet is a set of free extents by position: the whole truth of an allocator.
type freeSet struct {
	space  []extent // immutable; ascending, disjoint
	total  uint64   // immutable; blocks of space
	nodes  treeNodes
	pos    extentTree
	blocks uint64
	index  *classes // told about every change
}

func (s *freeSet) init(space []extent) {
	s.space = append([]extent(nil), space...)
	for i, e := range s.space {
		if e.Empty() || (i > 0 && e.Start < s.space[i-1].End()) {
			panic(fmt.Sprintf("alloc: space %v is not ascending", space))
		}
		s.total += uint64(e.Len)
	}
	s.pos.init(&s.nodes)
}

// Runs is the number of free extents.
func (s *freeSet) Runs() int { return s.pos.n }

// Ascend visits the free extents by position until fn returns false.
func (s *freeSet) Ascend(fn func(e format.Extent) bool) { s.pos.ascend(0, fn) }

// home is the extent of the space that holds all of e.
func (s *freeSet) home(e extent) (extent, bool) {
	i := sort.Search(len(s.space), func(i int) bool { return s.space[i].End() > e.Start })
	if i == len(s.space) || e.Empty() || e.End() < e.Start || !s.space[i].Contains(e) {
		return extent{}, false
	}
	return s.space[i], true
}

// InSpace tells whether e lies in one extent of the space.
func (s *freeSet) InSpace(e format.Extent) bool {
	_, ok := s.home(e)
	return ok
}

// containing is the free extent that holds block b.
func (s *freeSet) containing(b blockNo) (extent, bool) {
	e, ok := s.pos.floor(b)
	return e, ok && b < e.End()
}

// IsFree tells whether all of e is free.
func (s *freeSet) IsFree(e format.Extent) bool {
	f, ok := s.containing(e.Start)
	return ok && f.Contains(e) && !e.Empty()
}

// AnyFree tells whether a block of e is free.
func (s *freeSet) AnyFree(e format.Extent) bool {
	f, ok := s.pos.floor(e.End() - 1)
	return ok && f.Overlaps(e)
}

// Free adds an extent that is not free, and merges it with its neighbours.
func (s *freeSet) Free(e format.Extent) {
	home, ok := s.home(e)
	if !ok {
		panicExtent("free of blocks outside the space", e, e)
	}
	var place treeCursor
	place.seek(&s.pos, e.Start)
	left, right := place, place
	left.settle()
	l, lok := left.extent()
	rok := right.next()
	r, _ := right.extent()
	if lok && l.End() > e.Start {
		panicExtent("free of a free block", e, l)
	}
	if rok && r.Start < e.End() {
		panicExtent("free of a free block", e, r)
	}
	lok = lok && l.End() == e.Start && l.Start >= home.Start
	rok = rok && r.Start == e.End() && r.End() <= home.End()
	switch {
	case lok && rok:
		s.set(&left, l, extent{Start: l.Start, Len: l.Len + e.Len + r.Len})
		s.remove(&right, r)
	case lok:
		s.set(&left, l, extent{Start: l.Start, Len: l.Len + e.Len})
	case rok:
		s.set(&right, r, extent{Start: e.Start, Len: e.Len + r.Len})
	default:
		place.insert(e)
		s.index.insert(e)
	}
	s.blocks += uint64(e.Len)
}

// Claim removes exactly e; false, and nothing happens, if not all of it is free.
func (s *freeSet) Claim(e format.Extent) bool {
	var c treeCursor
	c.seek(&s.pos, e.Start)
	c.settle()
	f, ok := c.extent()
	if !ok || e.Empty() || !f.Contains(e) {
		return false
	}
	front := extent{Start: f.Start, Len: blockCount(e.Start - f.Start)}
	back := extent{Start: e.End(), Len: blockCount(f.End() - e.End())}
	switch {
	case front.Empty() && back.Empty():
		s.remove(&c, f)
	case front.Empty():
		s.set(&c, f, back)
	default:
		s.set(&c, f, front)
		if !back.Empty() {
			c.seek(&s.pos, back.Start)
			c.insert(back)
			s.index.insert(back)
		}
	}
	s.blocks -= uint64(e.Len)
	return true
}

// set changes the extent at the cursor, which stays between its neighbours.
func (s *freeSet) set(c *treeCursor, from, to extent) {
	c.set(to)
	s.index.change(from, to)
}

func (s *freeSet) remove(c *treeCursor, e extent) {
	c.remove()
	s.index.remove(e)
}

func (s *freeSet) check() (err error) {
	var last extent
	var blocks uint64
	s.pos.ascend(0, func(e extent) bool {
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
