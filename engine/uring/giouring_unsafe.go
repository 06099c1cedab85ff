//go:build giouring

package uring

import (
	"unsafe"

	"github.com/pawelgaczynski/giouring"
)

const _ = uint(unsafe.Sizeof(giouring.SubmissionQueueEntry{}) - sqeBytes)

// sqeOf sees the library's entry as ours: the same 64 bytes.
func sqeOf(p *giouring.SubmissionQueueEntry) *SQE { return (*SQE)(unsafe.Pointer(p)) }

// waitTimed waits by the raw call: the library keeps the timespec's address where nothing keeps it alive.
func (g *foreign) waitTimed(wait uint32) error {
	g.arg = enterArg{sigmaskSz: 8, ts: uint64(uintptr(unsafe.Pointer(&g.ts)))}
	_, err := g.ring.Enter2(0, wait, enterGetEvents|enterExtArg, unsafe.Pointer(&g.arg), int(unsafe.Sizeof(g.arg)))
	return err
}

func (g *foreign) registerInt32s(v []int32) error {
	if _, errno := g.ring.Register(g.ring.RingFd(), registerFiles, unsafe.Pointer(unsafe.SliceData(v)), uint32(len(v))); errno != 0 {
		return errno
	}
	return nil
}
