package storage

import (
	"bytes"
	"errors"
	"fmt"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/storage/alloc"
	"basalt/storage/btree"
	"basalt/storage/format"
)

// Finding is one thing that is wrong, with its place.
type Finding struct {
	Extent Extent
	What   string
	Err    error // what was found when it was read, if it was
	Kind   FindingKind

	// Of FoundBlock.
	Coll   Coll
	Object []byte
	Block  uint64
}

// FindingKind says what a repair can do about it.
type FindingKind uint8

// The kinds.
const (
	FoundOther   FindingKind = iota // nothing
	FoundBlock                      // a data block that cannot be read: give it up
	FoundMap                        // the space map says what is not so: make it anew
	FoundJournal                    // a record that was durable is no more: cut the log there
	FoundNode                       // a node of the tree, or a long value: make a tree of the rest
)

func (x Finding) String() string {
	out := fmt.Sprintf("blocks %v: %s", x.Extent, x.What)
	if x.Err != nil {
		out += ": " + x.Err.Error()
	}
	return out
}

// FsckReport is what a check of a slice has seen.
type FsckReport struct {
	Mount       MountReport
	Findings    []Finding
	More        int // findings above the limit, which are only counted
	Nodes       uint64
	Keys        uint64
	Objects     uint64
	Extents     uint64
	Shares      uint64 // records of shared blocks
	DataBlocks  uint64 // each counted once, however many objects share it
	ValueBlocks uint64
	LimboBlocks uint64
	FreeBlocks  uint64

	beyond *Finding // the first one above the limit that no repair mends
}

const findingsMax = 1000

func (r *FsckReport) find(e Extent, err error, what string, args ...any) {
	r.add(Finding{Extent: e, What: fmt.Sprintf(what, args...), Err: err})
}

func (r *FsckReport) findMap(e Extent, err error, what string, args ...any) {
	r.add(Finding{Extent: e, What: fmt.Sprintf(what, args...), Err: err, Kind: FoundMap})
}

func (r *FsckReport) add(x Finding) {
	if len(r.Findings) == findingsMax {
		if r.More++; x.Kind == FoundOther && r.beyond == nil {
			r.beyond = &x
		}
		return
	}
	r.Findings = append(r.Findings, x)
}

// Fsck checks a slice that nobody has mounted, and writes nothing: it replays the journal in memory, reads every node, value and data block
// against its checksum, and finds out whether every block is used once, free, or in limbo. The error is for what kept it from looking; what
// is wrong with the slice is in the report.
func Fsck(f *engine.Fiber, h *device.Handle, slice int, opt Options) (*FsckReport, error) {
	return fsck(f, h, slice, opt, nil)
}

// fsck is Fsck. With salvage it goes on where a mount would refuse, and notes there what that gives up.
func fsck(f *engine.Fiber, h *device.Handle, slice int, opt Options, sv *salvage) (*FsckReport, error) {
	opt.ReadOnly = true
	opt.TxnRecordMax, opt.GroupRecordMax = format.BlockBytes, 2*format.BlockBytes // nothing is written, so the groups need no memory
	opt = opt.withDefaults()
	if err := opt.validate(); err != nil {
		return nil, err
	}
	rep := &FsckReport{}
	s, err := open(f, h, slice, opt, &rep.Mount)
	if err != nil {
		if isDamage(err) {
			rep.find(Extent{}, err, "the slice cannot be opened")
			return rep, nil
		}
		return nil, err
	}
	defer func() { s.discard(f.Turn()) }()
	s.salvage = sv
	if err := sv.lookThrough(f, s); err != nil {
		return nil, err
	}
	if sv.torn() {
		return rep, sv.reportTorn(f, rep, s)
	}
	if err := s.recover(f, &rep.Mount); err != nil {
		var rot *RotError
		if errors.As(err, &rot) || isDamage(err) {
			rep.find(s.super.Journal, err, "the journal cannot be replayed")
			return rep, nil
		}
		return nil, err
	}
	sv.report(rep, s)
	if rep.Mount.MapRebuilt != "" {
		rep.findMap(Extent{}, errors.New(rep.Mount.MapRebuilt), "the space map cannot be read; a mount rebuilds it")
	}
	c := checker{s: s, rep: rep, left: alloc.New(s.space, 1)}
	for _, e := range s.space {
		c.left.Free(e)
	}
	return rep, c.run(f)
}

// checker is one check.
type checker struct {
	s    *Store
	rep  *FsckReport
	left *alloc.Allocator // blocks that nothing has named yet

	// Of the object whose extents are being visited.
	coll    Coll
	name    []byte
	onode   format.Onode
	blocks  uint64
	end     uint64    // behind the last extent
	claims  uint64    // blocks that the onodes of all exact objects say they have
	found   uint64    // blocks found in them
	at      Coll      // the collection that is being visited
	sums    shareSums // of its shared blocks
	unequal []Coll    // whose shared blocks are miscounted
}

