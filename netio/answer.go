package netio

import (
	"basalt/engine"
)

// The receiving half of a Link.

func (l *Link) admit(_ *engine.Turn, h *Header) (bool, *ProtocolError) {
	if l.phase == linkGreeting {
		if h.Kind != KindWelcome && h.Kind != KindError {
			return false, malformed("kind before WELCOME", uint64(KindWelcome), uint64(h.Kind))
		}
		return true, nil
	}
	switch h.Kind {
	case KindReply:
		return l.admitReply(h)
	case KindRecall, KindPing, KindPong, KindGoodbye, KindError:
		return true, nil
	}
	return false, malformed("kind from a server", uint64(KindReply), uint64(h.Kind))
}

// admitReply finds whose answer it is, and where its payload goes.
func (l *Link) admitReply(h *Header) (bool, *ProtocolError) {
	c := l.table.get(h.ReqID)
	if c == nil {
		return false, malformed("reqid of a reply", 0, h.ReqID)
	}
	l.filling = nil
	if c.fiber != nil && !c.over && h.PayloadLen() > 0 && h.PayloadLen() <= len(c.rep.Payload) {
		c.filling = true
		l.filling = c
	}
	return true, nil
}

func (l *Link) room(h *Header) []byte {
	if c := l.filling; c != nil {
		return c.rep.Payload[:h.PayloadLen()]
	}
	return nil
}

func (l *Link) frame(t *engine.Turn, h *Header, body, payload []byte) *ProtocolError {
	l.stats.BytesIn += uint64(HeaderLen + len(body) + h.PayloadLen())
	switch h.Kind {
	case KindWelcome:
		return l.welcomed(t, body)
	case KindReply:
		l.answered(t, h, body, payload)
	case KindRecall:
		if l.cfg.OnNotice != nil {
			l.cfg.OnNotice(t, l, h.Kind, body)
		}
	case KindGoodbye:
		if l.phase == linkUp {
			l.phase = linkLeaving
			l.failQueued(t)
			if l.cfg.OnNotice != nil {
				l.cfg.OnNotice(t, l, h.Kind, nil)
			}
		}
	case KindPing:
		l.stats.Pings++
		if l.out.bytes <= l.lim.OutBytes && l.state == streamOpen {
			l.pong(t, h.ReqID)
		}
	case KindError:
		return l.refused(t, h, body)
	}
	return nil
}

func (l *Link) welcomed(t *engine.Turn, body []byte) *ProtocolError {
	if l.phase != linkGreeting {
		return malformed("kind from a server", uint64(KindReply), uint64(KindWelcome))
	}
	requests, bytes, idle, session, perr := decodeWelcome(body)
	if perr != nil {
		return perr
	}
	l.creditRequests, l.creditBytes, l.welcome = requests, bytes, session
	l.limits.Idle = min(l.limits.Idle, idle)
	l.table.init(requests)
	l.phase = linkUp
	t.Ready(l.waiter)
	return nil
}

// answered ends the call that the reply is for.
func (l *Link) answered(t *engine.Turn, h *Header, body, payload []byte) {
	c := l.table.get(h.ReqID)
	l.table.remove(h.ReqID)
	c.state, c.filling, l.filling = callAnswered, false, nil
	l.uncharge(t, c)
	if c.fiber == nil {
		l.stats.Late++
		l.give(c)
		return
	}
	if c.over { // its caller is about to leave
		l.stats.Late++
		return
	}
	r := c.rep
	r.Body = append(r.Body[:0], body...)
	r.Group, r.Epoch, r.Txn, r.Committed = h.Group, h.Epoch, h.Txn, h.Committed
	if payload == nil && h.PayloadLen() > 0 {
		c.end(t, ErrReplyLarge)
		return
	}
	r.Payload = r.Payload[:len(payload)]
	c.crc = h.payloadCrc
	c.end(t, nil)
}

// refused: an ERROR frame, about one request or about the connection.
func (l *Link) refused(t *engine.Turn, h *Header, body []byte) *ProtocolError {
	e, perr := decodeErrorBody(body)
	if perr != nil {
		return perr
	}
	if h.ReqID == 0 {
		l.refusal = e
		l.lose(t, e)
		return nil
	}
	c := l.table.get(h.ReqID)
	if c == nil {
		return malformed("reqid of an error", 0, h.ReqID)
	}
	l.table.remove(h.ReqID)
	c.state = callAnswered
	l.uncharge(t, c)
	switch {
	case c.fiber == nil:
		l.give(c)
	case !c.over:
		c.end(t, e)
	}
	return nil
}

func (l *Link) drained(*engine.Turn) {}

// lost fails every call. One whose memory the kernel may still write to learns it when the kernel is done.
func (l *Link) lost(t *engine.Turn) {
	greeting := l.phase == linkGreeting
	if l.phase == linkLeaving && l.refusal == nil {
		l.refusal = ErrStopped
	}
	l.phase = linkDown
	if l.filling != nil && !l.receiving {
		l.filling.filling, l.filling = false, nil
	}
	for _, c := range l.table.slots {
		if c != nil {
			c.state = callAnswered
			c.end(t, ErrLinkDown)
		}
	}
	clear(l.table.slots)
	l.table.n, l.requests, l.bytes = 0, 0, 0
	l.failQueued(t)
	l.leaving.WakeAll(t)
	t.StopTimer(l.timer)
	if greeting {
		t.Ready(l.waiter)
	} else if l.cfg.OnDown != nil {
		l.cfg.OnDown(t, l, l.Err())
	}
}

func (l *Link) failQueued(t *engine.Turn) {
	for l.first != nil {
		c := l.first
		l.unqueue(c)
		c.end(t, ErrLinkDown)
	}
}

func (l *Link) released(t *engine.Turn) {
	if c := l.filling; c != nil {
		c.filling, l.filling = false, nil
		c.settle(t)
	}
}

// setTimer makes sure that the deadline is noticed.
func (l *Link) setTimer(t *engine.Turn, at int64) {
	if l.timer != 0 {
		if l.timerAt <= at {
			return
		}
		t.StopTimer(l.timer)
	}
	l.timerAt = at
	l.timer = t.After(at-t.Now(), (*deadlineTimer)(l))
}

type deadlineTimer Link

// Fire ends the calls whose time has passed and waits for the next.
func (d *deadlineTimer) Fire(t *engine.Turn) {
	l := (*Link)(d)
	l.timer = 0
	next := int64(0)
	check := func(c *call) {
		switch {
		case c.fiber == nil || c.over || c.deadline == 0 || c.filling:
		case c.deadline <= t.Now():
			l.abandon(t, c, ErrDeadline)
		case next == 0 || c.deadline < next:
			next = c.deadline
		}
	}
	for _, c := range l.table.slots {
		if c != nil {
			check(c)
		}
	}
	for c := l.first; c != nil; {
		n := c.next // check may take c out
		check(c)
		c = n
	}
	if next != 0 {
		l.setTimer(t, next)
	}
}
