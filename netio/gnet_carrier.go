package netio

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/panjf2000/gnet/v2"

	"basalt/engine"
)

// gnetCarrier carries bytes between a connection that stays on gnet's loop and the stream on the shard. Towards the shard: chunks, through
// its inbox. From the shard: one batch at a time, one Writev on the loop. The stream above does not know the difference.
type gnetCarrier struct {
	d    *door          // immutable
	conn gnet.Conn      // immutable; used on the loop
	loop gnet.EventLoop // immutable
	port *Port          // immutable

	unread atomic.Int64              // bytes given to the shard that it has not taken yet
	spare  atomic.Pointer[gnetChunk] // a chunk for the next bytes
	batch  atomic.Pointer[[][]byte]  // handed to the loop, until it is written

	// Owned by the loop.
	lagging  bool // lookAgain will run
	shut     bool
	unposted *gnetChunk // received, but the inbox was full
	written  int        // of the batch: its size, or -errno; reported when the outbound buffer has room
	owes     bool       // a report is due
	closeBy  time.Time  // the shard wants it closed; zero: it does not

	// Owned by the shard.
	c       *Conn
	queue   []*gnetChunk
	off     int // of queue[0]: taken so far
	pulling bool
	pieces  [][]byte
}

// gnetChunk is bytes on their way to the shard.
type gnetChunk struct {
	k *gnetCarrier
	b []byte
}

const (
	outboundMax  = 1 << 20 // what gnet may hold unsent before a batch counts as not sent; a batch comes on top
	inboundSlack = 1 << 20 // beyond the credit: notices, one-way requests, pings
	lagTime      = time.Millisecond
	chunkKeep    = doorReadBytes
)

func newGnetCarrier(d *door, c gnet.Conn, p *Port) *gnetCarrier {
	d.carriers.Add(1)
	return &gnetCarrier{d: d, conn: c, loop: c.EventLoop(), port: p}
}

// adopted makes the connection the shard's.
func (k *gnetCarrier) adopted(t *engine.Turn, peer string, prefix []byte) {
	k.port.adopt(t, -1, k, peer, prefix, func(c *Conn) { k.c = c })
}

// Loop side.

// traffic gives what has arrived to the shard. A peer that sends more than it was granted is closed: gnet can't be told to stop reading.
func (k *gnetCarrier) traffic(c gnet.Conn) gnet.Action {
	n := c.InboundBuffered()
	if n == 0 {
		return gnet.None
	}
	if limit := int64(max(k.port.lim.CreditBytes, frameMax) + inboundSlack); k.unread.Load()+int64(n) > limit {
		c.Write(refusal(CodeCredit, fmt.Sprintf("netio: more than %d bytes sent without an answer", limit)))
		return gnet.Close
	}
	if k.unposted != nil { // lookAgain comes back for it
		return gnet.None
	}
	ch := k.spare.Swap(nil)
	if ch == nil || cap(ch.b) < n {
		ch = &gnetChunk{k: k, b: make([]byte, 0, max(n, gatherLen))}
	}
	if _, err := c.Read(ch.b[:n]); err != nil {
		return gnet.Close
	}
	ch.b = ch.b[:n]
	k.unread.Add(int64(n))
	return k.post(ch)
}

func (k *gnetCarrier) post(ch *gnetChunk) gnet.Action {
	switch err := k.port.r.Post(ch); err {
	case nil:
		k.unposted = nil
	case engine.ErrBusy:
		k.unposted = ch
		k.lag()
	default:
		return gnet.Close
	}
	return gnet.None
}

// write sends the batch, on the loop.
func (k *gnetCarrier) write(context.Context) error {
	pieces := k.batch.Swap(nil)
	if pieces == nil {
		return nil
	}
	k.written, k.owes = -int(syscall.EPIPE), true
	if !k.shut {
		if n, err := k.conn.Writev(*pieces); err == nil {
			k.written = n
		}
	}
	k.report()
	return nil
}

// report tells the shard that the batch has left, once little enough of it is still here.
func (k *gnetCarrier) report() {
	if !k.owes {
		return
	}
	if !k.shut && k.conn.OutboundBuffered() > outboundMax {
		k.lag()
		return
	}
	k.owes = false
	if err := k.port.r.Post((*gnetSent)(k)); err == engine.ErrBusy {
		k.owes = true
		k.lag()
	}
}

