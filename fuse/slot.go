package fuse

import (
	"encoding/binary"

	"github.com/hanwen/go-fuse/v2/fuse"

	"basalt/engine"
	"basalt/engine/arena"
)

// A slot's header memory. The first 288 bytes are the kernel's struct fuse_uring_req_header; /dev/fuse uses the same places for the first
// part of a request. The kernel reads the vectors when the command that names them is submitted.
const (
	headIn      = 0   // struct fuse_in_header; over /dev/fuse the first 80 bytes of the request, so that the data of a WRITE is aligned
	headOp      = 128 // the operation's fixed struct
	headCommit  = 264 // u64 commit_id of struct fuse_uring_ent_in_out, which starts at 256
	headPayload = 272 // u32 payload_sz
	headSize    = 288
	headVecIn   = 288 // two struct iovec for what comes in
	headVecOut  = 320 // two struct iovec for what goes out over /dev/fuse
	headOut     = 352 // struct fuse_out_header of an answer over /dev/fuse
	headStride  = 512
)

// Sizes of the kernel's structs.
const (
	inHeaderSize  = 40
	outHeaderSize = 16
	devHeadSize   = inHeaderSize + 40 // struct fuse_write_in is 40
)

const _ = uint(headStride - headOut - outHeaderSize)

// Operations that are handled before or beside the decoder.
const (
	opForget      = 2
	opInterrupt   = 36
	opDestroy     = 38
	opBatchForget = 42
	opSyncFS      = 50
)

var le = binary.LittleEndian

// slot is one request: where it is read, what runs it and where its answer goes. Owned by the loop of its column, or by the kernel.
type slot struct {
	col     *column // immutable
	head    []byte
	payload []byte
	headAt  uint64
	paidAt  uint64
	buf     arena.Buf // payload
	qid     uint16
	uring   bool

	unique uint64        // of the request it carries, 0 if none
	length int           // bytes read, over /dev/fuse
	fiber  *engine.Fiber // running it now, else nil
	seen   uint64        // the request that the patrol met here last
	watch  uint64        // the request whose caller is being watched
	told   uint64        // the request whose INTERRUPT came before it had a fiber
	in     [3][]byte
	out    [2][]byte
}

func (s *slot) opcode() uint32 { return le.Uint32(s.head[headIn+4:]) }

// arrived takes note of the request that the kernel has put into the slot.
func (s *slot) arrived() { s.unique = le.Uint64(s.head[headIn+8:]) }

// input lists the request's bytes in order; the kernel's lengths are checked against the memory they must lie in.
func (s *slot) input() ([][]byte, bool) {
	if !s.uring {
		n := min(s.length, devHeadSize)
		s.in[0], s.in[1] = s.head[:n], s.payload[:s.length-n]
		return s.in[:2], s.length >= inHeaderSize
	}
	total, paid := int(le.Uint32(s.head[headIn:])), int(le.Uint32(s.head[headPayload:]))
	op := total - inHeaderSize - paid
	if op < 0 || op > headOp || paid > len(s.payload) {
		return nil, false
	}
	s.in[0], s.in[1], s.in[2] = s.head[:inHeaderSize], s.head[headOp:headOp+op], s.payload[:paid]
	return s.in[:], true
}

// Run answers the request: the fiber's whole life.
func (s *slot) Run(f *engine.Fiber) {
	c := s.col
	s.fiber = f
	c.running[s.unique] = s
	if c.conn.ended.Load() {
		f.SetCanceled()
	}
	if s.told == s.unique {
		c.interrupted(f.Turn(), s.unique)
	}
	n := s.handle(f)
	delete(c.running, s.unique)
	s.fiber = nil
	s.answer(f.Turn(), n)
}

// handle decodes the request, runs the file system's method and returns the length of the answer with its header.
func (s *slot) handle(f *engine.Fiber) int {
	in, ok := s.input()
	if !ok {
		s.col.conn.log.Error("FUSE request with impossible lengths", "opcode", s.opcode(), "length", le.Uint32(s.head))
		return s.plain(fuse.EIO)
	}
	if s.opcode() == opSyncFS {
		return s.plain(s.col.syncFS())
	}
	s.out[0], s.out[1] = s.head[headOut:headOut+outHeaderSize], s.payload
	n, status := s.col.proto.HandleRequest(in, s.out[:])
	if n < outHeaderSize {
		return s.plain(status)
	}
	return n
}

// plain makes an answer without arguments.
func (s *slot) plain(status fuse.Status) int {
	out := s.head[headOut:]
	le.PutUint32(out, outHeaderSize)
	le.PutUint32(out[4:], uint32(-int32(status)))
	le.PutUint64(out[8:], s.unique)
	return outHeaderSize
}

// answer hands the slot back to the kernel.
func (s *slot) answer(t *engine.Turn, n int) {
	s.unique = 0
	if s.uring {
		s.commit(t, n)
	} else {
		s.write(t, n)
	}
}
