package storage

import (
	"fmt"

	"basalt/storage/format"
)

// Blocks that extents of several objects name are owned by share records of their collection, which count the extents. An extent record says
// whether its blocks are shared; all of them are then, also those that no other extent names any more. The border of a shared extent is
// always the border of a share record, because a cut splits both; but a record of one reference may reach over borders (sharejoin.go).

// sharePiece is a share record as a view has it.
type sharePiece struct {
	start BlockNo
	rec   format.ShareRecord
}

func (p *sharePiece) extent() Extent { return Extent{Start: p.start, Len: p.rec.Len} }

// ownedBy is what blocks an entry of the tree or an item of a delta owns: none, if it is neither an extent nor a share record, or an extent
// whose blocks are shared.
func (s *Store) ownedBy(key, val []byte) (e Extent, err error) {
	if len(key) < 3 {
		return e, nil
	}
	switch format.Kind(key[2]) {
	case format.KindExtent:
		p, err := s.piece(&entry{key: key, val: val})
		if err != nil || p.rec.IsShared() {
			return e, err
		}
		return p.rec.Extent(), nil
	case format.KindShare:
		p, err := s.sharePiece(key, val)
		return p.extent(), err
	}
	return e, nil
}

// sharePiece decodes an entry of a share key.
func (s *Store) sharePiece(key, val []byte) (p sharePiece, err error) {
	k, err := format.DecodeKey(s.place("share key"), key)
	if err != nil {
		return p, err
	}
	p.start = k.Start
	if p.rec, err = format.DecodeShareRecord(s.place("share record"), val); err == nil && !s.owns(p.extent()) {
		err = s.corruptShare(p.extent(), "blocks of the slice", p.extent().String())
	}
	return p, err
}

func (s *Store) corruptShare(e Extent, want, got string) error {
	return &format.CorruptError{Place: format.Place{Device: s.name, Extent: e}, What: "share record", Want: want, Got: got}
}

// shareAt finds the share record that has a block.
func (tx *Tx) shareAt(c Coll, b BlockNo) (p sharePiece, err error) {
	cur := &tx.cur
	cur.lo = format.AppendShareKey(cur.lo[:0], uint16(c), b-min(b, format.ExtentBlocksMax-1))
	cur.end = format.AppendShareKey(cur.end[:0], uint16(c), b)
	if miss := cur.floor(tx.v, cur.lo, cur.end); !miss.None() {
		return p, tx.missing(miss)
	}
	if cur.valid {
		if p, err = tx.s.sharePiece(cur.cur.key, cur.cur.val); err == nil && b < p.extent().End() {
			return p, nil
		}
	}
	if err == nil {
		err = tx.s.corruptShare(Extent{Start: b, Len: 1}, fmt.Sprintf("a record of collection %d that has it", c), "none")
	}
	return p, tx.breaks(err)
}

func (tx *Tx) putShare(c Coll, start BlockNo, r format.ShareRecord) error {
	tx.key = format.AppendShareKey(tx.key[:0], uint16(c), start)
	tx.val = r.Append(tx.val[:0])
	return tx.put(tx.key, tx.val, itemPut, 0)
}

// share counts one more extent that names blocks which are shared already.
func (tx *Tx) share(c Coll, e Extent) error { return tx.count(c, e, 1) }

// unshare says that one extent does not name blocks any more. Those that none names go to limbo, also where the open group has not written
// them yet: its record names them, and what was cloned from them.
func (tx *Tx) unshare(c Coll, e Extent) error { return tx.count(c, e, ^uint32(0)) }

// count adds a number, modulo 2^32, to the references of every block of e.
func (tx *Tx) count(c Coll, e Extent, add uint32) error {
	for first := e.Start; e.Len > 0; {
		p, err := tx.shareAt(c, e.Start)
		if err != nil {
			return err
		}
		tx.touched++
		if add == 1 && p.rec.Refs == 1<<32-1 {
			return tx.breaks(ErrTooLarge)
		}
		before := BlockCount(e.Start - p.start)
		mid := Extent{Start: e.Start, Len: min(e.Len, p.rec.Len-before)}
		behind := p.rec.Len - before - mid.Len
		e = Extent{Start: mid.End(), Len: e.Len - mid.Len}
		if before > 0 {
			if err := tx.putShare(c, p.start, format.ShareRecord{Len: before, Refs: p.rec.Refs}); err != nil {
				return err
			}
			tx.shareGrowth++
		}
		r := recounted{Extent: mid, refs: p.rec.Refs + add, fresh: before > 0, last: e.Len == 0 && behind == 0, first: first}
		if err := tx.recount(c, r, add == 1); err != nil {
			return err
		}
		if behind > 0 {
			if err := tx.putShare(c, mid.End(), format.ShareRecord{Len: behind, Refs: p.rec.Refs}); err != nil {
				return err
			}
			tx.shareGrowth++
		}
	}
	return nil
}

// recounted is a run of blocks of one record that gets a number of references.
type recounted struct {
	Extent
	refs  uint32
	fresh bool    // no record began with it before
	last  bool    // nothing behind it is still to be counted, or has another number
	first BlockNo // of the extent that is counted
}

// recount gives blocks their number of references. added: it has grown.
func (tx *Tx) recount(c Coll, r recounted, added bool) error {
	switch {
	case r.refs == 1:
		return tx.joinShare(c, r, 0)
	case r.refs == 2 && added:
		r.last = false
		return tx.joinShare(c, r, r.first)
	case r.refs > 0:
		return tx.putShare(c, r.Start, format.ShareRecord{Len: r.Len, Refs: r.refs})
	}
	tx.freed = append(tx.freed, r.Extent)
	if r.fresh {
		tx.shareGrowth--
		return nil
	}
	return tx.dropShare(c, r.Start)
}

// cutShared makes blocks [lo, hi) of an object with shared extents a hole. They are found one by one, whatever their number: a tombstone over
// them would take no reference away. What is too much for one transaction is refused with ErrTooLarge.
func (tx *Tx) cutShared(c Coll, obj []byte, o *format.Onode, lo, hi uint64) error {
	most := tx.sharedMax()
	if err := tx.collectMost(c, obj, lo, hi, most); err != nil {
		return err
	}
	tx.shareGrowth = 0
	freed := len(tx.freed) + len(tx.drops)
	run := tx.beginRun()
	removed, err := tx.take(c, obj, lo, hi, true, false, most)
	tx.endRun(run)
	if err != nil {
		return err
	}
	if tx.shareGrowth > 0 && len(tx.freed)+len(tx.drops) == freed {
		tx.grew = true // it only made records: it must not have what is kept for those that make room
	}
	o.Blocks -= min(o.Blocks, removed)
	if lo == 0 && hi == blockOffMax {
		o.Blocks, o.Flags = 0, o.Flags&^(format.OnodeApprox|format.OnodeShares)
	}
	return nil
}
