package netio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"basalt/engine"
	"basalt/engine/arena"
)

// LinkConfig says whom to reach and what to do with what comes unasked. The functions run on the reactor's thread and must not suspend.
type LinkConfig struct {
	Network string // "unix" or "tcp"; for Dial
	Address string
	Shard   uint16
	Hello   []byte        // the session's bytes in HELLO, at most HelloMax
	Timeout time.Duration // for connecting and for the handshake together; 0: 10 s
	Limits  Limits        // Send and Idle count; credit is what the server grants

	// OnNotice takes RECALL, and GOODBYE (the server will close; calls made from now on wait for that, and fail). body is lent until it returns.
	OnNotice func(t *engine.Turn, l *Link, kind Kind, body []byte)
	// OnDown is called once, when the connection is lost or closed, after every outstanding call has been failed.
	OnDown func(t *engine.Turn, l *Link, reason error)
}

// Link is a client's end of a connection to one shard. It belongs to the reactor it was made on.
type Link struct {
	stream

	// Value is the owner's.
	Value any

	cfg     LinkConfig // immutable
	limits  Limits     // immutable
	welcome []byte     // the session's bytes in WELCOME; set by the handshake

	phase   linkPhase
	waiter  *engine.Fiber   // the handshake's
	leaving engine.WaitList // calls made after the server's goodbye: they wait for the end
	refusal error           // an ERROR about the connection

	creditRequests, creditBytes int // granted
	requests, bytes             int // taken
	table                       callTable
	first, last                 *call // FIFO of calls that wait for credit
	filling                     *call // whose reply's payload is being received
	free                        *call
	lastID                      uint64

	timer   engine.TimerID // for the earliest deadline of any call
	timerAt int64
	stats   LinkStats
}

// LinkStats are figures of one link. Counters only grow.
type LinkStats struct {
	Calls, Posts, Late, CreditWaits, Pings uint64
	BytesIn, BytesOut                      uint64
	Requests, RequestsMax, Bytes, BytesMax int // unanswered, and granted
}

type linkPhase uint8

const (
	linkGreeting linkPhase = iota // HELLO sent
	linkUp
	linkLeaving // the server said goodbye: what is outstanding is still answered
	linkDown
)

const ownID = 1 << 63 // ids that the link chooses itself

// Adopt makes a link of a connected stream: it sends HELLO and waits for WELCOME. fd (in blocking mode) is the link's from now on.
func Adopt(f *engine.Fiber, fd int32, peer string, cfg LinkConfig) (*Link, error) {
	l := &Link{cfg: cfg, limits: cfg.Limits.withDefaults()}
	if err := l.limits.check(); err != nil {
		return nil, err
	}
	if len(cfg.Hello) > HelloMax {
		return nil, fmt.Errorf("netio: HELLO of %d bytes, at most %d", len(cfg.Hello), HelloMax)
	}
	t := f.Turn()
	l.lim, l.peer, l.shard = &l.limits, peer, cfg.Shard
	l.start(t, l, fd, nil)
	hello := append([]byte{Version, Version, 0, 0, 0, 0, 0, 0}, cfg.Hello...)
	l.send(t, &Header{Kind: KindHello}, hello, nil, arena.Buf{}, nil)
	l.arm(t)
	timeout := cfg.Timeout
	if timeout == 0 {
		timeout = DefaultLimits.Handshake
	}
	timer := t.After(int64(timeout), (*greetingTimer)(l))
	l.waiter = f
	for l.phase == linkGreeting {
		f.Park()
	}
	l.waiter = nil
	f.Turn().StopTimer(timer)
	if l.phase == linkDown {
		return nil, fmt.Errorf("netio: %s, shard %d: %w", peer, cfg.Shard, l.Err())
	}
	f.Turn().After(l.lim.watchNs(), (*linkWatch)(l))
	return l, nil
}

type greetingTimer Link

// Fire gives up a server that does not greet.
func (g *greetingTimer) Fire(t *engine.Turn) {
	if l := (*Link)(g); l.phase == linkGreeting {
		l.lose(t, errors.New("netio: no WELCOME in time"))
	}
}

type linkWatch Link

// Fire checks time limits as long as the link is up.
func (w *linkWatch) Fire(t *engine.Turn) {
	l := (*Link)(w)
	if l.phase != linkDown && l.watch(t) {
		t.After(l.lim.watchNs(), w)
	}
}

// Welcome is what the handler's Attach answered.
func (l *Link) Welcome() []byte { return l.welcome }

// Shard is the number the link was made for; Peer is whom it reaches.
func (l *Link) Shard() uint16 { return l.shard }
func (l *Link) Peer() string  { return l.peer }

