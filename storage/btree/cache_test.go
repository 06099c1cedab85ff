package btree

import (
	"errors"
	"strings"
	"testing"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/engine/device"
	"basalt/engine/sim"
	"basalt/engine/uring"
	"basalt/storage/format"
)

// TestTornArena: an arena that is full of cached nodes still has room for a long value and for a fold's batch, as long as
// nobody but the cache holds it.
func TestTornArena(t *testing.T) {
	a, err := arena.New(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	var c cache
	c.init(a, 1<<30)
	for block := range format.BlockNo(256) {
		buf, err := c.get(4096)
		if err != nil {
			t.Fatal(err)
		}
		c.add(frame{buf: buf, block: block, kind: frameNode, ref: refOf(int(block % 2))})
	}
	for block := range format.BlockNo(256) {
		if i := c.find(block, 0, 0, frameNode); i >= 0 && block%32 == 5 {
			c.pin(i) // each stretch of 128 KiB has one page that must stay
		}
	}
	buf, err := c.get(64 << 10)
	if err != nil {
		t.Fatalf("64 KiB of an arena with 8 pinned pages: %v", err)
	}
	if _, err := c.get(256 << 10); !errors.Is(err, arena.ErrExhausted) {
		t.Errorf("256 KiB where every stretch has a pinned page: %v", err)
	}
	for block := range format.BlockNo(256) {
		if i := c.find(block, 0, 0, frameNode); block%32 == 5 {
			if i < 0 {
				t.Fatalf("pinned block %d is gone", block)
			}
			c.unpin(i)
		}
	}
	a.Put(buf)
	if buf, err = c.get(1 << 20); err != nil {
		t.Fatalf("the whole arena after the pins: %v", err)
	}
	a.Put(buf)
	c.close()
	if a.Used() != 0 || c.used != 0 || c.pinned != 0 || c.index.n != 0 {
		t.Errorf("%d bytes used, %d cached, %d pinned, %d indexed", a.Used(), c.used, c.pinned, c.index.n)
	}
}

// TestClock: what was read lately stays, inner nodes longer than leaves, cooled ones go first.
func TestClock(t *testing.T) {
	a, err := arena.New(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	var c cache
	c.init(a, 8*4096)
	put := func(block format.BlockNo, level int) {
		buf, err := c.get(4096)
		if err != nil {
			t.Fatal(err)
		}
		c.add(frame{buf: buf, block: block, kind: frameNode, ref: refOf(level)})
	}
	put(1, 1) // an inner node, read between any two leaves
	for block := format.BlockNo(2); block < 200; block++ {
		put(block, 0)
		if c.node(format.ChildPtr{Block: 1}) == nil {
			t.Fatalf("the inner node went for leaf %d", block)
		}
		if c.used > c.limit {
			t.Fatalf("%d bytes cached, limit %d", c.used, c.limit)
		}
	}
	for block := format.BlockNo(193); block < 200; block++ {
		if c.find(block, 0, 0, frameNode) < 0 {
			t.Errorf("leaf %d went before older ones", block)
		}
	}
	for block := format.BlockNo(193); block < 200; block++ {
		c.node(format.ChildPtr{Block: block})
	}
	c.cool(195)
	put(200, 0)
	if c.find(195, 0, 0, frameNode) >= 0 {
		t.Error("a cooled leaf outlived one that was just read")
	}
	mustPanic(t, func() { c.unpin(c.find(1, 0, 0, frameNode)) })
}

// halfQueue transfers only the first block of what is queued, as a device may.
type halfQueue struct{ *device.Handle }

func (h halfQueue) ReadOp(p []byte, off int64) uring.SQE  { return h.Handle.ReadOp(p[:4096], off) }
func (h halfQueue) WriteOp(p []byte, off int64) uring.SQE { return h.Handle.WriteOp(p[:4096], off) }

// TestShortTransfers: what comes back short is done again, step by step.
func TestShortTransfers(t *testing.T) {
	s := newSimRig(t, 5, 3000)
	s.do(func(f *engine.Fiber) error {
		s.rig.tree.cfg.NodeBytes = 8192
		s.rig.tree.queue = halfQueue{s.held}
		return s.folds(f, 6)
	})
	s.do(func(f *engine.Fiber) error {
		n := 0
		err := s.rig.tree.Walk(f, s.rig.root, Visitor{Entry: func([]byte, []byte, bool) error { n++; return nil }})
		if n != len(s.rig.want) {
			t.Errorf("%d entries, want %d", n, len(s.rig.want))
		}
		return err
	})
	s.disk.SetFaults(sim.Faults{WriteError: 1})
	if err := s.w.Do(s.r, func(f *engine.Fiber) error { return s.folds(f, 1) }); err == nil {
		t.Error("a fold on a disk that takes nothing succeeded")
	} else if e := (*device.IOError)(nil); !errors.As(err, &e) || !strings.Contains(err.Error(), "tree nodes") {
		t.Errorf("fold: %v", err)
	}
	s.close()
}

// TestWalkChecksStructure: nodes that are whole, and do not belong where they hang, are found.
func TestWalkChecksStructure(t *testing.T) {
	r, done := newRig(t, rigOptions{blocks: 100, nodeBytes: 4096})
	defer done()
	write := func(block format.BlockNo, level int, entries []format.Entry) format.ChildPtr {
		b := r.dev.b[int(block)*4096:][:4096]
		format.EncodeNode(b, &format.NodeHeader{Level: uint8(level), Epoch: 1, Self: block, Store: format.UUID{1}}, entries)
		p := format.ChildPtr{Block: block, Epoch: 1, Crc: format.Crc(b), Entries: uint64(len(entries))}
		if level > 0 {
			p.Entries = 0
			for _, e := range entries {
				p.Entries += e.Child.Entries
			}
		}
		return p
	}
	leaf := func(block format.BlockNo, keys ...string) format.ChildPtr {
		var e []format.Entry
		for _, k := range keys {
			e = append(e, format.Entry{Key: []byte(k)})
		}
		return write(block, 0, e)
	}
	inner := func(block format.BlockNo, level int, keys []string, kids ...format.ChildPtr) format.ChildPtr {
		var e []format.Entry
		for i, k := range keys {
			e = append(e, format.Entry{Key: []byte(k), Child: kids[i]})
		}
		return write(block, level, e)
	}
	more := func(p format.ChildPtr) format.ChildPtr { p.Entries++; return p }
	flag := func(p format.ChildPtr) format.ChildPtr { p.Flags = format.PtrValues; return p }
	keys := []string{"a", "m"}
	for name, root := range map[string]struct {
		ptr    format.ChildPtr
		height uint8
		bad    int
	}{
		"sound":          {inner(10, 1, keys, leaf(11, "b", "c"), leaf(12, "m", "n")), 2, 0},
		"left edge":      {inner(20, 1, keys, leaf(21, "0", "c"), leaf(22, "m", "n")), 2, 0},
		"key too high":   {inner(30, 1, keys, leaf(31, "b", "m"), leaf(32, "n")), 2, 1},
		"key too low":    {inner(40, 1, keys, leaf(41, "b"), leaf(42, "l", "n")), 2, 1},
		"count":          {inner(50, 1, keys, more(leaf(51, "b")), leaf(52, "n")), 2, 1},
		"flag":           {inner(60, 1, keys, flag(leaf(61, "b")), leaf(62, "n")), 2, 2}, // and its parent, which has none
		"inner bound":    {inner(70, 2, keys, inner(71, 1, []string{"a"}, leaf(72, "b")), inner(73, 1, []string{"n"}, leaf(74, "n"))), 3, 1},
		"wrong level":    {inner(80, 2, keys, leaf(81, "b"), leaf(82, "n")), 3, 2},
		"height too big": {leaf(90, "b"), 2, 1},
	} {
		bad := 0
		err := r.tree.Walk(nil, Root{ChildPtr: root.ptr, Height: root.height}, Visitor{
			Bad: func(_ format.ChildPtr, _ int, err error) error {
				bad++
				if !format.IsCorrupt(err) {
					t.Errorf("%s: %v", name, err)
				}
				return nil
			}})
		if err != nil || bad != root.bad {
			t.Errorf("%s: %d found, want %d; %v", name, bad, root.bad, err)
		}
		if err := r.tree.Walk(nil, Root{ChildPtr: root.ptr, Height: root.height}, Visitor{}); (err != nil) != (root.bad > 0) {
			t.Errorf("%s, strict: %v", name, err)
		}
	}
}

// What a Get remembers of the one before is of that root, that key, and of memory that is still the cache's.
func TestGetOfTheSameKeyAgain(t *testing.T) {
	r, done := filled(t, rigOptions{blocks: 4000, nodeBytes: 4096, entriesMax: 6, cache: 1 << 20}, 500, 20)
	defer done()
	get := func(root Root, key string) (string, bool, Miss) {
		val, found, m := r.tree.Get(root, []byte(key))
		return string(val), found, m
	}
	first, second := "000100", "000101"
	before, _ := r.get(first)
	other, _ := r.get(second)
	old, changed := r.root, "changed"
	r.fold(map[string]*string{first: &changed, second: nil}, nil)
	for range 3 {
		r.get(first)
		r.get(second) // and its path is cached
		for range 2 {
			if v, found, m := get(r.root, first); v != changed || !found || !m.None() {
				t.Fatalf("the new tree has %q, %v, %v", v, found, m)
			}
		}
		if _, found, m := get(r.root, second); found || !m.None() {
			t.Fatalf("a key that is gone is found: %v, %v", found, m)
		}
		r.root, old = old, r.root
		if v, found := r.get(second); v != other || !found {
			t.Fatalf("the old tree has %q, %v", v, found)
		}
		for range 2 {
			if v, found := r.get(first); v != before || !found {
				t.Fatalf("the old tree has %q, %v", v, found)
			}
		}
		r.root, old = old, r.root
	}
	r.get(first)
	for r.tree.cache.evict() {
	}
	if _, found, m := get(r.root, first); found || m.None() {
		t.Fatal("a value is lent whose memory is no longer the cache's")
	}
}
