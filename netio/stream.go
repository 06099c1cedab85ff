package netio

import (
	"fmt"
	"syscall"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/engine/uring"
)

// stream is one end of a connection: it cuts what it receives into frames and sends what its outbox gathers. Conn and Link are built
// on it. Owned by one reactor. Below it is either a descriptor on the reactor's ring, or (via) gnet's loop.
type stream struct {
	r     *engine.Reactor // immutable
	end   endpoint        // immutable
	via   carrier         // immutable; nil: fd is on the ring
	lim   *Limits         // immutable
	peer  string          // immutable; for messages
	shard uint16          // immutable; goes into every header

	fd    int32
	state streamState
	err   error // why it is down

	in  inbound
	out outbox

	rx, tx      streamOp
	control     arena.Buf // of msg
	msg         []byte    // struct msghdr and iovecs of the send in flight
	pieces      [iovecsMax][]byte
	pieceCount  int
	receiving   bool // rx is in flight
	sending     bool // tx is in flight, or the carrier has the batch
	closing     int  // shutdown and close operations in flight
	flushQueued bool
	paused      bool // the endpoint does not want the next frame yet: nothing is received
	parsing     bool

	heardAt  int64 // last byte received
	movedAt  int64 // last progress of a send, or its start
	pingedAt int64 // 0: none sent since the last byte heard
}

// streamOp hands the completions of one direction to the stream.
type streamOp struct {
	s    *stream
	send bool
}

type streamState uint8

const (
	streamOpen      streamState = iota
	streamFinishing             // nothing more is taken; what is gathered is still sent
	streamLingering             // our half is shut; the peer may read to the end
	streamDown                  // lost; operations in flight may still complete
	streamGone                  // memory and descriptor are released
)

// endpoint is what a stream tells its owner.
type endpoint interface {
	// admit: the header of the next frame is there and within bounds. May the frame be taken now? If not, resume is called later.
	admit(t *engine.Turn, h *Header) (bool, *ProtocolError)
	// room for the payload of the admitted frame; nil: throw it away.
	room(h *Header) []byte
	// frame: it is complete. body is lent until the return. It may send, and even lose the connection.
	frame(t *engine.Turn, h *Header, body, payload []byte) *ProtocolError
	// drained: a send has completed, the outbox is shorter.
	drained(t *engine.Turn)
	// lost: the stream takes no more frames; called once. An admitted frame may still be arriving: its room stays the kernel's.
	lost(t *engine.Turn)
	// released: nothing of the stream is in flight any more, and it will not be heard of again; called once, after lost.
	released(t *engine.Turn)
}

// carrier is gnet's side of a connection that stays there.
type carrier interface {
	send(t *engine.Turn, pieces [][]byte) // the pieces stay put until sent is called
	pull(t *engine.Turn)                  // more is wanted
	close(now bool)                       // now: without what is not sent yet
}

func (s *stream) start(t *engine.Turn, end endpoint, fd int32, via carrier) {
	s.r, s.end, s.fd, s.via = t.Reactor(), end, fd, via
	s.rx, s.tx = streamOp{s: s}, streamOp{s: s, send: true}
	s.heardAt, s.movedAt = t.Now(), t.Now()
	s.in.start(s.r.Arena())
}

// Complete is a receive's or a send's.
func (o *streamOp) Complete(t *engine.Turn, res int32, _ uint32) {
	if o.send {
		o.s.sent(t, res)
	} else {
		o.s.arrived(t, res)
	}
}

// arm asks for more bytes, unless that has been done or the endpoint does not want them.
func (s *stream) arm(t *engine.Turn) {
	if s.receiving || s.state >= streamDown || s.paused && s.state == streamOpen {
		return
	}
	if s.via != nil {
		s.via.pull(t)
		return
	}
	p := s.in.next()
	flags := uint32(0)
	if s.in.exact() {
		flags = syscall.MSG_WAITALL
	}
	s.receiving = true
	t.Submit(uring.PrepRecv(s.fd, address(p), uint32(len(p)), flags), &s.rx)
}

func (s *stream) arrived(t *engine.Turn, res int32) {
	s.receiving = false
	switch {
	case s.state >= streamDown:
		s.settle(t)
	case res > 0:
		s.received(t, int(res))
		s.arm(t)
	case res == 0:
		s.lose(t, errClosed)
	case res == -int32(syscall.EINTR):
		s.arm(t)
	default:
		s.lose(t, fmt.Errorf("netio: receive from %s: %w", s.peer, syscall.Errno(-res)))
	}
}

// received takes n bytes that were put where in.next() said.
func (s *stream) received(t *engine.Turn, n int) {
	s.heardAt, s.pingedAt = t.Now(), 0
	if s.state != streamOpen {
		s.in.forget()
		return
	}
	s.in.got(n)
	s.parse(t)
}

