package storage

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"basalt/engine/sim"
)

// fat is a transaction whose record is several blocks, so that a hurt bit meets it.
func (b *bench) fat(i int) {
	b.t.Helper()
	b.commit(b.update(func(tx *Tx) error {
		return errors.Join(
			tx.Put(1, []byte(fmt.Sprintf("fat%d", i)), bytes.Repeat([]byte{byte(i + 1)}, 12_000)),
			tx.Write(1, []byte(fmt.Sprintf("fat%d", i)), 0, bytes.Repeat([]byte{byte(i + 1)}, 8*blockSize)),
		)
	}))
}

// A bit that is hurt on its way from the device, once, at any read of a mount: the mount refuses, or all that was committed is there.
func TestMountReadsTwice(t *testing.T) {
	a := grown(t, 701, 2)
	a.do(a.s.Checkpoint)
	for i := range 3 {
		a.fat(i)
	}
	want := a.contents()
	mounted := 0
	for nth, done := 1, false; !done; nth++ {
		for seed := uint64(0); seed < 6 && !done; seed++ {
			b := a.reboot(710 + seed)
			b.disk.FaultAt(sim.FaultReadFlip, nth)
			_, err := b.try()
			done = b.disk.Hit(sim.FaultReadFlip) == 0
			switch {
			case done: // the bit is hurt later
			case err == nil:
				mounted++
				if d := differences(b.contents(), want); len(d) > 0 {
					t.Fatalf("read %d, seed %d: lost %v", nth, seed, d)
				}
				b.unmount()
			case !isDamage(err) && !errors.As(err, new(*RotError)):
				t.Fatalf("read %d, seed %d: %v", nth, seed, err)
			}
			b.w.Close()
		}
	}
	if mounted < 60 {
		t.Errorf("only %d mounts were hurt", mounted)
	}
}

// The same at any read of the repair of a torn tree: it says so, and has done nothing that a second one does not mend, or it is done. Nothing is lost
// but what was named, and nothing that is named is free.
func TestRepairOfTornTreeWithAHurtRead(t *testing.T) {
	wish := RepairWish{Nodes: true}
	a, _ := branched(t, 721, 12)
	for i := range 2 {
		a.fat(i)
	}
	want := a.contents()
	places := a.places()
	torn := a.reboot(722)
	torn.disk.Flip(places[len(places)/2].Offset()+70, 1)
	ranges := torn.plan().Losses.Ranges
	hit, refused := 0, 0
	for nth, done := 1, false; !done; nth++ {
		for seed := uint64(0); seed < 3 && !done; seed++ {
			b := newBench(t, 730+seed, torn.disk.Fork(), 0)
			b.opt = a.opt
			p := b.plan()
			before := b.disk.Hit(sim.FaultReadFlip)
			b.disk.FaultAt(sim.FaultReadFlip, nth)
			err := b.repair(p, wish)
			if done = b.disk.Hit(sim.FaultReadFlip) == before; !done {
				hit++
			}
			c := b.reboot(740 + seed)
			if err != nil {
				refused++
				if !isDamage(err) && !errors.Is(err, ErrReadOnly) && !strings.Contains(err.Error(), "a moment ago") && !errors.As(err, new(*RotError)) {
					t.Fatalf("read %d, seed %d: %v", nth, seed, err)
				}
				again := c.plan()
				if len(again.Refused) > 0 {
					t.Fatalf("read %d, seed %d: %v", nth, seed, again.Refused)
				}
				c.must(c.repair(again, wish))
			}
			c.fsck()
			c.mount()
			c.within(want, ranges)
			c.unmount()
			b.w.Close()
			c.w.Close()
			if t.Failed() {
				t.Fatalf("read %d, seed %d", nth, seed)
			}
		}
	}
	if hit < 60 || refused < 10 {
		t.Errorf("%d repairs were hurt, %d refused", hit, refused)
	}
}
