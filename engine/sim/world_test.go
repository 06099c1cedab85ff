package sim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/engine/device"
	"basalt/engine/uring"
)

var small = engine.Config{ArenaBytes: 1 << 20, FibersMax: 64, InboxMax: 64, OpsMax: 64}

// reactor makes and boots a reactor with nothing on it.
func (w *World) reactor(t testing.TB) *engine.Reactor {
	t.Helper()
	r := w.Reactor(small)
	if err := w.Boot(r, func(*engine.Fiber) error { return nil }); err != nil {
		t.Fatal(err)
	}
	return r
}

// busyWorld lets two reactors work on disks, timers, each other and a connection, and returns the trace hash.
func busyWorld(t *testing.T, seed uint64) uint64 {
	t.Helper()
	w := NewWorld(seed)
	defer w.Close()
	if os.Getenv("BASALT_SIM_TRACE") != "" {
		w.Follow(os.Stderr)
	}
	a, b := w.reactor(t), w.reactor(t)
	d := w.Disk("d", 1<<20)
	d.SetFaults(Faults{ReadError: 0.05, WriteError: 0.05, Slow: 0.01, Short: 0.05})
	fdA, fdB := w.Pipe(a, b)
	left := 0
	for i := range 12 {
		left++
		on := a
		if i%2 == 0 {
			on = b
		}
		if err := w.Go(on, func(f *engine.Fiber) {
			defer func() { left-- }()
			buf, err := f.Reactor().Arena().Get(8192)
			if err != nil {
				t.Error(err)
				return
			}
			addr := f.Reactor().Arena().Addr(buf)
			for n := range 20 {
				off := uint64(i*20+n) % 120 * 8192
				f.Do(uring.PrepWrite(d.Fd(), addr, 8192, off))
				f.Do(uring.PrepRead(d.Fd(), addr, 4096, off))
				f.Sleep(w.Rand().Int64N(100_000))
				if err := engine.CallOn(f, a, func(f2 *engine.Fiber) { f2.Yield() }); err != nil {
					t.Error(err)
				}
			}
			f.Reactor().Arena().Put(buf)
		}); err != nil {
			t.Fatal(err)
		}
	}
	left += 2
	_ = w.Go(a, func(f *engine.Fiber) { talk(f, fdA, true); left-- })
	_ = w.Go(b, func(f *engine.Fiber) { talk(f, fdB, false); left-- })
	if err := w.Run(func() bool { return left == 0 }); err != nil {
		t.Fatal(err)
	}
	return w.TraceHash()
}

// talk sends and receives 40 messages of 100 bytes in turns.
func talk(f *engine.Fiber, fd int32, first bool) {
	buf, _ := f.Reactor().Arena().Get(4096)
	addr := f.Reactor().Arena().Addr(buf)
	for range 40 {
		if first {
			f.Do(uring.PrepSend(fd, addr, 100, msgWaitAll))
		}
		f.Do(uring.PrepRecv(fd, addr, 100, msgWaitAll))
		if !first {
			f.Do(uring.PrepSend(fd, addr, 100, msgWaitAll))
		}
	}
	f.Reactor().Arena().Put(buf)
}

func TestSameSeedSameTrace(t *testing.T) {
	seen := make(map[uint64]bool)
	for seed := range uint64(8) {
		h := busyWorld(t, seed)
		if again := busyWorld(t, seed); again != h {
			t.Fatalf("seed %d: %016x, then %016x", seed, h, again)
		}
		if seen[h] {
			t.Fatalf("seed %d: same trace as another seed", seed)
		}
		seen[h] = true
	}
}

