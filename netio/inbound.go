package netio

import "basalt/engine/arena"

// inbound is what a connection has received and not yet understood. Bytes arrive in mem[w:], except those of a payload, which arrive where
// they are to stay. Owned by the connection's reactor; a receive in flight owns what next returned.
type inbound struct {
	buf arena.Buf // of mem; not valid: mem is from the Go heap
	mem []byte
	r   int // first byte of the frame that is being received
	w   int // end of what has arrived

	done      Header // of the frame that the endpoint is looking at
	h         Header
	have      bool // h is decoded
	admitted  bool // the endpoint has taken it
	inPayload bool
	pay       []byte // room for the payload; nil: it is thrown away
	payGot    int
}

func (in *inbound) start(a *arena.Arena) { in.buf, in.mem = reserve(a, recvBufMin) }

// reserve prefers the arena; when it is exhausted a connection still gets its (bounded) buffer, from the Go heap.
func reserve(a *arena.Arena, n int) (arena.Buf, []byte) {
	if b, err := a.Get(n); err == nil {
		return b, a.Bytes(b)
	}
	return arena.Buf{}, make([]byte, n)
}

// next is where the next bytes go: never empty.
func (in *inbound) next() []byte {
	if in.exact() {
		return in.pay[in.payGot:]
	}
	return in.mem[in.w:]
}

// exact: the next bytes are those of a payload that has its place.
func (in *inbound) exact() bool { return in.inPayload && in.pay != nil }

func (in *inbound) got(n int) {
	if in.exact() {
		in.payGot += n
		return
	}
	in.w += n
}

// fit makes room for a frame's first n bytes, and at least one more, in mem. What has arrived moves to the front.
func (in *inbound) fit(a *arena.Arena, n int) {
	if n >= len(in.mem) {
		buf, mem := reserve(a, recvBufMax)
		copy(mem, in.mem[in.r:in.w])
		if in.buf.Valid() {
			a.Put(in.buf)
		}
		in.buf, in.mem, in.r, in.w = buf, mem, 0, in.w-in.r
		return
	}
	if in.r > 0 {
		in.w = copy(in.mem, in.mem[in.r:in.w])
		in.r = 0
	}
}

func (in *inbound) beginPayload(room []byte) {
	in.inPayload, in.pay, in.payGot = true, room, 0
}

// fillPayload moves payload bytes that arrived behind the body to their place; false: some are still to come.
func (in *inbound) fillPayload(a *arena.Arena, head int) bool {
	from, want := in.r+head, in.h.PayloadLen()-in.payGot
	k := min(want, in.w-from)
	if in.pay != nil {
		copy(in.pay[in.payGot:], in.mem[from:from+k])
	}
	in.payGot += k
	if k < want {
		in.w = from
		in.fit(a, head+skipRoom)
		return false
	}
	if k > 0 { // what follows the payload belongs to the next frame; the body must stay where it is until it is used
		in.r += k
		copy(in.mem[in.r:], in.mem[in.r-k:in.r-k+head])
	}
	return true
}

// finished steps over the frame's first head bytes; its payload has been taken out already.
func (in *inbound) finished(head int) {
	in.r += head
	in.done = in.h
	in.h, in.have, in.admitted, in.inPayload, in.pay, in.payGot = Header{}, false, false, false, nil, 0
}

// forget drops everything: the stream takes no more frames.
func (in *inbound) forget() {
	in.r, in.w = 0, 0
	in.have, in.admitted, in.inPayload, in.pay = false, false, false, nil
}

func (in *inbound) release(a *arena.Arena) {
	in.forget()
	if in.buf.Valid() {
		a.Put(in.buf)
	}
	in.buf, in.mem = arena.Buf{}, nil
}