// use notes that something names blocks.
func (c *checker) use(e Extent, what string, args ...any) {
	if !c.s.owns(e) {
		c.rep.find(e, nil, "%s lies outside of the slice", fmt.Sprintf(what, args...))
		return
	}
	if !c.left.Claim(e) {
		c.rep.find(e, nil, "%s names blocks that something else names too", fmt.Sprintf(what, args...))
	}
}

// useFree notes that the space map calls blocks free.
func (c *checker) useFree(e Extent) {
	if !c.left.Claim(e) {
		c.rep.findMap(e, nil, "the space map names blocks that something else names too")
	}
}

func (c *checker) run(f *engine.Fiber) error {
	before := len(c.rep.Findings)
	if err := c.tree(f); err != nil {
		return err
	}
	if len(c.rep.Findings) > before {
		return nil // with a broken tree, everything below would be found as well
	}
	if err := c.entries(f); err != nil {
		return err
	}
	for fresh := c.s.limbo.fresh; !fresh.empty(); {
		e, _ := fresh.next(nil)
		c.use(e, "limbo")
		c.rep.LimboBlocks += uint64(e.Len)
	}
	c.hiddenItems()
	c.s.alloc.Ascend(func(e Extent) bool {
		c.useFree(e)
		c.rep.FreeBlocks += uint64(e.Len)
		return true
	})
	c.left.Ascend(func(e Extent) bool {
		c.rep.findMap(e, nil, "nothing names these blocks and they are not free")
		return true
	})
	return nil
}

// tree visits the nodes and the out-of-line values, and the extents that a tombstone of the delta hides: they are limbo to come.
func (c *checker) tree(f *engine.Fiber) error {
	l := c.s.active
	return c.s.tree.Walk(f, c.s.super.Tree, btree.Visitor{
		Node: func(e Extent, _ format.ChildPtr, level int) error {
			c.rep.Nodes++
			c.use(e, "tree node of level %d", level)
			return nil
		},
		Value: func(key []byte, v format.ValueExtent) error {
			c.rep.ValueBlocks += uint64(v.Extent().Len)
			c.use(v.Extent(), "value of key %x", key)
			return nil
		},
		Entry: func(key, val []byte, _ bool) error {
			if _, err := format.DecodeKey(c.s.place("key"), key); err != nil {
				c.rep.find(Extent{}, err, "key %x", key)
				return nil
			}
			if !format.Kind(key[2]).OwnsBlocks() {
				return nil
			}
			it, own := l.exact(key)
			_, covered := l.tombs.at(key)
			if own && !it.is.settled() || !own && covered {
				x, err := c.s.ownedBy(key, val)
				if err != nil {
					c.rep.find(Extent{}, err, "buried record %x", key)
					return nil
				}
				c.buried(key, x)
			}
			return nil
		},
		Bad: func(ptr format.ChildPtr, level int, err error) error {
			c.rep.find(Extent{Start: ptr.Block, Len: BlockCount(c.s.pool)}, err, "tree node of level %d cannot be read; everything below it is lost", level)
			return nil
		},
		Budget: func(f *engine.Fiber) error { f.Yield(); return nil },
	})
}

// hiddenItems visits the extents of the delta that a tombstone of the delta hides.
func (c *checker) hiddenItems() {
	l := c.s.active
	var cur layerCursor
	for cur.seek(l, nil); ; cur.next() {
		it, ok := cur.at()
		if !ok {
			return
		}
		key := l.keyOf(it)
		if format.Kind(key[2]).OwnsBlocks() && l.hidden(key, it) {
			c.buried(key, l.ownedBy(c.s, it))
		}
	}
}

// buried notes what an entry owns that nobody can see any more.
func (c *checker) buried(key []byte, x Extent) {
	if x.Len > 0 {
		c.use(x, "buried record %x", key)
		c.rep.LimboBlocks += uint64(x.Len)
	}
}

// entries visits everything that a reader can see.
func (c *checker) entries(f *engine.Fiber) error {
	if err := c.each(f, []byte{0}, nil, func(e *entry) (bool, error) { return true, c.entry(f, e) }); err != nil {
		return err
	}
	c.endObject()
	if c.claims != c.found {
		c.rep.find(Extent{}, nil, "objects have %d blocks, their onodes say %d", c.found, c.claims)
	}
	c.endCollection()
	for _, coll := range c.unequal {
		if err := c.miscounted(f, coll); err != nil {
			return err
		}
	}
	return nil
}

// each calls fn for the entries in [lo, hi) that a reader can see, until fn says false.
func (c *checker) each(f *engine.Fiber, lo, hi []byte, fn func(e *entry) (bool, error)) error {
	var pins btree.Pins
	defer c.s.tree.Release(&pins)
	var cur viewCursor
	miss := cur.open(c.s.view(), lo, hi)
	for ; ; miss = cur.next() {
		for !miss.None() {
			if err := c.s.tree.Load(f, miss, &pins); err != nil {
				if format.IsCorrupt(err) {
					c.rep.find(Extent{}, err, "after key %x", cur.last)
					return nil
				}
				return err
			}
			miss = cur.next()
			c.s.tree.Release(&pins)
		}
		if !cur.valid {
			return nil
		}
		if more, err := fn(&cur.cur); err != nil || !more {
			return err
		}
	}
}

