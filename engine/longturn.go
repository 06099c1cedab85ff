package engine

import (
	"fmt"
	"runtime"
	"strings"
)

// A turn over longTurnNs delays everything else in its shard. Which step took the time is known from one look
// at the clock at the end of each step: a phase that found work, or one resume of a fiber. The look is taken on
// the fiber's own stack, where it suspends; so the stack of one that computed too long costs nothing until it
// is asked for. (A watchdog on another thread was the other way: it wakes a thousand times a second to see what
// happens once an hour, and Go reads a foreign stack only with the world stopped.)

// LongTurn is a turn that took too long, and its longest step.
type LongTurn struct {
	Number uint64 // which long turn it was, from 1: Stats.LongTurns at its end
	Ns     int64  // the whole turn
	StepNs int64  // its longest step; 0: no step was long, there were too many
	Phase  string // what kind of step
	What   string // the fiber that ran, or what was called last
	Stack  string // of a fiber: where it suspended then, innermost first; "" if its task had ended
}

// String is one line for the log.
func (l LongTurn) String() string {
	s := fmt.Sprintf("turn of %.1f ms: %s %s", float64(l.Ns)/1e6, l.Phase, l.What)
	if l.StepNs > 0 {
		s += fmt.Sprintf(" took %.1f ms", float64(l.StepNs)/1e6)
	}
	if l.Stack != "" {
		s += ", up to " + l.Stack
	}
	return s
}

type phase uint8

const (
	phaseComplete phase = iota
	phaseExpire
	phaseReceive
	phaseFiber
	phaseAtEnd
)

var phaseNames = [...]string{phaseComplete: "completions, last", phaseExpire: "timers, last", phaseReceive: "messages, last",
	phaseFiber: "fiber", phaseAtEnd: "end of turn, last"}

const stackMax = 16 // frames of a sample

// lap ends a step of the turn.
func (r *Reactor) lap(p phase) {
	now := r.cfg.Clock.Mono()
	if spent := now - r.lapNs; spent > longTurnNs && spent > r.slow.StepNs {
		r.sample(p, spent)
	}
	r.lapNs = now
}

// sample keeps what the step was. A step that gets here took a thousand times as long as this does.
//
//go:noinline
func (r *Reactor) sample(p phase, spent int64) {
	r.slow = LongTurn{StepNs: spent, Phase: phaseNames[p]}
	f := r.current
	switch {
	case p != phaseFiber:
		r.slow.What = fmt.Sprintf("%T", r.doing)
	case f.name != "":
		r.slow.What = f.name
	default:
		r.slow.What = fmt.Sprintf("%T", f.task)
	}
	if p == phaseFiber && !f.normal {
		r.slow.Stack = suspendedAt()
	}
}

// suspendedAt is the calling fiber's stack from where it suspends down to its task.
func suspendedAt() string {
	var pcs [stackMax]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(5, pcs[:])]) // Callers, this, sample, lap, suspend
	var b strings.Builder
	for more := true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		if strings.HasSuffix(frame.Function, "engine.(*Fiber).runTask") {
			break
		}
		if b.Len() > 0 {
			b.WriteString(" < ")
		}
		fmt.Fprintf(&b, "%s:%d", frame.Function, frame.Line)
	}
	return b.String()
}

// finish counts the turn.
func (r *Reactor) finish() {
	spent := r.lapNs - r.nowNs
	r.stats.LongestTurnNs = max(r.stats.LongestTurnNs, spent)
	if spent > longTurnNs {
		r.longTurn(spent)
	}
	r.doing = nil
	r.publish()
}

//go:noinline
func (r *Reactor) longTurn(spent int64) {
	r.stats.LongTurns++
	if r.slow.StepNs == 0 {
		r.slow.Phase = "many steps:"
		r.slow.What = fmt.Sprintf("%d completions, %d messages, %d resumes", r.stats.Completions-r.before.completions,
			r.stats.Delivered-r.before.delivered, r.stats.Resumes-r.before.resumes)
	}
	r.slow.Ns, r.slow.Number = spent, r.stats.LongTurns
	r.stats.LongTurn, r.slow = r.slow, LongTurn{}
}

// begun is what the counters were when the turn began.
type begun struct{ completions, delivered, resumes uint64 }
