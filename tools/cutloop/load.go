package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/storage"
)

const (
	diskBytes    = 64 << 20
	journalBytes = 1 << 20
	arenaBytes   = 64 << 20
	fibers       = 6
)

// limits make the store checkpoint and go round its journal within a few hundred operations of the disk. Every third life is lazy: it
// flushes seldom, so that a cut meets many writes that no flush has covered. Every second one tells the disk what is free.
func limits(life uint64) storage.Options {
	o := storage.Options{
		CacheBytes: 1 << 20, DeltaBytesMax: 2 << 20, SlabChunkBytes: 256 << 10, TxnRecordMax: 128 << 10, TxnDataMax: 512 << 10,
		GroupRecordMax: 256 << 10, GroupDataMax: 1 << 20, GroupStartBytes: 128 << 10, GroupDelayNs: 2e6, RunBlocks: 64,
	}
	if lazy(life) {
		o.GroupStartBytes, o.GroupDelayNs, o.RunBlocks = 1<<20, 50e6, 16
	}
	if o.Discard = life%2 == 0; o.Discard {
		o.DiscardMinBytes, o.DiscardBytesPerSec, o.DiscardDelayNs = 32<<10, 256<<20, 1e6
	}
	return o
}

func lazy(life uint64) bool { return life%3 == 0 }

// onDisk runs fn on a column with the device, and is over when both are given up.
func onDisk(path string, readOnly bool, fn func(f *engine.Fiber, h *device.Handle) error) error {
	dev, err := device.Open(path, device.Options{ReadOnly: readOnly, Own: func([]byte) bool { return true }})
	if err != nil {
		return err
	}
	r, err := engine.New(engine.Config{Name: "cutloop", CPU: -1, ArenaBytes: arenaBytes})
	if err != nil {
		return errors.Join(err, dev.Close())
	}
	err = r.Start(func(f *engine.Fiber) error {
		h, err := dev.Attach(f.Turn())
		if err != nil {
			return err
		}
		return fn(f, h)
	})
	if err == nil {
		r.Stop()
		err = r.Wait()
	}
	return errors.Join(err, dev.Close())
}

// noPower says whether an error is what a store says whose disk answers EIO to everything.
func noPower(err error) bool {
	var io *device.IOError
	return errors.Is(err, storage.ErrReadOnly) || errors.As(err, &io) && io.Errno == syscall.EIO
}

// loader is the load of one life. Owned by its column.
type loader struct {
	role role
	file *os.File // of p
	p    progress
	s    *storage.Store
	left int
	all  engine.WaitList
	bad  error // the first error of a fiber
}

// load mounts the store and changes it until the disk fails it, or we are killed.
func load(r role) (err error) {
	l := &loader{role: r}
	if l.file, err = os.OpenFile(r.Progress, os.O_RDWR, 0); err != nil {
		return err
	}
	defer l.file.Close()
	if l.p, err = readProgress(r.Progress); err != nil {
		return err
	}
	return onDisk(r.Device, false, l.run)
}

func (l *loader) run(f *engine.Fiber, h *device.Handle) error {
	s, rep, err := storage.Mount(f, h, 0, limits(l.role.Life))
	if err != nil {
		return err
	}
	l.s = s
	l.p.Mounted, l.p.Replayed = 1, rep.Records
	if err := l.p.save(l.file); err != nil {
		return err
	}
	s.OnCommitted(func(_ *engine.Turn, seq storage.Seq) { l.committed(uint64(seq)) })
	l.left = fibers
	for i := range fibers {
		if err := f.Turn().Go("load", func(f *engine.Fiber) {
			l.keep(l.change(f, i))
			if l.left--; l.left == 0 {
				l.all.WakeAll(f.Turn())
			}
		}); err != nil {
			return err
		}
	}
	l.all.Wait(f)
	return l.bad
}

func (l *loader) keep(err error) {
	if l.bad == nil {
		l.bad = err
	}
}

func (l *loader) committed(seq uint64) {
	st := l.s.Stats()
	l.p.Committed, l.p.Checkpoints, l.p.RecordBytes, l.p.Discards = max(l.p.Committed, seq), st.Checkpoints, st.RecordBytes, st.Discards
	l.keep(l.p.save(l.file))
}

// change does one transaction after the other and waits now and then until one is committed. It ends with the first error.
func (l *loader) change(f *engine.Fiber, i int) error {
	every := 3
	if lazy(l.role.Life) {
		every = 200
	}
	for n := i; l.bad == nil; n++ {
		seq, err := l.s.Update(f, func(tx *storage.Tx) error {
			// What a run of this does depends on the number that it would have; a run that comes to nothing is undone.
			next := uint64(tx.NextSeq())
			if next > l.p.Begun {
				l.p.Begun = next
				if err := l.p.save(l.file); err != nil {
					return err
				}
			}
			return perform(tx, l.role.Seed, l.role.Life, next)
		})
		if err != nil {
			return fmt.Errorf("a transaction: %w", err)
		}
		if n%every != 0 {
			continue
		}
		if err := l.s.Commit(f, seq); err != nil {
			return fmt.Errorf("the commit of %d: %w", seq, err)
		}
		l.committed(uint64(seq))
	}
	return nil
}
