package storage

import "basalt/engine"

// Background work, that of a checkpoint and what it leaves behind, is made of steps that are small each: an extent that is freed, an item of the
// delta that is looked at, a block that is copied. After a share of steps or of time it lets the others run.
const (
	lookSteps = 16 // steps between two looks at the clock
	nodeSteps = 32 // what a tree node, read or written, counts for
)

// turnShare is how much of one turn some background work has used.
type turnShare struct {
	turnNs int64 // when the turn began
	fromNs int64 // how far it was when the work began
	steps  int
	next   int // steps at which to look at the clock
}

// begin starts a new share: the work has just been resumed.
func (p *turnShare) begin(t *engine.Turn) {
	*p = turnShare{turnNs: t.Now(), fromNs: t.SpentNs(), next: lookSteps}
}

// take counts n steps and tells whether the share, of so many steps and so much time, is used up.
func (p *turnShare) take(t *engine.Turn, n, steps int, ns int64) bool {
	if t.Now() != p.turnNs { // it waited for something else meanwhile
		p.begin(t)
	}
	if p.steps += n; p.steps < p.next {
		return false
	}
	p.next = p.steps + lookSteps
	return p.steps >= steps || t.SpentNs()-p.fromNs >= ns
}

// reaper gives back what checkpoints and snapshots have let go of: the memory of deltas that nobody looks at any more, and the blocks of limbo
// that nobody holds. It runs on a timer, so it neither waits for a checkpoint in progress nor is waited for by one that is not its own.
type reaper struct {
	dead  []*memory // oldest first
	bytes int       // that they have; still part of the delta's limit
	timer engine.TimerID
	armed bool
	share turnShare
	idle  engine.WaitList // for nothing to be left
}

// bury has the memory of a layer given back, which nobody looks at any more.
func (s *Store) bury(t *engine.Turn, m *memory) {
	s.reap.dead = append(s.reap.dead, m)
	s.reap.bytes += m.held()
	s.startReaping(t)
}

// releaseLayer ends one use of a layer, of several with the same memory.
func (s *Store) releaseLayer(t *engine.Turn, l *layer) {
	if l.letGo() {
		s.bury(t, l.memory)
	}
}

// reaping tells whether something is left that could be given back now.
func (s *Store) reaping() bool { return len(s.reap.dead) > 0 || s.limbo.ready() }

// startReaping gives back what a turn has room for, and goes on in the next ones.
func (s *Store) startReaping(t *engine.Turn) {
	if !s.reap.armed && s.reaping() {
		s.reapSome(t)
	}
}

type reapTimer Store

// Fire goes on.
func (k *reapTimer) Fire(t *engine.Turn) {
	s := (*Store)(k)
	s.reap.armed = false
	s.reap.share.begin(t)
	s.reapSome(t)
}

func (s *Store) reapSome(t *engine.Turn) {
	for s.reapOne(t) {
		if s.reap.share.take(t, 1, s.opt.TurnSteps, s.opt.TurnBudgetNs) {
			break
		}
	}
	if s.reaping() {
		s.reap.armed = true
		s.reap.timer = t.After(0, (*reapTimer)(s))
	} else {
		s.reap.idle.WakeAll(t)
	}
	s.waitSlot.WakeAll(t)
	s.discards.kick(t)
}

// reapOne takes one step; false: there is none to take.
func (s *Store) reapOne(t *engine.Turn) bool {
	r := &s.reap
	if len(r.dead) == 0 {
		e, ok := s.limbo.pop()
		if ok {
			s.alloc.Free(e)
			s.discards.freed(e)
			s.freed(t, e)
		}
		return ok
	}
	m := r.dead[0]
	before := m.held()
	more := m.giveBack()
	r.bytes -= before - m.held()
	if !more {
		r.dead = append(r.dead[:0], r.dead[1:]...)
	}
	return true
}

// reapAll gives everything back at once: the store ends.
func (s *Store) reapAll(t *engine.Turn) {
	if s.reap.armed {
		t.StopTimer(s.reap.timer)
		s.reap.armed = false
	}
	for _, m := range s.reap.dead {
		for m.giveBack() {
		}
	}
	s.reap.dead, s.reap.bytes = nil, 0
}
