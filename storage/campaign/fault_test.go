package campaign

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/sim"
	"basalt/storage"
	"basalt/storage/format"
)

// The faults of a device, one test each: what the store promises when it happens. docs/FORMAT.md has the table. What loses
// power is in faultcut_test.go; the other tests of this package let the faults meet each other.

// faultPlan is a life that has a little of everything.
func faultPlan(seed uint64) plan {
	return plan{seed: seed, disk: 8 << 20, journal: 256 << 10, node: 8 << 10, opt: tiny(), fibers: 3, txns: 12, actions: 6}
}

// grownLife is a life whose work is done and committed.
func grownLife(t *testing.T, p plan) *life {
	t.Helper()
	l, err := begin(p, p.seed, nil, newModel())
	if err == nil {
		t.Cleanup(func() { l.end() })
	}
	for _, step := range []func() error{l.format, l.mount, l.makeCollections, l.makeVictims, l.workload, func() error { return l.bad }, l.commitAll} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		t.Fatalf("seed %d: %v", p.seed, err)
	}
	return l
}

// victims is a collection that the workload leaves alone.
const victims = 8

func (l *life) makeVictims() error {
	return l.do(func(f *engine.Fiber) error {
		_, err := l.s.Update(f, func(tx *storage.Tx) error {
			return errors.Join(tx.CreateCollection(victims), apply(tx, l.m, nil))
		})
		return err
	})
}

func (l *life) commitAll() error {
	return l.do(func(f *engine.Fiber) error { return l.s.Commit(f, l.s.Applied()) })
}

// run is do for what must not fail.
func (l *life) run(t *testing.T, fn func(f *engine.Fiber) error) {
	t.Helper()
	if err := l.do(fn); err != nil {
		t.Fatalf("seed %d: %v", l.p.seed, err)
	}
}

// victim writes an object of whole blocks that are like no other, and says where on the disk its middle one is.
func (l *life) victim(t *testing.T, name string) (at int64) {
	t.Helper()
	data := fill(l.rng, 3*pageSize)
	for i := range 3 {
		data[i*pageSize] = byte(i)
	}
	l.run(t, func(f *engine.Fiber) error {
		return l.update(f, []action{{kind: writeBlocks, coll: victims, name: name, data: data}})
	})
	if err := l.commitAll(); err != nil {
		t.Fatal(err)
	}
	at = -1
	for p, off := make([]byte, pageSize), int64(0); off < l.disk.Bytes(); off += pageSize {
		if l.disk.ReadAt(p, off); !bytes.Equal(p, data[pageSize:2*pageSize]) {
			continue
		}
		if at >= 0 {
			t.Fatalf("a block is on the disk twice, at %d and %d", at, off)
		}
		at = off
	}
	if at < 0 {
		t.Fatal("a committed block is not on the disk")
	}
	return at
}

// readVictim reads the damaged block of a victim, and its neighbours, which must be right.
func (l *life) readVictim(t *testing.T, name string) (damage error) {
	t.Helper()
	l.run(t, func(f *engine.Fiber) error {
		a := f.Reactor().Arena()
		buf, err := a.Get(pageSize)
		if err != nil {
			return err
		}
		defer a.Put(buf)
		for i := range 3 {
			err := l.readAt(f, victims, name, i*pageSize, a.Bytes(buf))
			if i == 1 {
				damage = err
			} else if err != nil {
				return fmt.Errorf("block %d of %s, which nothing happened to: %w", i, name, err)
			}
		}
		return nil
	})
	return damage
}

// corruptAt says whether an error is damage that was noticed, at the place where it is.
func corruptAt(err error, at int64) bool {
	var bad *format.CorruptError
	return errors.As(err, &bad) && bad.Extent.Offset() <= at && at < bad.Extent.Offset()+bad.Extent.Bytes()
}

// onlyVictims reads everything: so many objects give an error, and all else is right.
func (l *life) onlyVictims(t *testing.T, want int) {
	t.Helper()
	l.run(t, func(f *engine.Fiber) error {
		found, err := l.readAll(f, uint64(l.s.Applied()))
		if err == nil && found != want {
			err = fmt.Errorf("%d things cannot be read, want the %d victims", found, want)
		}
		return err
	})
}

// findings is what the check finds on the unmounted disk.
func (l *life) findings(t *testing.T) (list []storage.Finding) {
	t.Helper()
	l.run(t, func(f *engine.Fiber) error {
		rep, err := storage.Fsck(f, l.h, 0, l.p.opt)
		if err == nil {
			list = rep.Findings
		}
		return err
	})
	return list
}

