package btree

import (
	"errors"
	"fmt"

	"basalt/engine"
	"basalt/storage/format"
)

// ErrStale: somebody else loaded other content of the same block meanwhile; the root that was read is gone.
var ErrStale = errors.New("btree: block belongs to another tree")

// Pins keeps loaded nodes in the cache until Release. A caller that retries after each miss passes the same Pins, so that
// however small the cache is, what it needs at once will be there at once. The zero Pins is empty.
type Pins struct{ frames []int32 }

// Release ends what Load pinned, brings the cache back to its limit, and makes p usable again. It ends the loan of values.
func (t *Tree) Release(p *Pins) {
	t.unpin(p)
	t.cache.room(0)
}

func (t *Tree) unpin(p *Pins) {
	for _, i := range p.frames {
		t.cache.unpin(i)
	}
	p.frames = p.frames[:0]
}

// Load reads and verifies what a Get or a Cursor missed. With pins it stays cached until t.Release(pins).
func (t *Tree) Load(f *engine.Fiber, m Miss, pins *Pins) error {
	switch {
	case m.None():
		return nil
	case m.kind == frameNode:
		return t.load(f, m, pins, nil)
	}
	var leaf Pins        // a value's leaf stays while it comes: in a cache full of pins each would push the other out
	defer t.unpin(&leaf) // and evicts nothing: without pins, what was loaded would be next
	return t.load(f, m, pins, &leaf)
}

func (t *Tree) load(f *engine.Fiber, m Miss, pins, leaf *Pins) error {
	for range loadTriesMax {
		i, cell, err := t.frameOf(f, m, leaf)
		if err != nil {
			return err
		}
		if i >= 0 {
			if pins != nil {
				t.cache.pin(i)
				pins.frames = append(pins.frames, i)
			}
			return nil
		}
		if err := t.fetch(f, m, cell); err != nil {
			return err
		}
	}
	return fmt.Errorf("load of %v: %w", m, ErrStale)
}

// frameOf is the frame that was missed, if it is there by now. Of a value it also finds out, from its leaf, which pieces it
// is made of, and pins that; the leaf may have to be loaded again.
func (t *Tree) frameOf(f *engine.Fiber, m Miss, leaf *Pins) (i int32, cell format.ValueCell, err error) {
	if m.kind == frameNode {
		return t.cache.find(m.node.Block, m.node.Epoch, m.node.Crc, frameNode), nil, nil
	}
	n := t.cache.node(m.node)
	if n == nil || len(leaf.frames) == 0 {
		if err := t.load(f, missNode(m.node, 0), leaf, nil); err != nil {
			return -1, nil, err
		}
		if n = t.cache.node(m.node); n == nil {
			panic("btree: a leaf that was just loaded is not cached")
		}
	}
	v, _ := n.Value(int(m.entry))
	if i := t.cache.findValue(v); i >= 0 {
		return i, nil, nil
	}
	return -1, append(format.ValueCell(nil), v...), nil
}

func (t *Tree) nodeExtent(p format.ChildPtr) format.Extent {
	return format.Extent{Start: p.Block, Len: format.BlocksFor(int64(t.cfg.NodeBytes))}
}

// fetch reads the missed bytes into the cache, or waits for the fiber that already does.
func (t *Tree) fetch(f *engine.Fiber, m Miss, cell format.ValueCell) error {
	block := m.node.Block
	if m.kind == frameValue {
		block = cell.Piece(0).Start
	}
	if l := t.loading[block]; l != nil {
		l.refs++
		l.waiters.Wait(f)
		err := l.err
		if l.miss != m { // it was something else; look again
			err = nil
		}
		t.loaded(l)
		return err
	}
	l := t.newLoad(m)
	t.loading[block] = l
	t.loads++
	if m.kind == frameNode {
		l.err = t.loadNode(f, m)
	} else {
		l.err = t.loadValue(f, m, cell)
	}
	delete(t.loading, block)
	if l.waiters.Len() > 0 {
		l.waiters.WakeAll(f.Turn())
	}
	err := l.err
	t.loaded(l)
	return err
}

