package fuse

import (
	"fmt"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/engine/uring"
)

// column is the part of a connection that lives on one reactor.
type column struct {
	// immutable after boot
	conn    *Connection
	reactor *engine.Reactor
	raw     fuse.RawFileSystem
	proto   *fuse.ProtocolServer
	queues  []uint16 // served over io_uring
	dev     int      // slots for /dev/fuse, 0: this column does not read it
	file    int32    // the device: a slot of the fixed file table, or the descriptor
	fixed   bool
	heads   []arena.Buf
	slots   []*slot

	// owned by the loop
	running     map[uint64]*slot // by unique: what INTERRUPT looks for
	waiting     []*slot          // requests for which no fiber was free
	free        []*slot          // of /dev/fuse
	parked      []parked         // requests of /dev/fuse that no slot was free for
	parkedBytes int
	reading     int // reads of /dev/fuse in flight
	devEnded    bool
	patrolling  bool // a patrol is due
	live        int  // slots that the kernel may still complete

	stats counters
}

// counters are written by the loop and read by anyone.
type counters struct {
	uring, dev, forget, interrupt, refused, starved, parked atomic.Uint64
}

// boot takes memory for the slots and offers them to the kernel.
func (c *column) boot(f *engine.Fiber, depth, payload int) error {
	c.running = make(map[uint64]*slot)
	c.file = int32(c.conn.fd)
	if n, ok := c.reactor.RegisterFile(c.file); ok {
		c.file, c.fixed = n, true
	}
	total := depth*len(c.queues) + c.dev
	for i := range total {
		s, err := c.newSlot(i, payload)
		if err != nil {
			c.release()
			return fmt.Errorf("mount: memory for %d FUSE requests of %d KiB: %w", total, payload>>10, err)
		}
		if i < depth*len(c.queues) {
			s.uring, s.qid = true, c.queues[i/depth]
		} else {
			c.free = append(c.free, s)
		}
	}
	t := f.Turn()
	c.live = total
	for _, s := range c.slots {
		if s.uring {
			s.register(t)
		}
	}
	c.fetch(t)
	return nil
}

func (c *column) newSlot(i, payload int) (*slot, error) {
	a := c.reactor.Arena()
	const perPage = 4096 / headStride
	if i%perPage == 0 {
		b, err := a.Get(4096)
		if err != nil {
			return nil, err
		}
		c.heads = append(c.heads, b)
	}
	b, err := a.Get(payload)
	if err != nil {
		return nil, err
	}
	page, at := c.heads[i/perPage], i%perPage*headStride
	s := &slot{col: c, head: a.Bytes(page)[at : at+headStride], headAt: a.Addr(page) + uint64(at),
		payload: a.Bytes(b)[:payload], paidAt: a.Addr(b), buf: b}
	clear(s.head)
	c.slots = append(c.slots, s)
	return s, nil
}

// release gives the memory back. Nothing of it is the kernel's any more.
func (c *column) release() {
	a := c.reactor.Arena()
	for _, s := range c.slots {
		a.Put(s.buf)
	}
	for _, b := range c.heads {
		a.Put(b)
	}
	if c.fixed {
		c.reactor.ReleaseFile(c.file)
	}
	c.slots, c.heads, c.free = nil, nil, nil
}

// target points a submission at the device.
func (c *column) target(q *uring.SQE) {
	q.Fd = c.file
	if c.fixed {
		q.Flags |= uring.SQEFixedFile
	}
}

// start gives the request a fiber; if none is free it waits for one.
func (c *column) start(t *engine.Turn, s *slot) {
	if s.uring && !c.patrolling {
		c.patrolling = true
		t.After(patrolNs, (*patrol)(c))
	}
	if len(c.waiting) == 0 && t.Spawn(s) == nil {
		return
	}
	c.stats.starved.Add(1)
	c.waiting = append(c.waiting, s)
	if len(c.waiting) == 1 {
		t.After(fiberRetryNs, (*retry)(c))
	}
}

const fiberRetryNs = 1_000_000

// retry looks for free fibers again while requests wait for one.
type retry column

// Fire starts what can be started.
func (r *retry) Fire(t *engine.Turn) {
	c := (*column)(r)
	for len(c.waiting) > 0 && t.Spawn(c.waiting[0]) == nil {
		c.waiting = c.waiting[1:]
	}
	if len(c.waiting) > 0 {
		t.After(fiberRetryNs, r)
	}
}

// lost counts a slot out whose fetch has failed: normally because the connection is over.
func (c *column) lost(t *engine.Turn, what string, errno int32) {
	if ended(errno) {
		c.conn.over(t, c)
	} else {
		c.stats.refused.Add(1)
		c.conn.log.Error("a FUSE slot is lost", "from", what, "error", unix.Errno(errno))
	}
	c.gone(t)
}

func (c *column) gone(*engine.Turn) {
	c.live--
	if c.live == 0 {
		c.release()
		c.conn.columnEnded()
	}
}

// syncFS answers SYNCFS, which the decoder does not know.
func (c *column) syncFS() fuse.Status {
	if s, ok := c.raw.(interface{ SyncFS() fuse.Status }); ok {
		return s.SyncFS()
	}
	return fuse.ENOSYS
}
