package storage

import (
	"basalt/engine/arena"
	"basalt/storage/format"
)

// blockOffMax is behind the last block of any object.
const blockOffMax = format.ObjectBlocksMax

// extentPiece is an extent of an object as a view has it. The checksums alias what the view lends.
type extentPiece struct {
	off     uint64 // block of the object
	rec     format.ExtentRecord
	isDirty bool // one block in memory: buf
	frozen  bool // of the frozen layer
	index   uint32
	buf     arena.Buf
}

func (p *extentPiece) end() uint64 {
	if p.isDirty {
		return p.off + 1
	}
	return p.off + uint64(p.rec.Len)
}

// ownedBy is what blocks an item of a layer owns: what is wrong with it is our own doing.
func (l *layer) ownedBy(s *Store, it *item) Extent {
	if it.is.what() != itemPut {
		return Extent{}
	}
	e, err := s.ownedBy(l.keyOf(it), l.valOf(it))
	if err != nil {
		panic("storage: own record does not decode: " + err.Error())
	}
	return e
}

// collect finds the extents that overlap blocks [lo, hi) of an object, in order, and puts them into tx.recs.
func (tx *Tx) collect(c Coll, obj []byte, lo, hi uint64) error {
	return tx.collectMost(c, obj, lo, hi, 1<<62)
}

// collectMost is collect with a bound: more extents are refused with ErrTooLarge.
func (tx *Tx) collectMost(c Coll, obj []byte, lo, hi uint64, most int) error {
	tx.recs = tx.recs[:0]
	p, ok, err := tx.extentAt(c, obj, lo)
	if err != nil {
		return err
	}
	from := lo + 1
	if ok && p.end() > lo {
		tx.recs = append(tx.recs, p)
		from = p.end() // extents that readers see never overlap
	}
	if from >= hi {
		return nil
	}
	cur := &tx.cur
	cur.lo = format.AppendExtentKey(cur.lo[:0], uint16(c), obj, from)
	cur.end = format.AppendExtentKey(cur.end[:0], uint16(c), obj, hi)
	miss := cur.open(tx.v, cur.lo, cur.end)
	for ; miss.None() && cur.valid; miss = cur.next() {
		p, err := tx.s.piece(&cur.cur)
		if err != nil {
			return tx.breaks(err)
		}
		if len(tx.recs) >= most {
			return tx.breaks(ErrTooLarge)
		}
		tx.recs = append(tx.recs, p)
	}
	if !miss.None() {
		return tx.missing(miss)
	}
	return nil
}

// extentAt finds the last extent of an object that starts at block b or before, and not too early to have b, or to end where b begins: no
// extent has more than 64 blocks.
func (tx *Tx) extentAt(c Coll, obj []byte, b uint64) (p extentPiece, ok bool, err error) {
	cur := &tx.cur
	cur.lo = format.AppendExtentKey(cur.lo[:0], uint16(c), obj, b-min(b, format.ExtentBlocksMax))
	cur.end = format.AppendExtentKey(cur.end[:0], uint16(c), obj, b)
	if miss := cur.floor(tx.v, cur.lo, cur.end); !miss.None() {
		return p, false, tx.missing(miss)
	}
	if !cur.valid {
		return p, false, nil
	}
	if p, err = tx.s.piece(&cur.cur); err != nil {
		return p, false, tx.breaks(err)
	}
	return p, true, nil
}

// piece decodes an entry of an extent key.
func (s *Store) piece(e *entry) (extentPiece, error) {
	off, ok := format.ExtentBlockOff(e.key)
	if !ok {
		k, err := format.DecodeKey(s.place("extent key"), e.key)
		if err != nil {
			return extentPiece{}, err
		}
		off = k.BlockOff
	}
	p := extentPiece{off: off}
	if e.isDirty {
		p.isDirty, p.frozen, p.index, p.buf = true, e.frozen, e.index, e.buf
		return p, nil
	}
	var err error
	p.rec, err = format.DecodeExtentRecord(s.place("extent record"), e.val)
	if err == nil && !s.owns(p.rec.Extent()) {
		err = &format.CorruptError{Place: format.Place{Device: s.name, Extent: p.rec.Extent()}, What: "extent record", Want: "blocks of the slice", Got: p.rec.Extent().String()}
	}
	return p, err
}

