package campaign

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/storage"
	"basalt/storage/format"
)

const repairSeeds = 150

// A store that has lived, was left in peace or by a power cut, and whose disk was hurt then: a repair with every wish either says that it cannot do
// anything, and has written nothing, or gives a store that the check finds clean, and in which all is right but what was named; though its own
// power may be cut.
func TestRepairOfHurtStores(t *testing.T) {
	only, one := where(t, "BASALT_SEED")
	count, more := where(t, "BASALT_SEEDS")
	if !more {
		count = repairSeeds
	}
	var sum repairTally
	for seed := range count {
		if one && seed != only {
			continue
		}
		if err := repairOn(seed, &sum); err != nil {
			t.Fatalf("seed %d: %v\nrerun: BASALT_SEED=%d go test -run TestRepairOfHurtStores ./storage/campaign", seed, err, seed)
		}
	}
	t.Logf("%+v", sum)
	if !one && (sum.refused == count || sum.blocks == 0 || sum.tails == 0 || sum.fixes == 0 || sum.torn == 0 || sum.cuts == 0) {
		t.Errorf("not everything was met: %+v", sum)
	}
}

type repairTally struct{ refused, nothing, fixes, blocks, patches, tails, torn, cuts uint64 }

// repairOn lives a life, hurts its disk, and repairs it.
func repairOn(seed uint64, sum *repairTally) error {
	r := rand.New(rand.NewPCG(seed, 0x4e9))
	p := faultPlan(seed)
	p.txns = 10 + r.IntN(40)
	m := newModel()
	l, err := begin(p, seed, nil, m)
	if err != nil {
		return err
	}
	defer func() { l.end() }()
	if seed%3 > 0 { // a torn tree with clones is refused
		l.src.total, l.src.w[clone] = l.src.total-l.src.w[clone], 0
	}
	for _, step := range []func() error{l.format, l.mount, l.makeCollections, l.workload, func() error { return l.bad }, l.commitAll} {
		if err := step(); err != nil {
			return err
		}
	}
	applied, disk := uint64(l.s.Applied()), l.disk.AfterPowerLoss()
	if r.IntN(3) == 0 {
		if err := l.unmount(); err != nil {
			return err
		}
		disk = l.disk.AfterPowerLoss()
	}
	l.end()
	hurt(r, disk, &p)
	if l, err = begin(p, seed+1<<40, disk, m); err != nil {
		return err
	}
	before := l.all()
	plan, err := l.planRepair()
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	sum.note(plan)
	if len(plan.Refused) > 0 || plan.Nothing() {
		if !bytes.Equal(before, l.all()) {
			return fmt.Errorf("the plan has written something")
		}
		return nil
	}
	if r.IntN(2) == 0 {
		l.disk.CutPowerAt(l.disk.Ops() + 1 + r.Uint64N(60))
	}
	err = l.repair(plan)
	l.disk.CutPowerAt(0)
	if errors.Is(err, sim.ErrPowerCut) {
		sum.cuts++
		if err = l.again(); err != nil {
			return err
		}
		var rest *storage.RepairPlan
		if rest, err = l.planRepair(); err == nil {
			err = l.repair(rest)
		}
	}
	if err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	if len(plan.Losses.Ranges) > 0 {
		sum.torn++
		return l.repairRest()
	}
	return l.repaired(plan, applied)
}

// repairRest repairs what a torn tree has hidden, until the check finds nothing.
func (l *life) repairRest() error {
	for {
		rest, err := l.planRepair()
		if err != nil || rest.Nothing() {
			return errors.Join(err, l.fsck())
		}
		if err := l.repair(rest); err != nil {
			return fmt.Errorf("repair of what was torn: %w", err)
		}
	}
}

