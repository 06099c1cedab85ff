// Package storage is the object store of a shard: collections of objects and of ordered keys, changed by atomic transactions, on one slice
// of a device.
//
// A Store belongs to the shard's reactor; every method runs on its thread, and nothing in it is locked. What takes a *engine.Fiber may
// suspend it; what a closure given to Update or View does never suspends.
//
// What a caller does: View reads and Update changes, through a Tx that its closure gets; a transaction may touch any number of objects, keys
// and collections. Update answers when it is applied. Who must know that it survives a power loss awaits Commit with the number that Update gave;
// each caller chooses, each time. Read and a Snapshot are for what would be too much for one turn.
//
// Invariants:
//   - The state is the tree that the durable superblock names, under the frozen delta, under the active one. The journal holds every
//     committed transaction that the tree does not have.
//   - A block is free, in limbo, or owned once: by the tree, by a delta, or by the fold in progress. Blocks that objects share are owned by the
//     share record that counts the extents which name them (share.go). A block leaves limbo only when a durable superblock does not need it
//     and no read or snapshot that began before holds it.
//   - Nothing durable is overwritten but superblocks, the journal ring and the older region of the space map; and only free
//     blocks are discarded.
//   - The bytes of a record are available in the ring before a transaction is applied; a checkpoint needs no journal space.
//   - Every block is verified against its crc before anybody sees it.
//
// It survives: power loss at any point, with unwritten, torn and reordered writes; loss of everything in memory. It does not survive a
// device that loses what a flush acknowledged, but it says so: by a CorruptError on the read, by a RotError on the mount. What cannot be read is
// listed (quarantine.go), looked for (scrub.go), and the rest serves on. After a failed write or flush, of its own or of another store on the same
// device (engine/device/flush.go has the rule), it serves reads only, and so it does when a checkpoint has to rewrite a tree node that it cannot read.
//
// Read store.go first, then object.go, attr.go, list.go and kv.go (what a transaction can do), tx.go (how a closure becomes one), commit.go
// (how it becomes durable), checkpoint.go (how it leaves the journal), mount.go and discard.go (what the device is told).
package storage

import (
	"basalt/engine"
	"basalt/engine/arena"
	"basalt/engine/device"
	"basalt/storage/alloc"
	"basalt/storage/btree"
	"basalt/storage/format"
	"basalt/storage/journal"
)

// Store is one mounted slice.
type Store struct {
	// Immutable after Mount.
	opt    Options
	dev    *device.Handle
	name   string // of the device, for errors
	arena  *arena.Arena
	space  []Extent // what the allocator may give out
	tree   *btree.Tree
	pool   int           // blocks of a node
	labels [2]Extent     // places of the device's labels
	supers [2][2]BlockNo // places of the superblocks: slot, copy
	lone   []loneSuper   // of the mount

	// Owned by the loop.
	super     format.Superblock // the newest that is durable
	alloc     *alloc.Allocator
	taken     extentList // by groups since the last freeze, and sealed
	colls     *collSet
	active    *layer
	frozen    *layer   // being folded, or nil
	nodes     nodePool // of layers to come
	limbo     limbo
	reap      reaper
	discards  discarder
	ring      journal.Ring
	pipe      *journal.Pipeline
	open      *group
	sealed    []*group // in flight, oldest first
	spare     []*group
	spareRec  arena.Buf // room to cut a record
	spareMem  []byte
	work      arena.Buf // of the checkpoint: what it writes does not depend on memory that others may have
	workMem   []byte
	lastCrc   uint32   // of the last record sealed
	hint      BlockNo  // where the next run of blocks should begin
	placed    pieceEnd // where the last piece ended
	tx        Tx
	loadFree  *loadSet
	readFree  *readOp
	sized     sized
	nodesAt   int64 // nodes of the tree when it was opened; until they are counted as many as there could be
	counted   bool  // they are, or cannot be
	check     checkpoint
	hungry    int // updates that wait for space, or have: nobody who comes later is served before them
	failed    *FailedError
	closing   bool
	replaying bool
	bases     *replayBases
	clones    bool     // both slots have superblocks of a version that knows clones
	raise     bool     // the next superblock is of the newest version
	progress  progress // of the mount
	kicked    bool     // the end of this turn will look whether to seal
	timer     bool     // one is armed for the open group
	inFlight  int      // writes and flushes of groups
	writeFree *groupWrite

	waitSlot  engine.WaitList // for a group to leave, or for a checkpoint to end
	waitDrain engine.WaitList // for inFlight to become 0
	onCommit  func(t *engine.Turn, committed Seq)
	onFail    func(t *engine.Turn, err error)
	bad       quarantine
	salvage   *salvage // of a repair, or nil
	scrub     scrub
	onBad     func(t *engine.Turn, q Quarantined, healed bool)
	stats     counters
}

