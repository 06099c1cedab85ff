package storage

import (
	"bytes"
	"encoding/binary"
)

const (
	itemsMax   = 63 // of a node
	chunkNodes = 16 // of 2.8 KiB each
	chunkBytes = chunkNodes * (16 + prefixMax + itemsMax*(headBytes+32) + (itemsMax+1)*4)
	noNode     = ^uint32(0)
)

// itemNode has no pointer: the collector never looks inside. A node is full with itemsMax items, and may have none: only the undo of a
// transaction deletes items, and does not care for the shape.
type itemNode struct {
	gen    uint32 // of the only tree that may change it
	n      int32
	ver    uint32 // counts what came into the node and went: as long as it stays, every item stands where it stood
	leaf   bool
	skip   uint8           // of prefix: what all keys of the node begin with
	prefix [prefixMax]byte // see itemhead.go
	heads  [itemsMax]uint64
	items  [itemsMax]item
	kids   [itemsMax + 1]uint32 // of an inner node: kids[i] is before items[i]
}

type nodeChunk [chunkNodes]itemNode

// nodePool keeps the nodes of layers that are gone for those that come: a store that is written to has two deltas' worth of them, and makes
// no garbage. It never has more than they had at once, and their limit counts them (layer.bytes).
type nodePool struct{ free []*nodeChunk }

func (p *nodePool) take() *nodeChunk {
	if i := len(p.free) - 1; i >= 0 {
		c := p.free[i]
		p.free = p.free[:i]
		return c
	}
	return &nodeChunk{}
}

func (p *nodePool) bytes() int { return len(p.free) * chunkBytes }

// nodes is the nodes of a layer's trees and its clones'. It dies with the last of them.
type nodes struct {
	pool   *nodePool
	chunks []*nodeChunk
	used   uint32
	spare  []uint32 // given back by a deletion
	gens   uint32   // given out
	family uint32   // given out last
}

func (s *nodes) at(i uint32) *itemNode { return &s.chunks[i/chunkNodes][i%chunkNodes] }

func (s *nodes) add(gen uint32, leaf bool) (uint32, *itemNode) {
	var i uint32
	if k := len(s.spare) - 1; k >= 0 {
		i, s.spare = s.spare[k], s.spare[:k]
	} else {
		if i = s.used; int(i/chunkNodes) == len(s.chunks) {
			s.chunks = append(s.chunks, s.pool.take())
		}
		s.used++
	}
	n := s.at(i)
	n.gen, n.n, n.leaf = gen, 0, leaf
	n.ver++
	return i, n
}

func (s *nodes) release() {
	s.pool.free = append(s.pool.free, s.chunks...)
	s.chunks, s.spare, s.used = nil, nil, 0
}

// itemTree is the items of a layer by key: a B-tree whose clones share its nodes until one of them changes.
type itemTree struct {
	m    *memory // immutable; keys and nodes
	root uint32
	gen  uint32
	n    int

	got  finger // of the last get
	near finger // of the last floor
}

// finger is where a lookup ended. Who changes a key has looked it up before, as a rule: the change need not go down the tree again.
type finger struct {
	key   [fingerMax]byte
	klen  int // 0: it points nowhere
	p     probe
	at    uint32
	ver   uint32
	i     int32
	equal bool
}

const fingerMax = 64 // keys that are longer are not worth it

// point notes where the lookup of p ended.
func (g *finger) point(p *probe, at uint32, n *itemNode, i int, equal bool) {
	if g.klen = 0; len(p.key) > fingerMax {
		return
	}
	g.klen = copy(g.key[:], p.key)
	g.p, g.at, g.ver, g.i, g.equal = *p, at, n.ver, int32(i), equal
	g.p.key = nil // lent
}

// still is the node that a finger points into, if it points at key and what it says is so still; nil: look it up.
func (t *itemTree) still(g *finger, key []byte) *itemNode {
	if g.klen == 0 || !bytes.Equal(g.key[:g.klen], key) {
		return nil
	}
	if n := t.m.nodes.at(g.at); n.ver == g.ver && n.gen == t.gen {
		return n
	}
	return nil
}

