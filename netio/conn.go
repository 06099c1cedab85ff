package netio

import (
	"encoding/binary"
	"fmt"

	"basalt/engine"
	"basalt/engine/arena"
)

// Conn is one connection of a shard, on the server. It belongs to the shard's reactor.
type Conn struct {
	stream

	// Value is the handler's, usually its session.
	Value any

	port   *Port  // immutable
	id     uint64 // immutable
	bornAt int64  // immutable

	phase    phase
	attached bool            // Attach has said yes, Detach is owed
	requests int             // admitted and not finished
	bytes    int             // what they cost
	incoming int             // cost of the request that is being received; 0: none
	reserved arena.Buf       // for its payload
	stalled  *serving        // received, waits for a fiber
	starved  bool            // is in the port's queue
	untaken  engine.WaitList // requests behind replies that the peer has not taken
}

type phase uint8

const (
	phaseHello     phase = iota // nothing but HELLO
	phaseAttaching              // the handler decides
	phaseServing
	phaseLeaving // outstanding requests are finished, then it ends
	phaseLost
)

// ID is unique among the connections of the port, and never reused.
func (c *Conn) ID() uint64 { return c.id }

// Peer is who is on the other end, for messages.
func (c *Conn) Peer() string { return c.peer }

// Down: the connection takes nothing more.
func (c *Conn) Down() bool { return c.phase == phaseLost }

// Notify sends a notice (RECALL). It is gathered with the replies of this turn. ErrLinkDown if the connection is gone, or not yet there.
func (c *Conn) Notify(t *engine.Turn, kind Kind, body []byte) error {
	if kind != KindRecall {
		panic("netio: a server notifies by RECALL only, not " + kind.String())
	}
	if c.phase != phaseServing && c.phase != phaseLeaving {
		return ErrLinkDown
	}
	c.send(t, &Header{Kind: kind}, body, nil, arena.Buf{}, nil)
	c.port.stats.Notices++
	return nil
}

// Close ends the connection at once; requests that are running go on, their replies go nowhere.
func (c *Conn) Close(t *engine.Turn) { c.lose(t, errDropped) }

// deliver takes bytes that were received by somebody else. Behind HELLO nothing is looked at before WELCOME: a peer that sends on all the same
// gets one receive buffer for it.
func (c *Conn) deliver(t *engine.Turn, p []byte) {
	for len(p) > 0 && c.state == streamOpen {
		room := c.in.next()
		if len(room) == 0 {
			c.fail(t, malformed("bytes before WELCOME", recvBufMin, uint64(len(c.in.mem)+len(p))))
			return
		}
		n := copy(room, p)
		p = p[n:]
		c.received(t, n)
	}
}

func (c *Conn) admit(t *engine.Turn, h *Header) (bool, *ProtocolError) {
	switch c.phase {
	case phaseHello:
		if h.Kind != KindHello {
			return false, malformed("kind before HELLO", uint64(KindHello), uint64(h.Kind))
		}
		if h.Shard != c.shard {
			return false, &ProtocolError{Code: CodeNoShard, Field: fieldShard, Want: uint64(c.shard), Got: uint64(h.Shard)}
		}
		return true, nil
	case phaseServing:
		return c.admitServing(t, h)
	}
	return false, nil // attaching: in a moment; leaving: never
}

func (c *Conn) admitServing(t *engine.Turn, h *Header) (bool, *ProtocolError) {
	if c.out.bytes > c.lim.OutBytes { // a slow reader is not served further
		c.port.stats.Pauses++
		return false, nil
	}
	if h.Shard != c.shard {
		return false, &ProtocolError{Code: CodeNoShard, Field: fieldShard, Want: uint64(c.shard), Got: uint64(h.Shard)}
	}
	switch h.Kind {
	case KindRequest, KindReplay, KindReplayDone:
		return c.admitRequest(t, h), nil
	case KindRecalled, KindPing, KindPong, KindGoodbye, KindError:
		return true, nil
	}
	return false, malformed("kind from a client", uint64(KindRequest), uint64(h.Kind))
}

// admitRequest takes what the request will hold until it is answered.
func (c *Conn) admitRequest(t *engine.Turn, h *Header) bool {
	cost := HeaderLen + h.BodyLen() + h.PayloadLen()
	if !h.OneWay() {
		cost += h.ReplyMax()
	}
	if c.requests >= c.lim.CreditRequests || c.requests > 0 && c.bytes+cost > c.lim.CreditBytes {
		c.port.stats.Pauses++
		return false // a finished request resumes
	}
	p := c.port
	if p.requests > 0 && p.bytes+cost > p.lim.ShardBytes || len(p.starved) > 0 && !p.feeding {
		p.starve(t, c)
		return false
	}
	if n := h.PayloadLen(); n > 0 {
		b, err := c.r.Arena().Get(n)
		if err != nil {
			p.starve(t, c)
			return false
		}
		c.reserved = b
	}
	c.incoming = cost
	c.requests, c.bytes = c.requests+1, c.bytes+cost
	p.requests, p.bytes = p.requests+1, p.bytes+cost
	p.stats.OutstandingBytesPeak = max(p.stats.OutstandingBytesPeak, p.bytes)
	return true
}

func (c *Conn) room(*Header) []byte {
	return c.r.Arena().Bytes(c.reserved)
}

