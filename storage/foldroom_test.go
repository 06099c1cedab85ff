package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"basalt/engine"
)

// crowd is a store with small nodes, full of objects that make its tree high and lie in as many pieces as they can.
type crowd struct {
	*bench
	rng    *rand.Rand
	names  [][]byte
	shared [][]byte // of names
	blocks int      // written
}

func newCrowd(t *testing.T, seed uint64, bytes int64, node int) *crowd {
	c := &crowd{bench: newBench(t, seed, nil, bytes), rng: rand.New(rand.NewPCG(seed, 1))}
	c.do(func(f *engine.Fiber) error {
		return Format(f, c.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 128 << 10, NodeBytes: node})
	})
	c.mount()
	c.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	return c
}

// stem is the beginning of some names: so long that few separators of leaves fit into a node.
func (c *crowd) stem() []byte {
	p := make([]byte, 150)
	for i := range p {
		p[i] = byte(c.rng.Uint32())
	}
	return p
}

// try runs a transaction; false: the store is full.
func (c *crowd) try(fn func(tx *Tx) error) (ok bool) {
	c.t.Helper()
	c.do(func(f *engine.Fiber) error {
		_, err := c.s.Update(f, fn)
		if ok = err == nil; errors.Is(err, ErrFull) {
			return nil
		}
		return err
	})
	return ok
}

// small makes objects without data, which need much of the tree.
func (c *crowd) small(n int) {
	c.t.Helper()
	var stem []byte
	for i := range n {
		if i%8 == 0 {
			stem = c.stem()
		}
		name := fmt.Appendf(stem[:len(stem):len(stem)], "%d", i)
		if !c.try(func(tx *Tx) error {
			return errors.Join(tx.Create(1, name), tx.SetAttr(1, name, []byte("a"), make([]byte, 700)))
		}) {
			return
		}
		c.names = append(c.names, name)
	}
}

// scattered makes an object of one-block extents, a transaction for each; false: the store was full before it had n.
func (c *crowd) scattered(n int) bool {
	c.t.Helper()
	name := c.stem()
	c.names = append(c.names, name)
	for i := range n {
		if !c.try(func(tx *Tx) error { return tx.Write(1, name, uint64(2*i)*blockSize, make([]byte, blockSize)) }) {
			if i == 0 {
				c.names = c.names[:len(c.names)-1]
			}
			return false
		}
		c.blocks++
	}
	return true
}

// clone clones the object that was made last.
func (c *crowd) clone() {
	c.t.Helper()
	from, to := c.names[len(c.names)-1], c.stem()
	if c.try(func(tx *Tx) error { return tx.Clone(1, from, to) }) {
		c.names, c.shared = append(c.names, to), append(c.shared, from, to)
	}
}

// fill fills the store until neither a block nor a name is taken.
func (c *crowd) fill(height uint8) {
	c.t.Helper()
	c.blocks = 0
	c.small(400)
	c.do(c.s.Checkpoint)
	if h := c.s.super.Tree.Height; h != height {
		c.t.Fatalf("the tree has %d levels", h)
	}
	c.scattered(1300) // more than ExactBlocksMax
	c.scattered(300)
	c.clone()
	for c.scattered(300) {
	}
	c.clone()
	for c.scattered(1) {
	}
	c.small(1 << 20)
}

// takeAway removes an object, and one that shares its blocks in steps from its end where it must.
func (c *crowd) takeAway(name []byte) {
	c.t.Helper()
	for step := uint64(1 << 20); !c.try(func(tx *Tx) error { return tx.Remove(1, name) }); {
		shares, size := false, uint64(0)
		c.do(func(f *engine.Fiber) error {
			return c.s.View(f, func(tx *Tx) error {
				o, err := tx.onodeOf(1, name)
				shares, size = o.Flags != 0, o.Size
				return err
			})
		})
		if !shares || size == 0 {
			c.t.Fatalf("an object of its own cannot be removed: %+v, need %d of %d", c.s.Space(), c.s.foldNeed(), c.s.alloc.Pieces()*uint64(c.s.pool))
		}
		for !c.try(func(tx *Tx) error { return tx.Truncate(1, name, size-min(size, step)) }) {
			if step /= 2; step < blockSize {
				c.t.Fatalf("one block of %d cannot be cut: %+v", size/blockSize, c.s.Space())
			}
		}
	}
}

