package fuse

import (
	"golang.org/x/sys/unix"

	"basalt/engine"
	"basalt/engine/uring"
)

// FUSE over io_uring (kernel 6.14 and later): one queue for each possible CPU, some slots registered in each. The command that
// registers a slot, and later the one that answers its request, completes when the next request lies in its memory: one system call
// answers and fetches. The kernel starts to use the queues when each of them has a slot; until then, and for FORGET, INTERRUPT and the
// replies to notifications always, requests come over /dev/fuse.
const (
	cmdRegister       = 1
	cmdCommitAndFetch = 2
)

// register offers the slot to its queue.
func (s *slot) register(t *engine.Turn) {
	s.vector(headVecIn, s.headAt, headSize)
	s.vector(headVecIn+16, s.paidAt, len(s.payload))
	s.submit(t, cmdRegister, 0)
}

// commit answers the request of the slot and fetches the next. The kernel wants the out header where the in header was, and all
// arguments in the payload, where the decoder has put them.
func (s *slot) commit(t *engine.Turn, n int) {
	copy(s.head[headIn:], s.head[headOut:headOut+outHeaderSize])
	le.PutUint32(s.head[headPayload:], uint32(n-outHeaderSize))
	s.submit(t, cmdCommitAndFetch, le.Uint64(s.head[headCommit:]))
}

func (s *slot) submit(t *engine.Turn, cmd uint64, commitID uint64) {
	var area [80]byte // flags u64, commit_id u64, qid u16
	le.PutUint64(area[8:], commitID)
	le.PutUint16(area[16:], s.qid)
	q := uring.SQE{Opcode: uring.OpURingCmd, Off: cmd, Addr: s.headAt + headVecIn, Len: 2}
	s.col.target(&q)
	t.SubmitCmd(q, &area, s)
}

// Complete runs when a request has arrived in the slot, or the connection has ended.
func (s *slot) Complete(t *engine.Turn, res int32, _ uint32) {
	c := s.col
	if res < 0 {
		c.lost(t, "queue", -res)
		return
	}
	s.arrived()
	c.stats.uring.Add(1)
	c.start(t, s)
}

// ended tells the errors that say that the connection is gone from those that say that something is wrong.
func ended(errno int32) bool {
	switch unix.Errno(errno) {
	case unix.ENOTCONN, unix.ECONNABORTED, unix.ENODEV, unix.ECANCELED:
		return true
	}
	return false
}

// vector writes a struct iovec.
func (s *slot) vector(at int, addr uint64, n int) {
	le.PutUint64(s.head[at:], addr)
	le.PutUint64(s.head[at+8:], uint64(n))
}
