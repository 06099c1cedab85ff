package alloc

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// check verifies order, bounds and counts of a tree, and tells how many nodes it has.
func (t *extentTree) check() (nodes int, err error) {
	n, last := 0, extent{}
	var visit func(at uint32, level int, lo, hi blockNo)
	visit = func(at uint32, level int, lo, hi blockNo) {
		node := t.nodes.at(at)
		if nodes++; node.n == 0 && (level < t.height || level > 0) {
			err = fmt.Errorf("node %d of level %d is empty", at, level)
		}
		for i := range node.n {
			key := node.keys[i]
			if level > 0 {
				next := hi
				if i+1 < node.n {
					next = node.keys[i+1]
				}
				if i == 0 {
					key = lo
				}
				if key < lo || next > hi || key >= next {
					err = fmt.Errorf("bound %d of node %d is %d, inside %d…%d", i, at, key, lo, hi)
				}
				visit(node.vals[i], level-1, key, next)
				continue
			}
			e := extent{Start: key, Len: blockCount(node.vals[i])}
			if key < lo || key >= hi || n > 0 && key <= last.Start {
				err = fmt.Errorf("%v after %v, inside %d…%d", e, last, lo, hi)
			}
			n, last = n+1, e
		}
	}
	visit(t.root, t.height, 0, 1<<60)
	if n != t.n {
		err = fmt.Errorf("%d extents, the count says %d", n, t.n)
	}
	return nodes, err
}

// checkLast verifies that the path of the last search, if it would be used again, leads from the root to its leaf.
func (t *extentTree) checkLast() error {
	at := t.root
	for level := t.height; t.seen == t.shape; level-- {
		p := t.last.path[level]
		if p.at != at {
			return fmt.Errorf("the last search came through node %d of level %d, the way there is %d now", p.at, level, at)
		}
		if level == 0 {
			break
		}
		at = t.nodes.at(at).vals[p.i]
	}
	return nil
}

// treeRig is a tree and a sorted slice of what should be in it.
type treeRig struct {
	t           *testing.T
	rng         *rand.Rand
	nodes       treeNodes
	tree, other extentTree
	want        []extent
	peak        int // nodes
}

func (r *treeRig) put(e extent) {
	var c treeCursor
	c.seek(&r.tree, e.Start)
	c.insert(e)
	if err := r.tree.checkLast(); err != nil {
		r.t.Fatal(err)
	}
	i, _ := slices.BinarySearchFunc(r.want, e, func(a, b extent) int { return int(a.Start) - int(b.Start) })
	r.want = slices.Insert(r.want, i, e)
}

func (r *treeRig) seek(i int) (c treeCursor) {
	c.seek(&r.tree, r.want[i].Start+blockNo(r.rng.IntN(int(r.want[i].Len))))
	c.settle()
	if e, ok := c.extent(); !ok || e != r.want[i] {
		r.t.Fatalf("at %v stands %v", r.want[i], e)
	}
	return c
}

// look compares everything, and counts the nodes.
func (r *treeRig) look() {
	r.t.Helper()
	i := 0
	r.tree.ascend(0, func(e extent) bool {
		if i >= len(r.want) || e != r.want[i] {
			r.t.Fatalf("extent %d is %v, %d are wanted", i, e, len(r.want))
		}
		i++
		return true
	})
	n, err := r.tree.check()
	if err != nil || i != len(r.want) {
		r.t.Fatalf("%d extents of %d: %v", i, len(r.want), err)
	}
	m, _ := r.other.check()
	if got := int(r.nodes.used) - len(r.nodes.spare); got != n+m {
		r.t.Fatalf("%d nodes are in use, the trees have %d", got, n+m)
	}
	r.peak = max(r.peak, n)
}

