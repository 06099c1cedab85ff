package device

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"basalt/engine"
	"basalt/engine/uring"
	"golang.org/x/sys/unix"
)

// All handles of a device share its volatile cache and its open file, so a flush of one covers what the others have written, and what the
// device or the kernel has lost is reported once, to one of them: the next flush, of whomever, says that all is well. Therefore:
//
//  1. The first write or flush that fails makes the device failed, for good. Whoever sees it publishes that before it publishes that its
//     flush has ended, and every other handle is told.
//  2. A flush counts if it succeeded, every flush of the device that had begun when its end was seen has ended too, and the device has not
//     failed by then. Ends are seen in any order: each reactor has its own ring, and the kernel completes flushes on threads of its own.
//     One that begins later cannot lose what was durable before it.
//  3. On a failed device no flush begins. One in flight ends, and does not count.
//
// So a flush waits for others at most as long as those that are in flight when it ends; it never waits for one that begins after it, and a
// device with one handle waits only where a checkpoint's flush and a group's overlap.

// FailedError: a write or a flush of the device has failed. What was not known to be durable before is not to be believed any more, whoever
// wrote it.
type FailedError struct {
	Device string
	By     string // whose write or flush it was
	Cause  error
}

func (e *FailedError) Error() string {
	return fmt.Sprintf("device %s has failed in %s: %v", e.Device, e.By, e.Cause)
}
func (e *FailedError) Unwrap() error { return e.Cause }

// peers is what the handles of one device know of each other. The zero value is ready.
type peers struct {
	failed atomic.Pointer[FailedError]
	list   atomic.Pointer[[]*Handle] // attached, in that order; replaced under mu, never changed

	mu     sync.Mutex // attach and detach, watch and unwatch
	owners []string   // who writes, each once
}

func (p *peers) handles() []*Handle {
	if l := p.list.Load(); l != nil {
		return *l
	}
	return nil
}

func (p *peers) change(fn func(old []*Handle) []*Handle) {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := fn(append([]*Handle(nil), p.handles()...))
	p.list.Store(&list)
}

func (p *peers) add(h *Handle) {
	p.change(func(old []*Handle) []*Handle { return append(old, h) })
}

func (p *peers) remove(h *Handle) {
	p.change(func(old []*Handle) []*Handle {
		for i, o := range old {
			if o == h {
				return append(old[:i], old[i+1:]...)
			}
		}
		return old
	})
}

// Failed is why the device is not written any more; nil: it is well. Any thread may ask.
func (d *Device) Failed() *FailedError { return d.peers.failed.Load() }

// flushes is a handle's part of the rule.
type flushes struct {
	begun   atomic.Uint64 // written by the handle's thread, read by all
	ended   atomic.Uint64 // likewise: all up to this one have ended, and what they said is published
	awaited atomic.Bool   // another handle waits for ended to grow
	nudged  atomic.Bool   // a nudge is on its way to this handle

	// Owned by the loop.
	owner    string // what messages call whoever writes here
	watching bool   // it is one of the device's owners
	onFail   func(t *engine.Turn, err *FailedError)
	flight   []*flush // begun and not ended, oldest first
	settling []*flush // succeeded, and wait for others
	timer    bool     // lookAgain is on its way
	free     *flush
}

// Flushed is told how a flush ended.
type Flushed interface {
	Flushed(t *engine.Turn, err error)
}

// flush is one of a handle; pooled.
type flush struct {
	h     *Handle
	to    Flushed
	n     uint64 // its number among the handle's
	tries int
	err   error
	waits []awaited
	next  *flush // free list
}

// awaited is flushes of a handle that must have ended.
type awaited struct {
	h *Handle
	n uint64
}

// Watch names whoever writes through the handle, and has fn called, on the handle's reactor, once, when another handle's write or flush
// failed. A device that has failed already is refused, and so is an owner that there is: two would overwrite each other. A handle has one owner.
func (h *Handle) Watch(owner string, fn func(t *engine.Turn, err *FailedError)) error {
	if err := h.d.Failed(); err != nil {
		return err
	}
	p := &h.d.peers
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.watching || slices.Contains(p.owners, owner) {
		return fmt.Errorf("device %s, %s: %w", h.d.name, owner, ErrBusy)
	}
	p.owners = append(p.owners, owner)
	h.owner, h.onFail, h.watching = owner, fn, true
	return nil
}

// Unwatch ends what Watch began.
func (h *Handle) Unwatch() {
	if !h.watching {
		return
	}
	p := &h.d.peers
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.owners, h.owner)
	p.owners = slices.Delete(p.owners, i, i+1)
	h.onFail, h.watching = nil, false
}

// Fail makes the device failed: err is that of a write or a flush of this handle. Only the first failure counts.
func (h *Handle) Fail(t *engine.Turn, err error) {
	if !h.d.peers.failed.CompareAndSwap(nil, &FailedError{Device: h.d.name, By: h.owner, Cause: err}) {
		return
	}
	h.onFail = nil // who failed knows it
	for _, o := range h.d.peers.handles() {
		if o != h {
			o.nudge(t)
		}
	}
}

// StartFlush begins a flush at the end of this turn, when everything that this turn hears of has been heard; to is told when it counts, or why
// it does not (see the rule above). One that failed must not be tried again as if it could still succeed: the kernel may have dropped what it
// could not write.
func (h *Handle) StartFlush(t *engine.Turn, to Flushed) {
	q := h.free
	if q == nil {
		q = &flush{h: h}
	} else {
		h.free = q.next
	}
	q.to, q.tries, q.err = to, 0, nil
	t.AtEnd(q)
}

