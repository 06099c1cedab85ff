package meta

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/sim"
	"basalt/meta/record"
	"basalt/storage"
)

// estate is a world with a disk, a store and a shard on it: everything but the wire and the kernel is the real thing.
type estate struct {
	w        *sim.World
	r        *engine.Reactor
	disk     *sim.Disk
	h        *device.Handle
	store    *storage.Store
	s        *Shard
	sess     *Session
	opt      storage.Options
	reported uint64
}

const (
	estateStripe  = 32 << 10
	estateDisk    = 6 << 20
	estateJournal = 128 << 10
)

func estateFormat() FormatOptions {
	return FormatOptions{ID: [16]byte{7}, Seed: 99, Groups: 4, StripeSize: estateStripe, WallNs: 5}
}

// smallStore has limits that make every mechanism of the store work within a few hundred requests.
func smallStore() storage.Options {
	return storage.Options{CacheBytes: 256 << 10, DeltaBytesMax: 512 << 10, SlabChunkBytes: 128 << 10, TxnRecordMax: 32 << 10, TxnDataMax: 256 << 10,
		GroupRecordMax: 64 << 10, GroupDataMax: 512 << 10, GroupStartBytes: 64 << 10, RunBlocks: 16, GroupDelayNs: 2e6, LimboShare: 8}
}

func newEstate(seed uint64, disk *sim.Disk) (*estate, error) {
	e := &estate{w: sim.NewWorld(seed), opt: smallStore()}
	if disk == nil {
		e.disk = e.w.Disk("disk", estateDisk)
	} else {
		e.disk = e.w.Adopt(disk)
	}
	return e, e.boot()
}

func (e *estate) boot() error {
	e.r = e.w.Reactor(engine.Config{Name: "meta", ArenaBytes: 16 << 20, FibersMax: 64, InboxMax: 64, OpsMax: 128})
	return e.w.Boot(e.r, func(f *engine.Fiber) (err error) {
		e.h, err = e.disk.Device().Attach(f.Turn())
		return err
	})
}

func (e *estate) do(fn func(f *engine.Fiber) error) error { return e.w.Do(e.r, fn) }

func (e *estate) format() error {
	return e.do(func(f *engine.Fiber) error {
		if err := storage.Format(f, e.h, storage.FormatOptions{UUID: [16]byte{1}, JournalBytes: estateJournal, NodeBytes: 8 << 10}); err != nil {
			return err
		}
		s, _, err := storage.Mount(f, e.h, 0, e.opt)
		if err != nil {
			return err
		}
		if err := Format(f, s, estateFormat()); err != nil {
			return err
		}
		return s.Unmount(f)
	})
}

func (e *estate) mount() error {
	return e.do(func(f *engine.Fiber) (err error) {
		e.store, _, err = storage.Mount(f, e.h, 0, e.opt)
		if err == nil {
			e.reported = uint64(e.store.Applied())
			e.store.OnCommitted(func(_ *engine.Turn, seq storage.Seq) { e.reported = max(e.reported, uint64(seq)) })
		}
		return err
	})
}

// serve starts the namespace with one local mount.
func (e *estate) serve() error {
	return e.do(func(f *engine.Fiber) (err error) {
		e.s = NewShard(e.store, Options{LeaseNs: testLease})
		if err = e.s.Start(f); err == nil {
			e.sess, _, err = e.s.Local(f, [16]byte{3}, false, nil)
		}
		return err
	})
}

func (e *estate) unmount() error {
	return e.do(func(f *engine.Fiber) error {
		e.s.Stop(f)
		return e.store.Unmount(f)
	})
}

func (e *estate) fsck() error {
	return e.do(func(f *engine.Fiber) error {
		rep, err := storage.Fsck(f, e.h, 0, e.opt)
		if err == nil && len(rep.Findings) > 0 {
			err = fmt.Errorf("%d findings, the first: %v", len(rep.Findings), rep.Findings[0])
		}
		return err
	})
}

