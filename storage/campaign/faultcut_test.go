package campaign

import (
	"fmt"
	"testing"

	"basalt/engine/sim"
)

// The power goes in each device operation of a life, at its begin and at its end, and treats what no flush has covered in
// one chosen way. TestPowerCutEverywhere lets a seed choose, over a longer life.

// cutsOf lives a life and keeps the disk at each event.
func cutsOf(t *testing.T, seed uint64) (p plan, m *model, cuts []cut) {
	t.Helper()
	p, m = faultPlan(seed), newModel()
	l, err := begin(p, seed, nil, m)
	if err != nil {
		t.Fatal(err)
	}
	defer l.end()
	if err := l.format(); err != nil {
		t.Fatal(err)
	}
	l.disk.OnEvent(func(d *sim.Disk, what string) {
		applied := uint64(0)
		if l.s != nil {
			applied = uint64(l.s.Applied())
		}
		cuts = append(cuts, cut{n: len(cuts), op: d.Ops(), what: what, disk: d.Fork(), reported: l.reported, applied: applied})
	})
	for _, step := range []func() error{l.mount, l.makeCollections, l.workload, func() error { return l.bad }, l.unmount} {
		if err := step(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	if st := l.s.Stats(); st.Checkpoints < 1 || st.Groups < 5 {
		t.Fatalf("seed %d: the workload is too tame: %d checkpoints, %d groups", seed, st.Checkpoints, st.Groups)
	}
	return p, m, cuts
}

// cutEach demands that every cut of a life is survived under each loss.
func cutEach(t *testing.T, seed uint64, losses ...sim.Loss) {
	t.Helper()
	p, m, cuts := cutsOf(t, seed)
	volatile := 0
	for i := range cuts {
		c := &cuts[i]
		if volatile += min(1, c.disk.Volatile()); c.disk.Volatile() == 0 && i%8 != 0 {
			continue // nothing to lose
		}
		for _, loss := range losses {
			left := c.disk.AfterPowerLossOf(loss, seed<<32+uint64(i))
			if err := surviveLoss(p, m, c.n, c.reported, c.applied, left); err != nil {
				t.Fatalf("seed %d, cut %d (%s, operation %d), %+v: %v", seed, i, c.what, c.op, loss, err)
			}
		}
		c.disk = nil // let the memory go
	}
	if volatile < 50 {
		t.Fatalf("only %d cuts had something to lose", volatile)
	}
}

// Every write that no flush has covered is torn at sectors. Promise: everything reported as committed is there, nothing is
// half applied, and the check has nothing to find: a torn record is the end of the log, torn data cuts its record off, a torn
// superblock leaves the one before.
func TestFaultTornWrite(t *testing.T) {
	t.Parallel()
	cutEach(t, 1, sim.Loss{Tear: 1})
	cutEach(t, 2, sim.Loss{Tear: 0.5, Keep: 0.9})
}

// Every write that no flush has covered is lost, or most of them. Promise: as for torn ones; what is missing was never
// reported as committed.
func TestFaultUnflushedWritesAreLost(t *testing.T) {
	t.Parallel()
	cutEach(t, 3, sim.Loss{})
	cutEach(t, 4, sim.Loss{Keep: 0.1})
}

// Writes reach the media in another order than they were sent or completed: of what no flush has covered the newest is
// there and the older ones are not. Promise: as for torn ones; only a flush makes an order.
func TestFaultReorderedWrites(t *testing.T) {
	t.Parallel()
	cutEach(t, 5, sim.Loss{Newest: 1})
	cutEach(t, 6, sim.Loss{Newest: 2}, sim.Loss{Keep: 0.5})
}

// rotten runs lives on a device that is bad in the named way (rotModes).
func rotten(t *testing.T, name string, seeds uint64) {
	t.Helper()
	for i := range rotModes {
		if rotModes[i].name != name {
			continue
		}
		found := 0
		for n := range seeds {
			seed := n*uint64(len(rotModes)) + uint64(i)
			more, err := rotOn(seed)
			if err != nil {
				t.Fatalf("rot seed %d: %v\nrerun: BASALT_SEED=%d go test -run TestRotIsNeverServed ./storage/campaign", seed, err, seed)
			}
			found += more
		}
		if found == 0 {
			t.Fatal("no damage was ever noticed")
		}
		return
	}
	t.Fatal(fmt.Errorf("no device is bad by %q", name))
}