// hurt spoils one to three places: blocks that are in use anywhere, records of the journal, copies at the ends.
func hurt(r *rand.Rand, disk *sim.Disk, p *plan) {
	label, err := format.PlanLabel([16]byte{1}, uint64(p.disk)/format.BlockBytes, 1)
	if err != nil {
		panic(err)
	}
	first := label.Slice(0)[0]
	supers := format.SuperPlaces(first)
	journal := int64(first.Start+2*format.SuperPitchBlocks) * pageSize
	for range 1 + r.IntN(3) {
		var at int64
		switch r.IntN(6) {
		case 0:
			at = int64(supers[r.IntN(2)][r.IntN(2)]) * pageSize
		case 1:
			at = format.LabelPlaces(uint64(p.disk) / pageSize)[r.IntN(2)].Offset()
		case 2:
			at = journal + r.Int64N(p.journal/pageSize/4)*pageSize
		default:
			for b, tries := make([]byte, pageSize), 0; tries < 30 && bytes.Count(b, []byte{0}) == pageSize; tries++ {
				at = (journal + p.journal) + r.Int64N((p.disk-journal-p.journal)/pageSize)*pageSize
				disk.ReadAt(b, at)
			}
		}
		if r.IntN(4) == 0 {
			disk.Damage(at, pageSize)
		} else {
			disk.Flip(at+r.Int64N(pageSize), uint(r.IntN(8)))
		}
	}
}

func (s *repairTally) note(p *storage.RepairPlan) {
	switch {
	case len(p.Refused) > 0:
		s.refused++
		return
	case p.Nothing():
		s.nothing++
	}
	s.fixes += uint64(len(p.Fixes))
	s.blocks += uint64(len(p.Losses.Blocks))
	s.patches += uint64(len(p.Losses.Patches))
	if p.Losses.Tail != nil {
		s.tails++
	}
}

// all is what is on the disk.
func (l *life) all() []byte {
	p := make([]byte, l.disk.Bytes())
	l.disk.ReadAt(p, 0)
	return p
}

func (l *life) planRepair() (p *storage.RepairPlan, err error) {
	err = l.do(func(f *engine.Fiber) error {
		p, err = storage.PlanRepair(f, l.h, 0, l.p.opt)
		return errors.Join(err, l.noLeak(f))
	})
	return p, err
}

func (l *life) repair(p *storage.RepairPlan) error {
	return l.do(func(f *engine.Fiber) error {
		err := storage.Repair(f, l.h, 0, l.p.opt, p, storage.RepairWish{Blocks: true, Journal: true, Nodes: true, Unmapped: true})
		if errors.Is(err, sim.ErrPowerCut) {
			return err
		}
		return errors.Join(err, l.noLeak(f))
	})
}

// repaired demands a clean store that is as after a transaction: the last one, or the one before the first that was named as lost; in everything but
// the objects of which blocks were named.
func (l *life) repaired(p *storage.RepairPlan, applied uint64) error {
	if err := l.fsck(); err != nil {
		return fmt.Errorf("after the repair: %w", err)
	}
	if err := l.mount(); err != nil {
		return fmt.Errorf("after the repair: %w", err)
	}
	if p.Losses.Tail != nil {
		applied = p.Losses.Tail.First - 1
	}
	named := map[string]bool{}
	for _, x := range p.Losses.Blocks {
		named[string(rune(x.Coll))+string(x.Object)] = true
	}
	for _, x := range p.Losses.Patches {
		named[string(rune(x.Coll))+string(x.Object)] = true
	}
	return l.do(func(f *engine.Fiber) error {
		at, err := l.recovered(f)
		cut := p.Report.Mount.Cut != "" // rot of what only the last record had: for every mount it looks like a crash
		if err != nil || at != applied && (!cut || at > applied) {
			return fmt.Errorf("the store is as after transaction %d, want %d: %w", at, applied, err)
		}
		if at == 0 {
			return nil
		}
		for c := 1; c <= colls; c++ {
			if err := l.s.View(f, func(tx *storage.Tx) error { return checkScan(tx, l.m, c, "", "", at) }); err != nil {
				return err
			}
		}
		for _, n := range l.m.objects.names {
			err := l.compareObject(f, int(n[0]), n[1:], at)
			var other *mismatch
			if named[n] && errors.As(err, &other) {
				err = nil
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