// finds demands one finding for each damaged block, with its place, from the unmounted store.
func (l *life) finds(t *testing.T, damaged ...int64) {
	t.Helper()
	list := l.findings(t)
	for _, at := range damaged {
		there := false
		for _, x := range list {
			there = there || corruptAt(x.Err, at)
		}
		if !there {
			t.Errorf("the check does not find the damage at %d: %v", at, list)
		}
	}
	if len(list) != len(damaged) {
		t.Errorf("the check finds %d things, want %d: %v", len(list), len(damaged), list)
	}
}

// mended writes the victims anew; then all is well again, and the check has nothing to find.
func (l *life) mended(t *testing.T, names ...string) {
	t.Helper()
	if err := l.mount(); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		l.run(t, func(f *engine.Fiber) error {
			return l.update(f, []action{{kind: remove, coll: victims, name: name}, {kind: writeBlocks, coll: victims, name: name, data: fill(l.rng, 2*pageSize)}})
		})
	}
	l.onlyVictims(t, 0)
	if err := l.unmount(); err != nil {
		t.Fatal(err)
	}
	l.finds(t)
}

// A bit of a stored block is another one. Promise: a read of that block is an error that names the place, never other
// bytes; everything else is read as ever; the check finds it; what is written anew is well again.
func TestFaultRottenBlock(t *testing.T) {
	for seed := range uint64(8) {
		l := grownLife(t, faultPlan(seed))
		at := l.victim(t, "victim")
		l.disk.Flip(at+int64(seed)*500, uint(seed))
		if err := l.readVictim(t, "victim"); !corruptAt(err, at) {
			t.Fatalf("seed %d: the read of a rotten block says %v", seed, err)
		}
		l.onlyVictims(t, 1)
		if err := l.unmount(); err != nil {
			t.Fatal(err)
		}
		l.finds(t, at)
		l.mended(t, "victim")
	}
	rotten(t, "one rotten block", 25)
}

// A write goes to another place: the place meant keeps what it held, and the other one holds what it must not. Promise: a
// read of either block is an error that names the place, never the wrong bytes; everything else is read as ever; the check
// finds both. For a block of the tree, the journal or a superblock the same, up to a mount that refuses.
func TestFaultMisdirectedWrite(t *testing.T) {
	for seed := range uint64(8) {
		l := grownLife(t, faultPlan(seed))
		meant := l.victim(t, "meant")
		hit := l.victim(t, "hit")
		p := make([]byte, pageSize)
		l.disk.ReadAt(p, meant)
		l.disk.WriteAt(p, hit)
		l.disk.WriteAt(make([]byte, pageSize), meant)
		for name, at := range map[string]int64{"meant": meant, "hit": hit} {
			if err := l.readVictim(t, name); !corruptAt(err, at) {
				t.Fatalf("seed %d: the read of %s says %v", seed, name, err)
			}
		}
		l.onlyVictims(t, 2)
		if err := l.unmount(); err != nil {
			t.Fatal(err)
		}
		l.finds(t, meant, hit)
		l.mended(t, "meant", "hit")
	}
	rotten(t, "writes to elsewhere", 25)
}

// A write is acknowledged, a flush too, and nothing has happened. Promise: a read of the block is an error that names the
// place, never what stood there before; everything else is read as ever; the check finds it. For a block of the tree, the
// journal or a superblock the same, up to a mount that refuses. (What a power cut loses: TestFaultUnflushedWritesAreLost.)
func TestFaultLostWrite(t *testing.T) {
	for seed := range uint64(8) {
		l := grownLife(t, faultPlan(seed))
		before := make([]byte, l.disk.Bytes())
		l.disk.ReadAt(before, 0)
		at := l.victim(t, "victim")
		l.disk.WriteAt(before[at:at+pageSize], at)
		if err := l.readVictim(t, "victim"); !corruptAt(err, at) {
			t.Fatalf("seed %d: the read of a lost block says %v", seed, err)
		}
		l.onlyVictims(t, 1)
		if err := l.unmount(); err != nil {
			t.Fatal(err)
		}
		l.finds(t, at)
		l.mended(t, "victim")
	}
	rotten(t, "lost writes", 25)
}

// A block cannot be read. Promise: who reads it gets the device's error with the place; everything else is read as ever,
// and the store goes on writing; what is written anew is well again. A read that fails once is an error once.
func TestFaultReadError(t *testing.T) {
	for seed := range uint64(8) {
		p := faultPlan(seed)
		p.faults = sim.Faults{ReadError: 0.05}
		l := grownLife(t, p)
		at := l.victim(t, "victim")
		l.disk.Damage(at, pageSize)
		var io *device.IOError
		if err := l.readVictim(t, "victim"); !errors.As(err, &io) || io.Op != device.OpRead || io.Off > at || io.Off+int64(io.Len) <= at {
			t.Fatalf("seed %d: the read of a block that cannot be read says %v", seed, err)
		}
		l.onlyVictims(t, 1)
		l.disk.SetFaults(p.faults)
		if err := errors.Join(l.workload(), l.bad); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if l.disk.SetFaults(sim.Faults{}); l.s.Stats().ReadOnly {
			t.Fatalf("seed %d: a read error has ended the writing", seed)
		}
		l.onlyVictims(t, 1)
		if err := l.unmount(); err != nil {
			t.Fatal(err)
		}
		l.mended(t, "victim")
	}
}

