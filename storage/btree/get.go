package btree

import (
	"bytes"
	"fmt"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/storage/format"
)

// Tree is the service: a device, a cache, and the operations on roots. All fields are owned by the loop.
type Tree struct {
	cfg     Config // immutable
	cache   cache
	loading map[format.BlockNo]*load
	spare   *load // as many as there were at once
	last    lastGet
	folding bool
	fold    *folder   // scratch memory that folds share
	batch   arena.Buf // what folds write from
	scratch arena.Buf // and read into
	queue   queue     // immutable; the device, if it takes several operations at once
	fetched prefetch
	loads   uint64

	prefetched uint64
	folded     struct{ read, written, freed, values uint64 }
}

// load is a read in flight; whoever wants the same block waits for it.
type load struct {
	miss    Miss
	waiters engine.WaitList
	err     error
	refs    int   // the fiber that reads, and those that wait
	next    *load // free list
}

// New makes a tree service with an empty cache.
func New(cfg Config) *Tree {
	if !format.ValidNodeBytes(cfg.NodeBytes) || cfg.Store.IsZero() || len(cfg.Space) == 0 {
		panic(fmt.Sprintf("btree: nodes of %d bytes, store %v, space %v", cfg.NodeBytes, cfg.Store, cfg.Space))
	}
	if cfg.InlineMax == 0 {
		cfg.InlineMax = format.ValueInlineMax
	}
	if cfg.InlineMax > format.ValueInlineMax || (cfg.EntriesMax != 0 && cfg.EntriesMax < entriesMaxLeast) {
		panic(fmt.Sprintf("btree: values inline up to %d bytes, nodes of at most %d entries", cfg.InlineMax, cfg.EntriesMax))
	}
	if cfg.BatchBytes == 0 {
		cfg.BatchBytes = batchBytesDefault
	}
	cfg.BatchBytes = max(cfg.BatchBytes, 2*cfg.NodeBytes, 2*format.ValueBytesMax)
	t := &Tree{cfg: cfg, loading: make(map[format.BlockNo]*load)}
	t.cache.init(cfg.Arena, max(cfg.CacheBytes, int64(cacheNodesMin*cfg.NodeBytes)))
	t.queue, _ = cfg.Device.(queue)
	_ = t.takeBatch() // an arena without room for it now may have some when the first fold asks again
	return t
}

// Close gives all memory back. No cursor, pin or fold may be left.
func (t *Tree) Close() {
	t.cache.close()
	for _, b := range []*arena.Buf{&t.batch, &t.scratch} {
		if b.Valid() {
			t.cfg.Arena.Put(*b)
			*b = arena.Buf{}
		}
	}
}

// Stats are the gauges and counters.
func (t *Tree) Stats() Stats {
	c := &t.cache
	return Stats{
		Hits: c.hits, Misses: c.misses, Evictions: c.evictions, Loads: t.loads, Prefetched: t.prefetched, CacheBytes: c.used, PinnedBytes: c.pinned,
		FoldRead: t.folded.read, FoldWritten: t.folded.written, FoldValues: t.folded.values,
	}
}

// Miss names a node, or the out-of-line value of an entry of a leaf, that was not in the cache. The zero Miss is none.
type Miss struct {
	node  format.ChildPtr
	entry uint16 // of the leaf
	level int8
	kind  frameKind
}

// None tells whether nothing was missing.
func (m Miss) None() bool { return m.kind == frameNone }

func (m Miss) String() string {
	switch m.kind {
	case frameNode:
		return m.node.String()
	case frameValue:
		return fmt.Sprintf("value of entry %d of %v", m.entry, m.node)
	}
	return "none"
}

func missNode(p format.ChildPtr, level int) Miss {
	return Miss{kind: frameNode, node: p, level: int8(level)}
}

// Get finds the value of a key. It never suspends and allocates nothing. val is lent until the caller suspends, loads or
// folds.
func (t *Tree) Get(root Root, key []byte) (val []byte, found bool, miss Miss) {
	if root.Height == 0 {
		return nil, false, Miss{}
	}
	last := &t.last
	if last.seen == t.cache.changes && last.root == root.ChildPtr && last.is(key) {
		t.cache.hits++
		return last.val, true, Miss{}
	}
	ptr := root.ChildPtr
	for level := int(root.Height) - 1; ; level-- {
		n := t.cache.node(ptr)
		if n == nil {
			return nil, false, missNode(ptr, level)
		}
		if level > 0 {
			ptr = n.Child(n.SearchChild(key))
			continue
		}
		i, equal := n.Search(key)
		if !equal {
			return nil, false, Miss{}
		}
		val, miss := t.valueOf(ptr, n, i)
		if miss.None() {
			last.note(root.ChildPtr, t.cache.changes, key, val)
		}
		return val, miss.None(), miss
	}
}

// lastGet is what the last Get has found. Who reads an object piece by piece asks for its record each time; as long as nothing came into the cache or
// went, its value stands where it stood.
type lastGet struct {
	root format.ChildPtr
	seen uint64 // cache.changes
	key  [lastKeyMax]byte
	klen int // 0: nothing was found yet
	val  []byte
}

const lastKeyMax = 64 // what has a longer key is looked up each time

func (g *lastGet) is(key []byte) bool { return g.klen > 0 && bytes.Equal(g.key[:g.klen], key) }

func (g *lastGet) note(root format.ChildPtr, seen uint64, key, val []byte) {
	g.klen = 0
	if len(key) <= lastKeyMax {
		g.klen = copy(g.key[:], key)
		g.root, g.seen, g.val = root, seen, val
	}
}

// valueOf is the value of entry i of the leaf n, wherever it stands.
func (t *Tree) valueOf(leaf format.ChildPtr, n format.Node, i int) ([]byte, Miss) {
	v, out := n.Value(i)
	if !out {
		return v, Miss{}
	}
	if v = t.cache.value(v); v == nil {
		return nil, Miss{kind: frameValue, node: leaf, entry: uint16(i)}
	}
	return v, Miss{}
}
