package engine

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

type firing struct {
	at, n int64
	fired *[]int64
}

func (x *firing) Fire(*Turn) { *x.fired = append(*x.fired, x.n) }

// Random adds, stops and expiries against a sorted list; equal deadlines keep their order.
func TestTimersAgainstModel(t *testing.T) {
	r, err := New(Config{CPU: -1})
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		*firing
		id TimerID
	}
	rng := rand.New(rand.NewPCG(3, 3))
	var fired, want []int64
	var model []entry
	var old []TimerID
	for i := range int64(20_000) {
		switch rng.IntN(4) {
		case 0, 1:
			x := &firing{at: r.nowNs + rng.Int64N(1000), n: i, fired: &fired}
			model = append(model, entry{x, r.after(x.at-r.nowNs, x)})
		case 2:
			if len(model) > 0 {
				k := rng.IntN(len(model))
				if !r.timers.stop(model[k].id) {
					t.Fatal("a running timer could not be stopped")
				}
				old = append(old, model[k].id)
				model = slices.Delete(model, k, k+1)
			}
			if len(old) > 0 && r.timers.stop(old[rng.IntN(len(old))]) {
				t.Fatal("a timer was stopped twice, or another in its place")
			}
		case 3:
			r.nowNs += rng.Int64N(100)
			r.expire(r.turn)
			slices.SortStableFunc(model, func(a, b entry) int { return int(a.at - b.at) })
			for len(model) > 0 && model[0].at <= r.nowNs {
				want, old = append(want, model[0].n), append(old, model[0].id)
				model = model[1:]
			}
		}
		if next, ok := r.timers.next(); ok != (len(model) > 0) || ok && next != slices.MinFunc(model, func(a, b entry) int { return int(a.at - b.at) }).at {
			t.Fatalf("next = %d %v", next, ok)
		}
	}
	if !slices.Equal(fired, want) {
		t.Fatalf("%d fired, want %d in the same order", len(fired), len(want))
	}
}

// A timer that sets itself anew with 0 ns must not keep the turn.
func TestTimerOfNoTimeLetsTheTurnEnd(t *testing.T) {
	r := start(t, Config{})
	on(t, r, func(f *Fiber) error {
		n := 0
		var again TimerFunc
		again = func(t *Turn) {
			if n++; n < 100 {
				t.After(0, again)
			}
		}
		f.Turn().After(0, again)
		for n < 100 {
			f.Yield()
		}
		return nil
	})
}

// "For ever" is a time that callers ask for; it must not wrap round to the past.
func TestATimerOfAllTimeNeverFires(t *testing.T) {
	clock := &jumpClock{ns: 1 << 40}
	fired := 0
	r := stepped(t, clock, func(f *Fiber) error {
		f.Turn().After(math.MaxInt64, TimerFunc(func(*Turn) { fired++ }))
		return nil
	})
	for r.Step() {
	}
	clock.ns = 1 << 60
	r.Step()
	if ns, ok := r.NextDeadline(); fired != 0 || !ok || ns != math.MaxInt64 {
		t.Errorf("fired %d times, next deadline %d %v", fired, ns, ok)
	}
}
