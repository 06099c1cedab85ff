package format

import "bytes"

// What a search in a node costs is the memory that it touches: the node is rarely in the processor's cache. So a node that was verified and is
// going to be searched often gets an index: the first bytes of some of its keys, in the line of memory that every search reads anyway, in
// place of those fields of the header that nobody needs any more.
const (
	indexFlag  = 5  // of the header: not zero where there is an index; on a device it is zero
	indexAt    = 16 // behind what accessors read: over epoch, self, store and padding
	indexLen   = 24
	indexCount = 32 // entries from which on an index is worth it
)

const _ = uint(NodeHeaderBytes - indexAt - 2*indexLen)

// IndexNode makes searches in a verified node faster. It must not be verified, nor written to a device, after that.
func IndexNode(b []byte) {
	n := Node(b)
	count := n.Count()
	if count < indexCount {
		return
	}
	for j := range indexLen {
		le.PutUint16(b[indexAt+2*j:], sample(n.Suffix(indexed(j, count))))
	}
	b[indexFlag] = 1
}

// indexed is the entry whose key stands at place j of an index.
func indexed(j, count int) int { return (j + 1) * count / (indexLen + 1) }

// sample is the first two bytes of what follows the prefix; a shorter rest is filled up with zeros. Where two samples differ, their keys do,
// in the same order.
func sample(suffix []byte) uint16 {
	switch len(suffix) {
	case 0:
		return 0
	case 1:
		return uint16(suffix[0]) << 8
	}
	return uint16(suffix[0])<<8 | uint16(suffix[1])
}

// narrow finds the stretch of entries where the first one ≥ suffix is: those before lo are smaller, the one at hi is greater.
func (n Node) narrow(suffix []byte, count int) (lo, hi int) {
	want := sample(suffix)
	index := n[indexAt : indexAt+2*indexLen]
	a, b := 0, indexLen
	for a < b {
		if mid := (a + b) / 2; le.Uint16(index[2*mid:]) < want {
			a = mid + 1
		} else {
			b = mid
		}
	}
	if lo, hi = 0, count; a > 0 {
		lo = indexed(a-1, count) + 1
	}
	for ; b < indexLen; b++ {
		if le.Uint16(index[2*b:]) > want {
			return lo, indexed(b, count)
		}
	}
	return lo, hi
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
	lo, hi := 0, len(slots)/2
	if n[indexFlag] != 0 {
		lo, hi = n.narrow(key, hi)
	}
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		cell := n[le.Uint16(slots[2*mid:]):]
		switch bytes.Compare(cell[fixed:fixed+int(le.Uint16(cell))], key) {
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
