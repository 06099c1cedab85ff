package format

import (
	"bytes"
	"encoding/binary"
)

// What a search in a node costs is the memory that it touches, and the branches that nobody can foretell: the node is rarely in the processor's
// cache. So a node that was verified and is going to be searched often gets an index: the first bits of some of its keys, in the line of memory
// that every search reads anyway, in place of those fields of the header that nobody needs any more. All of it is compared at once, without a branch.
const (
	indexFlag  = 5  // of the header: not zero where there is an index; on a device it is zero
	indexAt    = 16 // behind what accessors read: over epoch, self, store and padding
	indexLen   = 24
	indexWords = indexLen / 4
	indexCount = 32 // entries from which on an index is worth it
)

const _ = uint(NodeHeaderBytes - indexAt - 8*indexWords)

// A word of the index has four samples. The highest bit of each is left to the comparison.
const (
	sampleBits = 15
	lanes      = 0x0001_0001_0001_0001
	lanesTop   = lanes << sampleBits
)

// IndexNode makes searches in a verified node faster. It must not be verified, nor written to a device, after that.
func IndexNode(b []byte) {
	n := Node(b)
	count := n.Count()
	if count < indexCount {
		return
	}
	for j := range indexLen {
		le.PutUint16(b[indexAt+2*j:], uint16(sample(headOf(n.Suffix(indexed(j, count))))))
	}
	b[indexFlag] = 1
}

// indexed is the entry whose key stands at place j of an index.
func indexed(j, count int) int { return (j + 1) * count / (indexLen + 1) }

// headOf is the first bytes of what follows the prefix as a number; a shorter rest is filled up with zeros. Where two heads differ, their keys do,
// in the same order.
func headOf(suffix []byte) uint64 {
	if len(suffix) >= 8 {
		return binary.BigEndian.Uint64(suffix)
	}
	var b [8]byte
	copy(b[:], suffix)
	return binary.BigEndian.Uint64(b[:])
}

// sample is what an index has of a head.
func sample(head uint64) uint64 { return head >> (64 - sampleBits) }

// narrow finds the stretch of entries where the first one is whose key is not before one with that head: those before lo are smaller, the one at hi
// is greater.
func (n Node) narrow(head uint64, count int) (lo, hi int) {
	want := sample(head) * lanes
	index := n[indexAt : indexAt+8*indexWords]
	notLess, greater := uint64(0), uint64(0) // samples, in each of four lanes
	for w := 0; w < 8*indexWords; w += 8 {
		over := (le.Uint64(index[w:]) | lanesTop) - want // the highest bit of a lane stays where the sample is not less
		notLess += over >> sampleBits & lanes
		greater += (over - lanes) >> sampleBits & lanes
	}
	a, b := indexLen-int(notLess*lanes>>48), indexLen-int(greater*lanes>>48)
	if hi = count; a > 0 {
		lo = indexed(a-1, count) + 1
	}
	if b < indexLen {
		hi = indexed(b, count)
	}
	return lo, hi
}

// headAt is the head of the key of the cell at that place. What follows a short key there is not its own.
func (n Node) headAt(at, fixed int) uint64 {
	cell := n[at:]
	if len(cell) < fixed+8 {
		return headOf(cell[fixed : fixed+int(le.Uint16(cell))])
	}
	return binary.BigEndian.Uint64(cell[fixed:]) & (^uint64(0) << (64 - 8*min(uint(le.Uint16(cell)), 8)))
}

// Search finds the first entry whose key is ≥ key.
func (n Node) Search(key []byte) (i int, equal bool) {
	prefix := n.Prefix()
	if len(key) < len(prefix) || !bytes.Equal(key[:len(prefix)], prefix) {
		if bytes.Compare(key, prefix) < 0 {
			return 0, false
		}
		return n.Count(), false
	}
	key = key[len(prefix):]
	fixed, slots := leafCellBytes, n.slots()
	if n[4] != 0 {
		fixed = innerCellBytes
	}
	head := headOf(key)
	lo, hi := 0, len(slots)/2
	if n[indexFlag] != 0 {
		lo, hi = n.narrow(head, hi)
	}
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		at := int(le.Uint16(slots[2*mid:]))
		switch h := n.headAt(at, fixed); {
		case h < head:
			lo = mid + 1
			continue
		case h > head:
			hi = mid
			continue
		}
		switch bytes.Compare(n[at+fixed:at+fixed+int(le.Uint16(n[at:]))], key) {
		case -1:
			lo = mid + 1
		case 0:
			return mid, true
		default:
			hi = mid
		}
	}
	return lo, false
}
