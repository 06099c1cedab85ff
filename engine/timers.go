package engine

import "math"

// timers is a binary heap of deadlines with stable slots, so that a timer can be stopped. Equal deadlines
// fire in the order they were set: the simulator depends on it. Owned by the reactor's loop.
type timers struct {
	heap  []timerKey
	slots []timerSlot
	free  uint32 // slot+1
	seq   uint64
	peak  int
}

type timerKey struct {
	deadlineNs int64
	seq        uint64
	slot       uint32
}

type timerSlot struct {
	t    Timer
	gen  uint32
	pos  int32  // in heap; -1: not running
	next uint32 // free list
}

func (a timerKey) before(b timerKey) bool {
	return a.deadlineNs < b.deadlineNs || a.deadlineNs == b.deadlineNs && a.seq < b.seq
}

func (q *timers) add(deadlineNs int64, t Timer) TimerID {
	if q.free == 0 {
		q.slots = append(q.slots, timerSlot{})
		q.free = uint32(len(q.slots))
	}
	slot := q.free - 1
	s := &q.slots[slot]
	q.free = s.next
	s.t, s.gen = t, s.gen+1
	q.seq++
	q.heap = append(q.heap, timerKey{deadlineNs, q.seq, slot})
	q.peak = max(q.peak, len(q.heap))
	q.up(len(q.heap) - 1)
	return TimerID(s.gen)<<32 | TimerID(slot+1)
}

// stop takes the timer out; false: it has fired or was stopped.
func (q *timers) stop(id TimerID) bool {
	slot := uint32(id) - 1
	if uint32(id) == 0 || slot >= uint32(len(q.slots)) {
		return false
	}
	s := &q.slots[slot]
	if s.t == nil || s.gen != uint32(id>>32) {
		return false
	}
	q.take(int(s.pos))
	return true
}

// next is the earliest deadline.
func (q *timers) next() (deadlineNs int64, ok bool) {
	if len(q.heap) == 0 {
		return 0, false
	}
	return q.heap[0].deadlineNs, true
}

// take removes heap[i] and frees its slot.
func (q *timers) take(i int) Timer {
	slot := q.heap[i].slot
	last := len(q.heap) - 1
	q.heap[i] = q.heap[last]
	q.heap = q.heap[:last]
	if i < last {
		q.slots[q.heap[i].slot].pos = int32(i)
		q.down(i)
		q.up(i)
	}
	s := &q.slots[slot]
	t := s.t
	s.t, s.pos = nil, -1
	s.next, q.free = q.free, slot+1
	return t
}

func (q *timers) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !q.heap[i].before(q.heap[parent]) {
			break
		}
		q.swap(i, parent)
		i = parent
	}
	q.slots[q.heap[i].slot].pos = int32(i)
}

func (q *timers) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(q.heap) {
			break
		}
		if child+1 < len(q.heap) && q.heap[child+1].before(q.heap[child]) {
			child++
		}
		if !q.heap[child].before(q.heap[i]) {
			break
		}
		q.swap(i, child)
		i = child
	}
	q.slots[q.heap[i].slot].pos = int32(i)
}

func (q *timers) swap(i, j int) {
	q.heap[i], q.heap[j] = q.heap[j], q.heap[i]
	q.slots[q.heap[i].slot].pos = int32(i)
	q.slots[q.heap[j].slot].pos = int32(j)
}

func (r *Reactor) after(ns int64, t Timer) TimerID {
	if r.dead {
		return 0
	}
	ns = min(max(ns, 0), math.MaxInt64-r.nowNs) // "for ever" stays in the future
	return r.timers.add(r.nowNs+ns, t)
}

// expire fires what is due. Timers set meanwhile wait for the next turn, or a timer of 0 ns that sets
// itself anew would keep the turn for ever.
func (r *Reactor) expire(t *Turn) (worked bool) {
	newest := r.timers.seq
	for len(r.timers.heap) > 0 {
		first := r.timers.heap[0]
		if first.deadlineNs > r.nowNs || first.seq > newest {
			break
		}
		due := r.timers.take(0)
		r.doing = due
		due.Fire(t)
		worked = true
	}
	if worked {
		r.lap(phaseExpire)
	}
	return worked
}
