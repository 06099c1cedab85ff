package engine

import (
	"errors"
	"runtime"
	"testing"

	"basalt/engine/uring"
)

// jumpClock is a clock that moves when it is told to.
type jumpClock struct{ ns int64 }

func (c *jumpClock) Mono() int64 { return c.ns }
func (c *jumpClock) Wall() int64 { return c.ns + 1_700_000_000_000_000_000 }

// stepped is a reactor over the real ring, driven as the simulator drives it.
func stepped(t *testing.T, clock Clock, boot func(f *Fiber) error) *Reactor {
	t.Helper()
	return steppedBy(t, Config{Clock: clock}, boot)
}

func steppedBy(t testing.TB, cfg Config, boot func(f *Fiber) error) *Reactor {
	t.Helper()
	runtime.LockOSThread()
	cfg.CPU, cfg.ArenaBytes = -1, 1<<20
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Boot(boot); err != nil {
		t.Fatalf("these tests need io_uring: %v", err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		runtime.UnlockOSThread()
	})
	return r
}

func TestStepping(t *testing.T) {
	clock := &jumpClock{ns: 1000}
	order := ""
	var wall int64
	r := stepped(t, clock, func(f *Fiber) error {
		order += "boot "
		f.Turn().AtEnd(MessageFunc(func(*Turn) { order += "end " }))
		f.Sleep(500)
		order += "woke "
		wall = f.Turn().Wall()
		f.Reactor().Offload(f, func() { order += "inline " })
		return nil
	})
	for r.Step() {
	}
	if order != "boot end " || r.Booted() || r.Runnable() {
		t.Fatalf("after the first steps: %q, booted %v", order, r.Booted())
	}
	if ns, ok := r.NextDeadline(); !ok || ns != 1500 {
		t.Fatalf("next deadline %d %v, want 1500", ns, ok)
	}
	clock.ns = 1499
	if r.Step() {
		t.Fatal("a step before the deadline found work")
	}
	clock.ns = 1500
	if !r.Step() || !r.Booted() || r.Err() != nil || order != "boot end woke inline " {
		t.Fatalf("at the deadline: %q, booted %v, %v", order, r.Booted(), r.Err())
	}
	if wall != clock.Wall() {
		t.Errorf("wall %d, want %d", wall, clock.Wall())
	}
	if err := r.Post(MessageFunc(func(*Turn) { order += "posted" })); err != nil {
		t.Fatal(err)
	}
	if !r.Runnable() || !r.Step() || order != "boot end woke inline posted" {
		t.Errorf("after a post: %q", order)
	}
}

type refusedTask struct{ err error }

func (x *refusedTask) Run(*Fiber)       { x.err = errors.New("it ran") }
func (x *refusedTask) Refuse(err error) { x.err = err }

func TestTaskThatNeverBeganIsRefused(t *testing.T) {
	r := stepped(t, &jumpClock{ns: 1}, func(*Fiber) error { return nil })
	for r.Step() { // its fiber is then in the pool: used once before
	}
	var tasks [2]refusedTask
	for i := range tasks {
		if err := r.turn.Spawn(&tasks[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for i := range tasks {
		if tasks[i].err != ErrStopped {
			t.Errorf("task %d: %v, want ErrStopped", i, tasks[i].err)
		}
	}
}

func TestBootErrorIsToldByErr(t *testing.T) {
	want := errors.New("refused")
	r := stepped(t, &jumpClock{ns: 1}, func(*Fiber) error { return want })
	for r.Step() {
	}
	if !r.Booted() || !errors.Is(r.Err(), want) {
		t.Errorf("booted %v, err %v", r.Booted(), r.Err())
	}
}

// brokenRing fails its first blocking or non-blocking enter after a while.
type brokenRing struct {
	uring.Ring
	left int
}

var errBroken = errors.New("ring is broken")

func (b *brokenRing) Enter(wait uint32, timeoutNs int64) error {
	if b.left--; b.left < 0 {
		return errBroken
	}
	return b.Ring.Enter(wait, timeoutNs)
}

func TestABrokenRingEndsTheReactor(t *testing.T) {
	r, err := New(Config{CPU: -1, ArenaBytes: 1 << 20, Ring: func() (uring.Ring, error) {
		ring, err := uring.Open(uring.Config{Entries: 16, CQEntries: 4096})
		return &brokenRing{Ring: ring, left: 20}, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(func(*Fiber) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for r.Post(MessageFunc(func(*Turn) {})) != ErrStopped {
		runtime.Gosched()
	}
	if err := r.Wait(); !errors.Is(err, errBroken) {
		t.Errorf("Wait = %v, want the ring's error", err)
	}
}

func TestImpossibleConfigurationsAreRefused(t *testing.T) {
	for _, cfg := range []Config{
		{CPU: -2}, {CPU: -1, FibersMax: -1}, {CPU: -1, InboxMax: 1 << 30}, {CPU: -1, OpsMax: -5}, {CPU: -1, ArenaBytes: 100}, {CPU: -1, FilesMax: 1 << 20},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
	r, err := New(Config{CPU: -1, OpsMax: 4096, ArenaBytes: 1 << 20, Ring: func() (uring.Ring, error) { return uring.Open(uring.Config{Entries: 8, CQEntries: 64}) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(func(*Fiber) error { return nil }); err == nil {
		t.Error("more operations than the completion queue holds were accepted")
	}
	r, err = New(Config{CPU: 4095, ArenaBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(func(*Fiber) error { return nil }); err == nil {
		t.Error("pinned to a CPU that is not there")
	}
}
