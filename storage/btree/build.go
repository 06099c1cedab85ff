package btree

import (
	"bytes"
	"fmt"

	"basalt/engine/device"
	"basalt/storage/format"
)

// group is the entries of one node to be, with their bytes in one slab.
type group struct {
	slab   []byte
	items  []item
	sum    int // CellBytes of all items
	prefix int // what all keys share
}

// item is an entry whose key and value stand in the slab: no pointers, the slab may grow.
type item struct {
	child  format.ChildPtr
	at     uint32
	keyLen uint16
	valLen uint16
	out    bool
}

func (g *group) reset() { g.slab, g.items, g.sum, g.prefix = g.slab[:0], g.items[:0], 0, 0 }

func (g *group) key(i int) []byte {
	it := &g.items[i]
	return g.slab[it.at : it.at+uint32(it.keyLen)]
}

func (g *group) entry(i int) format.Entry {
	it := &g.items[i]
	val := g.slab[it.at+uint32(it.keyLen):][:it.valLen]
	return format.Entry{Key: g.key(i), Val: val, Out: it.out, Child: it.child}
}

// builder makes the nodes of one level from entries that come in key order. It holds the entries of up to two nodes: full
// ones leave as soon as a third begins, and what is left when the input pauses is divided evenly, so that a node that is a
// little too long does not become a full one and a tiny one.
type builder struct {
	level   int
	a, b    *group // a is complete when b has an entry
	lower   []byte // leaf level: no smaller key can come into the node that a will be
	last    []byte // leaf level: the last key that went out, when lower is not known
	chained bool   // last counts, not lower
	pushed  uint64 // entries ever added
	entries []format.Entry
}

func newBuilder(level int) *builder { return &builder{level: level, a: &group{}, b: &group{}} }

func (b *builder) reset() {
	b.a.reset()
	b.b.reset()
	b.chained, b.pushed = false, 0
}

func (b *builder) empty() bool { return len(b.a.items) == 0 }

// nodeSize is the length of a node of n entries.
func nodeSize(n, sum, prefix int) int { return format.NodeHeaderBytes + prefix + sum - n*prefix }

// join adds e to the group, if it fits.
func (w *folder) join(g *group, e *format.Entry, level int) bool {
	n, sum, prefix := len(g.items), g.sum+e.CellBytes(level), len(e.Key)
	if n > 0 {
		prefix = format.CommonPrefix(g.key(0)[:g.prefix], e.Key)
		if max := w.t.cfg.EntriesMax; max > 0 && n+1 > max || nodeSize(n+1, sum, prefix) > w.t.cfg.NodeBytes {
			return false
		}
	}
	g.sum, g.prefix = sum, prefix
	g.items = append(g.items, item{
		child: e.Child, at: uint32(len(g.slab)), keyLen: uint16(len(e.Key)), valLen: uint16(len(e.Val)), out: e.Out,
	})
	g.slab = append(append(g.slab, e.Key...), e.Val...)
	return true
}

// add gives the next entry of a level to its builder. lower is the lower bound of the old node it came from.
func (w *folder) add(level int, e *format.Entry, lower []byte) error {
	b := w.builder(level)
	if b.empty() {
		b.lower, b.chained = append(b.lower[:0], lower...), false
	}
	b.pushed++
	if len(b.b.items) == 0 && w.join(b.a, e, level) || w.join(b.b, e, level) {
		return nil
	}
	if err := w.emit(b, b.gather(b.a, nil)); err != nil {
		return err
	}
	b.a.reset()
	b.a, b.b = b.b, b.a
	w.join(b.b, e, level) // an empty one takes anything
	return nil
}

// gather lists the entries of one or two groups.
func (b *builder) gather(g, h *group) []format.Entry {
	b.entries = b.entries[:0]
	for i := range g.items {
		b.entries = append(b.entries, g.entry(i))
	}
	if h != nil {
		for i := range h.items {
			b.entries = append(b.entries, h.entry(i))
		}
	}
	return b.entries
}

// pause is called where the input of a level may stop for a while: at the end of an old node. more: the next old node is rewritten anyway, and
// packed behind what there is. Otherwise what stays in the builder is less than a node wants to have, and takes the next old node in.
func (w *folder) pause(level int, more bool) error {
	b := w.builder(level)
	if b.empty() || more {
		return nil
	}
	n, size := len(b.a.items), nodeSize(len(b.a.items), b.a.sum, b.a.prefix)
	small := size*emptyShare < w.t.cfg.NodeBytes
	if w.t.cfg.EntriesMax > 0 {
		small = n*emptyShare <= w.t.cfg.EntriesMax
	}
	if small && len(b.b.items) == 0 {
		return nil
	}
	return w.close(b)
}

