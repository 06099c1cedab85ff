package netio

import (
	"fmt"

	"basalt/engine"
	"basalt/engine/arena"
)

// serving is one request from its arrival to its reply: pooled by the port, run in a fiber.
type serving struct {
	c       *Conn
	q       Request
	p       Reply
	payload arena.Buf // of q.Payload
	cost    int
	next    *serving // free list
}

// request gives a received request to a fiber.
func (c *Conn) request(t *engine.Turn, h *Header, body, payload []byte) {
	p := c.port
	s := p.free
	if s == nil {
		s = &serving{}
	} else {
		p.free = s.next
	}
	s.c, s.next = c, nil
	s.q.Header = *h
	s.q.Body = append(s.q.Body[:0], body...)
	s.q.Payload, s.payload = payload, c.reserved
	s.q.Deadline = 0
	if h.DeadlineMs > 0 {
		s.q.Deadline = t.Now() + int64(h.DeadlineMs)*1e6
	}
	s.cost = c.incoming
	c.reserved, c.incoming = arena.Buf{}, 0
	p.stats.Requests++
	p.stats.BytesIn += uint64(HeaderLen + len(body) + len(payload))
	if t.Spawn(s) != nil { // every fiber is busy: this connection waits
		c.stalled, c.paused = s, true
		p.starve(t, c)
	}
}

// Run serves the request and sends the reply. It begins when the peer has taken what was queued for it: the bodies of replies are in nobody's
// credit, and a thousand requests fit into what is received at once.
func (s *serving) Run(f *engine.Fiber) {
	c := s.c
	for c.out.bytes > c.lim.OutBytes && c.state == streamOpen {
		c.untaken.Wait(f)
	}
	if len(s.q.Payload) > 0 {
		if got := checksumYielding(f, s.q.Payload); got != s.q.payloadCrc {
			s.give(f.Turn())
			if c.state == streamOpen {
				c.fail(f.Turn(), malformed("payloadCrc", uint64(s.q.payloadCrc), uint64(got)))
			}
			return
		}
	}
	if s.q.Deadline != 0 && f.Turn().Now() > s.q.Deadline {
		c.port.stats.Late++
		s.refuse(f.Turn(), CodeDeadline, "the request waited longer than its deadline")
		s.give(f.Turn())
		return
	}
	c.port.handler.Serve(f, c, &s.q, &s.p)
	s.reply(f)
	s.give(f.Turn())
}

func (s *serving) reply(f *engine.Fiber) {
	c, p := s.c, &s.p
	if s.q.OneWay() || c.state != streamOpen {
		return
	}
	if len(p.Body) > BodyMax {
		panic(fmt.Sprintf("netio: reply body of %d bytes, at most %d", len(p.Body), BodyMax))
	}
	if len(p.Payload) > s.q.ReplyMax() {
		s.refuse(f.Turn(), CodeReplyTooLarge, fmt.Sprintf("the reply has %d bytes of payload, the caller offered %d", len(p.Payload), s.q.ReplyMax()))
		return
	}
	h := Header{Kind: KindReply, ReqID: s.q.ReqID, Group: p.Group, Epoch: p.Epoch, Txn: p.Txn, Committed: p.Committed}
	h.payloadCrc = checksumYielding(f, p.Payload)
	if c.state != streamOpen { // others ran meanwhile
		return
	}
	t := f.Turn()
	payload, buf := p.Payload, p.PayloadBuf
	if len(payload) > copyMax && !buf.Valid() {
		var mem []byte
		buf, mem = reserve(c.r.Arena(), len(payload))
		payload = mem[:copy(mem, payload)]
	}
	c.send(t, &h, p.Body, payload, buf, nil)
	p.PayloadBuf = arena.Buf{} // the outbox has it, or has given it back: also that of an empty payload
	c.port.stats.Replies++
	c.port.stats.BytesOut += uint64(HeaderLen + len(p.Body) + len(payload))
}

// refuse answers with an ERROR about this request.
func (s *serving) refuse(t *engine.Turn, code Code, sentence string) {
	if s.c.state == streamOpen && !s.q.OneWay() {
		s.c.sendError(t, s.q.ReqID, code, sentence)
	}
}

// give returns what the request held, and lets those go on that waited for it.
func (s *serving) give(t *engine.Turn) {
	c, p := s.c, s.c.port
	a := c.r.Arena()
	if s.payload.Valid() {
		a.Put(s.payload)
	}
	if s.p.PayloadBuf.Valid() {
		a.Put(s.p.PayloadBuf)
	}
	c.requests, c.bytes = c.requests-1, c.bytes-s.cost
	p.requests, p.bytes = p.requests-1, p.bytes-s.cost
	body, reply := s.q.Body[:0], s.p.Body[:0]
	if cap(body) > bodyKeep {
		body = nil
	}
	if cap(reply) > bodyKeep {
		reply = nil
	}
	*s = serving{q: Request{Body: body}, p: Reply{Body: reply}, next: p.free}
	p.free = s
	c.again(t)
	p.feed(t)
	c.endIfLeft(t)
	p.checkDrained(t)
}

// checksumYielding is crc32c in pieces, between which others run.
func checksumYielding(f *engine.Fiber, b []byte) uint32 {
	if len(b) <= checksumPiece {
		return checksum(b)
	}
	crc := uint32(0)
	for {
		n := min(len(b), checksumPiece)
		crc = checksumUpdate(crc, b[:n])
		b = b[n:]
		if len(b) == 0 {
			return crc
		}
		f.Yield()
	}
}