func (s *Store) view() view {
	return view{active: s.active, frozen: s.frozen, tree: s.tree, root: s.super.Tree}
}

func (s *Store) place(what string) format.Place { return format.Place{Device: s.name} }

// owns tells whether the slice has all of e.
func (s *Store) owns(e Extent) bool {
	for _, o := range s.space {
		if o.Contains(e) {
			return true
		}
	}
	return false
}

// Applied is the number of the last transaction that readers see, Committed of the last one that survives power loss.
func (s *Store) Applied() Seq   { return Seq(s.pipe.Applied()) }
func (s *Store) Committed() Seq { return Seq(s.pipe.Committed()) }

// OnCommitted has fn called each time the number of the last committed transaction grows.
func (s *Store) OnCommitted(fn func(t *engine.Turn, committed Seq)) { s.onCommit = fn }

// OnFail has fn called once, when a write or a flush failed, here or in another store on the device, and the store became read-only.
func (s *Store) OnFail(fn func(t *engine.Turn, err error)) { s.onFail = fn }

// Update runs fn, which sees and changes the store through tx, as one transaction. fn may run several times; it must have no other effect,
// and hand every error of tx up. When Update returns nil the transaction is applied; Commit waits until it is durable.
func (s *Store) Update(f *engine.Fiber, fn func(tx *Tx) error) (Seq, error) {
	var loaded *loadSet
	var patience patience
	defer func() {
		s.putLoadSet(loaded)
		if patience.space > 0 {
			s.hungry--
		}
	}()
	for {
		if err := s.admit(f); err != nil {
			return 0, err
		}
		tx := &s.tx
		tx.begin(true, loaded)
		err := fn(tx)
		switch {
		case tx.missed():
			err = ErrMiss
		case err == nil:
			err = tx.broken
		}
		if err == nil && tx.ops == 0 {
			tx.takeBack()
			return s.Applied(), nil
		}
		if err == nil {
			err = s.affordable(tx, &patience)
		}
		if err == nil {
			return s.apply(f.Turn(), tx), nil
		}
		miss, block := tx.miss, tx.missBlock
		tx.takeBack()
		if err == ErrMiss {
			if loaded == nil {
				loaded = s.getLoadSet()
			}
			err = s.load(f, loaded, miss, block)
		} else {
			err = s.makeRoom(f, err, &patience)
		}
		if err != nil {
			return 0, err
		}
	}
}

// View runs fn on the state of this moment. fn may run several times, and must hand every error of tx up.
func (s *Store) View(f *engine.Fiber, fn func(tx *Tx) error) error {
	if s.closing {
		return ErrClosed
	}
	var loaded *loadSet
	defer func() { s.putLoadSet(loaded) }()
	for {
		tx := &s.tx
		tx.begin(false, loaded)
		if err := fn(tx); !tx.missed() {
			return err
		}
		miss, block := tx.miss, tx.missBlock
		if loaded == nil {
			loaded = s.getLoadSet()
		}
		if err := s.load(f, loaded, miss, block); err != nil {
			return err
		}
	}
}