// Up: calls can be made.
func (l *Link) Up() bool { return l.phase == linkUp }

// Err is why the link is down; nil while it is not.
func (l *Link) Err() error {
	if l.phase != linkDown {
		return nil
	}
	if l.refusal != nil {
		return l.refusal
	}
	return l.err
}

// Stats are the link's figures.
func (l *Link) Stats() LinkStats {
	s := l.stats
	s.Requests, s.RequestsMax, s.Bytes, s.BytesMax = l.requests, l.creditRequests, l.bytes, l.creditBytes
	return s
}

// NewID is a request id for who has none of its own; ids with the highest bit set are the link's.
func (l *Link) NewID() uint64 {
	l.lastID++
	return ownID | l.lastID
}

// Call sends a request and waits for its reply. Of h the caller sets Kind (REQUEST if 0), Group, Epoch, ReqID (0: the link chooses),
// DeadlineMs, and for REPLAY Txn; how much payload the reply may carry is len(rep.Payload). Calls of many fibers travel together.
//
// body is copied; payload is lent until Call returns. Errors: ErrLinkDown, ErrDeadline, ErrCanceled (by Cancel), *RemoteError. After
// ErrDeadline or ErrCanceled the server may still serve the request. Calling again with the same id while that is unanswered does not
// send it again, but waits for its reply.
func (l *Link) Call(f *engine.Fiber, h *Header, body, payload []byte, rep *Reply) error {
	if len(body) > BodyMax || len(payload) > PayloadMax || len(rep.Payload) > PayloadMax {
		panic("netio: call beyond the bounds of a frame")
	}
	crc := checksumYielding(f, payload)
	if err := l.awaitEnd(f, h.DeadlineMs); err != nil {
		return err
	}
	t := f.Turn()
	if h.Kind == 0 {
		h.Kind = KindRequest
	}
	if h.ReqID == 0 {
		h.ReqID = l.NewID()
	}
	h.Flags &^= FlagOneWay
	h.Committed = uint64(len(rep.Payload))
	h.payloadCrc = crc
	c := l.join(h.ReqID)
	sent := c != nil
	if !sent {
		c = l.take()
		c.id = h.ReqID
		c.cost = HeaderLen + len(body) + len(payload) + len(rep.Payload)
	}
	c.fiber, c.rep, c.over, c.err = f, rep, false, nil
	c.deadline = 0
	if h.DeadlineMs > 0 {
		c.deadline = t.Now() + int64(h.DeadlineMs)*1e6
		l.setTimer(t, c.deadline)
	}
	l.stats.Calls++
	if !sent && !l.acquire(f, c) {
		return l.leaveCall(c)
	}
	if !sent {
		t = f.Turn()
		if c.deadline != 0 { // the server counts from now; and a timer that fired just before may have seen c neither waiting nor sent
			l.setTimer(t, c.deadline)
			h.DeadlineMs = uint32(max(1, (c.deadline-t.Now())/1e6))
		}
		l.table.add(c)
		c.state = callSent
		l.send(t, h, body, payload, arena.Buf{}, c)
		l.stats.BytesOut += uint64(HeaderLen + len(body) + len(payload))
	}
	for !c.mayReturn() {
		f.Park()
	}
	if c.err == nil && len(rep.Payload) > 0 {
		if got := checksumYielding(f, rep.Payload); got != c.crc {
			perr := malformed("payloadCrc", uint64(c.crc), uint64(got))
			l.fail(f.Turn(), perr)
			c.err = ErrLinkDown
		}
	}
	return l.leaveCall(c)
}

// awaitEnd: while the server is leaving nothing can be sent any more, but the link is not down before what is outstanding is answered. A
// caller that learned ErrLinkDown earlier would find the link still there, and ask again at once.
func (l *Link) awaitEnd(f *engine.Fiber, deadlineMs uint32) error {
	for l.phase == linkLeaving {
		if deadlineMs == 0 {
			l.leaving.Wait(f)
		} else if !l.leaving.WaitFor(f, int64(deadlineMs)*1e6) {
			return ErrDeadline
		}
	}
	if l.phase != linkUp {
		return ErrLinkDown
	}
	return nil
}

// join finds an unanswered request of this id whose caller has given up.
func (l *Link) join(id uint64) *call {
	c := l.table.get(id)
	if c != nil && c.fiber != nil {
		panic(fmt.Sprintf("netio: request id %d is in use by another call", id))
	}
	return c
}

// leaveCall takes the caller off c; c stays in the table if it is unanswered.
func (l *Link) leaveCall(c *call) error {
	err := c.err
	c.fiber, c.rep = nil, nil
	if c.state != callSent {
		l.give(c)
	}
	return err
}