func newItemTree(m *memory) itemTree { return itemTree{m: m, root: noNode, gen: m.nodes.nextGen()} }

func (s *nodes) nextGen() uint32 { s.gens++; return s.gens }

// nextFamily is a family of its own, or none when all numbers have been given out.
func (s *nodes) nextFamily() uint32 {
	if s.family+1 != 0 {
		s.family++
		return s.family
	}
	return 0
}

// clone is the tree as it is now, in O(1).
func (t *itemTree) clone() itemTree {
	c := *t
	c.near.klen, c.got.klen = 0, 0
	t.near.klen, t.got.klen = 0, 0
	t.gen, c.gen = t.m.nodes.nextGen(), t.m.nodes.nextGen() // neither may change what both have
	return c
}

// tailBytes of a key are compared as a number where the rest is known to be the same. The extents of an object differ in no more.
const tailBytes = 8

// probe is a key on its way down the tree. Each key that it is compared with stands somewhere else in the slab; that of a family it already
// knows to be its own needs no look there, and neither does one whose head is another (itemhead.go).
type probe struct {
	key    []byte
	tail   uint64
	family uint32 // of the last key that was like it but for the tail; 0: none was met
}

func probeOf(key []byte) probe {
	p := probe{key: key}
	if i := len(key) - tailBytes; i >= 0 {
		p.tail = binary.BigEndian.Uint64(key[i:])
	}
	return p
}

func (t *itemTree) get(key []byte) (it item, ok bool) {
	if n := t.still(&t.got, key); n != nil { // who works on an object asks for its record each time
		if t.got.equal {
			it = n.items[t.got.i]
		}
		return it, t.got.equal
	}
	p := probeOf(key)
	for at := t.root; at != noNode; {
		n := t.m.nodes.at(at)
		i, equal := t.find(n, &p)
		if equal || n.leaf {
			t.got.point(&p, at, n, i, equal)
			if equal {
				return n.items[i], true
			}
			break
		}
		at = n.kids[i]
	}
	return item{}, false
}

// likeness is what an item's key and a key that was looked for have in common.
type likeness uint8

const (
	unlike  likeness = iota // nobody knows
	sibling                 // all but the tail, and the length
	same                    // everything
)

// floor is the last item at key or before it, strictly before it on demand.
func (t *itemTree) floor(key []byte, strict bool) (it item, ok bool, like likeness) {
	p := probeOf(key)
	for at := t.root; at != noNode; {
		n := t.m.nodes.at(at)
		i, equal := t.find(n, &p)
		if equal && !strict {
			t.near.point(&p, at, n, i, true)
			return n.items[i], true, same
		}
		if i > 0 {
			it, ok = n.items[i-1], true // but what is below stands between this one and key
		}
		if n.leaf {
			if !strict { // the key itself may stand further up
				t.near.point(&p, at, n, i, false)
			}
			break
		}
		at = n.kids[i]
	}
	if ok && it.family == p.family && p.family != 0 {
		like = sibling
	}
	return it, ok, like
}

// from appends the items at or behind key, strictly behind it on demand, until out is full; nil: all items.
func (t *itemTree) from(key []byte, strict bool, out []item) []item {
	if t.root == noNode {
		return out
	}
	if key == nil {
		return t.gather(t.m.nodes.at(t.root), nil, strict, out)
	}
	p := probeOf(key)
	return t.gather(t.m.nodes.at(t.root), &p, strict, out)
}

func (t *itemTree) gather(n *itemNode, p *probe, strict bool, out []item) []item {
	i := 0
	if p != nil {
		var equal bool
		if i, equal = t.find(n, p); equal {
			if !strict {
				out = append(out, n.items[i])
			}
			i, p = i+1, nil // all of the next child is behind it
		}
	}
	for ; len(out) < cap(out); i, p = i+1, nil {
		if !n.leaf {
			out = t.gather(t.m.nodes.at(n.kids[i]), p, strict, out)
		}
		if i >= int(n.n) || len(out) == cap(out) {
			break
		}
		out = append(out, n.items[i])
	}
	return out
}