// lookAgain runs on the loop, a little later: what had to wait may go on.
func (k *gnetCarrier) lookAgain(context.Context) error {
	k.lagging = false
	if ch := k.unposted; ch != nil && !k.shut {
		k.post(ch)
		if k.unposted == nil {
			k.conn.Wake(nil) // OnTraffic, for what has arrived meanwhile
		}
	}
	k.report()
	k.closeWhenSent()
	return nil
}

// lag has the loop look again soon: gnet does not tell when its outbound buffer has emptied.
func (k *gnetCarrier) lag() {
	if k.lagging {
		return
	}
	k.lagging = true
	time.AfterFunc(lagTime, func() { k.loop.Execute(context.Background(), gnet.RunnableFunc(k.lookAgain)) })
}

// closeWhenSent closes once gnet holds nothing unsent, or patience ends: gnet's own close drops what the peer has no room for.
func (k *gnetCarrier) closeWhenSent() {
	if k.shut || k.closeBy.IsZero() {
		return
	}
	if k.conn.OutboundBuffered() > 0 && time.Now().Before(k.closeBy) {
		k.lag()
		return
	}
	k.loop.Close(k.conn)
}

// gone: gnet has closed the connection.
func (k *gnetCarrier) gone() {
	if !k.shut {
		k.shut = true
		defer k.d.carriers.Done()
	}
	k.report()
	if err := k.port.r.Post((*gnetGone)(k)); err == engine.ErrBusy {
		k.goneLater()
	}
}

func (k *gnetCarrier) goneLater() {
	k.loop.Execute(context.Background(), gnet.RunnableFunc(func(context.Context) error {
		if err := k.port.r.Post((*gnetGone)(k)); err == engine.ErrBusy {
			k.goneLater()
		}
		return nil
	}))
}

// Shard side.

// Deliver queues the chunk and takes what the stream wants.
func (ch *gnetChunk) Deliver(t *engine.Turn) {
	k := ch.k
	k.queue = append(k.queue, ch)
	k.pull(t)
}

// pull feeds the stream as long as it wants more.
func (k *gnetCarrier) pull(t *engine.Turn) {
	if k.pulling || k.c == nil {
		return
	}
	k.pulling = true
	for len(k.queue) > 0 && !(k.c.paused && k.c.state == streamOpen) {
		ch := k.queue[0]
		n := len(ch.b) - k.off
		if k.c.state < streamDown {
			n = copy(k.c.in.next(), ch.b[k.off:])
			k.c.received(t, n)
		}
		k.off += n
		if k.off == len(ch.b) {
			k.unread.Add(-int64(len(ch.b)))
			m := copy(k.queue, k.queue[1:])
			k.queue[m], k.queue, k.off = nil, k.queue[:m], 0
			if cap(ch.b) <= chunkKeep {
				k.spare.Store(ch)
			}
		}
	}
	k.pulling = false
}

func (k *gnetCarrier) send(t *engine.Turn, pieces [][]byte) {
	k.pieces = pieces
	k.batch.Store(&k.pieces)
	if k.loop.Execute(context.Background(), gnet.RunnableFunc(k.write)) != nil { // the loops have ended
		k.batch.Store(nil)
		k.written = -int(syscall.EPIPE)
		t.After(0, (*gnetSent)(k))
	}
}

// close has the loop close the connection, behind what it was given before.
func (k *gnetCarrier) close(now bool) {
	patience := min(k.port.lim.Send, k.port.lim.Drain)
	if now {
		patience = 0
	}
	k.loop.Execute(context.Background(), gnet.RunnableFunc(func(context.Context) error {
		k.closeBy = time.Now().Add(patience)
		k.closeWhenSent()
		return nil
	}))
}

// gnetSent is the end of a batch.
type gnetSent gnetCarrier

// Deliver tells the stream.
func (g *gnetSent) Deliver(t *engine.Turn) { g.c.sent(t, int32(g.written)) }

// Fire is Deliver, when there is no loop any more.
func (g *gnetSent) Fire(t *engine.Turn) { g.Deliver(t) }

// gnetGone is the end of the connection.
type gnetGone gnetCarrier

// Deliver tells the stream, after everything that was received before.
func (g *gnetGone) Deliver(t *engine.Turn) {
	if g.c != nil {
		g.c.lose(t, errClosed)
	}
}
