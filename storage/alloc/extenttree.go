package alloc

const (
	treeFan      = 64 // entries of a node: 12 bytes each, 776 with the count
	treeLow      = treeFan / 4
	treeHeight   = 12 // levels; nodes are a quarter full at least, but for a few: 16^12 extents are more than any device has
	treeChunk    = 64 // nodes that are made at once
	chunkBytes   = treeChunk * (8 + treeFan*12)
	treeSplitEnd = treeFan * 7 / 8 // what stays on the left when a node overflows at its end: extents often come in ascending order
)

// treeNode has no pointer: the collector never looks inside. In a leaf an entry is the start and the length of an extent, in an inner node it
// is a bound and a child: what is below the child is at or behind the bound and before the next one's. The first bound means nothing.
type treeNode struct {
	n    int32
	keys [treeFan]blockNo
	vals [treeFan]uint32
}

// treeNodes are the nodes of all trees of an allocator. What one gives back another takes: in steady state there is no garbage.
type treeNodes struct {
	chunks []*[treeChunk]treeNode
	used   uint32
	spare  []uint32
}

func (s *treeNodes) at(i uint32) *treeNode { return &s.chunks[i/treeChunk][i%treeChunk] }

func (s *treeNodes) add() (uint32, *treeNode) {
	var i uint32
	if k := len(s.spare) - 1; k >= 0 {
		i, s.spare = s.spare[k], s.spare[:k]
	} else {
		if i = s.used; int(i/treeChunk) == len(s.chunks) {
			s.chunks = append(s.chunks, &[treeChunk]treeNode{})
		}
		s.used++
	}
	n := s.at(i)
	n.n = 0
	return i, n
}

func (s *treeNodes) give(i uint32) { s.spare = append(s.spare, i) }