// On a store that takes nothing more every object can be removed, whatever pieces it lies in and whatever the tree looks like, in any order;
// and then there is as much space as before.
func TestEverythingCanBeRemovedFromAFullStore(t *testing.T) {
	for i, p := range []struct {
		bytes  int64
		node   int
		height uint8
		order  func(c *crowd)
	}{
		{20 << 20, 4 << 10, 3, func(c *crowd) {}},
		{20 << 20, 4 << 10, 3, func(c *crowd) { slices.Reverse(c.names) }},
		{20 << 20, 4 << 10, 3, (*crowd).shuffle},
		{20 << 20, 4 << 10, 3, func(c *crowd) { // nobody knows any more how large the tree is
			c.shuffle()
			c.unmount()
			c.mount()
		}},
		{9 << 20, 16 << 10, 2, (*crowd).shuffle}, // the 128th part of the store is next to nothing
		{9 << 20, 16 << 10, 2, (*crowd).sharedFirst},
	} {
		c := newCrowd(t, 2100+uint64(i), p.bytes, p.node)
		first := 0
		for round := range 2 {
			c.fill(p.height)
			if round == 0 {
				first = c.blocks
			} else if c.blocks < first*95/100 {
				t.Fatalf("order %d: %d blocks were written to the empty store, to the new one %d", i, c.blocks, first)
			}
			p.order(c)
			for _, name := range c.names {
				c.takeAway(name)
			}
			c.names, c.shared = c.names[:0], c.shared[:0]
		}
		c.unmount()
		if rep := c.fsck(); rep.DataBlocks != 0 || rep.Objects != 0 || rep.Shares != 0 {
			t.Fatalf("order %d: %d blocks of %d objects and %d share records are left", i, rep.DataBlocks, rep.Objects, rep.Shares)
		}
	}
}

func (c *crowd) shuffle() {
	c.rng.Shuffle(len(c.names), func(i, k int) { c.names[i], c.names[k] = c.names[k], c.names[i] })
}

// sharedFirst puts the objects that can't be removed at once, and free little, before all others.
func (c *crowd) sharedFirst() {
	for _, name := range c.shared {
		i := slices.IndexFunc(c.names, func(n []byte) bool { return bytes.Equal(n, name) })
		c.names = slices.Insert(slices.Delete(c.names, i, i+1), 0, name)
	}
}

// bounded folds what is applied, and compares what the fold took with both bounds of it.
func (c *crowd) bounded(what string) (took, bound uint64) {
	c.t.Helper()
	s := c.s
	if s.frozen != nil || s.active.empty() {
		c.do(s.Checkpoint)
		return 0, 0
	}
	l, pool, height := s.active, uint64(s.pool), uint64(s.super.Tree.Height)
	spots := uint64(min(l.spots, l.items.n) + 2*l.tombs.len())
	grows := s.growthBlocks(l, l.treeBytes())
	bySpots := spotNodes(spots, height)*pool + grows
	byNodes := s.packedNodes(s.treeNodes())*pool + grows
	bound = s.foldBlocks(l)
	items, tombs := l.items.n, l.tombs.len()
	c.do(s.Checkpoint)
	took = s.check.tookBlocks
	if took > bySpots || took > byNodes || bound != min(bySpots, byNodes) {
		c.t.Fatalf("%s: %d items, %d spots, %d tombstones, height %d: the fold took %d blocks, bounds are %d by spots and %d by nodes, in all %d",
			what, items, spots, tombs, height, took, bySpots, byNodes, bound)
	}
	return took, bound
}

// A fold never takes more than was reckoned for it, by spots or by nodes: for leaves that were full and each get a key more, for leaves that nearly
// nothing is left of at the ends of their parents, for keys that share much and little, for runs, tombstones, patches and clones.
func TestFoldTakesNoMoreThanItsBound(t *testing.T) {
	for seed := uint64(2200); seed < 2208; seed++ {
		c := newCrowd(t, seed, 48<<20, 4<<10)
		c.opt.DeltaBytesMax = 8 << 20
		c.unmount()
		c.mount()
		c.s.opt.LimboShare = 1
		folds, most := 0, 0.0
		for round := range 60 {
			for range 1 + c.rng.IntN(3) {
				c.change()
			}
			took, bound := c.bounded(fmt.Sprintf("seed %d, round %d", seed, round))
			if bound > 0 {
				folds, most = folds+1, max(most, float64(took)/float64(bound))
			}
		}
		c.unmount()
		c.fsck()
		if folds < 50 || most < 0.1 {
			t.Fatalf("seed %d: %d folds, the nearest to its bound took %.2f of it", seed, folds, most)
		}
		t.Logf("seed %d: %d folds, the nearest to its bound took %.2f of it", seed, folds, most)
	}
}

// Leaves that are full and get one key more become twice as many, if their neighbours get none, and hardly more, if all do; leaves that are nearly emptied, each by one deletion, take their neighbours in.
func TestFoldOfManyFullAndManyEmptyLeaves(t *testing.T) {
	c := newCrowd(t, 2250, 48<<20, 4<<10)
	const full, per = 34, 20 // keys of a leaf, and less than that
	key := func(i int) []byte { return fmt.Appendf(nil, "%08d", i) }
	put := func(from, to, step int) {
		t.Helper()
		for i := from; i < to; i += step {
			c.update(func(tx *Tx) error { return tx.Put(1, key(i), make([]byte, 100)) })
		}
	}
	put(0, 40000, 10)
	c.bounded("ascending")
	was := c.s.treeNodes()
	put(5, 20000, 20*full)
	took, _ := c.bounded("one key more in every other leaf")
	if took < was*7/16 || c.s.treeNodes() < was*6/5 {
		t.Fatalf("%d blocks were written, the tree had %d and has %d: the leaves were not full", took, was, c.s.treeNodes())
	}
	was = c.s.treeNodes()
	put(7, 40000, 10*per)
	c.bounded("one key more in each")
	if c.s.treeNodes() > was*9/8 {
		t.Fatalf("the tree had %d blocks, and has %d with a key more in each leaf: they were not packed", was, c.s.treeNodes())
	}
	for i := range 4000 {
		if i%per >= 2 {
			c.update(func(tx *Tx) error { return tx.Delete(1, key(10*i)) })
		}
	}
	c.bounded("nearly empty leaves")
	for i := 0; i < 4000; i += 3 * per {
		c.update(func(tx *Tx) error { return tx.Delete(1, key(10*i)) })
	}
	c.bounded("fewer still")
	c.unmount()
	c.fsck()
}

