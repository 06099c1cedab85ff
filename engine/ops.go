package engine

import (
	"fmt"

	"basalt/engine/uring"
	"golang.org/x/sys/unix"
)

// opTable knows every operation that was submitted and has not completed. Owned by the reactor's loop.
// An operation's user data is its OpID: generation in the high half, slot+1 in the low; 0 belongs to
// nobody (cancel requests).
type opTable struct {
	ops      []op
	free     uint32 // slot+1 of the first free slot
	inFlight int    // the kernel's
	peak     int
	max      int // of inFlight, for what can wait

	backlog     []waitingOp // ring buffer: accepted, not pushed yet
	backlogHead int
	backlogLen  int
	backlogPeak int
}

type op struct {
	c     Completer
	gen   uint32
	next  uint32 // free list
	state opState
}

type opState uint8

const (
	opFree opState = iota
	opInFlight
	opWaiting  // in the backlog
	opWithdrew // in the backlog, canceled there; completes in the next turn
	opGone     // in the backlog, completed; the slot is free when its place comes up
)

type waitingOp struct {
	sqe  uring.SQE
	slot uint32
}

func (o *opTable) init(max int) {
	n := max * backlogFactor
	o.max = max
	o.ops = make([]op, n)
	for i := range o.ops {
		o.ops[i].next = uint32(i + 2)
	}
	o.ops[n-1].next = 0
	o.free = 1
}

// add takes a slot. All slots in use means that somebody submits without bound: a bug.
func (o *opTable) add(c Completer) (slot uint32) {
	if o.free == 0 {
		panicOps(len(o.ops))
	}
	slot = o.free - 1
	p := &o.ops[slot]
	o.free, p.next = p.next, 0
	p.c = c
	p.gen++
	return slot
}

func (o *opTable) remove(slot uint32) (c Completer) {
	p := &o.ops[slot]
	c, p.c, p.state = p.c, nil, opFree
	p.next, o.free = o.free, slot+1
	return c
}

func (o *opTable) id(slot uint32) OpID { return OpID(o.ops[slot].gen)<<32 | OpID(slot+1) }

// find returns the slot of a live operation.
func (o *opTable) find(id OpID) (slot uint32, ok bool) {
	slot = uint32(id) - 1
	if uint32(id) == 0 || slot >= uint32(len(o.ops)) {
		return 0, false
	}
	p := &o.ops[slot]
	return slot, p.state != opFree && p.state != opGone && p.gen == uint32(id>>32)
}

func (o *opTable) launched(slot uint32) {
	o.ops[slot].state = opInFlight
	o.inFlight++
	o.peak = max(o.peak, o.inFlight)
}

func (o *opTable) wait(s *uring.SQE, slot uint32) {
	if o.backlogLen == len(o.backlog) {
		o.growBacklog()
	}
	o.backlog[(o.backlogHead+o.backlogLen)%len(o.backlog)] = waitingOp{sqe: *s, slot: slot}
	o.backlogLen++
	o.backlogPeak = max(o.backlogPeak, o.backlogLen)
	o.ops[slot].state = opWaiting
}

// growBacklog doubles the ring buffer; the number of slots bounds it.
func (o *opTable) growBacklog() {
	b := make([]waitingOp, max(64, 2*len(o.backlog)))
	for i := range o.backlogLen {
		b[i] = o.backlog[(o.backlogHead+i)%len(o.backlog)]
	}
	o.backlog, o.backlogHead = b, 0
}

func (o *opTable) nextWaiting() waitingOp {
	w := o.backlog[o.backlogHead]
	o.backlogHead = (o.backlogHead + 1) % len(o.backlog)
	o.backlogLen--
	return w
}

// submit is Turn.Submit. It pushes the operation, or lets it wait while OpsMax are in flight.
func (r *Reactor) submit(s *uring.SQE, c Completer) OpID {
	if r.dead {
		return 0
	}
	slot := r.ops.add(c)
	id := r.ops.id(slot)
	soon := s.UserData == soonMark
	s.UserData = uint64(id)
	if r.ops.inFlight >= r.ops.max || r.ops.backlogLen > 0 {
		r.ops.wait(s, slot)
		return id
	}
	r.launch(s, slot)
	r.soon = r.soon || soon
	return id
}

// soonMark is where the reactor puts its own number before the kernel sees the entry.
const soonMark = 1

// Soon marks an entry whose device stands idle until it comes: a reactor with time to spare submits it before the turn is over, together with
// all that was pushed before it.
func Soon(s uring.SQE) uring.SQE {
	s.UserData = soonMark
	return s
}

// hasten submits what has been pushed if a device waits for some of it. A reactor that had nothing left to do before this turn but wait for
// completions waits for its devices, not they for it: then each entry goes out by itself, and the kernel's plug does not hold it back until the last of the turn.
// One whose fibers, timers or messages kept it from waiting has more work than time, and pays for one call in a turn. What nothing keeps from the
// call that ends the turn goes with that one.
func (r *Reactor) hasten() {
	if !r.soon || !r.slept || r.ready.n == 0 && len(r.atEnd) == 0 || r.err != nil {
		return
	}
	r.soon = false
	r.stats.EntersEarly++
	r.fail(r.ring.Enter(0, 0))
}

func (r *Reactor) launch(s *uring.SQE, slot uint32) {
	r.push(s)
	r.ops.launched(slot)
}

