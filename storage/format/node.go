package format

import (
	"bytes"
	"fmt"
	"math/bits"
)

const nodeMagic = "BNOD"

// ChildPtr names a tree node as its parent knows it. The epoch and the crc together expose a write that was lost or
// went to another place: whatever stands at Block then has an older epoch or other bytes.
type ChildPtr struct {
	Block   BlockNo
	Epoch   uint64 // of the fold that wrote the node
	Entries uint64 // leaf entries at or below the node
	Crc     uint32 // of the whole node
	Flags   uint32 // PtrValues
}

// PtrValues says that some leaf at or below the node holds an out-of-line value, so whoever frees the subtree must read
// its leaves.
const PtrValues = 1

// IsZero tells whether the pointer names nothing.
func (c ChildPtr) IsZero() bool { return c == ChildPtr{} }

func (c ChildPtr) String() string { return fmt.Sprintf("node %d@%d", c.Block, c.Epoch) }

// Encode writes the pointer into b.
func (c ChildPtr) Encode(b []byte) {
	_ = b[ChildPtrBytes-1]
	le.PutUint64(b[0:], uint64(c.Block))
	le.PutUint64(b[8:], c.Epoch)
	le.PutUint64(b[16:], c.Entries)
	le.PutUint32(b[24:], c.Crc)
	le.PutUint32(b[28:], c.Flags)
}

func decodeChildPtr(b []byte) ChildPtr {
	_ = b[ChildPtrBytes-1]
	return ChildPtr{BlockNo(le.Uint64(b[0:])), le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint32(b[24:]), le.Uint32(b[28:])}
}

// TreeRoot is a whole tree: the root node, and how many levels there are (0 = the tree is empty, 1 = the root is a leaf).
type TreeRoot struct {
	ChildPtr
	Height uint8
}

func (r TreeRoot) encode(b []byte) {
	r.ChildPtr.Encode(b)
	b[ChildPtrBytes] = r.Height
}

func decodeTreeRoot(b []byte) TreeRoot { return TreeRoot{decodeChildPtr(b), b[ChildPtrBytes]} }

// NodeHeader starts every tree node.
type NodeHeader struct {
	Level  uint8 // 0 = leaf
	Count  uint16
	Prefix uint16 // bytes that all keys of the node begin with; they follow the header
	Used   uint32 // bytes in use, the header included; the rest is zero
	Epoch  uint64
	Self   BlockNo
	Store  UUID
}

// Encode writes the header into b.
func (h *NodeHeader) Encode(b []byte) {
	mustLen("node header", b, NodeHeaderBytes)
	clear(b[:NodeHeaderBytes])
	copy(b, nodeMagic)
	b[4] = h.Level
	le.PutUint16(b[6:], h.Count)
	le.PutUint16(b[8:], h.Prefix)
	le.PutUint32(b[12:], h.Used)
	le.PutUint64(b[16:], h.Epoch)
	le.PutUint64(b[24:], uint64(h.Self))
	copy(b[32:], h.Store[:])
}

// DecodeNodeHeader reads the header of the node that stands at p.
func DecodeNodeHeader(p Place, b []byte) (NodeHeader, error) {
	var h NodeHeader
	if err := checkLen(p, "node", b, NodeHeaderBytes); err != nil {
		return h, err
	}
	if err := checkMagic(p, "node", nodeMagic, b); err != nil {
		return h, err
	}
	h = PeekNodeHeader(b)
	for _, r := range [][2]int{{5, 6}, {10, 12}, {48, 64}} {
		if err := checkZero(p, "node header", b[r[0]:r[1]], r[0]); err != nil {
			return h, err
		}
	}
	switch {
	case h.Self != p.Extent.Start:
		return h, corruptValue(p, "node self block", p.Extent.Start, h.Self)
	case h.Level >= NodeHeightMax:
		return h, corruptValue(p, "node level", fmt.Sprintf("below %d", NodeHeightMax), h.Level)
	case h.Used > uint32(len(b)) || h.Used < NodeHeaderBytes+uint32(h.Prefix)+2*uint32(h.Count):
		return h, corruptValue(p, "node used bytes", fmt.Sprintf("header, prefix and slots … %d", len(b)), h.Used)
	case h.Count == 0 || h.Prefix > KeyBytesMax:
		return h, corruptValue(p, "node entries and prefix", "at least 1 entry, prefix below the key limit", fmt.Sprint(h.Count, h.Prefix))
	}
	return h, nil
}

