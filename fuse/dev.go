package fuse

import (
	"golang.org/x/sys/unix"

	"basalt/engine"
	"basalt/engine/uring"
)

// /dev/fuse through the ring: a vectored read takes a request, a vectored write answers it. The descriptor is non-blocking, so an idle
// read waits inside the ring. One read is in flight per column: a second would only be woken for nothing, since each request wakes all.

// read waits for the next request. The first 80 bytes go to the head, so that the data of a WRITE lies at the start of the payload.
func (s *slot) read(t *engine.Turn) {
	s.vector(headVecIn, s.headAt, devHeadSize)
	s.vector(headVecIn+16, s.paidAt, len(s.payload))
	q := uring.SQE{Opcode: uring.OpReadv, Off: ^uint64(0), Addr: s.headAt + headVecIn, Len: 2}
	s.col.target(&q)
	t.Submit(q, (*devRead)(s))
}

// write answers the request of the slot.
func (s *slot) write(t *engine.Turn, n int) {
	s.vector(headVecOut, s.headAt+headOut, outHeaderSize)
	s.vector(headVecOut+16, s.paidAt, n-outHeaderSize)
	q := uring.SQE{Opcode: uring.OpWritev, Off: ^uint64(0), Addr: s.headAt + headVecOut, Len: 2}
	if n == outHeaderSize {
		q.Len = 1
	}
	s.col.target(&q)
	t.Submit(q, (*devWrite)(s))
}

// devRead is a slot whose read is in flight.
type devRead slot

// Complete runs when a request has been read.
func (d *devRead) Complete(t *engine.Turn, res int32, _ uint32) {
	s := (*slot)(d)
	c := s.col
	c.reading--
	switch {
	case res > 0:
	case ended(-res):
		c.devEnded = true
		c.lost(t, "device", -res)
		c.dropIdle(t)
		return
	case unix.Errno(-res) == unix.EAGAIN || unix.Errno(-res) == unix.EINTR || unix.Errno(-res) == unix.ENOENT || res == 0:
		c.idle(t, s) // ENOENT: the request was interrupted while it was being read
		return
	default:
		c.lost(t, "device", -res)
		return
	}
	s.length = int(res)
	s.arrived()
	c.stats.dev.Add(1)
	switch s.opcode() {
	case opForget, opBatchForget:
		c.stats.forget.Add(1)
		s.forget(t)
		c.idle(t, s)
	case opInterrupt:
		c.stats.interrupt.Add(1)
		c.conn.interrupt(t, c, le.Uint64(s.head[inHeaderSize:]))
		c.idle(t, s)
	default:
		if len(c.free) == 0 && c.park(t, s) {
			return
		}
		c.fetch(t)
		c.start(t, s)
	}
}

// forget passes on which references the kernel gives back. It runs without a fiber: nothing in it may suspend.
func (s *slot) forget(t *engine.Turn) {
	g, ok := s.col.raw.(interface {
		ForgetAll(t *engine.Turn, list []Forgotten)
	})
	if !ok {
		return // the file system does not count them
	}
	var list []Forgotten
	switch n := s.length; {
	case s.opcode() == opForget && n >= inHeaderSize+8:
		list = append(list, Forgotten{le.Uint64(s.head[16:]), le.Uint64(s.head[inHeaderSize:])})
	case s.opcode() == opBatchForget && n >= inHeaderSize+8:
		// struct fuse_batch_forget_in {count u32, dummy u32}, then pairs of 16 bytes: two in the head, the rest in the payload
		count := int(le.Uint32(s.head[inHeaderSize:]))
		for i := range min(count, (n-inHeaderSize-8)/16) {
			p := s.head[min(inHeaderSize+8+16*i, devHeadSize):devHeadSize]
			if i >= 2 {
				p = s.payload[16*(i-2):]
			}
			list = append(list, Forgotten{le.Uint64(p), le.Uint64(p[8:])})
		}
	}
	g.ForgetAll(t, list)
}

// devWrite is a slot whose answer is in flight.
type devWrite slot

// Complete runs when the kernel has the answer. ENOENT: the request was aborted meanwhile, nobody waits for it.
func (d *devWrite) Complete(t *engine.Turn, res int32, _ uint32) {
	s := (*slot)(d)
	if e := -res; res < 0 && !ended(e) && unix.Errno(e) != unix.ENOENT {
		s.col.stats.refused.Add(1)
		s.col.conn.log.Error("the kernel refused an answer", "transport", "dev", "error", unix.Errno(e))
	}
	s.col.idle(t, s)
}

// fetch keeps one read in flight as long as a slot is free.
func (c *column) fetch(t *engine.Turn) {
	if c.reading > 0 || len(c.free) == 0 || c.devEnded {
		return
	}
	s := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	c.reading++
	s.read(t)
}

// idle takes a slot back.
func (c *column) idle(t *engine.Turn, s *slot) {
	c.free = append(c.free, s)
	if c.devEnded {
		c.dropIdle(t)
		return
	}
	c.fetch(t)
	c.unpark(t)
}

// dropIdle gives up the free slots once the device has ended.
func (c *column) dropIdle(t *engine.Turn) {
	c.parked, c.parkedBytes = nil, 0 // the kernel has failed them
	n := len(c.free)
	c.free = c.free[:0]
	for range n {
		c.gone(t)
	}
}
