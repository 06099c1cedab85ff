package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"time"

	"basalt/engine"
	"basalt/perf/bar"
	"basalt/perf/keys"
	"basalt/storage"

	"golang.org/x/sys/unix"
)

const (
	childCrash      = "crash"
	crashJournal    = 256 << 20
	crashFull       = 95 // hundredths of the journal
	crashBurstDepth = 128
	crashDepth      = 16
	crashValue      = storage.ValueMax
	crashValues     = 256 // keys that the large values are put at
	crashPatience   = 180 * time.Second
	mountSecondsMax = 3
)

// crashPart: a mount after a crash with a full journal. Each round crashes anew, in a process of its own that kills itself.
func crashPart(b *bench) ([]bar.Bar, func() error, error) {
	path, err := b.storeImage()
	if err != nil {
		return nil, nil, err
	}
	return []bar.Bar{{
		Names: []string{"store-mount-after-crash"}, Unit: "s", Limit: mountSecondsMax,
		Before: func() error { return b.makeCrashable(path) },
		Ours:   bar.One(func() (float64, error) { return b.mountAfterCrash(path) }),
	}}, func() error { return nil }, nil
}

func (b *bench) makeCrashable(path string) error {
	o, err := freshStore(path, storage.FormatOptions{JournalBytes: crashJournal}, object{}, object{})
	if err != nil {
		return err
	}
	return errors.Join(o.smallObjects(b.crashed), o.close())
}

// mountAfterCrash is how many seconds a mount takes that finds the journal full.
func (b *bench) mountAfterCrash(path string) (float64, error) {
	cmd, err := b.command(childCrash, nil)
	if err != nil {
		return 0, err
	}
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
		return 0, fmt.Errorf("the process that should have crashed ended otherwise: %w", err)
	}
	start := time.Now()
	o, err := mountImage(path, storage.Options{}, storeArenaBytes)
	if err != nil {
		return 0, err
	}
	took := time.Since(start)
	progress("mounted in %v: %d records, %d transactions replayed", took, o.rep.Records, o.rep.Transactions)
	if o.rep.Clean || o.rep.Records == 0 {
		err = fmt.Errorf("the mount after a crash replayed %d records", o.rep.Records)
	}
	return took.Seconds(), errors.Join(err, o.close())
}

// crash fills the journal and kills this process. Half of it are committed changes of random objects; then a checkpoint starts, which
// has all of them to fold, into nodes that it must read, and next to no time for it in a turn. Before it ends, large values fill the rest;
// if it did end, all begins again.
func (b *bench) crash() error {
	path, err := b.storeImage()
	if err != nil {
		return err
	}
	o, err := mountImage(path, storage.Options{TurnBudgetNs: 1, CacheBytes: 1 << 20}, storeArenaBytes)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(crashPatience)
	late := func() bool { return time.Now().After(deadline) }
	err = o.r.Call(func(f *engine.Fiber) error {
		for !late() {
			if _, err := crew(f, crashDepth, func() bool { return late() || o.s.Stats().Checkpointing }, o.changes(uint64(b.crashed))); err != nil {
				return err
			}
			if _, err := crew(f, crashBurstDepth, func() bool { return late() || !o.s.Stats().Checkpointing }, o.burst); err != nil {
				return err
			}
		}
		return nil
	})
	st := o.s.Stats()
	return errors.Join(fmt.Errorf("the journal did not fill up in %v: %d of %d blocks, delta of %d MiB, %d checkpoints",
		crashPatience, st.JournalUsed, st.JournalBlocks, st.DeltaBytes>>20, st.Checkpoints), err)
}

// burst puts large values, not awaited, until the journal is full: then the process ends as if the power had been cut.
func (o *openStore) burst(f *engine.Fiber, rng *rand.Rand, stop func() bool) (n int, err error) {
	key, val := make([]byte, keys.Bytes), keys.Pattern(crashValue)
	put := func(tx *storage.Tx) error { return tx.Put(objectColl, key, val) }
	for ; !stop(); n++ {
		keys.Name(key, rng.Uint64N(crashValues))
		if _, err := o.s.Update(f, put); err != nil {
			return n, err
		}
		if st := o.s.Stats(); st.JournalUsed*100 >= st.JournalBlocks*crashFull {
			return n, unix.Kill(os.Getpid(), unix.SIGKILL)
		}
		f.Yield()
	}
	return n, nil
}

// changes set the attribute of random objects, each awaited committed.
func (o *openStore) changes(objects uint64) work {
	return func(f *engine.Fiber, rng *rand.Rand, stop func() bool) (n int, err error) {
		name, val := make([]byte, keys.Bytes), keys.Pattern(attrBytes)
		set := func(tx *storage.Tx) error { return tx.SetAttr(objectColl, name, attrName, val) }
		for ; !stop(); n++ {
			keys.Name(name, rng.Uint64N(objects))
			val[0]++
			seq, err := o.s.Update(f, set)
			if err == nil {
				err = o.s.Commit(f, seq)
			}
			if err != nil {
				return n, err
			}
		}
		return n, nil
	}
}
