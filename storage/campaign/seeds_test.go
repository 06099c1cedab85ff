package campaign

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"basalt/engine/sim"
)

const seeds = 3000

// Three thousand random lives, each with its own limits, mix and faults, several generations each: a power cut at a random
// operation (during a mount too), read, write and flush errors, slow operations; half of them tell the device what is free.
// BASALT_FROM and BASALT_SEEDS run other seeds, or more: a thousand take forty seconds of one CPU, so that many more of them
// need a longer -timeout than ten minutes.
func TestRandomLives(t *testing.T) {
	var sum tally
	t.Run("all", func(t *testing.T) {
		if seed, ok := where(t, "BASALT_SEED"); ok {
			liveOn(t, seed, &sum)
			return
		}
		from, _ := where(t, "BASALT_FROM")
		count, ok := where(t, "BASALT_SEEDS")
		if !ok {
			count = seeds
		}
		const parts = 4
		for part := range uint64(parts) {
			t.Run(fmt.Sprintf("part%d", part), func(t *testing.T) {
				t.Parallel()
				for seed := from + part; seed < from+count; seed += parts {
					liveOn(t, seed, &sum)
				}
			})
		}
	})
	t.Logf("%d lives: %d ended by a power cut, %d more cuts while mounting, %d read-only, %d in peace; %d transactions met a device error, %d a full device; %d snapshots and %d reads compared; %d discards, %d failed",
		sum.lives.Load(), sum.cuts.Load(), sum.mountCuts.Load(), sum.readOnly.Load(), sum.peaceful.Load(), sum.ioErrors.Load(), sum.full.Load(), sum.snapshots.Load(), sum.reads.Load(),
		sum.discards.Load(), sum.discardErrs.Load())
}

func liveOn(t *testing.T, seed uint64, sum *tally) {
	t.Helper()
	if _, err := generations(seed, sum); err != nil {
		t.Fatalf("seed %d: %v\nrerun: BASALT_SEED=%d go test -run TestRandomLives ./storage/campaign", seed, err, seed)
	}
}

// Flushes fail often, beside others that succeed: one of a group beside one of a checkpoint, in both orders. What the failed
// one covered is lost, whatever the other said. (A checkpoint once wrote its superblock although the flush of a group, which
// covered its nodes as well, had failed.)
func TestFlushErrorBesideAnotherFlush(t *testing.T) {
	var sum tally
	only, one := where(t, "BASALT_SEED")
	for seed := range uint64(400) {
		if one && seed != only {
			continue
		}
		r := rand.New(rand.NewPCG(seed, 0xf1))
		p := drawPlan(r, seed)
		p.faults, p.txns, p.patchy = sim.Faults{FlushError: 0.08}, 60, false
		p.opt.DeltaBytesMax, p.opt.GroupDelayNs = 256<<10, 100_000
		if _, err := generationsOf(p, r, &sum); err != nil {
			t.Fatalf("seed %d: %v\nrerun: BASALT_SEED=%d go test -run TestFlushErrorBesideAnotherFlush ./storage/campaign", seed, err, seed)
		}
	}
	if sum.readOnly.Load() < 100 && !one {
		t.Fatalf("only %d lives met a failed flush", sum.readOnly.Load())
	}
}

// The same seed must live the same lives: the store is deterministic, or no seed is worth anything.
func TestStoreIsDeterministic(t *testing.T) {
	var sum tally
	for seed := range uint64(6) {
		a, err := generations(seed, &sum)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := generations(seed, &sum)
		if a != b {
			t.Fatalf("seed %d: trace %016x, then %016x", seed, a, b)
		}
	}
}

// drawPlan decides how the lives of a seed are lived.
func drawPlan(r *rand.Rand, seed uint64) plan {
	p := plan{seed: seed, disk: int64(6+r.IntN(4)) << 20, journal: 256 << 10 << r.IntN(2), node: 8 << 10 << r.IntN(2),
		opt: tiny(), fibers: 1 + r.IntN(4), txns: 8 + r.IntN(32), actions: 6, swarm: r.IntN(2) == 0}
	p.opt.DeltaBytesMax <<= r.IntN(3)
	p.opt.CacheBytes <<= r.IntN(3)
	p.opt.GroupDelayNs <<= r.IntN(6)
	p.opt.RunBlocks <<= r.IntN(3)
	p.opt.GroupStartBytes <<= r.IntN(3)
	p.opt.LimboShare = []int{4, 8, 64}[r.IntN(3)]
	p.opt.ExactBlocksMax = []int{0, 8, 64}[r.IntN(3)]
	p.opt.TurnBudgetNs = []int64{0, 5_000}[r.IntN(2)]
	p.opt.SharedMax = []int{0, 0, 0, 40}[r.IntN(4)]
	switch r.IntN(8) {
	case 0:
		p.faults.ReadError = 0.02
	case 1:
		p.faults.WriteError = 0.01
	case 2:
		p.faults.FlushError = 0.03
	case 3:
		p.faults.Slow, p.faults.SlowNs = 0.05, 20_000_000
	case 4:
		p.faults.SlowRead, p.faults.SlowNs = 0.3, 100_000_000
	}
	switch r.IntN(10) {
	case 0:
		p.cramp()
	case 1:
		p.patchy, p.journal, p.opt.DeltaBytesMax, p.txns = true, 1<<20, 4<<20, 120
	case 2:
		p.crowded, p.disk, p.opt.RunBlocks = true, 4<<20, 4
	}
	p.discards(rand.New(rand.NewPCG(seed, 0xd15c)))
	return p
}

