package netio

import (
	"fmt"
	"slices"

	"basalt/engine"
)

// Port is the server's side of one shard: its connections and what they hold together. It belongs to the shard's reactor.
type Port struct {
	shard   uint16          // immutable
	r       *engine.Reactor // immutable
	handler Handler         // immutable
	lim     Limits          // immutable

	conns    []*Conn // in the order they came
	lastID   uint64
	requests int           // admitted and not finished, over all connections
	bytes    int           // what they cost
	starved  []*Conn       // FIFO: wait for memory, for a fiber, or for the bytes of others
	feeding  bool          // starved is being served
	retrying bool          // a timer will look at starved
	watching bool          // the watch timer runs
	free     *serving      // pooled
	draining bool          // no new connections, no new requests
	drainer  *engine.Fiber // waits for that to be done
	expired  bool          // and has waited long enough
	stats    Stats
}

// Stats of a port. Counters only grow.
type Stats struct {
	Accepted, Refused, Closed uint64 // connections
	Requests, Replies         uint64
	Notices, Pings            uint64
	BytesIn, BytesOut         uint64
	ProtocolErrors, Late      uint64 // Late: requests not served because their deadline had passed
	Pauses, Starved           uint64 // times a connection had to wait: for its own credit or output, for the shard
	Silent, Slow              uint64 // connections given up
	Conns, Outstanding        int
	OutstandingBytes          int
	OutstandingBytesPeak      int
	ConnsMax, ShardBytesMax   int
}

// NewPort serves connections of one shard. Impossible limits are refused.
func NewPort(shard uint16, r *engine.Reactor, h Handler, lim Limits) (*Port, error) {
	lim = lim.withDefaults()
	if err := lim.check(); err != nil {
		return nil, err
	}
	return &Port{shard: shard, r: r, handler: h, lim: lim}, nil
}

// Shard is the number that a HELLO must name.
func (p *Port) Shard() uint16 { return p.shard }

// Reactor is the shard's.
func (p *Port) Reactor() *engine.Reactor { return p.r }

// Stats are the port's figures, on its thread.
func (p *Port) Stats(t *engine.Turn) Stats {
	s := p.stats
	s.Conns, s.Outstanding, s.OutstandingBytes = len(p.conns), p.requests, p.bytes
	s.ConnsMax, s.ShardBytesMax = p.lim.ConnsMax, p.lim.ShardBytes
	return s
}

// Adopt takes a connected stream whose peer has yet to send HELLO, or has sent the bytes in prefix. fd is the port's from now on; it must be
// in blocking mode (the ring waits, not the descriptor).
func (p *Port) Adopt(t *engine.Turn, fd int32, peer string, prefix []byte) *Conn {
	return p.adopt(t, fd, nil, peer, prefix, nil)
}

// adopt tells made about the connection before anything happens on it.
func (p *Port) adopt(t *engine.Turn, fd int32, via carrier, peer string, prefix []byte, made func(c *Conn)) *Conn {
	p.lastID++
	c := &Conn{port: p, id: p.lastID, bornAt: t.Now()}
	c.lim, c.shard, c.peer = &p.lim, p.shard, peer
	c.start(t, c, fd, via)
	if made != nil {
		made(c)
	}
	p.conns = append(p.conns, c)
	p.stats.Accepted++
	p.watch(t)
	switch {
	case p.draining:
		c.finishWith(t, CodeStopping, ErrStopped)
	case len(p.conns) > p.lim.ConnsMax:
		p.stats.Refused++
		c.finishWith(t, CodeBusy, fmt.Errorf("netio: shard %d has %d connections, the most it takes", p.shard, p.lim.ConnsMax))
	default:
		c.deliver(t, prefix)
		c.arm(t)
	}
	if len(p.conns) > 2*p.lim.ConnsMax { // a storm: there are no descriptors to let that many linger until they have read why
		c.lose(t, c.err)
	}
	return c
}

// remove forgets a connection that is released.
func (p *Port) remove(t *engine.Turn, c *Conn) {
	for i, o := range p.conns {
		if o == c {
			p.conns = append(p.conns[:i], p.conns[i+1:]...)
			break
		}
	}
	p.stats.Closed++
	p.checkDrained(t)
}

// starve puts c behind those that wait for what the whole shard shares.
func (p *Port) starve(t *engine.Turn, c *Conn) {
	if c.starved {
		return
	}
	c.starved = true
	p.stats.Starved++
	p.starved = append(p.starved, c)
	if !p.retrying { // memory and fibers may be given back by others than this port
		p.retrying = true
		t.After(starvedRetryNs, (*starvedRetry)(p))
	}
}

type starvedRetry Port

// Fire tries again.
func (r *starvedRetry) Fire(t *engine.Turn) {
	p := (*Port)(r)
	p.retrying = false
	p.feed(t) // who still has to wait sets the timer anew
}

// feed lets those that wait try again, in order, until one must go on waiting.
func (p *Port) feed(t *engine.Turn) {
	if p.feeding {
		return
	}
	p.feeding = true
	defer func() { p.feeding = false }()
	for len(p.starved) > 0 {
		c := p.starved[0]
		n := copy(p.starved, p.starved[1:])
		p.starved[n] = nil
		p.starved = p.starved[:n]
		c.starved = false
		c.proceed(t)
		if c.starved { // it stands at the end now; it came first
			copy(p.starved[1:], p.starved[:len(p.starved)-1])
			p.starved[0] = c
			return
		}
	}
}

// watch looks at every connection a few times per shortest limit, as long as there are any.
func (p *Port) watch(t *engine.Turn) {
	if p.watching || len(p.conns) == 0 {
		return
	}
	p.watching = true
	t.After(p.lim.watchNs(), (*portWatch)(p))
}

type portWatch Port

// Fire checks time limits.
func (w *portWatch) Fire(t *engine.Turn) {
	p := (*Port)(w)
	p.watching = false
	for i := len(p.conns) - 1; i >= 0; i-- {
		p.conns[i].checkTime(t)
	}
	p.watch(t)
}

// Drain stops the port: no new connections, no new requests; what is outstanding is finished and its replies are sent, for at most
// Limits.Drain; then everything is closed. When it returns, nothing is left but handlers that did not return in time.
func (p *Port) Drain(f *engine.Fiber) {
	t := f.Turn()
	p.draining = true
	for _, c := range slices.Clone(p.conns) {
		c.leave(t)
	}
	p.drainer, p.expired = f, false
	timer := t.After(int64(p.lim.Drain), (*drainTimer)(p))
	for !p.isDrained() {
		f.Park()
	}
	f.Turn().StopTimer(timer)
	p.drainer = nil
}

func (p *Port) isDrained() bool { return len(p.conns) == 0 && (p.requests == 0 || p.expired) }

func (p *Port) checkDrained(t *engine.Turn) {
	if p.drainer != nil && p.isDrained() {
		t.Ready(p.drainer)
	}
}

type drainTimer Port

// Fire ends the patience: connections are closed with whatever is outstanding.
func (d *drainTimer) Fire(t *engine.Turn) {
	p := (*Port)(d)
	p.expired = true
	for _, c := range slices.Clone(p.conns) {
		c.lose(t, errDrain)
	}
	p.checkDrained(t)
}
