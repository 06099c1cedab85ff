package record

import "encoding/binary"

// Values as the store keeps them: little-endian, field by field, padding zero and checked. Each starts with a version byte.
const valueVersion = 1

// Dentry is the value of a name.
type Dentry struct {
	Ino     Ino
	Type    uint32 // ModeType bits, so that readdir needs no inode
	Session uint64 // the request that wrote it: an operation between shards recognises its own work after a crash
	Request uint64
}

// DentrySize is its encoded length.
const DentrySize = 1 + 1 + 2 + 4 + 8 + 8 + 8

// Append encodes d behind b.
func (d *Dentry) Append(b []byte) []byte {
	le := binary.LittleEndian
	b = append(b, valueVersion, byte(d.Type>>12), 0, 0, 0, 0, 0, 0)
	b = le.AppendUint64(b, uint64(d.Ino))
	b = le.AppendUint64(b, d.Session)
	return le.AppendUint64(b, d.Request)
}

// Decode reads d.
func (d *Dentry) Decode(b []byte) error {
	if err := checkValue("dentry", b, DentrySize, DentrySize, 2, 8); err != nil {
		return err
	}
	le := binary.LittleEndian
	if b[1] > 15 {
		return &CorruptError{What: "dentry type", Off: 1, Want: 15, Got: uint64(b[1])}
	}
	*d = Dentry{Type: uint32(b[1]) << 12, Ino: Ino(le.Uint64(b[8:])), Session: le.Uint64(b[16:]), Request: le.Uint64(b[24:])}
	if d.Ino == 0 {
		return &CorruptError{What: "dentry ino", Off: 8, Want: 1}
	}
	return nil
}

// Inode is the value of an inode: what stat shows, and for a directory its own name (the rename loop check and fsck walk up by it).
type Inode struct {
	Attr
	Stripes uint32 // of a file: objects 0 … Stripes-1 may exist, no others do (a sparse file's size says nothing about them)
	Name    []byte // of a directory other than the root; aliases the value after Decode
}

const inodeHead = 1 + 1 + 2 + 4

// InodeSizeMax bounds an encoded inode.
const InodeSizeMax = inodeHead + AttrSize + NameMax

// Append encodes i behind b. Two bytes are reserved for the number of fragments of a directory.
func (i *Inode) Append(b []byte) []byte {
	b = append(b, valueVersion, byte(len(i.Name)), 0, 0)
	b = binary.LittleEndian.AppendUint32(b, i.Stripes)
	return append(i.Attr.Append(b), i.Name...)
}

// Decode reads i.
func (i *Inode) Decode(b []byte) error {
	if err := checkValue("inode", b, inodeHead+AttrSize, InodeSizeMax, 2, 4); err != nil {
		return err
	}
	n := int(b[1])
	if n != len(b)-inodeHead-AttrSize {
		return &CorruptError{What: "inode name", Off: 1, Want: uint64(len(b) - inodeHead - AttrSize), Got: uint64(n)}
	}
	if err := i.Attr.Decode(b[inodeHead:]); err != nil {
		return err
	}
	if i.Ino == 0 {
		return &CorruptError{What: "inode ino", Off: inodeHead, Want: 1}
	}
	i.Stripes = binary.LittleEndian.Uint32(b[4:])
	if i.Name = nil; n > 0 {
		i.Name = b[inodeHead+AttrSize:]
	}
	return nil
}

// Orphan is the value of an inode without names.
type Orphan struct {
	Stripes uint32 // objects 0 … Stripes-1 may still exist: a large file is deleted from its end, in bounded steps
}

const orphanSize = 8

// Append encodes o behind b.
func (o *Orphan) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(append(b, valueVersion, 0, 0, 0), o.Stripes)
}

// Decode reads o.
func (o *Orphan) Decode(b []byte) error {
	if err := checkValue("orphan", b, orphanSize, orphanSize, 1, 4); err != nil {
		return err
	}
	o.Stripes = binary.LittleEndian.Uint32(b[4:])
	return nil
}

// Counter is the durable reservation of a group's inode numbers: those below Next may have been given out.
type Counter struct{ Next uint64 }

const counterSize = 16

// Append encodes c behind b.
func (c *Counter) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(append(b, valueVersion, 0, 0, 0, 0, 0, 0, 0), c.Next)
}

// Decode reads c.
func (c *Counter) Decode(b []byte) error {
	if err := checkValue("counter", b, counterSize, counterSize, 1, 8); err != nil {
		return err
	}
	c.Next = binary.LittleEndian.Uint64(b[8:])
	if c.Next == 0 || c.Next > CounterMax {
		return &CorruptError{What: "counter", Off: 8, Want: CounterMax, Got: c.Next}
	}
	return nil
}

// FS is what mkfs decided for ever.
type FS struct {
	ID         [16]byte
	Seed       uint64 // of the name hash
	Groups     uint32 // placement groups
	StripeSize uint32 // bytes
	InlineMax  uint32 // bytes
}

const fsSize = 8 + 16 + 8 + 12 + 4

