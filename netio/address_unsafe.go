package netio

import (
	"encoding/binary"
	"unsafe"
)

// address is where p begins, for the ring. p is arena memory, or Go memory that a stream refers to until the operation has completed: the
// collector does not move it.
func address(p []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p)))) }

// Layout of struct msghdr and struct iovec, 64 bit Linux.
const (
	msghdrLen = 56 // iov at 16, iovlen at 24; names, control data and flags stay zero
	iovecLen  = 16
)

const _ = uint(4096 - msghdrLen - iovecsMax*iovecLen)
const _ = uint(unsafe.Sizeof(uintptr(0)) - 8) // 64 bit only

// message writes a struct msghdr for the pieces into off-heap memory that stays put until the send has completed, and returns its address.
func (s *stream) message(pieces [][]byte) uint64 {
	if s.msg == nil {
		s.control, s.msg = reserve(s.r.Arena(), msghdrLen+iovecsMax*iovecLen)
	}
	m := s.msg
	clear(m[:msghdrLen])
	base := address(m)
	binary.NativeEndian.PutUint64(m[16:], base+msghdrLen)
	binary.NativeEndian.PutUint64(m[24:], uint64(len(pieces)))
	for i, p := range pieces {
		v := m[msghdrLen+i*iovecLen:]
		binary.NativeEndian.PutUint64(v, address(p))
		binary.NativeEndian.PutUint64(v[8:], uint64(len(p)))
	}
	return base
}