// apply makes the transaction visible for good and gives it to the open group.
func (s *Store) apply(t *engine.Turn, tx *Tx) Seq {
	g := s.open
	grown := g.n - tx.markRec + g.data - tx.markData
	seq := tx.finish()
	if len(tx.cut) > 0 {
		s.healCut(t, tx.cut)
	}
	if got := s.pipe.Apply(grown, t.Now()); got != uint64(seq) {
		panic("storage: transaction numbers went apart")
	}
	s.stats.Transactions++
	s.considerCheckpoint(t)
	switch {
	case s.pipe.Ready(t.Now()):
		s.kick(t)
	case !s.timer:
		s.timer = true
		t.After(s.opt.GroupDelayNs, (*groupTimer)(s))
	}
	return seq
}

// Commit waits until transaction seq, and all before it, survive power loss.
func (s *Store) Commit(f *engine.Fiber, seq Seq) error {
	for s.Committed() < seq {
		if s.failed != nil {
			return s.failed
		}
		s.pipe.Want(uint64(seq))
		s.kick(f.Turn())
		s.groupOf(seq).awaited.Wait(f)
	}
	return nil
}

// groupOf is the group with a transaction that is applied and not committed.
func (s *Store) groupOf(seq Seq) *group {
	for _, g := range s.sealed {
		if uint64(seq) <= g.Last {
			return g
		}
	}
	return s.open
}

func (tx *Tx) missed() bool { return !tx.miss.None() || tx.missBlock.ok }

// load reads what a run of a closure missed.
func (s *Store) load(f *engine.Fiber, set *loadSet, miss btree.Miss, block blockRef) error {
	// The miss is of the state of this turn: its blocks must not be used again while they are being read.
	epoch := s.super.Epoch
	if block.ok {
		o := &set.of
		o.coll, o.object, o.block = s.tx.missOf.coll, append(o.object[:0], s.tx.missOf.object...), s.tx.missOf.block
	}
	pin := s.limbo.pin(epoch)
	err := s.loadPinned(f, set, miss, block)
	listed := err != nil && isDamage(err)
	if listed && !miss.None() { // what fails once is an error once, and nothing for the list
		again := s.tree.Load(f, miss, nil)
		listed = again != nil && isDamage(again)
	}
	s.unpin(f.Turn(), pin)
	if listed {
		err = s.noteLoad(f, epoch, set, block, err)
	}
	return err
}

func (s *Store) loadPinned(f *engine.Fiber, set *loadSet, miss btree.Miss, block blockRef) error {
	if !miss.None() {
		return s.tree.Load(f, miss, &set.pins)
	}
	if !block.ok {
		panic("storage: a closure returned ErrMiss that no operation gave it")
	}
	buf, err := s.arena.Get(format.BlockBytes)
	if err != nil && s.replaying {
		buf, err = s.replayMemory(format.BlockBytes)
	}
	if err != nil {
		return ErrBusy
	}
	if err := s.readVerified(f, s.arena.Bytes(buf), block); err != nil {
		s.arena.Put(buf)
		return err
	}
	set.blocks = append(set.blocks, loadedBlock{ref: block, buf: buf})
	return nil
}

// readVerified reads one block of an object and checks it.
func (s *Store) readVerified(f *engine.Fiber, p []byte, ref blockRef) error {
	if err := s.dev.Read(f, p, int64(ref.no)*format.BlockBytes); err != nil {
		return err
	}
	if got := format.Crc(p); got != ref.crc && !plantedNoCrc {
		return format.CorruptCrc(format.Place{Device: s.name, Extent: Extent{Start: ref.no, Len: 1}}, "data block", ref.crc, got)
	}
	return nil
}

func (s *Store) getLoadSet() *loadSet {
	set := s.loadFree
	if set == nil {
		return &loadSet{}
	}
	s.loadFree = set.next
	return set
}

func (s *Store) putLoadSet(set *loadSet) {
	if set == nil {
		return
	}
	s.tree.Release(&set.pins)
	for _, b := range set.blocks {
		s.arena.Put(b.buf)
	}
	set.blocks = set.blocks[:0]
	set.next = s.loadFree
	s.loadFree = set
}
