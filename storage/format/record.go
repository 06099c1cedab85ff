package format

import "fmt"

// ValueExtent points at one piece of a value that is too long for a leaf: whole blocks, the rest of the last one zero. A
// leaf's cell holds one for each piece, in order; only the last piece may have bytes that are not whole blocks.
type ValueExtent struct {
	Start BlockNo
	Bytes uint32
	Crc   uint32 // of the piece's bytes, without the padding
}

// Extent is the run of blocks that the piece occupies.
func (v ValueExtent) Extent() Extent { return Extent{v.Start, BlocksFor(int64(v.Bytes))} }

// Encode writes the pointer into b.
func (v ValueExtent) Encode(b []byte) {
	mustLen("value extent", b, ValueExtentBytes)
	le.PutUint64(b, uint64(v.Start))
	le.PutUint32(b[8:], v.Bytes)
	le.PutUint32(b[12:], v.Crc)
}

// ValueCell is the encoded pieces of one value, as a leaf's cell holds them. Its methods trust what CheckValueCell checked.
type ValueCell []byte

// Pieces is how many pieces the value has.
func (c ValueCell) Pieces() int { return len(c) / ValueExtentBytes }

// Piece is the pointer to piece i.
func (c ValueCell) Piece(i int) ValueExtent {
	b := c[i*ValueExtentBytes:][:ValueExtentBytes]
	return ValueExtent{BlockNo(le.Uint64(b)), le.Uint32(b[8:]), le.Uint32(b[12:])}
}

// Bytes is the length of the value.
func (c ValueCell) Bytes() int {
	n := 0
	for i := range c.Pieces() {
		n += int(le.Uint32(c[i*ValueExtentBytes+8:]))
	}
	return n
}

// CheckValueCell checks the pointers to an out-of-line value.
func CheckValueCell(p Place, b []byte) error {
	c := ValueCell(b)
	if len(b) == 0 || len(b)%ValueExtentBytes != 0 || c.Pieces() > ValuePiecesMax {
		return corruptValue(p, "value pieces", fmt.Sprintf("1…%d of %d bytes", ValuePiecesMax, ValueExtentBytes), len(b))
	}
	sum := 0
	for i := range c.Pieces() {
		v := c.Piece(i)
		if v.Bytes == 0 || v.Bytes > ValueBytesMax || (v.Bytes%BlockBytes != 0 && i+1 < c.Pieces()) {
			return corruptValue(p, "value piece bytes", fmt.Sprintf("1…%d, whole blocks but for the last", ValueBytesMax), v.Bytes)
		}
		sum += int(v.Bytes)
	}
	if sum > ValueBytesMax {
		return corruptValue(p, "value bytes", fmt.Sprintf("1…%d", ValueBytesMax), sum)
	}
	return nil
}

// VerifyValue checks every byte of the blocks that were read for one piece.
func VerifyValue(p Place, b []byte, v ValueExtent) error {
	if err := checkLen(p, "value", b, int(v.Bytes)); err != nil {
		return err
	}
	if got := Crc(b[:v.Bytes]); got != v.Crc {
		return CorruptCrc(p, "value", v.Crc, got)
	}
	return checkZero(p, "value", b[v.Bytes:], int(v.Bytes))
}

// ExtentRecord is the value of an extent key: a run of blocks of one object and the crc32c of each block.
// Crcs is encoded (4 bytes a block), so that a record can be read where it stands.
type ExtentRecord struct {
	Start BlockNo
	Len   BlockCount
	Crcs  []byte
	Flags uint32
}

// ExtentShared says that extents of other objects may name the same blocks: share records own them and count who does.
const ExtentShared = 1

// IsShared tells whether the extent does not own its blocks.
func (r *ExtentRecord) IsShared() bool { return r.Flags&ExtentShared != 0 }

// Extent is the run of blocks.
func (r *ExtentRecord) Extent() Extent { return Extent{r.Start, r.Len} }

// Crc is the checksum of block i.
func (r *ExtentRecord) Crc(i int) uint32 { return le.Uint32(r.Crcs[4*i:]) }