// trim takes blocks [lo, hi) away from an object and tells how many there were. drop: blocks that the open group has not written yet need
// not be written at all; false where the record needs them to be there, because it patches them. again: the caller puts another extent at lo
// next, so that one which starts there need not be deleted first.
func (tx *Tx) trim(c Coll, obj []byte, lo, hi uint64, drop, again bool) (removed uint64, err error) {
	if err := tx.collect(c, obj, lo, hi); err != nil {
		return 0, err
	}
	touched, run := tx.touched, tx.beginRun() // what is replaced is bounded by what replaces it
	removed, err = tx.take(c, obj, lo, hi, drop, again, 1<<62)
	tx.endRun(run)
	tx.touched = touched
	return removed, err
}

// take is trim of the extents that have been collected. most bounds what the transaction touches of shared objects.
func (tx *Tx) take(c Coll, obj []byte, lo, hi uint64, drop, again bool, most int) (removed uint64, err error) {
	tx.cuts(c, obj, lo, hi)
	for i := range tx.recs {
		p := &tx.recs[i]
		from, to := max(lo, p.off), min(hi, p.end())
		removed += to - from
		gone := Extent{Start: p.rec.Start + BlockNo(from-p.off), Len: BlockCount(to - from)}
		switch {
		case p.isDirty:
			tx.dropDirty(p)
		case p.rec.IsShared():
			err = tx.unshare(c, gone)
		default:
			tx.release(gone.Start, gone.Len, drop)
		}
		if tx.touched++; err == nil && tx.touched > most {
			err = tx.breaks(ErrTooLarge)
		}
		if err != nil {
			return 0, err
		}
		if p.off < lo {
			left := p.rec.Sub(0, int(lo-p.off))
			err = tx.putExtent(c, obj, p.off, &left)
		} else if p.off > lo || !again {
			tx.key = format.AppendExtentKey(tx.key[:0], uint16(c), obj, p.off)
			err = tx.put(tx.key, nil, itemDel, 0)
			tx.shareGrowth--
		}
		if err == nil && p.end() > hi {
			tx.shareGrowth++
			right := p.rec.Sub(int(hi-p.off), int(p.end()-hi))
			err = tx.putExtent(c, obj, hi, &right)
		}
		if err != nil {
			return 0, err
		}
	}
	return removed, nil
}

func (tx *Tx) putExtent(c Coll, obj []byte, off uint64, r *format.ExtentRecord) error {
	tx.key = format.AppendExtentKey(tx.key[:0], uint16(c), obj, off)
	tx.val = r.Append(tx.val[:0])
	return tx.put(tx.key, tx.val, itemPut, 0)
}

// dropDirty says that nothing refers to a dirty block any more.
func (tx *Tx) dropDirty(p *extentPiece) {
	if p.frozen {
		tx.lateDirty = append(tx.lateDirty, p.index)
	} else {
		tx.deadDirty = append(tx.deadDirty, p.index)
	}
}

// release says that nothing refers to n blocks from start any more. Those of the open group that were never written are dropped; the others
// go to limbo.
func (tx *Tx) release(start BlockNo, n BlockCount, drop bool) {
	for n > 0 {
		k := n
		r, i, open := (*run)(nil), BlockCount(0), false
		if drop {
			r, i, open = tx.s.open.table.find(start)
		}
		switch {
		case open:
			k = min(n, r.used-i)
			tx.drops = append(tx.drops, Extent{Start: start, Len: k})
		case drop:
			k = tx.s.open.table.gap(start, n)
			tx.freed = append(tx.freed, Extent{Start: start, Len: k})
		default:
			tx.freed = append(tx.freed, Extent{Start: start, Len: k})
		}
		start, n = start+BlockNo(k), n-k
	}
}

// cutBlocks makes blocks [lo, hi) of an object a hole. A small object's are found one by one and freed; a large one's are buried under a
// tombstone, whatever their number, and the fold frees them.
func (tx *Tx) cutBlocks(c Coll, obj []byte, o *format.Onode, lo, hi uint64) error {
	if o.Blocks == 0 && o.Flags&format.OnodeApprox == 0 {
		return nil
	}
	if o.Flags&format.OnodeShares != 0 {
		return tx.cutShared(c, obj, o, lo, hi)
	}
	if o.Blocks <= uint64(tx.s.opt.ExactBlocksMax) && o.Flags&format.OnodeApprox == 0 {
		removed, err := tx.trim(c, obj, lo, hi, true, false)
		o.Blocks -= removed
		return err
	}
	const edge = format.ExtentBlocksMax // no extent that crosses lo ends behind lo+edge, none that crosses hi starts before hi-edge
	a, err := tx.trim(c, obj, lo, min(hi, lo+edge), true, false)
	if err != nil {
		return err
	}
	b, err := tx.trim(c, obj, max(lo, hi-min(hi, edge)), hi, true, false)
	if err != nil {
		return err
	}
	o.Blocks -= min(o.Blocks, a+b)
	o.Flags |= format.OnodeApprox
	if lo == 0 && hi == blockOffMax {
		o.Blocks, o.Flags = 0, o.Flags&^format.OnodeApprox
	}
	if hi == blockOffMax {
		tx.room = true // the fold frees the blocks
	}
	tx.cuts(c, obj, lo, hi)
	tx.key = format.AppendExtentKey(tx.key[:0], uint16(c), obj, lo)
	tx.key2 = format.AppendExtentKey(tx.key2[:0], uint16(c), obj, hi)
	return tx.bury(tx.key, tx.key2)
}

