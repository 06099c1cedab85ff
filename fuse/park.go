package fuse

import (
	"golang.org/x/sys/unix"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/engine/uring"
)

// Over /dev/fuse the requests, INTERRUPT and FORGET come through one door. If every slot held a request that waits (the node is away), the
// INTERRUPT that would end one of them could not be read. So the last slot only reads: a request that finds no other is put aside, in plain
// memory, until a slot is free; one that is put aside and interrupted is answered without a slot.

const (
	parkedMax      = 4096     // requests put aside
	parkedBytesMax = 16 << 20 // and their bytes: data of writes
)

// parked is a request that was read and waits for a slot.
type parked struct {
	unique uint64
	bytes  []byte
}

// park puts the request of s aside and lets the slot read on; false: no room.
func (c *column) park(t *engine.Turn, s *slot) bool {
	if len(c.parked) >= parkedMax || c.parkedBytes+s.length > parkedBytesMax {
		return false
	}
	n := min(s.length, devHeadSize)
	p := parked{unique: s.unique, bytes: append(append(make([]byte, 0, s.length), s.head[:n]...), s.payload[:s.length-n]...)}
	c.parked = append(c.parked, p)
	c.parkedBytes += s.length
	c.stats.parked.Add(1)
	s.unique = 0
	c.idle(t, s)
	return true
}

// unpark gives free slots to those who waited longest. One slot is always reading.
func (c *column) unpark(t *engine.Turn) {
	for c.reading > 0 && len(c.free) > 0 && len(c.parked) > 0 {
		p := c.parked[0]
		c.unparked(0)
		s := c.free[len(c.free)-1]
		c.free = c.free[:len(c.free)-1]
		s.length = len(p.bytes)
		copy(s.payload, p.bytes[copy(s.head[:devHeadSize], p.bytes):])
		s.arrived()
		c.start(t, s)
	}
}

func (c *column) unparked(i int) {
	c.parkedBytes -= len(c.parked[i].bytes)
	c.parked = append(c.parked[:i], c.parked[i+1:]...)
}

func (c *column) findParked(unique uint64) int {
	for i := range c.parked {
		if c.parked[i].unique == unique {
			return i
		}
	}
	return -1
}

// refusal is an answer without a slot.
type refusal struct {
	col *column
	buf arena.Buf
}

// refuse answers a request that is put aside; false: there is no memory to do it now.
func (c *column) refuse(t *engine.Turn, i int, e unix.Errno) bool {
	a := c.reactor.Arena()
	b, err := a.Get(outHeaderSize)
	if err != nil {
		return false
	}
	out := a.Bytes(b)
	le.PutUint32(out, outHeaderSize)
	le.PutUint32(out[4:], uint32(-int32(e)))
	le.PutUint64(out[8:], c.parked[i].unique)
	c.unparked(i)
	c.live++
	q := uring.PrepWrite(0, a.Addr(b), outHeaderSize, ^uint64(0))
	c.target(&q)
	t.Submit(q, &refusal{c, b})
	return true
}

// Complete gives the memory back; if the kernel no longer wanted the answer, nobody waits for it.
func (r *refusal) Complete(t *engine.Turn, _ int32, _ uint32) {
	r.col.reactor.Arena().Put(r.buf)
	r.col.gone(t)
}
