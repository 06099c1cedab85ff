package format

import "fmt"

// TxnHeader starts a transaction inside a journal record. Its operations follow.
type TxnHeader struct {
	Bytes      uint32 // header and operations
	Ops        uint32
	Txn        uint64 // its number
	Version    uint64 // of the collection's log
	Collection uint16 // whose log the transaction belongs to
	Flags      uint16
}

// Encode writes the header into b.
func (h *TxnHeader) Encode(b []byte) {
	mustLen("transaction header", b, TxnHeaderBytes)
	clear(b[:TxnHeaderBytes])
	le.PutUint32(b, h.Bytes)
	le.PutUint32(b[4:], h.Ops)
	le.PutUint64(b[8:], h.Txn)
	le.PutUint64(b[16:], h.Version)
	le.PutUint16(b[24:], h.Collection)
	le.PutUint16(b[26:], h.Flags)
}

// NextTxn cuts the first transaction off the payload of a record: its header, its operations, and what follows.
func NextTxn(p Place, b []byte) (h TxnHeader, ops, rest []byte, err error) {
	if err := checkLen(p, "transaction", b, TxnHeaderBytes); err != nil {
		return h, nil, nil, err
	}
	h = TxnHeader{le.Uint32(b), le.Uint32(b[4:]), le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint16(b[24:]), le.Uint16(b[26:])}
	if h.Bytes < TxnHeaderBytes || h.Bytes > TxnBytesMax || int(h.Bytes) > len(b) {
		return h, nil, nil, corruptValue(p, "transaction bytes", fmt.Sprintf("%d…%d", TxnHeaderBytes, len(b)), h.Bytes)
	}
	if h.Ops > TxnOpsMax || int(h.Ops)*OpHeaderBytes > int(h.Bytes)-TxnHeaderBytes {
		return h, nil, nil, corruptValue(p, "transaction operations", "as many as fit", h.Ops)
	}
	return h, b[TxnHeaderBytes:h.Bytes], b[h.Bytes:], checkZero(p, "transaction header", b[28:32], 28)
}

// OpKind says what an operation does.
type OpKind uint8

// The operations of a transaction.
const (
	OpPut              OpKind = 1  // Key, Val
	OpDelete           OpKind = 2  // Key
	OpDeleteRange      OpKind = 3  // Key … Hi, half-open; an empty Hi is the end of the collection's keys
	OpWrite            OpKind = 4  // Name, Size, Pieces: new extents with the crc of every block
	OpPatch            OpKind = 5  // Name, Off, Val: bytes that are not whole blocks
	OpTruncate         OpKind = 6  // Name, Size
	OpPunch            OpKind = 7  // Name, Off, Len
	OpRemove           OpKind = 8  // Name
	OpSetAttr          OpKind = 9  // Name, Key, Val
	OpDeleteAttr       OpKind = 10 // Name, Key
	OpCreateCollection OpKind = 11
	OpDeleteCollection OpKind = 12 // with everything in it
	OpClone            OpKind = 13 // Name, Key: an object of the second name comes into being, equal to the first
	opKindEnd          OpKind = 14
)

var opNames = [opKindEnd]string{"", "put", "delete", "delete range", "write", "patch", "truncate", "punch", "remove",
	"set attribute", "delete attribute", "create collection", "delete collection", "clone"}

func (k OpKind) String() string {
	if k > 0 && k < opKindEnd {
		return opNames[k]
	}
	return fmt.Sprintf("operation %d", uint8(k))
}

// opParts says which parts the body of an operation has, in the order in which they stand.
type opParts struct{ name, key, hi, val, off, length, size, pieces bool }

var opTable = [opKindEnd]opParts{
	OpPut:         {key: true, val: true},
	OpDelete:      {key: true},
	OpDeleteRange: {key: true, hi: true},
	OpWrite:       {name: true, size: true, pieces: true},
	OpPatch:       {name: true, off: true, val: true},
	OpTruncate:    {name: true, size: true},
	OpPunch:       {name: true, off: true, length: true},
	OpRemove:      {name: true},
	OpSetAttr:     {name: true, key: true, val: true},
	OpDeleteAttr:  {name: true, key: true},
	OpClone:       {name: true, key: true},
}