// own is a node that t may change: that one, or a copy.
func (t *itemTree) own(at *uint32) *itemNode {
	n := t.m.nodes.at(*at)
	if n.gen == t.gen {
		return n
	}
	i, c := t.m.nodes.add(t.gen, n.leaf)
	c.n, c.skip, c.prefix = n.n, n.skip, n.prefix
	copy(c.heads[:n.n], n.heads[:n.n])
	copy(c.items[:n.n], n.items[:n.n])
	if !n.leaf {
		copy(c.kids[:n.n+1], n.kids[:n.n+1])
	}
	*at = i
	return c
}

// drop gives back the nodes of a subtree that has no items. Whoever found that out has looked into each of them, and owns them.
func (t *itemTree) drop(at uint32) {
	n := t.m.nodes.at(at)
	if !n.leaf {
		for _, k := range n.kids[:n.n+1] {
			t.drop(k)
		}
	}
	if n.gen != t.gen {
		panic("storage: an empty node of the delta is not its tree's own")
	}
	t.m.nodes.spare = append(t.m.nodes.spare, at)
}

// put sets the item of a key and returns the one that it replaced.
func (t *itemTree) put(key []byte, it item) (old item, had bool) {
	for _, g := range [...]*finger{&t.near, &t.got} {
		if old, had, done := t.putAt(g, key, it); done {
			return old, had
		}
	}
	p := probeOf(key)
	if old, had, done := t.putBeside(&p, it); done {
		return old, had
	}
	if t.root == noNode {
		t.root, _ = t.m.nodes.add(t.gen, true)
	}
	n := t.own(&t.root)
	if n.n == itemsMax {
		at, up := t.m.nodes.add(t.gen, false)
		up.kids[0], t.root = t.root, at
		t.split(up, 0)
		n = up
	}
	for {
		i, equal := t.find(n, &p)
		if equal {
			it.family, it.tail = n.items[i].family, p.tail
			old, n.items[i] = n.items[i], it
			return old, true
		}
		if n.leaf {
			t.fresh(&p, key, &it)
			n.insert(i, key, it)
			return old, false
		}
		kid := t.own(&n.kids[i])
		if kid.n == itemsMax {
			t.split(n, i)
			continue // the item that came up may be the key's
		}
		n = kid
	}
}

// putAt is put where a finger points, if that is where the key belongs, and there is room.
func (t *itemTree) putAt(g *finger, key []byte, it item) (old item, had, done bool) {
	n := t.still(g, key)
	if n == nil || !g.equal && n.n == itemsMax {
		return old, false, false
	}
	if g.equal {
		it.family, it.tail = n.items[g.i].family, g.p.tail
		old, n.items[g.i] = n.items[g.i], it
		return old, true, true
	}
	t.fresh(&g.p, key, &it)
	n.insert(int(g.i), key, it)
	return old, false, true
}

// putBeside is put into the leaf that the last floor ended in, if that is where the key belongs: between two items of a leaf stands nothing else. Who
// overwrites a part of an extent puts what is left of it on both sides.
func (t *itemTree) putBeside(p *probe, it item) (old item, had, done bool) {
	g, tail := &t.near, len(p.key)-tailBytes
	if g.klen != len(p.key) || tail < 0 || !bytes.Equal(g.key[:tail], p.key[:tail]) {
		return old, false, false
	}
	n := t.m.nodes.at(g.at)
	if n.gen != t.gen || !n.leaf || n.n == itemsMax {
		return old, false, false
	}
	i, equal := t.find(n, p)
	switch {
	case equal:
		it.family, it.tail = n.items[i].family, p.tail
		old, n.items[i] = n.items[i], it
		return old, true, true
	case i == 0 || i == int(n.n):
		return old, false, false
	}
	t.fresh(p, p.key, &it)
	n.insert(i, p.key, it)
	return old, false, true
}