// check waits for the reaper and runs the checker.
func (e *estate) check(orphans int) error {
	return e.do(func(f *engine.Fiber) error {
		for e.s.reaping {
			f.Sleep(1e6)
		}
		rep, err := Check(f, e.store)
		switch {
		case err != nil:
			return err
		case len(rep.Problems) > 0:
			return fmt.Errorf("%d problems, the first: %v", len(rep.Problems), rep.Problems[0])
		case orphans >= 0 && rep.Orphans != orphans:
			return fmt.Errorf("%d orphans, want %d", rep.Orphans, orphans)
		}
		return nil
	})
}

// lookAtIt runs the checker on the disk as it is, as an offline check does: mounted read-only, the journal replayed in memory.
func (e *estate) lookAtIt() error {
	opt := e.opt
	opt.ReadOnly = true
	volatile := e.disk.Volatile()
	err := e.do(func(f *engine.Fiber) error {
		s, _, err := storage.Mount(f, e.h, 0, opt)
		if err != nil {
			return err
		}
		rep, err := Check(f, s)
		if err == nil && len(rep.Problems) > 0 {
			err = fmt.Errorf("%d problems, the first: %v", len(rep.Problems), rep.Problems[0])
		}
		return errors.Join(err, s.Unmount(f))
	})
	if err == nil && e.disk.Volatile() != volatile {
		err = errors.New("it wrote something")
	}
	return err
}

func (e *estate) dump() (d string, err error) {
	err = e.do(func(f *engine.Fiber) (err error) {
		d, err = asker{f, e.s, e.sess}.dump()
		return err
	})
	return d, err
}

// run lets some fibers make n requests each.
func (e *estate) run(l *load, fibers, n int) error {
	left := fibers
	for range fibers {
		err := e.w.Go(e.r, func(f *engine.Fiber) {
			for i := 0; i < n && l.bad == nil; i++ {
				l.step(f)
			}
			left--
		})
		if err != nil {
			return err
		}
	}
	if err := e.w.Run(func() bool { return left == 0 }); err != nil {
		return err
	}
	return l.bad
}

// fill writes until the store is full, and until even small things are refused; then it removes what it made.
func (e *estate) fill(l *load) error {
	err := e.do(func(f *engine.Fiber) error {
		big := l.do(f, create(root, "big", record.FlagNoOpen), nil).Attr.Ino
		// Nobody else shall know it: to cut so large a file on a full store takes several transactions, and a cut may end between them.
		l.files = slices.DeleteFunc(l.files, func(ino record.Ino) bool { return ino == big })
		data := pattern(l.stripe, 9)
		for off := 0; l.count[record.NoSpace] < 2 && off < estateDisk; off += l.stripe {
			l.do(f, record.Request{Op: record.OpWrite, Ino: big, Off: uint64(off)}, data)
		}
		small := 0
		for ; l.count[record.NoSpace] < 4 && small < 25; small++ {
			l.do(f, create(root, fmt.Sprint("small", small), record.FlagNoOpen), nil)
		}
		if p := l.do(f, unlink(root, "big"), nil); p.Status != record.OK {
			return fmt.Errorf("unlink on a full store: %w", p.Status)
		}
		for i := range small {
			l.do(f, unlink(root, fmt.Sprint("small", i)), nil)
		}
		return nil
	})
	if err == nil && l.count[record.NoSpace] == 0 {
		err = fmt.Errorf("the store was never full")
	}
	if err == nil {
		err = l.bad
	}
	return err
}

// powerCut is the state of the disk at one device event, and what had been promised by then.
type powerCut struct {
	what              string
	disk              *sim.Disk
	reported, applied uint64
}

// The power goes at the begin and at the end of every device operation of a mixed load; each time the namespace must be exactly what it was
// after some transaction that is not older than what was reported as committed, consistent, and fit for use.
func TestPowerCutEverywhere(t *testing.T) {
	first, only := uint64(1), envInt(t, "BASALT_CUT", -1)
	last := first + uint64(envInt(t, "BASALT_CUT_SEEDS", 1)) - 1
	if s := envInt(t, "BASALT_SEED", -1); s >= 0 {
		first, last = uint64(s), uint64(s)
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { cutEverywhere(t, seed, only) })
	}
}

