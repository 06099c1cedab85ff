package engine

import (
	"basalt/engine/uring"
	"golang.org/x/sys/unix"
)

// Gather runs several operations of one fiber and suspends it once. Embed it in a pooled struct, together
// with the results it writes to: then nothing is allocated.
type Gather struct {
	pending int
	waiter  *Fiber
}

// gatherOp is one operation of a Gather; pooled in the reactor.
type gatherOp struct {
	g    *Gather
	res  *int32
	next *gatherOp // free list
}

// Submit starts an operation whose result goes to *res before Wait returns.
func (g *Gather) Submit(f *Fiber, s uring.SQE, res *int32) {
	r := f.r
	if r.dead { // a deferred call: it must not look like success
		*res = -int32(unix.ECANCELED)
		return
	}
	op := r.gatherFree
	if op == nil {
		op = &gatherOp{}
	} else {
		r.gatherFree = op.next
	}
	op.g, op.res, op.next = g, res, nil
	g.pending++
	r.submit(&s, op)
}

// Complete notes the result and wakes the fiber after the last one.
func (op *gatherOp) Complete(t *Turn, res int32, flags uint32) {
	if flags&uring.CQEFMore != 0 {
		panic("engine: Gather of a multishot operation")
	}
	g := op.g
	*op.res = res
	op.g, op.res, op.next = nil, nil, t.r.gatherFree
	t.r.gatherFree = op
	g.pending--
	if g.pending == 0 && g.waiter != nil {
		f := g.waiter
		g.waiter = nil
		t.r.wake(f)
	}
}

// Wait suspends f until every operation submitted has completed. The Gather can be used again.
func (g *Gather) Wait(f *Fiber) {
	if g.pending == 0 {
		return
	}
	g.waiter = f
	f.suspend(fiberWaiting)
}

// WaitList is a FIFO of waiting fibers of one reactor. The zero value is empty.
type WaitList struct {
	first, last *Fiber
	n           int
}

// Len is how many wait.
func (l *WaitList) Len() int { return l.n }

// Wait suspends f until it is woken.
func (l *WaitList) Wait(f *Fiber) {
	l.add(f)
	f.suspend(fiberWaiting)
}

// WaitFor is Wait, for ns at most; false: the time has passed and f is no longer in the list.
func (l *WaitList) WaitFor(f *Fiber, ns int64) (woken bool) {
	l.add(f)
	id := f.r.after(ns, (*listDeadline)(f))
	f.suspend(fiberWaiting)
	if f.woken {
		f.r.timers.stop(id)
	}
	return f.woken
}

type listDeadline Fiber

// Fire takes the fiber out of its list, unless it has been woken in this very turn.
func (d *listDeadline) Fire(t *Turn) {
	f := (*Fiber)(d)
	if f.list != nil {
		f.list.remove(f)
		t.r.wake(f)
	}
}

// WakeOne wakes the fiber that has waited longest; nil: none waits.
func (l *WaitList) WakeOne(t *Turn) *Fiber {
	f := l.first
	if f == nil {
		return nil
	}
	l.remove(f)
	f.woken = true
	t.r.wake(f)
	return f
}

// WakeAll wakes all that wait now.
func (l *WaitList) WakeAll(t *Turn) {
	for l.first != nil {
		l.WakeOne(t)
	}
}

// Wake wakes f if it waits here; false: it does not.
func (l *WaitList) Wake(t *Turn, f *Fiber) bool {
	if f.list != l {
		return false
	}
	l.remove(f)
	f.woken = true
	t.r.wake(f)
	return true
}

func (l *WaitList) add(f *Fiber) {
	if f.list != nil {
		panic("engine: fiber is in a wait list already")
	}
	f.list, f.woken = l, false
	f.link, f.back = nil, l.last
	if l.last == nil {
		l.first = f
	} else {
		l.last.link = f
	}
	l.last = f
	l.n++
}

func (l *WaitList) remove(f *Fiber) {
	if f.back == nil {
		l.first = f.link
	} else {
		f.back.link = f.link
	}
	if f.link == nil {
		l.last = f.back
	} else {
		f.link.back = f.back
	}
	f.list, f.link, f.back = nil, nil, nil
	l.n--
}

// Semaphore counts units of something bounded; who comes first is served first, whatever it wants.
// Owned by one reactor.
type Semaphore struct {
	free, size int64
	list       WaitList
}

// NewSemaphore has n units free.
func NewSemaphore(n int64) Semaphore { return Semaphore{free: n, size: n} }

// Free is how many units nobody has; Size how many there are; Waiting how many fibers wait.
func (s *Semaphore) Free() int64  { return s.free }
func (s *Semaphore) Size() int64  { return s.size }
func (s *Semaphore) Waiting() int { return s.list.Len() }

// Acquire takes n units, waiting for them behind those who came before. More than Size would wait for
// ever: a bug.
func (s *Semaphore) Acquire(f *Fiber, n int64) {
	if s.TryAcquire(n) {
		return
	}
	f.want = n
	s.list.Wait(f) // Release has taken the units for us
}

// TryAcquire takes n units if they are free and nobody waits.
func (s *Semaphore) TryAcquire(n int64) bool {
	if n < 0 || n > s.size {
		panic("engine: semaphore: more units wanted than there are")
	}
	if s.list.Len() > 0 || s.free < n {
		return false
	}
	s.free -= n
	return true
}

// Release gives n units back and serves those who wait, in order.
func (s *Semaphore) Release(t *Turn, n int64) {
	s.free += n
	if n < 0 || s.free > s.size {
		panic("engine: semaphore: more units released than acquired")
	}
	for s.list.first != nil && s.list.first.want <= s.free {
		s.free -= s.list.first.want
		s.list.WakeOne(t)
	}
}
