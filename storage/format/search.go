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
	indexSkip  = 10 // 16 bits: what all keys but the first begin with, behind the prefix; padding on a device
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
//
// The first key of a node may be quite another than the others: on the left edge of a tree it is empty, and then the node has no prefix. So the index
// has a prefix of its own, of all keys but the first, if that is longer.
func IndexNode(b []byte) {
	n := Node(b)
	count := n.Count()
	if count < indexCount {
		return
	}
	first, second := n.Suffix(0), n.Suffix(1)
	skip := CommonPrefix(second, n.Suffix(count-1))
	if CommonPrefix(first, second) >= skip {
		skip = 0
	}
	le.PutUint16(b[indexSkip:], uint16(skip))
	for j := range indexLen { // none is of the first key
		le.PutUint16(b[indexAt+2*j:], uint16(sample(headOf(n.Suffix(indexed(j, count))[skip:]))))
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

// narrow finds the stretch of entries where the first one is whose key, behind the index's prefix, is not before one with that head: those before lo
// are smaller, the one at hi is greater.
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
	if lo, hi = 0, count; a > 0 {
		lo = indexed(a-1, count) + 1
	} else if le.Uint16(n[indexSkip:]) != 0 {
		lo = 1
	}
	if b < indexLen {
		hi = indexed(b, count)
	}
	return lo, hi
}

// headAt is the head of the key of the cell at that place, without skip bytes. What follows a short key there is not its own.
func (n Node) headAt(at, fixed, skip int) uint64 {
	cell := n[at:]
	k := int(le.Uint16(cell))
	if from := fixed + skip; len(cell) >= from+8 {
		return binary.BigEndian.Uint64(cell[from:]) & (^uint64(0) << (64 - 8*uint(min(k-skip, 8))))
	}
	return headOf(cell[fixed+skip : fixed+k])
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
	if n[indexFlag] == 0 {
		return n.searchIn(key, 0, 0, n.Count())
	}
	skip := int(le.Uint16(n[indexSkip:]))
	if skip > 0 {
		switch bytes.Compare(key[:min(skip, len(key))], n.Suffix(1)[:skip]) {
		case -1:
			return n.searchIn(key, 0, 0, 1)
		case 1:
			return n.Count(), false
		}
		key = key[skip:]
	}
	lo, hi := n.narrow(headOf(key), n.Count())
	return n.searchIn(key, skip, lo, hi)
}

// searchIn is Search for what follows skip bytes of the keys of entries [lo, hi), which all have them in common.
func (n Node) searchIn(key []byte, skip, lo, hi int) (i int, equal bool) {
	fixed, slots := leafCellBytes, n.slots()
	if n[4] != 0 {
		fixed = innerCellBytes
	}
	head := headOf(key)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		at := int(le.Uint16(slots[2*mid:]))
		switch h := n.headAt(at, fixed, skip); {
		case h < head:
			lo = mid + 1
			continue
		case h > head:
			hi = mid
			continue
		}
		switch bytes.Compare(n[at+fixed+skip:at+fixed+int(le.Uint16(n[at:]))], key) {
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
