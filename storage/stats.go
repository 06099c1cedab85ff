package storage

import "basalt/storage/btree"

// counters only grow, except Snapshots.
type counters struct {
	Transactions uint64
	Groups       uint64
	GroupTxns    uint64 // transactions in them
	GroupBytes   uint64 // of their records and their data
	RecordBytes  uint64
	Superseded   uint64 // blocks that were never written, because the same group replaced them
	Flushes      uint64
	Checkpoints  uint64
	FoldBytes    uint64
	Paced        uint64 // transactions that were delayed
	Stalled      uint64 // and that had to wait
	Snapshots    int64  // open ones

	Discards       uint64
	DiscardedBytes uint64
	DiscardErrors  uint64

	Quarantined    uint64 // what was found to be bad
	QuarantineFull uint64 // of that, what the list had no room for
	Healed         uint64 // what left the list
}

func (c *counters) sealed(g *group) {
	c.Groups++
	c.GroupTxns += uint64(g.txns)
	c.GroupBytes += uint64(g.n + g.data)
	c.RecordBytes += uint64(g.n)
	c.Superseded += uint64(g.dropped)
}

// Stats are the counters since the mount and the gauges of this moment.
type Stats struct {
	counters
	Epoch          uint64
	Applied        Seq
	Committed      Seq
	GroupsInFlight int
	JournalUsed    uint64 // blocks
	JournalBlocks  uint64
	DeltaBytes     int
	DeltaBytesMax  int
	DirtyBlocks    int
	LimboBlocks    uint64
	FreeBlocks     uint64
	Blocks         uint64
	FreeMapBytes   int // heap: a bit for each block
	PooledBytes    int // heap: what former deltas and limbo have left for those to come
	Checkpointing  bool
	ReadOnly       bool
	InQuarantine   int
	Scrub          ScrubStats
	Tree           btree.Stats
	Discard        DiscardStats
}

// Stats of the store.
func (s *Store) Stats() Stats {
	st := Stats{
		counters: s.stats, Epoch: s.super.Epoch, Applied: s.Applied(), Committed: s.Committed(), GroupsInFlight: s.pipe.InFlight(),
		JournalUsed: s.ring.Used(), JournalBlocks: s.ring.Blocks(), DeltaBytes: s.deltaBytes(), DeltaBytesMax: s.opt.DeltaBytesMax,
		DirtyBlocks: s.active.dirtyLive, LimboBlocks: s.limbo.blocks, FreeBlocks: s.freeBlocks(), Blocks: s.super.Blocks,
		Checkpointing: s.check.running, ReadOnly: s.failed != nil || s.opt.ReadOnly, Tree: s.tree.Stats(),
		InQuarantine: len(s.bad.list), Scrub: s.scrub.stats(), Discard: s.discards.stats(),
	}
	st.PooledBytes = s.nodes.bytes() + s.limbo.pool.bytes()
	if s.check.free != nil { // it is mounted to be written
		st.FreeMapBytes = s.check.free.Bytes()
	}
	if s.frozen != nil {
		st.DirtyBlocks += s.frozen.dirtyLive
	}
	return st
}

// freeBlocks are free, those that the device discards just now as well.
func (s *Store) freeBlocks() uint64 { return s.alloc.FreeBlocks() + uint64(s.discards.held.Len) }

// Space is what the slice has, in blocks.
type Space struct {
	BlockBytes uint32
	Total      uint64 // for data, tree and reserve
	Free       uint64 // now, or after the next checkpoint; or later, if a snapshot holds it
	Avail      uint64 // of that, what a transaction that only adds may use, perhaps after a checkpoint, but whatever snapshots there are
}

// extentOverhead: a block of data also costs the tree a checksum and its share of an extent's key and header, in nodes that may be half empty:
// 2 · (4 + 300/64) bytes of 4096, or 1/236.
const extentOverhead = 200

// dataOfNodes blocks of data, each an object by itself, make the tree a block longer at the worst: 2 · 128 bytes of onode and extent each.
const dataOfNodes = 16

// Space of the store. The room that the next fold needs for new versions of nodes is not taken off: that fold frees the old ones, and who
// needs the room waits for it.
func (s *Store) Space() Space {
	var total uint64
	for _, e := range s.space {
		total += uint64(e.Len)
	}
	free := s.freeBlocks()
	for i := range s.open.table.runs {
		r := &s.open.table.runs[i]
		free += uint64(r.ext.Len-r.used) + uint64(r.deadCount())
	}
	kept := s.deleteReserve() + s.foldOne()
	if !s.active.empty() {
		kept += s.growthBlocks(s.active, s.active.puts)
	}
	if s.frozen != nil {
		grows := s.growthBlocks(s.frozen, s.frozen.puts)
		kept += grows - min(s.check.tookBlocks, grows)
	}
	avail := free + s.limbo.coming()
	nodes := s.alloc.Pieces()*uint64(s.pool) + s.limbo.coming() // what is free and long enough for a node, at most
	avail = min(avail-min(avail, kept), (nodes-min(nodes, kept))*dataOfNodes)
	return Space{BlockBytes: blockSize, Total: total, Free: free + s.limbo.blocks, Avail: avail - avail/extentOverhead}
}

// foldOne bounds the fold of one small transaction: whoever takes the last block of data still needs it.
func (s *Store) foldOne() uint64 {
	return s.stepBlocks(4, uint64(s.super.Tree.Height))
}
