package dump

import (
	"bytes"
	"fmt"
	"time"

	"basalt/storage/format"
)

// Super shows both copies of the label and the four of the slice's superblocks.
func (d *Dump) Super() error { return d.end(d.supers()) }

func (d *Dump) supers() error {
	if err := d.findLabel(); err != nil {
		return err
	}
	for _, e := range d.labels {
		if err := d.labelAt(e, e.Start == 0); err != nil {
			return err
		}
	}
	copies, err := d.copies()
	if err != nil {
		return err
	}
	var newest uint64
	for _, c := range copies {
		if c.super != nil {
			newest = max(newest, c.super.Epoch)
		}
	}
	for i := range copies {
		if err := d.copy(&copies[i], &copies[i&^1], newest); err != nil {
			return err
		}
	}
	return nil
}

// SuperAt shows a block as a label, if it begins like one, or as a superblock.
func (d *Dump) SuperAt(block BlockNo) error {
	e := Extent{Start: block, Len: 1}
	b, err := d.read(e)
	switch {
	case b == nil:
		return err
	case err == nil && begins(b, format.LabelMagic):
		return d.end(d.labelAt(Extent{Start: block, Len: format.LabelBytes / format.BlockBytes}, true))
	}
	l := newLine(0, "superblock").at(e)
	if err == nil {
		_, err = format.DecodeSuperblock(d.place(e), b)
	}
	if begins(b, format.SuperMagic) {
		superFields(l, format.PeekSuperblock(b))
	}
	if err != nil {
		l.broken(err, b)
	}
	return d.end(d.out.print(l))
}

func (d *Dump) labelAt(e Extent, segments bool) error {
	l := newLine(0, "label").at(e)
	b, err := d.read(e)
	if b == nil {
		return d.out.print(l.broken(err, nil))
	}
	if err == nil {
		_, err = format.DecodeLabel(d.place(e), b)
	}
	if !begins(b, format.LabelMagic) {
		return d.out.print(l.broken(err, b))
	}
	label := format.PeekLabel(b)
	l.add("version", label.Version).add("device", label.Device).add("blocks", label.Blocks).add("block-bytes", label.BlockBytes).
		add("slices", label.Slices).add("segments", len(label.Segments)).add("self", label.Self).add("generation", label.Generation)
	if err != nil {
		l.broken(err, b)
	} else if label.Blocks != d.blocks() {
		l.note(fmt.Sprintf("the device has %d blocks", d.blocks()))
	}
	if err := d.out.print(l); err != nil || !segments {
		return err
	}
	for _, s := range label.Segments {
		if err := d.out.print(newLine(1, "segment").at(s.Extent()).add("slice", s.Slice).add("index", s.Index)); err != nil {
			return err
		}
	}
	return nil
}

// copy shows one superblock. mkfs clears slot 0: a store that has had one epoch has nothing there.
func (d *Dump) copy(c, first *copyAt, newest uint64) error {
	l := newLine(0, "superblock").at(Extent{Start: c.block, Len: 1}).add("slot", c.slot).add("copy", c.copy)
	switch {
	case c.bytes == nil:
		return d.out.print(l.broken(c.err, nil))
	case c.super == nil && format.IsCorrupt(c.err) && len(bytes.Trim(c.bytes, "\x00")) == 0 && c.slot == 0 && newest == 1:
		return d.out.print(l.note("empty: nothing was written here yet"))
	case c.super == nil:
		if begins(c.bytes, format.SuperMagic) {
			superFields(l, format.PeekSuperblock(c.bytes))
		}
		return d.out.print(l.broken(c.err, c.bytes))
	case c.copy == 1 && first.super != nil && twins(first.super, c.super):
		return d.out.print(l.add("epoch", c.super.Epoch).note("says what copy 0 says"))
	case c.copy == 1 && first.super != nil: // each is valid, so neither was torn
		superFields(l, c.super)
		return d.out.print(l.broken(d.corrupt(l.place, "second copy", fmt.Sprintf("what copy 0 says, epoch %d", first.super.Epoch), fmt.Sprintf("something else, epoch %d", c.super.Epoch)), nil))
	}
	superFields(l, c.super)
	if c.super.Epoch == newest {
		l.note("the newest")
	}
	return d.out.print(l)
}

// twins: both copies of a slot say the same but for where they stand.
func twins(a, b *format.Superblock) bool {
	same := *b
	same.Copy, same.Self = a.Copy, a.Self
	return same == *a
}

func superFields(l *line, s *format.Superblock) {
	region := fmt.Sprint(s.Map.Region)
	if s.Map.Region == format.MapNone {
		region = "none"
	}
	l.add("version", s.Version).add("slice", s.Slice).add("said-copy", s.Copy).add("self", s.Self).add("epoch", s.Epoch).
		add("clean", s.Flags&format.SuperClean != 0).add("flags", fmt.Sprintf("%#x", s.Flags)).
		add("device", s.Device).add("store", s.Store).add("mount", s.Mount).
		add("root", s.Tree.Block).add("root-epoch", s.Tree.Epoch).add("root-crc", crc(s.Tree.Crc)).add("height", s.Tree.Height).
		add("entries", s.Tree.Entries).add("root-flags", fmt.Sprintf("%#x", s.Tree.Flags)).
		add("journal", s.Journal).add("start-position", s.Start.Position).add("start-sequence", s.Start.Sequence).
		add("start-preceding-crc", crc(s.Start.PrecedingCrc)).add("next-txn", s.NextTxn).
		add("map0", s.SpaceMap[0]).add("map1", s.SpaceMap[1]).add("map-region", region).add("map-bytes", s.Map.Bytes).add("map-crc", crc(s.Map.Crc)).
		add("data-start", s.DataStart).add("blocks", s.Blocks).add("free-blocks", s.FreeBlocks).
		add("written", time.Unix(0, s.WallNs).UTC().Format(time.RFC3339Nano)).
		add("node-bytes", s.NodeBytes).add("block-bytes", s.BlockBytes).add("key-bytes-max", s.KeyBytesMax).add("value-bytes-max", s.ValueBytesMax).
		add("extent-blocks", s.ExtentBlocks).add("journal-record", s.JournalRecord).add("damaged-repairs", s.DamagedRepairs)
}