// Append appends the encoded record to dst.
func (r *ExtentRecord) Append(dst []byte) []byte {
	if len(r.Crcs) != 4*int(r.Len) || r.Len == 0 || r.Len > ExtentBlocksMax {
		panic(fmt.Sprintf("format: extent record of %d blocks with %d bytes of checksums", r.Len, len(r.Crcs)))
	}
	dst = le.AppendUint64(dst, uint64(r.Start))
	dst = le.AppendUint32(dst, uint32(r.Len))
	dst = le.AppendUint32(dst, r.Flags)
	return append(dst, r.Crcs...)
}

// Sub is the record of n of the blocks from the i-th on.
func (r *ExtentRecord) Sub(i, n int) ExtentRecord {
	return ExtentRecord{r.Start + BlockNo(i), BlockCount(n), r.Crcs[4*i : 4*(i+n)], r.Flags}
}

// DecodeExtentRecord reads an extent record; Crcs aliases b.
func DecodeExtentRecord(p Place, b []byte) (ExtentRecord, error) {
	if err := checkLen(p, "extent record", b, ExtentRecordHeader); err != nil {
		return ExtentRecord{}, err
	}
	r := ExtentRecord{BlockNo(le.Uint64(b)), BlockCount(le.Uint32(b[8:])), b[ExtentRecordHeader:], le.Uint32(b[12:])}
	if r.Len == 0 || r.Len > ExtentBlocksMax || len(r.Crcs) != 4*int(r.Len) {
		return ExtentRecord{}, corruptValue(p, "extent record", fmt.Sprintf("1…%d blocks, 4 bytes each", ExtentBlocksMax),
			fmt.Sprintf("%d blocks, %d bytes", r.Len, len(r.Crcs)))
	}
	if r.Flags&^ExtentShared != 0 {
		return ExtentRecord{}, corruptValue(p, "extent record flags", fmt.Sprintf("0…%d", ExtentShared), r.Flags)
	}
	return r, nil
}

// ShareRecord is the value of a share key: for a run of blocks how many extents name each of them. It owns the blocks.
type ShareRecord struct {
	Len  BlockCount
	Refs uint32
}

// Append appends the encoded record to dst.
func (r *ShareRecord) Append(dst []byte) []byte {
	if r.Len == 0 || r.Len > ExtentBlocksMax || r.Refs == 0 {
		panic(fmt.Sprintf("format: share record of %d blocks with %d references", r.Len, r.Refs))
	}
	return le.AppendUint32(le.AppendUint32(dst, uint32(r.Len)), r.Refs)
}

// DecodeShareRecord reads a share record.
func DecodeShareRecord(p Place, b []byte) (ShareRecord, error) {
	if len(b) != ShareRecordBytes {
		return ShareRecord{}, corruptValue(p, "share record length", ShareRecordBytes, len(b))
	}
	r := ShareRecord{BlockCount(le.Uint32(b)), le.Uint32(b[4:])}
	if r.Len == 0 || r.Len > ExtentBlocksMax || r.Refs == 0 {
		return ShareRecord{}, corruptValue(p, "share record", fmt.Sprintf("1…%d blocks, 1 reference at least", ExtentBlocksMax),
			fmt.Sprintf("%d blocks, %d references", r.Len, r.Refs))
	}
	return r, nil
}

// Onode is the value of an object's key. The object's blocks are in extent keys beside it.
type Onode struct {
	Version uint64 // of the last transaction on the object
	Size    uint64 // bytes
	Blocks  uint64 // allocated blocks
	Flags   uint32
	Attrs   []Attr // ascending by name
}

// Flags of an onode.
const (
	OnodeApprox = 1 // Blocks is an upper bound
	OnodeShares = 2 // it may have extents whose blocks are shared
)

// Attr is a named value of an object.
type Attr struct{ Name, Val []byte }

