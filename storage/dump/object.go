package dump

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"

	"basalt/storage/format"
	"basalt/storage/journal"
)

// ObjectOptions name an object.
type ObjectOptions struct {
	Coll   uint16
	Name   []byte
	Verify bool // read its blocks
}

// Object shows an object as the tree has it, and what the log does to it afterwards. ErrNotFound: neither knows it.
func (d *Dump) Object(o ObjectOptions) error { return d.end(d.object(o)) }

func (d *Dump) object(o ObjectOptions) error {
	if len(o.Name) == 0 || len(o.Name) > format.NameBytesMax {
		return fmt.Errorf("dump: an object's name has 1 to %d bytes, not %d", format.NameBytesMax, len(o.Name))
	}
	if err := d.need(); err != nil {
		return err
	}
	s := object{d: d, opt: o}
	if err := s.fromTree(); err != nil {
		return err
	}
	found, err := d.log(func(op *format.Op) bool {
		return op.Coll == o.Coll && (bytes.Equal(op.Name, o.Name) || op.Kind == format.OpDeleteCollection || op.Kind == format.OpClone && bytes.Equal(op.Key, o.Name))
	})
	if err != nil {
		return err
	}
	if !s.found && !found && s.damage == 0 {
		return fmt.Errorf("%w: object %s of collection %d, in the tree of superblock %d and in the log behind it", ErrNotFound, Name(o.Name), o.Coll, d.super.Epoch)
	}
	return nil
}

// object is one object in the tree.
type object struct {
	d      *Dump
	opt    ObjectOptions
	onode  format.Onode
	found  bool
	damage int    // nodes on the way to it that are not whole
	end    uint64 // block behind the last extent
	blocks uint64 // in the extents that were found
}

func (s *object) fromTree() error {
	root := s.d.super.Tree
	if root.Height == 0 {
		return nil
	}
	lo := format.AppendOnodeKey(nil, s.opt.Coll, s.opt.Name)
	w := walk{d: s.d, lo: lo, hi: append(bytes.Clone(lo), 0), entry: s.head}
	if err := w.root(root); err != nil {
		return err
	}
	s.damage = w.damage
	if !s.found {
		l := newLine(0, "object").add("collection", s.opt.Coll).add("name", s.opt.Name).note("not in the tree")
		if s.damage > 0 {
			l.note("not in the tree as far as it can be read")
		}
		if err := s.d.out.print(l); err != nil {
			return err
		}
	}
	last := format.AppendExtentKey(nil, s.opt.Coll, s.opt.Name, 1<<64-1)
	w = walk{d: s.d, lo: format.AppendExtentKey(nil, s.opt.Coll, s.opt.Name, 0), hi: append(last, 0), entry: s.extent}
	if err := w.root(root); err != nil {
		return err
	}
	s.damage += w.damage
	if !s.found {
		return nil
	}
	return s.check()
}

// head shows the onode and its attributes.
func (s *object) head(n *nodeAt, i int, key []byte) error {
	d, e := s.d, s.d.nodePlace(n.ptr.Block)
	s.found = true
	l := newLine(0, "object").add("collection", s.opt.Coll).add("name", s.opt.Name).add("leaf", n.ptr.Block)
	val, out := format.Node(n.bytes).Value(i)
	if out {
		long, err := d.longValue(format.ValueCell(val))
		if err != nil {
			return d.out.print(l.broken(err, nil))
		}
		val = long
	}
	var err error
	if s.onode, err = format.DecodeOnode(d.place(e), val, true); err != nil {
		l.broken(err, val)
	}
	o := &s.onode
	l.add("size", o.Size).add("blocks", o.Blocks).add("version", o.Version).add("flags", o.Flags).add("attributes", len(o.Attrs))
	if o.Flags&format.OnodeShares != 0 {
		l.note("some of its extents may be shared with other objects")
	}
	if o.Flags&format.OnodeApprox != 0 {
		l.note("its count of blocks is an upper bound")
	}
	if err := d.out.print(l); err != nil {
		return err
	}
	for _, a := range o.Attrs {
		if err := d.out.print(newLine(1, "attribute").add("name", a.Name).add("value-bytes", len(a.Val)).add("value", some(a.Val))); err != nil {
			return err
		}
	}
	return nil
}