// Append encodes s behind b.
func (s *FS) Append(b []byte) []byte {
	le := binary.LittleEndian
	b = append(b, valueVersion, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, s.ID[:]...)
	b = le.AppendUint64(b, s.Seed)
	b = le.AppendUint32(b, s.Groups)
	b = le.AppendUint32(b, s.StripeSize)
	b = le.AppendUint32(b, s.InlineMax)
	return append(b, 0, 0, 0, 0)
}

// Decode reads s.
func (s *FS) Decode(b []byte) error {
	if err := checkValue("fs", b, fsSize, fsSize, 1, 8); err != nil {
		return err
	}
	le := binary.LittleEndian
	*s = FS{Seed: le.Uint64(b[24:]), Groups: le.Uint32(b[32:]), StripeSize: le.Uint32(b[36:]), InlineMax: le.Uint32(b[40:])}
	copy(s.ID[:], b[8:])
	if s.Groups == 0 || s.Groups > GroupsMax {
		return &CorruptError{What: "fs groups", Off: 32, Want: GroupsMax, Got: uint64(s.Groups)}
	}
	if s.StripeSize < 4096 || s.StripeSize > StripeSize || s.StripeSize&(s.StripeSize-1) != 0 {
		return &CorruptError{What: "fs stripe size", Off: 36, Want: StripeSize, Got: uint64(s.StripeSize)}
	}
	if s.InlineMax > InlineMax || s.InlineMax > s.StripeSize {
		return &CorruptError{What: "fs inline", Off: 40, Want: InlineMax, Got: uint64(s.InlineMax)}
	}
	if le.Uint32(b[44:]) != 0 {
		return &CorruptError{What: "fs padding", Off: 44, Got: uint64(le.Uint32(b[44:]))}
	}
	return nil
}

// Session is the durable record of a session: while it exists, a restarted server waits for its replay.
type Session struct {
	Mount    [16]byte
	Attached int64 // ns since 1970, the server's clock: for people
	Client   []byte
}

const sessionHead = 8 + 16 + 8

// Append encodes s behind b.
func (s *Session) Append(b []byte) []byte {
	b = append(b, valueVersion, byte(len(s.Client)), 0, 0, 0, 0, 0, 0)
	b = append(b, s.Mount[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Attached))
	return append(b, s.Client...)
}

// Decode reads s.
func (s *Session) Decode(b []byte) error {
	if err := checkValue("session", b, sessionHead, sessionHead+ClientMax, 2, 8); err != nil {
		return err
	}
	if int(b[1]) != len(b)-sessionHead {
		return &CorruptError{What: "session client", Off: 1, Want: uint64(len(b) - sessionHead), Got: uint64(b[1])}
	}
	*s = Session{Attached: int64(binary.LittleEndian.Uint64(b[24:])), Client: b[sessionHead:]}
	copy(s.Mount[:], b[8:])
	return nil
}

// Idem is a remembered answer: written in the transaction that it answers.
type Idem struct {
	Request uint64
	Reply   []byte // encoded
}

const idemHead = 16

// IdemSizeMax bounds an encoded Idem. Answers of mutating requests carry no Value, so a byte is enough for their length.
const (
	idemReplyMax = 8 + 4 + 8 + 8 + 4 + 8 + AttrSize
	IdemSizeMax  = idemHead + idemReplyMax
	_            = uint8(255 - idemReplyMax)
)

// Append encodes i behind b.
func (i *Idem) Append(b []byte) []byte {
	b = append(b, valueVersion, byte(len(i.Reply)), 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, i.Request)
	return append(b, i.Reply...)
}

// Decode reads i; the reply aliases b.
func (i *Idem) Decode(b []byte) error {
	if err := checkValue("idem", b, idemHead, IdemSizeMax, 2, 8); err != nil {
		return err
	}
	if int(b[1]) != len(b)-idemHead {
		return &CorruptError{What: "idem reply", Off: 1, Want: uint64(len(b) - idemHead), Got: uint64(b[1])}
	}
	*i = Idem{Request: binary.LittleEndian.Uint64(b[8:]), Reply: b[idemHead:]}
	return nil
}

// checkValue checks the head that all values share: length, version, and bytes used … pad-1, which are padding.
func checkValue(what string, b []byte, min, max, used, pad int) error {
	if len(b) < min || len(b) > max {
		return &CorruptError{What: what + " length", Want: uint64(min), Got: uint64(len(b))}
	}
	if b[0] != valueVersion {
		return &CorruptError{What: what + " version", Want: valueVersion, Got: uint64(b[0])}
	}
	for i := used; i < pad; i++ {
		if b[i] != 0 {
			return &CorruptError{What: what + " padding", Off: i, Got: uint64(b[i])}
		}
	}
	return nil
}

// Recovery says that a replay window is open, or was when the server died: requests above Base may have to be replayed. It outlives further
// restarts, because after them the store's numbers no longer tell what the clients' numbers meant.
type Recovery struct{ Base uint64 }

const recoverySize = 16

// Append encodes r behind b.
func (r *Recovery) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(append(b, valueVersion, 0, 0, 0, 0, 0, 0, 0), r.Base)
}

// Decode reads r.
func (r *Recovery) Decode(b []byte) error {
	if err := checkValue("recovery", b, recoverySize, recoverySize, 1, 8); err != nil {
		return err
	}
	r.Base = binary.LittleEndian.Uint64(b[8:])
	return nil
}
