package engine

import (
	"basalt/engine/invariant"
	"basalt/engine/uring"
)

// Turn is one iteration of a reactor's loop. Whoever has one is on the reactor's thread and does not
// suspend: what it does is atomic. It must not be kept: a stale one panics in checked builds.
type Turn struct {
	r     *Reactor
	stale bool // checked builds only, where every iteration has its own Turn
}

// check panics if t is used after its iteration.
func (t *Turn) check() {
	if invariant.Enabled && t.stale {
		panic("engine: a Turn was kept and used after it had ended")
	}
}

// Reactor is the column.
func (t *Turn) Reactor() *Reactor { t.check(); return t.r }

// Now is the monotonic time at which the turn began, in ns.
func (t *Turn) Now() int64 { t.check(); return t.r.nowNs }

// Wall is the time of day during this turn, in ns since 1970; the same for the whole turn.
func (t *Turn) Wall() int64 {
	t.check()
	if t.r.wallNs == 0 {
		t.r.wallNs = t.r.cfg.Clock.Wall()
	}
	return t.r.wallNs
}

// SpentNs is how long the turn has taken until now: what background work compares with its budget. It
// reads the clock.
func (t *Turn) SpentNs() int64 { t.check(); return t.r.cfg.Clock.Mono() - t.r.nowNs }

// Spawn runs the task in a fiber, later in this turn. ErrBusy: FibersMax are active.
func (t *Turn) Spawn(task Task) error { t.check(); return t.r.spawn("", task) }

// Go is Spawn of a function, named for panics and reports.
func (t *Turn) Go(name string, fn func(*Fiber)) error {
	t.check()
	return t.r.spawn(name, taskFunc(fn))
}

// Ready wakes a fiber that is parked by Park; false: it is not (already woken, running, or waiting for
// something else), and nothing happened.
func (t *Turn) Ready(f *Fiber) bool {
	t.check()
	if f.state != fiberParked || t.r.dead {
		return false
	}
	f.state = fiberWaiting
	t.r.wake(f)
	return true
}

// Submit starts an operation. Its memory belongs to the kernel until c has seen the last completion.
func (t *Turn) Submit(s uring.SQE, c Completer) OpID { t.check(); return t.r.submit(&s, c) }

// SubmitCmd starts an operation with a command area (a ring with SQE128).
func (t *Turn) SubmitCmd(s uring.SQE, cmd *[80]byte, c Completer) OpID {
	t.check()
	return t.r.submitCmd(&s, cmd, c)
}

// Cancel asks for the end of an operation; its completion still comes. An unknown or finished id is
// ignored.
func (t *Turn) Cancel(id OpID) { t.check(); t.r.cancel(id) }

// After sets a timer, ns from the turn's Now.
func (t *Turn) After(ns int64, c Timer) TimerID { t.check(); return t.r.after(ns, c) }

// StopTimer takes a timer back; false: it has fired already.
func (t *Turn) StopTimer(id TimerID) bool { t.check(); return t.r.timers.stop(id) }

// AtEnd delivers m at the end of this turn, before what was submitted goes to the kernel: where sends of
// a turn are gathered. Whoever registers does so once per turn.
func (t *Turn) AtEnd(m Message) { t.check(); t.r.atEnd = append(t.r.atEnd, m) }
