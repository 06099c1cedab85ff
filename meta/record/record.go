// Package record holds what the namespace is made of: inode numbers, attributes, the keys and values under which the store keeps
// them, and the bodies of requests and replies with their codecs.
//
// State: none. Every type is plain data, owned by whoever holds it. Decoded slices alias the bytes they were decoded from.
//
// Invariants: an encoding is canonical (a field that is zero is absent, so equal requests are equal bytes); a decoder bounds every
// length before it uses it and returns a *CorruptError naming the place, never a panic; encoders append to the caller's buffer and
// allocate nothing.
//
// Locks: none.
//
// Survives: any bytes at all as input (fuzzed).
//
// Read request.go first, then key.go for what is on disk; docs/PROTOCOL.md has the same as tables.
package record

import "fmt"

// Limits of everything a peer or a disk can say. The relations are checked where they are used.
const (
	NameMax    = 255                    // bytes of one name, as NAME_MAX
	NameWire   = 1024                   // bytes of a name on the wire: a longer one than NameMax must arrive to be refused as TooLong
	SymlinkMax = 4095                   // bytes of a symlink's target, PATH_MAX less its NUL
	ValueMax   = 64 << 10               // bytes of an extended attribute, a directory page, any Value
	XattrsMax  = 64 << 10               // bytes of all values of one inode's extended attributes: one may have them all (XATTR_SIZE_MAX)
	ListMax    = 64 << 10               // bytes of all their names, each with its NUL (XATTR_LIST_MAX)
	LinkMax    = 65000                  // hard links of one inode
	InlineMax  = 4096                   // bytes of file data kept beside the inode
	StripeSize = 1 << 20                // bytes of one object of a large file; also the largest write
	SizeMax    = StripesMax * StripeMin // bytes of one file: almost 16 TiB, as many as fit with the smallest stripe
	StripeMin  = 4096                   // bytes of the smallest stripe that a file system may have
	StripesMax = 1<<32 - 1              // objects of one file: their number has 32 bits
	IdemSlots  = 1024                   // remembered answers of one session: a client never has requests further apart than this
	ClientMax  = 255                    // bytes of a client's name in Hello
	ReplayMax  = 16 << 20               // bytes of answered but uncommitted requests that one session may keep
	ReplayHead = 128                    // what each of them counts for beside its body and data
)

// Version of the bodies described here.
const Version = 1

// Ino is an inode number: placement group (16 bits, high) and counter (48 bits). It is never reused.
type Ino uint64

const (
	RootIno    Ino = 1 // group 0, counter 1
	CounterMax     = 1<<48 - 1
)

// MakeIno composes an inode number.
func MakeIno(group uint16, counter uint64) Ino { return Ino(uint64(group)<<48 | counter&CounterMax) }

// Group is the placement group in which the inode lives.
func (i Ino) Group() uint16 { return uint16(i >> 48) }

// Counter is the inode's number within its group.
func (i Ino) Counter() uint64 { return uint64(i) & CounterMax }

func (i Ino) String() string { return fmt.Sprintf("%d.%d", i.Group(), i.Counter()) }

// File types and permission bits of Attr.Mode: the values of Linux, spelled out because this is also the disk format.
const (
	ModeType    uint32 = 0o170000
	ModeSocket  uint32 = 0o140000
	ModeSymlink uint32 = 0o120000
	ModeRegular uint32 = 0o100000
	ModeBlock   uint32 = 0o060000
	ModeDir     uint32 = 0o040000
	ModeChar    uint32 = 0o020000
	ModeFifo    uint32 = 0o010000
	ModeSetUID  uint32 = 0o4000
	ModeSetGID  uint32 = 0o2000
	ModeSticky  uint32 = 0o1000
	ModePerm    uint32 = 0o7777 // with setuid, setgid and sticky
)

// CorruptError says that bytes from the wire or the disk are not what they must be.
type CorruptError struct {
	What string // the structure and the field
	Off  int    // byte offset within the structure
	Want uint64 // the bound or value expected
	Got  uint64
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("record: %s at byte %d: want %d, got %d", e.What, e.Off, e.Want, e.Got)
}
