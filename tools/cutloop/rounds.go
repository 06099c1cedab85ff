package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/fuse/powercut"
	"basalt/storage"
	"basalt/storage/format"
)

// result counts what the cuts have met.
type result struct {
	cuts, inMount, inFlush   int
	killed, failed           int // loads that were killed at the cut; that met EIO and said so
	held, kept, lost, torn   int // writes that no flush had covered
	transactions, dropped    uint64
	records                  uint64 // replayed
	checkpoints, recordBytes uint64
	discards                 uint64
	blocksChecked            uint64
}

var deviceID = [16]byte{0xC0, 7}

// campaign is the rounds' state.
type campaign struct {
	o    options
	rng  *rand.Rand
	m    *model
	life uint64 // of the last load
	p    progress
	sum  result
}

func (c *campaign) progressFile() string { return filepath.Join(c.o.dir, "progress") }

// rounds makes a store and cuts its power as often as was asked for.
func rounds(o options) (result, error) {
	c := &campaign{o: o, rng: rand.New(rand.NewPCG(o.seed, 0xc07)), m: newModel(o.seed)}
	if err := c.format(); err != nil {
		return c.sum, err
	}
	for n := 1; n <= o.cuts; n++ {
		if err := c.one(n); err != nil {
			return c.sum, fmt.Errorf("round %d (seed %d; the disk is %s): %w", n, o.seed, diskFile(o.dir), err)
		}
	}
	// What the last cut has left.
	d, err := plug(o.dir)
	if err != nil {
		return c.sum, err
	}
	if err = errors.Join(c.check(d), d.unplug()); err != nil {
		return c.sum, fmt.Errorf("what cut %d has left (seed %d; the disk is %s): %w", o.cuts, o.seed, diskFile(o.dir), err)
	}
	return c.sum, nil
}

// format makes the disk and a store on it, and proves that the disk is one.
func (c *campaign) format() error {
	file, err := os.OpenFile(diskFile(c.o.dir), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Truncate(diskBytes), file.Close()); err != nil {
		return err
	}
	d, err := plug(c.o.dir)
	if err != nil {
		return err
	}
	err = d.probe()
	if err == nil {
		err = onDisk(d.loop.Path(), false, func(f *engine.Fiber, h *device.Handle) error {
			return storage.Format(f, h, storage.FormatOptions{UUID: deviceID, JournalBytes: journalBytes, NodeBytes: 8 << 10})
		})
	}
	return errors.Join(err, d.unplug())
}

// one round: what the cut before left is checked, a load works on it, the power goes.
func (c *campaign) one(n int) error {
	d, err := plug(c.o.dir)
	if err != nil {
		return err
	}
	if err = c.check(d); err != nil {
		err = fmt.Errorf("what cut %d has left: %w", n-1, err)
	} else {
		err = c.work(d, n)
	}
	return errors.Join(err, d.unplug())
}

// work runs a load until the power goes, in the middle of what it does.
func (c *campaign) work(d *disk, n int) error {
	c.life = uint64(n)
	c.p = progress{Begun: c.m.n, Committed: c.m.n}
	file, err := os.Create(c.progressFile())
	if err != nil {
		return err
	}
	if err := errors.Join(c.p.save(file), file.Close()); err != nil {
		return err
	}
	o := c.draw(n)
	if _, err := d.tell(o); err != nil {
		return err
	}
	var said strings.Builder
	load, err := spawn(role{Name: "load", Device: d.loop.Path(), Progress: c.progressFile(), Seed: c.o.seed, Life: c.life}, true, func(cmd *exec.Cmd) error {
		cmd.Stderr = &said
		return nil
	})
	if err != nil {
		return fmt.Errorf("start the load: %w", err)
	}
	counts, err := d.wait("cut", load.ended)
	if err != nil {
		return errors.Join(fmt.Errorf("the power never went: %w", err), load.kill(), errors.New(said.String()))
	}
	if n%2 == 0 {
		err = c.killed(load)
	} else {
		err = c.faced(load)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, said.String())
	}
	if c.p, err = readProgress(c.progressFile()); err != nil {
		return err
	}
	c.note(counts)
	fmt.Printf("cut %d: in a %s, operation %d%s; %d writes not flushed (%d kept, %d lost, %d torn); begun %d, committed %d\n",
		n, counts.CutIn, o.Ops, aimed(o), counts.Held, counts.Kept, counts.Lost, counts.Torn, c.p.Begun, c.p.Committed)
	return nil
}

// draw decides when the power goes: anywhere; or while the store mounts, or just after; or at a superblock.
func (c *campaign) draw(n int) order {
	o := order{Cut: true, Ops: uint64(1 + c.rng.IntN(c.o.opsMax)), Seed: c.rng.Uint64()}
	switch {
	case n%5 == 0:
		o.Ops = uint64(1 + c.rng.IntN(12))
	case n%5 < 3: // two writes of a superblock for each checkpoint, the mount's own first
		o.Ops, o.Aim = uint64(1+c.rng.IntN(3)), powercut.Aim{Places: superblocks(), Times: uint64(1 + c.rng.IntN(16))}
	case lazy(c.life):
		o.Ops = (o.Ops + 3) / 4 // it does more between two of them
	}
	return o
}

