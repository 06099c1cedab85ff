package btree

import "basalt/storage/format"

// Cursor walks over the entries of a root in key order. It holds no node: whatever it needs it asks the cache for again,
// so it may be kept across suspensions as long as the store keeps the root's blocks.
type Cursor struct {
	t     *Tree
	root  Root
	path  [format.NodeHeightMax]step // by level; path[0] is the leaf
	next  [format.NodeHeightMax]step // where Next is going, until all of it is known to be there
	valid bool
	key   []byte
	leaf  format.Node // path[0], as long as the cache is what it was then
	seen  uint64      // cache.changes
}

type step struct {
	ptr format.ChildPtr
	i   int
}

// Cursor is at no entry until Seek.
func (t *Tree) Cursor(root Root) *Cursor { return &Cursor{t: t, root: root} }

// Reset makes the cursor one of another root, at no entry. It keeps the memory.
func (c *Cursor) Reset(root Root) { c.root, c.valid = root, false }

// Valid tells whether the cursor is at an entry.
func (c *Cursor) Valid() bool { return c.valid }

// Key is the key of the entry, lent until the next Seek, Next or Reset.
func (c *Cursor) Key() []byte { return c.key }

// Value is the value of the entry, lent until the caller suspends. After a Miss: Load, then Value again.
func (c *Cursor) Value() ([]byte, Miss) {
	n := c.leaf
	if c.seen != c.t.cache.changes {
		if n = c.t.cache.node(c.path[0].ptr); n == nil {
			return nil, missNode(c.path[0].ptr, 0)
		}
	}
	return c.t.valueOf(c.path[0].ptr, n, c.path[0].i)
}

// Seek goes to the first key ≥ key; at no entry if there is none. After a Miss: Load, then Seek again.
func (c *Cursor) Seek(key []byte) Miss {
	c.valid = false
	if c.root.Height == 0 {
		return Miss{}
	}
	c.path[c.root.Height-1].ptr = c.root.ChildPtr
	for level := int(c.root.Height) - 1; ; level-- {
		p := &c.path[level]
		n := c.t.cache.node(p.ptr)
		if n == nil {
			return missNode(p.ptr, level)
		}
		if level > 0 {
			p.i = n.SearchChild(key)
			c.path[level-1].ptr = n.Child(p.i)
			continue
		}
		p.i, _ = n.Search(key)
		if p.i < n.Count() {
			c.arrive(n)
			return Miss{}
		}
		p.i--
		return c.Next()
	}
}

// SeekLast goes to the last key ≤ key; at no entry if there is none. After a Miss: Load, then SeekLast again.
func (c *Cursor) SeekLast(key []byte) Miss {
	c.valid = false
	if c.root.Height == 0 {
		return Miss{}
	}
	c.path[c.root.Height-1].ptr = c.root.ChildPtr
	for level := int(c.root.Height) - 1; ; level-- {
		p := &c.path[level]
		n := c.t.cache.node(p.ptr)
		if n == nil {
			return missNode(p.ptr, level)
		}
		if level > 0 {
			p.i = n.SearchChild(key)
			c.path[level-1].ptr = n.Child(p.i)
			continue
		}
		i, equal := n.Search(key)
		if p.i = i; !equal {
			if i == 0 { // all of this leaf is greater: the key that it was split at may be gone
				return c.Prev()
			}
			p.i--
		}
		c.arrive(n)
		return Miss{}
	}
}

func (c *Cursor) arrive(n format.Node) {
	c.key = n.AppendKey(c.key[:0], c.path[0].i)
	c.valid = true
	c.leaf, c.seen = n, c.t.cache.changes
}

// Next goes to the next key, or to no entry behind the last. After a Miss the cursor stands where it stood: Load, then
// Next again (or Seek again, if it was Seek that missed).
func (c *Cursor) Next() Miss {
	level := 0
	for ; level < int(c.root.Height); level++ { // up to the first node that has a next entry
		p := c.path[level]
		n := c.t.cache.node(p.ptr)
		if n == nil {
			return missNode(p.ptr, level)
		}
		if p.i+1 < n.Count() {
			c.next[level] = step{p.ptr, p.i + 1}
			break
		}
	}
	return c.descend(level, false)
}

// Prev goes to the key before, or to no entry before the first. After a Miss the cursor stands where it stood: Load, then
// Prev again (or SeekLast again, if it was SeekLast that missed).
func (c *Cursor) Prev() Miss {
	level := 0
	for ; level < int(c.root.Height); level++ { // up to the first node that has an entry before
		if p := c.path[level]; p.i > 0 {
			c.next[level] = step{p.ptr, p.i - 1}
			break
		}
	}
	return c.descend(level, true)
}

// descend goes down from next[level], along the left edge or the right one.
func (c *Cursor) descend(level int, right bool) Miss {
	if level == int(c.root.Height) {
		c.valid = false
		return Miss{}
	}
	for down := level; ; down-- {
		p := &c.next[down]
		n := c.t.cache.node(p.ptr)
		if n == nil {
			return missNode(p.ptr, down)
		}
		if right && down < level {
			p.i = n.Count() - 1
		}
		if down == 0 {
			copy(c.path[:level+1], c.next[:level+1])
			c.arrive(n)
			return Miss{}
		}
		c.next[down-1] = step{ptr: n.Child(p.i)}
	}
}