// Append appends the encoded onode to dst.
func (o *Onode) Append(dst []byte) []byte {
	if len(o.Attrs) > AttrsMax {
		panic(fmt.Sprintf("format: onode with %d attributes", len(o.Attrs)))
	}
	dst = le.AppendUint64(dst, o.Version)
	dst = le.AppendUint64(dst, o.Size)
	dst = le.AppendUint64(dst, o.Blocks)
	dst = le.AppendUint32(dst, o.Flags)
	dst = le.AppendUint16(dst, uint16(len(o.Attrs)))
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	for _, a := range o.Attrs {
		if len(a.Name) == 0 || len(a.Name) > AttrNameBytesMax || len(a.Val) > ValueBytesMax {
			panic(fmt.Sprintf("format: attribute with a name of %d bytes and a value of %d", len(a.Name), len(a.Val)))
		}
		dst = append(dst, byte(len(a.Name)))
		dst = le.AppendUint32(dst, uint32(len(a.Val)))
		dst = append(append(dst, a.Name...), a.Val...)
	}
	return dst
}

// DecodeOnode reads an onode. With attrs = false the attributes are checked by count only and left out. Names and
// values alias b.
func DecodeOnode(p Place, b []byte, attrs bool) (Onode, error) {
	var o Onode
	if err := checkLen(p, "onode", b, OnodeHeaderBytes); err != nil {
		return o, err
	}
	o = Onode{Version: le.Uint64(b), Size: le.Uint64(b[8:]), Blocks: le.Uint64(b[16:]), Flags: le.Uint32(b[24:])}
	if err := checkZero(p, "onode", b[30:40], 30); err != nil {
		return o, err
	}
	n := int(le.Uint16(b[28:]))
	if n > AttrsMax {
		return o, corruptValue(p, "onode attribute count", AttrsMax, n)
	}
	if o.Size > ObjectBytesMax {
		return o, corruptValue(p, "onode size", fmt.Sprintf("0…%d", ObjectBytesMax), o.Size)
	}
	if !attrs {
		return o, nil
	}
	b = b[OnodeHeaderBytes:]
	for i := range n {
		if err := checkLen(p, "onode attribute", b, 5); err != nil {
			return o, err
		}
		nl, vl := int(b[0]), int64(le.Uint32(b[1:]))
		if nl == 0 || vl > ValueBytesMax || int64(len(b)-5) < int64(nl)+vl {
			return o, corruptValue(p, "onode attribute lengths", "inside the value", fmt.Sprint(nl, vl))
		}
		a := Attr{b[5 : 5+nl], b[5+nl : 5+nl+int(vl)]}
		if i > 0 && string(o.Attrs[i-1].Name) >= string(a.Name) {
			return o, corruptValue(p, "onode attribute order", "ascending names", fmt.Sprintf("%q", a.Name))
		}
		o.Attrs = append(o.Attrs, a)
		b = b[5+nl+int(vl):]
	}
	if len(b) != 0 {
		return o, corruptValue(p, "onode length", "no bytes after the attributes", len(b))
	}
	return o, nil
}

// CollectionRecord is the value of a collection's key.
type CollectionRecord struct {
	Version uint64 // of the last transaction on the collection
	Created uint64 // number of the transaction that created it
	Flags   uint32
}

// Encode writes the record into b.
func (c *CollectionRecord) Encode(b []byte) {
	mustLen("collection record", b, CollectionRecBytes)
	le.PutUint64(b, c.Version)
	le.PutUint64(b[8:], c.Created)
	le.PutUint32(b[16:], c.Flags)
	le.PutUint32(b[20:], 0)
}

// DecodeCollectionRecord reads a collection record.
func DecodeCollectionRecord(p Place, b []byte) (CollectionRecord, error) {
	if len(b) != CollectionRecBytes {
		return CollectionRecord{}, corruptValue(p, "collection record length", CollectionRecBytes, len(b))
	}
	return CollectionRecord{le.Uint64(b), le.Uint64(b[8:]), le.Uint32(b[16:])}, checkZero(p, "collection record", b[20:24], 20)
}
