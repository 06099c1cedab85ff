package device_test

import (
	"errors"
	"strings"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/sim"
)

// sharer is one reactor of several on one device: it writes its blocks one after the other, each with a flush.
type sharer struct {
	r       *engine.Reactor
	h       *device.Handle
	at      int64 // where its blocks begin
	durable int   // blocks that a flush has promised
	told    int
	why     error
	left    int
}

const sharerBlocks = 12

// share boots n reactors on one disk of their own world.
func share(t *testing.T, seed uint64, n int) (*sim.World, *sim.Disk, *device.Device, []*sharer) {
	t.Helper()
	w := sim.NewWorld(seed)
	disk := w.Disk("shared", 4<<20)
	dev := disk.Device()
	var all []*sharer
	for i := range n {
		s := &sharer{r: w.Reactor(engine.Config{Name: "reactor", ArenaBytes: 2 << 20, InboxMax: 2}), at: int64(i) << 20}
		if err := w.Boot(s.r, func(f *engine.Fiber) (err error) {
			if s.h, err = dev.Attach(f.Turn()); err != nil {
				return err
			}
			return s.h.Watch("slice "+string(rune('0'+i)), func(_ *engine.Turn, err *device.FailedError) { s.told, s.why = s.told+1, err })
		}); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return w, disk, dev, all
}

// work writes until something fails.
func (s *sharer) work(f *engine.Fiber) {
	defer func() { s.left-- }()
	a := f.Reactor().Arena()
	buf, err := a.Get(device.BlockBytes)
	if err != nil {
		panic(err)
	}
	defer a.Put(buf)
	for i := range sharerBlocks {
		p := a.Bytes(buf)[:device.BlockBytes]
		for j := range p {
			p[j] = byte(i + 1)
		}
		if s.h.Write(f, p, s.at+int64(i)*device.BlockBytes) != nil || s.h.Flush(f) != nil {
			return
		}
		s.durable = i + 1
	}
}

// A flush that any reactor was told to count must have made its blocks durable, whoever's flush failed before, meanwhile or after: the power
// fails and takes everything that no good flush has covered. And everybody hears of the failure, once.
func TestFlushOfAFailedDeviceDoesNotCount(t *testing.T) {
	failed, late := 0, 0
	for seed := range uint64(3000) {
		w, disk, dev, all := share(t, seed, 4)
		begun := 0
		disk.OnEvent(func(_ *sim.Disk, what string) {
			if what == "begin flush" && dev.Failed() != nil {
				begun++
			}
		})
		disk.FaultAt(sim.FaultFlushError, 1+int(seed%20))
		left := func() (n int) {
			for _, s := range all {
				n += s.left
			}
			return n
		}
		for _, s := range all {
			s.left = 1
			if err := w.Go(s.r, s.work); err != nil {
				t.Fatal(err)
			}
		}
		heard := func() (n int) {
			for _, s := range all {
				n += s.told
			}
			return n
		}
		if err := w.Run(func() bool { return left() == 0 && (dev.Failed() == nil || heard() == len(all)-1) }); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if dev.Failed() != nil {
			failed++
		}
		late += begun
		after := disk.AfterPowerLossOf(sim.Loss{}, seed)
		for i, s := range all {
			p := make([]byte, device.BlockBytes)
			for b := range s.durable {
				if after.ReadAt(p, s.at+int64(b)*device.BlockBytes); p[0] != byte(b+1) {
					t.Fatalf("seed %d: block %d of reactor %d was promised and is lost", seed, b, i)
				}
			}
			if s.told > 1 {
				t.Fatalf("seed %d: reactor %d was told %d times", seed, i, s.told)
			}
		}
		w.Close()
	}
	if failed < 2000 || late > 0 {
		t.Fatalf("%d devices failed; %d flushes began after that", failed, late)
	}
}

// An owner is there once, and a handle has one.
func TestWatchIsExclusive(t *testing.T) {
	w, _, _, all := share(t, 1, 2)
	defer w.Close()
	if err := all[0].h.Watch("slice 7", nil); !errors.Is(err, device.ErrBusy) {
		t.Errorf("a second owner of a handle: %v", err)
	}
	all[0].h.Unwatch()
	if err := all[0].h.Watch("slice 1", nil); !errors.Is(err, device.ErrBusy) {
		t.Errorf("an owner that there is: %v", err)
	}
	all[1].h.Unwatch()
	all[1].h.Unwatch() // nothing more to end
	if err := all[0].h.Watch("slice 1", nil); err != nil {
		t.Errorf("an owner that has left: %v", err)
	}
}

// The error names whose flush it was, and whoever comes later is refused.
func TestFailedDeviceSaysWhose(t *testing.T) {
	w, disk, dev, all := share(t, 1, 2)
	defer w.Close()
	disk.FaultAt(sim.FaultFlushError, 1)
	if err := w.Do(all[1].r, func(f *engine.Fiber) error { return all[1].h.Flush(f) }); err == nil {
		t.Fatal("the flush did not fail")
	}
	if err := w.Run(func() bool { return all[0].told == 1 }); err != nil {
		t.Fatal(err)
	}
	var failed *device.FailedError
	var io *device.IOError
	if !errors.As(all[0].why, &failed) || failed.By != "slice 1" || !errors.As(failed, &io) || io.Op != device.OpFlush || !strings.Contains(failed.Error(), "slice 1") {
		t.Errorf("told %v", all[0].why)
	}
	flushes := disk.Ops()
	if err := w.Do(all[0].r, func(f *engine.Fiber) error { return all[0].h.Flush(f) }); !errors.As(err, &failed) {
		t.Errorf("a flush of a failed device says %v", err)
	}
	if disk.Ops() != flushes {
		t.Error("and went to the device")
	}
	if err := all[0].h.Watch("a new store", nil); !errors.As(err, &failed) || dev.Failed() == nil {
		t.Errorf("who comes later is told %v", err)
	}
	if all[1].told != 0 {
		t.Error("whose flush failed was told of itself")
	}
}

// A reactor whose inbox is full hears of the failure when there is room again.
func TestFailureReachesAFullInbox(t *testing.T) {
	w, disk, dev, all := share(t, 4, 2)
	defer w.Close()
	disk.FaultAt(sim.FaultFlushError, 1)
	full, refused := all[0], false
	disk.OnEvent(func(*sim.Disk, string) { // the last thing before the reactor whose flush it is takes the answer
		for full.r.Post(engine.MessageFunc(func(*engine.Turn) {})) == nil {
		}
		refused = true
	})
	if err := w.Do(all[1].r, func(f *engine.Fiber) error { return all[1].h.Flush(f) }); err == nil || dev.Failed() == nil || !refused {
		t.Fatalf("the flush says %v, the inbox was full: %v", err, refused)
	}
	if err := w.Run(func() bool { return full.told == 1 }); err != nil {
		t.Fatal(err)
	}
}

// A flush that waits for another's ends, though the nudge that should tell of it is lost with the reactor that was to send it.
func TestFlushEndsWithoutANudge(t *testing.T) {
	for seed := range uint64(200) {
		w, _, _, all := share(t, seed, 2)
		for _, s := range all {
			s.h.LoseNudge()
			s.left = 1
			if err := w.Go(s.r, s.work); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Run(func() bool { return all[0].left+all[1].left == 0 }); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i, s := range all {
			if s.durable != sharerBlocks {
				t.Fatalf("seed %d: reactor %d has %d blocks durable", seed, i, s.durable)
			}
		}
		w.Close()
	}
}
