package storage

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"basalt/engine"
)

// roomy is a store whose journal and delta hold thousands of changes, and whose folds take their time.
func roomy(t *testing.T, seed uint64, bytes int64, node int) *crowd {
	t.Helper()
	c := &crowd{bench: newBench(t, seed, nil, bytes), rng: rand.New(rand.NewPCG(seed, 1))}
	c.do(func(f *engine.Fiber) error {
		return Format(f, c.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 4 << 20, NodeBytes: node})
	})
	c.opt.DeltaBytesMax, c.opt.LimboShare, c.opt.FoldBytesPerSec = 8<<20, 1, 1<<20
	c.mount()
	c.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	return c
}

// bricks makes objects of one extent until the store takes no more.
func (c *crowd) bricks(blocks int, tail string) (names [][]byte) {
	c.t.Helper()
	for {
		name := fmt.Appendf(nil, "%04d%s", len(names)*7919%10000, tail)
		if !c.try(func(tx *Tx) error { return tx.Write(1, name, 0, make([]byte, blocks*blockSize)) }) {
			c.do(c.s.Checkpoint)
			return names
		}
		names = append(names, name)
	}
}

// have is what is free in pieces that are long enough for nodes.
func (c *crowd) have() uint64 { return c.s.alloc.Pieces() * uint64(c.s.pool) }

// Holes of single blocks give nothing that a node finds room in, and the extents between them need records: whoever makes them leaves what removals need.
func TestHolesOfSingleBlocksLeaveTheWayOut(t *testing.T) {
	c := newCrowd(t, 2405, 64<<20, 16<<10)
	names := c.bricks(16, fmt.Sprintf("%0200d", 0))
	refused := 0
	for b := uint64(1); b < 16 && refused < 20; b += 2 {
		for _, name := range names {
			if refused < 20 && !c.try(func(tx *Tx) error { return tx.Punch(1, name, b*blockSize, blockSize) }) {
				refused++
			}
		}
	}
	c.do(c.s.Checkpoint)
	t.Logf("%d objects, %d blocks are free, %d of them in pieces", len(names), c.s.alloc.FreeBlocks(), c.have())
	if refused == 0 {
		t.Fatal("no hole was refused: there was room enough")
	}
	for i, name := range names {
		if !c.try(func(tx *Tx) error { return tx.Remove(1, name) }) {
			t.Fatalf("object %d of %d cannot be removed: %+v, in pieces %d", i, len(names), c.s.Space(), c.have())
		}
	}
	c.unmount()
	c.fsck()
}

// packed is a store of so many leaves, all of them full, and with a little more free space than its tree is long.
func packed(t *testing.T, seed uint64, leaves int) *crowd {
	t.Helper()
	c := roomy(t, seed, 64<<20, 16<<10)
	for i := range leaves * perLeaf {
		c.update(func(tx *Tx) error { return tx.Put(1, leafKey(i, 0), make([]byte, 1000)) })
	}
	c.do(c.s.Checkpoint)
	for i, target := uint64(0), c.s.treeNodes()*uint64(c.s.pool)*9/8+c.s.deleteReserve()+400; c.have() > target; i++ {
		n := min(16, c.have()-target)
		c.update(func(tx *Tx) error { return tx.Write(1, []byte("rest"), i*16*blockSize, make([]byte, n*blockSize)) })
	}
	c.do(c.s.Checkpoint)
	return c
}

const perLeaf = 16 // values of 1000 bytes

func leafKey(i, behind int) []byte { return fmt.Appendf(nil, "%08d", 10*i+behind) }

// The tree gets longer by half when every other leaf is divided, however little is put: the fold that comes next must find room in what is left then,
// and one that begins meanwhile is let in for it. So is a mount after a crash.
func TestNextFoldReckonsWithTheLongerTree(t *testing.T) {
	c := packed(t, 2407, 1000)
	one := func(f *engine.Fiber, i, behind, size int) {
		_, err := c.s.Update(f, func(tx *Tx) error { return tx.Put(1, leafKey(i, behind), make([]byte, size)) })
		c.must(err)
	}
	c.do(func(f *engine.Fiber) error {
		for i := perLeaf / 2; i < 1000*perLeaf; i += 2 * perLeaf {
			one(f, i, 5, 300)
		}
		was, longest := c.s.treeNodes()*uint64(c.s.pool), uint64(0)
		c.s.wantCheckpoint(f.Turn())
		for c.s.frozen == nil {
			f.Sleep(1e6)
		}
		for i := 0; i < 1000*perLeaf; i += perLeaf / 2 {
			one(f, i, 7, 8)
			longest = max(longest, c.s.treeNodes()*uint64(c.s.pool))
		}
		for c.s.frozen != nil {
			f.Sleep(1e6)
		}
		if longest = max(longest, c.s.treeNodes()*uint64(c.s.pool)); longest < was*5/4 {
			t.Fatalf("the tree had %d blocks and then %d: the leaves were not full", was, longest)
		}
		return c.s.Checkpoint(f)
	})
	c.unmount()
	c.fsck()
}

// A long value takes a whole piece where free space lies in pieces of one node each, and a node is written before the next value: what is left of
// the piece is too short for it.
func TestValuesBetweenNodesTakeWholePieces(t *testing.T) {
	c := roomy(t, 2406, 64<<20, 16<<10)
	const n, leaf = 11200, 16
	put := func(i, size int) {
		t.Helper()
		c.update(func(tx *Tx) error { return tx.Put(1, fmt.Appendf(nil, "%08d", i), make([]byte, size)) })
	}
	for i := range n {
		put(i, 1000)
	}
	c.do(c.s.Checkpoint)
	tree := c.s.treeNodes() * uint64(c.s.pool)
	names := c.bricks(64, "")
	pieces := (tree*9/8 + 900) / 4
	for i := range pieces {
		c.update(func(tx *Tx) error { return tx.Punch(1, names[i/8], i%8*8*blockSize, 4*blockSize) })
	}
	c.do(c.s.Checkpoint)
	if c.s.alloc.Runs() < int(pieces) {
		t.Fatalf("%d blocks are free in %d runs", c.s.alloc.FreeBlocks(), c.s.alloc.Runs())
	}
	for i := leaf / 2; i < n; i += leaf {
		put(i, 1030)
	}
	c.do(c.s.Checkpoint)
	c.unmount()
	c.fsck()
}
