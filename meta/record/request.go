package record

// Request is one operation. It is one fat struct for all operations: the encoding carries only the fields that are not zero, so its
// size costs nothing on the wire, and one codec serves all. Data of a write is not here but in the frame's payload. Times come from
// the client, so that a replay gives the same result.
type Request struct {
	Op      Op
	Flags   uint32
	Ino     Ino
	Dir     Ino
	NewDir  Ino
	WantIno Ino    // replay of a create: the number it was given the first time
	Name    []byte // after Decode, Name, NewName and Value alias the body
	NewName []byte
	Value   []byte
	Mode    uint32
	Rdev    uint32
	UID     uint32
	GID     uint32
	Valid   uint32
	Off     uint64
	Size    uint64
	Count   uint32
	Atime   int64
	Mtime   int64
	NowNs   int64
	Cookie  uint64
	Handle  uint64
}

// Mutates reports whether this request changes the store.
func (q *Request) Mutates() bool {
	return q.Op.Mutates() || q.Op == OpOpen && q.Flags&(FlagTrunc|FlagKillPriv) != 0
}

// The order of the presence bits is the order of the fields.
const (
	qFlags = iota
	qIno
	qDir
	qNewDir
	qWantIno
	qName
	qNewName
	qValue
	qMode
	qRdev
	qUID
	qGID
	qValid
	qOff
	qSize
	qCount
	qAtime
	qMtime
	qNowNs
	qCookie
	qHandle
	qFields
)

// RequestSizeMax bounds an encoded request: head, all numbers, two names, one value.
const RequestSizeMax = 8 + qFields*8 + 3*4 + 2*NameWire + ValueMax

// Append encodes the request behind b: op u8, three zero bytes, presence mask u32, the present fields.
func (q *Request) Append(b []byte) []byte {
	e := encoder{b: append(b, byte(q.Op), 0, 0, 0, 0, 0, 0, 0), mark: len(b) + 4}
	e.u32(qFlags, q.Flags)
	e.u64(qIno, uint64(q.Ino))
	e.u64(qDir, uint64(q.Dir))
	e.u64(qNewDir, uint64(q.NewDir))
	e.u64(qWantIno, uint64(q.WantIno))
	e.bytes(qName, q.Name)
	e.bytes(qNewName, q.NewName)
	e.bytes(qValue, q.Value)
	e.u32(qMode, q.Mode)
	e.u32(qRdev, q.Rdev)
	e.u32(qUID, q.UID)
	e.u32(qGID, q.GID)
	e.u32(qValid, q.Valid)
	e.u64(qOff, q.Off)
	e.u64(qSize, q.Size)
	e.u32(qCount, q.Count)
	e.u64(qAtime, uint64(q.Atime))
	e.u64(qMtime, uint64(q.Mtime))
	e.u64(qNowNs, uint64(q.NowNs))
	e.u64(qCookie, q.Cookie)
	e.u64(qHandle, q.Handle)
	return e.finish()
}

// Decode reads a request that fills b exactly.
func (q *Request) Decode(b []byte) error {
	*q = Request{}
	if len(b) < 8 {
		return &CorruptError{What: "request length", Want: 8, Got: uint64(len(b))}
	}
	if b[1]|b[2]|b[3] != 0 {
		return &CorruptError{What: "request padding", Off: 1, Got: uint64(b[1]) | uint64(b[2]) | uint64(b[3])}
	}
	q.Op = Op(b[0])
	if !q.Op.Valid() {
		return &CorruptError{What: "request op", Want: uint64(opInvalid - 1), Got: uint64(b[0])}
	}
	d := decoder{b: b, what: "request"}
	d.mask(4, qFields)
	q.Flags = d.u32(qFlags)
	q.Ino = Ino(d.u64(qIno))
	q.Dir = Ino(d.u64(qDir))
	q.NewDir = Ino(d.u64(qNewDir))
	q.WantIno = Ino(d.u64(qWantIno))
	q.Name = d.bytes(qName, NameWire)
	q.NewName = d.bytes(qNewName, NameWire)
	q.Value = d.bytes(qValue, ValueMax)
	q.Mode = d.u32(qMode)
	q.Rdev = d.u32(qRdev)
	q.UID = d.u32(qUID)
	q.GID = d.u32(qGID)
	q.Valid = d.u32(qValid)
	q.Off = d.u64(qOff)
	q.Size = d.u64(qSize)
	q.Count = d.u32(qCount)
	q.Atime = int64(d.u64(qAtime))
	q.Mtime = int64(d.u64(qMtime))
	q.NowNs = int64(d.u64(qNowNs))
	q.Cookie = d.u64(qCookie)
	q.Handle = d.u64(qHandle)
	if q.Flags&^requestFlags != 0 {
		d.fail("flags", uint64(requestFlags), uint64(q.Flags))
	}
	if q.Valid&^setBits != 0 {
		d.fail("valid", uint64(setBits), uint64(q.Valid))
	}
	return d.finish()
}

// Reply is the outcome of one request; only the fields that the operation sets are not zero. Data of a read is the frame's payload.
type Reply struct {
	Status Status
	Flags  uint32
	Ino    Ino
	Handle uint64
	Count  uint32
	Off    uint64
	Attr   Attr   // present if Attr.Ino is not 0
	Value  []byte // after Decode it aliases the body
}

const (
	pFlags = iota
	pIno
	pHandle
	pCount
	pOff
	pAttr
	pValue
	pFields
)

// ReplySizeMax bounds an encoded reply.
const ReplySizeMax = 8 + 4 + 8 + 8 + 4 + 8 + AttrSize + 4 + ValueMax

// Append encodes the reply behind b: status u16, two zero bytes, presence mask u32, the present fields.
func (p *Reply) Append(b []byte) []byte {
	e := encoder{b: append(b, byte(p.Status), byte(p.Status>>8), 0, 0, 0, 0, 0, 0), mark: len(b) + 4}
	e.u32(pFlags, p.Flags)
	e.u64(pIno, uint64(p.Ino))
	e.u64(pHandle, p.Handle)
	e.u32(pCount, p.Count)
	e.u64(pOff, p.Off)
	if p.Attr.Ino != 0 {
		e.have |= 1 << pAttr
		e.b = p.Attr.Append(e.b)
	}
	e.bytes(pValue, p.Value)
	return e.finish()
}

// Decode reads a reply that fills b exactly.
func (p *Reply) Decode(b []byte) error {
	*p = Reply{}
	if len(b) < 8 {
		return &CorruptError{What: "reply length", Want: 8, Got: uint64(len(b))}
	}
	if b[2]|b[3] != 0 {
		return &CorruptError{What: "reply padding", Off: 2, Got: uint64(b[2]) | uint64(b[3])}
	}
	p.Status = Status(b[0]) | Status(b[1])<<8
	d := decoder{b: b, what: "reply"}
	if p.Status >= statusInvalid {
		d.fail("status", uint64(statusInvalid-1), uint64(p.Status))
	}
	d.mask(4, pFields)
	p.Flags = d.u32(pFlags)
	p.Ino = Ino(d.u64(pIno))
	p.Handle = d.u64(pHandle)
	p.Count = d.u32(pCount)
	p.Off = d.u64(pOff)
	d.attr(pAttr, &p.Attr)
	p.Value = d.bytes(pValue, ValueMax)
	if p.Flags&^replyFlags != 0 {
		d.fail("flags", uint64(replyFlags), uint64(p.Flags))
	}
	return d.finish()
}
