package sim

import (
	"fmt"
	"syscall"

	"basalt/engine/invariant"
	"basalt/engine/uring"
)

const (
	msgDontWait = 0x40
	msgWaitAll  = 0x100
	msgPeek     = 0x2
	msgTrunc    = 0x20
)

// begin queues what was submitted on this socket; the work is done in an event, never inside the submission.
func (e *end) begin(q *request) {
	s := &q.sqe
	t := &transfer{q: q, whole: s.OpFlags&msgWaitAll != 0}
	q.left = func() { e.drop(q) }
	q.end = func() bool { return e.drop(q) }
	if s.OpFlags&(msgPeek|msgTrunc) != 0 && s.Opcode != uring.OpPollAdd {
		panic(fmt.Sprintf("sim: message flags %#x are not simulated", s.OpFlags))
	}
	switch s.Opcode {
	case uring.OpRecv:
		if !e.beginRecv(t) {
			return
		}
		e.recvs = append(e.recvs, t)
	case uring.OpRead, uring.OpReadFixed:
		t.iov = [][]byte{memory(s.Addr, int(s.Len))}
		e.recvs = append(e.recvs, t)
	case uring.OpSend, uring.OpWrite, uring.OpWriteFixed, uring.OpSendZC:
		t.iov = [][]byte{memory(s.Addr, int(s.Len))}
		t.zc = s.Opcode == uring.OpSendZC
		e.sends = append(e.sends, t)
	case uring.OpSendmsg, uring.OpSendmsgZC:
		t.iov = message(s.Addr)
		t.zc = s.Opcode == uring.OpSendmsgZC
		e.sends = append(e.sends, t)
	case uring.OpShutdown:
		q.ring.soon(q, e.shutdown(int(s.Len)))
		return
	case uring.OpPollAdd:
		e.polls = append(e.polls, q)
	default:
		panic(fmt.Sprintf("sim: opcode %d on a socket", s.Opcode))
	}
	if invariant.Enabled && len(e.sends) > 0 && e.sends[len(e.sends)-1] == t {
		t.sum = sumOf(t.iov...)
	}
	e.kick()
}

// verify proves that the memory of a send in flight was left alone.
func (t *transfer) verify() {
	if invariant.Enabled && !t.q.ring.closed && sumOf(t.iov...) != t.sum {
		panic("sim: buffer of a send in flight was changed")
	}
}

// beginRecv decides where a receive puts its bytes.
func (e *end) beginRecv(t *transfer) bool {
	s := &t.q.sqe
	if s.Flags&uring.SQEBufferSelect == 0 {
		if s.Ioprio&recvMultishot != 0 {
			t.q.ring.soon(t.q, -int32(syscall.EINVAL))
			return false
		}
		t.iov = [][]byte{memory(s.Addr, int(s.Len))}
		return true
	}
	if t.multi = t.q.ring.group(s.BufIndex); t.multi == nil {
		t.q.ring.soon(t.q, -int32(syscall.ENOBUFS))
		return false
	}
	return true
}

// drop takes a waiting transfer away; false if it is not waiting any more, or has moved bytes already.
func (e *end) drop(q *request) bool {
	defer e.settle()
	for _, list := range [2]*[]*transfer{&e.recvs, &e.sends} {
		for i, t := range *list {
			if t.q == q {
				if t.moved > 0 && !q.ring.closed {
					return false
				}
				*list = append((*list)[:i], (*list)[i+1:]...)
				return true
			}
		}
	}
	for i, p := range e.polls {
		if p == q {
			e.polls = append(e.polls[:i], e.polls[i+1:]...)
			return true
		}
	}
	return false
}

func (e *end) kick() {
	if e.kicked {
		return
	}
	e.kicked = true
	e.conn.w.after(between(e.conn.rng, 0, 2_000), func() {
		e.kicked = false
		e.serve()
	})
}

// serve moves what can be moved, receives first.
func (e *end) serve() {
	for len(e.recvs) > 0 && e.receive(e.recvs[0]) {
	}
	for len(e.sends) > 0 && e.transmit(e.sends[0]) {
	}
	e.servePolls()
	e.settle()
}

func (e *end) readable() bool { return len(e.rx) > 0 || e.eof || e.err != 0 || e.deaf }

func (e *end) writable() bool { return e.err != 0 || e.sentFin || e.room() > 0 }

// room is how many bytes the peer's window has left.
func (e *end) room() int { return windowBytes - len(e.peer.rx) - e.peer.wire }

func (e *end) servePolls() {
	var left []*request
	for _, q := range e.polls {
		var got uint32
		if q.sqe.OpFlags&pollIn != 0 && e.readable() {
			got |= pollIn
		}
		if q.sqe.OpFlags&pollOut != 0 && e.writable() {
			got |= pollOut
		}
		if e.err != 0 {
			got |= pollHup
		}
		switch {
		case got == 0:
			left = append(left, q)
		case q.sqe.Len&pollMultishot != 0:
			left = append(left, q)
			q.complete(int32(got), uring.CQEFMore)
		default:
			q.complete(int32(got), 0)
		}
	}
	e.polls = left
}

// receive serves the first receive; false: it stays and waits.
func (e *end) receive(t *transfer) bool {
	if len(e.rx) == 0 {
		if e.err == 0 && !e.eof && !e.deaf {
			if t.q.sqe.OpFlags&msgDontWait != 0 && t.multi == nil {
				return e.endRecv(t, -int32(syscall.EAGAIN))
			}
			return false
		}
		return e.endRecv(t, e.lastWord(t))
	}
	if t.multi != nil {
		return e.receiveProvided(t)
	}
	want := len(t.iov[0]) - t.moved
	if want > 0 && !t.whole && chance(e.conn.rng, 0.2) {
		want = 1 + e.conn.rng.IntN(want)
	}
	n := copy(t.iov[0][t.moved:t.moved+want], e.rx)
	e.consume(n)
	t.moved += n
	if t.whole && t.moved < len(t.iov[0]) {
		return true // again: more may be there, or the end
	}
	return e.endRecv(t, int32(t.moved))
}

