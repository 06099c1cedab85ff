// Package engine is the column: one pinned thread with one ring that owns everything in its shard, and the
// fibers that run there.
//
// A Reactor owns its ring, its arena, its fibers, timers and operations; all of them, and all state of the
// shard above, are reachable only with a Turn or a Fiber, on the reactor's thread. From outside there is
// one way in, Post: a bounded lock-free inbox. The one lock, Reactor.mu, guards the published copy of the
// statistics; the loop never waits for it.
//
// Invariants: a turn is reap, timers, inbox, fibers, end-of-turn messages, one enter; what a
// device waits for may be submitted before, between fibers (Soon). A suspended fiber is woken exactly once, by what it waits for. Memory of an operation is the kernel's until its last
// completion was reaped; stopping waits for that before it unmaps the arena.
//
// Survives: full queues (ErrBusy, backlog), completion queue overflow, signals, missing registration of
// buffers or files (reported). A panic in a fiber, or a ring that fails, ends the process or the reactor
// with the shard named: it is never continued.
//
// In the simulator the same code is stepped (Boot, Step) over a simulated uring.Ring and Clock.
//
// Read reactor.go first, then turn.go, fiber.go, ops.go.
package engine

import (
	"fmt"
	"sync"
	"sync/atomic"

	"basalt/engine/arena"
	"basalt/engine/invariant"
	"basalt/engine/uring"
)

// Reactor is one column's loop.
type Reactor struct {
	cfg Config // immutable after New

	// Any thread.
	inbox     inbox
	inboxBusy atomic.Uint64
	returned  atomic.Pointer[Fiber] // fibers that come back from another thread
	asleep    atomic.Bool           // the loop is in the kernel, or about to be: a post signals
	stopping  atomic.Bool
	signal    func() // immutable once running
	ended     chan struct{}
	mu        sync.Mutex
	published Stats // guarded by mu
	endErr    error // written before ended is closed

	// Owned by the loop.
	ring       uring.Ring
	arena      *arena.Arena
	turn       *Turn
	nowNs      int64
	wallNs     int64
	current    *Fiber
	before     begun
	lapNs      int64    // end of the last step of this turn
	doing      any      // what was called last in this turn, outside of fibers
	slow       LongTurn // the longest step of this turn, if it was long
	ready      fiberQueue
	yielded    fiberQueue
	idle       []*Fiber
	active     []*Fiber
	ops        opTable
	timers     timers
	atEnd      []Message
	gatherFree *gatherOp
	cqes       [reapBatch]uring.CQE
	sqe        uring.SQE // being pushed
	soon       bool      // something pushed since the last Enter is marked Soon
	slept      bool      // before this turn nothing was left to do
	cmd        [80]byte
	files      fileTable
	offload    offload
	wake8      arena.Buf
	wakeFd     int32
	stats      Stats
	err        error // why the loop has to end
	bootErr    error
	away       int  // fibers on another thread
	booted     bool // boot's fiber has returned
	stepped    bool // Boot and Step, not Start
	dead       bool // ending: fibers are being unwound, requests are ignored
	tid        int
}

// New checks the configuration; nothing is opened before Start or Boot.
func New(cfg Config) (*Reactor, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	r := &Reactor{cfg: cfg, ended: make(chan struct{})}
	r.inbox.init(cfg.InboxMax)
	r.ops.init(cfg.OpsMax)
	r.turn = &Turn{r: r}
	r.stats.Name, r.stats.Shard = cfg.Name, cfg.Shard
	r.stats.OpsMax, r.stats.FibersMax, r.stats.InboxMax = cfg.OpsMax, cfg.FibersMax, len(r.inbox.cells)
	return r, nil
}

// Name and Shard are what Config said.
func (r *Reactor) Name() string   { return r.cfg.Name }
func (r *Reactor) Shard() ShardID { return r.cfg.Shard }

// Arena is the shard's memory. On the reactor's thread only.
func (r *Reactor) Arena() *arena.Arena { return r.arena }

// Ring is the shard's ring: for registrations that have no method here (buffer rings). On the reactor's
// thread only; entries are submitted through a Turn.
func (r *Reactor) Ring() uring.Ring { return r.ring }

// Current is the fiber that runs now, nil in a turn's other phases. On the reactor's thread only.
func (r *Reactor) Current() *Fiber {
	if invariant.Enabled {
		r.checkThread()
	}
	return r.current
}

// Post hands m to the reactor, from any goroutine. ErrBusy: the inbox is full. ErrStopped: the reactor
// has ended. An accepted message is delivered, or refused if it is a Refuser and the reactor stops before.
func (r *Reactor) Post(m Message) error {
	err := r.inbox.push(m)
	switch err {
	case nil:
		r.rouse()
	case ErrBusy:
		r.inboxBusy.Add(1)
	}
	return err
}

// rouse wakes the loop if it sleeps: the first of a batch pays for the signal, the others see it awake.
func (r *Reactor) rouse() {
	if r.asleep.Load() && r.asleep.CompareAndSwap(true, false) {
		r.signal()
	}
}

