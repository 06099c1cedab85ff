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
	for _, i := range p.frames {
		t.cache.unpin(i)
	}
	p.frames = p.frames[:0]
	t.cache.room(0)
}

// Load reads and verifies what a Get or a Cursor missed. With pins it stays cached until t.Release(pins).
func (t *Tree) Load(f *engine.Fiber, m Miss, pins *Pins) error {
	if m.None() {
		return nil
	}
	for range loadTriesMax {
		if i := t.frameOf(m); i >= 0 {
			if pins != nil {
				t.cache.pin(i)
				pins.frames = append(pins.frames, i)
			}
			return nil
		}
		if err := t.fetch(f, m); err != nil {
			return err
		}
	}
	return fmt.Errorf("load of %v: %w", m, ErrStale)
}

func (t *Tree) frameOf(m Miss) int32 {
	if m.kind == frameNode {
		return t.cache.find(m.node.Block, m.node.Epoch, m.node.Crc, frameNode)
	}
	return t.cache.findValue(m.value)
}

// extent is where the missed bytes stand.
func (t *Tree) extent(m Miss) format.Extent {
	if m.kind == frameNode {
		return t.nodeExtent(m.node)
	}
	return m.value.Extent()
}

func (t *Tree) nodeExtent(p format.ChildPtr) format.Extent {
	return format.Extent{Start: p.Block, Len: format.BlocksFor(int64(t.cfg.NodeBytes))}
}

// fetch reads the missed bytes into the cache, or waits for the fiber that already does.
func (t *Tree) fetch(f *engine.Fiber, m Miss) error {
	block := t.extent(m).Start
	if l := t.loading[block]; l != nil {
		l.waiters.Wait(f)
		if l.miss == m {
			return l.err
		}
		return nil // it was something else; look again
	}
	l := &load{miss: m}
	t.loading[block] = l
	l.err = t.read(f, m)
	delete(t.loading, block)
	if l.waiters.Len() > 0 {
		l.waiters.WakeAll(f.Turn())
	}
	return l.err
}

// read reads, verifies, and only then lets others see the bytes.
func (t *Tree) read(f *engine.Fiber, m Miss) error {
	e := t.extent(m)
	if err := t.inSpace(m, e); err != nil {
		return err
	}
	buf, err := t.cache.get(int(e.Bytes()))
	if err != nil {
		return fmt.Errorf("load of %v: %w", m, err)
	}
	t.loads++
	b := t.cfg.Arena.Bytes(buf)
	if err = t.cfg.Device.Read(f, b, e.Offset()); err == nil {
		err = t.verify(m, e, b)
	}
	if err != nil {
		t.cfg.Arena.Put(buf)
		return err
	}
	fr := frame{buf: buf, block: e.Start, kind: m.kind, crc: m.node.Crc, epoch: m.node.Epoch, ref: refOf(int(m.level))}
	if m.kind == frameValue {
		fr.crc, fr.epoch, fr.size, fr.ref = m.value.Crc, 0, m.value.Bytes, 1
	}
	t.cache.add(fr)
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
func (t *Tree) inSpace(m Miss, e format.Extent) error {
	for _, s := range t.cfg.Space {
		if s.Contains(e) {
			return nil
		}
	}
	return &format.CorruptError{
		Place: t.place(e), What: m.String() + " position", Want: fmt.Sprint("inside ", t.cfg.Space), Got: e.String(),
	}
}

func (t *Tree) place(e format.Extent) format.Place {
	return format.Place{Device: t.cfg.Name, Extent: e}
}

func (t *Tree) verify(m Miss, e format.Extent, b []byte) error {
	if m.kind == frameNode {
		return format.VerifyNode(t.place(e), b, m.node, int(m.level), t.cfg.Store)
	}
	return format.VerifyValue(t.place(e), b, m.value)
}