// PeekNodeHeader reads the fields and checks nothing: for people who look at damage. b has NodeHeaderBytes.
func PeekNodeHeader(b []byte) NodeHeader {
	h := NodeHeader{
		Level: b[4], Count: le.Uint16(b[6:]), Prefix: le.Uint16(b[8:]), Used: le.Uint32(b[12:]),
		Epoch: le.Uint64(b[16:]), Self: BlockNo(le.Uint64(b[24:])),
	}
	copy(h.Store[:], b[32:])
	return h
}

// Node is a view of a verified node: header, common prefix, slots (offset of each cell, 16 bits), cells in key order.
// Every accessor trusts what VerifyNode checked.
type Node []byte

// Cell sizes without key suffix and value.
const (
	leafCellBytes  = 4 // suffix length, value length
	innerCellBytes = 2 + ChildPtrBytes
)

// valueOutOfLine marks a leaf cell whose value is a ValueCell. A leaf value length needs 11 bits, so bit 15 is free.
const valueOutOfLine = 1 << 15

// Level is 0 for a leaf.
func (n Node) Level() int { return int(n[4]) }

// Count is the number of entries.
func (n Node) Count() int { return int(le.Uint16(n[6:])) }

// Used is the number of bytes in use.
func (n Node) Used() int { return int(le.Uint32(n[12:])) }

// Prefix is what all keys of the node begin with.
func (n Node) Prefix() []byte { return n[NodeHeaderBytes : NodeHeaderBytes+int(le.Uint16(n[8:]))] }

func (n Node) slots() []byte {
	from := NodeHeaderBytes + int(le.Uint16(n[8:]))
	return n[from : from+2*n.Count()]
}

func (n Node) cell(i int) []byte { return n[le.Uint16(n.slots()[2*i:]):] }

// Suffix is the key of entry i without the node's prefix.
func (n Node) Suffix(i int) []byte {
	c := n.cell(i)
	if n[4] == 0 {
		return c[leafCellBytes : leafCellBytes+int(le.Uint16(c))]
	}
	return c[innerCellBytes : innerCellBytes+int(le.Uint16(c))]
}

// AppendKey appends the whole key of entry i to dst.
func (n Node) AppendKey(dst []byte, i int) []byte {
	return append(append(dst, n.Prefix()...), n.Suffix(i)...)
}

// Value is the value of entry i of a leaf, or, when out is true, its ValueCell.
func (n Node) Value(i int) (v []byte, out bool) {
	c := n.cell(i)
	k, l := int(le.Uint16(c)), int(le.Uint16(c[2:]))
	out = l&valueOutOfLine != 0
	l &^= valueOutOfLine
	return c[leafCellBytes+k : leafCellBytes+k+l], out
}

// Child is the pointer of entry i of an inner node.
func (n Node) Child(i int) ChildPtr { return decodeChildPtr(n.cell(i)[2:]) }

// SearchChild finds the entry of an inner node whose subtree would hold key. The first child also takes every smaller
// key, which a correct tree never asks it for.
func (n Node) SearchChild(key []byte) int {
	i, equal := n.Search(key)
	if equal || i == 0 {
		return i
	}
	return i - 1
}

// VerifyNode checks every byte of a node that was read for the pointer want, at the level that its parent gives it.
func VerifyNode(p Place, b []byte, want ChildPtr, level int, store UUID) error {
	if got := Crc(b); got != want.Crc {
		return CorruptCrc(p, want.String(), want.Crc, got)
	}
	h, err := DecodeNodeHeader(p, b)
	if err != nil {
		return err
	}
	switch {
	case h.Epoch != want.Epoch:
		return corruptValue(p, "node epoch", want.Epoch, h.Epoch)
	case int(h.Level) != level:
		return corruptValue(p, "node level", level, h.Level)
	case h.Store != store:
		return corruptValue(p, "node store", store, h.Store)
	}
	return CheckNode(p, b)
}

// CheckNode checks the inside of a node, whose header was decoded, without knowing its parent: cells lie end to end in
// slot order, keys ascend, and what remains is zero.
func CheckNode(p Place, b []byte) error {
	if Node(b).sound() {
		return nil
	}
	_, err := CheckEntries(p, b) // says what is wrong
	return err
}

