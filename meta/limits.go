package meta

import "basalt/meta/record"

// Bounds of one shard. What an operator may want to change is in Options; the rest is fixed here.
const (
	stepStripesMax   = 256  // objects that one transaction cuts off; a longer cut takes several, each leaving a shorter file
	stepLooksMax     = 1024 // places of objects that it looks at: a sparse file has none in most
	unlinkStripesMax = 16   // objects that an unlink removes itself; a longer file becomes an orphan for the reaper
	counterBlock     = 4096 // inode numbers reserved at once in a group: a restart skips the rest
	inodesMax        = 6    // inodes that one operation touches: rename has two directories and two entries
	walkMax          = 1 << 16
	pageEntriesMax   = 512 // names that one turn lists
	waitersMax       = 1 << 14
)

// A page must hold at least one entry with attributes, whatever the name.
const _ = uint(record.ValueMax - (record.NameMax + record.AttrSize + 64))

// Options are the limits of a shard; zero values mean the defaults.
type Options struct {
	LeaseNs     int64 // a session out of touch for longer is expired; default 30 s
	RecallNs    int64 // how long a mount may take to drop its caches before it is treated as gone; default: the lease
	OpensMax    int   // opens (inodes, not descriptors) of one mount; default 1 Mi
	SessionsMax int   // default 4,096
	PinsMax     int   // directory listings that hold a snapshot at the same time; default 64
	PinNs       int64 // a snapshot not read for so long is released; default 10 s
	HandlesMax  int   // directory handles of one mount; default 64 Ki
	ReplayBytes int   // buffered replays of one session; default record.ReplayMax
}

func (o Options) withDefaults() Options {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	if o.LeaseNs == 0 {
		o.LeaseNs = 30e9
	}
	if o.RecallNs == 0 {
		o.RecallNs = o.LeaseNs
	}
	if o.PinNs == 0 {
		o.PinNs = 10e9
	}
	set(&o.OpensMax, 1<<20)
	set(&o.SessionsMax, 4096)
	set(&o.PinsMax, 64)
	set(&o.HandlesMax, 1<<16)
	set(&o.ReplayBytes, record.ReplayMax)
	return o
}

// FormatOptions describe a new namespace; zero values mean the defaults.
type FormatOptions struct {
	ID         [16]byte // identity of the file system; all zero is refused
	Seed       uint64   // of the name hash
	Groups     uint32   // placement groups; default 256
	StripeSize uint32   // bytes, a power of two; default 1 MiB
	InlineMax  uint32   // bytes; default 4,096
	UID, GID   uint32   // owner of the root directory
	WallNs     int64    // birth of the root directory
}