// Op is one operation. The slices of a decoded one alias the record.
type Op struct {
	Kind   OpKind
	Flags  uint8
	Coll   uint16
	Name   []byte // object
	Key    []byte // user key, attribute name, name of the clone, or the low end of a range
	Hi     []byte
	Val    []byte
	Off    uint64
	Len    uint64
	Size   uint64 // truncate: the new size; write: the object is at least so long afterwards
	Pieces []byte // of OpWrite, see AppendPiece and EachPiece
}

// AppendOp appends the encoded operation to dst.
func AppendOp(dst []byte, o *Op) []byte {
	if o.Kind == 0 || o.Kind >= opKindEnd {
		panic("format: encode of " + o.Kind.String())
	}
	parts, at := &opTable[o.Kind], len(dst)
	dst = append(dst, byte(o.Kind), o.Flags)
	dst = le.AppendUint16(dst, o.Coll)
	dst = le.AppendUint32(dst, 0)
	if parts.name {
		dst = append(append(dst, byte(len(o.Name))), o.Name...)
	}
	if parts.key {
		dst = append(le.AppendUint16(dst, uint16(len(o.Key))), o.Key...)
	}
	if parts.hi {
		dst = append(le.AppendUint16(dst, uint16(len(o.Hi))), o.Hi...)
	}
	if parts.off {
		dst = le.AppendUint64(dst, o.Off)
	}
	if parts.length {
		dst = le.AppendUint64(dst, o.Len)
	}
	if parts.size {
		dst = le.AppendUint64(dst, o.Size)
	}
	if parts.val {
		dst = append(le.AppendUint32(dst, uint32(len(o.Val))), o.Val...)
	}
	if parts.pieces {
		dst = append(le.AppendUint32(dst, uint32(len(o.Pieces))), o.Pieces...)
	}
	le.PutUint32(dst[at+4:], uint32(len(dst)-at-OpHeaderBytes))
	return dst
}

// NextOp cuts the first operation off the operations of a transaction and checks all of it, its pieces included.
func NextOp(p Place, b []byte, o *Op) (rest []byte, err error) {
	if err := checkLen(p, "operation", b, OpHeaderBytes); err != nil {
		return nil, err
	}
	*o = Op{Kind: OpKind(b[0]), Flags: b[1], Coll: le.Uint16(b[2:])}
	size := le.Uint32(b[4:])
	if o.Kind == 0 || o.Kind >= opKindEnd {
		return nil, corruptValue(p, "operation kind", fmt.Sprintf("1…%d", opKindEnd-1), uint8(o.Kind))
	}
	if uint64(size) > uint64(len(b)-OpHeaderBytes) {
		return nil, corruptValue(p, "operation bytes", len(b)-OpHeaderBytes, size)
	}
	c := cutter{b: b[OpHeaderBytes : OpHeaderBytes+int(size)]}
	c.op(o, &opTable[o.Kind])
	if c.short || len(c.b) != 0 {
		return nil, corruptValue(p, o.Kind.String()+" bytes", "parts that fill the operation", len(c.b))
	}
	return b[OpHeaderBytes+int(size):], o.check(p)
}

// cutter takes parts off the front of b; once b was too short, short stays true and every part is empty.
type cutter struct {
	b     []byte
	short bool
}

func (c *cutter) take(n uint64) []byte {
	if c.short || n > uint64(len(c.b)) {
		c.short = true
		return nil
	}
	out := c.b[:n:n]
	c.b = c.b[n:]
	return out
}

func (c *cutter) uint(size uint64) uint64 {
	var n uint64
	for i, x := range c.take(size) {
		n |= uint64(x) << (8 * i)
	}
	return n
}

func (c *cutter) op(o *Op, parts *opParts) {
	if parts.name {
		o.Name = c.take(c.uint(1))
	}
	if parts.key {
		o.Key = c.take(c.uint(2))
	}
	if parts.hi {
		o.Hi = c.take(c.uint(2))
	}
	if parts.off {
		o.Off = c.uint(8)
	}
	if parts.length {
		o.Len = c.uint(8)
	}
	if parts.size {
		o.Size = c.uint(8)
	}
	if parts.val {
		o.Val = c.take(c.uint(4))
	}
	if parts.pieces {
		o.Pieces = c.take(c.uint(4))
	}
}