func aimed(o order) string {
	if o.Aim.Times == 0 {
		return ""
	}
	return fmt.Sprintf(" from write %d of a superblock", o.Aim.Times)
}

// superblocks are the places of all superblocks of our disk.
func superblocks() (list []powercut.Span) {
	label, err := format.PlanLabel(deviceID, diskBytes/format.BlockBytes, 1)
	if err != nil {
		panic(err) // constants
	}
	for _, slot := range format.SuperPlaces(label.Slice(0)[0]) {
		for _, at := range slot {
			list = append(list, powercut.Span{Off: int64(at) * format.BlockBytes, Len: format.SuperBytes})
		}
	}
	return list
}

// killed: the machine is gone with its disk.
func (c *campaign) killed(load *child) error {
	c.sum.killed++
	if err := load.kill(); err != nil {
		return err
	}
	if status, ok := load.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return nil
	}
	return noDisk(load) // it was faster
}

// noDisk demands that a load that ended by itself said that its disk is gone.
func noDisk(load *child) error {
	var exit *exec.ExitError
	if errors.As(load.err, &exit) && exit.ExitCode() == exitDevice {
		return nil
	}
	return fmt.Errorf("a load without a disk ended so: %v", load.err)
}

// faced: the machine lives on a little and sees that its disk answers no more. It must say so, and must not have promised
// anything in between.
func (c *campaign) faced(load *child) error {
	c.sum.failed++
	select {
	case <-load.ended:
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("the load went on for %v without a disk", patience), load.kill())
	}
	return noDisk(load)
}

func (c *campaign) note(counts powercut.Counts) {
	s := &c.sum
	s.cuts++
	if counts.CutIn == "flush" {
		s.inFlush++
	}
	if c.p.Mounted == 0 {
		s.inMount++
	}
	s.held, s.kept, s.lost, s.torn = s.held+counts.Held, s.kept+counts.Kept, s.lost+counts.Lost, s.torn+counts.Torn
	s.records += c.p.Replayed
	s.checkpoints += c.p.Checkpoints
	s.recordBytes += c.p.RecordBytes
	s.discards += c.p.Discards
}

// check looks at what a cut has left, read-only: nothing to find, everything there that was reported as committed, and
// all of it as after one transaction.
func (c *campaign) check(d *disk) error {
	return onDisk(d.loop.Path(), true, func(f *engine.Fiber, h *device.Handle) error {
		rep, err := storage.Fsck(f, h, 0, storage.Options{})
		if err != nil {
			return fmt.Errorf("the check: %w", err)
		}
		if len(rep.Findings) > 0 {
			return fmt.Errorf("the check finds %d things, the first: %v", len(rep.Findings)+rep.More, rep.Findings[0])
		}
		c.sum.blocksChecked += rep.DataBlocks + rep.ValueBlocks
		opt := limits(c.life)
		opt.ReadOnly = true
		s, _, err := storage.Mount(f, h, 0, opt)
		if err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		return errors.Join(c.compare(f, s), s.Unmount(f))
	})
}

func (c *campaign) compare(f *engine.Fiber, s *storage.Store) error {
	life, n, err := recovered(f, s)
	switch {
	case err != nil:
		return fmt.Errorf("read the number of the last transaction: %w", err)
	case n < c.p.Committed:
		return fmt.Errorf("LOST: the store ends with transaction %d of life %d, and %d was reported as committed", n, life, c.p.Committed)
	case n > c.p.Begun:
		return fmt.Errorf("the store ends with transaction %d of life %d, and only %d were begun", n, life, c.p.Begun)
	case n > c.m.n && life != c.life:
		return fmt.Errorf("the store ends with transaction %d of life %d, and that one was never committed: life %d has begun it anew", n, life, c.life)
	}
	c.sum.transactions += n - c.m.n
	c.sum.dropped += c.p.Begun - n
	c.m.advance(c.life, n)
	if err := c.m.compare(f, s); err != nil {
		return fmt.Errorf("at transaction %d (committed %d, begun %d): %w", n, c.p.Committed, c.p.Begun, err)
	}
	return nil
}

func (s *result) print(out io.Writer) {
	fmt.Fprintf(out, "cutloop: %d cuts, %d in a flush, %d before the store had mounted; %d loads killed, %d met EIO and said so\n",
		s.cuts, s.inFlush, s.inMount, s.killed, s.failed)
	fmt.Fprintf(out, "cutloop: %d writes were not flushed: %d kept, %d lost, %d torn; %d transactions survived, %d uncommitted ones were dropped\n",
		s.held, s.kept, s.lost, s.torn, s.transactions, s.dropped)
	fmt.Fprintf(out, "cutloop: %d records replayed, %d checkpoints, %d discards, the journal written %d times over; %d blocks verified\n",
		s.records, s.checkpoints, s.discards, s.recordBytes/journalBytes, s.blocksChecked)
}

// enough refuses rounds that have proved nothing. A few of them need not meet everything.
func (s *result) enough() error {
	const few = 20
	if s.held == 0 || s.transactions == 0 {
		return errors.New("the cuts met nothing to lose")
	}
	if s.cuts < few {
		return nil
	}
	if s.lost == 0 || s.torn == 0 || s.kept == 0 || s.inMount == 0 || s.records == 0 || s.checkpoints == 0 || s.discards == 0 {
		return errors.New("the cuts met too little to prove anything")
	}
	return nil
}
