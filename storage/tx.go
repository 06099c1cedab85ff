package storage

import (
	"basalt/engine/arena"
	"basalt/storage/btree"
	"basalt/storage/format"
)

// Coll is a collection: a placement group.
type Coll uint16

// Seq is the number of a transaction of the shard.
type Seq uint64

// Tx is one run of a closure that was given to Update or View. It changes the store at once, and everything is taken back when the closure
// fails or meets something that is not resident: between its first step and its last no other fiber runs, so nobody sees it half done.
// A Tx is used only inside its closure.
type Tx struct {
	s     *Store
	v     view
	seq   Seq
	write bool

	// Why the closure must run again.
	miss      btree.Miss
	missBlock blockRef
	missOf    objectBlock // whose block that is
	loaded    *loadSet    // what was loaded for it

	// broken: an operation failed half way. Whatever the closure makes of that error, the run must be taken back.
	broken error

	// To take everything back.
	undo     []undoStep
	tombLog  []tombChange
	saved    []byte // bytes of dirty blocks before they were patched
	markSlab int
	markExt  int // layer.extra
	markRec  int // group.n
	markRuns int
	markUsed BlockCount // of the last run
	markData int
	markDirt int
	markOpen int // layer.valueBlocks
	markLive int // layer.dirtyLive
	markPuts int // layer.puts
	markSpot int // layer.spots
	markEnd  pieceEnd

	// What happens when it succeeds.
	ops       int
	drops     []Extent    // blocks of the open group that were superseded
	freed     []Extent    // blocks that the tree or a sealed group knows
	deadDirty []uint32    // dirty blocks of the active layer that nobody sees any more
	cut       []objectCut // parts of objects that are no more; noted only while something is in quarantine
	lost      []LostPatch // what a repair could not replay, because the block that it changes cannot be read
	idle      []string    // what a repair replays and finds nothing to do it to
	lateDirty []uint32    // and of the frozen one: the fold writes them, because the state it folds has them
	grew      bool        // it took blocks, or more than a few bytes
	shrank    bool
	room      bool // see MakesRoom
	holed     bool // it made a hole: an extent may have become two, and what lies between them be too short for a node
	putBytes  int
	run       runPuts

	// Of shared blocks.
	touched     int // extents and share records, against Options.SharedMax
	shareGrowth int // records that a cut of shared extents has made, less those that it took away

	// Scratch: no garbage for each operation.
	key, key2, val, crcs, pieces, node []byte
	recs                               []extentPiece
	before                             extentPiece // of place: the extent that the piece continues
	got                                []Extent
	cur                                viewCursor
	scans                              []*viewCursor
	scanning                           int
}

// blockRef names a data block, with what its content must be.
type blockRef struct {
	no  BlockNo
	crc uint32
	ok  bool
}

// objectBlock is a block of an object.
type objectBlock struct {
	coll   Coll
	object []byte
	block  uint64
}

type undoWhat uint8

const (
	undoPut   undoWhat = iota // a, b: the item, and the one it replaced
	undoTomb                  // n steps of tombLog
	undoPatch                 // n bytes of saved, to dirty block a.val at off
	undoColl                  // a collection bit flips back
)

type undoStep struct {
	what undoWhat
	had  bool
	off  uint16
	n    uint32
	now  item
	old  item
}

// begin starts the closure's run.
func (tx *Tx) begin(write bool, loaded *loadSet) {
	s := tx.s
	tx.v = s.view()
	tx.write, tx.loaded, tx.scanning = write, loaded, 0
	tx.seq = Seq(s.pipe.Applied()) + 1
	tx.miss, tx.missBlock, tx.broken = btree.Miss{}, blockRef{}, nil
	if write {
		tx.mark()
	}
}

// mark has a run that changes something begin: what it takes back when it fails is what it finds here.
func (tx *Tx) mark() {
	s := tx.s
	tx.undo, tx.tombLog, tx.saved = tx.undo[:0], tx.tombLog[:0], tx.saved[:0]
	tx.drops, tx.freed, tx.deadDirty = tx.drops[:0], tx.freed[:0], tx.deadDirty[:0]
	tx.lateDirty, tx.cut, tx.lost, tx.idle = tx.lateDirty[:0], tx.cut[:0], tx.lost[:0], tx.idle[:0]
	tx.ops, tx.putBytes, tx.grew, tx.shrank, tx.room, tx.holed, tx.run = 0, 0, false, false, false, false, runNone
	tx.touched, tx.shareGrowth = 0, 0
	l, g := s.active, s.open
	tx.markSlab, tx.markExt, tx.markDirt, tx.markOpen = l.slab.mark(), l.extra, len(l.dirty), l.valueBlocks
	tx.markLive, tx.markPuts, tx.markSpot, tx.markEnd = l.dirtyLive, l.puts, l.spots, s.placed
	tx.markRec, tx.markRuns, tx.markData, tx.markUsed = g.n, len(g.table.runs), g.data, 0
	if tx.markRuns > 0 {
		tx.markUsed = g.table.runs[tx.markRuns-1].used
	}
	g.n += format.TxnHeaderBytes
}

