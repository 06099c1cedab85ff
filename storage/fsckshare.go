package storage

import (
	"sort"

	"basalt/engine"
	"basalt/storage/format"
)

// Shared blocks are checked from both sides. Each shared extent looks up the share records of its blocks, which must be there. That the
// counts are right is found without a count for each block: a sum over all blocks that shared extents name, each multiplied by a number
// that no other block has, must equal the sum over the share records with their counts. Only a collection whose sums differ is gone
// through again, some share records at a time, to say which count is wrong.

// shareSums is the sums of one collection.
type shareSums struct {
	extents, records uint64
}

const shareWindow = 4096 // share records whose references are counted at once: 4096·64 counts are 1 MiB

// blockMark is the number of a block in the sums (the finalizer of splitmix64: near blocks have numbers far apart).
func blockMark(b BlockNo) uint64 {
	x := uint64(b) + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// addMarks adds the blocks of an extent to a sum, each so often.
func addMarks(sum *uint64, x Extent, refs uint64) {
	for b := x.Start; b < x.End(); b++ {
		*sum += refs * blockMark(b)
	}
}

// sharedExtent checks that share records own the blocks of an extent.
func (c *checker) sharedExtent(f *engine.Fiber, coll Coll, x Extent) error {
	if c.onode.Flags&format.OnodeShares == 0 {
		c.rep.find(x, nil, "object %x has a shared extent, its onode does not say so", c.name)
	}
	addMarks(&c.sums.extents, x, 1)
	err := c.s.View(f, func(tx *Tx) error {
		for at := x.Start; at < x.End(); {
			p, err := tx.shareAt(coll, at)
			if err != nil {
				return err
			}
			at = p.extent().End()
		}
		return nil
	})
	if format.IsCorrupt(err) {
		c.rep.find(x, err, "shared extent of object %x", c.name)
		return nil
	}
	return err
}

// shareRecord checks one share record.
func (c *checker) shareRecord(e *entry) {
	p, err := c.s.sharePiece(e.key, e.val)
	if err != nil {
		c.rep.find(Extent{}, err, "share record %x", e.key)
		return
	}
	c.use(p.extent(), "share record")
	c.rep.Shares++
	c.rep.DataBlocks += uint64(p.rec.Len)
	addMarks(&c.sums.records, p.extent(), uint64(p.rec.Refs))
}

// endCollection compares the sums of the collection that has been visited.
func (c *checker) endCollection() {
	if c.sums.extents != c.sums.records {
		c.unequal = append(c.unequal, c.at)
	}
	c.sums = shareSums{}
}

// miscounted says which share records of a collection do not count what is there. Its memory is that of one window.
func (c *checker) miscounted(f *engine.Fiber, coll Coll) error {
	from := format.AppendShareKey(nil, uint16(coll), 0)
	end := format.AppendCollectionEnd(nil, uint16(coll))
	for from != nil {
		var window []sharePiece
		err := c.each(f, from, end, func(e *entry) (bool, error) {
			from = append(from[:0], e.key...)
			if len(window) == shareWindow {
				return false, nil
			}
			if p, err := c.s.sharePiece(e.key, e.val); err == nil { // what does not decode has been reported
				window = append(window, p)
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		if len(window) < shareWindow {
			from = nil
		}
		if err := c.recount(f, coll, window); err != nil {
			return err
		}
	}
	return nil
}

// recount counts the references to the blocks of some share records.
func (c *checker) recount(f *engine.Fiber, coll Coll, window []sharePiece) error {
	found := make([][format.ExtentBlocksMax]uint32, len(window))
	lo := format.AppendKindEnd(nil, uint16(coll), format.KindOnode)
	hi := format.AppendKindEnd(nil, uint16(coll), format.KindExtent)
	err := c.each(f, lo, hi, func(e *entry) (bool, error) {
		p, err := c.s.piece(e)
		if err != nil || p.isDirty || !p.rec.IsShared() {
			return true, nil
		}
		x := p.rec.Extent()
		for i := sort.Search(len(window), func(i int) bool { return window[i].extent().End() > x.Start }); i < len(window) && window[i].start < x.End(); i++ {
			for b := max(x.Start, window[i].start); b < min(x.End(), window[i].extent().End()); b++ {
				found[i][b-window[i].start]++
			}
		}
		return true, nil
	})
	for i := range window {
		for k := BlockCount(0); k < window[i].rec.Len; k++ {
			if got := found[i][k]; got != window[i].rec.Refs {
				c.rep.find(Extent{Start: window[i].start + BlockNo(k), Len: 1}, nil, "the share record of collection %d counts %d references, there are %d", coll, window[i].rec.Refs, got)
			}
		}
	}
	return err
}
