package campaign

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/sim"
	"basalt/storage"
	"basalt/storage/format"
)

const arenaBytes = 16 << 20

// plan is how a life is lived.
type plan struct {
	seed    uint64
	disk    int64 // bytes
	journal int64 // bytes
	node    int
	opt     storage.Options
	fibers  int
	txns    int // of each fiber
	actions int // of a transaction, at most
	swarm   bool
	patchy  bool
	crowded bool // the device is nearly full, and what is free lies in small pieces
	cramped bool // records so small that some transactions are refused
	faults  sim.Faults
	damaged bool // the device damages what it holds: a CorruptError is what is wanted then
}

// tiny gives limits that make every mechanism of the store work within a few hundred transactions.
func tiny() storage.Options {
	return storage.Options{
		CacheBytes:      256 << 10,
		DeltaBytesMax:   512 << 10,
		SlabChunkBytes:  128 << 10,
		TxnRecordMax:    64 << 10,
		TxnDataMax:      256 << 10,
		GroupRecordMax:  128 << 10,
		GroupDataMax:    512 << 10,
		GroupStartBytes: 64 << 10,
		RunBlocks:       16,
		GroupDelayNs:    2_000_000,
		LimboShare:      8,
	}
}

// tally is what a campaign has met. Counted by lives that run in parallel.
type tally struct {
	lives, cuts, mountCuts, readOnly, ioErrors, full, snapshots, reads, peaceful, discards, discardErrs atomic.Int64
}

// life is one world with a store in it.
type life struct {
	p    plan
	w    *sim.World
	r    *engine.Reactor
	disk *sim.Disk
	dev  *device.Device // of the disk; nil: this life has it for itself
	h    *device.Handle
	s    *storage.Store
	n    int // which slice
	m    *model
	src  *source
	rng  *rand.Rand

	arena0       int64  // bytes of the arena in use before the mount
	reported     uint64 // every transaction up to this was reported committed
	appliedAtEnd uint64
	left         int // fibers still at work
	fulls        int // transactions refused for lack of space
	tooLarge     int // for their size
	refused      int // because the store had become read-only
	corrupt      int // failed because damage was noticed
	ioErrs       int // failed by a device error
	scans        int // snapshots compared
	reads        int // object reads compared
	bad          error
}

// known says whether an error is one of those that stand for damage.
func known(err error) bool {
	var bad *format.CorruptError
	var rot *storage.RotError
	var io *device.IOError
	return errors.As(err, &bad) || errors.As(err, &rot) || errors.As(err, &io)
}

// begin makes a world around a disk (nil: a new one) and a reactor.
func begin(p plan, seed uint64, disk *sim.Disk, m *model) (*life, error) {
	l := &life{p: p, w: sim.NewWorld(seed), m: m}
	l.rng = l.w.Rand()
	l.src = newSource(l.rng, &p)
	if disk == nil {
		l.disk = l.w.Disk("disk", p.disk)
	} else {
		l.disk = l.w.Adopt(disk)
	}
	return l, l.boot()
}

// boot starts a reactor and gives it the disk.
func (l *life) boot() error {
	l.r = l.w.Reactor(engine.Config{Name: "store", ArenaBytes: arenaBytes, FibersMax: 64, InboxMax: 64, OpsMax: 128})
	return l.w.Boot(l.r, func(f *engine.Fiber) error {
		dev := l.dev
		if dev == nil {
			dev = l.disk.Device()
		}
		h, err := dev.Attach(f.Turn())
		l.h, l.arena0 = h, f.Reactor().Arena().Used()
		return err
	})
}

func (l *life) end() { l.w.Close() }

// do runs fn in a fiber.
func (l *life) do(fn func(f *engine.Fiber) error) error { return l.w.Do(l.r, fn) }

func (l *life) format() error {
	return l.do(func(f *engine.Fiber) error {
		opt := storage.FormatOptions{UUID: [16]byte{1, 2, 3}, JournalBytes: l.p.journal, NodeBytes: l.p.node}
		return storage.Format(f, l.h, opt)
	})
}

