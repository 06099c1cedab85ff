package btree

import (
	"bytes"
	"errors"
	"fmt"
	"sort"
	"testing"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/storage/alloc"
	"basalt/storage/format"
)

// memDevice is a device in memory that completes at once.
type memDevice struct {
	b             []byte
	reads, writes int
	lose          int // how many of the next writes vanish
	shift         int64
	fail          error
}

func (d *memDevice) Read(_ *engine.Fiber, p []byte, off int64) error {
	d.reads++
	if d.fail != nil {
		return d.fail
	}
	if off < 0 || off+int64(len(p)) > int64(len(d.b)) || off%format.BlockBytes != 0 {
		return fmt.Errorf("read of %d bytes at %d", len(p), off)
	}
	copy(p, d.b[off:])
	return nil
}

func (d *memDevice) Write(_ *engine.Fiber, p []byte, off int64) error {
	d.writes++
	if d.fail != nil {
		return d.fail
	}
	if off < 0 || off+int64(len(p)) > int64(len(d.b)) || off%format.BlockBytes != 0 || len(p)%format.BlockBytes != 0 {
		return fmt.Errorf("write of %d bytes at %d", len(p), off)
	}
	if d.lose > 0 {
		d.lose--
		return nil
	}
	copy(d.b[off+d.shift:], p)
	return nil
}

