package storage

import (
	"errors"
	"fmt"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
)

// aheadBench is a store that crashed with changes of many objects in its journal, and a tree of far more leaves than its cache holds.
func aheadBench(t *testing.T, seed uint64, objects int) *bench {
	b := newBench(t, seed, nil, 64<<20)
	b.opt.CacheBytes, b.opt.DeltaBytesMax = 512<<10, 4<<20
	b.do(func(f *engine.Fiber) error {
		return Format(f, b.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 8 << 20, NodeBytes: 8 << 10})
	})
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	val := make([]byte, 400)
	for i := range objects {
		b.update(func(tx *Tx) error { return tx.SetAttr(1, fmt.Appendf(nil, "object %06d", i), []byte("a"), val) })
	}
	b.do(b.s.Checkpoint)
	var last Seq
	for i := range objects / 4 {
		name := fmt.Appendf(nil, "object %06d", i*7919%objects)
		last = b.update(func(tx *Tx) error {
			if i%8 == 0 {
				return tx.Write(1, name, 0, val[:100])
			}
			return tx.SetAttr(1, name, []byte("b"), name)
		})
	}
	b.commit(last)
	return b
}

// A mount reads the nodes that replay needs before it needs them, many at once, although the cache is small; and what it brings back is the same.
func TestReplayReadsAhead(t *testing.T) {
	const objects = 4000
	b := aheadBench(t, 271, objects)
	c := b.reboot(272)
	told := map[string]uint64{}
	c.opt.Progress = func(p MountProgress) { told[p.Doing] = p.Done }
	rep := c.mount()
	st := c.s.tree.Stats()
	if rep.Transactions < objects/4 {
		t.Fatalf("%+v", rep)
	}
	if one := st.Loads - st.Prefetched; st.Prefetched < 100 || one*20 > st.Prefetched {
		t.Errorf("%d nodes were read ahead, %d one by one", st.Prefetched, one)
	}
	if st.CacheBytes > int64(c.opt.CacheBytes) {
		t.Errorf("the cache has %d bytes after the mount, its limit is %d", st.CacheBytes, c.opt.CacheBytes)
	}
	c.do(func(f *engine.Fiber) error {
		return c.s.View(f, func(tx *Tx) error {
			for i := range objects / 4 {
				name := fmt.Appendf(nil, "object %06d", i*7919%objects)
				got, err := tx.GetAttr(1, name, []byte("b"))
				if i%8 != 0 && (err != nil || string(got) != string(name)) {
					return fmt.Errorf("%s: %q, %w", name, got, err)
				}
				if a, err := tx.GetAttr(1, name, []byte("a")); err != nil || len(a) != 400 {
					return errors.Join(err, fmt.Errorf("%s has lost its old attribute", name))
				}
			}
			return nil
		})
	})
	c.unmount()
	c.fsck()
}

// A mount that takes longer than a second says what it does, and how far it is.
func TestSlowMountTellsItsProgress(t *testing.T) {
	b := aheadBench(t, 273, 2000)
	c := b.reboot(274)
	c.disk.SetFaults(sim.Faults{SlowRead: 1, SlowNs: 200e6})
	c.opt.ReplayAhead, c.opt.ReplayBytes = 1, c.opt.CacheBytes // a record at a time, and the fold must read again
	var told []MountProgress
	c.opt.Progress = func(p MountProgress) { told = append(told, p) }
	c.mount()
	seen := map[string]bool{}
	for i, p := range told {
		if seen[p.Doing] = true; p.Total > 0 && p.Done > p.Total || i > 0 && p.Doing == told[i-1].Doing && p.Done < told[i-1].Done {
			t.Errorf("report %d: %+v after %+v", i, p, told[i-1])
		}
	}
	if !seen[DoingReplay] || !seen[DoingFold] {
		t.Errorf("told was %+v", told)
	}
	c.unmount()
}

// Memory that the cache has borrowed from the delta for the replay is the delta's when it needs it.
func TestReplayGivesTheDeltaItsMemory(t *testing.T) {
	b := aheadBench(t, 275, 2000)
	c := b.reboot(276)
	var held []func()
	a := c.r.Arena()
	for free := 4900 << 10; a.Cap()-a.Used() > int64(free); {
		buf, err := a.Get(64 << 10)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, func() { a.Put(buf) })
	}
	c.opt.ReplayBytes = 64 << 20
	if rep := c.mount(); rep.Transactions < 500 {
		t.Fatalf("%+v", rep)
	}
	for _, put := range held {
		put()
	}
	c.unmount()
}
