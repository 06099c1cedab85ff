package btree

import (
	"bytes"
	"fmt"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/storage/format"
)

// folder is one fold: it goes over the old tree from left to right, reads what a change or a range deletion touches, hands
// everything else on as it is, and builds the new nodes from the leaves up.
type folder struct {
	t     *Tree
	f     *engine.Fiber
	env   Env
	src   Source
	epoch uint64

	next Change // what src has next, until it is asked for another one
	more bool
	gone Range
	some bool

	builders []*builder                      // by level
	old      [format.NodeHeightMax][]byte    // copy of the old node that is being read, by level
	bounds   [format.NodeHeightMax][2][]byte // keys of the child that is being read, by level
	key      []byte                          // of the old leaf entry at hand
	prev     []byte                          // of the last change
	sep      []byte
	cell     format.ValueCell // of the last long value
	aheadLo  []byte
	aheadHi  []byte
	leafWarm bool // the old leaf at hand was in the cache

	ahead      ahead
	nodeBlocks format.BlockCount
	half       int           // half of the batch memory that is being filled
	run        format.Extent // where it will stand
	used       format.BlockCount
	wrote      int // bytes since the last call of Budget

	gather engine.Gather // the write of the other half, in flight
	flying format.Extent
	mem    []byte
	res    int32
}

// Fold writes the tree that root becomes with the changes of src, in nodes of that epoch, and returns it. The writes have
// completed then; only a flush makes them durable. It suspends; other fibers read any root meanwhile.
func (t *Tree) Fold(f *engine.Fiber, root Root, epoch uint64, src Source, env Env) (Root, error) {
	if t.folding {
		panic("btree: two folds at once")
	}
	t.folding = true
	defer func() { t.folding = false }()
	w := t.fold
	if w == nil {
		w = &folder{t: t, nodeBlocks: format.BlocksFor(int64(t.cfg.NodeBytes)), key: make([]byte, 0, format.KeyBytesMax)}
		t.fold = w
	}
	if err := t.takeBatch(); err != nil {
		return root, err
	}
	w.f, w.env, w.src, w.epoch = f, env, src, epoch
	w.run, w.used, w.wrote, w.prev = format.Extent{}, 0, 0, w.prev[:0]
	for _, b := range w.builders {
		b.reset()
	}
	w.next, w.more = src.Change()
	w.gone, w.some = src.Range()
	w.ahead.open(t, false)
	defer func() {
		_ = w.landed() // an error before this one ended the fold
		w.ahead.close()
		w.f, w.env, w.src, w.next, w.gone = nil, nil, nil, Change{}, Range{}
	}()
	return w.tree(root)
}

// takeBatch gets the memory that folds write from and read into. The tree keeps it, so that a fold needs no more of the
// arena just when everybody waits for it to end.
func (t *Tree) takeBatch() error {
	for _, m := range []struct {
		buf   *arena.Buf
		bytes int
	}{{&t.batch, t.cfg.BatchBytes}, {&t.scratch, max(t.cfg.NodeBytes, format.ValueBytesMax)}} {
		if m.buf.Valid() {
			continue
		}
		b, err := t.cache.get(m.bytes)
		if err != nil {
			return fmt.Errorf("memory of a fold, %d bytes: %w", m.bytes, err)
		}
		*m.buf = b
	}
	return nil
}

func (w *folder) builder(level int) *builder {
	for len(w.builders) <= level {
		w.builders = append(w.builders, newBuilder(len(w.builders)))
	}
	return w.builders[level]
}

func (w *folder) tree(root Root) (Root, error) {
	if !w.changes(nil) && !w.ranges(nil, nil) {
		return root, nil
	}
	if root.Height > 0 {
		if err := w.node(root.ChildPtr, int(root.Height)-1, nil, nil); err != nil {
			return root, err
		}
	}
	if err := w.fresh(nil, nil); err != nil { // an empty tree, or one whose last leaf went
		return root, err
	}
	next, err := w.finish()
	if err != nil {
		return root, err
	}
	if err := w.flush(); err != nil {
		return root, err
	}
	if err := w.landed(); err != nil {
		return root, err
	}
	if w.more {
		panic(fmt.Sprintf("btree: change of %x is left over", w.next.Key))
	}
	return next, w.budget()
}