func (t *Tree) newLoad(m Miss) *load {
	l := t.spare
	if l == nil {
		l = &load{}
	} else {
		t.spare = l.next
	}
	l.miss, l.refs, l.next = m, 1, nil
	return l
}

// loaded ends one use of a load; after the last one it serves for another.
func (t *Tree) loaded(l *load) {
	if l.refs--; l.refs == 0 {
		l.err, l.next, t.spare = nil, t.spare, l
	}
}

// loadNode reads, verifies, and only then lets others see the bytes.
func (t *Tree) loadNode(f *engine.Fiber, m Miss) error {
	buf, err := t.cache.get(t.cfg.NodeBytes)
	if err != nil {
		return fmt.Errorf("load of %v: %w", m, err)
	}
	if err := t.readNode(f, m.node, int(m.level), t.cfg.Arena.Bytes(buf)); err != nil {
		t.cfg.Arena.Put(buf)
		return err
	}
	t.cache.addNode(buf, m.node, int(m.level))
	return nil
}

func (t *Tree) loadValue(f *engine.Fiber, m Miss, cell format.ValueCell) error {
	buf, err := t.cache.get(valueRoom(cell))
	if err != nil {
		return fmt.Errorf("load of %v: %w", m, err)
	}
	if err := t.readValue(f, cell, t.cfg.Arena.Bytes(buf)); err != nil {
		t.cfg.Arena.Put(buf)
		return fmt.Errorf("%v: %w", m, err)
	}
	first := cell.Piece(0)
	t.cache.add(frame{buf: buf, block: first.Start, kind: frameValue, crc: first.Crc, size: uint32(cell.Bytes()), ref: 1})
	return nil
}

// readNode reads a node into b and verifies it.
func (t *Tree) readNode(f *engine.Fiber, p format.ChildPtr, level int, b []byte) error {
	e := t.nodeExtent(p)
	if !t.owns(e) {
		return t.inSpace(p.String(), e)
	}
	if err := t.cfg.Device.Read(f, b, e.Offset()); err != nil {
		return err
	}
	return format.VerifyNode(t.place(e), b, p, level, t.cfg.Store)
}

// valueRoom is the memory that a value and the padding of its last block need.
func valueRoom(cell format.ValueCell) int {
	return int(format.BlocksFor(int64(cell.Bytes()))) * format.BlockBytes
}

// readValue reads the pieces of a value one behind the other into b and verifies each.
func (t *Tree) readValue(f *engine.Fiber, cell format.ValueCell, b []byte) error {
	for i := range cell.Pieces() {
		v := cell.Piece(i)
		e := v.Extent()
		if err := t.inSpace("value piece", e); err != nil {
			return err
		}
		part := b[:e.Bytes():e.Bytes()]
		if err := t.cfg.Device.Read(f, part, e.Offset()); err != nil {
			return err
		}
		if err := format.VerifyValue(t.place(e), part, v); err != nil {
			return err
		}
		b = b[e.Bytes():]
	}
	return nil
}

// refOf is how many second chances a fresh node has: inner nodes serve more keys than leaves.
func refOf(level int) uint8 {
	if level > 0 {
		return 3
	}
	return 1
}

// inSpace refuses a pointer out of the slice before anything is read for it.
func (t *Tree) inSpace(what string, e format.Extent) error {
	if t.owns(e) {
		return nil
	}
	return &format.CorruptError{Place: t.place(e), What: what + " position", Want: fmt.Sprint("inside ", t.cfg.Space), Got: e.String()}
}

// owns tells whether the slice has all of e.
func (t *Tree) owns(e format.Extent) bool {
	for _, s := range t.cfg.Space {
		if s.Contains(e) {
			return true
		}
	}
	return false
}

func (t *Tree) place(e format.Extent) format.Place {
	return format.Place{Device: t.cfg.Name, Extent: e}
}
