package campaign

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/storage"
)

const rotSeeds = 400

// A disk that rots, misdirects or loses writes, or flips bits on their way: what is damaged must be an error with the
// place, never wrong bytes, never a panic. The store may refuse to mount.
func TestRotIsNeverServed(t *testing.T) {
	only, one := where(t, "BASALT_SEED")
	count, more := where(t, "BASALT_SEEDS")
	if !more {
		count = rotSeeds
	}
	const parts = 2
	found := [parts]int{}
	t.Run("all", func(t *testing.T) {
		for part := range uint64(parts) {
			t.Run(fmt.Sprintf("part%d", part), func(t *testing.T) {
				t.Parallel()
				for seed := part; seed < count; seed += parts {
					if one && seed != only {
						continue
					}
					n, err := rotOn(seed)
					if err != nil {
						t.Fatalf("rot seed %d: %v\nrerun: BASALT_SEED=%d go test -run TestRotIsNeverServed ./storage/campaign", seed, err, seed)
					}
					found[part] += n
				}
			})
		}
	})
	if n := found[0] + found[1]; !one && n < rotSeeds/4 {
		t.Fatalf("damage was noticed %d times only", n)
	} else {
		t.Logf("damage was noticed %d times", n)
	}
}

// rotModes are the ways in which a device is bad.
var rotModes = []struct {
	name   string
	live   sim.Faults // while the store works
	flips  int        // bits that rot between two mounts, at most
	spread bool       // all over the disk: both copies of a superblock, and the journal; else in one block
	after  sim.Faults // while what is left is read
	uncut  bool       // unmounted in peace before
	losing bool       // the device may forget what it acknowledged: only what is there must be right
}{
	{name: "one rotten block", flips: 4, uncut: true},
	{name: "rot everywhere", flips: 400, spread: true, uncut: true, losing: true},
	{name: "flips on the way in", uncut: true, after: sim.Faults{ReadFlip: 0.05}},
	{name: "reads from elsewhere", uncut: true, after: sim.Faults{ReadMisdirect: 0.05}},
	{name: "flips on the way out", live: sim.Faults{WriteFlip: 0.02}, losing: true},
	{name: "writes to elsewhere", live: sim.Faults{WriteMisdirect: 0.02}, losing: true},
	{name: "lost writes", live: sim.Faults{WriteLost: 0.02}, losing: true},
	{name: "lying flushes", live: sim.Faults{FlushLie: 0.5}, losing: true},
	{name: "flips on the way in while it works", live: sim.Faults{ReadFlip: 0.1}},
}

// rotOn lets a store work on a device that is bad in one way, then reads everything back. found counts the errors that the
// store gave.
func rotOn(seed uint64) (found int, err error) {
	r := rand.New(rand.NewPCG(seed, 0x207))
	p := drawPlan(r, seed)
	mode := &rotModes[seed%uint64(len(rotModes))]
	p.faults, p.damaged = mode.live, true
	m := newModel()
	l, err := begin(p, seed, nil, m)
	if err != nil {
		return 0, err
	}
	defer func() { l.end() }()
	for _, step := range []func() error{l.format, l.mount, l.makeCollections, l.workloadOnBadDevice} {
		if err := step(); err != nil {
			return l.corrupt, fmt.Errorf("%s: %w", mode.name, err)
		}
	}
	found, applied := l.corrupt, uint64(l.s.Applied())
	if mode.uncut {
		if err := l.unmount(); err != nil {
			return found, fmt.Errorf("%s: unmount: %w", mode.name, err)
		}
	}
	disk, reported := l.disk.AfterPowerLoss(), l.reported
	if mode.losing {
		reported = 0
	}
	if mode.flips > 0 {
		damage(r, disk, mode.flips, mode.spread)
	}
	l.end()
	if l, err = begin(p, seed+1<<40, disk, m); err != nil {
		return found, err
	}
	l.disk.SetFaults(mode.after)
	more, err := l.readLeft(reported, applied)
	if err != nil {
		return found, fmt.Errorf("%s: %w", mode.name, err)
	}
	return found + more, nil
}

// workloadOnBadDevice works, and ends early when the store gives up.
func (l *life) workloadOnBadDevice() error {
	l.disk.SetFaults(l.p.faults)
	err := l.workload()
	l.disk.SetFaults(sim.Faults{})
	if err == nil {
		err = l.bad
	}
	return err
}

// readLeft mounts what is left and reads everything: right as of some transaction, or a known error.
func (l *life) readLeft(reported, applied uint64) (found int, err error) {
	if err := l.mount(); err != nil {
		if !known(err) {
			return 0, fmt.Errorf("mount: %w", err)
		}
		return 1, nil
	}
	err = l.do(func(f *engine.Fiber) error {
		at, err := l.recovered(f)
		if err != nil {
			if known(err) {
				found, err = 1, nil
			}
			return err
		}
		if at < reported || at > applied {
			return differ("recovered to transaction %d, reported committed %d, applied %d", at, reported, applied)
		}
		found, err = l.readAll(f, at)
		return err
	})
	return found, err
}

// damage flips up to most bits, all over the disk or in one block.
func damage(r *rand.Rand, d *sim.Disk, most int, spread bool) {
	var block int64
	for p, tries := make([]byte, pageSize), 0; tries < 20 && bytes.Count(p, []byte{0}) == pageSize; tries++ { // one in use, if it can
		block = r.Int64N(d.Bytes()/pageSize) * pageSize
		d.ReadAt(p, block)
	}
	for range 1 + r.IntN(most) {
		off := block + r.Int64N(pageSize)
		if spread {
			off = r.Int64N(d.Bytes())
		}
		d.Flip(off, uint(r.IntN(8)))
	}
}

// readAll reads every key and object: right, or a known error.
func (l *life) readAll(f *engine.Fiber, seq uint64) (found int, err error) {
	note := func(err error) error {
		if err != nil && known(err) {
			found++
			return nil
		}
		return err
	}
	if seq == 0 {
		return 0, nil
	}
	for c := 1; c <= colls; c++ {
		for k := range keyCount {
			a := action{coll: c, name: fmt.Sprintf("k%03d", k)}
			err := l.s.View(f, func(tx *storage.Tx) error { return checkGet(tx, l.m, &a, seq) })
			if err := note(err); err != nil {
				return found, err
			}
		}
		err := l.s.View(f, func(tx *storage.Tx) error { return checkScan(tx, l.m, c, "", "", seq) })
		if err := note(err); err != nil {
			return found, err
		}
	}
	for _, n := range l.m.objects.names {
		if err := note(l.compareObject(f, int(n[0]), n[1:], seq)); err != nil {
			return found, err
		}
	}
	return found, nil
}
