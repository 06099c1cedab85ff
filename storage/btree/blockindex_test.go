package btree

import (
	"math/rand/v2"
	"testing"

	"basalt/storage/format"
)

// The index against a map, with blocks that come and go, and many whose places collide.
func TestBlockIndex(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	var x blockIndex
	x.init()
	want := map[format.BlockNo]int32{}
	var blocks []format.BlockNo
	for len(blocks) < 3000 {
		if b := format.BlockNo(rng.Uint64N(1 << 40)); len(blocks) > 1000 || x.home(b)%16 == 0 {
			blocks = append(blocks, b)
		}
	}
	for step := range 200_000 {
		b := blocks[rng.IntN(len(blocks))]
		if most := 100 + step%1500; len(want) > most || rng.IntN(2) == 0 {
			x.remove(b)
			delete(want, b)
		} else {
			f := int32(rng.IntN(1 << 20))
			x.put(b, f)
			want[b] = f
		}
		if step%500 != 0 {
			continue
		}
		for _, b := range blocks {
			if f, ok := want[b]; ok && x.get(b) != f || !ok && x.get(b) != -1 {
				t.Fatalf("step %d: block %d has frame %d, want %d (%v)", step, b, x.get(b), f, ok)
			}
		}
		if x.n != len(want) || 2*x.n > len(x.slots) {
			t.Fatalf("step %d: %d blocks of %d in %d slots", step, x.n, len(want), len(x.slots))
		}
	}
}
