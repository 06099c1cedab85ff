// Package btree is the copy-on-write B+tree: every index of the store is one key prefix of one such tree.
//
// Owner: a Tree and its node cache belong to one shard's reactor. The tree on disk belongs to whoever holds a Root: a
// Root is a value, and every Root whose blocks the store keeps is a complete, immutable tree.
//
// Invariants:
//   - A node is written once, to blocks that no durable superblock needs, and never changed.
//   - A node enters the cache only after its crc, epoch, level, store and own position were compared with what its
//     parent says of it; readers of the cache verify nothing.
//   - The children of an inner node with keys k0 < k1 < … hold [k0,k1), [k1,k2), …; k0 equals the node's own key in its
//     parent. On the left edge of the tree smaller keys belong to the first child too.
//   - Get and Cursor never suspend. What they need and the cache does not have is a Miss, which Load fetches.
//
// No locks: one reactor. Load, Fold and Walk suspend, Fold runs at most once at a time.
//
// It survives: lost, torn and misdirected writes, and rot, all reported as *format.CorruptError; a Fold that fails
// leaves the old root as it was, and the store takes the blocks back that it had given out.
//
// Read tree.go first (what there is), then get.go, cache.go, fold.go.
package btree

import (
	"basalt/engine"
	"basalt/engine/arena"
	"basalt/storage/format"
)

// Root is a whole tree. The zero Root is the empty tree.
type Root = format.TreeRoot

// Device is what the tree asks of a device handle. p is memory of the arena, offsets and lengths are whole blocks.
type Device interface {
	Read(f *engine.Fiber, p []byte, off int64) error
	Write(f *engine.Fiber, p []byte, off int64) error
}

// Config is what a Tree is made of.
type Config struct {
	Device     Device
	Name       string // of the device, for errors
	Arena      *arena.Arena
	Store      format.UUID
	NodeBytes  int
	Space      []format.Extent // what pointers may name
	CacheBytes int64           // bound of the node cache (pins may exceed it)
	BatchBytes int             // memory that Fold writes from, half of it with one request; 0 = 1 MiB
	InlineMax  int             // longest value in a leaf; 0 = format.ValueInlineMax
	EntriesMax int             // most entries of a node, for tests that want deep trees; 0 = as many as fit
}

// Change is what a fold does to one key. Key and Val are lent until the source's next step.
type Change struct {
	Key, Val []byte
	Del      bool
	// Settled: the store has already freed what the old tree's entry of this key referred to, so that Fold reports no
	// Dropped for it even where a range deletion covers it. (A key deleted or overwritten one by one, and then covered by
	// a range deletion, stays in the delta as a settled deletion.)
	Settled bool
}

// Range is the half-open range of keys [Lo, Hi).
type Range struct{ Lo, Hi []byte }

// Source gives a fold its changes in key order, each key once, and its range deletions in key order, disjoint. A fold
// first takes the ranges out of the old tree and then applies the changes: a change inside a range came after it.
// What Change and Range return stays valid until NextChange or NextRange, across suspensions too.
type Source interface {
	Change() (Change, bool) // the current change; false = no more
	NextChange()
	Range() (Range, bool)
	NextRange()
}

// Lookahead is a Source that can say what will come. Leaves that it names are read before they are wanted, many at once.
type Lookahead interface {
	// Touches tells whether a change or a range deletion that is still to come meets [lo, hi); a nil hi has no end.
	Touches(lo, hi []byte) bool
}

// Env is what a fold needs from the store.
type Env interface {
	// Alloc gives a contiguous extent of min…want blocks. The fold owns it from now on; nothing durable points at it.
	Alloc(want, min format.BlockCount) (format.Extent, error)
	// Return takes back what Alloc gave and the fold did not use.
	Return(e format.Extent)
	// Free tells that the new root no longer needs blocks of the old one (nodes and out-of-line values).
	Free(e format.Extent)
	// NeedsVisit tells whether Dropped must be called for entries of [lo, hi); a nil hi has no end. Where it says no,
	// whole subtrees go without their leaves being read.
	NeedsVisit(lo, hi []byte) bool
	// Dropped is called for each entry of the old tree that a range deletion removes, where NeedsVisit says so, unless a
	// settled change has the same key. Both slices are lent until it returns.
	Dropped(key, val []byte) error
	// Budget is called between nodes; it suspends the fold when it has used its share of the turn or of the bandwidth.
	// written counts the bytes since the last call. An error ends the fold.
	Budget(f *engine.Fiber, written int) error
}

// Visitor is called by Walk. A nil function is not called.
type Visitor struct {
	From  []byte // entries before this key, and nodes that have only such, are left out; the path to it is visited
	Node  func(e format.Extent, ptr format.ChildPtr, level int) error
	Entry func(key, val []byte, out bool) error        // out: val is a format.ValueCell
	Value func(key []byte, v format.ValueExtent) error // each piece of an out-of-line value
	// Bad is told about a node that cannot be read or verified; nil returned = go on without that subtree.
	Bad func(ptr format.ChildPtr, level int, err error) error
	// Lost is told after Bad which keys went with what cannot be read: those of [lo, hi); a nil hi has no end.
	Lost func(lo, hi []byte, err error)
	// Long is given each out-of-line value that could be read.
	Long func(key, val []byte) error
	// Budget is called after each node and may suspend.
	Budget func(f *engine.Fiber) error
}

// Stats are gauges and counters of the tree.
type Stats struct {
	Hits, Misses, Loads, Evictions uint64
	Prefetched                     uint64 // of Loads
	CacheBytes, PinnedBytes        int64
	FoldRead, FoldWritten          uint64 // nodes
	FoldValues                     uint64 // out-of-line values written
}
