package storage

import (
	"fmt"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/storage/btree"
	"basalt/storage/format"
)

// nodes counts the nodes of the durable tree one by one.
func (c *crowd) nodes() (n uint64) {
	c.t.Helper()
	c.do(func(f *engine.Fiber) error {
		return c.s.tree.Walk(f, c.s.super.Tree, btree.Visitor{Node: func(format.Extent, format.ChildPtr, int) error { n++; return nil }})
	})
	return n
}

// rest lets the store do what it does when nobody wants anything.
func (c *crowd) rest() {
	c.t.Helper()
	c.do(func(f *engine.Fiber) error { f.Sleep(10e9); return nil })
}

// The nodes of the tree are counted after a mount, folds keep the count, and a checkpoint that is wanted does not wait for it.
func TestNodesAreCountedAfterAMount(t *testing.T) {
	c := newCrowd(t, 2500, 24<<20, 4<<10)
	c.small(400)
	c.scattered(300)
	for range 3 {
		c.unmount()
		c.mount()
		c.do(func(f *engine.Fiber) error {
			c.s.wantCheckpoint(f.Turn())
			return c.s.Checkpoint(f)
		})
		c.rest()
		if want := c.nodes(); !c.s.counted || c.s.treeNodes() != want || want < 50 {
			t.Fatalf("counted: %v, %d nodes, the tree has %d", c.s.counted, c.s.treeNodes(), want)
		}
		for i := range 20 {
			c.update(func(tx *Tx) error { return tx.Put(1, fmt.Appendf(nil, "%d", i), make([]byte, 900+i)) })
		}
		c.update(func(tx *Tx) error { return tx.Remove(1, c.names[0]) })
		c.names = c.names[1:]
		c.do(c.s.Checkpoint)
		if want := c.nodes(); c.s.treeNodes() != want {
			t.Fatalf("%d nodes after a fold, the tree has %d", c.s.treeNodes(), want)
		}
	}
	c.unmount()
}

// A checkpoint that is wanted ends the count, and it begins anew behind it; a tree that cannot be read is not counted, and nothing else comes of that.
func TestCountOfNodesGivesWay(t *testing.T) {
	c := newCrowd(t, 2501, 24<<20, 4<<10)
	c.small(400)
	c.unmount()
	c.mount()
	c.rest()
	had := c.s.treeNodes()
	c.do(func(f *engine.Fiber) error {
		c.s.counted, c.s.check.want = false, true
		c.s.countNodes(f)
		c.s.check.want = false
		if c.s.counted || c.s.treeNodes() != had {
			t.Fatalf("counted: %v, %d nodes", c.s.counted, c.s.treeNodes())
		}
		c.disk.SetFaults(sim.Faults{ReadError: 1})
		c.s.countNodes(f)
		c.disk.SetFaults(sim.Faults{})
		if !c.s.counted || c.s.treeNodes() != had || c.s.failed != nil {
			t.Fatalf("counted: %v, %d nodes, %v", c.s.counted, c.s.treeNodes(), c.s.failed)
		}
		return nil
	})
	c.unmount()
}
