package dump

import (
	"bytes"
	"fmt"
	"math/bits"

	"basalt/storage/alloc"
	"basalt/storage/format"
	"basalt/storage/journal"
)

// SpaceOptions say how much is shown beside the counts.
type SpaceOptions struct {
	Extents bool // every free extent, and every difference
	Tree    bool // compare with what the tree names
}

// Space shows both regions of the space map, what differs between them, and what the log has taken since.
func (d *Dump) Space(o SpaceOptions) error { return d.end(d.spaceMaps(o)) }

func (d *Dump) spaceMaps(o SpaceOptions) error {
	if err := d.need(); err != nil {
		return err
	}
	s := d.super
	total := uint64(0)
	for _, e := range d.space() {
		total += uint64(e.Len)
	}
	l := newLine(0, "space").add("blocks", s.Blocks).add("for-data-and-nodes", total).add("free-says-superblock", s.FreeBlocks)
	for _, e := range d.space() {
		l.add("extent", e)
	}
	if err := d.out.print(l); err != nil {
		return err
	}
	var maps [2]*regionMap
	for i := range maps {
		m, err := d.region(i, o)
		if err != nil {
			return err
		}
		maps[i] = m
	}
	if err := d.compare(maps, o); err != nil {
		return err
	}
	if s.Map.Region > 1 || maps[s.Map.Region] == nil {
		return d.out.print(newLine(0, "map").note("the superblock's map cannot be read: a mount rebuilds it from the tree"))
	}
	current := maps[s.Map.Region]
	if o.Tree {
		if err := d.againstTree(current, o); err != nil {
			return err
		}
	}
	return d.sinceThen(current)
}

// regionMap is one region that could be decoded.
type regionMap struct {
	header format.SpaceMapHeader
	free   *alloc.Allocator
}

// region shows one region; nil: it holds no map that can be used.
func (d *Dump) region(i int, o SpaceOptions) (*regionMap, error) {
	e, current := d.super.SpaceMap[i], d.super.Map.Region == uint32(i)
	l := newLine(0, "map").at(e).add("region", i)
	b, err := d.read(Extent{Start: e.Start, Len: 1})
	switch {
	case b == nil:
		return nil, d.out.print(l.broken(err, nil))
	case err == nil && !current && len(bytes.Trim(b, "\x00")) == 0:
		return nil, d.out.print(l.note("empty: nothing was written here yet"))
	}
	h := format.PeekSpaceMapHeader(b)
	if begins(b, format.SpaceMapMagic) {
		mapFields(l, &h)
	}
	if err != nil {
		return nil, d.out.print(l.broken(err, nil))
	}
	m, err := d.decodeMap(e, &h)
	if err == nil && current && (h.Store != d.super.Store || h.Epoch != d.super.Epoch || h.Crc != d.super.Map.Crc) {
		err = d.corrupt(e, "space map identity", fmt.Sprintf("epoch %d, crc %08x", d.super.Epoch, d.super.Map.Crc), fmt.Sprintf("epoch %d, crc %08x", h.Epoch, h.Crc))
	}
	switch {
	case err != nil && !current: // the region that is written next: a checkpoint that did not end leaves it half written
		return nil, d.out.print(l.note("not the superblock's map, and of no use: " + err.Error()))
	case err != nil:
		return nil, d.out.print(l.broken(err, b))
	case current:
		l.note("the superblock's map")
	default:
		l.note("of another checkpoint")
	}
	if err := d.out.print(l); err != nil {
		return nil, err
	}
	if err := d.classes(m); err != nil || !o.Extents {
		return m, err
	}
	return m, d.list("free", extentsOf(m.free))
}

func (d *Dump) decodeMap(e Extent, h *format.SpaceMapHeader) (*regionMap, error) {
	if h.Bytes > uint64(e.Bytes()-format.SpaceMapHeaderBytes) {
		return nil, d.corrupt(e, "space map bytes", e.Bytes()-format.SpaceMapHeaderBytes, h.Bytes)
	}
	e.Len = format.BlocksFor(format.SpaceMapHeaderBytes + int64(h.Bytes))
	b, err := d.read(e)
	if err != nil {
		return nil, err
	}
	free, header, err := alloc.DecodeMap(d.place(e), b, d.space(), 1)
	if err != nil {
		return nil, err
	}
	return &regionMap{header: header, free: free}, nil
}

