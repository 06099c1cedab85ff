package campaign

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/sim"
	"basalt/storage"
	"basalt/storage/format"
)

const rotSeeds = 240

// A disk that rots, misdirects or loses writes, or flips bits on their way: what is damaged must be an error with the
// place, never wrong bytes, never a panic. The store may refuse to mount.
func TestRotIsNeverServed(t *testing.T) {
	only, one := where(t, "BASALT_SEED")
	const parts = 2
	found := [parts]int{}
	t.Run("all", func(t *testing.T) {
		for part := range uint64(parts) {
			t.Run(fmt.Sprintf("part%d", part), func(t *testing.T) {
				t.Parallel()
				for seed := part; seed < rotSeeds; seed += parts {
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

// rotOn writes a store on a perfect or a bad device, damages it more, and reads everything back. found counts the errors
// that the store gave.
func rotOn(seed uint64) (found int, err error) {
	r := rand.New(rand.NewPCG(seed, 0x207))
	p := drawPlan(r, seed)
	p.faults = sim.Faults{}
	m := newModel()
	l, err := begin(p, seed, nil, m)
	if err != nil {
		return 0, err
	}
	defer func() { l.end() }()
	for _, step := range []func() error{l.format, l.mount, l.makeCollections, l.workload, l.badNews, l.unmount} {
		if err := step(); err != nil {
			return 0, err
		}
	}
	applied := uint64(l.s.Applied())
	disk := l.disk
	damage(r, disk)
	l.end()
	if l, err = begin(p, seed+1<<40, disk.AfterPowerLoss(), m); err != nil {
		return 0, err
	}
	switch r.IntN(3) {
	case 0:
		l.disk.SetFaults(sim.Faults{ReadFlip: 0.05})
	case 1:
		l.disk.SetFaults(sim.Faults{ReadMisdirect: 0.05})
	}
	if err := l.mount(); err != nil {
		if !known(err) {
			return 0, fmt.Errorf("mount: %w", err)
		}
		return 1, nil
	}
	err = l.do(func(f *engine.Fiber) error {
		found, err = l.readAll(f, applied)
		return err
	})
	return found, err
}

// badNews reports what went wrong in the fibers.
func (l *life) badNews() error { return l.bad }

// damage flips a few bits anywhere on the disk.
func damage(r *rand.Rand, d *sim.Disk) {
	for range 1 + r.IntN(400) {
		off := r.Int64N(d.Bytes())
		d.Flip(off, uint(r.IntN(8)))
	}
}

// known says whether an error is one of those that stand for damage.
func known(err error) bool {
	var bad *format.CorruptError
	var rot *storage.RotError
	var io *device.IOError
	return errors.As(err, &bad) || errors.As(err, &rot) || errors.As(err, &io)
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