// key is one of a few hundred that stand close together or far apart.
func (c *crowd) key(stem, i int) []byte {
	p := make([]byte, []int{0, 3, 90, 300, 480}[stem%5])
	for k := range p {
		p[k] = byte(stem * (k + 7))
	}
	return fmt.Appendf(append([]byte{byte(stem)}, p...), "%06d", i)
}

// change makes one of many kinds of changes, of some size.
func (c *crowd) change() {
	c.t.Helper()
	r, stem := c.rng, c.rng.IntN(12)
	first, step, n := r.IntN(2000), 1+r.IntN(40), 1+r.IntN(60)
	if r.IntN(4) == 0 {
		step, n = 1, 300
	}
	name := []byte{byte('a' + r.IntN(6))}
	off, blocks := uint64(r.IntN(600))*blockSize, 1+r.IntN(8)
	n = min(n, 9000/(len(c.key(stem, 0))+20)) // of one record
	kind, size := r.IntN(10), []int{0, 8, 60, 400, 1000, 5000}[r.IntN(6)]
	c.update(func(tx *Tx) error {
		var err error
		switch kind {
		case 0, 1:
			for i := 0; i < n && err == nil; i++ {
				err = tx.Put(1, c.key(stem, 10*(first+i*step)), make([]byte, min(size, 4000/n)))
			}
		case 2, 3:
			for i := 0; i < n && err == nil; i++ {
				err = tx.Delete(1, c.key(stem, 10*(first+i*step)))
			}
		case 4:
			for i := 0; i < min(n, 24) && err == nil; i++ {
				err = tx.Put(1, c.key(i%12, first+i), make([]byte, 9))
			}
		case 5:
			err = tx.DeleteRange(1, c.key(stem, 10*first), c.key(stem, 10*(first+n*step)))
		case 6:
			for i := 0; i < min(n, 40) && err == nil; i++ {
				err = tx.Write(1, name, off+uint64(2*i)*blockSize, make([]byte, blockSize))
			}
		case 7:
			err = errors.Join(tx.Write(1, name, off, make([]byte, blocks*blockSize)), tx.Write(1, name, off+blockSize/2, make([]byte, 100)))
		case 8:
			err = tx.Truncate(1, name, off)
		case 9:
			to := []byte{name[0], '+'}
			if err = tx.Remove(1, to); err == nil || err == ErrNotFound {
				if err = tx.Clone(1, name, to); err == ErrNotFound {
					err = nil
				}
			}
		}
		return err
	})
}

// What a removal may need does not depend on how many pieces the object lies in, nor does that of a write on how many it gets.
func TestRunsOfExtentsAreTwoSpots(t *testing.T) {
	c := newCrowd(t, 2300, 20<<20, 4<<10)
	c.small(400)
	c.scattered(600)
	c.do(c.s.Checkpoint)
	spots := func() int { return c.s.active.spots + 2*c.s.active.tombs.len() }
	name := c.names[len(c.names)-1]
	c.update(func(tx *Tx) error { return tx.Truncate(1, name, 300*blockSize) })
	if spots() != 3 || c.s.active.items.n < 400 {
		t.Fatalf("%d spots of a truncation, %d items", spots(), c.s.active.items.n)
	}
	c.bounded("a truncation")
	c.update(func(tx *Tx) error { return tx.Write(1, name, 10*blockSize, make([]byte, 60*blockSize)) })
	if spots() != 3 || c.s.active.items.n < 30 {
		t.Fatalf("%d spots of a write, %d items", spots(), c.s.active.items.n)
	}
	for range 50 { // the same places again
		c.update(func(tx *Tx) error { return tx.Write(1, name, 10*blockSize, make([]byte, blockSize)) })
	}
	if spots() > 8 {
		t.Fatalf("%d spots after 50 overwrites", spots())
	}
	c.bounded("a write")
	c.update(func(tx *Tx) error { return tx.Remove(1, name) })
	if spots() != 3 || uint64(spots()) > removalSpots {
		t.Fatalf("%d spots of a removal", spots())
	}
	c.bounded("a removal")
	c.unmount()
	c.fsck()
}
