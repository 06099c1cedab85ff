package campaign

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
)

// Reads take long while writers replace what is being read, checkpoint after checkpoint frees it, and others take the
// blocks. Each read, of an object, of a node for a scan, of a block to be patched, must show some state of its own time.
func TestSlowReadsKeepTheirBlocks(t *testing.T) {
	only, one := where(t, "BASALT_SEED")
	reads, checkpoints := 0, uint64(0)
	for seed := range uint64(24) {
		if one && seed != only {
			continue
		}
		l, err := slowReaders(seed)
		if err == nil {
			err = l.bad
		}
		reads += l.reads
		if l.s != nil {
			checkpoints += l.s.Stats().Checkpoints
		}
		l.end()
		if err != nil {
			t.Fatalf("seed %d: %v\nrerun: BASALT_SEED=%d go test -run TestSlowReadsKeepTheirBlocks ./storage/campaign", seed, err, seed)
		}
	}
	if !one && (reads < 500 || checkpoints < 500) {
		t.Fatalf("only %d reads beside %d checkpoints", reads, checkpoints)
	}
}

func slowReaders(seed uint64) (*life, error) {
	r := rand.New(rand.NewPCG(seed, 0x5107))
	p := drawPlan(r, seed)
	p.faults, p.swarm, p.patchy, p.cramped = sim.Faults{SlowRead: 0.5, SlowNs: 40_000_000}, false, false, false
	p.disk, p.journal, p.opt = 6<<20, 256<<10, tiny()
	l, err := begin(p, seed, nil, newModel())
	for _, step := range []func() error{l.format, l.mount, l.makeCollections} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		return l, err
	}
	l.disk.SetFaults(p.faults)
	for range 3 {
		err = l.spawn(func(f *engine.Fiber) {
			for n := 0; n < 25 && l.bad == nil; n++ {
				if l.judge(l.readObject(f, 1+l.rng.IntN(colls), fmt.Sprintf("o%d", l.rng.IntN(objectCount)))) && n%8 == 0 {
					l.judge(l.snapshot(f))
				}
			}
		})
		if err != nil {
			return l, err
		}
	}
	for range 2 {
		writing := 0
		err = l.spawn(func(f *engine.Fiber) {
			for l.left > 2 && l.bad == nil && l.judge(l.update(f, l.src.txn())) {
				if writing++; writing%12 == 0 {
					l.judge(l.s.Checkpoint(f))
				}
			}
		})
		if err != nil {
			return l, err
		}
	}
	return l, l.w.Run(l.done)
}
