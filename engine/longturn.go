package engine

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
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
	Phase  string // what kind of step; "": many
	What   string // the fiber that ran, or what was called last
	Stack  Stack  // of a fiber: where it suspended then

	Completions, Messages, Resumes uint64 // of the whole turn
}

// String is one line for the log.
func (l LongTurn) String() string {
	s := fmt.Sprintf("turn of %.1f ms: ", float64(l.Ns)/1e6)
	if l.StepNs == 0 {
		return s + fmt.Sprintf("many steps: %d completions, %d messages, %d resumes", l.Completions, l.Messages, l.Resumes)
	}
	s += fmt.Sprintf("%s %s took %.1f ms", l.Phase, l.What, float64(l.StepNs)/1e6)
	if stack := l.Stack.String(); stack != "" {
		s += ", up to " + stack
	}
	return s
}

// Stack is where a fiber suspended. It is made readable only for who reads it: most samples are replaced before anybody does.
type Stack struct {
	pcs [stackMax]uintptr // up to the first 0; none if the task had ended
}

// String is the frames from the innermost one down to the task.
func (s Stack) String() string {
	n := slices.Index(s.pcs[:], 0)
	if n < 0 {
		n = len(s.pcs)
	}
	if n == 0 {
		return ""
	}
	frames := runtime.CallersFrames(s.pcs[:n])
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

// sample keeps what the step was. It allocates nothing: a loop that is slow throughout must not make garbage besides.
//
//go:noinline
func (r *Reactor) sample(p phase, spent int64) {
	r.slow = LongTurn{StepNs: spent, Phase: phaseNames[p]}
	f := r.current
	switch {
	case p != phaseFiber && r.doing == nil: // fibers came home, or the kernel answered to a cancel
		r.slow.What = "nothing that has a name"
	case p != phaseFiber:
		r.slow.What = reflect.TypeOf(r.doing).String()
	case f.name != "":
		r.slow.What = f.name
	default:
		r.slow.What = reflect.TypeOf(f.task).String()
	}
	if p == phaseFiber && !f.normal {
		runtime.Callers(4, r.slow.Stack.pcs[:]) // Callers, this, lap, suspend
	}
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
	l := &r.slow
	l.Ns, l.Number = spent, r.stats.LongTurns
	l.Completions, l.Messages = r.stats.Completions-r.before.completions, r.stats.Delivered-r.before.delivered
	l.Resumes = r.stats.Resumes - r.before.resumes
	r.stats.LongTurn, r.slow = r.slow, LongTurn{}
}

// begun is what the counters were when the turn began.
type begun struct{ completions, delivered, resumes uint64 }