// parse takes every complete frame that the endpoint admits.
func (s *stream) parse(t *engine.Turn) {
	if s.parsing {
		return
	}
	s.parsing = true
	for s.state == streamOpen && !s.paused {
		more, perr := s.take(t)
		if perr != nil {
			s.fail(t, perr)
		}
		if !more {
			break
		}
	}
	s.parsing = false
	s.settle(t) // it may have been lost meanwhile
}

// take handles one frame; false: more bytes are needed, or the endpoint wants to wait.
func (s *stream) take(t *engine.Turn) (bool, *ProtocolError) {
	in := &s.in
	if !in.have {
		if in.w-in.r < HeaderLen {
			in.fit(s.r.Arena(), HeaderLen)
			return false, nil
		}
		if perr := DecodeHeader(in.mem[in.r:in.w], &in.h); perr != nil {
			return false, perr
		}
		in.have = true
	}
	if !in.admitted {
		ok, perr := s.end.admit(t, &in.h)
		if perr != nil {
			return false, perr
		}
		if !ok {
			s.paused = true
			return false, nil
		}
		in.admitted = true
	}
	head := HeaderLen + in.h.BodyLen()
	if !in.inPayload {
		if in.w-in.r < head {
			in.fit(s.r.Arena(), head)
			return false, nil
		}
		if checksum(in.mem[in.r+HeaderLen:in.r+head]) != in.h.bodyCrc {
			return false, malformed("bodyCrc", uint64(in.h.bodyCrc), uint64(checksum(in.mem[in.r+HeaderLen:in.r+head])))
		}
		if in.h.PayloadLen() > 0 {
			in.beginPayload(s.end.room(&in.h))
		}
	}
	if in.inPayload && !in.fillPayload(s.r.Arena(), head) {
		return false, nil
	}
	body, payload := in.mem[in.r+HeaderLen:in.r+head], in.pay
	in.finished(head)
	return true, s.end.frame(t, &in.done, body, payload)
}

// resume: the endpoint may admit the waiting frame now.
func (s *stream) resume(t *engine.Turn) {
	if !s.paused || s.state != streamOpen {
		return
	}
	s.paused = false
	if s.parsing { // the loop of parse goes on by itself
		return
	}
	s.parse(t)
	s.arm(t)
}

// send appends a frame; it leaves at the end of the turn.
func (s *stream) send(t *engine.Turn, h *Header, body, payload []byte, buf arena.Buf, lender *call) {
	if s.state > streamFinishing {
		panic("netio: frame for a connection that is shut")
	}
	h.Shard = s.shard
	s.out.frame(s.r.Arena(), h, body, payload, buf, lender)
	s.queueFlush(t)
}

// sendError appends an ERROR frame: about a request, or with reqid 0 about the connection.
func (s *stream) sendError(t *engine.Turn, reqid uint64, code Code, sentence string) {
	h := Header{Kind: KindError, ReqID: reqid}
	s.send(t, &h, appendErrorBody(nil, code, sentence), nil, arena.Buf{}, nil)
}

// pong answers a ping.
func (s *stream) pong(t *engine.Turn, reqid uint64) {
	s.send(t, &Header{Kind: KindPong, ReqID: reqid}, nil, nil, arena.Buf{}, nil)
}

func (s *stream) queueFlush(t *engine.Turn) {
	if !s.flushQueued && !s.sending && s.state < streamLingering {
		s.flushQueued = true
		t.AtEnd((*flushMessage)(s))
	}
}

// flushMessage is a stream whose outbox leaves at the end of the turn.
type flushMessage stream

// Deliver starts one send of what was gathered.
func (m *flushMessage) Deliver(t *engine.Turn) {
	s := (*stream)(m)
	s.flushQueued = false
	if s.sending || s.state >= streamLingering {
		return
	}
	pieces := s.out.batch(s.pieces[:0])
	if len(pieces) == 0 {
		return
	}
	s.pieceCount = len(pieces)
	s.sending = true
	s.movedAt = t.Now()
	switch {
	case s.via != nil:
		s.via.send(t, pieces)
	case len(pieces) == 1:
		t.Submit(uring.PrepSend(s.fd, address(pieces[0]), uint32(len(pieces[0])), sendFlags), &s.tx)
	default:
		t.Submit(uring.PrepSendmsg(s.fd, s.message(pieces), sendFlags), &s.tx)
	}
}

const sendFlags = syscall.MSG_NOSIGNAL | syscall.MSG_WAITALL