// discards has every other store tell the device what is free, of any size, at any pace. It draws from a source of its own: the other half of
// the seeds lives as it would without.
func (p *plan) discards(r *rand.Rand) {
	p.opt.Discard = r.IntN(2) == 0
	p.opt.DiscardMinBytes = pageSize << r.IntN(6)
	p.opt.DiscardBytesPerSec = []int64{1 << 20, 64 << 20, 4 << 30}[r.IntN(3)]
	p.opt.DiscardDelayNs = []int64{30_000, 300_000, 3_000_000}[r.IntN(3)]
}

// cramp makes the journal so small that it is full all the time.
func (p *plan) cramp() {
	p.cramped, p.journal, p.fibers, p.actions = true, 64<<10, 6, 3
	p.opt.TxnRecordMax, p.opt.GroupRecordMax, p.opt.GroupDelayNs = 16<<10, 32<<10, 200_000
}

// generations lives a few lives on one disk and returns the hash of their traces.
func generations(seed uint64, sum *tally) (hash uint64, err error) {
	r := rand.New(rand.NewPCG(seed, 0x6e5))
	return generationsOf(drawPlan(r, seed), r, sum)
}

func generationsOf(p plan, r *rand.Rand, sum *tally) (hash uint64, err error) {
	seed := p.seed
	m := newModel()
	var disk *sim.Disk
	var reported, applied uint64
	for g := range uint64(1 + r.IntN(3)) {
		l, err := begin(p, seed*16+g, disk, m)
		if err == nil {
			err = l.live(r, disk == nil, reported, applied, sum)
		}
		if err != nil {
			dump := l.w.Dump()
			l.end()
			return hash, fmt.Errorf("generation %d: %w\n%s", g, err, tail(dump))
		}
		reported, applied = l.reported, l.appliedAtEnd
		disk = l.disk.AfterPowerLoss()
		hash = hash*31 + l.w.TraceHash()
		l.end()
	}
	l, err := begin(p, seed*16+15, disk, m)
	defer l.end()
	if err == nil {
		err = l.lastCheck(reported, applied)
	}
	if err != nil {
		return hash, fmt.Errorf("after the last generation: %w\n%s", err, tail(l.w.Dump()))
	}
	return hash*31 + l.w.TraceHash(), nil
}

// tail is the last lines of a dump, for whoever runs one seed again.
func tail(s string) string {
	const most = 6000
	if os.Getenv("BASALT_SEED") == "" {
		return ""
	}
	if len(s) > most {
		return "…" + s[len(s)-most:]
	}
	return s
}

// live is one life: recovery of what the one before left, work, and an end.
func (l *life) live(r *rand.Rand, first bool, reported, applied uint64, sum *tally) error {
	sum.lives.Add(1)
	if first {
		if err := l.format(); err != nil {
			return fmt.Errorf("format: %w", err)
		}
		if err := l.mount(); err != nil {
			return fmt.Errorf("first mount: %w", err)
		}
		if err := l.makeCollections(); err != nil {
			return fmt.Errorf("collections: %w", err)
		}
		if l.p.crowded {
			if err := errors.Join(l.fillUp(), l.bad, l.thinOut()); err != nil {
				return fmt.Errorf("filling: %w", err)
			}
		}
	} else if err := l.recover(r, reported, applied, sum); err != nil {
		return err
	}
	if r.IntN(4) > 0 {
		l.disk.CutPowerAt(l.disk.Ops() + 1 + r.Uint64N(uint64(l.p.fibers*l.p.txns)))
	}
	l.disk.SetFaults(l.p.faults)
	err := l.workload()
	if err == nil && l.bad == nil && r.IntN(6) == 0 {
		err = l.fillUp()
	}
	l.disk.SetFaults(sim.Faults{})
	l.disk.CutPowerAt(0)
	if err == nil {
		err = l.bad
	}
	l.appliedAtEnd = uint64(l.s.Applied())
	sum.full.Add(int64(l.fulls))
	sum.ioErrors.Add(int64(l.ioErrs))
	sum.snapshots.Add(int64(l.scans))
	sum.reads.Add(int64(l.reads))
	sum.discards.Add(int64(l.s.Stats().Discards))
	sum.discardErrs.Add(int64(l.s.Stats().DiscardErrors))
	switch {
	case errors.Is(err, sim.ErrPowerCut):
		sum.cuts.Add(1)
		return nil
	case err != nil:
		return err
	case l.refused > 0 || l.p.faults != (sim.Faults{}) && l.s.Stats().ReadOnly:
		sum.readOnly.Add(1)
		return l.stillReads()
	case r.IntN(2) == 0:
		return l.leave(sum)
	}
	return nil
}