// spawn makes a fiber ready to run the task.
func (r *Reactor) spawn(name string, task Task) error {
	if r.dead {
		return ErrStopped
	}
	if len(r.active) >= r.cfg.FibersMax {
		r.stats.FibersBusy++
		return ErrBusy
	}
	var f *Fiber
	if n := len(r.idle); n > 0 {
		f, r.idle = r.idle[n-1], r.idle[:n-1]
	} else {
		f = newFiber(r)
	}
	f.task, f.name, f.canceled, f.started, f.res = task, name, false, false, 0
	f.index = len(r.active)
	r.active = append(r.active, f)
	r.stats.FibersPeak = max(r.stats.FibersPeak, len(r.active))
	r.stats.Spawned++
	f.state = fiberReady
	r.ready.push(f)
	return nil
}

// iterate is one turn. It blocks in the kernel if it may and nothing is left to do.
func (r *Reactor) iterate(block bool) (worked bool) {
	r.asleep.Store(false)
	t := r.begin()
	worked = r.complete(t)
	worked = r.expire(t) || worked
	worked = r.receive(t) || worked
	r.hasten()
	worked = r.runFibers() || worked
	worked = r.runAtEnd(t) || worked
	r.finish()
	if r.err == nil {
		r.enter(block)
	}
	return worked
}

func (r *Reactor) begin() *Turn {
	if invariant.Enabled {
		r.turn.stale = true
		r.turn = &Turn{r: r}
	}
	r.nowNs, r.wallNs = r.cfg.Clock.Mono(), 0
	r.lapNs = r.nowNs
	r.before = begun{r.stats.Completions, r.stats.Delivered, r.stats.Resumes}
	r.stats.Turns++
	return r.turn
}

// receive takes home the fibers that were away and delivers what was posted.
func (r *Reactor) receive(t *Turn) (worked bool) {
	worked = r.welcome()
	r.stats.InboxPeak = max(r.stats.InboxPeak, r.inbox.length())
	for range inboxPerTurnMax {
		m, ok := r.inbox.pop()
		if !ok {
			break
		}
		r.stats.Delivered++
		r.doing = m
		m.Deliver(t)
		worked = true
	}
	if worked {
		r.lap(phaseReceive)
	}
	return worked
}

// runFibers resumes what is ready, including what becomes ready meanwhile; those that yield go on in the
// next turn.
func (r *Reactor) runFibers() (worked bool) {
	for range resumesPerTurn {
		f := r.ready.pop()
		if f == nil {
			break
		}
		r.resume(f)
		r.hasten()
		worked = true
	}
	for f := r.yielded.pop(); f != nil; f = r.yielded.pop() {
		r.ready.push(f)
	}
	return worked
}

func (r *Reactor) resume(f *Fiber) {
	f.state, r.current = fiberRunning, f
	r.stats.Resumes++
	f.next()
	r.current = nil
	if f.state == fiberDone {
		r.retire(f)
	}
}

// retire puts a fiber whose task is over into the pool.
func (r *Reactor) retire(f *Fiber) {
	last := len(r.active) - 1
	r.active[f.index] = r.active[last]
	r.active[f.index].index = f.index
	r.active[last] = nil
	r.active = r.active[:last]
	f.task, f.name, f.state = nil, "", fiberIdle
	if len(r.idle) < idleFibersKeep {
		r.idle = append(r.idle, f)
		return
	}
	f.stop()
}

// runAtEnd delivers the end-of-turn messages, those they add included.
func (r *Reactor) runAtEnd(t *Turn) (worked bool) {
	for i := 0; i < len(r.atEnd); i++ {
		m := r.atEnd[i]
		r.atEnd[i] = nil
		r.doing = m
		m.Deliver(t)
		worked = true
	}
	r.atEnd = r.atEnd[:0]
	if worked {
		r.lap(phaseAtEnd)
	}
	return worked
}

// enter submits everything and, if nothing is left to do, sleeps until a completion or the next deadline.
// asleep is set before the inbox is looked at for the last time, and a post looks at asleep after it has
// published: one of the two sees the other.
func (r *Reactor) enter(block bool) {
	r.stats.Enters++
	r.soon, r.slept = false, false
	timeoutNs := int64(-1)
	if deadline, ok := r.timers.next(); ok {
		timeoutNs = max(deadline-r.lapNs, 0)
	}
	if r.ready.n > 0 || r.stopping.Load() || block && timeoutNs == 0 {
		r.fail(r.ring.Enter(0, 0))
		return
	}
	r.asleep.Store(true)
	if !r.inbox.empty() || r.returned.Load() != nil || r.stopping.Load() {
		r.asleep.Store(false)
		block = false
	} else {
		r.slept = true // or would, in the simulator
	}
	if !block {
		r.fail(r.ring.Enter(0, 0))
		return
	}
	r.stats.Sleeps++
	r.fail(r.ring.Enter(1, timeoutNs))
}

// fail notes the first error that the loop cannot go on after.
func (r *Reactor) fail(err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("engine: %s: ring: %w", r.cfg.Name, err)
	}
}
