package engine

import (
	"fmt"
	"iter"
	"os"
	"runtime/debug"

	"basalt/engine/uring"
)

// Fiber is a coroutine of one reactor: straight-line code that suspends where it awaits something. After a
// suspension other requests have run: re-read what was decided on. Owned by the reactor's loop.
type Fiber struct {
	r     *Reactor                // immutable
	next  func() (struct{}, bool) // immutable: resumes
	stop  func()                  // immutable: ends; a suspended task is unwound
	yield func(struct{}) bool     // suspends

	task     Task
	name     string
	state    fiberState
	canceled bool
	started  bool  // the task has begun
	normal   bool  // the task returned by itself
	res      int32 // result of Do
	index    int   // in Reactor.active

	link, back *Fiber    // neighbours in the ready queue or in a wait list
	list       *WaitList // the wait list it is in
	want       int64     // units wanted of a semaphore
	woken      bool      // by WakeOne, not by the deadline
	away       bool      // on another thread: see leave
	remote     crossing  // what it has sent to another thread
}

type fiberState uint8

const (
	fiberIdle    fiberState = iota // in the pool
	fiberReady                     // in the ready queue
	fiberRunning                   // it is Reactor.current
	fiberParked                    // by Park: Ready wakes it
	fiberWaiting                   // for its own completion, timer, wait list or another thread
	fiberDone                      // task over, about to be pooled
)

// killed unwinds a suspended fiber when its reactor ends. Deferred calls run; what they ask of the reactor
// is ignored.
type killed struct{}

func newFiber(r *Reactor) *Fiber {
	f := &Fiber{r: r}
	f.next, f.stop = iter.Pull(f.body)
	return f
}

// body runs one task after the other, as long as the fiber is resumed with one.
func (f *Fiber) body(yield func(struct{}) bool) {
	f.yield = yield
	for {
		f.runTask()
		f.r.lap(phaseFiber)
		f.state = fiberDone
		if f.r.dead || !yield(struct{}{}) {
			return
		}
	}
}

func (f *Fiber) runTask() {
	f.started, f.normal = true, false
	defer f.ended()
	f.task.Run(f)
	f.normal = true
}

// ended is where a panic of a task arrives: the process ends, with the shard and the fiber named. Only
// the unwinding of a killed fiber stops here.
func (f *Fiber) ended() {
	if f.normal {
		return
	}
	p := recover()
	if p == nil { // runtime.Goexit (a test's FailNow): it goes on to the loop
		return
	}
	if _, ok := p.(killed); ok && f.r.dead {
		return
	}
	fmt.Fprintf(os.Stderr, "engine: %s (shard %d): panic in fiber %q: %v\n%s\n", f.r.cfg.Name, f.r.cfg.Shard, f.name, p, debug.Stack())
	panic(fmt.Sprintf("%s (shard %d): fiber %q: %v", f.r.cfg.Name, f.r.cfg.Shard, f.name, p))
}

// Reactor is the fiber's column.
func (f *Fiber) Reactor() *Reactor { return f.r }

// Turn is the iteration that is running now: take it anew after every suspension.
func (f *Fiber) Turn() *Turn { return f.r.turn }

// Name is what Go was given, or the task's own name.
func (f *Fiber) Name() string { return f.name }

// Canceled tells whether somebody no longer wants the result. A wait in progress still ends only by its
// completion; whoever waits long asks here between waits.
func (f *Fiber) Canceled() bool { return f.canceled }

// SetCanceled says so, on the fiber's own thread.
func (f *Fiber) SetCanceled() { f.canceled = true }

// suspend gives the thread back to the loop. The caller has arranged for exactly one wake.
func (f *Fiber) suspend(state fiberState) {
	if f.r.current != f {
		panicNotRunning(f)
	}
	f.r.lap(phaseFiber)
	f.state = state
	if !f.yield(struct{}{}) {
		panic(killed{})
	}
}

// Do submits one operation and waits for its completion: the result is a byte count or -errno.
func (f *Fiber) Do(s uring.SQE) int32 {
	f.r.submit(&s, (*doOp)(f))
	f.suspend(fiberWaiting)
	return f.res
}

// DoCmd is Do for an operation with a command area.
func (f *Fiber) DoCmd(s uring.SQE, cmd *[80]byte) int32 {
	f.r.submitCmd(&s, cmd, (*doOp)(f))
	f.suspend(fiberWaiting)
	return f.res
}

// doOp is a Fiber that waits for one operation; the conversion allocates nothing.
type doOp Fiber

// Complete wakes the fiber.
func (d *doOp) Complete(t *Turn, res int32, flags uint32) {
	if flags&uring.CQEFMore != 0 {
		panic("engine: Do of a multishot operation")
	}
	d.res = res
	t.r.wake((*Fiber)(d))
}

// Park suspends until Ready. Ready before Park is lost: check the condition, then park, in a loop.
func (f *Fiber) Park() { f.suspend(fiberParked) }

// Sleep suspends for ns.
func (f *Fiber) Sleep(ns int64) {
	f.r.after(ns, (*sleeper)(f))
	f.suspend(fiberWaiting)
}

type sleeper Fiber

// Fire wakes the fiber.
func (s *sleeper) Fire(t *Turn) { t.r.wake((*Fiber)(s)) }

// Yield lets everything else that is ready run, and the kernel have its say, and goes on in the next turn.
func (f *Fiber) Yield() {
	f.r.yielded.push(f)
	f.suspend(fiberReady)
}

// fiberQueue is a FIFO through Fiber.link.
type fiberQueue struct {
	first, last *Fiber
	n           int
}

func (q *fiberQueue) push(f *Fiber) {
	f.link = nil
	if q.last == nil {
		q.first = f
	} else {
		q.last.link = f
	}
	q.last = f
	q.n++
}

func (q *fiberQueue) pop() *Fiber {
	f := q.first
	if f == nil {
		return nil
	}
	q.first, f.link = f.link, nil
	if q.first == nil {
		q.last = nil
	}
	q.n--
	return f
}

// wake makes a waiting fiber ready. Only the one completion that the fiber awaits calls it.
func (r *Reactor) wake(f *Fiber) {
	if r.dead {
		return
	}
	if f.state != fiberWaiting || f.r != r {
		panicWake(f)
	}
	f.state = fiberReady
	r.ready.push(f)
}

//go:noinline
func panicNotRunning(f *Fiber) {
	panic(fmt.Sprintf("engine: fiber %q suspends but is not running: used by other code than its own task", f.name))
}

//go:noinline
func panicWake(f *Fiber) {
	panic(fmt.Sprintf("engine: fiber %q is woken in state %d, or by another reactor", f.name, f.state))
}
