package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"

	"basalt/engine/arena"
	"basalt/engine/uring"
	"golang.org/x/sys/unix"
)

// Start runs the reactor on its own thread and boot in its first fiber; it returns when boot has. If boot
// fails, the reactor has ended.
func (r *Reactor) Start(boot func(f *Fiber) error) error {
	done := make(chan error, 1)
	go r.run(boot, done)
	err := <-done
	if err != nil {
		<-r.ended
	}
	return err
}

// Stop asks the loop to end, from any goroutine. Fibers still suspended are unwound where they wait (their
// deferred calls run), operations in flight are canceled and waited for; what has to be written out is
// written out before, by the caller. Wait tells when it is over.
func (r *Reactor) Stop() {
	r.stopping.Store(true)
	r.rouse()
}

// Done is closed when the reactor has ended.
func (r *Reactor) Done() <-chan struct{} { return r.ended }

// Wait returns when the reactor has ended: nil after Stop, or the reason.
func (r *Reactor) Wait() error {
	<-r.ended
	return r.endErr
}

// run is the reactor's thread. It stays locked: the thread ends with it, and its ring with the thread.
func (r *Reactor) run(boot func(f *Fiber) error, done chan error) {
	runtime.LockOSThread()
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("shard", strconv.Itoa(int(r.cfg.Shard)), "reactor", r.cfg.Name)))
	r.tid = unix.Gettid()
	report := func(err error) {
		if !r.booted {
			r.booted, r.bootErr = true, err
			if err != nil {
				r.stopping.Store(true)
			}
			done <- err
		}
	}
	clean := false
	defer func() { // also when a test ends the goroutine from inside a fiber
		if p := recover(); p != nil {
			r.lastWords(p)
			panic(p) // not past this: whoever is told of the end might end the process first
		}
		if !clean {
			r.endErr = fmt.Errorf("engine: %s: its goroutine was ended from inside", r.cfg.Name)
		}
		report(r.endErr)
		close(r.ended)
	}()
	err := r.setup()
	if err == nil {
		err = r.spawn("boot", taskFunc(func(f *Fiber) {
			err := ErrStopped
			defer func() { report(err) }()
			err = boot(f)
		}))
	}
	for err == nil && r.err == nil && !r.stopping.Load() {
		r.iterate(true)
	}
	r.endErr = errors.Join(err, r.err, r.shutdown(true))
	clean = true
	report(errors.Join(ErrStopped, r.endErr))
}

// lastWords names the shard of a panic outside of the fibers, which have their own.
func (r *Reactor) lastWords(p any) {
	if r.current == nil {
		fmt.Fprintf(os.Stderr, "engine: %s (shard %d): panic: %v\n%s\n", r.cfg.Name, r.cfg.Shard, p, debug.Stack())
	}
}

// Boot prepares a reactor that is stepped, in the simulator, and makes boot ready to run in its first
// fiber; its error is Err's once Booted. All calls come from one goroutine.
func (r *Reactor) Boot(boot func(f *Fiber) error) error {
	r.stepped = true
	if err := r.setup(); err != nil {
		return errors.Join(err, r.shutdown(false))
	}
	return r.spawn("boot", taskFunc(func(f *Fiber) {
		r.bootErr = boot(f)
		r.booted = true
	}))
}

// Step is one turn that does not block; worked: something happened, so there may be more at once. After
// a turn that found nothing, posts signal through the ring's event, as they do to a sleeping thread.
func (r *Reactor) Step() (worked bool) {
	if r.dead || r.err != nil {
		return false
	}
	return r.iterate(false)
}

// Runnable tells whether a Step has something to do without a new completion or a later time.
func (r *Reactor) Runnable() bool {
	return !r.dead && (r.ready.n > 0 || !r.inbox.empty() || r.returned.Load() != nil)
}

// NextDeadline is the time (Clock.Mono) of the first timer.
func (r *Reactor) NextDeadline() (ns int64, ok bool) { return r.timers.next() }

// Booted tells whether boot has returned.
func (r *Reactor) Booted() bool { return r.booted }

// Err is what boot returned, or what broke the ring.
func (r *Reactor) Err() error { return errors.Join(r.bootErr, r.err) }

// Close ends a stepped reactor as a crash does: fibers are unwound, whatever was in flight is the ring's
// business.
func (r *Reactor) Close() error {
	if r.dead {
		return nil
	}
	err := r.shutdown(false)
	r.endErr = err
	close(r.ended)
	return err
}

// setup opens the ring and the arena, on the reactor's thread.
func (r *Reactor) setup() (err error) {
	if r.cfg.CPU >= 0 && !r.stepped {
		if err = pin(r.cfg.CPU); err != nil {
			return fmt.Errorf("engine: %s: pinning to CPU %d: %w", r.cfg.Name, r.cfg.CPU, err)
		}
	}
	if r.ring, err = r.cfg.Ring(); err != nil {
		return fmt.Errorf("engine: %s: opening its ring: %w", r.cfg.Name, err)
	}
	if caps := r.ring.Cap(); uint32(r.cfg.OpsMax) > caps.CQEntries {
		return fmt.Errorf("engine: %s: OpsMax = %d is more than the completion queue holds (%d)", r.cfg.Name, r.cfg.OpsMax, caps.CQEntries)
	}
	if r.arena, err = arena.New(r.cfg.ArenaBytes); err != nil {
		return fmt.Errorf("engine: %s: %w", r.cfg.Name, err)
	}
	r.stats.ArenaCap = r.arena.Cap()
	if err = r.register(); err != nil {
		return err
	}
	r.stats.Ring = r.ring.Cap().String()
	r.nowNs = r.cfg.Clock.Mono()
	err = r.armWake()
	r.publish()
	return err
}