// close writes everything that the builder holds as one or two nodes.
func (w *folder) close(b *builder) error {
	if b.empty() {
		return nil
	}
	if len(b.b.items) == 0 {
		if err := w.emit(b, b.gather(b.a, nil)); err != nil {
			return err
		}
		b.a.reset()
		return nil
	}
	all := b.gather(b.a, b.b)
	m := w.middle(all, len(b.a.items), b.level)
	if err := w.emit(b, all[:m]); err != nil {
		return err
	}
	if err := w.emit(b, all[m:]); err != nil {
		return err
	}
	b.a.reset()
	b.b.reset()
	return nil
}

// middle is where entries of two nodes are divided: as near to half of the bytes as the second half fits into a node.
// Up to first entries fit into one node, and so do those from first on.
func (w *folder) middle(all []format.Entry, first, level int) int {
	sum := 0
	for i := range all {
		sum += all[i].CellBytes(level)
	}
	m, left := 0, 0
	for m < first && 2*(left+all[m].CellBytes(level)) <= sum {
		left += all[m].CellBytes(level)
		m++
	}
	for ; m < first; m++ {
		prefix, n := format.CommonPrefix(all[m].Key, all[len(all)-1].Key), len(all)-m
		fits := nodeSize(n, sum-left, prefix) <= w.t.cfg.NodeBytes && (w.t.cfg.EntriesMax == 0 || n <= w.t.cfg.EntriesMax)
		if m > 0 && fits {
			break
		}
		left += all[m].CellBytes(level)
	}
	return m
}

// emit writes one node and gives its pointer to the level above.
func (w *folder) emit(b *builder, entries []format.Entry) error {
	ptr, err := w.writeNode(b.level, entries)
	if err != nil {
		return err
	}
	key := entries[0].Key
	if b.level == 0 {
		key = w.separator(b, entries)
	}
	return w.add(b.level+1, &format.Entry{Key: key, Child: ptr}, nil)
}

// separator is the shortest key that is above all keys before a leaf and not above its first.
func (w *folder) separator(b *builder, entries []format.Entry) []byte {
	key := entries[0].Key
	if b.chained {
		w.sep = append(w.sep[:0], key[:format.CommonPrefix(b.last, key)+1]...)
	} else {
		w.sep = append(w.sep[:0], b.lower...)
	}
	if bytes.Compare(w.sep, key) > 0 {
		panic(fmt.Sprintf("btree: separator %x above the leaf's first key %x", w.sep, key))
	}
	b.last, b.chained = append(b.last[:0], entries[len(entries)-1].Key...), true
	return w.sep
}

// writeNode encodes a node into the batch.
func (w *folder) writeNode(level int, entries []format.Entry) (format.ChildPtr, error) {
	if err := w.budget(); err != nil {
		return format.ChildPtr{}, err
	}
	block, b, err := w.place(w.nodeBlocks)
	if err != nil {
		return format.ChildPtr{}, err
	}
	h := format.NodeHeader{Level: uint8(level), Epoch: w.epoch, Self: block, Store: w.t.cfg.Store}
	format.EncodeNode(b, &h, entries)
	ptr := format.ChildPtr{Block: block, Epoch: w.epoch, Crc: format.Crc(b)}
	for i := range entries {
		switch {
		case level > 0:
			ptr.Entries += entries[i].Child.Entries
			ptr.Flags |= entries[i].Child.Flags & format.PtrValues
		case entries[i].Out:
			ptr.Flags |= format.PtrValues
			fallthrough
		default:
			ptr.Entries++
		}
	}
	w.t.folded.written++
	w.keep(level, ptr, b)
	return ptr, nil
}

// keep puts a node that was just made into the cache: inner nodes always, leaves when the old leaf was there.
func (w *folder) keep(level int, ptr format.ChildPtr, b []byte) {
	c := &w.t.cache
	c.drop(ptr.Block)
	if level == 0 && !w.leafWarm {
		return
	}
	buf, err := c.get(len(b))
	if err != nil {
		return // no memory to spare: it is read when it is wanted
	}
	copy(w.t.cfg.Arena.Bytes(buf), b)
	c.addNode(buf, ptr, level)
}