// push puts the entry into the submission queue, emptying it into the kernel first if it is full. What is
// handed to an interface escapes to the heap: hence the copy in the reactor.
func (r *Reactor) push(s *uring.SQE) {
	r.sqe = *s
	err := r.ring.Push(&r.sqe)
	for tries := 0; err == uring.ErrFull && tries < pushTriesMax; tries++ {
		if r.flushFull() != nil {
			break
		}
		err = r.ring.Push(&r.sqe)
	}
	if err != nil {
		r.fail(fmt.Errorf("engine: %s: push of operation %d: %w", r.cfg.Name, s.Opcode, err))
	}
}

// flushFull makes room by submitting what is queued. Completions stay where they are until the next turn:
// those that no longer fit the completion queue are kept by the kernel.
func (r *Reactor) flushFull() error {
	r.stats.SubmitFull++
	return r.ring.Enter(0, 0)
}

// submitCmd pushes an operation with a command area; those are bounded by their users (queue depth) and
// do not wait in the backlog.
func (r *Reactor) submitCmd(s *uring.SQE, cmd *[80]byte, c Completer) OpID {
	if r.dead {
		return 0
	}
	slot := r.ops.add(c)
	id := r.ops.id(slot)
	s.UserData = uint64(id)
	r.sqe, r.cmd = *s, *cmd
	err := r.ring.PushCmd(&r.sqe, &r.cmd)
	for tries := 0; err == uring.ErrFull && tries < pushTriesMax; tries++ {
		if r.flushFull() != nil {
			break
		}
		err = r.ring.PushCmd(&r.sqe, &r.cmd)
	}
	switch err {
	case nil:
		r.ops.launched(slot)
	case uring.ErrUnsupported: // told through the completion: -ENOSYS
		r.ops.ops[slot].state = opWaiting
		r.after(0, &lateCompletion{id: id, res: -int32(unix.ENOSYS)})
	default:
		r.fail(fmt.Errorf("engine: %s: push of command: %w", r.cfg.Name, err))
	}
	return id
}

// lateCompletion completes, from the timers of a turn, an operation that never reached the kernel.
type lateCompletion struct {
	id  OpID
	res int32
}

// Fire completes the operation.
func (l *lateCompletion) Fire(t *Turn) {
	if slot, ok := t.r.ops.find(l.id); ok {
		t.r.ops.remove(slot).Complete(t, l.res, 0)
	}
}

// withdrawal completes a canceled operation that is still in the backlog: those before it may be waits
// without end, so it does not wait for its place.
type withdrawal struct{ id OpID }

// Fire completes the operation; its place in the backlog keeps the slot.
func (l *withdrawal) Fire(t *Turn) {
	slot, ok := t.r.ops.find(l.id)
	if !ok { // its place came up first
		return
	}
	p := &t.r.ops.ops[slot]
	c := p.c
	p.c, p.state = nil, opGone
	c.Complete(t, -int32(unix.ECANCELED), 0)
}

// cancel asks for the end of an operation: the kernel if it has it, the backlog otherwise. The
// operation's completion comes in any case, usually with -ECANCELED.
func (r *Reactor) cancel(id OpID) {
	slot, ok := r.ops.find(id)
	if !ok || r.dead {
		return
	}
	switch p := &r.ops.ops[slot]; p.state {
	case opWaiting:
		p.state = opWithdrew
		r.after(0, &withdrawal{id: id})
	case opInFlight:
		s := uring.PrepCancel(uint64(id))
		r.push(&s)
	}
}

// pump moves waiting operations into the ring as far as OpsMax allows.
func (r *Reactor) pump(t *Turn) {
	o := &r.ops
	for o.backlogLen > 0 && (o.inFlight < o.max || o.ops[o.backlog[o.backlogHead].slot].state != opWaiting) {
		w := o.nextWaiting()
		switch o.ops[w.slot].state {
		case opWithdrew:
			o.remove(w.slot).Complete(t, -int32(unix.ECANCELED), 0)
		case opGone:
			o.remove(w.slot)
		default:
			r.launch(&w.sqe, w.slot)
		}
	}
}

// complete takes completions out of the ring and tells their owners.
func (r *Reactor) complete(t *Turn) (worked bool) {
	for range reapBatchesMax {
		n := r.ring.Reap(r.cqes[:])
		for i := range r.cqes[:n] {
			r.completed(t, r.cqes[i])
		}
		worked = worked || n > 0
		if n < len(r.cqes) {
			break
		}
	}
	if r.ops.backlogLen > 0 {
		r.pump(t)
	}
	if worked {
		r.lap(phaseComplete)
	}
	return worked
}

func (r *Reactor) completed(t *Turn, c uring.CQE) {
	if c.UserData == 0 { // a cancel request's own result
		return
	}
	r.stats.Completions++
	slot, ok := r.ops.find(OpID(c.UserData))
	if !ok || r.ops.ops[slot].state != opInFlight {
		panicCompletion(c)
	}
	if c.Flags&uring.CQEFMore != 0 {
		r.doing = r.ops.ops[slot].c
		r.ops.ops[slot].c.Complete(t, c.Res, c.Flags)
		return
	}
	r.ops.inFlight--
	owner := r.ops.remove(slot)
	r.doing = owner
	owner.Complete(t, c.Res, c.Flags)
}

//go:noinline
func panicOps(n int) {
	panic(fmt.Sprintf("engine: %d operations outstanding: somebody submits without bound", n))
}

//go:noinline
func panicCompletion(c uring.CQE) {
	panic(fmt.Sprintf("engine: completion of an operation that is not in flight: user data %#x, result %d", c.UserData, c.Res))
}
