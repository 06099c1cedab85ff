package engine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"basalt/engine/invariant"
	"basalt/engine/uring"
)

func TestYieldTakesTurns(t *testing.T) {
	r := start(t, Config{})
	var order []string
	on(t, r, func(f *Fiber) error {
		var done WaitList
		left := 2
		for _, name := range []string{"a", "b"} {
			if err := f.Turn().Go(name, func(g *Fiber) {
				for i := range 3 {
					order = append(order, fmt.Sprintf("%s%d", name, i))
					g.Yield()
				}
				if left--; left == 0 {
					done.WakeAll(g.Turn())
				}
			}); err != nil {
				return err
			}
		}
		done.Wait(f)
		return nil
	})
	if want := []string{"a0", "b0", "a1", "b1", "a2", "b2"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

func TestParkAndReady(t *testing.T) {
	r := start(t, Config{})
	on(t, r, func(f *Fiber) error {
		ready := false
		if err := f.Turn().Go("waker", func(g *Fiber) {
			ready = true
			if !g.Turn().Ready(f) {
				t.Error("Ready did not find the parked fiber")
			}
			if g.Turn().Ready(f) {
				t.Error("Ready woke a fiber twice")
			}
		}); err != nil {
			return err
		}
		for !ready {
			f.Park()
		}
		// A fiber that waits for its own timer is not Ready's to wake.
		if err := f.Turn().Go("intruder", func(g *Fiber) {
			if g.Turn().Ready(f) {
				t.Error("Ready interrupted a Sleep")
			}
		}); err != nil {
			return err
		}
		before := f.Turn().Now()
		f.Sleep(2_000_000)
		if spent := f.Turn().Now() - before; spent < 2_000_000 {
			t.Errorf("slept %d ns of 2 ms", spent)
		}
		return nil
	})
}

func TestFibersAreBoundedAndPooled(t *testing.T) {
	r := start(t, Config{FibersMax: 8})
	var gate WaitList
	on(t, r, func(f *Fiber) error {
		started := 0
		for {
			err := f.Turn().Go("waits", func(g *Fiber) { gate.Wait(g) })
			if err == ErrBusy {
				break
			}
			if err != nil {
				return err
			}
			started++
		}
		if started != 7 { // and this one
			t.Errorf("%d fibers beside this one, want 7", started)
		}
		f.Yield()
		gate.WakeAll(f.Turn())
		f.Yield()
		if n := len(r.active); n != 1 {
			t.Errorf("%d fibers active, want this one", n)
		}
		before := runtime.NumGoroutine()
		for range 100 {
			if err := f.Turn().Go("short", func(*Fiber) {}); err != nil {
				return err
			}
			f.Yield()
		}
		if after := runtime.NumGoroutine(); after > before+2 {
			t.Errorf("goroutines grew from %d to %d: fibers are not reused", before, after)
		}
		return nil
	})
	s := r.Stats()
	if s.FibersPeak != 8 || s.FibersBusy != 1 {
		t.Errorf("peak %d, refused %d, want 8 and 1", s.FibersPeak, s.FibersBusy)
	}
}

func TestCurrentAndCancelFlag(t *testing.T) {
	r := start(t, Config{})
	on(t, r, func(f *Fiber) error {
		if r.Current() != f || f.Reactor() != r || f.Turn().Reactor() != r || f.Name() != "Call" {
			t.Errorf("current %p, want %p, named %q", r.Current(), f, f.Name())
		}
		if f.Canceled() {
			t.Error("canceled from the start")
		}
		return f.Turn().Go("other", func(g *Fiber) {
			if r.Current() != g {
				t.Error("Current is not the fiber that runs")
			}
			f.SetCanceled()
		})
	})
	on(t, r, func(f *Fiber) error {
		if f.Canceled() {
			t.Error("the flag of a fiber's last task is still set")
		}
		return nil
	})
}

func TestStaleTurnPanicsInCheckedBuilds(t *testing.T) {
	r := start(t, Config{})
	on(t, r, func(f *Fiber) error {
		kept := f.Turn()
		f.Yield()
		panicked := func() (p bool) {
			defer func() { p = recover() != nil }()
			kept.Now()
			return
		}()
		if panicked != invariant.Enabled {
			t.Errorf("a stale turn panicked: %v, want %v", panicked, invariant.Enabled)
		}
		return nil
	})
}

func TestStopUnwindsSuspendedFibers(t *testing.T) {
	r, err := New(Config{CPU: -1, ArenaBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var gate WaitList
	var unwound []string
	entered := make(chan bool)
	if err := r.Start(func(f *Fiber) error {
		for _, how := range []string{"list", "sleep", "park", "io"} {
			f.Turn().Go(how, func(g *Fiber) {
				defer func() {
					// What a deferred call asks of a dead reactor is ignored.
					g.Turn().After(1, TimerFunc(func(*Turn) {}))
					if err := g.Turn().Go("late", func(*Fiber) {}); err != ErrStopped {
						t.Errorf("Go on a dead reactor = %v", err)
					}
					unwound = append(unwound, how)
				}()
				switch how {
				case "list":
					gate.Wait(g)
				case "sleep":
					g.Sleep(1 << 60)
				case "park":
					g.Park()
				case "io": // never completes by itself; the kernel is asked to let go
					b, _ := r.Arena().Get(4096)
					g.Do(uring.PrepRead(r.wakeFd, r.Arena().Addr(b), 8, 0))
				}
				t.Errorf("fiber %s went on after Stop", how)
			})
		}
		return f.Turn().Go("signal", func(*Fiber) { close(entered) })
	}); err != nil {
		t.Fatal(err)
	}
	<-entered
	r.Stop()
	if err := r.Wait(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(unwound)
	if want := []string{"io", "list", "park", "sleep"}; !slices.Equal(unwound, want) {
		t.Errorf("unwound %v, want %v", unwound, want)
	}
}

func TestCallOfAStoppingReactorAnswers(t *testing.T) {
	r := start(t, Config{})
	result := make(chan error, 1)
	parked := make(chan bool)
	go func() {
		result <- r.Call(func(f *Fiber) error {
			close(parked)
			f.Park()
			return nil
		})
	}()
	<-parked
	r.Stop()
	if err := <-result; err != ErrStopped {
		t.Errorf("Call = %v, want ErrStopped", err)
	}
}

// A panic in a fiber has to end the process and say which shard it was: run in a child process.
func TestPanicNamesTheShard(t *testing.T) {
	const key = "BASALT_TEST_PANIC"
	if os.Getenv(key) != "" {
		r := start(t, Config{Shard: 42, Name: "column of the test"})
		r.Call(func(f *Fiber) error {
			f.Sleep(1)
			var nothing *Fiber
			return errors.New(nothing.name)
		})
		return // the parent sees exit status 0
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestPanicNamesTheShard$")
	cmd.Env = append(os.Environ(), key+"=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("the child lived on: %v\n%s", err, out)
	}
	for _, want := range []string{"column of the test", "shard 42", `fiber "Call"`, "nil pointer", "fiber_test.go"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the last words lack %q:\n%s", want, out)
		}
	}
}

// FailNow in a fiber ends the reactor's goroutine: that must not look like an orderly end.
func TestGoexitInAFiberEndsTheReactor(t *testing.T) {
	r, err := New(Config{CPU: -1, ArenaBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(func(*Fiber) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := r.Post(MessageFunc(func(t *Turn) {
		t.Go("exits", func(*Fiber) { runtime.Goexit() })
	})); err != nil {
		t.Fatal(err)
	}
	if err := r.Wait(); err == nil {
		t.Error("Wait = nil after a Goexit inside the reactor")
	}
}