func mapFields(l *line, h *format.SpaceMapHeader) {
	encoding := fmt.Sprint(h.Encoding)
	switch h.Encoding {
	case format.SpaceMapRuns:
		encoding = "runs"
	case format.SpaceMapBitmap:
		encoding = "bitmap"
	}
	l.add("epoch", h.Epoch).add("encoding", encoding).add("slice", h.Slice).add("blocks", h.Blocks).add("free", h.Free).add("runs", h.Runs).
		add("bytes", h.Bytes).add("crc", crc(h.Crc)).add("self", h.Self).add("store", h.Store)
}

// SpaceAt shows the map whose header stands at a block.
func (d *Dump) SpaceAt(block BlockNo) error { return d.end(d.spaceAt(block)) }

func (d *Dump) spaceAt(block BlockNo) error {
	if err := d.find(); err != nil {
		return err
	}
	e := Extent{Start: block, Len: 1}
	b, err := d.read(e)
	if b == nil {
		return err
	}
	h := format.PeekSpaceMapHeader(b)
	l := newLine(0, "map").at(e)
	if begins(b, format.SpaceMapMagic) {
		mapFields(l, &h)
	}
	var m *regionMap
	switch {
	case err != nil:
	case d.super == nil:
		l.note("without a superblock nobody knows what it is a map of")
	default:
		for _, region := range d.super.SpaceMap {
			if region.Start == block {
				e = region
			}
		}
		m, err = d.decodeMap(e, &h)
	}
	if err != nil {
		return d.out.print(l.broken(err, b))
	}
	if err := d.out.print(l); err != nil || m == nil {
		return err
	}
	if err := d.classes(m); err != nil {
		return err
	}
	return d.list("free", extentsOf(m.free))
}

// classes shows how many free extents of which size there are, by powers of two.
func (d *Dump) classes(m *regionMap) error {
	var runs, blocks [33]uint64
	var longest Extent
	m.free.Ascend(func(e Extent) bool {
		k := bits.Len32(uint32(e.Len)) - 1
		runs[k]++
		blocks[k] += uint64(e.Len)
		if e.Len > longest.Len {
			longest = e
		}
		return true
	})
	for k := range runs {
		if runs[k] == 0 {
			continue
		}
		l := newLine(1, "class").add("from", uint64(1)<<k).add("below", uint64(2)<<k).add("runs", runs[k]).add("blocks", blocks[k])
		if longest.Len>>k == 1 {
			l.add("longest", longest)
		}
		if err := d.out.print(l); err != nil {
			return err
		}
	}
	return nil
}

// compare shows what the newer of two maps has free that the older had not, and the other way round.
func (d *Dump) compare(maps [2]*regionMap, o SpaceOptions) error {
	older, newer := maps[0], maps[1]
	if older == nil || newer == nil {
		return nil
	}
	if older.header.Epoch > newer.header.Epoch {
		older, newer = newer, older
	}
	was, is := extentsOf(older.free), extentsOf(newer.free)
	released, taken := minus(is, was), minus(was, is)
	err := d.out.print(newLine(0, "difference").add("from-epoch", older.header.Epoch).add("to-epoch", newer.header.Epoch).
		add("released", sum(released)).add("taken", sum(taken)).note("released: these blocks were in limbo until the later superblock was durable"))
	if err != nil || !o.Extents {
		return err
	}
	if err := d.list("released", released); err != nil {
		return err
	}
	return d.list("taken", taken)
}