func TestTimeMovesOnlyByEvents(t *testing.T) {
	w := NewWorld(1)
	defer w.Close()
	r := w.reactor(t)
	began := w.Now()
	if err := w.Do(r, func(f *engine.Fiber) error {
		f.Sleep(3600e9)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if took := w.Now() - began; took < 3600e9 || took > 3601e9 {
		t.Fatalf("an hour took %d ns", took)
	}
}

func TestDeadlockIsSeen(t *testing.T) {
	w := NewWorld(1)
	defer w.Close()
	r := w.reactor(t)
	err := w.Do(r, func(f *engine.Fiber) error {
		f.Park()
		return nil
	})
	var dead *DeadlockError
	if !errors.As(err, &dead) || !strings.Contains(dead.Dump, "reactor 1: waits") {
		t.Fatalf("got %v", err)
	}
}

func TestLivelockIsSeen(t *testing.T) {
	w := NewWorld(1)
	defer w.Close()
	w.StepsMax = 1000
	r := w.reactor(t)
	err := w.Do(r, func(f *engine.Fiber) error {
		for {
			f.Yield()
		}
	})
	var live *LivelockError
	if !errors.As(err, &live) || live.Steps != 1000 {
		t.Fatalf("got %v", err)
	}
}

func TestErrorOfAFiberComesBack(t *testing.T) {
	w := NewWorld(1)
	defer w.Close()
	want := fmt.Errorf("no")
	if err := w.Do(w.reactor(t), func(*engine.Fiber) error { return want }); err != want {
		t.Fatal(err)
	}
	if err := w.Boot(w.Reactor(small), func(*engine.Fiber) error { return want }); !errors.Is(err, want) {
		t.Fatal(err)
	}
}

// The peer of a crashed process sees the end of the connection, its writes in flight may reach the disk, and other
// reactors go on.
func TestCrashTellsThePeer(t *testing.T) {
	for seed := range uint64(20) {
		w := NewWorld(seed)
		a, b := w.reactor(t), w.reactor(t)
		d := w.Disk("d", 1<<20)
		fdA, fdB := w.Pipe(a, b)
		_ = w.Go(a, func(f *engine.Fiber) {
			buf, _ := f.Reactor().Arena().Get(4096)
			copy(f.Reactor().Arena().Bytes(buf), bytes.Repeat([]byte("x"), 4096))
			f.Do(uring.PrepWrite(d.Fd(), f.Reactor().Arena().Addr(buf), 4096, 0))
			t.Error("a crashed reactor went on")
		})
		_ = w.Go(a, func(f *engine.Fiber) { talk(f, fdA, false) })
		if err := w.Run(func() bool { return d.Ops() == 1 }); err != nil {
			t.Fatal(err)
		}
		w.Crash(a)
		res := int32(1)
		if err := w.Do(b, func(f *engine.Fiber) error {
			buf, _ := f.Reactor().Arena().Get(4096)
			res = f.Do(uring.PrepRecv(fdB, f.Reactor().Arena().Addr(buf), 100, 0))
			f.Sleep(1e9)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 4096)
		d.ReadAt(got, 0)
		if res != 0 || got[0] != 'x' {
			t.Fatalf("seed %d: the peer got %d, the disk %q", seed, res, got[:1])
		}
		w.Close()
	}
}

// The production device works on a simulated disk: registered memory and file slot, short transfers, errors with the place.
func TestDeviceOnADisk(t *testing.T) {
	w := NewWorld(7)
	defer w.Close()
	r, d := w.reactor(t), w.Disk("d", 1<<20)
	if err := w.Do(r, func(f *engine.Fiber) error {
		h, err := d.Device().Attach(f.Turn())
		if err != nil {
			return err
		}
		a := f.Reactor().Arena()
		buf, err := a.Get(64 << 10)
		if err != nil {
			return err
		}
		p := a.Bytes(buf)
		want := pattern(len(p), 1)
		copy(p, want)
		for _, step := range []func() error{
			func() error { return h.Write(f, p, 128<<10) },
			func() error { return h.Flush(f) },
			func() error { clear(p); return h.Read(f, p, 128<<10) },
		} {
			if err := step(); err != nil {
				return err
			}
		}
		if !bytes.Equal(p, want) {
			t.Error("read something else")
		}
		d.FaultAt(FaultReadError, 1)
		var bad *device.IOError
		if err := h.Read(f, p, 4096); !errors.As(err, &bad) || bad.Off != 4096 || bad.Errno != syscall.EIO {
			t.Errorf("got %v", err)
		}
		if by := h.DiscardBy(f); by != device.DiscardCommand {
			t.Errorf("discards by %s", by)
		}
		return h.Discard(f, 128<<10, 8<<10)
	}); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 64<<10)
	d.ReadAt(got, 128<<10)
	if !bytes.Equal(got[8<<10:], pattern(len(got), 1)[8<<10:]) || bytes.Equal(got, pattern(len(got), 1)) {
		t.Fatal("the disk holds something else")
	}
}

// A transfer may end at any sector; the device layer goes on from there, whole blocks at a time.
func TestDeviceContinuesShortTransfers(t *testing.T) {
	for seed := range uint64(20) {
		w := NewWorld(seed)
		r, d := w.reactor(t), w.Disk("d", 1<<20)
		if err := w.Do(r, func(f *engine.Fiber) error {
			h, err := d.Device().Attach(f.Turn())
			if err != nil {
				return err
			}
			buf, err := f.Reactor().Arena().Get(32 << 10)
			if err != nil {
				return err
			}
			p := f.Reactor().Arena().Bytes(buf)
			want := pattern(len(p), seed)
			copy(p, want)
			for n := range 3 {
				d.FaultAt(FaultShort, n+1)
			}
			if err := h.Write(f, p, 64<<10); err != nil {
				return err
			}
			for n := range 3 {
				d.FaultAt(FaultShort, n+1)
			}
			clear(p)
			if err := h.Read(f, p, 64<<10); err != nil {
				return err
			}
			if !bytes.Equal(p, want) {
				t.Errorf("seed %d: read something else", seed)
			}
			d.Shorten(64<<10 + 512) // the device ends inside a block: no progress, so an error and not a loop
			if err := h.Read(f, p, 64<<10); !errors.Is(err, device.ErrShort) {
				t.Errorf("seed %d: at the end of a short device: %v", seed, err)
			}
			return nil
		}); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if d.Hit(FaultShort) < 4 {
			t.Errorf("seed %d: %d short transfers", seed, d.Hit(FaultShort))
		}
		w.Close()
	}
}

// The peer of a machine without power hears nothing, and gives up by time.
func TestPowerOffTimesOut(t *testing.T) {
	w := NewWorld(1)
	defer w.Close()
	a, b := w.reactor(t), w.reactor(t)
	fdA, fdB := w.Pipe(a, b)
	_ = w.Go(a, func(f *engine.Fiber) { talk(f, fdA, false) })
	began, res := w.Now(), int32(0)
	if err := w.Do(b, func(f *engine.Fiber) error { f.Sleep(1e6); return nil }); err != nil {
		t.Fatal(err)
	}
	w.PowerOff(a)
	if err := w.Do(b, func(f *engine.Fiber) error {
		buf, _ := f.Reactor().Arena().Get(4096)
		res = f.Do(uring.PrepRecv(fdB, f.Reactor().Arena().Addr(buf), 100, 0))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if took := w.Now() - began; res != -int32(syscall.ETIMEDOUT) || took < 15e9 || took > 16e9 {
		t.Fatalf("the peer got %d after %d ns", res, took)
	}
}

// Thousands of worlds in one process: fibers end and arenas are unmapped, wherever a crash finds them.
func TestWorldsDoNotPileUp(t *testing.T) {
	oneWorld := func(seed uint64) {
		w := NewWorld(seed)
		defer w.Close()
		r := w.reactor(t)
		d := w.Disk("d", 1<<20)
		for range 8 {
			_ = w.Go(r, func(f *engine.Fiber) {
				buf, _ := f.Reactor().Arena().Get(4096)
				for {
					f.Do(uring.PrepWrite(d.Fd(), f.Reactor().Arena().Addr(buf), 4096, 0))
				}
			})
		}
		if err := w.Run(func() bool { return d.Ops() > 30 }); err != nil {
			t.Fatal(err)
		}
	}
	oneWorld(0)
	before, vm := runtime.NumGoroutine(), mapped(t)
	const worlds = 1500
	for seed := range uint64(worlds) {
		oneWorld(seed)
	}
	if after := runtime.NumGoroutine(); after > before+8 {
		t.Fatalf("%d goroutines before, %d after", before, after)
	}
	if grew := mapped(t) - vm; grew > worlds/2*int64(small.ArenaBytes+arena.BlockMax) { // what half of them would leak
		t.Fatalf("the process has %d MiB more mapped", grew>>20)
	}
}

// mapped is the size of the address space of this process.
func mapped(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var pages int64
	if _, err := fmt.Sscan(string(b), &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
