package sim

import (
	"math/rand/v2"
	"syscall"

	"basalt/engine"
)

// NetFaults is how a connection behaves. The zero value is a quiet local network: 5 to 60 µs, segments split at random.
type NetFaults struct {
	DelayNsMin, DelayNsMax int64   // one way; 0, 0 = 5 µs to 60 µs
	Reset                  float64 // probability per segment that the connection is reset instead
	Hiccup                 float64 // probability per segment of HiccupNs more delay (what is behind it waits too)
	HiccupNs               int64   // 0 = 200 ms
	TimeoutNs              int64   // a partition that lasts this long breaks the connection on both sides; 0 = 15 s
}

// Conn is one simulated stream connection: what a test uses to hurt it. Owned by its world.
type Conn struct {
	w      *World
	rng    *rand.Rand
	a, b   *end
	faults NetFaults
	parted bool
	broken bool       // reset or timed out: nothing sent from now on arrives
	limit  *happening // of the current partition
}

const (
	windowBytes  = 256 << 10 // of each direction: sent and not yet received by the application
	segmentBytes = 64 << 10
)

// Pipe makes a connection between two reactors and returns a descriptor for each side. Sends and receives on them have
// the semantics of a connected stream socket: partial transfers, end of stream, reset.
func (w *World) Pipe(a, b *engine.Reactor) (fdA, fdB int32) {
	c := &Conn{w: w, rng: w.source(0xC0)}
	c.a, c.b = &end{conn: c, owner: a}, &end{conn: c, owner: b}
	c.a.peer, c.b.peer = c.b, c.a
	c.a.fd, c.b.fd = w.openFd(c.a), w.openFd(c.b)
	w.conns = append(w.conns, c)
	return c.a.fd, c.b.fd
}

// Conn is the connection behind a descriptor that Pipe returned.
func (w *World) Conn(fd int32) *Conn {
	if e, ok := w.file(fd).(*end); ok {
		return e.conn
	}
	panic("sim: not a connection")
}

// SetFaults replaces how the connection behaves from now on.
func (c *Conn) SetFaults(f NetFaults) { c.faults = f }

// Reset breaks the connection: both sides see ECONNRESET, each at its own moment; what was on its way is lost.
func (c *Conn) Reset() { c.fail(syscall.ECONNRESET) }

// Partition holds back everything on its way, in both directions, until Heal. If it lasts, both sides see ETIMEDOUT.
func (c *Conn) Partition() {
	if c.parted {
		return
	}
	c.parted = true
	after := c.faults.TimeoutNs
	if after == 0 {
		after = 15_000_000_000
	}
	c.w.trace.add(event{at: c.w.line.now, what: "partition", who: c.a.fd})
	c.limit = c.w.after(after, func() { c.fail(syscall.ETIMEDOUT) })
}

// Heal ends a partition; what was held back arrives, in order.
func (c *Conn) Heal() {
	if !c.parted {
		return
	}
	c.parted = false
	c.limit.drop()
	c.w.trace.add(event{at: c.w.line.now, what: "heal", who: c.a.fd})
	c.a.arm()
	c.b.arm()
}

func (c *Conn) fail(with syscall.Errno) {
	c.w.trace.add(event{at: c.w.line.now, what: "reset", who: c.a.fd, a: uint64(with)})
	c.broken = true
	for _, e := range [2]*end{c.a, c.b} {
		e.line = nil
		e.wire = 0
		c.w.after(between(c.rng, 0, 100_000), func() { e.sever(with) })
	}
	c.limit.drop()
}

// Pending counts bytes on their way or not yet received, in both directions.
func (c *Conn) Pending() int { return c.a.wire + len(c.a.rx) + c.b.wire + len(c.b.rx) }

func (c *Conn) delay() int64 {
	lo, hi := c.faults.DelayNsMin, c.faults.DelayNsMax
	if lo == 0 && hi == 0 {
		lo, hi = 5_000, 60_000
	}
	d := between(c.rng, lo, hi)
	if chance(c.rng, c.faults.Hiccup) {
		h := c.faults.HiccupNs
		if h == 0 {
			h = 200_000_000
		}
		d += h
	}
	return d
}

// segment is bytes on their way to an end; fin closes the direction behind them.
type segment struct {
	at   int64
	data []byte
	fin  bool
}

// end is one side of a connection, a socket.
type end struct {
	conn  *Conn
	peer  *end
	fd    int32
	owner *engine.Reactor

	line     []segment // on their way here, in order
	wire     int       // bytes in line
	coming   *happening
	rx       []byte // arrived, not received
	eof      bool   // nothing follows rx
	err      syscall.Errno
	sentFin  bool // shut down for writing here
	deaf     bool // shut down for reading here
	unlinked bool // the descriptor is gone
	closed   bool

	recvs, sends []*transfer
	polls        []*request
	kicked       bool
}

// transfer is one send or receive that waits for its turn.
type transfer struct {
	q     *request
	iov   [][]byte // memory lent until the completion
	sum   uint32   // send: of iov at submission (checked builds)
	taken []byte   // send: the bytes, once the socket has copied them
	moved int
	whole bool // MSG_WAITALL: no partial result
	multi *bufRing
	zc    bool // send without copy: a second completion says that the memory is free
}

// send puts data on the way to e, split as a network would.
func (e *end) carry(data []byte) {
	c := e.conn
	for len(data) > 0 {
		n := min(len(data), segmentBytes)
		if n > 1 && chance(c.rng, 0.3) {
			n = 1 + c.rng.IntN(n)
		}
		if chance(c.rng, c.faults.Reset) {
			c.Reset()
			return
		}
		e.queue(segment{data: data[:n:n]})
		data = data[n:]
	}
}

func (e *end) queue(s segment) {
	if e.conn.broken { // what was before it is lost, and a stream has no holes
		return
	}
	s.at = e.conn.w.line.now + e.conn.delay()
	if n := len(e.line); n > 0 {
		s.at = max(s.at, e.line[n-1].at)
	}
	e.line = append(e.line, s)
	e.wire += len(s.data)
	e.arm()
}

// arm schedules the arrival of the first segment.
func (e *end) arm() {
	if e.coming != nil || len(e.line) == 0 || e.conn.parted {
		return
	}
	w := e.conn.w
	e.coming = w.at(e.line[0].at, func() {
		e.coming = nil
		if len(e.line) == 0 || e.conn.parted {
			return
		}
		s := e.line[0]
		e.line = e.line[1:]
		e.wire -= len(s.data)
		e.arrive(s)
		e.arm()
	})
}

func (e *end) arrive(s segment) {
	if e.err != 0 {
		return
	}
	if e.closed {
		if len(s.data) > 0 {
			e.peer.sever(syscall.ECONNRESET) // bytes for a socket that is gone
		}
		return
	}
	e.conn.w.trace.add(event{at: e.conn.w.line.now, what: "arrive", who: e.fd, a: uint64(len(s.data))})
	if !e.deaf {
		e.rx = append(e.rx, s.data...)
	}
	if s.fin {
		e.eof = true
	}
	e.kick()
}

// sever is the end of the connection as this side sees it.
func (e *end) sever(with syscall.Errno) {
	if e.err != 0 {
		return
	}
	e.err = with
	if chance(e.conn.rng, 0.5) {
		e.rx = nil // what had arrived may still be read, or not
	}
	e.kick()
}
