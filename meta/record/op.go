package record

// Op names a request. The numbers are the wire's.
type Op uint8

const (
	OpLookup      Op = 1  // Dir, Name → Attr
	OpGetAttr     Op = 2  // Ino → Attr
	OpSetAttr     Op = 3  // Ino, Valid, Mode, UID, GID, Size, Atime, Mtime, NowNs, Flags{KillPriv} → Attr
	OpCreate      Op = 4  // Dir, Name, Mode, UID, GID, NowNs, Flags{Excl, Trunc, NoOpen} → Attr, Flags{Created}; counts as an open
	OpMknod       Op = 5  // Dir, Name, Mode with type, Rdev, UID, GID, NowNs → Attr
	OpMkdir       Op = 6  // Dir, Name, Mode, UID, GID, NowNs → Attr
	OpSymlink     Op = 7  // Dir, Name, Value=target, UID, GID, NowNs → Attr
	OpReadlink    Op = 8  // Ino → Value
	OpLink        Op = 9  // Ino, Dir, Name, NowNs → Attr
	OpUnlink      Op = 10 // Dir, Name, NowNs → Ino, Attr of what was unlinked (Nlink after it)
	OpRmdir       Op = 11 // Dir, Name, NowNs → Ino
	OpRename      Op = 12 // Dir, Name, NewDir, NewName, NowNs, Flags{NoReplace, Exchange} → Attr of what moved, Ino of what it replaced
	OpOpen        Op = 13 // Ino, NowNs, Flags{Trunc, KillPriv, Reassert}, Count → Attr; one more open of this mount
	OpRelease     Op = 14 // Ino, Count opens given back (0 means 1)
	OpRead        Op = 15 // Ino, Off, Count ≤ StripeSize → payload, Count, Flags{EOF}
	OpWrite       Op = 16 // Ino, Off, NowNs, Flags{Append, KillPriv}, payload within one stripe → Attr, Off where, Count
	OpFsync       Op = 17 // Ino: everything applied so far is committed when it answers
	OpSyncAll     Op = 18 // the same for the whole shard
	OpOpenDir     Op = 19 // Ino → Handle, Attr; counts as an open: a directory removed meanwhile can still be looked at
	OpReadDir     Op = 20 // Ino, Handle, Cookie, Name=last name got (may be empty), Count=bytes, Flags{Plus} → Value=entries, Flags{EOF}; Cookie 0 starts anew
	OpReleaseDir  Op = 21 // Ino, Handle
	OpStatFs      Op = 22 // → Value=StatFs
	OpSetXattr    Op = 23 // Ino, Name, Value, NowNs, Flags{Create, Replace}
	OpGetXattr    Op = 24 // Ino, Name → Value
	OpListXattr   Op = 25 // Ino → Value: names, each ended by NUL
	OpRemoveXattr Op = 26 // Ino, Name, NowNs
	OpFallocate   Op = 27 // Ino, Off, Size, NowNs, Flags{KeepSize, PunchHole, ZeroRange, KillPriv} → Attr
	OpLseek       Op = 28 // Ino, Off, Flags{SeekHole} (else data) → Off
	OpLeave       Op = 29 // the session ends and will not come back: its opens and remembered answers are dropped. The last request before GOODBYE
	opInvalid     Op = 30
)

var opNames = [opInvalid]string{"", "lookup", "getattr", "setattr", "create", "mknod", "mkdir", "symlink", "readlink", "link", "unlink",
	"rmdir", "rename", "open", "release", "read", "write", "fsync", "syncall", "opendir", "readdir", "releasedir", "statfs", "setxattr",
	"getxattr", "listxattr", "removexattr", "fallocate", "lseek", "leave"}

// Ops bounds the operations: valid ones are 1 … Ops-1.
const Ops = int(opInvalid)

// Valid reports whether the number names an operation.
func (o Op) Valid() bool { return o > 0 && o < opInvalid }

func (o Op) String() string {
	if o.Valid() {
		return opNames[o]
	}
	return "op?"
}

// Mutates reports whether the operation changes the store: such a request is remembered with its answer, and replayed when a server
// lost it. An Open mutates only with FlagTrunc or FlagKillPriv, which Request.Mutates knows.
func (o Op) Mutates() bool {
	switch o {
	case OpSetAttr, OpCreate, OpMknod, OpMkdir, OpSymlink, OpLink, OpUnlink, OpRmdir, OpRename, OpWrite, OpSetXattr, OpRemoveXattr,
		OpFallocate:
		return true
	}
	return false
}

// Request flags. One number space, so that a flag never means two things.
const (
	FlagExcl      uint32 = 1 << 0  // create: fail if it exists
	FlagTrunc     uint32 = 1 << 1  // create, open: an existing file is emptied
	FlagNoReplace uint32 = 1 << 2  // rename: fail if the new name exists
	FlagExchange  uint32 = 1 << 3  // rename: the two names change places
	FlagAppend    uint32 = 1 << 4  // write: at the end of the file, wherever that is now
	FlagKillPriv  uint32 = 1 << 5  // setattr(size), open(trunc), write, fallocate: clear setuid, and setgid of a group-executable file
	FlagCreate    uint32 = 1 << 6  // setxattr: must not exist
	FlagReplace   uint32 = 1 << 7  // setxattr: must exist
	FlagPlus      uint32 = 1 << 8  // readdir: entries with current attributes
	FlagKeepSize  uint32 = 1 << 9  // fallocate
	FlagPunchHole uint32 = 1 << 10 // fallocate; with KeepSize
	FlagZeroRange uint32 = 1 << 11 // fallocate
	FlagSeekHole  uint32 = 1 << 12 // lseek
	FlagReassert  uint32 = 1 << 13 // open: the mount says again, to a restarted server, that it has Count opens
	FlagNoOpen    uint32 = 1 << 14 // create: do not count an open
	requestFlags  uint32 = 1<<15 - 1
)

// Bits of Request.Valid for SetAttr.
const (
	SetMode     uint32 = 1 << 0
	SetUID      uint32 = 1 << 1
	SetGID      uint32 = 1 << 2
	SetSize     uint32 = 1 << 3
	SetAtime    uint32 = 1 << 4
	SetMtime    uint32 = 1 << 5
	SetAtimeNow uint32 = 1 << 6 // to NowNs
	SetMtimeNow uint32 = 1 << 7 // to NowNs
	setBits     uint32 = 1<<8 - 1
)

// Reply flags.
const (
	ReplyCreated uint32 = 1 << 0 // create: the file is new
	ReplyEOF     uint32 = 1 << 1 // read, readdir: nothing follows
	replyFlags   uint32 = 1<<2 - 1
)
