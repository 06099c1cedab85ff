package campaign

import (
	"errors"
	"testing"

	"basalt/engine/sim"
)

// discardPlan is a life that tells the device what is free all the time, in pieces of any size.
func discardPlan(seed uint64) plan {
	p := faultPlan(seed)
	p.txns = 60
	p.opt.Discard, p.opt.DiscardMinBytes, p.opt.DiscardBytesPerSec, p.opt.DiscardDelayNs = true, pageSize<<(seed%4), 4<<30, 100_000
	return p
}

// The power goes whenever a discard begins or ends: what was committed does not depend on anything that is discarded, whether a discard has been
// done, undone, or done in part.
func TestPowerCutAtEveryDiscard(t *testing.T) {
	cuts := 0
	for seed := range uint64(4) {
		p := discardPlan(seed)
		l := grownLife(t, p)
		l.disk.OnEvent(func(d *sim.Disk, what string) {
			if what != "begin discard" && what != "end discard" || l.bad != nil {
				return
			}
			cuts++
			l.bad = surviveLoss(l.p, l.m, 1, l.reported, uint64(l.s.Applied()), d.Fork().AfterPowerLossSeed(seed<<32+d.Ops()))
		})
		if err := errors.Join(l.workload(), l.bad); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		l.disk.OnEvent(nil)
		if err := l.unmount(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	if cuts < 100 {
		t.Fatalf("only %d cuts", cuts)
	}
}

// A discard that fails, with a part of it done, is the end of the discards of that mount, and of nothing else.
func TestFaultDiscardError(t *testing.T) {
	for nth := 1; nth <= 9; nth += 2 {
		l := grownLife(t, discardPlan(uint64(nth)))
		before := l.s.Stats()
		good := before.Discards + uint64(nth) - 1
		if before.Discard.HeldBlocks > 0 { // one is under way, and will be well
			good++
		}
		l.disk.FaultAt(sim.FaultDiscardError, nth)
		if err := errors.Join(l.workload(), l.bad); err != nil {
			t.Fatalf("discard %d: %v", nth, err)
		}
		st := l.s.Stats()
		if st.ReadOnly || l.refused > 0 || st.DiscardErrors != 1 || st.Discards != good || st.Discard.Why == "" {
			t.Fatalf("discard %d: %+v", nth, st)
		}
		l.onlyVictims(t, 0)
		if err := l.unmount(); err != nil {
			t.Fatalf("discard %d: %v", nth, err)
		}
		if n := len(l.findings(t)); n > 0 {
			t.Fatalf("discard %d: %d findings", nth, n)
		}
	}
}
