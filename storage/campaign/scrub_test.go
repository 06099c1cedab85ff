package campaign

import (
	"errors"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/storage"
)

// scrubbing has the scrub run one pass after the other while fibers work.
func (l *life) scrubbing(t *testing.T) {
	t.Helper()
	if err := l.w.Go(l.r, func(f *engine.Fiber) {
		for l.left > 0 && l.bad == nil {
			if err := l.s.StartScrub(f.Turn()); err != nil {
				l.bad = err
			}
			f.Sleep(200_000)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// The scrub runs beside everything else that a store does, over many checkpoints: blocks that are freed and taken again under its eyes are no
// findings, and it neither changes what is read nor keeps blocks from coming back.
func TestScrubBesideTheWorkload(t *testing.T) {
	passes := uint64(0)
	for seed := range uint64(12) {
		p := faultPlan(seed)
		p.txns, p.opt.ScrubBytesPerSec = 120, 1<<34
		if seed%2 == 1 {
			p.opt.ScrubBytesPerSec = 8 << 20
		}
		l := grownLife(t, p)
		if seed%3 == 0 {
			l.p.faults = sim.Faults{Slow: 0.02, SlowNs: 2_000_000} // reads that last while their blocks are freed
			l.disk.SetFaults(l.p.faults)
		}
		if err := l.work(); err != nil {
			t.Fatal(err)
		}
		l.scrubbing(t)
		if err := errors.Join(l.w.Run(l.done), l.bad); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		st := l.s.Stats()
		if st.Quarantined != 0 || st.Scrub.FoundTotal != 0 {
			t.Fatalf("seed %d: %d findings on a sound disk: %v", seed, st.Scrub.FoundTotal, l.s.Quarantine())
		}
		passes += st.Scrub.Passes
		l.disk.SetFaults(sim.Faults{})
		l.onlyVictims(t, 0)
		if err := errors.Join(l.unmount(), l.fsck()); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	if passes < 30 {
		t.Fatalf("only %d passes", passes)
	}
}

// One block rots, cannot be read, or was written to elsewhere, while the store works. Promise: a pass of the scrub lists it with its object and
// nothing else; every other thing is read as ever; what is written anew leaves the list.
func TestScrubFindsTheVictim(t *testing.T) {
	for seed := range uint64(9) {
		l := grownLife(t, faultPlan(seed))
		at := l.victim(t, "victim")
		switch seed % 3 {
		case 0:
			l.disk.Flip(at+int64(seed)*400, uint(seed%8))
		case 1:
			l.disk.Damage(at, pageSize)
		case 2:
			other := make([]byte, pageSize)
			l.disk.ReadAt(other, l.victim(t, "other"))
			l.disk.WriteAt(other, at)
		}
		if err := errors.Join(l.workload(), l.bad); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		l.scrubOnce(t)
		list := l.s.Quarantine()
		if len(list) != 1 || list[0].Coll != victims || string(list[0].Object) != "victim" || list[0].Block != 1 || list[0].At.Offset() != at {
			t.Fatalf("seed %d: in quarantine: %v", seed, list)
		}
		l.onlyVictims(t, 1)
		l.run(t, func(f *engine.Fiber) error {
			return l.update(f, []action{{kind: writeBlocks, coll: victims, name: "victim", data: fill(l.rng, 2*pageSize)}})
		})
		if list := l.s.Quarantine(); len(list) != 0 {
			t.Fatalf("seed %d: still in quarantine: %v", seed, list)
		}
		l.scrubOnce(t)
		if st := l.s.Stats(); st.Scrub.Findings != 0 || st.InQuarantine != 0 {
			t.Fatalf("seed %d: found again: %v", seed, l.s.Quarantine())
		}
		if err := errors.Join(l.unmount(), l.fsck()); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func (l *life) scrubOnce(t *testing.T) {
	t.Helper()
	var before storage.ScrubStats
	l.run(t, func(f *engine.Fiber) error {
		before = l.s.Stats().Scrub
		return l.s.StartScrub(f.Turn())
	})
	if err := l.w.Run(func() bool { return l.s.Stats().Scrub.Passes > before.Passes }); err != nil {
		t.Fatal(err)
	}
}
