package btree

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"basalt/engine"
	"basalt/storage/format"
)

func filled(t *testing.T, o rigOptions, n, valLen int) (*rig, func()) {
	r, done := newRig(t, o)
	all := map[string]*string{}
	v := strings.Repeat("v", valLen)
	for i := range n {
		all[fmt.Sprintf("%06d", i)] = &v
	}
	r.fold(all, nil)
	return r, done
}

// nodes lists every node of the tree with its level, and every out-of-line value.
func nodes(t *testing.T, r *rig) (ptrs []format.ChildPtr, levels []int, values []format.ValueExtent) {
	t.Helper()
	err := r.tree.Walk(nil, r.root, Visitor{
		Node: func(_ format.Extent, p format.ChildPtr, level int) error {
			ptrs, levels = append(ptrs, p), append(levels, level)
			return nil
		},
		Value: func(_ []byte, v format.ValueExtent) error { values = append(values, v); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return ptrs, levels, values
}

// lookEverything reads all keys with a cold cache and returns the errors it met, by key.
func lookEverything(r *rig) map[string]error {
	r.tree.cache.close()
	r.tree.cache.init(r.tree.cfg.Arena, r.tree.cfg.CacheBytes)
	bad := map[string]error{}
	for k := range r.want {
		for {
			_, _, miss := r.tree.Get(r.root, []byte(k))
			if miss.None() {
				break
			}
			if err := r.tree.Load(nil, miss, nil); err != nil {
				bad[k] = err
				break
			}
		}
	}
	return bad
}

// TestFlippedBytes: one flipped byte anywhere in any node or value is an error for the keys below it, with the place, and
// for no other key; Walk reports it and goes on.
func TestFlippedBytes(t *testing.T) {
	r, done := filled(t, rigOptions{blocks: 1000, nodeBytes: 4096, entriesMax: 6, inlineMax: 50, cache: 1 << 20}, 60, 60)
	defer done()
	ptrs, levels, values := nodes(t, r)
	spoil := func(block format.BlockNo, at int, below uint64) {
		t.Helper()
		off := int(block)*format.BlockBytes + at
		r.dev.b[off] ^= 0x10
		defer func() { r.dev.b[off] ^= 0x10 }()
		bad := lookEverything(r)
		if uint64(len(bad)) != below {
			t.Errorf("damage at byte %d of block %d: %d keys failed, want %d", at, block, len(bad), below)
		}
		for k, err := range bad {
			var c *format.CorruptError
			if !errors.As(err, &c) || c.Extent.Start != block || c.Device != "mem" {
				t.Fatalf("key %s: %v", k, err)
			}
		}
		reports := 0
		err := r.tree.Walk(nil, r.root, Visitor{Bad: func(_ format.ChildPtr, _ int, err error) error { reports++; return nil }})
		if err != nil || reports != 1 {
			t.Errorf("walk met %d bad nodes, %v", reports, err)
		}
	}
	for i, p := range ptrs {
		spoil(p.Block, 7*i%4096, p.Entries)
		_ = levels
	}
	for i, v := range values {
		spoil(v.Start, 131*i%4096, 1) // beyond byte 60 it is the padding
	}
	if bad := lookEverything(r); len(bad) != 0 {
		t.Errorf("repaired tree: %v", bad)
	}
}

// TestLostAndMisdirectedWrites: whatever stood there before, a node that did not arrive is noticed, even where the block
// holds a sound node of the same store, of an older epoch.
func TestLostAndMisdirectedWrites(t *testing.T) {
	for _, how := range []string{"lost", "shifted"} {
		r, done := filled(t, rigOptions{blocks: 400, nodeBytes: 4096, entriesMax: 6, cache: 1 << 20}, 40, 20)
		v := strings.Repeat("v", 20)
		for range 30 { // go round the device, so that old nodes stand everywhere
			r.fold(map[string]*string{"000003": &v, "000022": &v}, nil)
			r.env.release()
		}
		if how == "lost" {
			r.dev.lose = 1
		} else {
			r.dev.shift = format.BlockBytes
		}
		r.fold(map[string]*string{"000003": &v}, nil)
		r.dev.shift = 0
		bad := lookEverything(r)
		if len(bad) == 0 {
			t.Errorf("%s write: nobody noticed", how)
		}
		for k, err := range bad {
			if !format.IsCorrupt(err) {
				t.Errorf("%s write, key %s: %v", how, k, err)
			}
		}
		done()
	}
}

// TestForeignPointer: a pointer out of the space is refused without a read.
func TestForeignPointer(t *testing.T) {
	r, done := filled(t, rigOptions{blocks: 400, nodeBytes: 4096, cache: 1 << 20}, 10, 20)
	defer done()
	for _, block := range []format.BlockNo{0, 1, 400, 1 << 60, 1<<64 - 1} {
		root := r.root
		root.Block = block
		reads := r.dev.reads
		_, _, miss := r.tree.Get(root, []byte("000001"))
		if err := r.tree.Load(nil, miss, nil); !format.IsCorrupt(err) || r.dev.reads != reads {
			t.Errorf("block %d: %v after %d reads", block, err, r.dev.reads-reads)
		}
	}
}

// TestDeviceErrors: errors of the device come through, and leave the tree, the cache and the arena sound.
func TestDeviceErrors(t *testing.T) {
	r, done := filled(t, rigOptions{blocks: 2000, nodeBytes: 4096, entriesMax: 6, cache: 1 << 20}, 100, 20)
	defer done()
	r.dev.fail = errors.New("no disk")
	if bad := lookEverything(r); len(bad) != 100 {
		t.Errorf("%d keys failed", len(bad))
	}
	src := &listSource{changes: []Change{{Key: []byte("000050"), Val: []byte("x")}}}
	if root, err := r.tree.Fold(nil, r.root, 99, src, r.env); !errors.Is(err, r.dev.fail) || root != r.root {
		t.Errorf("fold: %v", err)
	}
	r.dev.fail = nil
	r.env.limbo = nil // the store drops what a failed fold said
	r.check()
}

// TestFullDevice: a fold without space fails and leaves the old root readable; the same fold works when there is space.
func TestFullDevice(t *testing.T) {
	r, done := filled(t, rigOptions{blocks: 600, nodeBytes: 4096, entriesMax: 6, cache: 1 << 20}, 100, 20)
	defer done()
	held, _ := r.env.a.AllocAll(format.BlockCount(r.env.a.FreeBlocks()-3), 0, nil)
	before := r.env.a.FreeMap()
	change := func() *listSource {
		return &listSource{changes: []Change{{Key: []byte("000010"), Val: []byte("x")}, {Key: []byte("000090"), Val: []byte("x")}}}
	}
	root, err := r.tree.Fold(nil, r.root, 2, change(), r.env)
	if err == nil || root != r.root {
		t.Fatalf("fold in 3 blocks: %v", err)
	}
	r.check3(before)
	for _, e := range held {
		r.env.a.Free(e)
	}
	if root, err = r.tree.Fold(nil, r.root, 2, change(), r.env); err != nil {
		t.Fatal(err)
	}
	r.root, r.want["000010"], r.want["000090"] = root, "x", "x"
	r.check()
}

// check3 undoes what a failed fold took and verifies that the old tree is untouched.
func (r *rig) check3(before interface {
	Ascend(func(format.Extent) bool)
}) {
	r.t.Helper()
	r.env.limbo = nil
	before.Ascend(func(e format.Extent) bool {
		for b := e.Start; b < e.End(); b++ {
			if one := (format.Extent{Start: b, Len: 1}); !r.env.a.IsFree(one) {
				r.env.a.Free(one)
			}
		}
		return true
	})
	if bad := lookEverything(r); len(bad) != 0 {
		r.t.Fatalf("old root after a failed fold: %v", bad)
	}
}

// TestSmallCache: with pins, a caller that needs more nodes than the cache holds still gets them all at once.
func TestSmallCache(t *testing.T) {
	r, done := filled(t, rigOptions{blocks: 4000, nodeBytes: 4096, entriesMax: 4}, 1000, 20)
	defer done()
	limit := r.tree.cache.limit
	if limit != cacheNodesMin*4096 {
		t.Fatalf("smallest cache is %d bytes", limit)
	}
	var pins Pins
	tries := 0
	for again := true; again; tries++ { // a transaction that touches 300 leaves
		again = false
		for i := 0; i < 1000; i += 3 {
			if _, _, miss := r.tree.Get(r.root, []byte(fmt.Sprintf("%06d", i))); !miss.None() {
				if err := r.tree.Load(nil, miss, &pins); err != nil {
					t.Fatal(err)
				}
				again = true
				break
			}
		}
	}
	if s := r.tree.Stats(); s.PinnedBytes <= limit || s.CacheBytes < s.PinnedBytes {
		t.Errorf("%d bytes pinned, %d cached, limit %d", s.PinnedBytes, s.CacheBytes, limit)
	}
	r.tree.Release(&pins)
	r.get("000001")
	for i := range 1000 {
		r.get(fmt.Sprintf("%06d", i))
	}
	if s := r.tree.Stats(); s.PinnedBytes != 0 || s.CacheBytes > limit || s.Evictions == 0 {
		t.Errorf("after the release: %+v, limit %d", s, limit)
	}
}

// TestSmallCacheOfValues: the same for values out of line, the leaf of the last one being cached and pinned by nobody. (In a cache full of pinned
// values, that leaf went for its value and the value for the leaf, until the load gave up.)
func TestSmallCacheOfValues(t *testing.T) {
	const n = 300
	r, done := filled(t, rigOptions{blocks: 4000, nodeBytes: 4096, inlineMax: 100}, n, 3000)
	defer done()
	for r.tree.cache.evict() {
	}
	var pins Pins
	get := func(i int) {
		for {
			val, _, miss := r.tree.Get(r.root, []byte(fmt.Sprintf("%06d", i)))
			if miss.None() && len(val) == 3000 {
				return
			}
			if err := r.tree.Load(nil, miss, &pins); err != nil {
				t.Fatalf("value %d: %v", i, err)
			}
		}
	}
	for i := range 2 * cacheNodesMin {
		get(i)
	}
	c := r.tree.Cursor(r.root)
	for miss := c.Seek([]byte("000299")); !miss.None(); miss = c.Seek([]byte("000299")) {
		if err := r.tree.Load(nil, miss, nil); err != nil {
			t.Fatal(err)
		}
	}
	get(n - 1)
	for i := range 2 * cacheNodesMin { // and all of them are there at once
		if _, _, miss := r.tree.Get(r.root, []byte(fmt.Sprintf("%06d", i))); !miss.None() {
			t.Fatalf("value %d is gone: %v", i, miss)
		}
	}
	r.tree.Release(&pins)
	if s := r.tree.Stats(); s.PinnedBytes != 0 || s.CacheBytes > r.tree.cache.limit {
		t.Errorf("after the release: %+v", s)
	}
}

// TestStaleFrames: a block that is written anew is never served from the frame of what stood there before, pinned or not.
func TestStaleFrames(t *testing.T) {
	r, done := filled(t, rigOptions{blocks: 60, nodeBytes: 4096, entriesMax: 4, inlineMax: 10, cache: 1 << 20}, 6, 12)
	defer done()
	var pins Pins
	for i := range 300 {
		k := fmt.Sprintf("%06d", i%6)
		v := fmt.Sprintf("value number %d", i)
		_, _, miss := r.tree.Get(r.root, []byte(k))
		if err := r.tree.Load(nil, miss, &pins); err != nil {
			t.Fatal(err)
		}
		r.fold(map[string]*string{k: &v}, nil)
		r.env.release()
		if got, _ := r.get(k); got != v {
			t.Fatalf("round %d: %q, want %q", i, got, v)
		}
		if i%5 == 4 {
			r.tree.Release(&pins)
		}
	}
	r.tree.Release(&pins)
	r.check()
}

// TestOurBugs: what only our own code can do wrong panics.
func TestOurBugs(t *testing.T) {
	r, done := filled(t, rigOptions{blocks: 400, nodeBytes: 4096}, 10, 20)
	defer done()
	k := func(s string) Change { return Change{Key: []byte(s)} }
	for name, src := range map[string]*listSource{
		"order":      {changes: []Change{k("b"), k("a")}},
		"twice":      {changes: []Change{k("a"), k("a")}},
		"long key":   {changes: []Change{k(strings.Repeat("k", format.KeyBytesMax+1))}},
		"long value": {changes: []Change{{Key: []byte("k"), Val: make([]byte, format.ValueBytesMax+1)}}},
	} {
		t.Run(name, func(t *testing.T) {
			mustPanic(t, func() { _, _ = r.tree.Fold(nil, r.root, 2, src, r.env) })
		})
	}
	mustPanic(t, func() {
		New(Config{NodeBytes: 5000, Store: format.UUID{1}, Space: []format.Extent{{Start: 0, Len: 1}}})
	})
	mustPanic(t, func() { New(Config{NodeBytes: 4096, Store: format.UUID{1}}) })
}

// TestLongest: the longest keys and values there may be, in the smallest nodes.
func TestLongest(t *testing.T) {
	r, done := newRig(t, rigOptions{blocks: 4000, nodeBytes: 4096})
	defer done()
	all := map[string]*string{}
	for i := range 40 {
		v := strings.Repeat("v", []int{format.ValueInlineMax, format.ValueInlineMax + 1, format.ValueBytesMax, 0}[i%4])
		all[fmt.Sprintf("%02d", i)+strings.Repeat("k", format.KeyBytesMax-2)] = &v
	}
	r.fold(all, nil)
	r.check()
	for k, want := range all {
		if got, ok := r.get(k); !ok || got != *want {
			t.Fatalf("key %.4s: %d bytes, want %d", k, len(got), len(*want))
		}
	}
}

// TestTornDevice: on a device whose free space is single nodes the longest values still find room, in pieces.
func TestTornDevice(t *testing.T) {
	r, done := newRig(t, rigOptions{blocks: 1200, nodeBytes: 16384, cache: 4 << 20})
	defer done()
	for b := format.BlockNo(2); b+5 < 1200; b += 5 { // 4 free, 1 taken
		r.env.a.Claim(format.Extent{Start: b + 4, Len: 1})
	}
	all := map[string]*string{}
	for i := range 8 {
		v := strings.Repeat(fmt.Sprint(i), []int{format.ValueBytesMax, 3*16384 + 1, 16384, 16385, 2000}[i%5])
		all[fmt.Sprint(i)] = &v
	}
	r.fold(all, nil)
	_, _, pieces := nodes(t, r)
	if len(pieces) != 4+4+1+2+1+4+4+1 {
		t.Errorf("%d pieces", len(pieces))
	}
	for k, want := range all {
		if got, ok := r.get(k); !ok || got != *want {
			t.Errorf("key %s: %d bytes, want %d", k, len(got), len(*want))
		}
	}
	for i, p := range pieces { // damage in any piece is damage of the value
		off := int(p.Start)*format.BlockBytes + i
		r.dev.b[off] ^= 1
		if bad := lookEverything(r); len(bad) != 1 {
			t.Errorf("piece %d: %d keys failed", i, len(bad))
		}
		r.dev.b[off] ^= 1
	}
	free := r.env.a.FreeBlocks()
	gone := map[string]*string{}
	for k := range all {
		gone[k] = nil
	}
	r.fold(gone, nil)
	r.env.release()
	if n := r.env.a.FreeBlocks(); n <= free || r.root.Height != 0 {
		t.Errorf("%d blocks free after the deletion, %d before", n, free)
	}
}

// budgetEnv counts how often a fold offers to pause and how much it writes between.
type budgetEnv struct {
	*memEnv
	calls, bytes int
	stop         error
}

func (e *budgetEnv) Budget(_ *engine.Fiber, n int) error {
	e.calls++
	e.bytes += n
	if e.calls > 20 {
		return e.stop
	}
	return nil
}

// TestBudget: a fold can be stopped between any two nodes, and what it writes is all announced.
func TestBudget(t *testing.T) {
	r, done := filled(t, rigOptions{blocks: 4000, nodeBytes: 4096, entriesMax: 6, batch: 65536}, 1000, 20)
	defer done()
	src := func() *listSource {
		s := &listSource{}
		for i := range 1000 {
			s.changes = append(s.changes, Change{Key: []byte(fmt.Sprintf("%06d", i)), Val: []byte("x")})
		}
		return s
	}
	stop := errors.New("stop")
	e := &budgetEnv{memEnv: r.env, stop: stop}
	if _, err := r.tree.Fold(nil, r.root, 2, src(), e); !errors.Is(err, stop) {
		t.Fatalf("fold: %v", err)
	}
	e = &budgetEnv{memEnv: r.env}
	before := r.dev.writes
	root, err := r.tree.Fold(nil, r.root, 2, src(), e)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := r.tree.Walk(nil, root, Visitor{Node: func(format.Extent, format.ChildPtr, int) error { n++; return nil }}); err != nil {
		t.Fatal(err)
	}
	if e.bytes != n*4096 || e.calls < n {
		t.Errorf("%d bytes announced in %d calls, %d nodes written", e.bytes, e.calls, n)
	}
	if writes := r.dev.writes - before; writes > n/16+2 {
		t.Errorf("%d nodes took %d writes of up to 16", n, writes)
	}
}