// grow adds extents at the right end, at the left end, or anywhere.
func (r *treeRig) grow(where int) {
	serial := blockNo(1 << 30)
	for len(r.want) < 9000 {
		switch where {
		case 0:
			serial += 10
			r.put(extent{Start: serial, Len: 3})
		case 1:
			serial -= 10
			r.put(extent{Start: serial, Len: 3})
		default:
			start := blockNo(r.rng.IntN(1<<27) * 8)
			if e, ok := r.tree.floor(start); !ok || e.Start != start {
				r.put(extent{Start: start, Len: blockCount(1 + r.rng.IntN(6))})
			}
		}
	}
}

// gap is what lies between the neighbours of extent i.
func (r *treeRig) gap(i int) (lo, hi blockNo) {
	lo, hi = 0, r.want[i].End()+20
	if i > 0 {
		lo = r.want[i-1].End()
	}
	if i+1 < len(r.want) {
		hi = r.want[i+1].Start
	}
	return lo, hi
}

// step moves, walks around or removes extent i, or adds one before it.
func (r *treeRig) step(i int) {
	c := r.seek(i)
	lo, hi := r.gap(i)
	switch {
	case r.rng.IntN(3) == 0:
		e := extent{Start: lo + blockNo(r.rng.Uint64N(uint64(hi-lo)))}
		e.Len = blockCount(1 + r.rng.Uint64N(uint64(hi-e.Start)))
		c.set(e)
		r.want[i] = e
	case len(r.want) > 1 && r.rng.IntN(4) == 0:
		if i+1 < len(r.want) && (!c.next() || !c.prev()) || i == 0 && c.prev() {
			r.t.Fatalf("neighbours of %v", r.want[i])
		}
		if e, _ := c.extent(); e != r.want[i] {
			r.t.Fatalf("there and back from %v: %v", r.want[i], e)
		}
	case lo < r.want[i].Start && r.rng.IntN(4) == 0:
		r.put(extent{Start: lo, Len: 1})
	default:
		c.remove()
		r.want = slices.Delete(r.want, i, i+1)
	}
	if err := r.tree.checkLast(); err != nil {
		r.t.Fatal(err)
	}
}

// A tree against a sorted slice: it grows to three levels and shrinks to nothing, several times, at random places, at the ends, and by extents
// that move; two trees share the nodes, and no node is lost.
func TestExtentTree(t *testing.T) {
	r := &treeRig{t: t, rng: rand.New(rand.NewPCG(3, 4))}
	r.tree.init(&r.nodes)
	r.other.init(&r.nodes)
	for round := range 6 {
		r.grow(round % 3)
		r.look()
		for step := 0; len(r.want) > 0; step++ {
			i := r.rng.IntN(len(r.want))
			if round%2 == 0 {
				i = min(i, r.rng.IntN(10)) // at the left end
			}
			if r.step(i); step%1000 == 0 || len(r.want) < 3 {
				r.look()
			}
		}
	}
	if used := int(r.nodes.used); used > 2*r.peak || r.tree.height != 0 {
		t.Errorf("%d nodes were made, the most in use were %d; an empty tree is %d high", used, r.peak, r.tree.height)
	}
}

// A tree that shrinks to a fraction gives its nodes back.
func TestExtentTreeShrinks(t *testing.T) {
	var nodes treeNodes
	var tree extentTree
	tree.init(&nodes)
	for i := range 20_000 {
		var c treeCursor
		c.seek(&tree, blockNo(2*i))
		c.insert(extent{Start: blockNo(2 * i), Len: 1})
	}
	full, _ := tree.check()
	if full > 20_000/treeSplitEnd+20 {
		t.Errorf("%d nodes for 20000 extents in ascending order", full)
	}
	for i := range 20_000 {
		if i%20 != 0 {
			var c treeCursor
			c.seek(&tree, blockNo(2*i))
			c.remove()
		}
	}
	if left, err := tree.check(); err != nil || left > full/8 {
		t.Errorf("%d nodes of %d are left for a twentieth of the extents (%v)", left, full, err)
	}
}