// register makes memory and a file table known to the ring. Not being allowed to is no error: the plain
// operations do the same, and Stats says which it is.
func (r *Reactor) register() error {
	switch err := r.ring.RegisterBuffers(r.arena.Segments()); {
	case err == nil:
		r.arena.SetRegistered()
		r.stats.BuffersRegistered = true
	case errors.Is(err, uring.ErrMemlock), errors.Is(err, uring.ErrUnsupported):
		r.stats.BuffersReason = err.Error()
	default:
		return fmt.Errorf("engine: %s: registering the arena: %w", r.cfg.Name, err)
	}
	ok, err := r.files.init(r.ring, r.cfg.FilesMax)
	r.stats.FilesRegistered, r.stats.FilesMax = ok, r.cfg.FilesMax
	if err != nil {
		return fmt.Errorf("engine: %s: registering %d file slots: %w", r.cfg.Name, r.cfg.FilesMax, err)
	}
	return nil
}

// armWake keeps a read pending on the descriptor that other threads signal.
func (r *Reactor) armWake() (err error) {
	if r.wakeFd, r.signal, err = r.ring.NewEvent(); err != nil {
		return fmt.Errorf("engine: %s: wake event: %w", r.cfg.Name, err)
	}
	if r.wake8, err = r.arena.Get(wakeBufferBytes); err != nil {
		return fmt.Errorf("engine: %s: wake event: %w", r.cfg.Name, err)
	}
	r.readWake()
	return r.err
}

func (r *Reactor) readWake() {
	s := uring.PrepRead(r.wakeFd, r.arena.Addr(r.wake8), wakeBufferBytes, 0)
	r.submit(&s, (*wakeOp)(r))
}

type wakeOp Reactor

// Complete arms the read again; that the loop is awake is all it was for.
func (w *wakeOp) Complete(t *Turn, res int32, _ uint32) {
	r := (*Reactor)(w)
	r.stats.Wakes++
	if res < 0 && res != -int32(unix.EINTR) && res != -int32(unix.EAGAIN) {
		r.fail(fmt.Errorf("reading the wake event: %w", unix.Errno(-res)))
		return
	}
	r.readWake()
}

// shutdown unwinds fibers, refuses what was posted, and gives memory back when the kernel has.
func (r *Reactor) shutdown(wait bool) error {
	r.dead = true
	r.asleep.Store(false)
	r.inbox.close(func(m Message) {
		if n, ok := m.(Refuser); ok {
			n.Refuse(ErrStopped)
		}
	})
	r.kill(wait)
	var err error
	if wait && r.ring != nil {
		err = r.drain()
	}
	r.offload.close()
	if r.ring != nil && err == nil { // else it stays open until the process ends: closing it could wait for ever
		if e := r.ring.Close(); e != nil && err == nil {
			err = fmt.Errorf("engine: %s: closing its ring: %w", r.cfg.Name, e)
		}
	}
	if r.arena != nil && err == nil {
		err = r.arena.Close()
	}
	return err
}

// kill unwinds all fibers. Those that are on another thread are waited for first: their task and what it
// shares with the other side are in use there.
func (r *Reactor) kill(wait bool) {
	for i := 0; i < len(r.active); {
		if f := r.active[i]; wait && f.away {
			i++
			continue
		}
		r.unwind(r.active[i])
	}
	for r.away > 0 && wait {
		for f := r.returned.Swap(nil); f != nil; f = f.link {
			r.away--
		}
		runtime.Gosched()
	}
	for len(r.active) > 0 {
		r.unwind(r.active[0])
	}
	for _, f := range r.idle {
		f.stop()
	}
	r.idle, r.ready, r.yielded = nil, fiberQueue{}, fiberQueue{}
}

func (r *Reactor) unwind(f *Fiber) {
	last := len(r.active) - 1
	r.active[f.index] = r.active[last]
	r.active[f.index].index = f.index
	r.active = r.active[:last]
	if n, ok := f.task.(Refuser); ok && !f.started {
		n.Refuse(ErrStopped)
	}
	if f.list != nil { // its deferred calls may wait in a list again
		f.list.remove(f)
	}
	r.current = f
	f.stop()
	r.current = nil
}

// drain cancels what is in flight and waits until the kernel has let go of all memory. If it doesn't in
// time, the memory is left mapped and the error says so.
func (r *Reactor) drain() error {
	deadline := r.cfg.Clock.Mono() + stopWaitNs
	for asked := false; r.ops.inFlight > 0; asked = true {
		if !asked {
			r.cancelAll()
		}
		if err := r.ring.Enter(1, 50_000_000); err != nil {
			return fmt.Errorf("engine: %s: stopping: %w", r.cfg.Name, err)
		}
		n := r.ring.Reap(r.cqes[:])
		for _, c := range r.cqes[:n] {
			if c.UserData != 0 && c.Flags&uring.CQEFMore == 0 {
				r.ops.inFlight--
			}
		}
		if r.cfg.Clock.Mono() > deadline {
			return fmt.Errorf("engine: %s: stopped, but the kernel still has %d operations: their memory stays mapped", r.cfg.Name, r.ops.inFlight)
		}
	}
	return nil
}

func (r *Reactor) cancelAll() {
	for i := range r.ops.ops {
		if r.ops.ops[i].state == opInFlight {
			s := uring.PrepCancel(uint64(r.ops.id(uint32(i))))
			r.push(&s)
		}
	}
}

func (r *Reactor) checkThread() {
	if !r.stepped && r.tid != unix.Gettid() {
		panic(fmt.Sprintf("engine: %s is used on a thread that is not its own", r.cfg.Name))
	}
}

// pin binds the calling thread to one CPU.
func pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(0, &set)
}