// finish writes what the builders hold, from the leaves up, until one node is left alone on its level.
func (w *folder) finish() (Root, error) {
	for level := 0; ; level++ {
		if level >= format.NodeHeightMax {
			panic("btree: tree is too high")
		}
		b, above := w.builder(level), false
		for _, up := range w.builders[level+1:] {
			above = above || up.pushed > 0
		}
		if !above && b.pushed == 0 {
			return Root{}, nil
		}
		if !above && level > 0 && b.pushed == 1 {
			return Root{ChildPtr: b.a.items[0].child, Height: uint8(level)}, nil
		}
		if err := w.close(b); err != nil {
			return Root{}, err
		}
	}
}

// node rewrites one old node, whose keys are in [lo, hi); a nil hi has no end.
func (w *folder) node(ptr format.ChildPtr, level int, lo, hi []byte) error {
	n, err := w.readOld(ptr, level)
	if err != nil {
		return err
	}
	w.free(ptr)
	if level == 0 {
		return w.leaf(n, lo, hi)
	}
	for i := range n.Count() {
		clo, chi := w.childBounds(n, level, i, lo, hi)
		child := n.Child(i)
		switch {
		case w.covered(clo, chi) && !w.changes(chi):
			err = w.dropTree(child, level-1, clo, chi)
		case w.changes(chi) || w.ranges(clo, chi) || w.open(level):
			if level == 1 {
				w.readAhead(n, i, hi)
			}
			if err = w.node(child, level-1, clo, chi); err == nil {
				err = w.pause(level-1, w.nextTouched(n, level, i, hi))
			}
		default:
			err = w.add(level, &format.Entry{Key: w.bounds[level][0], Child: child}, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// nextTouched tells whether the old node behind child i is rewritten anyway.
func (w *folder) nextTouched(n format.Node, level, i int, hi []byte) bool {
	if i+1 == n.Count() {
		return false
	}
	clo, chi := w.childBounds(n, level, i+1, nil, hi)
	return w.changes(chi) || w.ranges(clo, chi)
}

// readAhead reads the leaf at hand and further ones of the same parent that will be rewritten.
func (w *folder) readAhead(n format.Node, i int, hi []byte) {
	look, ok := w.src.(Lookahead)
	w.ahead.fill(w.f, n, i, func(j int) bool {
		if !ok {
			return false
		}
		w.aheadLo = n.AppendKey(w.aheadLo[:0], j)
		if j+1 < n.Count() {
			w.aheadHi = n.AppendKey(w.aheadHi[:0], j+1)
			return look.Touches(w.aheadLo, w.aheadHi)
		}
		return look.Touches(w.aheadLo, hi)
	})
}

// childBounds is the range of keys that belongs to child i. The slices live until the next child of the same level.
func (w *folder) childBounds(n format.Node, level, i int, lo, hi []byte) (clo, chi []byte) {
	b := &w.bounds[level]
	b[0] = n.AppendKey(b[0][:0], i)
	clo, chi = b[0], hi
	if i == 0 {
		clo = lo // also what is below the first key of the root's left edge
	}
	if i+1 < n.Count() {
		b[1] = n.AppendKey(b[1][:0], i+1)
		chi = b[1]
	}
	return clo, chi
}

// readOld copies an old node out of the cache or reads it past the cache: a fold must not push out what readers use.
func (w *folder) readOld(ptr format.ChildPtr, level int) (format.Node, error) {
	if err := w.budget(); err != nil {
		return nil, err
	}
	b, warm, err := w.t.copyNode(w.f, ptr, level, w.old[level], &w.ahead)
	w.old[level] = b
	if level == 0 {
		w.leafWarm = warm
	}
	w.t.folded.read++
	return format.Node(b), err
}

// copyNode copies a node into dst, which it makes when it is nil, from the cache, from what was read ahead, or from the
// device.
func (t *Tree) copyNode(f *engine.Fiber, ptr format.ChildPtr, level int, dst []byte, a *ahead) (out []byte, warm bool, err error) {
	if dst == nil {
		dst = make([]byte, t.cfg.NodeBytes)
	}
	if i := t.cache.find(ptr.Block, ptr.Epoch, ptr.Crc, frameNode); i >= 0 && !a.cold {
		copy(dst, t.cfg.Arena.Bytes(t.cache.frames[i].buf))
		return dst, true, nil
	}
	if b := a.have(ptr); b != nil {
		copy(dst, b)
		return dst, false, format.VerifyNode(t.place(t.nodeExtent(ptr)), dst, ptr, level, t.cfg.Store)
	}
	b, done, err := t.transit(t.cfg.NodeBytes, a.cold)
	if err != nil {
		return dst, false, fmt.Errorf("read of %v: %w", ptr, err)
	}
	defer done()
	if err := t.readNode(f, ptr, level, b); err != nil {
		return dst, false, err
	}
	copy(dst, b)
	return dst, false, nil
}

// transit is memory of n bytes to read into: that of the fold, or, for a walk, its own.
func (t *Tree) transit(n int, walk bool) (b []byte, done func(), err error) {
	if !walk {
		return t.cfg.Arena.Bytes(t.scratch)[:n], func() {}, nil
	}
	buf, err := t.cache.get(n)
	if err != nil {
		return nil, nil, err
	}
	return t.cfg.Arena.Bytes(buf), func() { t.cfg.Arena.Put(buf) }, nil
}

// lendValue reads an out-of-line value past the cache and lends it to use.
func (t *Tree) lendValue(f *engine.Fiber, cell format.ValueCell, walk bool, use func(b []byte) error) error {
	b, done, err := t.transit(valueRoom(cell), walk)
	if err != nil {
		return fmt.Errorf("read of a value of %d bytes: %w", cell.Bytes(), err)
	}
	defer done()
	if err := t.readValue(f, cell, b); err != nil {
		return err
	}
	return use(b[:cell.Bytes()])
}

func (w *folder) free(ptr format.ChildPtr) {
	w.t.folded.freed++
	w.t.cache.cool(ptr.Block)
	w.env.Free(w.t.nodeExtent(ptr))
}

// changes tells whether a change below hi is left.
func (w *folder) changes(hi []byte) bool {
	return w.more && (hi == nil || bytes.Compare(w.next.Key, hi) < 0)
}

func (w *folder) nextChange() {
	w.src.NextChange()
	w.next, w.more = w.src.Change()
}

// ranges tells whether a range deletion meets [lo, hi); ranges that end before lo are done.
func (w *folder) ranges(lo, hi []byte) bool {
	r, ok := w.rangeAt(lo)
	return ok && (hi == nil || bytes.Compare(r.Lo, hi) < 0)
}

// covered tells whether one range deletion covers all of [lo, hi).
func (w *folder) covered(lo, hi []byte) bool {
	r, ok := w.rangeAt(lo)
	return ok && hi != nil && bytes.Compare(r.Lo, lo) <= 0 && bytes.Compare(hi, r.Hi) <= 0
}

// rangeAt is the first range deletion that ends behind key.
func (w *folder) rangeAt(key []byte) (Range, bool) {
	for w.some && bytes.Compare(w.gone.Hi, key) <= 0 {
		w.src.NextRange()
		w.gone, w.some = w.src.Range()
	}
	return w.gone, w.some
}

// open tells whether a level below holds back entries, so that the next old node must be taken apart for them.
func (w *folder) open(level int) bool {
	for l := range level {
		if l < len(w.builders) && !w.builders[l].empty() {
			return true
		}
	}
	return false
}

// leaf merges the entries of an old leaf with the changes of its range.
func (w *folder) leaf(n format.Node, lo, hi []byte) error {
	visit := w.ranges(lo, hi) && w.env.NeedsVisit(lo, hi)
	for i := range n.Count() {
		w.key = n.AppendKey(w.key[:0], i)
		c := -1
		for w.more && c < 0 { // what is new before it
			if c = bytes.Compare(w.next.Key, w.key); c < 0 {
				if err := w.change(lo); err != nil {
					return err
				}
			}
		}
		val, out := n.Value(i)
		r, some := w.rangeAt(w.key)
		gone := some && bytes.Compare(r.Lo, w.key) <= 0
		var err error
		switch {
		case c == 0:
			if err = w.drop(val, out, gone && visit && !w.next.Settled); err == nil {
				err = w.change(lo)
			}
		case gone:
			err = w.drop(val, out, visit)
		default:
			err = w.add(0, &format.Entry{Key: w.key, Val: val, Out: out}, lo)
		}
		if err != nil {
			return err
		}
	}
	return w.fresh(lo, hi)
}

// fresh applies the changes below hi: none of their keys is in the old tree.
func (w *folder) fresh(lo, hi []byte) error {
	for w.changes(hi) {
		if err := w.change(lo); err != nil {
			return err
		}
	}
	return nil
}

// change applies the change at hand to the leaf level.
func (w *folder) change(lo []byte) error {
	c := &w.next
	if len(c.Key) > format.KeyBytesMax || len(c.Val) > format.ValueBytesMax || (len(w.prev) > 0 && bytes.Compare(w.prev, c.Key) >= 0) {
		panic(fmt.Sprintf("btree: change of key %x (%d bytes) after %x", c.Key, len(c.Val), w.prev))
	}
	w.prev = append(w.prev[:0], c.Key...)
	if c.Del {
		w.nextChange()
		return nil
	}
	e := format.Entry{Key: c.Key, Val: c.Val}
	if len(c.Val) > w.t.cfg.InlineMax {
		if err := w.budget(); err != nil {
			return err
		}
		if err := w.writeValue(c.Val); err != nil {
			return err
		}
		e.Val, e.Out = w.cell, true
	}
	if err := w.add(0, &e, lo); err != nil {
		return err
	}
	w.nextChange()
	return nil
}

// drop frees what an old entry stands in and, if asked, tells the store about it. w.key is its key.
func (w *folder) drop(val []byte, out, tell bool) error {
	if !out {
		if tell {
			return w.env.Dropped(w.key, val)
		}
		return nil
	}
	cell := format.ValueCell(val)
	if tell && w.env.NeedsVisit(w.key, append(w.sep[:0], append(w.key, 0)...)) {
		if err := w.t.lendValue(w.f, cell, false, func(b []byte) error { return w.env.Dropped(w.key, b) }); err != nil {
			return err
		}
	}
	w.t.cache.cool(cell.Piece(0).Start)
	for i := range cell.Pieces() {
		w.env.Free(cell.Piece(i).Extent())
	}
	return nil
}

// dropTree frees a subtree that a range deletion covers. Leaves are read only where the store or an out-of-line value
// needs it.
func (w *folder) dropTree(ptr format.ChildPtr, level int, lo, hi []byte) error {
	visit := w.env.NeedsVisit(lo, hi)
	if level == 0 && !visit && ptr.Flags&format.PtrValues == 0 {
		w.free(ptr)
		return nil
	}
	n, err := w.readOld(ptr, level)
	if err != nil {
		return err
	}
	w.free(ptr)
	for i := range n.Count() {
		if level > 0 {
			clo, chi := w.childBounds(n, level, i, lo, hi)
			if level == 1 && (visit || n.Child(i).Flags&format.PtrValues != 0) {
				w.ahead.fill(w.f, n, i, func(j int) bool { return visit || n.Child(j).Flags&format.PtrValues != 0 })
			}
			err = w.dropTree(n.Child(i), level-1, clo, chi)
		} else {
			w.key = n.AppendKey(w.key[:0], i)
			val, out := n.Value(i)
			err = w.drop(val, out, visit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
