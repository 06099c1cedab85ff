package engine

import (
	"strings"
	"testing"

	"basalt/engine/invariant"
	"basalt/engine/uring"
)

// dawdler takes its time in whatever phase it is called.
type dawdler struct {
	clock *jumpClock
	ns    int64
}

func (d *dawdler) spend()                         { d.clock.ns += d.ns }
func (d *dawdler) Deliver(*Turn)                  { d.spend() }
func (d *dawdler) Fire(*Turn)                     { d.spend() }
func (d *dawdler) Complete(*Turn, int32, uint32)  { d.spend() }
func (d *dawdler) Run(f *Fiber)                   { d.compute(f, false) }
func (d *dawdler) compute(f *Fiber, suspend bool) { d.spend(); d.rest(f, suspend) }

func (d *dawdler) rest(f *Fiber, suspend bool) {
	if suspend {
		f.Sleep(1)
	}
}

// Each kind of step is found out, with its name; a fiber that goes on afterwards with its stack.
func TestALongTurnNamesItsLongestStep(t *testing.T) {
	clock := &jumpClock{ns: 1}
	d := &dawdler{clock: clock, ns: 3_000_000}
	r := stepped(t, clock, func(*Fiber) error { return nil })
	for r.Step() {
	}
	spawn := func(name string, fn func(f *Fiber)) {
		if err := r.turn.Go(name, fn); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range []struct {
		cause       func()
		phase, what string
		stack       []string
	}{
		{func() { r.turn.Submit(uring.PrepNop(), d) }, "completions, last", "*engine.dawdler", nil},
		{func() { r.turn.After(1, d); clock.ns++ }, "timers, last", "*engine.dawdler", nil},
		{func() { r.Post(d) }, "messages, last", "*engine.dawdler", nil},
		{func() { r.turn.AtEnd(d) }, "end of turn, last", "*engine.dawdler", nil},
		{func() { r.turn.Spawn(d) }, "fiber", "*engine.dawdler", nil},
		{func() { spawn("quick", func(*Fiber) {}); spawn("ends", func(*Fiber) { d.spend() }) }, "fiber", "ends", nil},
		{func() { spawn("goes on", func(f *Fiber) { d.compute(f, true) }); spawn("quick", func(*Fiber) {}) }, "fiber", "goes on",
			[]string{"engine.(*Fiber).Sleep:", "engine.(*dawdler).rest:", "engine.(*dawdler).compute:"}},
		{func() { spawn("little", func(*Fiber) { clock.ns += 1_100_000 }); r.Post(d) }, "messages, last", "*engine.dawdler", nil},
	} {
		c.cause()
		for r.Step() {
		}
		clock.ns += 10
		for r.Step() {
		}
		s := r.Stats()
		l := s.LongTurn
		if s.LongTurns != uint64(i+1) || l.Number != s.LongTurns || l.StepNs != 3_000_000 || l.Ns < l.StepNs || l.Phase != c.phase || l.What != c.what {
			t.Fatalf("step %d: %d long turns, the last %+v", i, s.LongTurns, l)
		}
		at, stack := 0, l.Stack.String()
		for _, want := range c.stack {
			n := strings.Index(stack[at:], want)
			if n < 0 {
				t.Fatalf("step %d: the stack lacks %q behind %d: %s", i, want, at, stack)
			}
			at += n
		}
		if (c.stack == nil) != (stack == "") || strings.Contains(stack, "runTask") || strings.Contains(stack, "suspend") {
			t.Errorf("step %d: stack %q", i, stack)
		}
		if line := l.String(); !strings.Contains(line, c.what+" took 3.0 ms") {
			t.Errorf("step %d: %q", i, line)
		}
	}
	if s := r.Stats(); s.LongestTurnNs != 4_100_000 {
		t.Errorf("longest turn %d ns", s.LongestTurnNs)
	}
}

// Many short steps make a long turn, too.
func TestALongTurnOfShortSteps(t *testing.T) {
	clock := &jumpClock{ns: 1}
	r := stepped(t, clock, func(*Fiber) error { return nil })
	for r.Step() {
	}
	for range 30 {
		if err := r.turn.Go("short", func(*Fiber) { clock.ns += 40_000 }); err != nil {
			t.Fatal(err)
		}
	}
	for r.Step() {
	}
	if s := r.Stats(); s.LongTurns != 1 || s.LongTurn.Ns != 1_200_000 || s.LongTurn.StepNs != 0 || !strings.Contains(s.LongTurn.String(), "30 resumes") {
		t.Errorf("%d long turns, the last: %v", s.LongTurns, s.LongTurn)
	}
}

// A loop that is slow in every turn makes no garbage of its own.
func TestASampleAllocatesNothing(t *testing.T) {
	clock := &jumpClock{ns: 1}
	r := stepped(t, clock, func(*Fiber) error { return nil })
	for r.Step() {
	}
	if err := r.turn.Go("slow", func(f *Fiber) {
		for {
			clock.ns += 2_000_000
			f.Yield()
		}
	}); err != nil {
		t.Fatal(err)
	}
	d := &dawdler{clock: clock, ns: 1_500_000}
	before := r.Stats().LongTurns
	want := 0.0
	if invariant.Enabled { // each iteration has its own Turn
		want = 1
	}
	if n := testing.AllocsPerRun(100, func() { r.Step(); r.Post(d) }); n != want {
		t.Errorf("%v allocations a turn, want %v", n, want)
	}
	if s := r.Stats(); s.LongTurns < before+100 {
		t.Errorf("%d long turns, want one each time", s.LongTurns-before)
	}
}

// leapClock moves with every look at it.
type leapClock struct {
	jumpClock
	by int64
}

func (c *leapClock) Mono() int64 { c.ns += c.by; return c.ns }

// A step that was long although it called nobody is told of like any other: a fiber came home while the loop was awake, or only the answer to a cancel
// came. (It was a nil dereference.)
func TestLongStepThatCalledNobody(t *testing.T) {
	for name, prepare := range map[string]func(r *Reactor){
		"a fiber comes home": func(r *Reactor) {
			var away *Fiber
			r.turn.Go("away", func(f *Fiber) { away = f; f.leave() })
			r.turn.Go("brings", func(f *Fiber) { r.comeBack(away) })
		},
		"the answer to a cancel": func(r *Reactor) {
			s := uring.PrepCancel(0x7fffffff00000fff) // nobody has it
			r.push(&s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			clock := &leapClock{jumpClock: jumpClock{ns: 1}}
			r := stepped(t, clock, func(*Fiber) error { return nil })
			for r.Step() {
			}
			prepare(r)
			r.Step()
			clock.by = 2_000_000
			r.Step()
			clock.by = 0
			if s := r.Stats().LongTurn.String(); !strings.Contains(s, "nothing that has a name") {
				t.Error(s)
			}
		})
	}
}
