package record

import "encoding/binary"

// Attr is what stat shows of an inode, and all of it is in the INOD record.
type Attr struct {
	Ino     Ino
	Parent  Ino    // of a directory: its parent (the root is its own); else 0
	Size    uint64 // bytes; of a directory: number of entries
	Blocks  uint64 // 512-byte units in use
	Atime   int64  // ns since 1970, as all times
	Mtime   int64
	Ctime   int64
	Btime   int64  // birth
	Version uint64 // grows with every change of the inode, its data included
	Mode    uint32 // type and permission bits
	Nlink   uint32
	UID     uint32
	GID     uint32
	Rdev    uint32
	Flags   uint32 // AttrFlags
}

// AttrFlags
const (
	AttrInline  uint32 = 1 << 0 // data is in the DATA record (or there is none); else in objects
	AttrStray   uint32 = 1 << 1 // reserved: stripe 0 is not in the home group but hashed
	AttrOrphan  uint32 = 1 << 2 // no name is left: it lives as long as it is open
	AttrXattr   uint32 = 1 << 3 // has extended attributes
	AttrPending uint32 = 1 << 4 // reserved for operations between shards
	attrFlags          = AttrInline | AttrStray | AttrOrphan | AttrXattr | AttrPending
)

// AttrSize is the encoded length: nine 8-byte fields, then six of 4.
const AttrSize = 9*8 + 6*4

// IsDir reports whether the inode is a directory; the others likewise.
func (a *Attr) IsDir() bool     { return a.Mode&ModeType == ModeDir }
func (a *Attr) IsRegular() bool { return a.Mode&ModeType == ModeRegular }
func (a *Attr) IsSymlink() bool { return a.Mode&ModeType == ModeSymlink }

// Append encodes the attributes behind b.
func (a *Attr) Append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, uint64(a.Ino))
	b = le.AppendUint64(b, uint64(a.Parent))
	b = le.AppendUint64(b, a.Size)
	b = le.AppendUint64(b, a.Blocks)
	b = le.AppendUint64(b, uint64(a.Atime))
	b = le.AppendUint64(b, uint64(a.Mtime))
	b = le.AppendUint64(b, uint64(a.Ctime))
	b = le.AppendUint64(b, uint64(a.Btime))
	b = le.AppendUint64(b, a.Version)
	b = le.AppendUint32(b, a.Mode)
	b = le.AppendUint32(b, a.Nlink)
	b = le.AppendUint32(b, a.UID)
	b = le.AppendUint32(b, a.GID)
	b = le.AppendUint32(b, a.Rdev)
	return le.AppendUint32(b, a.Flags)
}

// Decode reads the attributes from the first AttrSize bytes of b.
func (a *Attr) Decode(b []byte) error {
	if len(b) < AttrSize {
		return &CorruptError{What: "attr length", Want: AttrSize, Got: uint64(len(b))}
	}
	le := binary.LittleEndian
	*a = Attr{
		Ino: Ino(le.Uint64(b)), Parent: Ino(le.Uint64(b[8:])), Size: le.Uint64(b[16:]), Blocks: le.Uint64(b[24:]),
		Atime: int64(le.Uint64(b[32:])), Mtime: int64(le.Uint64(b[40:])), Ctime: int64(le.Uint64(b[48:])),
		Btime: int64(le.Uint64(b[56:])), Version: le.Uint64(b[64:]),
		Mode: le.Uint32(b[72:]), Nlink: le.Uint32(b[76:]), UID: le.Uint32(b[80:]), GID: le.Uint32(b[84:]),
		Rdev: le.Uint32(b[88:]), Flags: le.Uint32(b[92:]),
	}
	return a.check()
}

func (a *Attr) check() error {
	switch a.Mode & ModeType {
	case ModeRegular, ModeDir, ModeSymlink, ModeFifo, ModeSocket, ModeChar, ModeBlock:
	default:
		return &CorruptError{What: "attr mode", Off: 72, Want: uint64(ModeRegular), Got: uint64(a.Mode)}
	}
	if a.Mode&^(ModeType|ModePerm) != 0 {
		return &CorruptError{What: "attr mode bits", Off: 72, Want: uint64(ModePerm), Got: uint64(a.Mode)}
	}
	if a.Flags&^attrFlags != 0 {
		return &CorruptError{What: "attr flags", Off: 92, Want: uint64(attrFlags), Got: uint64(a.Flags)}
	}
	if a.Size > SizeMax {
		return &CorruptError{What: "attr size", Off: 16, Want: SizeMax, Got: a.Size}
	}
	return nil
}
