package sim

import (
	"errors"
	"fmt"
	"strings"

	"basalt/engine"
	"basalt/engine/uring"
)

// column is a reactor of the world and what the world knows about it.
type column struct {
	w     *World
	id    int32
	r     *engine.Reactor
	ring  *ring
	turns uint64
	up    bool // Boot was called
	quiet bool // its last turn found nothing to do, and nothing has happened since
	dead  bool // crashed: its memory is gone
}

const (
	sqEntries = 64 // small on purpose: a full submission queue is an everyday event here
	cqEntries = 256
)

var errSecondRing = errors.New("sim: a reactor opens its ring once")

// Reactor makes a reactor whose ring and clock are simulated; cfg's own Ring and Clock are not used. Boot it with Boot.
func (w *World) Reactor(cfg engine.Config) *engine.Reactor {
	c := &column{w: w, id: int32(len(w.columns) + 1)}
	cfg.CPU = -1
	cfg.Clock = w.Clock()
	cfg.Ring = c.openRing
	if cfg.OpsMax == 0 {
		cfg.OpsMax = cqEntries
	}
	r, err := engine.New(cfg)
	if err != nil {
		panic(fmt.Sprintf("sim: configuration of a reactor: %v", err))
	}
	c.r = r
	w.columns = append(w.columns, c)
	return r
}

func (c *column) openRing() (uring.Ring, error) {
	if c.ring != nil {
		return nil, errSecondRing
	}
	c.ring = &ring{w: c.w, col: c, id: c.id, caps: uring.Caps{
		Backend: "sim", SQEntries: sqEntries, CQEntries: cqEntries, ExtArg: true, BufRings: true, FileUpdate: true,
	}}
	return c.ring, nil
}

func (w *World) column(r *engine.Reactor) *column {
	for _, c := range w.columns {
		if c.r == r {
			return c
		}
	}
	panic("sim: reactor of another world")
}

// Boot makes a reactor of this world ready and runs the world until boot, in its first fiber, has returned.
func (w *World) Boot(r *engine.Reactor, boot func(f *engine.Fiber) error) error {
	c := w.column(r)
	if err := r.Boot(boot); err != nil {
		c.dead = true // Boot has given everything back
		return err
	}
	c.up = true
	return w.Run(r.Booted)
}

// Do runs fn in a fiber of r and the world with it until fn returned.
func (w *World) Do(r *engine.Reactor, fn func(f *engine.Fiber) error) error {
	var res error
	done := false
	if err := w.Go(r, func(f *engine.Fiber) {
		res = fn(f)
		done = true
	}); err != nil {
		return err
	}
	if err := w.Run(func() bool { return done }); err != nil {
		return err
	}
	return res
}

// Go starts a fiber on r; Run lets it run.
func (w *World) Go(r *engine.Reactor, fn func(f *engine.Fiber)) error {
	return r.Post(spawn(fn))
}

// spawn is the message that starts a fiber.
type spawn func(f *engine.Fiber)

// Deliver starts it, or tries again in a moment when all fibers are busy.
func (s spawn) Deliver(t *engine.Turn) {
	if t.Go("test", s) != nil {
		t.After(10_000, engine.TimerFunc(func(t *engine.Turn) { s.Deliver(t) }))
	}
}

// Crash is the end of a process: the reactor stops where it is and everything in its memory is gone. Writes in flight
// go on to the disk as the kernel would let them; its connections are reset or closed. Its fibers are unwound and its
// arena is unmapped, so a test may crash as many reactors as it likes.
func (w *World) Crash(r *engine.Reactor) { w.crash(r, (*end).die) }

// PowerOff is the end of a machine, as its peers see it: their connections to r hear nothing more and time out. What
// becomes of a disk is said by AfterPowerLoss.
func (w *World) PowerOff(r *engine.Reactor) { w.crash(r, (*end).vanish) }

func (w *World) crash(r *engine.Reactor, leave func(*end)) {
	c := w.column(r)
	if c.dead {
		return
	}
	c.dead = true
	w.trace.add(event{at: w.line.now, what: "crash", who: c.id})
	if c.ring != nil {
		if err := c.ring.Close(); err != nil {
			panic(err)
		}
	}
	for _, n := range w.conns {
		for _, e := range [2]*end{n.a, n.b} {
			if e.owner == r {
				leave(e)
			}
		}
	}
	if err := r.Close(); err != nil {
		panic(fmt.Sprintf("sim: crash of reactor %d: %v", c.id, err))
	}
}

// die closes the socket of a dead process.
func (e *end) die() {
	e.forget()
	e.close()
}

// vanish leaves the peer alone with a connection that nobody answers.
func (e *end) vanish() {
	e.forget()
	if !e.closed {
		e.closed, e.deaf = true, true
		e.conn.Partition()
	}
}

func (e *end) forget() {
	e.recvs, e.sends, e.polls = nil, nil, nil
	if i := int(e.fd) - fdBase; e.conn.w.files[i] == any(e) {
		e.conn.w.files[i] = nil
	}
}

// Close crashes every reactor. A world that is dropped without Close leaks its arenas and fibers.
func (w *World) Close() {
	for _, c := range w.columns {
		w.Crash(c.r)
	}
	w.line.queue = nil
}

// deadline is the reactor's first timer.
func (c *column) deadline() (int64, bool) {
	if c.dead || !c.up {
		return 0, false
	}
	return c.r.NextDeadline()
}

func (c *column) dump(b *strings.Builder) {
	state := "waits"
	switch {
	case c.dead:
		state = "crashed"
	case !c.quiet:
		state = "has work"
	}
	fmt.Fprintf(b, "reactor %d: %s, %d turns", c.id, state, c.turns)
	if d, ok := c.deadline(); ok {
		fmt.Fprintf(b, ", next timer in %.3f ms", float64(d-c.w.line.now)/1e6)
	}
	b.WriteByte('\n')
	if c.ring == nil {
		return
	}
	for _, q := range c.ring.flight {
		fmt.Fprintf(b, "  in flight: opcode %d, descriptor %d, offset %d, length %d\n", q.sqe.Opcode, q.fd, q.sqe.Off, q.sqe.Len)
	}
}
