package storage

import (
	"fmt"
	"testing"
)

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