// sent: n bytes of the batch have left, or -errno.
func (s *stream) sent(t *engine.Turn, res int32) {
	s.sending = false
	clear(s.pieces[:s.pieceCount])
	if s.state >= streamDown {
		s.settle(t)
		return
	}
	if res == -int32(syscall.EINTR) {
		res = 0
	}
	if res < 0 {
		s.lose(t, fmt.Errorf("netio: send to %s: %w", s.peer, syscall.Errno(-res)))
		return
	}
	s.out.done(t, int(res))
	s.movedAt = t.Now()
	if s.out.bytes > 0 {
		s.queueFlush(t)
	}
	s.end.drained(t)
	s.shutIfDone(t)
}

// fail: the peer sent what it must not. It is told, then the connection ends.
func (s *stream) fail(t *engine.Turn, perr *ProtocolError) {
	perr.Peer = s.peer
	s.finishWith(t, perr.Code, perr)
}

// finishWith sends an ERROR about the connection and then finishes it.
func (s *stream) finishWith(t *engine.Turn, code Code, err error) {
	if s.state != streamOpen {
		return
	}
	s.sendError(t, 0, code, err.Error())
	s.finish(t, err)
}

// finish ends the connection once what is gathered has been sent.
func (s *stream) finish(t *engine.Turn, err error) {
	if s.state != streamOpen {
		return
	}
	s.state, s.err = streamFinishing, err
	if !s.receiving {
		s.in.forget()
	}
	s.end.lost(t)
	s.shutIfDone(t)
	s.arm(t)
}

// shutIfDone shuts our half when a finishing stream has sent everything.
func (s *stream) shutIfDone(t *engine.Turn) {
	if s.state != streamFinishing || s.out.bytes > 0 || s.sending {
		return
	}
	s.state = streamLingering
	if s.via != nil {
		s.lose(t, s.err)
		return
	}
	s.shutdown(t, syscall.SHUT_WR)
	t.After(lingerNs, (*lingerTimer)(s))
}

type lingerTimer stream

// Fire ends the wait for the peer.
func (l *lingerTimer) Fire(t *engine.Turn) {
	if s := (*stream)(l); s.state == streamLingering {
		s.lose(t, s.err)
	}
}

// lose: the connection is gone, or is given up, now.
func (s *stream) lose(t *engine.Turn, err error) {
	if s.state >= streamDown {
		return
	}
	was := s.state
	s.state = streamDown
	if was == streamOpen {
		s.err = err
		s.end.lost(t)
	}
	if s.via != nil {
		s.via.close(was != streamLingering)
	}
	if s.via == nil && (s.receiving || s.sending) {
		s.shutdown(t, syscall.SHUT_RDWR) // ends what is in flight, also what has moved bytes and so can't be canceled
	}
	s.settle(t)
}

func (s *stream) shutdown(t *engine.Turn, how int) {
	s.closing++
	t.Submit(uring.PrepShutdown(s.fd, how), (*closeOp)(s))
}

// settle releases memory and descriptor when nothing is in flight any more.
func (s *stream) settle(t *engine.Turn) {
	if s.state != streamDown || s.receiving || s.sending || s.closing > 0 || s.parsing {
		return
	}
	s.in.release(s.r.Arena())
	s.out.clear(t)
	if s.control.Valid() {
		s.r.Arena().Put(s.control)
		s.control, s.msg = arena.Buf{}, nil
	}
	s.state = streamGone
	if s.via == nil {
		s.closing++
		t.Submit(uring.PrepClose(s.fd), (*closeOp)(s))
		return
	}
	s.end.released(t)
}

// closeOp is the end of a shutdown, and then of the close.
type closeOp stream

// Complete goes on with the end of the stream.
func (c *closeOp) Complete(t *engine.Turn, _ int32, _ uint32) {
	s := (*stream)(c)
	s.closing--
	if s.state == streamGone {
		s.end.released(t)
		return
	}
	s.settle(t)
}

// watch is called now and then: it pings a silent peer and gives up a dead one. It returns false when it gave up.
func (s *stream) watch(t *engine.Turn) bool {
	now := t.Now()
	if s.sending && now-s.movedAt > int64(s.lim.Send) {
		s.lose(t, fmt.Errorf("netio: %s does not take what it is sent", s.peer))
		return false
	}
	if s.state != streamOpen {
		return true
	}
	silent := now - s.heardAt
	if silent > 3*int64(s.lim.Idle) && !s.paused {
		s.lose(t, fmt.Errorf("netio: %s has been silent for %d s", s.peer, silent/1e9))
		return false
	}
	if silent > int64(s.lim.Idle) && now-s.pingedAt > int64(s.lim.Idle) {
		s.pingedAt = now
		s.send(t, &Header{Kind: KindPing}, nil, nil, arena.Buf{}, nil)
	}
	return true
}