// extent shows one extent, and the hole before it.
func (s *object) extent(n *nodeAt, i int, key []byte) error {
	d, e := s.d, s.d.nodePlace(n.ptr.Block)
	k, err := format.DecodeKey(d.place(e), key)
	if err != nil {
		return d.out.print(newLine(1, "extent").add("tree-key", hexMark+hex.EncodeToString(key)).broken(err, nil))
	}
	val, out := format.Node(n.bytes).Value(i)
	l := newLine(1, "extent").add("off", k.BlockOff)
	if out {
		return d.out.print(l.broken(d.corrupt(e, "extent record", "in its leaf", "out of line"), val))
	}
	r, err := format.DecodeExtentRecord(d.place(e), val)
	if err != nil {
		return d.out.print(l.broken(err, val))
	}
	l.at(r.Extent())
	extentFlags(l, &r).add("crcs", crcList(r.Crcs))
	switch {
	case k.BlockOff < s.end:
		l.broken(d.corrupt(r.Extent(), "extent", fmt.Sprintf("from block %d of the object on, where the last one ends", s.end), k.BlockOff), nil)
	case !d.owns(r.Extent()):
		l.broken(d.corrupt(r.Extent(), "extent", "inside the slice", r.Extent()), nil)
	case k.BlockOff > s.end:
		if err := d.out.print(newLine(1, "hole").add("off", s.end).add("blocks", k.BlockOff-s.end)); err != nil {
			return err
		}
	}
	s.end = max(s.end, k.BlockOff+uint64(r.Len))
	s.blocks += uint64(r.Len)
	if err := d.out.print(l); err != nil {
		return err
	}
	if !s.opt.Verify || l.bad != nil {
		return nil
	}
	return d.verifyBlocks(2, r.Extent(), r.Crcs, k.BlockOff, "")
}

// check compares the onode with the extents.
func (s *object) check() error {
	d, o := s.d, &s.onode
	size := o.Size/format.BlockBytes + min(1, o.Size%format.BlockBytes)
	what, want, got := "", any(nil), any(nil)
	switch approx := o.Flags&format.OnodeApprox != 0; {
	case s.damage > 0: // some extents could not be seen
		return nil
	case s.end > size:
		what, want, got = "end of the extents", fmt.Sprintf("at most block %d, the end of the object", size), s.end
	case !approx && s.blocks != o.Blocks:
		what, want, got = "blocks of the object", o.Blocks, s.blocks
	case approx && s.blocks > o.Blocks:
		what, want, got = "blocks of the object", fmt.Sprintf("at most %d", o.Blocks), s.blocks
	}
	if what != "" {
		return d.out.print(newLine(1, "extents").broken(d.corrupt(Extent{}, what, want, got), nil))
	}
	if s.end < size {
		return d.out.print(newLine(1, "hole").add("off", s.end).add("blocks", size-s.end).note("to the end of the object"))
	}
	return nil
}