// Deliver begins the flush, unless the device has failed.
func (q *flush) Deliver(t *engine.Turn) {
	h := q.h
	if err := h.d.Failed(); err != nil {
		q.err = err
		q.finish(t)
		return
	}
	q.n = h.begun.Add(1)
	h.flight = append(h.flight, q)
	t.Submit(h.flushOp(), q)
}

// Complete takes the kernel's answer.
func (q *flush) Complete(t *engine.Turn, res int32, _ uint32) {
	h := q.h
	if res == -int32(unix.EINTR) && q.tries < retriesMax { // it never began
		q.tries++
		t.Submit(h.flushOp(), q)
		return
	}
	if q.err = h.Error(OpFlush, 0, 0, res); q.err != nil {
		h.Fail(t, q.err)
	}
	h.publishEnd(q)
	for _, o := range h.d.peers.handles() {
		if n := o.begun.Load(); q.err == nil && o.ended.Load() < n {
			q.waits = append(q.waits, awaited{o, n})
		}
	}
	h.settling = append(h.settling, q)
	h.look(t)
	if h.awaited.Load() && h.awaited.Swap(false) {
		for _, o := range h.d.peers.handles() {
			if o != h {
				o.nudge(t)
			}
		}
	}
}

// publishEnd notes that q is not in flight any more.
func (h *Handle) publishEnd(q *flush) {
	for i, o := range h.flight {
		if o == q {
			h.flight = append(h.flight[:i], h.flight[i+1:]...)
			break
		}
	}
	ended := h.begun.Load()
	if len(h.flight) > 0 {
		ended = h.flight[0].n - 1
	}
	h.ended.Store(ended)
}

// look finishes what has waited long enough, and hears of a failure.
func (h *Handle) look(t *engine.Turn) {
	for i := 0; i < len(h.settling); {
		q := h.settling[i]
		if !q.settled() {
			i++
			continue
		}
		h.settling = append(h.settling[:i], h.settling[i+1:]...)
		if err := h.d.Failed(); err != nil && q.err == nil {
			q.err = err
		}
		q.finish(t)
	}
	if len(h.settling) > 0 && !h.timer {
		h.timer = true
		t.After(lookAgainNs, (*lookAgain)(h))
	}
	if err := h.d.Failed(); err != nil && h.onFail != nil {
		fn := h.onFail
		h.onFail = nil
		fn(t, err)
	}
}

// settled tells whether everything that q waits for has ended. The mark is set before ended is read again: either the other handle sees the
// mark, or this one the end.
func (q *flush) settled() bool {
	left := q.waits[:0]
	for _, w := range q.waits {
		if w.h.ended.Load() >= w.n {
			continue
		}
		if w.h.awaited.Store(true); w.h.ended.Load() < w.n {
			left = append(left, w)
		}
	}
	q.waits = left
	return len(left) == 0
}

func (q *flush) finish(t *engine.Turn) {
	h, to, err := q.h, q.to, q.err
	q.to, q.err, q.next = nil, nil, h.free
	h.free = q
	to.Flushed(t, err)
}

// nudge has h look again, on its own reactor; from any other.
func (h *Handle) nudge(t *engine.Turn) {
	if !h.nudged.Swap(true) {
		(*nudge)(h).Fire(t)
	}
}

// lookAgain is what a handle that waits for others does by itself: a reactor that met a full inbox may end before it has sent its nudge again.
type lookAgain Handle

const lookAgainNs = 10_000_000

// Fire looks, on the handle's reactor.
func (l *lookAgain) Fire(t *engine.Turn) {
	h := (*Handle)(l)
	h.timer = false
	h.nudged.Store(false)
	h.look(t)
}

type nudge Handle

// nudgeAgainNs: a full inbox is drained every turn.
const nudgeAgainNs = 100_000

// Fire sends the message, or tries again in a moment. A reactor that has ended has nothing left to learn.
func (n *nudge) Fire(t *engine.Turn) {
	if n.r.Post(n) == engine.ErrBusy {
		t.After(nudgeAgainNs, n)
	}
}

// Deliver runs on the handle's reactor.
func (n *nudge) Deliver(t *engine.Turn) {
	n.nudged.Store(false) // before looking: what happens from now on nudges anew
	(*Handle)(n).look(t)
}

// flushOp makes every write completed before it durable. For an image file it is fdatasync: that also commits the file system's record of
// blocks written for the first time.
func (h *Handle) flushOp() uring.SQE { return h.on(uring.PrepFsync(h.fd, true)) }

// flushWait is a flush that a fiber waits for.
type flushWait struct {
	err  error
	done bool
	wait engine.WaitList
}

// Flushed wakes the fiber.
func (w *flushWait) Flushed(t *engine.Turn, err error) {
	w.err, w.done = err, true
	w.wait.WakeAll(t)
}

// Flush makes every write completed before it durable, by the rule of StartFlush.
func (h *Handle) Flush(f *engine.Fiber) error {
	if h.d.readOnly {
		return nil
	}
	w := &flushWait{}
	h.StartFlush(f.Turn(), w)
	for !w.done {
		w.wait.Wait(f)
	}
	return w.err
}