// eachOnce lets the first, second, … operation that can meet the fault meet it, until a life comes to its end without.
func eachOnce(t *testing.T, fault sim.Fault, txns int, after func(l *life, nth int) error) {
	t.Helper()
	met := 0
	for nth := 1; ; nth++ {
		p := faultPlan(uint64(nth))
		p.faults, p.txns = sim.Faults{WriteError: 1}, txns // the fault is never set on the disk: what follows from one error is expected
		l, err := begin(p, p.seed, nil, newModel())
		for _, step := range []func() error{l.format, l.mount, l.makeCollections} {
			if err == nil {
				err = step()
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		l.disk.FaultAt(fault, nth)
		if err = errors.Join(l.workload(), l.bad); err == nil && l.disk.Hit(fault) == 0 {
			err = l.commitAll()
		}
		hit := l.disk.Hit(fault) > 0
		if hit {
			met++
			if !errors.Is(err, storage.ErrReadOnly) && err != nil {
				t.Fatalf("%v %d: %v", fault, nth, err)
			}
			if err := after(l, nth); err != nil {
				t.Fatalf("%v %d: %v", fault, nth, err)
			}
		} else if err != nil {
			t.Fatal(err)
		}
		l.end()
		if !hit {
			break
		}
	}
	if met < 10 {
		t.Fatalf("only %d operations met the fault", met)
	}
}

// afterFailure: the store has stopped writing and goes on reading; and whatever of its unflushed writes is left, what it
// had reported as committed is there, nothing is half applied, and the check has nothing to find.
func afterFailure(l *life, nth int) error {
	if err := l.w.Run(func() bool { return l.s.Stats().ReadOnly }); err != nil {
		return fmt.Errorf("the store went on: %w", err)
	}
	reported, applied := l.reported, uint64(l.s.Applied())
	if err := l.do(func(f *engine.Fiber) error {
		seq, err := l.s.Update(f, func(tx *storage.Tx) error { return tx.Put(1, []byte("more"), nil) })
		if !errors.Is(err, storage.ErrReadOnly) {
			return fmt.Errorf("transaction %d was taken: %v", seq, err)
		}
		if err := l.s.Commit(f, storage.Seq(applied)); applied > uint64(l.s.Committed()) && !errors.Is(err, storage.ErrReadOnly) {
			return fmt.Errorf("the commit of what is not committed says %v", err)
		}
		return nil
	}); err != nil {
		return err
	}
	if err := l.stillReads(); err != nil {
		return err
	}
	for i, loss := range []sim.Loss{{}, {Keep: 1}, {Keep: 0.5}, {Keep: 0.5, Tear: 0.5}} {
		if err := surviveLoss(l.p, l.m, nth, reported, applied, l.disk.Fork().AfterPowerLossOf(loss, uint64(nth))); err != nil {
			return fmt.Errorf("loss %d: %w", i, err)
		}
	}
	return nil
}

// One write fails with EIO, wherever it is: data, record, tree, space map or superblock; each of its sectors may be old or
// new. Promise: the store becomes read-only, says so to whoever writes or waits for a commit, and goes on showing all that
// was applied; after a restart everything is there that was reported as committed.
func TestFaultWriteError(t *testing.T) { eachOnce(t, sim.FaultWriteError, 12, afterFailure) }

// One flush fails with EIO, and what it covered is lost although it can be read until the power goes. Promise: as for a
// failed write; and nothing that only the failed flush covered is reported as committed, whatever a later flush says.
// (TestFlushErrorBesideAnotherFlush lets many of them meet others.)
func TestFaultFlushError(t *testing.T) { eachOnce(t, sim.FaultFlushError, 40, afterFailure) }

// The device is full. Promise: a transaction without space is refused as a whole and changes nothing; everything can be
// read; what only removes is taken; what was removed makes room for as much again; a power cut finds all of it.
func TestFaultFull(t *testing.T) {
	for seed := range uint64(4) {
		p := faultPlan(seed)
		p.disk = 4 << 20
		l := grownLife(t, p)
		for lap := range 3 {
			before := uint64(l.s.Applied())
			if err := errors.Join(l.fillUp(), l.bad); err != nil {
				t.Fatalf("seed %d, lap %d: %v", seed, lap, err)
			}
			if n := uint64(l.s.Applied()) - before; n < 20 {
				t.Fatalf("seed %d, lap %d: full after %d objects", seed, lap, n)
			}
			l.onlyVictims(t, 0)
			if err := l.empty(); err != nil {
				t.Fatalf("seed %d, lap %d: %v", seed, lap, err)
			}
		}
		if err := errors.Join(l.fillUp(), l.bad); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		reported, applied := l.reported, uint64(l.s.Applied())
		if err := surviveLoss(p, l.m, 1, reported, applied, l.disk.AfterPowerLossOf(sim.Loss{Keep: 0.5}, seed)); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// A device is shorter than it was: only a part of an image was copied. Promise: mount and check refuse with the reason.
// A device ends before it says: what does not fit fails. Promise: the store becomes read-only and goes on showing what was
// applied; what was reported as committed is there after a restart that only reads. Transfers that end early are
// continued, and nobody notices.
func TestFaultShort(t *testing.T) {
	l := grownLife(t, faultPlan(1))
	if err := l.unmount(); err != nil {
		t.Fatal(err)
	}
	part := sim.NewWorld(1).Disk("part", l.disk.Bytes()-2<<20)
	p := make([]byte, part.Bytes())
	l.disk.ReadAt(p, 0)
	part.WriteAt(p, 0)
	c, err := begin(l.p, 2, part, l.m)
	if err != nil {
		t.Fatal(err)
	}
	defer c.end()
	if err := c.mount(); !errors.Is(err, device.ErrShort) {
		t.Errorf("the mount of a part of a device says %v", err)
	}
	if err := c.fsck(); !errors.Is(err, device.ErrShort) {
		t.Errorf("the check of a part of a device says %v", err)
	}
	t.Run("ends early", endsEarly)
	t.Run("short transfers", shortTransfers)
}

func endsEarly(t *testing.T) {
	for seed := range uint64(8) {
		p := faultPlan(seed)
		l := grownLife(t, p)
		l.p.faults = sim.Faults{WriteError: 1} // never set on the disk: what follows from one error is expected
		l.disk.Shorten(l.disk.Bytes() - 1<<20)
		err := errors.Join(l.fillUp(), l.bad)
		if !l.s.Stats().ReadOnly || err != nil {
			t.Fatalf("seed %d: a device that ends early was filled: %v", seed, err)
		}
		if err := l.stillReads(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		reported, applied := l.reported, uint64(l.s.Applied())
		p.opt.ReadOnly = true
		c, err := begin(p, seed+100, l.disk.AfterPowerLossOf(sim.Loss{Keep: 0.5}, seed), l.m)
		if err != nil {
			t.Fatal(err)
		}
		defer c.end()
		if err := c.mount(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if _, err := c.verify(reported, applied); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func shortTransfers(t *testing.T) {
	short := 0
	for seed := range uint64(8) {
		l := grownLife(t, faultPlan(seed))
		l.disk.SetFaults(sim.Faults{Short: 0.3})
		if err := errors.Join(l.workload(), l.bad); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		l.onlyVictims(t, 0)
		short += l.disk.Hit(sim.FaultShort)
		reported, applied := l.reported, uint64(l.s.Applied())
		if err := surviveLoss(l.p, l.m, 1, reported, applied, l.disk.AfterPowerLossOf(sim.Loss{Keep: 0.5}, seed)); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	if short < 50 {
		t.Fatalf("only %d transfers were short", short)
	}
}

// Operations take half a minute, flushes too, in between others that do not. Promise: nothing but time is lost: no error,
// no order that depends on it, nothing reported as committed before its flush has come back. (TestSlowReadsKeepTheirBlocks
// has the reads that last while their blocks are replaced and freed.)
func TestFaultSlow(t *testing.T) {
	for seed := range uint64(6) {
		p := faultPlan(seed)
		p.txns = 30
		l := grownLife(t, p)
		l.disk.SetFaults(sim.Faults{Slow: 0.15, SlowNs: 30_000_000_000})
		l.disk.OnEvent(func(d *sim.Disk, _ string) {
			// Everything reported must be there in whatever is left, while slow writes and flushes are still on their way.
			if d.Ops()%16 != 0 || l.bad != nil {
				return
			}
			reported, applied := l.reported, uint64(l.s.Applied())
			l.bad = surviveLoss(l.p, l.m, 1, reported, applied, d.Fork().AfterPowerLossOf(sim.Loss{Keep: 0.3}, seed+d.Ops()))
		})
		if err := errors.Join(l.workload(), l.bad); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		l.disk.OnEvent(nil)
		if l.disk.Hit(sim.FaultSlow) < 5 {
			t.Fatalf("seed %d: only %d operations were slow", seed, l.disk.Hit(sim.FaultSlow))
		}
		l.onlyVictims(t, 0)
		if err := l.unmount(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}
