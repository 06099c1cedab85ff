package engine

import (
	"fmt"
	"testing"

	"basalt/engine/uring"
)

// countingRing notes how many entries each call that submits any hands over, and how many calls there are.
type countingRing struct {
	uring.Ring
	pushed int
	calls  []int
	enters int
}

func (c *countingRing) Push(s *uring.SQE) error {
	c.pushed++
	return c.Ring.Push(s)
}

func (c *countingRing) Enter(wait uint32, timeoutNs int64) error {
	c.enters++
	if c.pushed > 0 {
		c.calls = append(c.calls, c.pushed)
	}
	c.pushed = 0
	return c.Ring.Enter(wait, timeoutNs)
}

// A reactor that had nothing to do submits what is marked Soon fiber by fiber, with what was pushed before it, and the last of it with the call that
// ends the turn; a reactor that is busy submits once in a turn, as it does with what is not marked.
func TestSoon(t *testing.T) {
	ring := &countingRing{}
	r := steppedBy(t, Config{Clock: &jumpClock{}, Ring: func() (uring.Ring, error) {
		inner, err := uring.Open(uring.Config{Entries: 64, CQEntries: 4096})
		ring.Ring = inner
		return ring, err
	}}, func(*Fiber) error { return nil })
	plain, soon := uring.PrepNop(), Soon(uring.PrepNop())
	fibers := func(ops ...uring.SQE) Message {
		return MessageFunc(func(turn *Turn) {
			for _, s := range ops {
				if err := turn.Go("op", func(f *Fiber) { f.Do(s) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	atOnce := MessageFunc(func(turn *Turn) { turn.Submit(soon, CompleterFunc(func(*Turn, int32, uint32) {})) })
	andAtEnd := MessageFunc(func(turn *Turn) {
		atOnce(turn)
		turn.AtEnd(MessageFunc(func(*Turn) {}))
	})
	yielder := MessageFunc(func(turn *Turn) { turn.Go("yielder", func(f *Fiber) { f.Yield(); f.Yield(); f.Yield() }) })
	for _, c := range []struct {
		name   string
		first  Message // delivered in the turn before, if any
		m      Message
		want   string
		enters int
	}{
		{"idle, marked", nil, fibers(soon, soon, soon), "[1 1 1]", 3},
		{"idle, not marked", nil, fibers(plain, plain, plain), "[3]", 1},
		{"idle, one marked behind others", nil, fibers(plain, plain, soon, plain), "[3 1]", 2},
		{"idle, from a message", nil, atOnce, "[1]", 1},
		{"idle, from a message that leaves work for the end", nil, andAtEnd, "[1]", 2},
		{"busy, marked", yielder, fibers(soon, soon, soon), "[3]", 1},
	} {
		for r.Step() { // what is left of the case before
		}
		if c.first != nil {
			r.Post(c.first)
			r.Step()
			r.Step() // the wake-up of the post is dealt with
		}
		ring.calls, ring.enters = nil, 0
		early := r.stats.EntersEarly
		if err := r.Post(c.m); err != nil {
			t.Fatal(err)
		}
		r.Step()
		if got := fmt.Sprint(ring.calls); got != c.want || ring.enters != c.enters {
			t.Errorf("%s: entries by call %s, %d calls, want %s, %d", c.name, got, ring.enters, c.want, c.enters)
		}
		if c.want == "[3]" && r.stats.EntersEarly != early {
			t.Errorf("%s: counted as early", c.name)
		}
	}
}
