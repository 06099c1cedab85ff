package storage

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"basalt/engine/arena"
)

// A tree of items three levels high against a map, with deletions that empty whole subtrees, and clones of clones that go their own ways.
// Nodes come from the trees of the seed before, with whatever was in them.
func TestItemTreeAgainstMap(t *testing.T) {
	pool := &nodePool{}
	for seed := uint64(0); seed < 8; seed++ {
		a, err := arena.New(16 << 20)
		if err != nil {
			t.Fatal(err)
		}
		m := &memory{slab: newSlab(a, 256<<10), nodes: nodes{pool: pool}}
		rng := rand.New(rand.NewPCG(seed, 3))
		trees := []treeModel{{t: t, rng: rng, tree: newItemTree(m), want: map[uint32]int{}}}
		for round := range 24 {
			x := &trees[rng.IntN(len(trees))]
			switch {
			case round == 0:
				x.fill(6000)
			case round%4 == 1:
				x.empty()
			case round%7 == 2 && len(trees) < 5:
				trees = append(trees, treeModel{t: t, rng: rng, tree: x.tree.clone(), want: maps.Clone(x.want)})
			default:
				x.change(500)
			}
			for i := range trees {
				trees[i].check(seed)
			}
		}
		height := 1
		for n := m.nodes.at(trees[0].tree.root); !n.leaf; n = m.nodes.at(n.kids[0]) {
			height++
		}
		if height < 3 {
			t.Fatalf("the tree is %d levels high", height)
		}
		for m.giveBack() {
		}
	}
}

type treeModel struct {
	t    *testing.T
	rng  *rand.Rand
	tree itemTree
	want map[uint32]int // key, length of the value
}

const treeKeys = 20000

// treeKey: the keys of a few stretches differ in their tails only, others are shorter than a tail, or longer by some bytes. Some begin with more
// bytes that are the same than a node can leave out of their heads.
func treeKey(k uint32) []byte {
	key := binary.BigEndian.AppendUint16(nil, uint16(k/1000))
	switch tail := k % 1000; k / 1000 % 4 {
	case 0:
		return binary.BigEndian.AppendUint16(key, uint16(tail))
	case 1:
		return append(binary.BigEndian.AppendUint64(key, uint64(tail/3)), make([]byte, tail%3)...)
	case 2:
		return binary.BigEndian.AppendUint64(append(key, "object"...), uint64(tail)<<40)
	default:
		return binary.BigEndian.AppendUint64(append(key, "an object whose name is a long one"...), uint64(tail)<<20)
	}
}

func (x *treeModel) put(k uint32) {
	key := treeKey(k)
	ref, mem, err := x.tree.m.slab.alloc(len(key))
	if err != nil {
		x.t.Fatal(err)
	}
	copy(mem, key)
	x.lookAround(k)
	it := item{key: ref, is: bitsOf(itemPut, true, x.rng.IntN(2) == 0, len(key), x.rng.IntN(ValueMax+1))}
	old, had := x.tree.put(key, it)
	if was, ok := x.want[k]; ok != had || had && old.is.vlen() != was {
		x.t.Fatalf("put of %d replaced %v %v, want %v %v", k, old.is.vlen(), had, was, ok)
	}
	x.want[k] = it.is.vlen()
}

// lookAround has a finger point at the place of a key, or at one beside it, and sometimes changes the tree before the finger is used.
func (x *treeModel) lookAround(k uint32) {
	switch x.rng.IntN(6) {
	case 0:
		x.tree.get(treeKey(k))
	case 1:
		x.tree.floor(treeKey(k), false)
	case 2:
		x.tree.floor(treeKey(k), true)
	case 3:
		x.tree.get(treeKey(k))
		x.tree.floor(treeKey(k+1), false)
	default:
		return
	}
	for range x.rng.IntN(3) {
		near := min(k+x.rng.Uint32N(5), treeKeys-1)
		if near -= min(near, x.rng.Uint32N(3)); near == k {
			continue
		}
		if x.rng.IntN(2) == 0 {
			x.put(near)
		} else {
			x.remove(near)
		}
	}
	if x.rng.IntN(2) == 0 {
		x.sees(k)
	}
}

// sees asks for a key, perhaps where a finger points.
func (x *treeModel) sees(k uint32) {
	it, ok := x.tree.get(treeKey(k))
	if was, want := x.want[k]; ok != want || ok && it.is.vlen() != was {
		x.t.Fatalf("get of %d: %v %v, want %v %v", k, it.is.vlen(), ok, was, want)
	}
}

