package btree

import (
	"fmt"
	"testing"

	"basalt/engine"
	"basalt/storage/format"
)

// What Prefetch was asked for is there at once, no more than it may is read, and a node that the disk has lost is an error of whoever loads it.
func TestPrefetch(t *testing.T) {
	s := newSimRig(t, 31, 4096)
	defer s.w.Close()
	const entries = 2000
	src := &listSource{}
	var keys [][]byte
	for i := range entries {
		key := fmt.Appendf(nil, "key %06d", i)
		src.changes = append(src.changes, Change{Key: key, Val: key})
		if i%5 == 0 {
			keys = append(keys, key)
		}
	}
	tree := s.rig.tree
	s.do(func(f *engine.Fiber) (err error) {
		s.rig.root, err = tree.Fold(f, Root{}, 1, src, s.rig.env)
		return err
	})
	missing := func() (n int, last Miss) {
		for _, key := range keys {
			if _, _, m := tree.Get(s.rig.root, key); !m.None() {
				n, last = n+1, m
			}
		}
		return n, last
	}
	tree.SetCacheBytes(8<<20, 0)
	if n, _ := missing(); n != len(keys) {
		t.Fatalf("%d of %d keys are missing before anything was read", n, len(keys))
	}
	s.do(func(f *engine.Fiber) error { tree.Prefetch(f, s.rig.root, keys, 10); return nil })
	if st := tree.Stats(); st.Prefetched == 0 || st.Prefetched > 10 {
		t.Fatalf("%d nodes were read, 10 were allowed", st.Prefetched)
	}
	s.do(func(f *engine.Fiber) error { tree.Prefetch(f, s.rig.root, keys, entries); return nil })
	if n, m := missing(); n != 0 {
		t.Fatalf("%d keys are missing, one for %v", n, m)
	}
	if st := tree.Stats(); st.Loads != st.Prefetched || st.PinnedBytes != 0 {
		t.Fatalf("%+v", st)
	}
	for tree.SetCacheBytes(0, 7) {
	}
	if st := tree.Stats(); st.CacheBytes > cacheNodesMin*int64(tree.cfg.NodeBytes) {
		t.Fatalf("%d bytes are cached", st.CacheBytes)
	}

	n, lost := missing()
	if n == 0 || lost.level != 0 {
		t.Fatalf("%d keys are missing, one for %v: no leaf", n, lost)
	}
	block := make([]byte, format.BlockBytes)
	s.disk.ReadAt(block, int64(lost.node.Block)*format.BlockBytes)
	block[100]++
	s.disk.WriteAt(block, int64(lost.node.Block)*format.BlockBytes)
	s.do(func(f *engine.Fiber) error {
		tree.SetCacheBytes(8<<20, 0)
		tree.Prefetch(f, s.rig.root, keys, entries)
		if n, m := missing(); n == 0 || m.node != lost.node {
			return fmt.Errorf("%d keys are missing, one for %v, the lost node is %v", n, m, lost.node)
		}
		if err := tree.Load(f, lost, nil); !format.IsCorrupt(err) {
			return fmt.Errorf("load of the lost node: %v", err)
		}
		return nil
	})
}
