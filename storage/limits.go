package storage

import (
	"fmt"

	"basalt/engine/arena"
	"basalt/storage/format"
)

const (
	blockSize = format.BlockBytes

	// KeyMax bounds a user key: collection and kind stand before it in the tree.
	KeyMax = format.KeyBytesMax - 3

	// ObjectNameMax bounds an object's name: it stands in every extent key.
	ObjectNameMax = format.NameBytesMax

	// ValueMax bounds a value; above 1 KiB it lives out of line.
	ValueMax = format.ValueBytesMax

	// ObjectBytesMax bounds an object: 1 TiB, however little of it is data. What reaches behind is refused with ErrTooLarge.
	ObjectBytesMax = format.ObjectBytesMax

	groupsInFlightMax = 2

	sharedPerBlock = 2 // records that a cut of a shared block touches: the extent and the share record that have it

	replayAheadMax = 256 << 20 // heap that a mount takes to look ahead
)

// FormatOptions describe a new store. Zero values mean the defaults.
type FormatOptions struct {
	UUID         [16]byte // of the device; all zero is refused
	Slices       int      // one per shard; default 1
	JournalBytes int64    // per slice; default 1/64 of the slice, at least 64 MiB, at most 1 GiB
	NodeBytes    int      // 8 or 16 KiB; default 16 KiB
}

// Options hold every limit of a mounted store, so that a simulation can run with tiny ones. Zero values mean the defaults.
type Options struct {
	ReadOnly bool // replays in memory and never writes

	CacheBytes      int   // tree nodes; default 64 MiB
	ReplayBytes     int   // tree nodes while a mount replays the journal, as far as the delta leaves them room; default CacheBytes and half of DeltaBytesMax
	ReplayAhead     int   // bytes of the journal that are looked at before they are replayed, so that the nodes they need are read at once; default 4 MiB
	DeltaBytesMax   int   // active and frozen delta together; a checkpoint starts at half of it; default 256 MiB
	SlabChunkBytes  int   // the unit in which a delta takes arena memory; default 256 KiB
	TxnRecordMax    int   // journal bytes of one transaction; default 512 KiB
	TxnDataMax      int   // bytes of whole blocks of one transaction; default 4 MiB
	GroupRecordMax  int   // bytes of one journal record; default 1 MiB
	GroupDataMax    int   // bytes of whole blocks of one group; default 8 MiB
	GroupStartBytes int   // a group starts without anybody waiting when so much is pending; default 1 MiB
	GroupDelayNs    int64 // and at the latest so long after its first transaction; default 100 ms
	RunBlocks       int   // blocks that a group takes from the allocator at once; default 256
	LimboShare      int   // limbo above 1/LimboShare of the slice starts a checkpoint; default 16
	TurnBudgetNs    int64 // background work per turn; default 200 µs
	FoldBytesPerSec int64 // what a fold writes at most while nobody waits for it and there is room in delta and journal; default 128 MiB
	TurnSteps       int   // steps of background work per turn, see turnshare.go; default 512
	ExactBlocksMax  int   // objects with more blocks are punched lazily, their block count becomes an upper bound; default 1024
	SharedMax       int   // records that one transaction touches of objects that were cloned, see Tx.Clone and Tx.Remove; default 2048

	Discard            bool  // tell the device what is free, see discard.go; nothing happens where it cannot take that
	DiscardMinBytes    int   // the least that is discarded at once, rounded up to units of the device; default 1 MiB
	DiscardBytesPerSec int64 // at most; default 512 MiB
	DiscardDelayNs     int64 // how long what was freed waits for more to be freed; default 1 s

	ScrubBytesPerSec int64 // what the scrub reads at most; default 32 MiB: a tebibyte in 9 hours, and no more than 2 % of what a device of today reads
	ScrubIntervalNs  int64 // from the end of a pass to the beginning of the next; default 0: a pass begins when StartScrub wants one

	Progress func(p MountProgress) // told about a mount that takes longer than a second, once a second; nil: nobody is
}

func (o Options) withDefaults() Options {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	set(&o.CacheBytes, 64<<20)
	set(&o.DeltaBytesMax, 256<<20)
	set(&o.SlabChunkBytes, 256<<10)
	set(&o.TxnRecordMax, 512<<10)
	set(&o.TxnDataMax, 4<<20)
	set(&o.GroupRecordMax, 1<<20)
	set(&o.GroupDataMax, 8<<20)
	set(&o.GroupStartBytes, 1<<20)
	set(&o.RunBlocks, 256)
	set(&o.LimboShare, 16)
	set(&o.ExactBlocksMax, 1024)
	set(&o.SharedMax, 2048)
	set(&o.TurnSteps, 512)
	set(&o.ReplayBytes, o.CacheBytes+o.DeltaBytesMax/2)
	set(&o.ReplayAhead, 4<<20)
	set(&o.DiscardMinBytes, 1<<20)
	if o.DiscardBytesPerSec == 0 {
		o.DiscardBytesPerSec = 512 << 20
	}
	if o.DiscardDelayNs == 0 {
		o.DiscardDelayNs = 1e9
	}
	if o.GroupDelayNs == 0 {
		o.GroupDelayNs = 100e6
	}
	if o.FoldBytesPerSec == 0 {
		o.FoldBytesPerSec = 128 << 20
	}
	if o.ScrubBytesPerSec == 0 {
		o.ScrubBytesPerSec = 32 << 20
	}
	if o.TurnBudgetNs == 0 {
		o.TurnBudgetNs = 200e3
	}
	return o
}

