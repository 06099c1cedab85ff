package engine

import (
	"errors"
	"sync/atomic"
	"testing"

	"basalt/engine/invariant"
)

func TestCallOnAnotherColumnAndBack(t *testing.T) {
	a, b := start(t, Config{Shard: 1}), start(t, Config{Shard: 2})
	on(t, a, func(f *Fiber) error {
		n := 0
		for range 200 {
			if err := CallOn(f, b, func(f2 *Fiber) {
				if f2.Reactor() != b {
					t.Error("not on the other column")
				}
				n++
				f2.Yield()
				if err := CallOn(f2, a, func(f3 *Fiber) { // into the one that waits: it is not blocked
					if f3.Reactor() != a {
						t.Error("not back on the first column")
					}
					n++
				}); err != nil {
					t.Error(err)
				}
			}); err != nil {
				return err
			}
		}
		if n != 400 {
			t.Errorf("%d calls, want 400", n)
		}
		return CallOn(f, a, func(same *Fiber) {
			if same != f {
				t.Error("a call on the own column is not direct")
			}
		})
	})
}

// Many fibers against a column with few fibers and a small inbox: all get through.
func TestCallOnABusyColumnWaits(t *testing.T) {
	a, b := start(t, Config{Shard: 1}), start(t, Config{Shard: 2, FibersMax: 3, InboxMax: 2})
	var served atomic.Int64
	on(t, a, func(f *Fiber) error {
		var l WaitList
		left := 100
		for range left {
			f.Turn().Go("caller", func(g *Fiber) {
				if err := CallOn(g, b, func(f2 *Fiber) {
					f2.Yield()
					served.Add(1)
				}); err != nil {
					t.Error(err)
				}
				if left--; left == 0 {
					l.WakeAll(g.Turn())
				}
			})
		}
		l.Wait(f)
		return nil
	})
	if served.Load() != 100 {
		t.Errorf("%d served, want 100", served.Load())
	}
}

func TestCallOnAStoppingColumn(t *testing.T) {
	a, b := start(t, Config{Shard: 1}), start(t, Config{Shard: 2})
	on(t, a, func(f *Fiber) error {
		err := CallOn(f, b, func(f2 *Fiber) {
			b.Stop()
			f2.Park()
		})
		if err != ErrStopped {
			t.Errorf("CallOn of a column that stops = %v, want ErrStopped", err)
		}
		if err := b.Wait(); err != nil {
			t.Error(err)
		}
		if err := CallOn(f, b, func(*Fiber) {}); err != ErrStopped {
			t.Errorf("CallOn of a stopped column = %v, want ErrStopped", err)
		}
		return nil
	})
}

func TestStopWaitsForFibersThatAreAway(t *testing.T) {
	r := start(t, Config{})
	entered, leave := make(chan bool), make(chan bool)
	var returned atomic.Bool
	result := make(chan error, 1)
	go func() {
		result <- r.Call(func(f *Fiber) error {
			r.Offload(f, func() {
				close(entered)
				<-leave
				returned.Store(true)
			})
			t.Error("the fiber went on after Stop")
			return nil
		})
	}()
	<-entered
	r.Stop()
	if errors.Is(r.Post(MessageFunc(func(*Turn) {})), ErrBusy) {
		t.Error("busy")
	}
	close(leave)
	if err := r.Wait(); err != nil {
		t.Fatal(err)
	}
	if !returned.Load() {
		t.Error("the reactor ended while a helper still worked for it")
	}
	if err := <-result; err != ErrStopped {
		t.Errorf("Call = %v, want ErrStopped", err)
	}
}

func TestOffloadIsBoundedAndDoesNotBlock(t *testing.T) {
	r := start(t, Config{OffloadMax: 3})
	var now, peak atomic.Int64
	on(t, r, func(f *Fiber) error {
		var l WaitList
		left := 50
		for range left {
			f.Turn().Go("job", func(g *Fiber) {
				r.Offload(g, func() {
					n := now.Add(1)
					for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
					}
					now.Add(-1)
				})
				if left--; left == 0 {
					l.WakeAll(g.Turn())
				}
			})
		}
		l.Wait(f)
		if r.offload.started > 3 || r.offload.busy != 0 {
			t.Errorf("%d goroutines, %d jobs left", r.offload.started, r.offload.busy)
		}
		return nil
	})
	if peak.Load() > 3 {
		t.Errorf("%d jobs at once, want at most 3", peak.Load())
	}
}

func TestWrongThreadPanicsInCheckedBuilds(t *testing.T) {
	r := start(t, Config{})
	panicked := func() (p bool) {
		defer func() { p = recover() != nil }()
		if invariant.Enabled {
			r.Current()
		}
		return
	}()
	if panicked != invariant.Enabled {
		t.Errorf("Current on a foreign thread panicked: %v, want %v", panicked, invariant.Enabled)
	}
}