// mount mounts the store and lets it tell the model what is committed.
func (l *life) mount() error {
	return l.do(func(f *engine.Fiber) error {
		s, _, err := storage.Mount(f, l.h, l.n, l.p.opt)
		if err != nil {
			return err
		}
		l.s = s
		s.OnCommitted(func(_ *engine.Turn, seq storage.Seq) { l.reported = max(l.reported, uint64(seq)) })
		return nil
	})
}

// unmount ends the store, which must give back all its memory.
func (l *life) unmount() error {
	return l.do(func(f *engine.Fiber) error { return errors.Join(l.s.Unmount(f), l.noLeak(f)) })
}

func (l *life) noLeak(f *engine.Fiber) error {
	if used := f.Reactor().Arena().Used(); used != l.arena0 {
		return differ("%d bytes of the arena are in use, %d before the mount", used, l.arena0)
	}
	return nil
}

// makeCollections is the first transaction of a store.
func (l *life) makeCollections() error {
	return l.do(func(f *engine.Fiber) error {
		seq, err := l.s.Update(f, func(tx *storage.Tx) error {
			for c := 1; c <= colls; c++ {
				if err := tx.CreateCollection(storage.Coll(c)); err != nil {
					return err
				}
			}
			return apply(tx, l.m, nil)
		})
		if err != nil {
			return err
		}
		return l.s.Commit(f, seq)
	})
}

// spawn starts a fiber of the workload.
func (l *life) spawn(fn func(f *engine.Fiber)) error {
	l.left++
	return l.w.Go(l.r, func(f *engine.Fiber) {
		defer func() { l.left-- }()
		fn(f)
	})
}