func (l *Link) take() *call {
	c := l.free
	if c == nil {
		return &call{l: l}
	}
	l.free = c.next
	*c = call{l: l}
	return c
}

func (l *Link) give(c *call) {
	c.next, l.free = l.free, c
}

// acquire takes credit for c, waiting behind those that came before; false: the call ended meanwhile.
func (l *Link) acquire(f *engine.Fiber, c *call) bool {
	if l.first == nil && l.fits(c) {
		l.charge(c)
		return true
	}
	l.stats.CreditWaits++
	c.state, c.next = callQueued, nil
	if l.last == nil {
		l.first = c
	} else {
		l.last.next = c
	}
	l.last = c
	for c.state == callQueued && !c.over {
		f.Park()
	}
	if c.over {
		return false
	}
	if l.phase != linkUp { // lost in the very turn in which the credit came
		if l.phase == linkLeaving {
			l.uncharge(f.Turn(), c)
		}
		c.state, c.err = callAnswered, ErrLinkDown
		return false
	}
	return true
}

func (l *Link) fits(c *call) bool {
	return l.requests == 0 || l.requests < l.creditRequests && l.bytes+c.cost <= l.creditBytes
}

func (l *Link) charge(c *call) {
	l.requests, l.bytes = l.requests+1, l.bytes+c.cost
}

// uncharge gives credit back and passes it on.
func (l *Link) uncharge(t *engine.Turn, c *call) {
	l.requests, l.bytes = l.requests-1, l.bytes-c.cost
	for l.first != nil && l.fits(l.first) {
		n := l.first
		l.unqueue(n)
		l.charge(n)
		n.state = callSent
		t.Ready(n.fiber)
	}
}

func (l *Link) unqueue(c *call) {
	var prev *call
	for q := l.first; q != c; q = q.next {
		prev = q
	}
	if prev == nil {
		l.first = c.next
	} else {
		prev.next = c.next
	}
	if l.last == c {
		l.last = prev
	}
	c.next = nil
}

// Post sends a frame that nobody answers: a one-way REQUEST, or RECALLED. body is copied.
func (l *Link) Post(t *engine.Turn, h *Header, body []byte) error {
	if l.phase != linkUp && l.phase != linkLeaving {
		return ErrLinkDown
	}
	switch h.Kind {
	case KindRecalled:
	case 0, KindRequest:
		h.Kind, h.Flags = KindRequest, h.Flags|FlagOneWay
	default:
		panic("netio: a client posts REQUEST and RECALLED only, not " + h.Kind.String())
	}
	if l.out.bytes > l.lim.OutBytes {
		return engine.ErrBusy
	}
	h.Committed = 0
	l.send(t, h, body, nil, arena.Buf{}, nil)
	l.stats.Posts++
	return nil
}

// Cancel ends a call of this id with ErrCanceled, as soon as its memory is free; false: there is none.
func (l *Link) Cancel(t *engine.Turn, id uint64) bool {
	c := l.table.get(id)
	for q := l.first; c == nil && q != nil; q = q.next {
		if q.id == id {
			c = q
		}
	}
	if c == nil || c.fiber == nil || c.over || c.filling {
		return false
	}
	l.abandon(t, c, ErrCanceled)
	return true
}

// abandon ends the call for its caller; the request stays charged until its reply.
func (l *Link) abandon(t *engine.Turn, c *call, err error) {
	if c.state == callQueued {
		l.unqueue(c)
	}
	c.end(t, err)
}

// Close says goodbye, lets what is gathered leave, and ends the link. Outstanding calls fail with ErrLinkDown.
func (l *Link) Close(t *engine.Turn) {
	if l.state != streamOpen {
		return
	}
	l.send(t, &Header{Kind: KindGoodbye}, nil, nil, arena.Buf{}, nil)
	l.finish(t, errGoodbye)
}

func decodeWelcome(body []byte) (requests, bytes int, idle time.Duration, session []byte, perr *ProtocolError) {
	if len(body) < welcomePrefixLen {
		return 0, 0, 0, nil, malformed("WELCOME body", welcomePrefixLen, uint64(len(body)))
	}
	r, ms, b := binary.LittleEndian.Uint32(body), binary.LittleEndian.Uint32(body[4:]), binary.LittleEndian.Uint64(body[8:])
	if r == 0 || r > 1<<16 || b == 0 || b > 1<<40 || ms == 0 {
		return 0, 0, 0, nil, malformed("WELCOME credit", 1<<16, uint64(r))
	}
	return int(r), int(b), time.Duration(ms) * time.Millisecond, append([]byte(nil), body[welcomePrefixLen:]...), nil
}