func (x *treeModel) remove(k uint32) {
	if _, ok := x.want[k]; x.tree.remove(treeKey(k)) != ok {
		x.t.Fatalf("removal of %d, which is there: %v", k, ok)
	}
	delete(x.want, k)
}

func (x *treeModel) fill(n int) {
	for range n {
		x.put(x.rng.Uint32N(treeKeys))
	}
}

func (x *treeModel) change(n int) {
	for range n {
		if k := x.rng.Uint32N(treeKeys); x.rng.IntN(2) == 0 {
			x.put(k)
		} else {
			x.remove(k)
		}
	}
}

// empty removes all of a stretch of keys, sometimes of all keys, in one order or another.
func (x *treeModel) empty() {
	lo := x.rng.Uint32N(treeKeys)
	hi := lo + x.rng.Uint32N(treeKeys)
	if x.rng.IntN(4) == 0 {
		lo, hi = 0, treeKeys
	}
	var keys []uint32
	for _, k := range slices.Sorted(maps.Keys(x.want)) {
		if k >= lo && k < hi {
			keys = append(keys, k)
		}
	}
	switch x.rng.IntN(3) {
	case 0:
		slices.Reverse(keys)
	case 1:
		x.rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	}
	for _, k := range keys {
		x.remove(k)
	}
}

func (x *treeModel) check(seed uint64) {
	x.t.Helper()
	keys := slices.Sorted(maps.Keys(x.want))
	all := x.tree.from(nil, false, make([]item, 0, len(keys)+1))
	if len(all) != len(keys) || x.tree.n != len(keys) {
		x.t.Fatalf("seed %d: %d items, the count says %d, want %d", seed, len(all), x.tree.n, len(keys))
	}
	is := func(it item, i int) bool {
		return bytes.Equal(x.tree.keyOf(&it), treeKey(keys[i])) && it.is.vlen() == x.want[keys[i]]
	}
	for i := range all {
		if !is(all[i], i) {
			x.t.Fatalf("seed %d: item %d is not that of %d", seed, i, keys[i])
		}
	}
	x.checkHeads(seed, x.tree.root)
	for range 200 {
		k, strict := x.rng.Uint32N(treeKeys), x.rng.IntN(2) == 0
		if len(keys) > 0 && x.rng.IntN(2) == 0 {
			k = keys[x.rng.IntN(len(keys))]
		}
		at, there := slices.BinarySearch(keys, k)
		if it, ok := x.tree.get(treeKey(k)); ok != there || ok && !is(it, at) {
			x.t.Fatalf("seed %d: get of %d: %v, want %v", seed, k, ok, there)
		}
		last := at - 1
		if there && !strict {
			last = at
		}
		if it, ok, like := x.tree.floor(treeKey(k), strict); ok != (last >= 0) || ok && (!is(it, last) || like != alike(keys[last], k, like)) {
			x.t.Fatalf("seed %d: floor of %d, strict %v: %v, likeness %d, want place %d", seed, k, strict, ok, like, last)
		}
		if there && strict {
			at++
		}
		run := x.tree.from(treeKey(k), strict, make([]item, 0, 1+x.rng.IntN(100)))
		if len(run) != min(cap(run), len(keys)-at) {
			x.t.Fatalf("seed %d: %d items from %d on, strict %v, want at most %d of %d", seed, len(run), k, strict, cap(run), len(keys)-at)
		}
		for i := range run {
			if !is(run[i], at+i) {
				x.t.Fatalf("seed %d: item %d from %d on is wrong", seed, i, k)
			}
		}
	}
}

// alike is what the keys of two numbers have in common. That some are siblings need not be known, where keys of other lengths lie between; then
// it is what was said.
func alike(a, b uint32, said likeness) likeness {
	x, y := treeKey(a), treeKey(b)
	n := len(x) - tailBytes
	switch {
	case a == b:
		return same
	case n >= 0 && len(x) == len(y) && bytes.Equal(x[:n], y[:n]):
		if a/1000%4 > 1 || said != unlike {
			return sibling
		}
	}
	return unlike
}

// The gauge of the pool counts what a chunk takes.
func TestChunkBytes(t *testing.T) {
	if got := reflect.TypeFor[nodeChunk]().Size(); got != chunkBytes {
		t.Errorf("a chunk has %d bytes, the gauge counts %d", got, chunkBytes)
	}
	if got := reflect.TypeFor[Extent]().Size(); got != extentBytes {
		t.Errorf("an extent has %d bytes, the gauge counts %d", got, extentBytes)
	}
}