func (c *Conn) frame(t *engine.Turn, h *Header, body, payload []byte) *ProtocolError {
	switch h.Kind {
	case KindHello:
		return c.hello(t, body)
	case KindRequest, KindReplay, KindReplayDone:
		c.request(t, h, body, payload)
	case KindRecalled:
		c.port.stats.Notices++
		c.port.handler.Notice(t, c, h.Kind, body)
	case KindPing:
		c.port.stats.Pings++
		c.pong(t, h.ReqID)
	case KindGoodbye:
		c.leave(t)
	case KindError: // the client could not make sense of us
		e, perr := decodeErrorBody(body)
		if perr != nil {
			return perr
		}
		c.port.stats.ProtocolErrors++
		c.lose(t, e)
	}
	return nil
}

// hello lets the handler decide, in a fiber; until then nothing further is taken.
func (c *Conn) hello(t *engine.Turn, body []byte) *ProtocolError {
	if len(body) < helloPrefixLen {
		return malformed("HELLO body", helloPrefixLen, uint64(len(body)))
	}
	if lo, hi := body[0], body[1]; lo > Version || hi < Version {
		return wrongVersion(hi)
	}
	if rest := binary.LittleEndian.Uint64(body) >> 16; rest != 0 {
		return malformed("HELLO reserved", 0, rest)
	}
	c.phase, c.paused = phaseAttaching, true
	a := &attaching{c: c, hello: append([]byte(nil), body[helloPrefixLen:]...)}
	if err := t.Spawn(a); err != nil {
		c.finishWith(t, CodeBusy, fmt.Errorf("netio: shard %d: %w", c.shard, err))
	}
	return nil
}

// attaching is the handler's decision about one connection.
type attaching struct {
	c     *Conn
	hello []byte
}

// Run asks the handler and answers the peer.
func (a *attaching) Run(f *engine.Fiber) {
	c := a.c
	welcome, err := c.port.handler.Attach(f, c, a.hello)
	t := f.Turn()
	if err == nil && len(welcome) > WelcomeMax {
		panic("netio: the handler's WELCOME is too large")
	}
	switch {
	case err != nil:
		c.port.stats.Refused++
		c.finishWith(t, CodeRefused, err)
	case c.phase != phaseAttaching: // lost, or the server stops: the handler must know
		c.port.handler.Detach(t, c)
		c.finishWith(t, CodeStopping, ErrStopped)
	default:
		c.attached, c.phase = true, phaseServing
		c.send(t, &Header{Kind: KindWelcome}, appendWelcome(nil, c.lim, welcome), nil, arena.Buf{}, nil)
		c.resume(t)
	}
}

// proceed tries again what had to wait for the shard.
func (c *Conn) proceed(t *engine.Turn) {
	if s := c.stalled; s != nil {
		if t.Spawn(s) != nil {
			c.port.starve(t, c)
			return
		}
		c.stalled = nil
	}
	c.resume(t)
}

func (c *Conn) drained(t *engine.Turn) {
	if c.out.bytes <= c.lim.OutBytes {
		c.untaken.WakeAll(t)
		c.again(t)
	}
}

// again: something that this connection may have waited for has changed.
func (c *Conn) again(t *engine.Turn) {
	if c.paused && c.phase == phaseServing && c.stalled == nil && !c.starved {
		c.resume(t)
	}
}

// checkTime holds the connection to the time limits.
func (c *Conn) checkTime(t *engine.Turn) {
	if c.phase == phaseHello && t.Now()-c.bornAt > int64(c.lim.Handshake) {
		c.finishWith(t, CodeTimeout, errNoHello)
		return
	}
	if c.phase == phaseAttaching { // nothing is received now, and before WELCOME the peer takes no PING
		c.heardAt = t.Now()
		return
	}
	slow := c.sending
	if !c.watch(t) {
		if slow {
			c.port.stats.Slow++
		} else {
			c.port.stats.Silent++
		}
	}
}

// leave ends the connection after its outstanding requests.
func (c *Conn) leave(t *engine.Turn) {
	switch c.phase {
	case phaseServing:
		c.phase = phaseLeaving
		c.paused = true // for good: nothing further is taken
		c.send(t, &Header{Kind: KindGoodbye}, nil, nil, arena.Buf{}, nil)
		c.abandonIncoming()
		c.endIfLeft(t)
	case phaseHello, phaseAttaching:
		c.finishWith(t, CodeStopping, ErrStopped)
	}
}

func (c *Conn) endIfLeft(t *engine.Turn) {
	if c.phase == phaseLeaving && c.requests == 0 && c.state == streamOpen {
		c.finish(t, errGoodbye)
	}
}

// abandonIncoming: the request that is being received will not be served. Its memory stays reserved until the kernel is done with it.
func (c *Conn) abandonIncoming() {
	if c.incoming == 0 {
		return
	}
	c.requests, c.bytes = c.requests-1, c.bytes-c.incoming
	c.port.requests, c.port.bytes = c.port.requests-1, c.port.bytes-c.incoming
	c.incoming = 0
}

func (c *Conn) lost(t *engine.Turn) {
	c.phase = phaseLost
	c.untaken.WakeAll(t)
	if _, ok := c.err.(*ProtocolError); ok {
		c.port.stats.ProtocolErrors++
	}
	c.abandonIncoming()
	if s := c.stalled; s != nil {
		c.stalled = nil
		s.give(t)
	}
	if c.attached {
		c.attached = false
		c.port.handler.Detach(t, c)
	}
	c.port.feed(t)
}

func (c *Conn) released(t *engine.Turn) {
	if c.reserved.Valid() {
		c.r.Arena().Put(c.reserved)
		c.reserved = arena.Buf{}
	}
	c.port.remove(t, c)
}

func appendWelcome(dst []byte, l *Limits, session []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(l.CreditRequests))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(l.Idle.Milliseconds()))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(l.CreditBytes))
	return append(dst, session...)
}