// writeValue puts a value that is too long for a leaf into the batch and notes in w.cell where its pieces stand: one if
// there is room for it in a row, else as long ones as there are.
func (w *folder) writeValue(val []byte) error {
	w.cell = w.cell[:0]
	for len(val) > 0 {
		need := format.BlocksFor(int64(len(val)))
		n, err := w.room(need, min(need, w.nodeBlocks))
		if err != nil {
			return err
		}
		block, b, err := w.place(min(n, need))
		if err != nil {
			return err
		}
		size := copy(b, val)
		clear(b[size:])
		w.cell = append(w.cell, make([]byte, format.ValueExtentBytes)...)
		format.ValueExtent{Start: block, Bytes: uint32(size), Crc: format.Crc(val[:size])}.Encode(w.cell[len(w.cell)-format.ValueExtentBytes:])
		w.t.cache.drop(block)
		val = val[size:]
	}
	w.t.folded.values++
	return nil
}

// room makes the batch have want blocks, or at least least if there are no more in a row, and returns how many it has.
func (w *folder) room(want, least format.BlockCount) (format.BlockCount, error) {
	if left := w.run.Len - w.used; left >= want {
		return left, nil
	}
	if err := w.flush(); err != nil {
		return 0, err
	}
	size := max(format.BlockCount(w.t.cfg.BatchBytes/2/format.BlockBytes), want)
	run, err := w.env.Alloc(size, least)
	if err != nil {
		return 0, fmt.Errorf("space for %d blocks of the tree: %w", least, err)
	}
	if run.Len < least || run.Len > size {
		panic(fmt.Sprintf("btree: asked for %d…%d blocks, got %v", least, size, run))
	}
	w.run, w.used = run, 0
	return run.Len, nil
}

// place gives the next n blocks of the batch: where they will stand, and their memory.
func (w *folder) place(n format.BlockCount) (format.BlockNo, []byte, error) {
	if _, err := w.room(n, n); err != nil {
		return 0, nil, err
	}
	from := w.used
	w.used += n
	return w.run.Start + format.BlockNo(from), w.batch()[int(from)*format.BlockBytes : int(w.used)*format.BlockBytes], nil
}

// batch is the half of the batch memory that is being filled; the other one may be on its way to the device.
func (w *folder) batch() []byte {
	n := w.t.cfg.BatchBytes / 2
	return w.t.cfg.Arena.Bytes(w.t.batch)[w.half*n : (w.half+1)*n]
}

// flush starts the write of the batch, after the one before it has landed, and returns what the batch did not fill.
func (w *folder) flush() error {
	run, used := w.run, w.used
	w.run, w.used = format.Extent{}, 0
	if used < run.Len {
		w.env.Return(format.Extent{Start: run.Start + format.BlockNo(used), Len: run.Len - used})
	}
	if used == 0 {
		return nil
	}
	if err := w.landed(); err != nil {
		return err
	}
	e := format.Extent{Start: run.Start, Len: used}
	w.wrote += int(e.Bytes())
	w.flying, w.mem, w.res = e, w.batch()[:e.Bytes()], 0
	w.half ^= 1
	if q := w.t.queue; q != nil {
		w.gather.Submit(w.f, q.WriteOp(w.mem, e.Offset()), &w.res)
		return nil
	}
	return w.landed()
}

// landed waits for the write in flight. What came back short is written again step by step.
func (w *folder) landed() error {
	e := w.flying
	if e.Empty() {
		return nil
	}
	w.flying = format.Extent{}
	if q := w.t.queue; q != nil {
		w.gather.Wait(w.f)
		if int64(w.res) == e.Bytes() {
			return nil
		}
		if !retry(w.res) {
			return fmt.Errorf("write of tree nodes to %v: %w", e, q.Error(device.OpWrite, e.Offset(), int(e.Bytes()), w.res))
		}
	}
	if err := w.t.cfg.Device.Write(w.f, w.mem, e.Offset()); err != nil {
		return fmt.Errorf("write of tree nodes to %v: %w", e, err)
	}
	return nil
}

// budget lets the store suspend the fold.
func (w *folder) budget() error {
	n := w.wrote
	w.wrote = 0
	return w.env.Budget(w.f, n)
}
