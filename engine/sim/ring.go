package sim

import (
	"fmt"
	"syscall"

	"basalt/engine/invariant"
	"basalt/engine/uring"
)

// ring is the simulated io_uring of one reactor: the same queues, with the world in the place of the kernel.
// Owned by the reactor that opened it; only events of the world complete into it.
type ring struct {
	w      *World
	col    *column // nil in tests of the ring alone
	id     int32
	caps   uring.Caps
	sq     []uring.SQE
	cq     []uring.CQE
	over   []uring.CQE // completions for which the queue had no room, fetched by Enter as the kernel does
	flight []*request
	slots  []int32
	bufs   [][]byte
	groups []*bufRing
	events []*eventFd
	closed bool
}

var _ uring.Ring = (*ring)(nil)

// request is one submitted entry until its last completion.
type request struct {
	ring  *ring
	sqe   uring.SQE
	fd    int32 // of the world, slots resolved
	disk  *diskOp
	dev   *Disk
	end   func() bool // tries to end the wait at once; nil or false: it runs to its completion
	left  func()      // crash: drop what refers to the dead reactor
	chain []uring.SQE // linked entries that wait for this one
	whole uint32      // linked read or write: bytes it must move for the chain to go on
}

func (r *ring) Cap() uring.Caps { return r.caps }

func (r *ring) Push(s *uring.SQE) error {
	if len(r.sq) == int(r.caps.SQEntries) {
		return uring.ErrFull
	}
	r.sq = append(r.sq, *s)
	return nil
}

// PushCmd: no simulated file defines commands of its own.
func (r *ring) PushCmd(*uring.SQE, *[80]byte) error { return uring.ErrUnsupported }

// Enter submits. It never waits: the world steps a reactor only when there is something to do, and moves time itself.
func (r *ring) Enter(uint32, int64) error {
	for len(r.over) > 0 && len(r.cq) < int(r.caps.CQEntries) {
		r.cq = append(r.cq, r.over[0])
		r.over = r.over[1:]
	}
	sq := r.sq
	r.sq = nil
	for i := 0; i < len(sq); {
		n := 1
		for sq[i+n-1].Flags&uring.SQEIOLink != 0 && i+n < len(sq) {
			n++
		}
		r.start(sq[i], sq[i+1:i+n])
		i += n
	}
	if len(r.sq) == 0 {
		r.sq = sq[:0]
	}
	return nil
}

func (r *ring) Reap(dst []uring.CQE) int {
	n := copy(dst, r.cq)
	r.cq = r.cq[:copy(r.cq, r.cq[n:])]
	return n
}

func (r *ring) RegisterBuffers(bufs [][]byte) error {
	if r.caps.Buffers {
		return syscall.EBUSY
	}
	r.bufs = append([][]byte(nil), bufs...)
	r.caps.Buffers = true
	return nil
}

func (r *ring) RegisterFiles(fds []int32) error {
	if r.caps.Files {
		return syscall.EBUSY
	}
	r.slots = append([]int32(nil), fds...)
	r.caps.Files = true
	return nil
}

func (r *ring) UpdateFile(slot int, fd int32) error {
	if slot < 0 || slot >= len(r.slots) {
		return syscall.EINVAL
	}
	r.slots[slot] = fd
	return nil
}

// Close is the end of the process as the kernel sees it: waits end, what is on its way to a disk arrives.
func (r *ring) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	for _, q := range r.flight {
		if q.dev != nil && q.disk != nil {
			q.dev.abandon(q.disk)
		}
		if q.left != nil {
			q.left()
		}
	}
	for _, e := range r.events {
		r.w.closeFd(e.fd)
	}
	r.flight, r.sq, r.cq, r.over, r.bufs = nil, nil, nil, nil, nil
	return nil
}

// start hands one entry, and behind it those linked to it, to what its descriptor names.
func (r *ring) start(s uring.SQE, chain []uring.SQE) {
	q := &request{ring: r, sqe: s, fd: s.Fd}
	if len(chain) > 0 {
		q.chain = append([]uring.SQE(nil), chain...)
		q.whole = s.Len
	}
	if s.Flags&^(uring.SQEFixedFile|uring.SQEBufferSelect|uring.SQEIOLink|uring.SQEAsync) != 0 {
		panic(fmt.Sprintf("sim: submission flags %#x are not simulated", s.Flags))
	}
	if s.Flags&uring.SQEFixedFile != 0 {
		q.fd = -1
		if s.Fd >= 0 && int(s.Fd) < len(r.slots) {
			q.fd = r.slots[s.Fd]
		}
	}
	r.flight = append(r.flight, q)
	r.w.trace.add(event{at: r.w.line.now, what: "submit", who: r.id, a: uint64(s.Opcode), b: uint64(uint32(q.fd)), c: uint64(s.Len)})
	r.dispatch(q)
}

