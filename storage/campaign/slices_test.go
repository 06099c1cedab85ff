package campaign

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/sim"
	"basalt/storage"
	"basalt/storage/format"
)

// shared is several stores, each on a slice and a reactor of its own, on one disk.
type shared struct {
	w     *sim.World
	disk  *sim.Disk
	dev   *device.Device
	lives []*life
}

var sharedID = [16]byte{7, 7, 7}

// beginShared makes a world around a disk (nil: a new one, formatted) and a reactor for each slice, which must keep to it.
func beginShared(p plan, seed uint64, disk *sim.Disk, models []*model) (*shared, error) {
	h := &shared{w: sim.NewWorld(seed)}
	fresh := disk == nil
	if fresh {
		h.disk = h.w.Disk("shared", p.disk*int64(len(models)))
	} else {
		h.disk = h.w.Adopt(disk)
	}
	h.dev = h.disk.Device()
	for n, m := range models {
		l := &life{p: p, w: h.w, disk: h.disk, dev: h.dev, n: n, m: m, rng: rand.New(rand.NewPCG(seed, uint64(n)))}
		l.src = newSource(l.rng, &l.p)
		h.lives = append(h.lives, l)
		if err := l.boot(); err != nil {
			return h, err
		}
	}
	if fresh {
		if err := h.lives[0].do(func(f *engine.Fiber) error {
			return storage.Format(f, h.lives[0].h, storage.FormatOptions{UUID: sharedID, Slices: len(models), JournalBytes: p.journal, NodeBytes: p.node})
		}); err != nil {
			return h, err
		}
	}
	return h, h.confine()
}

// confine lets the disk see that no store writes outside of its slice.
func (h *shared) confine() error {
	label, err := format.PlanLabel(sharedID, uint64(h.disk.Bytes())/format.BlockBytes, len(h.lives))
	if err != nil {
		return err
	}
	for n, l := range h.lives {
		extents := label.Slice(n)
		h.disk.Confine(l.r, func(off, bytes int64) bool {
			for _, e := range extents {
				if e.Offset() <= off && off+bytes <= e.Offset()+e.Bytes() {
					return true
				}
			}
			return false
		})
	}
	return nil
}

func (h *shared) end() { h.w.Close() }

// each runs a step of every life, one after the other; all reactors go on meanwhile.
func (h *shared) each(what string, fn func(l *life) error) error {
	for n, l := range h.lives {
		if err := fn(l); err != nil {
			return fmt.Errorf("%s of slice %d: %w", what, n, err)
		}
	}
	return nil
}

// workload lets all stores work at the same time.
func (h *shared) workload() error {
	if err := h.each("work", (*life).work); err != nil {
		return err
	}
	err := h.w.Run(func() bool {
		for _, l := range h.lives {
			if !l.done() {
				return false
			}
		}
		return true
	})
	for _, l := range h.lives {
		l.appliedAtEnd = uint64(l.s.Applied())
		if l.bad != nil {
			return fmt.Errorf("slice %d: %w", l.n, l.bad)
		}
	}
	return err
}

// start brings a fresh disk to where work can begin.
func (h *shared) start() error {
	if err := h.each("mount", (*life).mount); err != nil {
		return err
	}
	return h.each("collections", (*life).makeCollections)
}

// promise is what a store of a life that is over had said.
type promise struct{ reported, applied uint64 }

func (h *shared) promises() (list []promise) {
	for _, l := range h.lives {
		list = append(list, promise{l.reported, uint64(l.s.Applied())})
	}
	return list
}

// recoverAll mounts every slice of what a life has left, and demands of each what it had promised.
func (h *shared) recoverAll(was []promise) error {
	if err := h.each("fsck", (*life).fsck); err != nil {
		return err
	}
	if err := h.each("mount", (*life).mount); err != nil {
		return err
	}
	return h.each("recovery", func(l *life) error {
		at, err := l.verify(was[l.n].reported, was[l.n].applied)
		if err != nil {
			return err
		}
		l.reported = at
		return nil
	})
}

// goOn makes the recovered state the models' state.
func (h *shared) goOn() error {
	return h.each("going on", func(l *life) error {
		l.m.forgetAfter(l.reported)
		if l.reported == 0 {
			return l.makeCollections()
		}
		return nil
	})
}

// leaveAll unmounts all in peace, and checks.
func (h *shared) leaveAll() error {
	if err := h.each("unmount", (*life).unmount); err != nil {
		return err
	}
	return h.each("fsck after the unmount", (*life).fsck)
}

func models(n int) (list []*model) {
	for range n {
		list = append(list, newModel())
	}
	return list
}

