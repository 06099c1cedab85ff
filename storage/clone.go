package storage

import (
	"errors"

	"basalt/engine"
	"basalt/storage/format"
)

// errOldFormat: the store is of a version that knows no clones. Update raises it and runs the closure again.
var errOldFormat = errors.New("storage: the format is too old for a clone")

// Clone makes object dst, which must not exist (ErrExists), with the size, the attributes and the content that src has now. From then on the
// two are independent. No data is copied: both name the same blocks until one of them is written to, but for blocks that are in memory only.
// src keeps its version. Source and clone are in one collection, because the references to shared blocks are counted there, and a collection
// goes from one store to another as a whole.
//
// An object of more extents than Options.SharedMax allows is refused with ErrTooLarge.
func (tx *Tx) Clone(c Coll, src, dst []byte) error {
	if err := tx.writable(c); err != nil {
		return err
	}
	o, err := tx.onodeOf(c, src)
	if err != nil {
		return err
	}
	switch _, err := tx.onodeOf(c, dst); err {
	case ErrNotFound:
	case nil:
		return ErrExists
	default:
		return err
	}
	if !tx.s.replaying && !tx.s.clones {
		return tx.breaks(errOldFormat)
	}
	if err := tx.log(&format.Op{Kind: format.OpClone, Coll: uint16(c), Name: src, Key: dst}); err != nil {
		return err
	}
	if err := tx.collectMost(c, src, 0, blockOffMax, tx.sharedMax()); err != nil {
		return err
	}
	tx.grew = true
	n := o // of dst: it has just been counted
	n.Blocks, n.Flags = 0, n.Flags&^format.OnodeApprox
	for i := range tx.recs {
		p := &tx.recs[i]
		n.Blocks += p.end() - p.off
		if p.isDirty {
			err = tx.copyDirty(c, dst, p)
		} else {
			n.Flags |= format.OnodeShares
			err = tx.shareExtent(c, src, dst, p)
		}
		if err != nil {
			return err
		}
		if tx.touched > tx.sharedMax() {
			return tx.breaks(ErrTooLarge)
		}
	}
	if flags := o.Flags | n.Flags&format.OnodeShares; flags != o.Flags {
		o.Flags = flags
		if err := tx.putOnode(c, src, &o); err != nil { // it is the same object as before: its version stays
			return err
		}
	}
	return tx.setOnode(c, dst, &n)
}

// sharedMax bounds what one transaction may do with shared blocks. A replay does what was done: what it finds in other pieces than they were
// then, it must take all the same.
func (tx *Tx) sharedMax() int {
	if tx.s.replaying {
		return 1 << 62
	}
	return tx.s.opt.SharedMax
}

// copyDirty gives dst a copy of a block that is in memory only. When a replay comes here the block may have its home in the tree, and is
// shared: both are right.
func (tx *Tx) copyDirty(c Coll, dst []byte, p *extentPiece) error {
	tx.touched++
	mem, index, err := tx.newDirty()
	if err != nil {
		return err
	}
	copy(mem, tx.s.arena.Bytes(p.buf))
	tx.key = format.AppendExtentKey(tx.key[:0], uint16(c), dst, p.off)
	return tx.put(tx.key, nil, itemDirty, index)
}

// shareExtent gives dst an extent of src. The first time, its blocks pass from the extent to a share record.
func (tx *Tx) shareExtent(c Coll, src, dst []byte, p *extentPiece) error {
	r := p.rec
	if r.IsShared() {
		if err := tx.share(c, r.Extent()); err != nil {
			return err
		}
	} else {
		r.Flags |= format.ExtentShared
		if err := tx.putShare(c, r.Start, format.ShareRecord{Len: r.Len, Refs: 2}); err != nil {
			return err
		}
		if err := tx.putExtent(c, src, p.off, &r); err != nil {
			return err
		}
		tx.touched++
	}
	tx.touched++
	return tx.putExtent(c, dst, p.off, &r)
}

// raiseFormat makes the store one of a version that knows clones. Both slots must have a superblock of it before the journal may have the first
// one: software that does not know the version passes over such a superblock as damaged, and would go on from the older slot.
func (s *Store) raiseFormat(f *engine.Fiber) error {
	s.raise = true
	for !s.clones {
		if err := s.Checkpoint(f); err != nil {
			return err
		}
	}
	return nil
}