// zero makes n bytes at off, inside one block, zero. A hole stays one.
func (tx *Tx) zero(c Coll, obj []byte, o *format.Onode, off uint64, n int) error {
	b := off / format.BlockBytes
	if err := tx.collect(c, obj, b, b+1); err != nil || len(tx.recs) == 0 {
		return err
	}
	return tx.lostPatch(c, obj, off, n, tx.patch(c, obj, o, off, nil, n))
}

// patch changes n bytes at off, inside one block, to p, or to zero if p is nil. The whole block is kept in memory until a fold writes it.
func (tx *Tx) patch(c Coll, obj []byte, o *format.Onode, off uint64, p []byte, n int) error {
	b, in := off/format.BlockBytes, int(off%format.BlockBytes)
	if err := tx.collect(c, obj, b, b+1); err != nil {
		return err
	}
	if len(tx.recs) == 1 && tx.recs[0].isDirty && !tx.recs[0].frozen {
		at := &tx.recs[0]
		mem := tx.s.arena.Bytes(at.buf)[in : in+n]
		tx.saved = append(tx.saved, mem...)
		tx.undo = append(tx.undo, undoStep{what: undoPatch, off: uint16(in), n: uint32(n), now: item{val: slabRef(at.index)}})
		overlay(mem, p)
		return nil
	}
	var base []byte
	if len(tx.recs) == 1 {
		var err error
		if base, err = tx.content(c, obj, &tx.recs[0], b); err != nil {
			return err
		}
	} else {
		o.Blocks++
	}
	mem, index, err := tx.newDirty()
	if err != nil {
		return err
	}
	if base != nil {
		copy(mem, base)
	} else {
		clear(mem)
	}
	overlay(mem[in:in+n], p)
	if base != nil {
		if _, err := tx.trim(c, obj, b, b+1, false, true); err != nil {
			return err
		}
	}
	tx.key = format.AppendExtentKey(tx.key[:0], uint16(c), obj, b)
	return tx.put(tx.key, nil, itemDirty, index)
}

// newDirty is memory of a dirty block of the active layer.
func (tx *Tx) newDirty() (mem []byte, index uint32, err error) {
	l := tx.s.active
	buf, err := tx.s.arena.Get(format.BlockBytes)
	if err != nil {
		return nil, 0, tx.breaks(err)
	}
	l.dirty = append(l.dirty, dirtyBlock{buf: buf}) // from here on takeBack gives it back
	l.extra += format.BlockBytes
	l.dirtyLive++
	tx.grew = true
	return tx.s.arena.Bytes(buf), uint32(len(l.dirty) - 1), nil
}

func overlay(dst, p []byte) {
	if p == nil {
		clear(dst)
		return
	}
	copy(dst, p)
}

// content is what block b of an object contains, which p covers.
func (tx *Tx) content(c Coll, obj []byte, p *extentPiece, b uint64) ([]byte, error) {
	if p.isDirty {
		return tx.s.arena.Bytes(p.buf), nil
	}
	i := int(b - p.off)
	no := p.rec.Start + BlockNo(i)
	if mem, ok := tx.s.pendingBlock(no); ok {
		return mem, nil
	}
	ref := blockRef{no: no, crc: p.rec.Crc(i), ok: true}
	if mem, ok := tx.s.bases.find(ref); ok {
		return mem, nil
	}
	if tx.loaded != nil {
		for j := range tx.loaded.blocks {
			if tx.loaded.blocks[j].ref == ref {
				return tx.s.arena.Bytes(tx.loaded.blocks[j].buf), nil
			}
		}
	}
	if tx.s.salvage.gaveUp(ref) {
		return nil, errLost
	}
	tx.missBlock = ref
	tx.missOf.coll, tx.missOf.object, tx.missOf.block = c, append(tx.missOf.object[:0], obj...), b
	return nil, ErrMiss
}
