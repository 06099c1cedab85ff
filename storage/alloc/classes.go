package alloc

import (
	"fmt"
	"math/bits"

	"github.com/google/btree"

	"basalt/storage/format"
)

// Size classes. Lengths up to ExactMax have a class each, so that a value or a node is found whenever it fits; above
// that a class is a power of two: 17…31, 32…63, …; the last one is open.
const (
	ExactMax   = 16
	topLenLog  = 14 // ≥ 16384 blocks = 64 MiB
	classTop   = ExactMax + topLenLog - 4
	classCount = classTop + 1
	probesMax  = 8 // members of a class that are looked at one by one
)

const (
	_ = uint(ExactMax - format.ValueBytesMax/format.BlockBytes)
	_ = uint(ExactMax - format.NodeBytesMax/format.BlockBytes)
	_ = uint(64 - classCount) // the mask of classes is one word
)

// classOf is the class of extents of n blocks.
func classOf(n blockCount) int {
	if n <= ExactMax {
		return int(n) - 1
	}
	return min(ExactMax+bits.Len32(uint32(n))-5, classTop)
}

// classFit is the smallest class whose every member has n blocks; only of the open class some may be shorter.
func classFit(n blockCount) int {
	c := classOf(n)
	if n > ExactMax && n&(n-1) != 0 {
		c++
	}
	return min(c, classTop)
}

func byLen(a, b extent) bool { return a.Len < b.Len || (a.Len == b.Len && a.Start < b.Start) }

// classes are the free extents by size class and, within a class, by position.
type classes struct {
	piece   blockCount // immutable
	sets    [classCount]*btree.BTreeG[extent]
	longest *btree.BTreeG[extent] // members of the open class by length
	mask    uint64                // classes that have members
	pieces  uint64                // runs of piece blocks in all members
}

func (c *classes) init(piece blockCount) {
	c.piece = piece
	for i := range c.sets {
		c.sets[i] = btree.NewG(treeDegree, byStart)
	}
	c.longest = btree.NewG(treeDegree, byLen)
}

func (c *classes) insert(e extent) {
	k := classOf(e.Len)
	c.sets[k].ReplaceOrInsert(e)
	c.mask |= 1 << k
	if k == classTop {
		c.longest.ReplaceOrInsert(e)
	}
	c.pieces += uint64(e.Len / c.piece)
}

func (c *classes) remove(e extent) {
	k := classOf(e.Len)
	if _, ok := c.sets[k].Delete(e); !ok {
		panicExtent("extent is not in its size class", e, e)
	}
	if c.sets[k].Len() == 0 {
		c.mask &^= 1 << k
	}
	if k == classTop {
		c.longest.Delete(e)
	}
	c.pieces -= uint64(e.Len / c.piece)
}

// near is the first of probes members of class k, from hint on and then from the start, that has want blocks.
func (c *classes) near(k int, want blockCount, hint blockNo, probes int) (out extent, ok bool) {
	look := func(e extent) bool {
		if e.Len >= want {
			out, ok = e, true
		}
		probes--
		return !ok && probes > 0
	}
	c.sets[k].AscendGreaterOrEqual(extent{Start: hint}, look)
	if !ok && probes > 0 {
		c.sets[k].Ascend(look)
	}
	return out, ok
}

// fit is a free extent of at least want blocks.
func (c *classes) fit(want blockCount, hint blockNo) (extent, bool) {
	from := classFit(want)
	if own := classOf(want); own < from {
		if e, ok := c.near(own, want, hint, probesMax); ok {
			return e, true
		}
	}
	if rest := c.mask >> from << from; rest != 0 {
		if k := bits.TrailingZeros64(rest); k < classTop {
			return c.near(k, want, hint, 1)
		}
	}
	return c.fitTop(want, hint)
}

// fitTop looks at a few members of the open class near hint, then takes the shortest that is long enough.
func (c *classes) fitTop(want blockCount, hint blockNo) (out extent, ok bool) {
	if e, ok := c.near(classTop, want, hint, probesMax); ok {
		return e, true
	}
	c.longest.AscendGreaterOrEqual(extent{Len: want}, func(e extent) bool {
		out, ok = e, true
		return false
	})
	return out, ok
}

// largest is a member of the largest class there is, if it can one of at least least blocks.
func (c *classes) largest(least blockCount, hint blockNo) (extent, bool) {
	if c.mask == 0 {
		return extent{}, false
	}
	k := bits.Len64(c.mask) - 1
	if k == classTop {
		return c.longest.Max()
	}
	if e, ok := c.near(k, least, hint, probesMax); ok {
		return e, true
	}
	return c.near(k, 1, hint, 1)
}

func (c *classes) check(s *FreeSet) error {
	var n int
	var pieces uint64
	for k, set := range c.sets {
		var err error
		set.Ascend(func(e extent) bool {
			if got, ok := s.pos.Get(e); !ok || got != e || classOf(e.Len) != k {
				err = fmt.Errorf("alloc: class %d holds %v, by position it is %v", k, e, got)
			}
			pieces += uint64(e.Len / c.piece)
			return err == nil
		})
		if err != nil {
			return err
		}
		if (set.Len() > 0) != (c.mask&(1<<k) != 0) {
			return fmt.Errorf("alloc: class %d has %d members, the mask is %b", k, set.Len(), c.mask)
		}
		n += set.Len()
	}
	if n != s.pos.Len() || pieces != c.pieces || c.longest.Len() != c.sets[classTop].Len() {
		return fmt.Errorf("alloc: %d extents by class and %d by position; %d pieces, the count says %d; %d and %d in the open class",
			n, s.pos.Len(), pieces, c.pieces, c.longest.Len(), c.sets[classTop].Len())
	}
	return nil
}