// lastWord is the result of a receive that gets no more bytes.
func (e *end) lastWord(t *transfer) int32 {
	switch {
	case t.moved > 0:
		return int32(t.moved)
	case e.err != 0:
		return -int32(e.err)
	}
	return 0
}

func (e *end) endRecv(t *transfer, res int32) bool {
	e.recvs = e.recvs[1:]
	t.q.complete(res, 0)
	return true
}

// receiveProvided fills one provided buffer. A multishot receive stays for the next.
func (e *end) receiveProvided(t *transfer) bool {
	id, ok := t.multi.take()
	if !ok {
		return e.endRecv(t, -int32(syscall.ENOBUFS))
	}
	want := t.multi.size
	if n := int(t.q.sqe.Len); n > 0 {
		want = min(want, n)
	}
	if chance(e.conn.rng, 0.2) {
		want = 1 + e.conn.rng.IntN(want)
	}
	n := copy(t.multi.Bytes(id)[:want], e.rx)
	e.consume(n)
	flags := uring.CQEFBuffer | uint32(id)<<16
	if t.q.sqe.Ioprio&recvMultishot != 0 && !chance(e.conn.rng, 0.02) {
		t.q.complete(int32(n), flags|uring.CQEFMore)
		return true
	}
	e.recvs = e.recvs[1:] // a kernel may end a multishot at any time: the receiver arms it anew
	t.q.complete(int32(n), flags)
	return true
}

// consume takes n received bytes away, which opens the window of the peer.
func (e *end) consume(n int) {
	e.conn.w.trace.add(event{at: e.conn.w.line.now, what: "recv", who: e.fd, a: uint64(n), b: uint64(sumOf(e.rx[:n]))})
	e.rx = e.rx[n:]
	if len(e.rx) == 0 {
		e.rx = nil
	}
	if len(e.peer.sends) > 0 || len(e.peer.polls) > 0 {
		e.peer.kick()
	}
}

// transmit serves the first send; false: it stays and waits for room.
func (e *end) transmit(t *transfer) bool {
	if e.err != 0 || e.sentFin {
		errno := e.err
		if e.sentFin || errno == 0 {
			errno = syscall.EPIPE
		}
		if t.moved > 0 {
			return e.endSend(t, int32(t.moved))
		}
		return e.endSend(t, -int32(errno))
	}
	if t.taken == nil {
		t.verify()
		for _, v := range t.iov {
			t.taken = append(t.taken, v...)
		}
	}
	rest := t.taken[t.moved:]
	n := min(len(rest), e.room())
	if n > 1 && !t.whole && chance(e.conn.rng, 0.1) {
		n = 1 + e.conn.rng.IntN(n)
	}
	if n == 0 && len(rest) > 0 {
		if t.q.sqe.OpFlags&msgDontWait != 0 {
			return e.endSend(t, -int32(syscall.EAGAIN))
		}
		return false
	}
	t.moved += n
	e.conn.w.trace.add(event{at: e.conn.w.line.now, what: "send", who: e.fd, a: uint64(n), b: uint64(sumOf(rest[:n]))})
	e.peer.carry(rest[:n])
	if t.whole && t.moved < len(t.taken) {
		return true
	}
	return e.endSend(t, int32(t.moved))
}

func (e *end) endSend(t *transfer, res int32) bool {
	e.sends = e.sends[1:]
	if !t.zc || res < 0 {
		t.q.complete(res, 0)
		return true
	}
	t.q.complete(res, uring.CQEFMore)
	e.conn.w.after(between(e.conn.rng, 0, 100_000), func() {
		t.verify()
		t.q.complete(0, uring.CQEFNotif)
	})
	return true
}

const (
	shutRead  = 0
	shutWrite = 1
	shutBoth  = 2
)

func (e *end) shutdown(how int) int32 {
	if e.err != 0 {
		return -int32(syscall.ENOTCONN)
	}
	if how == shutRead || how == shutBoth {
		e.deaf = true
		e.rx = nil
		e.kick()
	}
	if (how == shutWrite || how == shutBoth) && !e.sentFin {
		e.sentFin = true
		e.peer.queue(segment{fin: true})
		e.kick()
	}
	return 0
}

// unlink is close(2): as in the kernel, a transfer in flight holds the socket open, silently. Whoever closes without
// ending its transfers (shutdown, cancel) first has a peer that hears nothing.
func (e *end) unlink() {
	e.unlinked = true
	e.settle()
}

// settle closes an unlinked socket once nothing is in flight on it.
func (e *end) settle() {
	if e.unlinked && len(e.recvs) == 0 && len(e.sends) == 0 && len(e.polls) == 0 {
		e.close()
	}
}

// close is the end of the socket: bytes that nobody received reset the connection, else the peer sees
// the end of the stream.
func (e *end) close() {
	if e.closed {
		return
	}
	unread := len(e.rx) > 0
	e.closed = true
	e.rx, e.deaf = nil, true
	switch {
	case e.err != 0:
	case unread:
		e.err = syscall.ECONNRESET
		e.conn.w.after(between(e.conn.rng, 5_000, 60_000), func() { e.peer.sever(syscall.ECONNRESET) })
	case !e.sentFin:
		e.sentFin = true
		e.peer.queue(segment{fin: true})
	}
	e.kick()
}