// Check tells what Mount would refuse, before anything is opened.
func (o Options) Check() error {
	o = o.withDefaults()
	return o.validate()
}

// validate refuses limits that contradict each other.
func (o *Options) validate() error {
	const node = 32 << 10
	switch {
	case o.GroupRecordMax > arena.BlockMax || o.GroupRecordMax%format.BlockBytes != 0:
		return fmt.Errorf("storage: GroupRecordMax is %d, possible are whole blocks up to %d", o.GroupRecordMax, arena.BlockMax)
	case o.TxnRecordMax < format.BlockBytes || o.TxnRecordMax > o.GroupRecordMax/2:
		return fmt.Errorf("storage: TxnRecordMax is %d, possible is %d to half of GroupRecordMax, which is %d", o.TxnRecordMax, format.BlockBytes, o.GroupRecordMax)
	case o.TxnDataMax < format.BlockBytes || o.TxnDataMax > o.GroupDataMax:
		return fmt.Errorf("storage: TxnDataMax is %d, possible is %d to GroupDataMax, which is %d", o.TxnDataMax, format.BlockBytes, o.GroupDataMax)
	case o.SlabChunkBytes < 2*o.TxnRecordMax && o.SlabChunkBytes < 2*ValueMax || o.SlabChunkBytes&(o.SlabChunkBytes-1) != 0 || o.SlabChunkBytes > arena.BlockMax:
		return fmt.Errorf("storage: SlabChunkBytes is %d, it must be a power of two that holds any value", o.SlabChunkBytes)
	case o.DeltaBytesMax < 2*o.SlabChunkBytes:
		return fmt.Errorf("storage: DeltaBytesMax is %d, less than two slab chunks of %d", o.DeltaBytesMax, o.SlabChunkBytes)
	case o.ReplayBytes < o.CacheBytes || o.ReplayAhead < 0 || o.ReplayAhead > replayAheadMax:
		return fmt.Errorf("storage: ReplayBytes is %d, at least CacheBytes is needed, which is %d; ReplayAhead is %d, possible is up to %d",
			o.ReplayBytes, o.CacheBytes, o.ReplayAhead, replayAheadMax)
	case o.ScrubBytesPerSec < format.BlockBytes || o.ScrubIntervalNs < 0:
		return fmt.Errorf("storage: ScrubBytesPerSec is %d, at least a block is needed; ScrubIntervalNs is %d, possible is 0 and more", o.ScrubBytesPerSec, o.ScrubIntervalNs)
	case o.TurnSteps < 1 || o.FoldBytesPerSec < format.BlockBytes:
		return fmt.Errorf("storage: TurnSteps is %d, at least 1 is needed; FoldBytesPerSec is %d, at least a block is", o.TurnSteps, o.FoldBytesPerSec)
	case o.SharedMax < sharedPerBlock:
		return fmt.Errorf("storage: SharedMax is %d, at least %d is needed", o.SharedMax, sharedPerBlock)
	case o.DiscardMinBytes < format.BlockBytes || o.DiscardMinBytes > 1<<30 || o.DiscardMinBytes%format.BlockBytes != 0 ||
		o.DiscardBytesPerSec < format.BlockBytes || o.DiscardDelayNs < discardDelayMinNs:
		return fmt.Errorf("storage: DiscardMinBytes is %d, possible are whole blocks up to 1 GiB; DiscardBytesPerSec is %d, at least a block is needed; DiscardDelayNs is %d, at least %d is needed",
			o.DiscardMinBytes, o.DiscardBytesPerSec, o.DiscardDelayNs, discardDelayMinNs)
	case o.RunBlocks < 1 || o.LimboShare < 1 || o.CacheBytes < 8*node:
		return fmt.Errorf("storage: RunBlocks %d, LimboShare %d or CacheBytes %d is out of range", o.RunBlocks, o.LimboShare, o.CacheBytes)
	}
	return nil
}

// fits refuses limits that do not fit the store: an empty ring must take any record, wherever its head is.
func (o *Options) fits(s *format.Superblock) error {
	if ring := s.Journal.Bytes(); !o.ReadOnly && int64(o.GroupRecordMax) > ring/2 {
		return fmt.Errorf("storage: GroupRecordMax is %d, more than half of the journal of %d bytes", o.GroupRecordMax, ring)
	}
	return nil
}

func (o FormatOptions) withDefaults() (FormatOptions, error) {
	if o.Slices == 0 {
		o.Slices = 1
	}
	if o.NodeBytes == 0 {
		o.NodeBytes = format.NodeBytesDefault
	}
	switch {
	case o.UUID == [16]byte{}:
		return o, fmt.Errorf("storage: a device needs a UUID")
	case !format.ValidNodeBytes(o.NodeBytes):
		return o, fmt.Errorf("storage: nodes of %d bytes are not possible", o.NodeBytes)
	case o.JournalBytes%format.BlockBytes != 0 || o.JournalBytes < 0:
		return o, fmt.Errorf("storage: a journal of %d bytes is not a number of blocks", o.JournalBytes)
	}
	return o, nil
}

// journalBlocks is the length of the journal of a slice of so many blocks.
func (o *FormatOptions) journalBlocks(blocks uint64) BlockCount {
	if o.JournalBytes != 0 {
		return BlockCount(o.JournalBytes / format.BlockBytes)
	}
	const mib = 1 << 20 / format.BlockBytes
	return BlockCount(min(max(blocks/64, 64*mib), 1024*mib))
}