// A slice that is mounted is not mounted again: two stores would overwrite each other. When the first is gone, it is.
func TestSliceIsMountedOnce(t *testing.T) {
	h, err := beginShared(faultPlan(9), 9, nil, models(2))
	defer h.end()
	if err == nil {
		err = h.lives[0].mount()
	}
	if err != nil {
		t.Fatal(err)
	}
	second := h.lives[1]
	second.n = 0
	if err := second.mount(); !errors.Is(err, device.ErrBusy) || !strings.Contains(err.Error(), "slice 0") {
		t.Errorf("the second mount says %v", err)
	}
	if err := second.do(second.noLeak); err != nil {
		t.Error(err)
	}
	if err := h.lives[0].unmount(); err != nil {
		t.Fatal(err)
	}
	h, err = beginShared(faultPlan(9), 9, h.disk.AfterPowerLoss(), models(2)) // not confined to the other slice
	defer h.end()
	if err == nil {
		err = h.each("mount", (*life).mount)
	}
	if err == nil {
		err = h.leaveAll()
	}
	if err == nil {
		err = h.lives[0].mount()
	}
	if err != nil {
		t.Error(err)
	}
}

// Two or three stores on one disk work at the same time, meet the faults of the device, lose power at a random operation, and all recover, for a few
// generations; none writes outside of its slice (the disk would panic). BASALT_FROM and BASALT_SEEDS run other seeds, or more.
func TestSlicesShareADisk(t *testing.T) {
	from, _ := where(t, "BASALT_FROM")
	count, ok := where(t, "BASALT_SEEDS")
	if !ok {
		count = 150
	}
	if seed, one := where(t, "BASALT_SEED"); one {
		from, count = seed, 1
	}
	cuts := 0
	for seed := from; seed < from+count; seed++ {
		r := rand.New(rand.NewPCG(seed, 0x5a))
		p := drawPlan(r, seed)
		p.crowded, p.patchy, p.txns = false, false, min(p.txns, 24)
		n, err := sharedGenerations(p, 2+r.IntN(2), r)
		if err != nil {
			t.Fatalf("seed %d: %v\nrerun: BASALT_SEED=%d go test -run TestSlicesShareADisk ./storage/campaign", seed, err, seed)
		}
		cuts += n
	}
	if cuts < int(count)/2 && count > 10 {
		t.Fatalf("only %d lives of %d seeds ended by a power cut", cuts, count)
	}
}

func sharedGenerations(p plan, slices int, r *rand.Rand) (cuts int, err error) {
	seed, ms := p.seed, models(slices)
	var disk *sim.Disk
	var was []promise
	for g := range uint64(1 + r.IntN(3)) {
		h, err := beginShared(p, seed*16+g, disk, ms)
		if err == nil && disk == nil {
			err = h.start()
		} else if err == nil {
			if err = h.recoverAll(was); err == nil {
				err = h.goOn()
			}
		}
		if err != nil {
			h.end()
			return cuts, fmt.Errorf("generation %d: %w", g, err)
		}
		h.disk.CutPowerAt(h.disk.Ops() + 1 + r.Uint64N(uint64(len(ms)*p.fibers*p.txns)))
		h.disk.SetFaults(p.faults)
		err = h.workload()
		h.disk.SetFaults(sim.Faults{})
		if errors.Is(err, sim.ErrPowerCut) {
			cuts++
			err = nil
		}
		was, disk = h.promises(), h.disk.AfterPowerLoss()
		h.end()
		if err != nil {
			return cuts, fmt.Errorf("generation %d: %w", g, err)
		}
	}
	h, err := beginShared(p, seed*16+15, disk, ms)
	defer h.end()
	if err == nil {
		err = h.recoverAll(was)
	}
	if err == nil {
		err = h.leaveAll()
	}
	return cuts, err
}

// The power goes at every operation of a life of two stores on one disk, mounts and unmounts included, and both recover.
func TestSlicesPowerCutEverywhere(t *testing.T) {
	p, ms := faultPlan(1), models(2)
	p.txns = 8
	h, err := beginShared(p, 1, nil, ms)
	if err != nil {
		t.Fatal(err)
	}
	defer h.end()
	type moment struct {
		disk *sim.Disk
		was  []promise
	}
	var all []moment
	h.disk.OnEvent(func(d *sim.Disk, _ string) {
		m := moment{disk: d.Fork()}
		for _, l := range h.lives {
			x := promise{reported: l.reported}
			if l.s != nil {
				x.applied = uint64(l.s.Applied())
			}
			m.was = append(m.was, x)
		}
		all = append(all, m)
	})
	if err := h.start(); err != nil {
		t.Fatal(err)
	}
	if err := h.workload(); err != nil {
		t.Fatal(err)
	}
	if err := h.leaveAll(); err != nil {
		t.Fatal(err)
	}
	if len(all) < 150 {
		t.Fatalf("the work is too tame: %d events", len(all))
	}
	for i := range all {
		left := all[i].disk.AfterPowerLossSeed(uint64(i))
		all[i].disk = nil // let the memory go
		c, err := beginShared(p, uint64(1000+i), left, ms)
		if err == nil {
			err = c.recoverAll(all[i].was)
		}
		if err == nil {
			err = c.leaveAll()
		}
		c.end()
		if err != nil {
			t.Fatalf("cut %d: %v", i, err)
		}
	}
}