// memEnv gives a fold space and checks what it does with it.
type memEnv struct {
	t       fataler
	a       *alloc.Allocator
	limbo   []format.Extent
	visit   func(lo, hi []byte) bool
	dropped []string
	short   bool // give as little as is allowed
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func (e *memEnv) Alloc(want, least format.BlockCount) (format.Extent, error) {
	if e.short {
		want = least
	}
	x, ok := e.a.AllocRun(want, least, 0)
	if !ok {
		return x, errors.New("device full")
	}
	return x, nil
}

func (e *memEnv) Return(x format.Extent) { e.a.Free(x) }
func (e *memEnv) Free(x format.Extent)   { e.limbo = append(e.limbo, x) }
func (e *memEnv) NeedsVisit(lo, hi []byte) bool {
	return e.visit != nil && e.visit(lo, hi)
}

func (e *memEnv) Dropped(key, val []byte) error {
	e.dropped = append(e.dropped, string(key)+"="+string(val))
	return nil
}
func (e *memEnv) Budget(*engine.Fiber, int) error { return nil }

func (e *memEnv) release() {
	for _, x := range e.limbo {
		e.a.Free(x)
	}
	e.limbo = e.limbo[:0]
}

// listSource is a Source from sorted slices.
type listSource struct {
	changes []Change
	ranges  []Range
}

func (s *listSource) Change() (Change, bool) {
	if len(s.changes) == 0 {
		return Change{}, false
	}
	return s.changes[0], true
}
func (s *listSource) NextChange() { s.changes = s.changes[1:] }
func (s *listSource) Range() (Range, bool) {
	if len(s.ranges) == 0 {
		return Range{}, false
	}
	return s.ranges[0], true
}
func (s *listSource) NextRange() { s.ranges = s.ranges[1:] }

// rig is a tree on a memory device beside a map that must agree with it.
type rig struct {
	t     fataler
	dev   *memDevice
	env   *memEnv
	tree  *Tree
	space format.Extent
	root  Root
	epoch uint64
	want  map[string]string
}

type rigOptions struct {
	blocks     int
	nodeBytes  int
	entriesMax int
	inlineMax  int
	batch      int
	cache      int64
}

func newRig(t fataler, o rigOptions) (*rig, func()) {
	a, err := arena.New(16 << 20)
	if err != nil {
		t.Fatalf("%v", err)
	}
	r := &rig{t: t, dev: &memDevice{b: make([]byte, o.blocks*format.BlockBytes)}, want: map[string]string{}}
	r.space = format.Extent{Start: 2, Len: format.BlockCount(o.blocks - 2)}
	r.env = &memEnv{t: t, a: alloc.NewFree([]format.Extent{r.space}, format.BlocksFor(int64(o.nodeBytes)))}
	r.tree = New(Config{
		Device: r.dev, Name: "mem", Arena: a, Store: format.UUID{1}, NodeBytes: o.nodeBytes, Space: []format.Extent{r.space},
		CacheBytes: o.cache, EntriesMax: o.entriesMax, InlineMax: o.inlineMax, BatchBytes: o.batch,
	})
	return r, func() {
		r.tree.Close()
		if a.Used() != 0 {
			t.Fatalf("%d bytes of arena memory are lost", a.Used())
		}
		if err := a.Close(); err != nil {
			t.Fatalf("%v", err)
		}
	}
}

// fold applies ranges and then changes to both the tree and the map.
func (r *rig) fold(changes map[string]*string, ranges []Range) {
	r.t.Helper()
	src := &listSource{ranges: ranges}
	for _, x := range ranges {
		for k := range r.want {
			if k >= string(x.Lo) && k < string(x.Hi) {
				delete(r.want, k)
			}
		}
	}
	keys := make([]string, 0, len(changes))
	for k := range changes {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		c := Change{Key: []byte(k)}
		if v := changes[k]; v != nil {
			c.Val = []byte(*v)
			r.want[k] = *v
		} else {
			c.Del = true
			delete(r.want, k)
		}
		src.changes = append(src.changes, c)
	}
	r.epoch++
	root, err := r.tree.Fold(nil, r.root, r.epoch, src, r.env)
	if err != nil {
		r.t.Fatalf("fold: %v", err)
	}
	if len(src.changes) != 0 {
		r.t.Fatalf("%d changes are left", len(src.changes))
	}
	r.root = root
}

// check walks the tree, compares it with the map, and accounts for every block.
func (r *rig) check() {
	r.t.Helper()
	var extents []format.Extent
	got := 0
	var last []byte
	err := r.tree.Walk(nil, r.root, Visitor{
		Node: func(e format.Extent, _ format.ChildPtr, _ int) error { extents = append(extents, e); return nil },
		Entry: func(key, val []byte, out bool) error {
			if got > 0 && bytes.Compare(last, key) >= 0 {
				r.t.Fatalf("key %q after %q", key, last)
			}
			last = append(last[:0], key...)
			got++
			if want, ok := r.want[string(key)]; !ok || (!out && want != string(val)) || (out != (len(want) > r.tree.cfg.InlineMax)) {
				r.t.Fatalf("key %q has %q (out of line %v), want %q", key, val, out, want)
			}
			return nil
		},
		Value: func(_ []byte, v format.ValueExtent) error { extents = append(extents, v.Extent()); return nil },
	})
	if err != nil {
		r.t.Fatalf("walk: %v", err)
	}
	if got != len(r.want) || uint64(got) != r.root.Entries {
		r.t.Fatalf("%d entries, the root counts %d, want %d", got, r.root.Entries, len(r.want))
	}
	r.account(extents)
}

// account: each block of the space is in the tree, free, or in limbo, and only one of them.
func (r *rig) account(extents []format.Extent) {
	r.t.Helper()
	owner := make(map[format.BlockNo]string)
	note := func(e format.Extent, who string) {
		for b := e.Start; b < e.End(); b++ {
			if o := owner[b]; o != "" || !r.space.Contains(e) {
				r.t.Fatalf("block %d of %s %v is %s", b, who, e, o)
			}
			owner[b] = who
		}
	}
	for _, e := range extents {
		note(e, "tree")
	}
	for _, e := range r.env.limbo {
		note(e, "limbo")
	}
	r.env.a.Ascend(func(e format.Extent) bool { note(e, "free"); return true })
	if len(owner) != int(r.space.Len) {
		r.t.Fatalf("%d blocks are accounted for, of %d", len(owner), r.space.Len)
	}
}

// get is Get with its misses loaded.
func (r *rig) get(key string) (string, bool) {
	r.t.Helper()
	var pins Pins
	defer r.tree.Release(&pins)
	for {
		val, found, miss := r.tree.Get(r.root, []byte(key))
		if miss.None() {
			return string(val), found
		}
		if err := r.tree.Load(nil, miss, &pins); err != nil {
			r.t.Fatalf("load: %v", err)
		}
	}
}

// scan collects up to limit entries from key on.
func (r *rig) scan(key string, limit int) (out []string) {
	r.t.Helper()
	c := r.tree.Cursor(r.root)
	load := func(m Miss) {
		if err := r.tree.Load(nil, m, nil); err != nil {
			r.t.Fatalf("load: %v", err)
		}
	}
	for m := c.Seek([]byte(key)); !m.None(); m = c.Seek([]byte(key)) {
		load(m)
	}
	for c.Valid() && len(out) < limit {
		v, m := c.Value()
		if !m.None() {
			load(m)
			continue
		}
		out = append(out, string(c.Key())+"="+string(v))
		for m := c.Next(); !m.None(); m = c.Next() {
			load(m)
		}
	}
	return out
}

// back reads at most limit entries from the last one ≤ key on, backwards.
func (r *rig) back(key string, limit int) (out []string) {
	r.t.Helper()
	c := r.tree.Cursor(r.root)
	load := func(m Miss) {
		if err := r.tree.Load(nil, m, nil); err != nil {
			r.t.Fatalf("load: %v", err)
		}
	}
	for m := c.SeekLast([]byte(key)); !m.None(); m = c.SeekLast([]byte(key)) {
		load(m)
	}
	for c.Valid() && len(out) < limit {
		v, m := c.Value()
		if !m.None() {
			load(m)
			continue
		}
		out = append(out, string(c.Key())+"="+string(v))
		for m := c.Prev(); !m.None(); m = c.Prev() {
			load(m)
		}
	}
	return out
}

func (r *rig) wantBack(key string, limit int) (out []string) {
	var keys []string
	for k := range r.want {
		if k <= key {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	for i := len(keys) - 1; i >= 0 && len(out) < limit; i-- {
		out = append(out, keys[i]+"="+r.want[keys[i]])
	}
	return out
}

func (r *rig) wantScan(key string, limit int) (out []string) {
	keys := make([]string, 0, len(r.want))
	for k := range r.want {
		if k >= key {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	for _, k := range keys[:min(limit, len(keys))] {
		out = append(out, k+"="+r.want[k])
	}
	return out
}

func mustPanic(t *testing.T, fn func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	fn()
}
