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

const longestDegree = 32

func byLen(a, b extent) bool { return a.Len < b.Len || (a.Len == b.Len && a.Start < b.Start) }

// classes are the free extents by size class and, within a class, by position.
type classes struct {
	piece   blockCount // immutable
	sets    [classCount]extentTree
	longest *btree.BTreeG[extent] // members of the open class by length
	mask    uint64                // classes that have members
	pieces  uint64                // runs of piece blocks in all members
}

func (c *classes) init(piece blockCount, nodes *treeNodes) {
	c.piece = piece
	for i := range c.sets {
		c.sets[i].init(nodes)
	}
	c.longest = btree.NewG(longestDegree, byLen)
}

func (c *classes) insert(e extent) {
	k := classOf(e.Len)
	var at treeCursor
	at.seek(&c.sets[k], e.Start)
	at.insert(e)
	c.mask |= 1 << k
	if k == classTop {
		c.longest.ReplaceOrInsert(e)
	}
	c.pieces += uint64(e.Len / c.piece)
}

func (c *classes) remove(e extent) {
	k := classOf(e.Len)
	at := c.find(k, e)
	at.remove()
	if c.sets[k].n == 0 {
		c.mask &^= 1 << k
	}
	if k == classTop {
		c.longest.Delete(e)
	}
	c.pieces -= uint64(e.Len / c.piece)
}

// find is the place of an extent in its class.
func (c *classes) find(k int, e extent) (at treeCursor) {
	at.seek(&c.sets[k], e.Start)
	if got, ok := at.extent(); !ok || got != e {
		panicExtent("extent is not in its size class", e, got)
	}
	return at
}

// change makes an extent another one, which stands between the same neighbours.
func (c *classes) change(from, to extent) {
	k := classOf(from.Len)
	if k == classTop || classOf(to.Len) != k {
		c.remove(from)
		c.insert(to)
		return
	}
	at := c.find(k, from)
	at.set(to)
	c.pieces += uint64(to.Len/c.piece) - uint64(from.Len/c.piece)
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
	c.sets[k].ascend(hint, look)
	if !ok && probes > 0 {
		c.sets[k].ascend(0, look)
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

// short is a member of the largest class of those that are shorter than a piece.
func (c *classes) short() (extent, bool) {
	mask := c.mask & (1<<min(c.piece-1, ExactMax) - 1) // class k is of k+1 blocks
	if mask == 0 {
		return extent{}, false
	}
	return c.near(bits.Len64(mask)-1, 1, 0, 1)
}

func (c *classes) check(s *freeSet) error {
	var n int
	var pieces uint64
	for k := range c.sets {
		set := &c.sets[k]
		var err error
		set.ascend(0, func(e extent) bool {
			if got, ok := s.pos.floor(e.Start); !ok || got != e || classOf(e.Len) != k {
				err = fmt.Errorf("alloc: class %d holds %v, by position it is %v", k, e, got)
			}
			pieces += uint64(e.Len / c.piece)
			return err == nil
		})
		if err != nil {
			return err
		}
		if (set.n > 0) != (c.mask&(1<<k) != 0) {
			return fmt.Errorf("alloc: class %d has %d members, the mask is %b", k, set.n, c.mask)
		}
		n += set.n
	}
	if n != s.pos.n || pieces != c.pieces || c.longest.Len() != c.sets[classTop].n {
		return fmt.Errorf("alloc: %d extents by class and %d by position; %d pieces, the count says %d; %d and %d in the open class",
			n, s.pos.n, pieces, c.pieces, c.longest.Len(), c.sets[classTop].n)
	}
	return nil
}
