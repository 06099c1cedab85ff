package btree

import (
	"basalt/engine"
	"basalt/storage/format"
)

// CountNodes counts the nodes of root. It reads the inner ones, past the cache, and takes their word for the leaves. pause is called after each
// and may suspend; an error of it ends the count.
func (t *Tree) CountNodes(f *engine.Fiber, root Root, pause func(f *engine.Fiber) error) (uint64, error) {
	if root.Height <= 1 {
		return uint64(root.Height), nil
	}
	c := &counter{t: t, f: f, pause: pause}
	c.ahead.cold = true // nothing is read ahead, and nothing comes from the cache
	err := c.node(root.ChildPtr, int(root.Height)-1)
	return c.n, err
}

// counter is one count. Every level has its own memory.
type counter struct {
	t     *Tree
	f     *engine.Fiber
	pause func(f *engine.Fiber) error
	nodes [format.NodeHeightMax][]byte
	ahead ahead
	n     uint64
}

func (c *counter) node(ptr format.ChildPtr, level int) error {
	b, _, err := c.t.copyNode(c.f, ptr, level, c.nodes[level], &c.ahead)
	c.nodes[level] = b
	if err == nil {
		err = c.pause(c.f)
	}
	if err != nil {
		return err
	}
	n := format.Node(b)
	c.n++
	if level == 1 {
		c.n += uint64(n.Count())
		return nil
	}
	for i := range n.Count() {
		if err := c.node(n.Child(i), level-1); err != nil {
			return err
		}
	}
	return nil
}

// Freed is how many nodes folds have done away with since the tree was opened.
func (t *Tree) Freed() uint64 { return t.folded.freed }

// Grown is how many nodes more folds have written than they have done away with, since the tree was opened; negative if the tree has shrunk.
func (t *Tree) Grown() int64 { return int64(t.folded.written) - int64(t.folded.freed) }