// CheckEntries is CheckNode that also tells how many entries at the beginning are whole: those may be read with the accessors.
func CheckEntries(p Place, b []byte) (whole int, err error) {
	n := Node(b)
	at := NodeHeaderBytes + len(n.Prefix()) + 2*n.Count()
	for i := range n.Count() {
		size, err := n.checkCell(p, i, at)
		if err != nil {
			return i, err
		}
		at += size
		if i > 0 && bytes.Compare(n.Suffix(i-1), n.Suffix(i)) >= 0 {
			return i, corruptValue(p, fmt.Sprintf("node entry %d", i), "keys that ascend", n.Suffix(i))
		}
	}
	if at != n.Used() {
		return n.Count(), corruptValue(p, "node used bytes", at, n.Used())
	}
	return n.Count(), checkZero(p, "node", b[at:], at)
}

func (n Node) checkCell(p Place, i, at int) (int, error) {
	if slot := int(le.Uint16(n.slots()[2*i:])); slot != at {
		return 0, corruptValue(p, fmt.Sprintf("node slot %d", i), at, slot)
	}
	fixed := leafCellBytes
	if n.Level() > 0 {
		fixed = innerCellBytes
	}
	used := n.Used()
	if at+fixed > used {
		return 0, corruptValue(p, fmt.Sprintf("node cell %d", i), "inside the used bytes", at)
	}
	key := int(le.Uint16(n[at:]))
	size := fixed + key
	if n.Level() == 0 {
		v := int(le.Uint16(n[at+2:]))
		size += v &^ valueOutOfLine
		if v&valueOutOfLine != 0 && at+size <= used {
			if err := CheckValueCell(p, n[at+fixed+key:at+size]); err != nil {
				return 0, err
			}
		}
	}
	if key+len(n.Prefix()) > KeyBytesMax || at+size > used {
		return 0, corruptValue(p, fmt.Sprintf("node cell %d", i), "a key and value inside the limits", size)
	}
	return size, nil
}

// Entry is what a NodeWriter puts into a node: in a leaf a key and a value, in an inner node the smallest key of a
// subtree and the pointer to it.
type Entry struct {
	Key   []byte
	Val   []byte
	Out   bool // Val is a ValueCell
	Child ChildPtr
}

// CellBytes is the room that the entry takes in a node at that level, its slot included and no prefix saved.
func (e *Entry) CellBytes(level int) int {
	if level == 0 {
		return 2 + leafCellBytes + len(e.Key) + len(e.Val)
	}
	return 2 + innerCellBytes + len(e.Key)
}

// LeafEntryBytes is what an entry of a leaf needs beside its key and value, LeafEntryMax what the longest one needs in all.
const (
	LeafEntryBytes = 2 + leafCellBytes
	LeafEntryMax   = LeafEntryBytes + KeyBytesMax + ValueInlineMax
)

// CommonPrefix is the length of what a and b begin with in common.
func CommonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if x := le.Uint64(a[i:]) ^ le.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)/8
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// EncodeNode builds a node from entries in key order into b (of the node's size). The caller knows that they fit:
// NodeHeaderBytes, the common prefix once, and each entry's CellBytes less that prefix. h.Count, Prefix and Used are set.
func EncodeNode(b []byte, h *NodeHeader, entries []Entry) {
	clear(b)
	prefix := CommonPrefix(entries[0].Key, entries[len(entries)-1].Key)
	slot := NodeHeaderBytes + prefix
	copy(b[NodeHeaderBytes:], entries[0].Key[:prefix])
	at := slot + 2*len(entries)
	for i := range entries {
		e := &entries[i]
		le.PutUint16(b[slot+2*i:], uint16(at))
		le.PutUint16(b[at:], uint16(len(e.Key)-prefix))
		if h.Level == 0 {
			v := len(e.Val)
			if e.Out {
				v |= valueOutOfLine
			}
			le.PutUint16(b[at+2:], uint16(v))
			at += leafCellBytes
		} else {
			e.Child.Encode(b[at+2:])
			at += innerCellBytes
		}
		at += copy(b[at:], e.Key[prefix:])
		if h.Level == 0 {
			at += copy(b[at:], e.Val)
		}
	}
	h.Count, h.Prefix, h.Used = uint16(len(entries)), uint16(prefix), uint32(at)
	h.Encode(b)
}