// work starts the fibers of the workload; the world must be run until done.
func (l *life) work() error {
	for range l.p.fibers {
		if err := l.spawn(func(f *engine.Fiber) {
			for n := 0; n < l.p.txns && l.bad == nil && l.oneStep(f); n++ {
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

func (l *life) done() bool { return l.left == 0 || l.bad != nil }

// oneStep is one thing that a client of the store does; false: the store is of no use any more.
func (l *life) oneStep(f *engine.Fiber) bool {
	if l.rng.IntN(8) == 0 {
		f.Sleep(l.rng.Int64N(3_000_000))
	}
	switch n := l.rng.IntN(20); {
	case n == 0:
		return l.judge(l.snapshot(f))
	case n < 3:
		return l.judge(l.readObject(f, 1+l.rng.IntN(colls), fmt.Sprintf("o%d", l.rng.IntN(objectCount))))
	}
	t := l.src.txn()
	if !l.judge(l.update(f, t)) {
		return false
	}
	if a := &t[0]; a.isObject() && l.rng.IntN(3) == 0 {
		return l.judge(l.readObject(f, a.coll, a.name))
	}
	return true
}

func (l *life) update(f *engine.Fiber, t []action) error {
	commits := l.rng.IntN(3) == 0
	seq, err := l.s.Update(f, func(tx *storage.Tx) error { return apply(tx, l.m, t) })
	if err != nil || !commits {
		return err
	}
	if err := l.s.Commit(f, seq); err != nil {
		return err
	}
	l.reported = max(l.reported, uint64(seq))
	return nil
}

// judge sorts an error: expected under the faults of this life, or a finding.
func (l *life) judge(err error) bool {
	var found *mismatch
	var io *device.IOError
	faulty := l.p.faults != (sim.Faults{})
	switch {
	case err == nil:
	case errors.As(err, &found):
		l.bad = err
		return false
	case errors.Is(err, storage.ErrFull):
		l.fulls++
	case errors.Is(err, storage.ErrTooLarge) && (l.p.cramped || l.p.opt.SharedMax > 0):
		l.tooLarge++
	case errors.Is(err, storage.ErrReadOnly) && faulty:
		l.refused++
		return false
	case errors.As(err, &io) && faulty:
		l.ioErrs++
	case l.p.damaged && known(err):
		l.corrupt++
	default:
		l.bad = fmt.Errorf("unexpected error: %w", err)
		return false
	}
	return true
}

// readObject compares an object with the model while others may change it: each page must be as it was at some moment
// of the read.
func (l *life) readObject(f *engine.Fiber, c int, name string) error {
	a := f.Reactor().Arena()
	buf, err := a.Get(64 << 10)
	if err != nil {
		return nil // a busy moment
	}
	defer a.Put(buf)
	if l.rng.IntN(3) == 0 {
		return l.readAt(f, c, name, l.rng.IntN(objectMax/2), a.Bytes(buf)[:1+l.rng.IntN(64<<10)])
	}
	return l.readAt(f, c, name, l.rng.IntN(3)*(32<<10), a.Bytes(buf))
}

func (l *life) readAt(f *engine.Fiber, c int, name string, off int, p []byte) error {
	from := uint64(l.s.Applied())
	n, err := l.s.Read(f, storage.Coll(c), []byte(name), uint64(off), p)
	to := uint64(l.s.Applied())
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	l.reads++
	return l.m.checkRead(c, name, off, p[:n], len(p), err != nil, from, to)
}

// snapshot pins the state, lets others work, and compares what the snapshot still shows with what was then.
func (l *life) snapshot(f *engine.Fiber) error {
	seq := uint64(l.s.Applied())
	snap, ok := l.s.Snapshot(f.Turn())
	if !ok {
		return nil
	}
	defer func() { snap.Release(f.Turn()) }()
	for range 1 + l.rng.IntN(3) {
		f.Sleep(l.rng.Int64N(2_000_000))
		c := 1 + l.rng.IntN(colls)
		cmp := comparer{c: c, want: l.m.scan(c, "", "", seq)}
		if err := snap.Scan(f, storage.Coll(c), nil, nil, cmp.next); err != nil {
			return err
		}
		if err := cmp.end(); err != nil {
			return differ("snapshot of %d at %d: %v", seq, l.s.Applied(), err)
		}
	}
	l.scans++
	return nil
}

// recovered reads which transaction the mounted store ends with.
func (l *life) recovered(f *engine.Fiber) (seq uint64, err error) {
	err = l.s.View(f, func(tx *storage.Tx) error {
		if !tx.HasCollection(1) {
			seq = 0
			return nil
		}
		v, err := tx.Get(1, []byte(numberKey))
		if err == nil {
			seq = binary.LittleEndian.Uint64(v)
		}
		return err
	})
	return seq, err
}

// compare checks that the store is the model after transaction seq, in everything.
func (l *life) compare(f *engine.Fiber, seq uint64) error {
	if seq == 0 {
		return nil // nothing was ever committed: there is no collection
	}
	for c := 1; c <= colls; c++ {
		if err := l.s.View(f, func(tx *storage.Tx) error { return checkScan(tx, l.m, c, "", "", seq) }); err != nil {
			return fmt.Errorf("at transaction %d: %w", seq, err)
		}
		if err := l.s.View(f, func(tx *storage.Tx) error { return checkList(tx, l.m, c, "", 0, seq) }); err != nil {
			return fmt.Errorf("at transaction %d: %w", seq, err)
		}
	}
	for _, n := range l.m.objects.names {
		if err := l.compareObject(f, int(n[0]), n[1:], seq); err != nil {
			return fmt.Errorf("at transaction %d: %w", seq, err)
		}
	}
	return nil
}

func (l *life) compareObject(f *engine.Fiber, c int, name string, seq uint64) error {
	if err := l.s.View(f, func(tx *storage.Tx) error { return checkStat(tx, l.m, c, name, seq) }); err != nil {
		return err
	}
	o, ok := l.m.object(c, name, seq)
	if !ok || o.size == 0 {
		return nil
	}
	a := f.Reactor().Arena()
	buf, err := a.Get(readBytes)
	if err != nil {
		return err
	}
	defer a.Put(buf)
	for off := 0; off < o.size; off += readBytes {
		n, err := l.s.Read(f, storage.Coll(c), []byte(name), uint64(off), a.Bytes(buf))
		if err != nil {
			return fmt.Errorf("object %d/%s of %d bytes at %d: %w", c, name, o.size, off, err)
		}
		if err := l.m.checkRead(c, name, off, a.Bytes(buf)[:n], readBytes, false, seq, seq); err != nil {
			return err
		}
	}
	return l.compareHoles(f, c, name, o)
}

const readBytes = 128 << 10

// compareHoles walks over data and holes: everything in a hole must be zero in the model, and the walk must end.
func (l *life) compareHoles(f *engine.Fiber, c int, name string, o *object) error {
	for off := uint64(0); off < uint64(o.size); {
		data, err := l.s.SeekData(f, storage.Coll(c), []byte(name), off)
		if errors.Is(err, storage.ErrNotFound) {
			data = uint64(o.size)
		} else if err != nil {
			return err
		}
		if data < off || data > uint64(o.size) || !o.isZero(int(off), int(data)) {
			return differ("object %d/%s of %d bytes: a hole is said to be in %d…%d", c, name, o.size, off, data)
		}
		if data == uint64(o.size) {
			return nil
		}
		hole, err := l.s.SeekHole(f, storage.Coll(c), []byte(name), data)
		if err != nil {
			return err
		}
		if hole <= data || hole > uint64(o.size) {
			return differ("object %d/%s of %d bytes: data at %d, then a hole at %d", c, name, o.size, data, hole)
		}
		off = hole
	}
	return nil
}

// verify finds out where the mounted store ends and compares it with the model there: it must be at or after what was
// reported committed, and not after what was applied.
func (l *life) verify(reported, applied uint64) (at uint64, err error) {
	err = l.do(func(f *engine.Fiber) error {
		if at, err = l.recovered(f); err != nil {
			return fmt.Errorf("reading the last transaction's number: %w", err)
		}
		if at < reported || at > applied {
			return differ("recovered to transaction %d, reported committed %d, applied %d", at, reported, applied)
		}
		return l.compare(f, at)
	})
	return at, err
}

// workload lets the fibers do their transactions.
func (l *life) workload() error {
	if err := l.work(); err != nil {
		return err
	}
	return l.w.Run(l.done)
}

// fillUp writes objects until the device is full, and goes on a little to see that full stays full.
func (l *life) fillUp() error {
	return l.do(func(f *engine.Fiber) error {
		before := l.fulls
		for n := 0; l.fulls < before+3; n++ {
			if n > int(l.p.disk/(16<<10)) {
				return differ("a device of %d bytes took %d objects of 32 KiB or more", l.p.disk, n)
			}
			a := action{kind: writeBlocks, coll: 1 + n%colls, name: fmt.Sprintf("f%d", n), data: fill(l.rng, 32<<10+l.rng.IntN(2)*24<<10)}
			if !l.judge(l.update(f, []action{a})) {
				return l.bad
			}
		}
		return nil
	})
}

// empty removes what fillUp wrote, on a device that is full.
func (l *life) empty() error {
	return l.do(func(f *engine.Fiber) error {
		for _, n := range l.m.objects.names {
			if n[1] != 'f' {
				continue
			}
			a := action{kind: remove, coll: int(n[0]), name: n[1:]}
			if err := l.update(f, []action{a}); err != nil {
				return fmt.Errorf("removing on a full device: %w", err)
			}
		}
		return l.update(f, []action{{kind: recreate, coll: 2}, {kind: delRange, coll: 3, name: "k000", hi: "k050"}})
	})
}

// thinOut removes a part of what fillUp wrote, so that what is free lies in small pieces.
func (l *life) thinOut() error {
	return l.do(func(f *engine.Fiber) error {
		for i, n := range l.m.objects.names {
			if n[1] == 'f' && i%3 == 0 {
				if err := l.update(f, []action{{kind: remove, coll: int(n[0]), name: n[1:]}}); err != nil {
					return err
				}
			}
		}
		return l.s.Checkpoint(f)
	})
}

// fsck checks the unmounted disk.
func (l *life) fsck() error {
	return l.do(func(f *engine.Fiber) error {
		rep, err := storage.Fsck(f, l.h, l.n, l.p.opt)
		if err != nil {
			return err
		}
		if len(rep.Findings) > 0 {
			return differ("%d findings, the first: %v", len(rep.Findings), rep.Findings[0])
		}
		return l.noLeak(f)
	})
}

// recover mounts what the life before has left, perhaps after one more power cut in the middle of a mount, and checks it.
func (l *life) recover(r *rand.Rand, reported, applied uint64, sum *tally) error {
	if r.IntN(3) == 0 {
		l.disk.CutPowerAt(l.disk.Ops() + 1 + r.Uint64N(40))
		err := l.mount()
		if errors.Is(err, sim.ErrPowerCut) {
			sum.mountCuts.Add(1)
			if err := l.again(); err != nil {
				return err
			}
		} else if err != nil {
			return fmt.Errorf("mount: %w", err)
		} else {
			l.disk.CutPowerAt(0)
		}
	}
	if l.s == nil {
		if err := l.fsck(); err != nil {
			return fmt.Errorf("fsck before the mount: %w", err)
		}
		if r.IntN(6) == 0 {
			if err := l.mountFails(); err != nil {
				return err
			}
		}
	}
	if l.s == nil {
		if err := l.mount(); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
	}
	at, err := l.verify(reported, applied)
	if err != nil {
		return err
	}
	l.m.forgetAfter(at)
	l.reported = at // a mount has made durable what it replayed
	if at == 0 {
		return l.makeCollections()
	}
	return nil
}

// mountFails mounts on a device that cannot read well just now: it works or says so, and leaves nothing behind.
func (l *life) mountFails() error {
	l.disk.SetFaults(sim.Faults{ReadError: 0.15})
	err := l.mount()
	l.disk.SetFaults(sim.Faults{})
	if err == nil {
		return nil
	}
	if !known(err) {
		return fmt.Errorf("mount on a device with read errors: %w", err)
	}
	l.ioErrs++
	if err := l.do(l.noLeak); err != nil {
		return fmt.Errorf("after a mount that failed: %w", err)
	}
	return nil
}

// again starts a new reactor on what a power cut left of the disk, in the same world.
func (l *life) again() error {
	disk := l.disk.AfterPowerLoss()
	l.w.Crash(l.r)
	l.w.PowerOn()
	l.disk, l.s = disk, nil
	return l.boot()
}

// stillReads: a store that writes no more must go on to show all that was applied.
func (l *life) stillReads() error {
	if err := l.do(func(f *engine.Fiber) error { return l.compare(f, uint64(l.s.Applied())) }); err != nil {
		return fmt.Errorf("read-only after a device error: %w", err)
	}
	return nil
}

// leave unmounts in peace: everything applied is durable then.
func (l *life) leave(sum *tally) error {
	err := l.unmount()
	if errors.Is(err, storage.ErrReadOnly) && l.disk.Hit(sim.FaultWriteError)+l.disk.Hit(sim.FaultFlushError) > 0 {
		sum.readOnly.Add(1) // the operation that failed was in flight when the work ended
		return nil
	}
	if err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	if n := l.disk.Volatile(); n > 0 {
		return differ("%d writes are not durable after an unmount", n)
	}
	sum.peaceful.Add(1)
	l.reported = l.appliedAtEnd
	return nil
}

// lastCheck verifies what the last life left, up to an unmount and an fsck.
func (l *life) lastCheck(reported, applied uint64) error {
	if err := l.fsck(); err != nil {
		return fmt.Errorf("fsck before the mount: %w", err)
	}
	if err := l.mount(); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if _, err := l.verify(reported, applied); err != nil {
		return err
	}
	if err := l.unmount(); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	if err := l.fsck(); err != nil {
		return fmt.Errorf("fsck after the unmount: %w", err)
	}
	return nil
}
