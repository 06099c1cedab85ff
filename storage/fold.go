package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"basalt/engine"
	"basalt/storage/btree"
	"basalt/storage/format"
)

// foldSource presents a frozen layer to the tree: the visible changes, and of the hidden ones those that keep the fold from freeing twice.
type foldSource struct {
	f    *engine.Fiber
	s    *Store
	l    *layer
	cur  layerCursor
	look layerCursor // of Touches
	next btree.Change
	more bool
	tomb tomb
	tmor bool
	tkey []byte
	rec  []byte
}

func newFoldSource(f *engine.Fiber, s *Store, l *layer) *foldSource {
	src := &foldSource{f: f, s: s, l: l}
	src.cur.seek(l, nil)
	src.settle()
	src.tomb, src.tmor = l.tombs.from(nil)
	return src
}

func (src *foldSource) Change() (btree.Change, bool) { return src.next, src.more }

func (src *foldSource) NextChange() {
	src.cur.next()
	src.settle()
}

// settle stands on the next item that the fold must know of.
func (src *foldSource) settle() {
	for l := src.l; ; src.cur.next() {
		it, ok := src.cur.at()
		if src.more = ok; !ok {
			return
		}
		src.s.check.folded++
		src.s.check.seen++
		src.s.check.passed += it.putBytes() + format.LeafEntryBytes
		src.s.rest(src.f, 1)
		key := l.keyOf(it)
		src.next = btree.Change{Key: key, Settled: it.is.settled()}
		if l.hidden(key, it) {
			if !format.Kind(key[2]).OwnsBlocks() {
				continue
			}
			if e := l.ownedBy(src.s, it); e.Len > 0 { // its blocks were never in the tree: nobody else will free them
				src.s.limbo.addFrozen(e)
			}
			if !it.is.settled() {
				continue
			}
			src.next.Del = true
			return
		}
		switch it.is.what() {
		case itemDel:
			src.next.Del = true
		case itemPut:
			src.next.Val = l.valOf(it)
		case itemDirty:
			src.next.Val = src.homeOf(&l.dirty[it.val])
		}
		return
	}
}

// homeOf is the extent record of a dirty block that has been written.
func (src *foldSource) homeOf(d *dirtyBlock) []byte {
	if !d.done {
		panic("storage: fold of a dirty block that was not written")
	}
	var crc [4]byte
	binary.LittleEndian.PutUint32(crc[:], d.crc)
	r := format.ExtentRecord{Start: d.home, Len: 1, Crcs: crc[:]}
	src.rec = r.Append(src.rec[:0])
	return src.rec
}

func (src *foldSource) Range() (btree.Range, bool) {
	if !src.tmor {
		return btree.Range{}, false
	}
	return btree.Range{Lo: src.l.tombs.lo(&src.tomb), Hi: src.l.tombs.hi(&src.tomb)}, true
}

func (src *foldSource) NextRange() {
	src.tkey = append(append(src.tkey[:0], src.l.tombs.lo(&src.tomb)...), 0)
	src.tomb, src.tmor = src.l.tombs.from(src.tkey)
}

// Touches tells whether something still to come meets [lo, hi): the tree reads such leaves ahead. A leaf that one deletion covers is not
// read at all.
func (src *foldSource) Touches(lo, hi []byte) bool {
	below := func(key []byte) bool { return hi == nil || bytes.Compare(key, hi) < 0 }
	src.look.seek(src.l, lo)
	if it, ok := src.look.at(); ok && below(src.l.keyOf(it)) {
		return true
	}
	tombs := &src.l.tombs
	if t, ok := tombs.from(lo); ok && below(tombs.lo(&t)) {
		return true
	}
	t, ok := tombs.at(lo)
	return ok && below(tombs.hi(&t))
}

// foldEnv is what the tree gets from the store while it folds.
type foldEnv struct {
	f    *engine.Fiber
	s    *Store
	hint BlockNo
}

// Alloc gives blocks that are free now. They were free at S too, or have come free since for every mount.
func (e *foldEnv) Alloc(want, least BlockCount) (Extent, error) {
	s := e.s
	x, ok := s.alloc.AllocRun(want, least, e.hint)
	if !ok {
		return x, fmt.Errorf("fold: no %d blocks in a row, %d free: the reserve was too small", least, s.alloc.FreeBlocks())
	}
	e.took(x)
	return x, nil
}

func (e *foldEnv) took(x Extent) {
	if !e.s.check.free.Claim(x) {
		panic("storage: the fold was given blocks that are not free at its boundary: " + x.String())
	}
	e.s.check.tookBlocks += uint64(x.Len)
	e.hint = x.End()
}

