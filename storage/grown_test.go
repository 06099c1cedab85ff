package storage

import (
	"bytes"
	"errors"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/storage/format"
)

// resized is a copy of a device with another length.
func (b *bench) resized(seed uint64, bytes int64) *bench {
	c := newBench(b.t, seed, nil, bytes)
	c.opt = b.opt
	image := b.image()
	c.disk.WriteAt(image[:min(bytes, int64(len(image)))], 0)
	return c
}

// A device that has grown since mkfs is what it was: mounts, the check, the scrub and the repair find both labels, nothing of what was added is written, and how
// much that is is told.
func TestGrownDevice(t *testing.T) {
	const more = 3 << 20
	a, want := stored(t, 661)
	size := a.disk.Bytes()
	places := format.LabelPlaces(uint64(size) / blockSize)
	for name, c := range map[string]struct {
		spoil func(b *bench)
		bad   int // copies of the label
	}{
		"as it was":                  {func(*bench) {}, 0},
		"the first label is rotten":  {func(b *bench) { b.disk.Flip(places[0].Offset()+70, 1) }, 1},
		"the second label is rotten": {func(b *bench) { b.disk.Flip(places[1].Offset()+70, 1) }, 1},
	} {
		b := a.resized(662, size+more)
		c.spoil(b)
		rep := b.fsck()
		if rep.Mount.Unused != more || len(rep.Mount.Bad) != c.bad {
			t.Errorf("%s: the check says %+v", name, rep.Mount)
		}
		p := b.plan()
		if len(p.Fixes) != c.bad || !p.Losses.None() || len(p.Refused) > 0 {
			t.Errorf("%s: %+v", name, p)
		}
		b.must(b.repair(p, RepairWish{}))
		if rep := b.mount(); rep.Unused != more || len(rep.Bad) > 0 {
			t.Errorf("%s: the mount says %+v", name, rep)
		}
		if d := differences(b.contents(), want); len(d) > 0 {
			t.Errorf("%s: %v", name, d)
		}
		var found []Quarantined
		b.do(func(f *engine.Fiber) (err error) {
			found, _ = b.s.fixedDamage(f)
			return nil
		})
		if len(found) > 0 {
			t.Errorf("%s: the scrub finds %v", name, found)
		}
		b.unmount()
		if tail := b.image()[size:]; bytes.Count(tail, []byte{0}) != len(tail) {
			t.Errorf("%s: behind the end of the label's device something was written", name)
		}
	}

	b := a.resized(663, size+more)
	b.disk.WriteAt(make([]byte, format.LabelBytes), 0) // nobody knows where the other one is
	if _, err := b.try(); !format.IsCorrupt(err) {
		t.Errorf("without a label the mount says %v", err)
	}
}

// A device that is shorter than its label says is refused by everybody, with that reason.
func TestShortenedDevice(t *testing.T) {
	a, _ := stored(t, 665)
	for _, bytes := range []int64{a.disk.Bytes() - blockSize, a.disk.Bytes() / 2, 8 * blockSize, blockSize} {
		b := a.resized(666, bytes)
		before := b.image()
		_, err := b.try()
		if !errors.Is(err, device.ErrShort) {
			t.Errorf("%d bytes: the mount says %v", bytes, err)
		}
		b.do(func(f *engine.Fiber) error {
			if _, err := Fsck(f, b.h, 0, Options{}); !errors.Is(err, device.ErrShort) {
				t.Errorf("%d bytes: the check says %v", bytes, err)
			}
			if _, err := PlanRepair(f, b.h, 0, b.opt); !errors.Is(err, device.ErrShort) {
				t.Errorf("%d bytes: the plan says %v", bytes, err)
			}
			return nil
		})
		if string(before) != string(b.image()) {
			t.Errorf("%d bytes: something was written", bytes)
		}
	}
}