// againstTree compares the map with what the tree names: together they are the whole space.
func (d *Dump) againstTree(m *regionMap, o SpaceOptions) error {
	left := alloc.NewFree(d.space(), 1)
	shared, references := uint64(0), uint64(0)
	damage, err := d.named(func(e Extent, owns bool, l *line) error {
		switch {
		case !owns:
			references += uint64(e.Len)
			return nil
		case l.what == "share":
			shared += uint64(e.Len)
		}
		if d.owns(e) && left.Claim(e) {
			return nil
		}
		return d.out.print(l.at(e).broken(d.corrupt(e, l.what, "blocks of the slice that nothing else names", "others, or blocks named twice"), nil))
	})
	if err != nil {
		return err
	}
	unnamed, free := extentsOf(left), extentsOf(m.free)
	inUse, lost := minus(free, unnamed), minus(unnamed, free)
	l := newLine(0, "tree").add("named", left.SpaceBlocks()-left.FreeBlocks()).add("free-and-named", sum(inUse)).add("neither", sum(lost))
	if shared+references > 0 {
		l.add("shared", shared).add("named-by-extents", references)
	}
	switch {
	case damage > 0:
		l.note("what damaged nodes name is missing here")
	case len(inUse)+len(lost) > 0:
		l.broken(d.corrupt(d.super.SpaceMap[d.super.Map.Region], "space map", "exactly the blocks that the tree does not name", fmt.Sprintf("%d named, %d others missing", sum(inUse), sum(lost))), nil)
	}
	if err := d.out.print(l); err != nil || !o.Extents {
		return err
	}
	if err := d.list("free-and-named", inUse); err != nil {
		return err
	}
	return d.list("neither", lost)
}

// sinceThen shows what the log took since the map was written. What it freed is in no record: a replay finds that out.
func (d *Dump) sinceThen(m *regionMap) error {
	records, pieces, blocks := 0, 0, uint64(0)
	err := d.records(func(r *journal.Record) error {
		records++
		for rest := r.Payload; len(rest) > 0; {
			_, ops, tail, err := format.NextTxn(r.Place, rest)
			if err != nil {
				return nil // dump journal shows it
			}
			for rest = tail; len(ops) > 0; {
				var op format.Op
				if ops, err = format.NextOp(r.Place, ops, &op); err != nil {
					return nil
				}
				for list := op.Pieces; len(list) > 0; {
					var q format.Piece
					q, list = format.FirstPiece(list)
					pieces++
					blocks += uint64(q.Extent.Len)
					if d.owns(q.Extent) && m.free.Claim(q.Extent) {
						continue
					}
					bad := d.corrupt(q.Extent, fmt.Sprintf("blocks of journal record %d", r.Header.Sequence), "free blocks of the slice", "others")
					if err := d.out.print(newLine(1, "piece").at(q.Extent).add("object", op.Name).broken(bad, nil)); err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return d.out.print(newLine(0, "log").add("records", records).add("extents", pieces).add("blocks", blocks).add("left-free", m.free.FreeBlocks()).
		note("what the log frees stays in limbo until the next checkpoint, and no record names it"))
}

func (d *Dump) list(what string, extents []Extent) error {
	for _, e := range extents {
		if err := d.out.print(newLine(1, what).at(e)); err != nil {
			return err
		}
	}
	return nil
}

func extentsOf(s *alloc.Allocator) (out []Extent) {
	s.Ascend(func(e Extent) bool {
		out = append(out, e)
		return true
	})
	return out
}

func sum(extents []Extent) (n uint64) {
	for _, e := range extents {
		n += uint64(e.Len)
	}
	return n
}

// minus is what of a is not in b; both ascend and do not overlap.
func minus(a, b []Extent) (out []Extent) {
	for _, e := range a {
		for len(b) > 0 && b[0].End() <= e.Start {
			b = b[1:]
		}
		for i := 0; i < len(b) && b[i].Start < e.End(); i++ {
			if b[i].Start > e.Start {
				out = append(out, Extent{Start: e.Start, Len: format.BlockCount(b[i].Start - e.Start)})
			}
			if b[i].End() >= e.End() {
				e.Len = 0
				break
			}
			e = Extent{Start: b[i].End(), Len: format.BlockCount(e.End() - b[i].End())}
		}
		if e.Len > 0 {
			out = append(out, e)
		}
	}
	return out
}
