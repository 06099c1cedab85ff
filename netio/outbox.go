package netio

import (
	"basalt/engine"
	"basalt/engine/arena"
)

// outbox is what a connection has to send: frames gathered in buffers of its own, and between them large payloads that are sent from
// where they lie. Owned by the connection's reactor. A prefix of it may be with the kernel (or with gnet's loop).
type outbox struct {
	segs  []segment // segs[head:] wait or are being sent
	head  int
	bytes int // not yet sent
}

// segment is a run of bytes to send: data[sent:end]. An open one is a gather buffer that more frames may be appended to, also while its
// first part is being sent: what is appended lies behind.
type segment struct {
	data    []byte
	buf     arena.Buf // ours, to be put back; not valid: data is lent, or from the Go heap
	sent    int
	end     int
	pushing int   // data[sent:pushing] is with the kernel; 0: nothing is
	open    bool  // a gather buffer
	lender  *call // whose payload this is: told when it has left
}

// gather makes room for n more bytes behind what is gathered, and returns it.
func (o *outbox) gather(a *arena.Arena, n int) []byte {
	if len(o.segs) > o.head {
		s := &o.segs[len(o.segs)-1]
		if s.open && s.end+n <= len(s.data) {
			return o.extend(s, n)
		}
	}
	size := gatherLen
	if n > size {
		size = gatherLarge
	}
	s := segment{open: true}
	if b, err := a.Get(size); err == nil {
		s.buf, s.data = b, a.Bytes(b)
	} else {
		// Replies must not fail for want of a buffer; how many there can be is bounded by the credits.
		s.data = make([]byte, size)
	}
	o.push(s)
	return o.extend(&o.segs[len(o.segs)-1], n)
}

func (o *outbox) extend(s *segment, n int) []byte {
	p := s.data[s.end : s.end+n : s.end+n]
	s.end += n
	o.bytes += n
	return p
}

func (o *outbox) push(s segment) {
	if o.head > 0 && len(o.segs) == cap(o.segs) {
		n := copy(o.segs, o.segs[o.head:])
		clear(o.segs[n:])
		o.segs, o.head = o.segs[:n], 0
	}
	o.segs = append(o.segs, s)
}

// frame appends one frame. h's lengths and checksums are set here, except the payload's checksum, which the caller has computed (in pieces,
// between which others ran). The payload is copied if it is small; else it is sent from where it lies: buf then passes to the outbox, or
// lender is told when it has left.
func (o *outbox) frame(a *arena.Arena, h *Header, body, payload []byte, buf arena.Buf, lender *call) {
	h.bodyLen, h.payloadLen = uint32(len(body)), uint32(len(payload))
	h.bodyCrc = checksum(body)
	n := HeaderLen + len(body)
	small := len(payload) <= copyMax
	if small {
		n += len(payload)
	}
	p := o.gather(a, n)
	EncodeHeader(p, h)
	at := HeaderLen + copy(p[HeaderLen:], body)
	if small {
		copy(p[at:], payload)
		if buf.Valid() {
			a.Put(buf)
		}
		return
	}
	if lender != nil {
		lender.lent = true
	}
	o.push(segment{data: payload, end: len(payload), buf: buf, lender: lender})
	o.bytes += len(payload)
}

// batch marks what the next send takes, at most len(dst) pieces and, after the first, about sendBatch bytes, and returns the pieces.
func (o *outbox) batch(dst [][]byte) [][]byte {
	total := 0
	for i := o.head; i < len(o.segs) && len(dst) < cap(dst) && total < sendBatch; i++ {
		s := &o.segs[i]
		if s.end == s.sent {
			continue
		}
		s.pushing = s.end
		dst = append(dst, s.data[s.sent:s.end])
		total += s.end - s.sent
	}
	return dst
}

// done takes n sent bytes off the batch and frees what has left; what was not sent goes with the next batch.
func (o *outbox) done(t *engine.Turn, n int) {
	o.bytes -= n
	a := t.Reactor().Arena()
	for i := o.head; i < len(o.segs); i++ {
		s := &o.segs[i]
		if s.pushing == 0 {
			if n == 0 {
				break
			}
			continue // empty
		}
		k := min(n, s.pushing-s.sent)
		s.sent, s.pushing = s.sent+k, 0
		n -= k
	}
	for o.head < len(o.segs) {
		s := &o.segs[o.head]
		if s.sent != s.end {
			break
		}
		if s.open && o.head == len(o.segs)-1 && len(s.data) == gatherLen {
			s.sent, s.end = 0, 0 // the last gather buffer stays
			break
		}
		o.drop(t, a, s)
		o.head++
	}
	if o.head == len(o.segs) {
		o.segs, o.head = o.segs[:0], 0
	}
}

func (o *outbox) drop(t *engine.Turn, a *arena.Arena, s *segment) {
	if s.buf.Valid() {
		a.Put(s.buf)
	}
	if s.lender != nil {
		s.lender.returned(t)
	}
	*s = segment{}
}

// clear gives everything back. Nothing of it is with the kernel any more.
func (o *outbox) clear(t *engine.Turn) {
	a := t.Reactor().Arena()
	for i := o.head; i < len(o.segs); i++ {
		o.drop(t, a, &o.segs[i])
	}
	o.segs, o.head, o.bytes = o.segs[:0], 0, 0
}