// log shows the operations of the log that are wanted, with the records and transactions they are in.
func (d *Dump) log(wants func(op *format.Op) bool) (found bool, err error) {
	err = d.records(func(r *journal.Record) error {
		for rest := r.Payload; len(rest) > 0; {
			h, ops, tail, err := format.NextTxn(r.Place, rest)
			if err != nil {
				return nil // dump journal shows it
			}
			for rest = tail; len(ops) > 0; {
				var op format.Op
				if ops, err = format.NextOp(r.Place, ops, &op); err != nil {
					return nil
				}
				if !wants(&op) {
					continue
				}
				found = true
				l := newLine(0, "afterwards").at(r.Place.Extent).add("record", r.Header.Sequence).add("txn", h.Txn)
				if err := d.out.print(l); err != nil {
					return err
				}
				if err := d.op(1, &op); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return found, err
}

// records calls fn for each record of the log. Where and why it ends dump journal tells.
func (d *Dump) records(fn func(r *journal.Record) error) error {
	scan, dev, free, err := d.scan()
	if err != nil {
		return err
	}
	defer free()
	for {
		r, ok, err := scan.Next(d.f)
		if err != nil {
			return err
		}
		if !ok && len(dev.bad) > 0 {
			l := newLine(0, "log").note("it may go on behind a block that cannot be read: dump journal shows it")
			return d.out.print(l.broken(dev.bad[0].err, nil))
		}
		if !ok {
			return nil
		}
		if err := fn(&r); err != nil {
			return err
		}
	}
}

// ObjectAt shows who names a block: the structure at a fixed place that it belongs to, a node, a value or an object of the tree, a record of the
// log.
func (d *Dump) ObjectAt(block BlockNo) error { return d.end(d.objectAt(block)) }

func (d *Dump) objectAt(block BlockNo) error {
	if uint64(block) >= d.blocks() {
		return fmt.Errorf("%w: block %d of a device of %d", ErrNotFound, block, d.blocks())
	}
	if err := d.need(); err != nil {
		return err
	}
	one := Extent{Start: block, Len: 1}
	if what := d.fixed(one); what != "" {
		return d.out.print(newLine(0, what).at(one))
	}
	if !d.owns(one) {
		return d.out.print(newLine(0, "block").at(one).note(fmt.Sprintf("not in slice %d", d.opt.Slice)))
	}
	named := false
	damage, err := d.named(func(e Extent, _ bool, l *line) error {
		if !e.Overlaps(one) {
			return nil
		}
		named = true
		return d.out.print(l.at(e))
	})
	if err != nil {
		return err
	}
	inLog, err := d.log(func(op *format.Op) bool { return names(op, one) })
	if err != nil || named || inLog {
		return err
	}
	l := newLine(0, "block").at(one).note("nothing names it")
	if damage > 0 {
		l.note("nothing names it as far as the tree can be read")
	}
	return d.out.print(l)
}

// names tells whether an operation writes to a block.
func names(op *format.Op, e Extent) bool {
	for pieces := op.Pieces; len(pieces) > 0; {
		var q format.Piece
		if q, pieces = format.FirstPiece(pieces); q.Extent.Overlaps(e) {
			return true
		}
	}
	return false
}

// fixed is what stands at a fixed place.
func (d *Dump) fixed(one Extent) string {
	for _, e := range d.labels {
		if e.Overlaps(one) {
			return "label"
		}
	}
	for slot, copies := range format.SuperPlaces(d.label.Slice(d.opt.Slice)[0]) {
		for _, at := range copies {
			if (Extent{Start: at, Len: format.SuperPitchBlocks}).Overlaps(one) {
				return fmt.Sprintf("superblock-slot-%d", slot)
			}
		}
	}
	if d.super.Journal.Overlaps(one) {
		return "journal"
	}
	for region, e := range d.super.SpaceMap {
		if e.Overlaps(one) {
			return fmt.Sprintf("space-map-%d", region)
		}
	}
	return ""
}

// named calls fn for everything in the tree that names blocks, with a line that says what it is. owns: nothing else has them; blocks that
// extents share are the share record's.
func (d *Dump) named(fn func(e Extent, owns bool, l *line) error) (damage int, err error) {
	if d.super.Tree.Height == 0 {
		return 0, nil
	}
	w := walk{d: d}
	w.node = func(n *nodeAt) error {
		if n.err != nil {
			if err := d.out.print(d.nodeLine(n, n.level+1)); err != nil {
				return err
			}
		}
		return fn(d.nodePlace(n.ptr.Block), true, newLine(0, "node").add("level", n.level).add("epoch", n.ptr.Epoch))
	}
	w.entry = func(n *nodeAt, i int, key []byte) error {
		val, out := format.Node(n.bytes).Value(i)
		if out {
			cell := format.ValueCell(val)
			for i := range cell.Pieces() {
				if err := fn(cell.Piece(i).Extent(), true, newLine(0, "value").add("key", d.keyText(key))); err != nil {
					return err
				}
			}
			return nil
		}
		k, err := format.DecodeKey(d.place(Extent{}), key)
		if err != nil {
			return nil // dump tree --keys shows it
		}
		switch k.Kind {
		case format.KindExtent:
			if r, err := format.DecodeExtentRecord(d.place(Extent{}), val); err == nil {
				l := d.objectName(newLine(0, "extent").add("collection", k.Coll), k.Coll, k.Rest).add("off", k.BlockOff)
				return fn(r.Extent(), !r.IsShared(), extentFlags(l, &r))
			}
		case format.KindShare:
			if r, err := format.DecodeShareRecord(d.place(Extent{}), val); err == nil {
				return fn(Extent{Start: k.Start, Len: r.Len}, true, newLine(0, "share").add("collection", k.Coll).add("references", r.Refs))
			}
		}
		return nil
	}
	err = w.root(d.super.Tree)
	return w.damage, err
}

// IsNotFound tells the answer that something is not there from a failure to look.
func IsNotFound(err error) bool { return errors.Is(err, ErrNotFound) }
