package record

import "encoding/binary"

// Entry is one name of a directory page.
type Entry struct {
	Cookie uint64 // resume after it; 1 is ".", 2 is "..", else the hash of the name
	Ino    Ino
	Type   uint32 // ModeType bits
	Name   []byte
	Attr   Attr // with FlagPlus; Attr.Ino is 0 if there is none (".", "..", or the inode went away meanwhile)
}

// Cookies of the two names that are not stored. 0 is the start.
const (
	CookieDot    = 1
	CookieDotDot = 2
)

const entryHead = 8 + 8 + 1 + 1 + 2 // cookie, ino, type>>12, has attributes, length of the name

// EntrySize is the encoded length of an entry.
func EntrySize(name int, plus bool) int {
	if plus {
		return entryHead + AttrSize + name
	}
	return entryHead + name
}

// Append encodes the entry behind b.
func (e *Entry) Append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, e.Cookie)
	b = le.AppendUint64(b, uint64(e.Ino))
	has := byte(0)
	if e.Attr.Ino != 0 {
		has = 1
	}
	b = append(b, byte(e.Type>>12), has)
	b = le.AppendUint16(b, uint16(len(e.Name)))
	if has != 0 {
		b = e.Attr.Append(b)
	}
	return append(b, e.Name...)
}

// NextEntry decodes the first entry of a page and returns what follows it. The name aliases b.
func NextEntry(b []byte, e *Entry) (rest []byte, err error) {
	*e = Entry{}
	if len(b) < entryHead {
		return nil, &CorruptError{What: "entry length", Want: entryHead, Got: uint64(len(b))}
	}
	le := binary.LittleEndian
	e.Cookie, e.Ino, e.Type = le.Uint64(b), Ino(le.Uint64(b[8:])), uint32(b[16])<<12
	n, has := int(le.Uint16(b[18:])), b[17]
	if has > 1 || b[16] > 15 || e.Ino == 0 || e.Cookie == 0 {
		return nil, &CorruptError{What: "entry head", Off: 16, Want: 1, Got: uint64(has)}
	}
	if n == 0 || n > NameMax {
		return nil, &CorruptError{What: "entry name", Off: 18, Want: NameMax, Got: uint64(n)}
	}
	b = b[entryHead:]
	if has == 1 {
		if err := e.Attr.Decode(b); err != nil {
			return nil, err
		}
		if e.Attr.Ino == 0 {
			return nil, &CorruptError{What: "entry attr ino", Off: entryHead, Want: 1}
		}
		b = b[AttrSize:]
	}
	if len(b) < n {
		return nil, &CorruptError{What: "entry is short", Off: entryHead, Want: uint64(n), Got: uint64(len(b))}
	}
	e.Name = b[:n:n]
	return b[n:], nil
}

// StatFs is what the file system says of itself: the Value of OpStatFs.
type StatFs struct {
	BlockSize uint32 // bytes
	NameMax   uint32
	Blocks    uint64 // of BlockSize
	Free      uint64
	Avail     uint64 // free for everyone: Free less the store's reserve
	Files     uint64 // an estimate: inodes are limited by space only
	FilesFree uint64
}

const statFsSize = 2*4 + 5*8

// Append encodes s behind b.
func (s *StatFs) Append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, s.BlockSize)
	b = le.AppendUint32(b, s.NameMax)
	b = le.AppendUint64(b, s.Blocks)
	b = le.AppendUint64(b, s.Free)
	b = le.AppendUint64(b, s.Avail)
	b = le.AppendUint64(b, s.Files)
	return le.AppendUint64(b, s.FilesFree)
}

// Decode reads s.
func (s *StatFs) Decode(b []byte) error {
	if len(b) != statFsSize {
		return &CorruptError{What: "statfs length", Want: statFsSize, Got: uint64(len(b))}
	}
	le := binary.LittleEndian
	*s = StatFs{BlockSize: le.Uint32(b), NameMax: le.Uint32(b[4:]), Blocks: le.Uint64(b[8:]), Free: le.Uint64(b[16:]),
		Avail: le.Uint64(b[24:]), Files: le.Uint64(b[32:]), FilesFree: le.Uint64(b[40:])}
	return nil
}
