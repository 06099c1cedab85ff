package meta

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"basalt/engine/sim"
	"basalt/meta/record"
)

// Two thousand lives, each with its own seed: some fibers make requests at random, the power goes at a random operation, unflushed writes are kept, lost or
// torn, and the next life goes on with what is left. BASALT_SEEDS says how many, BASALT_SEED runs one.
func TestRandomLives(t *testing.T) {
	first, count := uint64(1000), uint64(envInt(t, "BASALT_SEEDS", 2000))
	if s := envInt(t, "BASALT_SEED", -1); s >= 0 {
		first, count = uint64(s), 1
	}
	const parts = 4
	var cuts, whole, full atomic.Int64
	t.Run("lives", func(t *testing.T) {
		for part := range uint64(parts) {
			t.Run(fmt.Sprint("part", part), func(t *testing.T) {
				t.Parallel()
				for seed := first + part; seed < first+count; seed += parts {
					l := lives{seed: seed, rng: rand.New(rand.NewPCG(seed, 3)), t: t}
					if err := l.live(); err != nil {
						t.Fatalf("seed %d, life %d: %v\nrerun: BASALT_SEED=%d go test -run TestRandomLives ./meta", seed, l.n, err, seed)
					}
					cuts.Add(int64(l.cuts))
					whole.Add(int64(l.whole))
					full.Add(int64(l.load.count[record.NoSpace]))
				}
			})
		}
	})
	t.Logf("%d seeds: %d lives ended by a power cut, %d in peace; %d requests met a full store", count, cuts.Load(), whole.Load(), full.Load())
}

type lives struct {
	seed  uint64
	rng   *rand.Rand
	t     *testing.T
	e     *estate
	o     *oracle
	load  *load
	known int // deeds that the oracle has learned
	n     int
	cuts  int
	whole int
}

func (l *lives) live() (err error) {
	if l.e, err = newEstate(l.seed, nil); err != nil {
		return err
	}
	defer func() { l.e.w.Close() }()
	l.o = newOracle(l.t, estateFormat())
	defer l.o.w.Close()
	l.load = newLoad(l.rng, estateStripe)
	l.load.most = 1 + l.rng.IntN(estateStripe)
	if err := l.e.format(); err != nil {
		return err
	}
	for l.n = range 2 + l.rng.IntN(3) {
		if err := l.one(); err != nil {
			return err
		}
	}
	return nil
}

// one is a life from mount to its end, and the look at what is left.
func (l *lives) one() error {
	e := l.e
	if err := e.mount(); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if err := l.compare(e.reported); err != nil {
		return err
	}
	l.load.attach(e.s, e.sess)
	if l.rng.IntN(4) > 0 {
		e.disk.CutPowerAt(e.disk.Ops() + 1 + l.rng.Uint64N(80))
	}
	err := e.run(l.load, 1+l.rng.IntN(4), 1+l.rng.IntN(60))
	if err == nil && l.rng.IntN(4) == 0 {
		err = e.fill(l.load)
	}
	if err == nil {
		err = e.unmount()
	}
	applied, reported := uint64(e.store.Applied()), e.reported
	switch {
	case err == nil:
		l.whole++
		reported = applied
	case !errors.Is(err, sim.ErrPowerCut):
		return err
	default:
		l.cuts++
	}
	return l.next(reported, applied)
}

// next is a new world around what the disk holds.
func (l *lives) next(reported, applied uint64) error {
	if err := l.o.learn(l.load.deeds[l.known:]); err != nil {
		return err
	}
	disk := l.e.disk.AfterPowerLoss()
	l.e.w.Close()
	var err error
	if l.e, err = newEstate(l.seed+uint64(l.n)<<40, disk); err != nil {
		return err
	}
	if err := l.e.fsck(); err != nil {
		return fmt.Errorf("fsck: %w", err)
	}
	if err := l.e.mount(); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	at := l.e.reported
	if at < reported || at > applied {
		return fmt.Errorf("recovered up to transaction %d, reported %d, applied %d", at, reported, applied)
	}
	l.o.forgetAfter(at)
	deeds := l.load.deeds
	for len(deeds) > 0 && deeds[len(deeds)-1].txn > at {
		deeds = deeds[:len(deeds)-1]
	}
	l.load.deeds, l.known = deeds, len(deeds)
	if err := l.compare(at); err != nil {
		return err
	}
	if err := l.e.check(0); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	return l.e.unmount()
}

// compare starts the namespace and compares its tree with the oracle's.
func (l *lives) compare(at uint64) error {
	if err := l.e.serve(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	got, err := l.e.dump()
	if err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	want, err := l.o.dumpAt(at)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("after transaction %d: %s", at, differAt(want, got))
	}
	return nil
}
