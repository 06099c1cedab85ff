package netio

import (
	"basalt/engine"
	"basalt/engine/arena"
)

// Handler is what serves a shard. All its methods run on the shard's thread.
type Handler interface {
	// Attach decides about a new connection. hello is lent until it returns. It may suspend; the connection receives nothing
	// meanwhile. The bytes it returns travel in WELCOME; an error's text travels in ERROR (refused), and the connection ends.
	Attach(f *engine.Fiber, c *Conn, hello []byte) (welcome []byte, err error)

	// Serve answers one request, in a pooled fiber; many run at once. It may suspend. When it returns, netio sends p,
	// unless the request is one-way. q and p belong to netio and are used again after the return.
	Serve(f *engine.Fiber, c *Conn, q *Request, p *Reply)

	// Notice takes a RECALLED frame; body is lent until it returns. It must not suspend.
	Notice(t *engine.Turn, c *Conn, kind Kind, body []byte)

	// Detach is called once for every connection whose Attach returned without error, on the turn that notices the loss.
	// Serves of this connection may still be running; their replies go nowhere.
	Detach(t *engine.Turn, c *Conn)
}

// Request is one REQUEST, REPLAY or REPLAYDONE. It is netio's, and lent until Serve returns.
type Request struct {
	Header
	Body     []byte
	Payload  []byte // arena memory of the shard, its start aligned to 4 KiB
	Deadline int64  // on the reactor's monotonic clock, ns; 0 = none
}

// Reply: on a server what Serve fills in; on a client what Call fills in.
type Reply struct {
	// Body. Server: append to it (it arrives empty, with capacity). Client: Call appends the body to Body[:0].
	Body []byte

	// Payload. Server: bytes to send, at most Request.ReplyMax. If they lie in PayloadBuf, netio sends from there and gives the buffer back
	// to the arena when they have left; without a PayloadBuf they are copied when Serve returns.
	// Client: on the way in, room for the reply's payload (its length is what the reply may carry, at most PayloadMax), best arena
	// memory; on the way out, the part that was filled. The kernel writes to it: it must not be looked at until Call returns.
	Payload    []byte
	PayloadBuf arena.Buf // server only; netio gives it back whatever happens

	Group     uint16
	Epoch     uint32
	Txn       uint64 // the transaction this request made; 0 = none
	Committed uint64 // the shard's transactions are on media up to here
}