// takeBack undoes every step of the run, the last one first.
func (tx *Tx) takeBack() {
	s := tx.s
	l, g := s.active, s.open
	for i := len(tx.undo) - 1; i >= 0; i-- {
		u := &tx.undo[i]
		switch u.what {
		case undoPut:
			l.unput(u.now, u.old, u.had)
		case undoTomb:
			cut := len(tx.tombLog) - int(u.n)
			l.tombs.undo(tx.tombLog[cut:])
			tx.tombLog = tx.tombLog[:cut]
		case undoPatch:
			cut := len(tx.saved) - int(u.n)
			copy(s.arena.Bytes(l.dirty[u.now.val].buf)[u.off:], tx.saved[cut:])
			tx.saved = tx.saved[:cut]
		case undoColl:
			s.colls.flip(Coll(u.n))
		}
	}
	for i := tx.markDirt; i < len(l.dirty); i++ {
		s.arena.Put(l.dirty[i].buf)
	}
	l.dirty = l.dirty[:tx.markDirt]
	l.slab.reset(tx.markSlab)
	l.extra, l.valueBlocks, l.dirtyLive, l.puts, l.spots = tx.markExt, tx.markOpen, tx.markLive, tx.markPuts, tx.markSpot
	g.n, g.data, s.placed = tx.markRec, tx.markData, tx.markEnd
	for len(g.table.runs) > tx.markRuns {
		r := g.table.dropLast()
		s.alloc.Free(r.ext)
		s.arena.Put(r.buf)
	}
	if tx.markRuns > 0 {
		g.table.runs[tx.markRuns-1].used = tx.markUsed
	}
}

// finish makes the run a transaction.
func (tx *Tx) finish() Seq {
	s := tx.s
	l, g := s.active, s.open
	h := format.TxnHeader{
		Bytes: uint32(g.n - tx.markRec), Ops: uint32(tx.ops), Txn: uint64(tx.seq), Version: uint64(tx.seq),
		Collection: uint16(tx.firstColl()),
	}
	h.Encode(g.mem[tx.markRec:])
	g.txns++
	for _, e := range tx.drops {
		s.supersede(e)
	}
	for _, e := range tx.freed {
		s.limbo.add(e)
	}
	for _, i := range tx.deadDirty {
		d := &l.dirty[i]
		s.arena.Put(d.buf)
		d.dead = true
		l.extra -= format.BlockBytes
		l.dirtyLive--
	}
	for _, i := range tx.lateDirty {
		s.orphan(&s.frozen.dirty[i])
	}
	return tx.seq
}

// firstColl is the collection of the first operation: whose log the transaction belongs to.
func (tx *Tx) firstColl() Coll {
	ops := tx.s.open.mem[tx.markRec+format.TxnHeaderBytes:]
	return Coll(uint16(ops[2]) | uint16(ops[3])<<8)
}

// log appends an operation to the record of the open group.
func (tx *Tx) log(op *format.Op) error {
	g := tx.s.open
	if tx.s.replaying {
		tx.ops++
		return nil
	}
	// Header, five length fields, off, len, size: 8 + 5·4 + 24 bytes at most.
	bound := format.OpHeaderBytes + 20 + 24 + len(op.Name) + len(op.Key) + len(op.Hi) + len(op.Val) + len(op.Pieces)
	if g.n-tx.markRec+bound > tx.s.opt.TxnRecordMax {
		return tx.breaks(ErrTooLarge)
	}
	out := format.AppendOp(g.mem[:g.n], op)
	if len(out) > len(g.mem) {
		panic("storage: journal record outgrew its group")
	}
	g.n = len(out)
	tx.ops++
	return nil
}

// put is the one way in which a transaction changes a key of the delta.
func (tx *Tx) put(key, val []byte, what uint8, index uint32) error {
	l := tx.s.active
	settled := true
	if l.tombs.len() > 0 && format.Kind(key[2]).OwnsBlocks() { // nothing else refers to blocks, and without tombstones all is settled
		t, covered := l.tombs.at(key)
		before, had := l.exact(key)
		if had && covered && before.order < t.order {
			tx.forget(&before) // nobody sees it any more, and after this put nobody would ever free what it names
		}
		if settled = !covered; had {
			settled = before.is.settled()
		}
	}
	now, old, replaced, err := l.put(key, val, what, index, settled, tx.insideRun(key))
	if err != nil {
		return tx.breaks(err)
	}
	if what == itemPut && len(val) > format.ValueInlineMax {
		l.valueBlocks += int(tx.s.inPieces(format.BlocksFor(int64(len(val)))))
	}
	tx.undo = append(tx.undo, undoStep{what: undoPut, now: now, old: old, had: replaced})
	return nil
}

// forget frees what an item that no reader can reach any more owns.
func (tx *Tx) forget(it *item) {
	if it.is.what() == itemDirty {
		tx.deadDirty = append(tx.deadDirty, uint32(it.val))
	} else if e := tx.s.active.ownedBy(tx.s, it); e.Len > 0 {
		tx.freed = append(tx.freed, e)
	}
}

// bury is the one way in which a transaction deletes a range of tree keys.
func (tx *Tx) bury(lo, hi []byte) error {
	n := len(tx.tombLog)
	log, err := tx.s.active.tombs.add(lo, hi, tx.tombLog)
	tx.tombLog = log
	if err != nil {
		return tx.breaks(err)
	}
	tx.undo = append(tx.undo, undoStep{what: undoTomb, n: uint32(len(tx.tombLog) - n)})
	return nil
}

// missing notes what must be loaded before the closure can run again.
func (tx *Tx) missing(m btree.Miss) error {
	tx.miss = m
	return ErrMiss
}

// breaks notes that an operation failed after it may have changed something.
func (tx *Tx) breaks(err error) error {
	tx.broken = err
	return err
}

// NextSeq is the number that this transaction will have.
func (tx *Tx) NextSeq() Seq { return tx.seq }

// loadSet is what was loaded for one call of Update or View, across the runs of its closure.
type loadSet struct {
	pins   btree.Pins
	blocks []loadedBlock
	of     objectBlock // whose block is being loaded
	next   *loadSet    // free list
}

type loadedBlock struct {
	ref blockRef
	buf arena.Buf
}
