package sim

// timeline is virtual time and what is to happen in it. Events of one instant run in an order that the seed picks:
// nothing above may depend on which of two completions comes first.
type timeline struct {
	now   int64
	seq   uint64
	queue []*happening // binary heap by (at, order, seq)
}

// happening is one event to come. Whoever scheduled it may drop it.
type happening struct {
	at    int64
	order uint64 // drawn from the seed
	seq   uint64
	run   func()
}

// drop forgets the event; harmless once it has run.
func (h *happening) drop() {
	if h != nil {
		h.run = nil
	}
}

func (h *happening) before(o *happening) bool {
	if h.at != o.at {
		return h.at < o.at
	}
	if h.order != o.order {
		return h.order < o.order
	}
	return h.seq < o.seq
}

// schedule queues run for the instant at (not before now).
func (l *timeline) schedule(at int64, order uint64, run func()) *happening {
	h := &happening{at: max(at, l.now), order: order, seq: l.seq, run: run}
	l.seq++
	l.queue = append(l.queue, h)
	for i := len(l.queue) - 1; i > 0; {
		up := (i - 1) / 2
		if !l.queue[i].before(l.queue[up]) {
			break
		}
		l.queue[i], l.queue[up] = l.queue[up], l.queue[i]
		i = up
	}
	return h
}

// next is the instant of the earliest event.
func (l *timeline) next() (int64, bool) {
	for len(l.queue) > 0 && l.queue[0].run == nil {
		l.pop()
	}
	if len(l.queue) == 0 {
		return 0, false
	}
	return l.queue[0].at, true
}

// pop takes the earliest event, nil if none.
func (l *timeline) pop() *happening {
	n := len(l.queue)
	if n == 0 {
		return nil
	}
	top := l.queue[0]
	l.queue[0] = l.queue[n-1]
	l.queue[n-1] = nil
	l.queue = l.queue[:n-1]
	n--
	for i := 0; ; {
		c := 2*i + 1
		if c >= n {
			break
		}
		if c+1 < n && l.queue[c+1].before(l.queue[c]) {
			c++
		}
		if !l.queue[c].before(l.queue[i]) {
			break
		}
		l.queue[i], l.queue[c] = l.queue[c], l.queue[i]
		i = c
	}
	return top
}

// runDue runs every event whose time has come, those included that they schedule for now. It reports whether any ran.
func (l *timeline) runDue() bool {
	ran := false
	for {
		at, ok := l.next()
		if !ok || at > l.now {
			return ran
		}
		run := l.pop().run
		run()
		ran = true
	}
}