func (e *foldEnv) Return(x Extent) {
	e.s.alloc.Free(x)
	e.s.check.free.Free(x)
	e.s.check.tookBlocks -= uint64(x.Len)
}

// Free takes blocks of the old tree: its superblock is durable, so they wait for the next one.
func (e *foldEnv) Free(x Extent) {
	e.s.freedTree(e.f.Turn(), x)
	e.s.limbo.addFrozen(x)
}

// NeedsVisit tells whether keys of extents or of share records lie in the range: only they refer to blocks that the tree does not know of.
func (e *foldEnv) NeedsVisit(lo, hi []byte) bool {
	var c uint32
	if len(lo) >= 2 {
		c = uint32(binary.BigEndian.Uint16(lo))
	}
	kind := format.KindExtent
	switch {
	case len(lo) > 2 && lo[2] > byte(format.KindShare):
		c++
	case len(lo) > 2 && lo[2] > byte(format.KindExtent): // user keys stand between the two
		kind = format.KindShare
	}
	if c > 1<<16-1 {
		return false
	}
	first := [3]byte{byte(c >> 8), byte(c), byte(kind)}
	return hi == nil || bytes.Compare(first[:], hi) < 0
}

// Dropped frees what an entry owned that a range deletion removed.
func (e *foldEnv) Dropped(key, val []byte) error {
	x, err := e.s.ownedBy(key, val)
	if err == nil && x.Len > 0 {
		e.s.limbo.addFrozen(x)
	}
	return err
}

// Budget counts a node, and lets the others run when the fold has had its share of the turn.
func (e *foldEnv) Budget(f *engine.Fiber, written int) error {
	s := e.s
	if s.failed != nil {
		return s.failed
	}
	s.stats.FoldBytes += uint64(written)
	s.progress.tell(f.Turn(), DoingFold, uint64(s.check.folded), uint64(s.frozen.items.n))
	if written > 0 {
		if d := s.foldDelayNs(f.Turn().Now(), written); d > 0 {
			f.Sleep(d)
		}
	}
	s.rest(f, nodeSteps)
	return nil
}

// writeDirty writes every dirty block that the folded state has, in the order of the objects, and notes where.
func (e *foldEnv) writeDirty(f *engine.Fiber) error {
	l := e.s.frozen
	if l.dirtyLive == 0 {
		return nil
	}
	var batch []uint32
	var cur layerCursor
	for cur.seek(l, nil); ; cur.next() {
		it, ok := cur.at()
		if !ok {
			break
		}
		e.s.check.seen++
		e.s.rest(f, 1)
		if it.is.what() != itemDirty || l.hidden(l.keyOf(it), it) {
			continue
		}
		if batch = append(batch, uint32(it.val)); len(batch) == len(e.s.workMem)/format.BlockBytes {
			if err := e.writeBatch(f, batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return e.writeBatch(f, batch)
}

// dirtySteps blocks are copied between two looks at the clock: 64 KiB.
const dirtySteps = 16

func (e *foldEnv) writeBatch(f *engine.Fiber, batch []uint32) error {
	s := e.s
	if len(batch) == 0 {
		return nil
	}
	extents, ok := s.alloc.AllocAll(BlockCount(len(batch)), e.hint, nil)
	if !ok {
		return fmt.Errorf("fold: no %d blocks for dirty data, %d free: the reserve was too small", len(batch), s.alloc.FreeBlocks())
	}
	mem := s.workMem
	for _, x := range extents {
		e.took(x)
		part := batch[:x.Len]
		batch = batch[x.Len:]
		for i, k := range part {
			if i%dirtySteps == 0 && i > 0 {
				s.rest(f, lookSteps)
			}
			d := &s.frozen.dirty[k]
			p := mem[i*format.BlockBytes : (i+1)*format.BlockBytes]
			copy(p, s.arena.Bytes(d.buf))
			d.home, d.crc, d.done = x.Start+BlockNo(i), format.Crc(p), true
			if d.orphan { // a transaction after S did away with it
				s.limbo.add(Extent{Start: d.home, Len: 1})
			}
		}
		n := int(x.Len) * format.BlockBytes
		if err := s.dev.Write(f, mem[:n:n], x.Offset()); err != nil {
			return err
		}
		if err := e.Budget(f, n); err != nil {
			return err
		}
	}
	return nil
}

// orphan says that a transaction did away with a dirty block of the frozen layer: the fold still writes it, and its home goes to limbo.
func (s *Store) orphan(d *dirtyBlock) {
	if d.done {
		s.limbo.add(Extent{Start: d.home, Len: 1})
		return
	}
	d.orphan = true
}