func cutEverywhere(t *testing.T, seed uint64, only int) {
	cuts, know := recordLife(t, seed)
	const parts = 4
	for part := range parts {
		t.Run(fmt.Sprintf("part%d", part), func(t *testing.T) {
			t.Parallel()
			for i := part; i < len(cuts); i += parts {
				if only >= 0 && i != only {
					continue
				}
				c := cuts[i]
				cuts[i].disk = nil // let the memory go
				if err := surviveCut(&c, know, seed<<32+uint64(i)); err != nil {
					t.Fatalf("cut %d (%s; reported %d, applied %d): %v\nrerun: BASALT_SEED=%d BASALT_CUT=%d go test -run TestPowerCutEverywhere ./meta",
						i, c.what, c.reported, c.applied, err, seed, i)
				}
			}
		})
	}
}

func envInt(t *testing.T, name string, def int) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("%s=%q: %v", name, v, err)
	}
	return n
}

// recordLife lives a whole life, keeps the disk at each event, and finds out what the tree looked like after each transaction.
func recordLife(t *testing.T, seed uint64) ([]powerCut, func(txn uint64) string) {
	t.Helper()
	e, err := newEstate(seed, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.w.Close()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("seed %d: %s: %v", seed, what, err)
		}
	}
	must("format", e.format())
	var cuts []powerCut
	e.disk.OnEvent(func(d *sim.Disk, what string) {
		applied := uint64(1 << 62)
		if e.store != nil {
			applied = uint64(e.store.Applied())
		}
		cuts = append(cuts, powerCut{what: what, disk: d.Fork(), reported: e.reported, applied: applied})
	})
	must("mount", e.mount())
	must("start", e.serve())
	l := newLoad(e.w.Rand(), estateStripe)
	l.attach(e.s, e.sess)
	must("first load", e.run(l, 3, 100))
	must("filling", e.fill(l))
	must("second load", e.run(l, 3, 100))
	must("check", e.check(-1))
	st := e.store.Stats()
	must("unmount", e.unmount())
	t.Logf("seed %d: %d power cuts, %d requests changed something, %d checkpoints, journal written %d times over; outcomes %v",
		seed, len(cuts), len(l.deeds), st.Checkpoints, st.RecordBytes/estateJournal, l.count)
	if st.Checkpoints < 2 || st.RecordBytes < estateJournal {
		t.Fatal("the load is too tame")
	}
	return cuts, history(t, l.deeds)
}

// history tells what the tree looked like after each transaction.
func history(t *testing.T, deeds []deed) func(txn uint64) string {
	t.Helper()
	o := newOracle(t, estateFormat())
	defer o.w.Close()
	if err := o.learn(deeds); err != nil {
		t.Fatal(err)
	}
	for _, txn := range o.txns {
		if _, err := o.dumpAt(txn); err != nil {
			t.Fatal(err)
		}
	}
	return func(txn uint64) string {
		d, err := o.dumpAt(txn)
		if err != nil {
			panic(err)
		}
		return d
	}
}

// surviveCut loses power in the given state and checks everything that is left.
func surviveCut(c *powerCut, know func(txn uint64) string, seed uint64) error {
	e, err := newEstate(seed, c.disk.AfterPowerLossSeed(seed))
	if err != nil {
		return err
	}
	defer e.w.Close()
	if err := e.fsck(); err != nil {
		return fmt.Errorf("fsck: %w", err)
	}
	if seed%4 == 0 {
		if err := e.lookAtIt(); err != nil {
			return fmt.Errorf("read-only check: %w", err)
		}
	}
	if err := e.mount(); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	at := e.reported
	if at < c.reported || at > c.applied {
		return fmt.Errorf("recovered up to transaction %d", at)
	}
	if err := e.serve(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	got, err := e.dump()
	if err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	if want := know(at); got != want {
		return fmt.Errorf("after transaction %d: %s", at, differAt(want, got))
	}
	if err := e.check(0); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	l := newLoad(e.w.Rand(), estateStripe)
	l.attach(e.s, e.sess)
	if err := e.run(l, 1, 5); err != nil {
		return fmt.Errorf("going on: %w", err)
	}
	if err := e.unmount(); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	return e.fsck()
}
