package sim

import (
	"fmt"
	"syscall"

	"basalt/engine/uring"
)

// Flags of the kernel interface that uring keeps to itself.
const (
	recvMultishot = 1 << 1 // SQE.Ioprio of a receive
	pollMultishot = 1 << 0 // SQE.Len of a poll
	fsyncDatasync = 1 << 0
	rwfDsync      = 1 << 1 // SQE.OpFlags of a write
	punchHole     = 1 << 1 // fallocate(2) mode
	keepSize      = 1 << 0
	zeroRange     = 1 << 4
	pollIn        = 1 << 0
	pollOut       = 1 << 2
	pollHup       = 1 << 4
)

// dispatch begins one request by its opcode. An opcode that is missing here panics: silence would be a test that
// tests nothing.
func (r *ring) dispatch(q *request) {
	switch q.sqe.Opcode {
	case uring.OpNop:
		r.soon(q, 0)
	case uring.OpTimeout:
		r.timeout(q)
	case uring.OpAsyncCancel:
		r.soon(q, r.cancel(q))
	case uring.OpClose:
		r.soon(q, r.w.closeFd(q.fd))
	default:
		r.dispatchFile(q)
	}
}

// dispatchFile begins a request that names a file.
func (r *ring) dispatchFile(q *request) {
	switch f := r.w.file(q.fd).(type) {
	case *Disk:
		r.onDisk(q, f)
	case *end:
		f.begin(q)
	case *eventFd:
		f.begin(q)
	case nil:
		r.soon(q, -int32(syscall.EBADF))
	default:
		panic(fmt.Sprintf("sim: descriptor %d is a %T", q.fd, f))
	}
}

func (r *ring) onDisk(q *request, d *Disk) {
	s := &q.sqe
	op := &diskOp{off: int64(s.Off), n: int(s.Len)}
	switch s.Opcode {
	case uring.OpReadFixed, uring.OpWriteFixed:
		if !r.registered(s) {
			r.soon(q, -int32(syscall.EFAULT))
			return
		}
		fallthrough
	case uring.OpRead, uring.OpWrite:
		op.kind = opRead
		if s.Opcode == uring.OpWrite || s.Opcode == uring.OpWriteFixed {
			op.kind = opWrite
			op.dsync = s.OpFlags&rwfDsync != 0
		}
		if op.off%SectorBytes != 0 || op.n%SectorBytes != 0 || s.Addr%SectorBytes != 0 {
			r.soon(q, -int32(syscall.EINVAL)) // direct I/O
			return
		}
		if op.off < 0 || op.off+int64(op.n) > d.Bytes() && op.kind == opWrite {
			r.soon(q, -int32(syscall.ENOSPC))
			return
		}
		op.n = int(min(int64(op.n), max(0, d.Bytes()-op.off))) // a read past the end is short
		op.mem = memory(s.Addr, op.n)
	case uring.OpFsync:
		op.kind, op.n, op.off = opFlush, 0, 0
	case uring.OpFallocate:
		if mode := s.Len; mode != punchHole|keepSize && mode != zeroRange|keepSize && mode != zeroRange {
			r.soon(q, -int32(syscall.EOPNOTSUPP))
			return
		}
		op.kind, op.n = opDiscard, int(s.Addr)
		if op.off < 0 || op.off+int64(op.n) > d.Bytes() {
			r.soon(q, -int32(syscall.EINVAL))
			return
		}
	case uring.OpURingCmd:
		var res int32
		if op, res = r.discards(d, s); op == nil {
			r.soon(q, res)
			return
		}
	default:
		panic(fmt.Sprintf("sim: opcode %d on a disk", s.Opcode))
	}
	d.checkConfined(r, op)
	q.disk, q.dev = op, d
	op.done = func(res int32) { q.complete(res, 0) }
	d.submit(op)
}

// registered says whether a *Fixed entry stays inside the buffer that it names.
func (r *ring) registered(s *uring.SQE) bool {
	if int(s.BufIndex) >= len(r.bufs) {
		return false
	}
	b := r.bufs[s.BufIndex]
	base := addressOf(b)
	return s.Addr >= base && s.Addr+uint64(s.Len) <= base+uint64(len(b))
}

func (r *ring) timeout(q *request) {
	h := r.w.after(timespec(q.sqe.Addr), func() { q.complete(-int32(syscall.ETIME), 0) })
	q.end = func() bool { h.drop(); return true }
	q.left = h.drop
}

// cancel looks for what a cancel names and ends it if it waits. Disk operations run to their end.
func (r *ring) cancel(c *request) int32 {
	var found []*request
	for _, q := range r.flight {
		any := c.sqe.OpFlags&uring.CancelAny != 0
		if q != c && (any || q.sqe.UserData == c.sqe.Addr) && q.sqe.Opcode != uring.OpAsyncCancel {
			found = append(found, q)
			if c.sqe.OpFlags&uring.CancelAll == 0 {
				break
			}
		}
	}
	if len(found) == 0 {
		return -int32(syscall.ENOENT)
	}
	ended := 0
	for _, q := range found {
		if q.end != nil && q.end() {
			ended++
			r.w.after(between(r.w.sched, 0, 2000), func() { q.complete(-int32(syscall.ECANCELED), 0) })
		}
	}
	if ended == 0 {
		return -int32(syscall.EALREADY)
	}
	if c.sqe.OpFlags&uring.CancelAll != 0 {
		return int32(ended)
	}
	return 0
}

// eventFd wakes a reactor: what NewEvent gives. count is signals not yet read.
type eventFd struct {
	r       *ring
	fd      int32
	count   uint64
	waiting []*request
	armed   bool
}

func (r *ring) NewEvent() (int32, func(), error) {
	e := &eventFd{r: r}
	e.fd = r.w.openFd(e)
	r.events = append(r.events, e)
	return e.fd, e.signal, nil
}

// signal may come from any reactor of the world, which are all one goroutine.
func (e *eventFd) signal() {
	if e.r.closed {
		return
	}
	e.count++
	e.kick()
}

func (e *eventFd) kick() {
	if e.armed || e.count == 0 || len(e.waiting) == 0 {
		return
	}
	e.armed = true
	e.r.w.after(between(e.r.w.sched, 0, 20_000), e.wake)
}

func (e *eventFd) begin(q *request) {
	switch q.sqe.Opcode {
	case uring.OpRead, uring.OpPollAdd:
		e.waiting = append(e.waiting, q)
		q.end = func() bool { return e.drop(q) }
		e.kick()
	default:
		panic(fmt.Sprintf("sim: opcode %d on an event", q.sqe.Opcode))
	}
}

func (e *eventFd) drop(q *request) bool {
	for i, o := range e.waiting {
		if o == q {
			e.waiting = append(e.waiting[:i], e.waiting[i+1:]...)
			return true
		}
	}
	return false
}

func (e *eventFd) wake() {
	e.armed = false
	if e.r.closed || e.count == 0 || len(e.waiting) == 0 {
		return
	}
	q := e.waiting[0]
	if q.sqe.Opcode == uring.OpRead {
		e.waiting = e.waiting[1:]
		putCount(memory(q.sqe.Addr, 8), e.count)
		e.count = 0
		q.complete(8, 0)
		return
	}
	if q.sqe.Len&pollMultishot != 0 {
		e.count = 0 // each signal is one edge
		q.complete(pollIn, uring.CQEFMore)
		return
	}
	e.waiting = e.waiting[1:]
	q.complete(pollIn, 0)
}