// fresh completes an item whose key is new to the tree, and counts it.
func (t *itemTree) fresh(p *probe, key []byte, it *item) {
	if it.family, it.tail = p.family, p.tail; it.family == 0 && len(key) >= tailBytes {
		it.family = t.m.nodes.nextFamily()
	}
	t.n++
}

func (n *itemNode) insert(i int, key []byte, it item) {
	head := n.admit(key)
	copy(n.heads[i+1:n.n+1], n.heads[i:n.n])
	copy(n.items[i+1:n.n+1], n.items[i:n.n])
	n.heads[i], n.items[i] = head, it
	n.n++
	n.ver++
}

// split divides the full child i of n, both of which t may change.
func (t *itemTree) split(n *itemNode, i int) {
	const mid = itemsMax / 2
	left := t.m.nodes.at(n.kids[i])
	at, right := t.m.nodes.add(t.gen, left.leaf)
	right.n, right.skip, right.prefix = itemsMax-mid-1, left.skip, left.prefix
	copy(right.heads[:right.n], left.heads[mid+1:])
	copy(right.items[:right.n], left.items[mid+1:])
	if !left.leaf {
		copy(right.kids[:right.n+1], left.kids[mid+1:])
	}
	left.n = mid
	left.ver++
	copy(n.kids[i+2:n.n+2], n.kids[i+1:n.n+1])
	n.kids[i+1] = at
	n.insert(i, t.keyOf(&left.items[mid]), left.items[mid])
	t.sharpen(left)
	t.sharpen(right)
}

// remove deletes the item of a key.
func (t *itemTree) remove(key []byte) bool {
	p := probeOf(key)
	if t.root == noNode {
		return false
	}
	t.near.klen, t.got.klen = 0, 0
	for n := t.own(&t.root); ; {
		i, equal := t.find(n, &p)
		if equal {
			t.removeAt(n, i)
			t.n--
			return true
		}
		if n.leaf {
			return false
		}
		n = t.own(&n.kids[i])
	}
}

func (t *itemTree) removeAt(n *itemNode, i int) {
	if !n.leaf {
		it, ok := t.popLast(t.own(&n.kids[i]))
		if !ok {
			it, ok = t.popFirst(t.own(&n.kids[i+1]))
		}
		if ok {
			n.heads[i], n.items[i] = n.admit(t.keyOf(&it)), it
			return
		}
		t.drop(n.kids[i+1])
		copy(n.kids[i+1:n.n], n.kids[i+2:n.n+1])
	}
	n.cutOut(i)
}

func (n *itemNode) cutOut(i int) {
	copy(n.heads[i:n.n-1], n.heads[i+1:n.n])
	copy(n.items[i:n.n-1], n.items[i+1:n.n])
	n.n--
}

// popLast takes the last item of a subtree.
func (t *itemTree) popLast(n *itemNode) (it item, ok bool) {
	if !n.leaf {
		if it, ok = t.popLast(t.own(&n.kids[n.n])); ok {
			return it, true
		}
	}
	if n.n == 0 {
		return it, false
	}
	if !n.leaf {
		t.drop(n.kids[n.n])
	}
	n.n--
	return n.items[n.n], true
}

// popFirst takes the first item of a subtree.
func (t *itemTree) popFirst(n *itemNode) (it item, ok bool) {
	if !n.leaf {
		if it, ok = t.popFirst(t.own(&n.kids[0])); ok {
			return it, true
		}
	}
	if n.n == 0 {
		return it, false
	}
	if !n.leaf {
		t.drop(n.kids[0])
		copy(n.kids[:n.n], n.kids[1:n.n+1])
	}
	it = n.items[0]
	n.cutOut(0)
	return it, true
}