// last is the last entry at or before b, not looking at those before from; from-1 if there is none.
func (n *treeNode) last(b blockNo, from uint32) int32 {
	lo, hi := from, uint32(n.n)
	for lo < hi {
		mid := (lo + hi) / 2
		if n.keys[mid%treeFan] <= b {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return int32(lo) - 1
}

func (n *treeNode) insert(i int32, key blockNo, val uint32) {
	copy(n.keys[i+1:n.n+1], n.keys[i:n.n])
	copy(n.vals[i+1:n.n+1], n.vals[i:n.n])
	n.keys[i], n.vals[i] = key, val
	n.n++
}

func (n *treeNode) delete(i int32) {
	copy(n.keys[i:n.n-1], n.keys[i+1:n.n])
	copy(n.vals[i:n.n-1], n.vals[i+1:n.n])
	n.n--
}

// move appends the entries of from, from the i-th on, to those of n.
func (n *treeNode) move(from *treeNode, i int32) {
	copy(n.keys[n.n:], from.keys[i:from.n])
	copy(n.vals[n.n:], from.vals[i:from.n])
	n.n += from.n - i
	from.n = i
}

// extentTree is disjoint extents by position: a B+tree that is changed in place.
type extentTree struct {
	nodes  *treeNodes
	root   uint32
	height int // levels above the leaves
	n      int // extents

	shape uint64     // counts nodes that came, went or gave entries to others: as long as it stays, every path does
	last  treeCursor // where the last search ended: a checkpoint frees in ascending order
	seen  uint64     // the shape then
}

func (t *extentTree) init(nodes *treeNodes) {
	t.nodes, t.shape = nodes, 1
	t.root, _ = nodes.add()
}

// treeCursor is a place in a tree. A change of the tree through another cursor ends it.
type treeCursor struct {
	t    *extentTree
	path [treeHeight]treeStep // by level; path[0] is the leaf
}

type treeStep struct {
	at uint32
	i  int32 // in a leaf -1 is before its first
}

// seek goes to where an extent that starts at b belongs: to the one before it, or to before the first of a leaf.
func (c *treeCursor) seek(t *extentTree, b blockNo) {
	if t.seen == t.shape {
		n := t.nodes.at(t.last.path[0].at)
		if k := n.n; k > 1 && n.keys[0] <= b && b < n.keys[k-1] { // between two of its extents there is no other leaf
			*c = t.last
			c.path[0].i = n.last(b, 0)
			return
		}
	}
	c.t = t
	at := t.root
	for level := t.height; level > 0; level-- {
		n := t.nodes.at(at)
		i := n.last(b, 1)
		c.path[level] = treeStep{at, i}
		at = n.vals[i]
	}
	c.path[0] = treeStep{at, t.nodes.at(at).last(b, 0)}
	t.last, t.seen = *c, t.shape
}

// settle goes from before the first extent of a leaf to the last of the leaf before, if there is one.
func (c *treeCursor) settle() {
	if c.path[0].i < 0 {
		c.prev()
	}
}

// extent is the one at the cursor; false: there is none.
func (c *treeCursor) extent() (extent, bool) {
	p := c.path[0]
	if n := c.t.nodes.at(p.at); uint32(p.i) < uint32(n.n) {
		return extent{Start: n.keys[p.i], Len: blockCount(n.vals[p.i])}, true
	}
	return extent{}, false
}

// next goes to the next extent; false: there is none, and the cursor stays.
func (c *treeCursor) next() bool {
	for level := 0; level <= c.t.height; level++ {
		p := &c.path[level]
		if n := c.t.nodes.at(p.at); p.i+1 < n.n {
			p.i++
			c.descend(level, false)
			return true
		}
	}
	return false
}

// prev goes to the extent before; false: there is none, and the cursor stays.
func (c *treeCursor) prev() bool {
	for level := 0; level <= c.t.height; level++ {
		if p := &c.path[level]; p.i > 0 {
			p.i--
			c.descend(level, true)
			return true
		}
	}
	return false
}

// descend goes from the entry of a level down along the left edge or the right one.
func (c *treeCursor) descend(level int, right bool) {
	for ; level > 0; level-- {
		p := c.path[level]
		at, i := c.t.nodes.at(p.at).vals[p.i], int32(0)
		if right {
			i = c.t.nodes.at(at).n - 1
		}
		c.path[level-1] = treeStep{at, i}
	}
}

// set changes the extent at the cursor, which keeps its place among the others.
func (c *treeCursor) set(e extent) {
	p := c.path[0]
	n := c.t.nodes.at(p.at)
	n.keys[p.i], n.vals[p.i] = e.Start, uint32(e.Len)
	if p.i == n.n-1 {
		c.bound(e.Start)
	}
	for level := 1; p.i == 0 && level <= c.t.height; level++ { // the bounds above it: none may be behind it
		p = c.path[level]
		if n = c.t.nodes.at(p.at); n.keys[p.i] > e.Start {
			n.keys[p.i] = e.Start
		}
	}
}

// bound keeps the bound of the leaf behind the one of the cursor behind b. It may lie anywhere between the two leaves, even inside of an extent
// that has grown.
func (c *treeCursor) bound(b blockNo) {
	for level := 1; level <= c.t.height; level++ {
		p := c.path[level]
		if n := c.t.nodes.at(p.at); p.i+1 < n.n {
			n.keys[p.i+1] = max(n.keys[p.i+1], b+1)
			return
		}
	}
}

// insert adds e, for whose start the cursor was sought. The cursor ends.
func (c *treeCursor) insert(e extent) {
	c.t.n++
	c.put(0, e.Start, uint32(e.Len))
}

func (c *treeCursor) put(level int, key blockNo, val uint32) {
	t, p := c.t, c.path[level]
	n := t.nodes.at(p.at)
	if n.n < treeFan {
		n.insert(p.i+1, key, val)
		return
	}
	mid := int32(treeFan / 2)
	if p.i+1 == treeFan {
		mid = treeSplitEnd
	}
	t.shape++
	at, right := t.nodes.add()
	right.move(n, mid)
	if p.i+1 > mid {
		right.insert(p.i+1-mid, key, val)
	} else {
		n.insert(p.i+1, key, val)
	}
	if level < t.height {
		c.put(level+1, right.keys[0], at)
		return
	}
	if t.height++; t.height == treeHeight {
		panic("alloc: tree is too high")
	}
	up, root := t.nodes.add()
	root.insert(0, n.keys[0], p.at)
	root.insert(1, right.keys[0], at)
	t.root = up
}

// remove takes the extent at the cursor out. The cursor ends.
func (c *treeCursor) remove() {
	t := c.t
	t.n--
	t.nodes.at(c.path[0].at).delete(c.path[0].i)
	for level := 0; level < t.height && c.join(level); level++ {
	}
	for t.height > 0 {
		root := t.nodes.at(t.root)
		if root.n > 1 {
			return
		}
		old := t.root
		if t.height--; root.n == 0 { // the last extent has gone
			t.height = 0
			return
		}
		t.root = root.vals[0]
		t.nodes.give(old)
	}
}

// join brings the entries of a node with few of them together with those of a neighbour; true: the node above has one entry less.
func (c *treeCursor) join(level int) bool {
	t := c.t
	n, up, i := t.nodes.at(c.path[level].at), t.nodes.at(c.path[level+1].at), c.path[level+1].i
	if n.n >= treeLow {
		return false
	}
	t.shape++
	if up.n == 1 {
		if n.n == 0 {
			t.nodes.give(up.vals[0])
			up.n = 0
		}
		return true // it has few entries itself
	}
	if i+1 == up.n || i > 0 && t.nodes.at(up.vals[i-1]).n < t.nodes.at(up.vals[i+1]).n {
		i-- // with the one before it
	}
	left, right := t.nodes.at(up.vals[i]), t.nodes.at(up.vals[i+1])
	if sum := left.n + right.n; n.n > 0 && sum > treeFan-treeLow {
		return false
	}
	if level > 0 && right.n > 0 {
		right.keys[0] = up.keys[i+1]
	}
	left.move(right, 0)
	t.nodes.give(up.vals[i+1])
	up.delete(i + 1)
	return true
}

// ascend visits the extents that start at or behind b, until fn returns false.
func (t *extentTree) ascend(b blockNo, fn func(e extent) bool) {
	var c treeCursor
	c.seek(t, b)
	if e, ok := c.extent(); (!ok || e.Start < b) && !c.next() {
		return
	}
	for more := true; more; more = c.next() {
		if e, _ := c.extent(); !fn(e) {
			return
		}
	}
}

// floor is the last extent that starts at or before b.
func (t *extentTree) floor(b blockNo) (extent, bool) {
	var c treeCursor
	c.seek(t, b)
	c.settle()
	return c.extent()
}