func (c *checker) entry(f *engine.Fiber, e *entry) error {
	k, err := format.DecodeKey(c.s.place("key"), e.key)
	if err != nil {
		c.rep.find(Extent{}, err, "key %x", e.key)
		return nil
	}
	if !c.s.colls.has(Coll(k.Coll)) {
		c.rep.find(Extent{}, nil, "key %x is in a collection that does not exist", e.key)
	}
	if Coll(k.Coll) != c.at {
		c.endCollection()
		c.at = Coll(k.Coll)
	}
	switch k.Kind {
	case format.KindShare:
		c.shareRecord(e)
	case format.KindUser:
		c.rep.Keys++
	case format.KindOnode:
		c.rep.Objects++
		o, err := format.DecodeOnode(c.s.place("onode"), e.val, true)
		if err != nil {
			c.rep.find(Extent{}, err, "onode of %x", k.Rest)
		}
		if o.Flags&format.OnodeApprox == 0 {
			c.claims += o.Blocks
		}
	case format.KindExtent:
		return c.extent(f, e, k)
	}
	return nil
}

// extent checks one extent of an object, and reads its blocks.
func (c *checker) extent(f *engine.Fiber, e *entry, k format.Key) error {
	p, err := c.s.piece(e)
	if err != nil {
		c.rep.find(Extent{}, err, "extent record %x", e.key)
		return nil
	}
	p.rec.Crcs = bytes.Clone(p.rec.Crcs) // what the view lends is gone when we have waited
	if Coll(k.Coll) != c.coll || !bytes.Equal(k.Rest, c.name) {
		c.endObject()
		if err := c.startObject(f, Coll(k.Coll), bytes.Clone(k.Rest)); err != nil {
			return err
		}
	}
	if p.off < c.end {
		c.rep.find(p.rec.Extent(), nil, "extents of object %x overlap at block %d", c.name, p.off)
	}
	if p.end() > blocksUp(c.onode.Size) {
		c.rep.find(p.rec.Extent(), nil, "object %x of %d bytes has blocks up to %d", c.name, c.onode.Size, p.end())
	}
	c.end = p.end()
	c.blocks += p.end() - p.off
	c.rep.Extents++
	if p.isDirty {
		return nil
	}
	if !p.rec.IsShared() {
		c.use(p.rec.Extent(), "object %x", c.name)
		c.rep.DataBlocks += uint64(p.rec.Len)
	} else if err := c.sharedExtent(f, Coll(k.Coll), p.rec.Extent()); err != nil {
		return err
	}
	return c.read(f, &p)
}

// read verifies every block of an extent.
func (c *checker) read(f *engine.Fiber, p *extentPiece) error {
	buf, err := c.s.arena.Get(int(p.rec.Extent().Bytes()))
	if err != nil {
		return err
	}
	defer c.s.arena.Put(buf)
	mem := c.s.arena.Bytes(buf)
	whole := c.s.dev.Read(f, mem, p.rec.Extent().Offset()) == nil
	for i := 0; i < int(p.rec.Len); i++ {
		at := Extent{Start: p.rec.Start + BlockNo(i), Len: 1}
		part := mem[i*format.BlockBytes : (i+1)*format.BlockBytes : (i+1)*format.BlockBytes]
		var err error
		if !whole { // which of them cannot be read?
			err = c.s.dev.Read(f, part, at.Offset())
		}
		want, got := p.rec.Crc(i), format.Crc(part)
		if err == nil && want != got {
			err = format.CorruptCrc(format.Place{Device: c.s.name, Extent: at}, "data block", want, got)
		}
		if err != nil {
			block := p.off + uint64(i)
			c.rep.add(Finding{
				Extent: at, What: fmt.Sprintf("object %x at block %d", c.name, block), Err: err,
				Kind: FoundBlock, Coll: c.coll, Object: c.name, Block: block,
			})
		}
	}
	return nil
}

func (c *checker) startObject(f *engine.Fiber, coll Coll, name []byte) error {
	c.coll, c.name, c.blocks, c.end = coll, name, 0, 0
	err := c.s.View(f, func(tx *Tx) error {
		o, err := tx.onodeOf(coll, name)
		o.Attrs = nil
		c.onode = o
		return err
	})
	if err == ErrNotFound {
		c.rep.find(Extent{}, nil, "object %x has extents and no onode", name)
		return nil
	}
	return err
}

func (c *checker) endObject() {
	if c.name == nil {
		return
	}
	switch {
	case c.onode.Flags&format.OnodeApprox == 0:
		c.found += c.blocks
		if c.blocks != c.onode.Blocks {
			c.rep.find(Extent{}, nil, "object %x has %d blocks, its onode says %d", c.name, c.blocks, c.onode.Blocks)
		}
	case c.blocks > c.onode.Blocks:
		c.rep.find(Extent{}, nil, "object %x has %d blocks, its onode says at most %d", c.name, c.blocks, c.onode.Blocks)
	}
}
