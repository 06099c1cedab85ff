package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"basalt/engine/arena"
	"basalt/storage/format"
)

// checkHeads: all keys of a node begin with its prefix, and their heads are what follows.
func (x *treeModel) checkHeads(seed uint64, at uint32) {
	x.t.Helper()
	if at == noNode {
		return
	}
	n := x.tree.m.nodes.at(at)
	for i := range n.items[:n.n] {
		key := x.tree.keyOf(&n.items[i])
		if prefix := n.prefix[:n.skip]; !bytes.HasPrefix(key, prefix) || n.heads[i] != headOf(key, len(prefix)) {
			x.t.Fatalf("seed %d: key %x has the head %x behind %x", seed, key, n.heads[i], prefix)
		}
		if i > 0 && n.heads[i-1] > n.heads[i] {
			x.t.Fatalf("seed %d: head %x stands before %x", seed, n.heads[i-1], n.heads[i])
		}
	}
	for i := 0; !n.leaf && i <= int(n.n); i++ {
		x.checkHeads(seed, n.kids[i])
	}
}

// headTree is a tree of n keys, and the keys.
func headTree(t *testing.T, n int, key func(i uint64) []byte) (*itemTree, [][]byte) {
	t.Helper()
	a, err := arena.New(16 << 20)
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{slab: newSlab(a, 256<<10), nodes: nodes{pool: &nodePool{}}}
	tree, keys := newItemTree(m), make([][]byte, n)
	for i, k := range rand.New(rand.NewPCG(1, 2)).Perm(n) {
		keys[i] = key(uint64(k))
		ref, mem, err := m.slab.alloc(len(keys[i]))
		if err != nil {
			t.Fatal(err)
		}
		copy(mem, keys[i])
		tree.put(keys[i], item{key: ref, is: bitsOf(itemPut, true, i%2 == 0, len(keys[i]), 0)})
	}
	return &tree, keys
}

// A search looks at no key of the slab but the one that it finds, however much the keys have in common in their beginning: all others can be
// spoiled, and it is found, and the place of one that is not there as well.
func TestSearchLooksAtOneKey(t *testing.T) {
	for name, key := range map[string]func(i uint64) []byte{
		"objects by number": func(i uint64) []byte {
			return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte{0, 1, 2, 16}, 3*i), i*0x9e3779b97f4a7c15)
		},
		"objects by hash": func(i uint64) []byte {
			return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte{0, 1, 2, 16}, i*0x9e3779b97f4a7c15), i)
		},
		"entries of a directory": func(i uint64) []byte {
			return fmt.Appendf(binary.BigEndian.AppendUint64([]byte{0, 1, 4}, 77), "file %05d.txt", i)
		},
	} {
		tree, keys := headTree(t, 20000, key)
		items := make([]item, len(keys))
		for i, k := range keys {
			var ok bool
			if items[i], ok = tree.get(k); !ok {
				t.Fatalf("%s: %x is not found", name, k)
			}
		}
		for i := range items {
			clear(tree.keyOf(&items[i]))
		}
		for i, k := range keys {
			mem := tree.keyOf(&items[i])
			copy(mem, k)
			if it, ok := tree.get(k); !ok || it.key != items[i].key {
				t.Fatalf("%s: %x is not found among spoiled keys", name, k)
			}
			behind := append(bytes.Clone(k), 0)
			if it, ok, _ := tree.floor(behind, false); !ok || it.key != items[i].key {
				t.Fatalf("%s: %x is not found before what follows it", name, k)
			}
			clear(mem)
		}
	}
}

// In a tree that only grows, the first half of a node's heads tells some of its keys apart, or its prefix is as long as it may be: of keys that come from
// everywhere a split leaves some that begin alike.
func TestSplitsSharpenHeads(t *testing.T) {
	tree, _ := headTree(t, 20000, func(i uint64) []byte {
		return fmt.Appendf(binary.BigEndian.AppendUint64([]byte{0, 1, 4}, i%20), "file number %05d", i/20)
	})
	var visit func(at uint32) int
	visit = func(at uint32) (alike int) {
		n := tree.m.nodes.at(at)
		for i := 0; !n.leaf && i <= int(n.n); i++ {
			alike += visit(n.kids[i])
		}
		if n.n == 0 {
			return alike
		}
		first, last := tree.keyOf(&n.items[0]), tree.keyOf(&n.items[n.n-1])
		longest := min(format.CommonPrefix(first, last), prefixMax)
		if longest > 11 {
			alike++
		}
		if (n.heads[0]^n.heads[n.n-1])>>32 == 0 && int(n.skip) != longest {
			t.Errorf("keys from %q to %q have a prefix of %d bytes and heads from %x to %x", first, last, n.skip, n.heads[0], n.heads[n.n-1])
		}
		return alike
	}
	if n := visit(tree.root); n < 300 {
		t.Errorf("only %d nodes have keys that begin alike", n)
	}
}