// soon completes q after a moment: what needs no device.
func (r *ring) soon(q *request, res int32) {
	r.w.after(between(r.w.sched, 0, 3000), func() { q.complete(res, 0) })
}

// complete posts a completion; without CQEFMore it is the request's last.
func (q *request) complete(res int32, flags uint32) {
	r := q.ring
	if r.closed {
		return
	}
	more := flags&uring.CQEFMore != 0
	if !more && !r.forget(q) {
		panic("sim: second last completion of one request")
	}
	r.w.trace.add(event{at: r.w.line.now, what: "complete", who: r.id, a: uint64(q.sqe.Opcode), b: uint64(int64(res)), c: uint64(flags)})
	c := uring.CQE{UserData: q.sqe.UserData, Res: res, Flags: flags}
	if len(r.cq) < int(r.caps.CQEntries) && len(r.over) == 0 {
		r.cq = append(r.cq, c)
	} else {
		r.over = append(r.over, c)
	}
	r.wake()
	if !more {
		q.follow(res)
	}
}

// wake lets the reactor look at its completions.
func (r *ring) wake() {
	if r.col != nil {
		r.col.quiet = false
	}
}

// follow starts what is linked behind q, or cancels it when q failed or fell short.
func (q *request) follow(res int32) {
	if len(q.chain) == 0 {
		return
	}
	short := (q.sqe.Opcode == uring.OpRead || q.sqe.Opcode == uring.OpWrite || q.sqe.Opcode == uring.OpReadFixed ||
		q.sqe.Opcode == uring.OpWriteFixed) && uint32(res) != q.whole
	if res >= 0 && !short {
		q.ring.start(q.chain[0], q.chain[1:])
		return
	}
	for _, s := range q.chain {
		c := &request{ring: q.ring, sqe: s}
		q.ring.flight = append(q.ring.flight, c)
		c.complete(-int32(syscall.ECANCELED), 0)
	}
}

func (r *ring) forget(q *request) bool {
	for i, o := range r.flight {
		if o == q {
			r.flight = append(r.flight[:i], r.flight[i+1:]...)
			return true
		}
	}
	return false
}

// bufRing is a group of provided buffers. free is the order in which they are used.
type bufRing struct {
	r     *ring
	group uint16
	size  int
	mem   []byte
	free  []uint16
	lent  []bool // with the receiver
}

func (r *ring) NewBufRing(group uint16, entries, size int) (uring.BufRing, error) {
	if entries <= 0 || entries&(entries-1) != 0 || size <= 0 || r.group(group) != nil {
		return nil, syscall.EINVAL
	}
	b := &bufRing{r: r, group: group, size: size, mem: make([]byte, entries*size), lent: make([]bool, entries)}
	for i := range entries {
		b.free = append(b.free, uint16(i))
	}
	r.groups = append(r.groups, b)
	return b, nil
}

func (r *ring) group(id uint16) *bufRing {
	for _, b := range r.groups {
		if b.group == id {
			return b
		}
	}
	return nil
}

func (b *bufRing) Group() uint16 { return b.group }
func (b *bufRing) Entries() int  { return len(b.lent) }
func (b *bufRing) Size() int     { return b.size }

func (b *bufRing) Bytes(id uint16) []byte {
	return b.mem[int(id)*b.size : (int(id)+1)*b.size : (int(id)+1)*b.size]
}

func (b *bufRing) Recycle(id uint16) {
	if !b.lent[id] {
		panic("sim: provided buffer recycled twice")
	}
	b.lent[id] = false
	b.free = append(b.free, id)
	if invariant.Enabled {
		p := b.Bytes(id)
		for i := range p {
			p[i] = 0xB5
		}
	}
}

// take lends the next buffer to a receiver.
func (b *bufRing) take() (uint16, bool) {
	if len(b.free) == 0 {
		return 0, false
	}
	id := b.free[0]
	b.free = b.free[1:]
	b.lent[id] = true
	return id, true
}

func (b *bufRing) Close() error {
	for i, o := range b.r.groups {
		if o == b {
			b.r.groups = append(b.r.groups[:i], b.r.groups[i+1:]...)
			return nil
		}
	}
	return syscall.ENOENT
}
