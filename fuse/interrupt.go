package fuse

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"basalt/engine"
)

// INTERRUPT. The kernel tells that a signal has reached the caller of a request, once, and not which signal. Most are the timers and job
// signals of programs that do not expect a system call on a file to end with EINTR, so they are not obeyed. A signal stays pending while
// its thread waits for us, so /proc says which it is: only those by which somebody wants the program to stop end the wait. After the
// first INTERRUPT the kernel says nothing more, so from then on it is looked at again and again.

//
// Over io_uring the kernel (6.18) tells nothing of a signal that reached the caller before its request was sent, as happens to whoever
// waited for the directory's lock: the code that sends does not look for it, unlike that of /dev/fuse, and the caller has no second chance
// to say so. A patrol therefore watches the caller of every request that lasts, told or not.

const (
	interruptPollNs = 200_000_000
	patrolNs        = 1_000_000_000
)

// stopping are the signals by which somebody wants a program to stop, as a mask like that of /proc: bit n-1 is signal n.
const stopping = 1<<(unix.SIGHUP-1) | 1<<(unix.SIGINT-1) | 1<<(unix.SIGQUIT-1) | 1<<(unix.SIGTERM-1) | 1<<(unix.SIGKILL-1)

// interrupt looks for the request on every column. Its own column has seen it before the kernel sent the INTERRUPT, because the kernel
// marks a request as sent only when its completion is posted, and a turn reaps completions before it reads the inbox.
func (c *Connection) interrupt(t *engine.Turn, from *column, unique uint64) {
	for _, col := range c.columns {
		if col == from {
			col.interrupted(t, unique)
		} else if err := col.reactor.Post(&interruptNote{col, unique}); err != nil {
			c.log.Warn("an interrupt was not passed on", "error", err)
		}
	}
}

type interruptNote struct {
	col    *column
	unique uint64
}

// Deliver runs on the other column.
func (n *interruptNote) Deliver(t *engine.Turn) { n.col.interrupted(t, n.unique) }

// interrupted starts to watch the caller of a request, at once or when it gets a fiber. One that is not here has been answered, or is on
// another column.
func (c *column) interrupted(t *engine.Turn, unique uint64) {
	for _, s := range c.waiting {
		if s.unique == unique {
			s.told = unique
			return
		}
	}
	w := &watcher{col: c, unique: unique}
	if s := c.running[unique]; s != nil {
		if s.watch == unique {
			return
		}
		s.watch, w.thread = unique, le.Uint32(s.head[headIn+32:])
	} else if i := c.findParked(unique); i >= 0 {
		w.thread = le.Uint32(c.parked[i].bytes[headIn+32:])
	} else {
		return
	}
	if t.Spawn(w) != nil {
		w.end(t) // no fiber is free to find out: then rather end a wait too many
	}
}

// patrol finds the requests that last. Those of /dev/fuse need none.
type patrol column

// Fire starts to watch what the patrol before this one has met already.
func (p *patrol) Fire(t *engine.Turn) {
	c := (*column)(p)
	c.patrolling = false
	if len(c.running) == 0 {
		return
	}
	for unique, s := range c.running {
		if s.uring && s.seen == unique {
			c.interrupted(t, unique)
		}
		s.seen = unique
	}
	c.patrolling = true
	t.After(patrolNs, p)
}

// watcher asks for the signals of a thread as long as its request is here.
type watcher struct {
	col    *column
	unique uint64
	thread uint32
	found  bool
}

// Run is its fiber.
func (w *watcher) Run(f *engine.Fiber) {
	for w.col.has(w.unique) {
		f.Reactor().Offload(f, func() { w.found = wantsToStop(w.thread) })
		if w.found && w.end(f.Turn()) {
			return
		}
		f.Sleep(interruptPollNs)
	}
}

func (c *column) has(unique uint64) bool {
	return c.running[unique] != nil || c.findParked(unique) >= 0
}

// end ends the wait of the request, running or put aside; false: not now.
func (w *watcher) end(t *engine.Turn) bool {
	c := w.col
	if s := c.running[w.unique]; s != nil {
		c.cancel(s)
		return true
	}
	i := c.findParked(w.unique)
	return i < 0 || c.refuse(t, i, unix.EINTR)
}

// over is called when the kernel has ended the connection: nobody waits any more for what still runs, on any column. Without it a request that waits for
// a node that is away would keep the daemon for ever.
func (c *Connection) over(t *engine.Turn, from *column) {
	if c.ended.Swap(true) {
		return
	}
	for _, col := range c.columns {
		if col == from {
			col.cancelAll()
		} else {
			(&overNote{from: from, to: col}).Fire(t)
		}
	}
}

type overNote struct{ from, to *column }

// Fire sends the note, again and again while the other inbox is full.
func (n *overNote) Fire(t *engine.Turn) {
	if n.to.reactor.Post(n) == engine.ErrBusy {
		t.After(fiberRetryNs, n)
	}
}

// Deliver runs on the other column.
func (n *overNote) Deliver(*engine.Turn) { n.to.cancelAll() }

func (c *column) cancelAll() {
	for _, s := range c.running {
		c.cancel(s)
	}
}

// cancel tells the fiber of a request, and through the file system those that work for it on other columns.
func (c *column) cancel(s *slot) {
	s.fiber.SetCanceled()
	if v, ok := c.raw.(*files); ok {
		v.canceled(s.fiber)
	}
}

// wantsToStop tells whether a thread has such a signal waiting. One that can't be seen (gone, or hidden from us) counts as stopping.
func wantsToStop(thread uint32) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err != nil {
		return true
	}
	return pendingSignals(string(status))&stopping != 0
}

// pendingSignals reads the masks of the thread and of its process, without what the thread blocks or the process ignores.
func pendingSignals(status string) uint64 {
	mask := func(line, name string) (uint64, bool) {
		word, ok := strings.CutPrefix(line, name)
		if !ok {
			return 0, false
		}
		v, err := strconv.ParseUint(strings.TrimSpace(word), 16, 64)
		return v, err == nil
	}
	var pending, shielded uint64
	for line := range strings.Lines(status) {
		for _, name := range []string{"SigPnd:", "ShdPnd:"} {
			if v, ok := mask(line, name); ok {
				pending |= v
			}
		}
		for _, name := range []string{"SigBlk:", "SigIgn:"} {
			if v, ok := mask(line, name); ok {
				shielded |= v
			}
		}
	}
	return pending &^ (shielded &^ (1 << (unix.SIGKILL - 1)))
}