func (o *Op) check(p Place) error {
	parts := &opTable[o.Kind]
	switch {
	case parts.name && len(o.Name) == 0:
		return corruptValue(p, o.Kind.String()+" object name", "not empty", "empty")
	case len(o.Key) > KeyBytesMax-keyHead || len(o.Hi) > KeyBytesMax-keyHead:
		return corruptValue(p, o.Kind.String()+" key length", KeyBytesMax-keyHead, max(len(o.Key), len(o.Hi)))
	case o.Kind != OpPatch && len(o.Val) > ValueBytesMax:
		return corruptValue(p, o.Kind.String()+" value length", ValueBytesMax, len(o.Val))
	case (o.Kind == OpSetAttr || o.Kind == OpDeleteAttr) && (len(o.Key) == 0 || len(o.Key) > AttrNameBytesMax):
		return corruptValue(p, o.Kind.String()+" attribute name length", AttrNameBytesMax, len(o.Key))
	case o.Kind == OpClone && (len(o.Key) == 0 || len(o.Key) > NameBytesMax):
		return corruptValue(p, "name of a clone", fmt.Sprintf("1…%d bytes", NameBytesMax), len(o.Key))
	case o.Off > ObjectBytesMax || max(o.Len, uint64(len(o.Val))) > ObjectBytesMax-o.Off || o.Size > ObjectBytesMax:
		return corruptValue(p, o.Kind.String()+" end", fmt.Sprintf("0…%d", ObjectBytesMax), fmt.Sprint(o.Off, o.Len, o.Size))
	}
	var bad error
	for rest := o.Pieces; len(rest) > 0 && bad == nil; {
		_, rest, bad = nextPiece(p, rest)
	}
	return bad
}

// Piece is a run of new blocks of an object: where in the object, where on the device, and the crc32c of each block.
type Piece struct {
	BlockOff uint64
	Extent   Extent
	Crcs     []byte // 4 bytes a block
}

// AppendPiece appends an encoded piece to the pieces of an OpWrite.
func AppendPiece(dst []byte, q *Piece) []byte {
	if q.Extent.Len == 0 || len(q.Crcs) != 4*int(q.Extent.Len) {
		panic(fmt.Sprintf("format: piece of %d blocks with %d bytes of checksums", q.Extent.Len, len(q.Crcs)))
	}
	dst = le.AppendUint64(dst, q.BlockOff)
	dst = le.AppendUint64(dst, uint64(q.Extent.Start))
	dst = le.AppendUint32(dst, uint32(q.Extent.Len))
	dst = le.AppendUint32(dst, 0)
	return append(dst, q.Crcs...)
}

func nextPiece(p Place, b []byte) (q Piece, rest []byte, err error) {
	if err := checkLen(p, "written piece", b, WritePieceBytes); err != nil {
		return q, nil, err
	}
	q = Piece{BlockOff: le.Uint64(b), Extent: Extent{BlockNo(le.Uint64(b[8:])), BlockCount(le.Uint32(b[16:]))}}
	crcs := 4 * uint64(q.Extent.Len)
	if q.Extent.Len == 0 || crcs > uint64(len(b)-WritePieceBytes) {
		return q, nil, corruptValue(p, "written piece blocks", "as many as have checksums", q.Extent.Len)
	}
	if q.BlockOff > ObjectBlocksMax-min(uint64(q.Extent.Len), ObjectBlocksMax) || q.Extent.Start > 1<<52 {
		return q, nil, corruptValue(p, "written piece position", "inside an object and a device", fmt.Sprint(q.BlockOff, q.Extent.Start))
	}
	end := WritePieceBytes + int(crcs)
	q.Crcs = b[WritePieceBytes:end:end]
	return q, b[end:], checkZero(p, "written piece", b[20:24], 20)
}

// FirstPiece cuts the first piece off the pieces of an operation that NextOp has checked.
func FirstPiece(pieces []byte) (q Piece, rest []byte) {
	q, rest, err := nextPiece(Place{}, pieces)
	if err != nil {
		panic("format: pieces that were not checked: " + err.Error())
	}
	return q, rest
}
