package storage

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"

	"basalt/storage/format"
)

// The keys of a node begin alike, the more the further down it is: objects of one collection, entries of one directory. What all of them begin
// with stands once in the node, in prefix[:skip], and the bytes that follow it stand as a number beside the items, the head of each. A search looks
// at a few lines of heads, and in the slab only at keys whose heads are the same: as a rule at one, the last.
//
// Where a key ends, zeros follow in its head: two heads that differ tell which key is before the other, and two that do not tell nothing.
const (
	headBytes = 8
	prefixMax = 24 // of keys that have more in common only the first bytes are left out of the heads
)

// headOf is the head of a key that has at least skip bytes.
func headOf(key []byte, skip int) uint64 {
	if key = key[skip:]; len(key) >= headBytes {
		return binary.BigEndian.Uint64(key)
	}
	var b [headBytes]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}

// find is the first item of a node that is not before p, and whether it is at p.
func (t *itemTree) find(n *itemNode, p *probe) (int, bool) {
	skip := int(n.skip)
	if c := bytes.Compare(p.key[:min(skip, len(p.key))], n.prefix[:skip]); c != 0 {
		return n.besides(p, c), false
	}
	head, heads := headOf(p.key, skip), n.heads[:n.n]
	i := firstHead(heads, head)
	if i < len(heads) && heads[i] == head {
		var equal bool
		if i, equal = t.findTied(n, p, i, head); equal {
			return i, true
		}
	}
	for k := max(i-1, 0); k <= i && k < len(heads) && p.family == 0; k++ {
		if x := heads[k] ^ head; x != 0 {
			p.meet(&n.items[k], skip+bits.LeadingZeros64(x)/8)
		}
	}
	return i, false
}

// firstHead is the first of heads, which are in order, that is not less than head. The loop has no branch that
// could be foretold wrongly.
func firstHead(heads []uint64, head uint64) int {
	at, n := 0, len(heads)
	for n > 1 {
		half := n / 2
		_, less := bits.Sub64(heads[at+half-1], head, 0) // 1 or 0
		at += half & -int(less)
		n -= half
	}
	if n == 1 && heads[at] < head {
		at++
	}
	return at
}

// findTied is find among the items whose head is p's, of which item lo is the first.
func (t *itemTree) findTied(n *itemNode, p *probe, lo int, head uint64) (int, bool) {
	hi := lo + 1
	for hi < int(n.n) && n.heads[hi] == head {
		hi++
	}
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		var c int
		if it := &n.items[mid]; it.family == p.family && p.family != 0 {
			c = cmp.Compare(it.tail, p.tail)
		} else {
			c = t.compare(it, p)
		}
		switch {
		case c < 0:
			lo = mid + 1
		case c == 0:
			return mid, true
		default:
			hi = mid
		}
	}
	return lo, false
}

// compare compares whole keys, and has p join the family of one that is like it.
func (t *itemTree) compare(it *item, p *probe) int {
	k := t.keyOf(it)
	if i := len(k) - tailBytes; i >= 0 && len(k) == len(p.key) && bytes.Equal(k[:i], p.key[:i]) {
		p.family = it.family
		return cmp.Compare(it.tail, p.tail)
	}
	return bytes.Compare(k, p.key)
}

func (t *itemTree) keyOf(it *item) []byte { return t.m.slab.bytes(it.key, it.is.klen()) }

// meet has p join the family of a neighbour that has so many bytes in common with it and no more, if they differ in nothing but the tail.
func (p *probe) meet(it *item, common int) {
	if tail := len(p.key) - tailBytes; tail >= 0 && common >= tail && it.is.klen() == len(p.key) {
		p.family = it.family
	}
}

// besides is find where p does not begin as the node does, but before it, c < 0, or behind it.
func (n *itemNode) besides(p *probe, c int) int {
	i, neighbour := 0, 0
	if c > 0 {
		i, neighbour = int(n.n), int(n.n)-1
	}
	if n.n > 0 && p.family == 0 {
		p.meet(&n.items[neighbour], format.CommonPrefix(p.key, n.prefix[:n.skip]))
	}
	return i
}

// admit makes the node's prefix one that key has too, and returns the head that it gets.
func (n *itemNode) admit(key []byte) uint64 {
	if n.n == 0 {
		n.skip = uint8(copy(n.prefix[:], key))
	} else if common := format.CommonPrefix(n.prefix[:n.skip], key); common < int(n.skip) {
		n.dull(common)
	}
	return headOf(key, int(n.skip))
}

// dull shortens the prefix. What goes from it the heads take in.
func (n *itemNode) dull(skip int) {
	front := headOf(n.prefix[:n.skip], skip)
	for i := range n.heads[:n.n] {
		n.heads[i] = front | n.heads[i]>>(8*uint(int(n.skip)-skip)) // nothing is left of it from 8 bytes on
	}
	n.skip = uint8(skip)
}

// sharpen makes the prefix longer, if that is worth a look at every key: the first half of the heads tells none from another.
func (t *itemTree) sharpen(n *itemNode) {
	if (n.heads[0]^n.heads[n.n-1])>>(4*headBytes) != 0 {
		return
	}
	first := t.keyOf(&n.items[0])
	common := min(format.CommonPrefix(first, t.keyOf(&n.items[n.n-1])), prefixMax)
	if common == int(n.skip) {
		return
	}
	n.skip = uint8(copy(n.prefix[:], first[:common]))
	for i := range n.heads[:n.n] {
		n.heads[i] = headOf(t.keyOf(&n.items[i]), common)
	}
}
