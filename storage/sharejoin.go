package storage

import "basalt/storage/format"

// Share records that a cut has divided are joined again where that can never make a removal divide them, or one that does frees blocks by it:
//   - Records of one reference: whoever takes that away frees what it names, and what is left of the extent and the record is no more than there was.
//   - What one extent names, when its second reference comes: nobody else has a border inside.
//
// Those with more references stay as they are until all but one have gone. What is joined is not counted against Options.SharedMax: it is at
// most two records for each one that is.

// joinShare puts a record for r, or makes neighbours one with it that have as many references: none that begins before block least.
func (tx *Tx) joinShare(c Coll, r recounted, least BlockNo) error {
	all := r.Extent
	if r.Start > least && !r.fresh {
		left, ok, err := tx.shareBefore(c, r.Start)
		if err != nil {
			return err
		}
		if ok && left.start >= least && left.rec.Refs == r.refs && tx.s.joinable(left.extent(), r.Extent) {
			if err := tx.dropShare(c, r.Start); err != nil {
				return err
			}
			all = Extent{Start: left.start, Len: left.rec.Len + r.Len}
		}
	}
	if r.last {
		right, ok, err := tx.shareFrom(c, r.End())
		if err != nil {
			return err
		}
		if ok && right.Refs == r.refs && tx.s.joinable(all, Extent{Start: r.End(), Len: right.Len}) {
			if err := tx.dropShare(c, r.End()); err != nil {
				return err
			}
			all.Len += right.Len
		}
	}
	return tx.putShare(c, all.Start, format.ShareRecord{Len: all.Len, Refs: r.refs})
}

// joinable tells whether two neighbours can be one record: not if a segment of the slice ends between them.
func (s *Store) joinable(a, b Extent) bool {
	all := Extent{Start: a.Start, Len: a.Len + b.Len}
	return all.Len <= format.ExtentBlocksMax && s.owns(all)
}

// dropShare takes a record away.
func (tx *Tx) dropShare(c Coll, start BlockNo) error {
	tx.shareGrowth--
	tx.key = format.AppendShareKey(tx.key[:0], uint16(c), start)
	return tx.put(tx.key, nil, itemDel, 0)
}

// shareBefore finds the share record that ends before block b.
func (tx *Tx) shareBefore(c Coll, b BlockNo) (p sharePiece, ok bool, err error) {
	cur := &tx.cur
	cur.lo = format.AppendShareKey(cur.lo[:0], uint16(c), b-min(b, format.ExtentBlocksMax))
	cur.end = format.AppendShareKey(cur.end[:0], uint16(c), b-1)
	if miss := cur.floor(tx.v, cur.lo, cur.end); !miss.None() {
		return p, false, tx.missing(miss)
	}
	if !cur.valid {
		return p, false, nil
	}
	if p, err = tx.s.sharePiece(cur.cur.key, cur.cur.val); err != nil {
		return p, false, tx.breaks(err)
	}
	return p, p.extent().End() == b, nil
}

// shareFrom finds the share record that begins with block b.
func (tx *Tx) shareFrom(c Coll, b BlockNo) (r format.ShareRecord, ok bool, err error) {
	tx.key = format.AppendShareKey(tx.key[:0], uint16(c), b)
	val, ok, miss := tx.v.get(tx.key)
	if !miss.None() {
		return r, false, tx.missing(miss)
	}
	if !ok {
		return r, false, nil
	}
	p, err := tx.s.sharePiece(tx.key, val)
	if err != nil {
		return r, false, tx.breaks(err)
	}
	return p.rec, true, nil
}
