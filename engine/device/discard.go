package device

import (
	"strconv"

	"basalt/engine"
	"basalt/engine/uring"
	"golang.org/x/sys/unix"
)

// DiscardBy is how a device is told what is free.
type DiscardBy uint8

const (
	DiscardNone    DiscardBy = iota // it is not: it cannot be, or Geometry.Discard says that it is not worth it
	DiscardPunch                    // an image file: a hole, by fallocate on the ring
	DiscardCommand                  // a block device, by a command on the ring; Linux 6.12
	DiscardIoctl                    // a block device, by a call that blocks a thread of the helper pool
)

var discardNames = [...]string{"none", "hole", "ring", "ioctl"}

func (b DiscardBy) String() string { return discardNames[b] }

// DiscardBy asks kernel and device, the first time, how a discard can be had. Nothing is discarded.
func (h *Handle) DiscardBy(f *engine.Fiber) DiscardBy {
	if h.told {
		return h.by
	}
	g := &h.d.geometry
	by := DiscardNone
	switch {
	case h.d.readOnly || !g.Discard:
	case !g.Block:
		by = DiscardPunch
	case h.takesCommand(f):
		by = DiscardCommand
	default:
		by = DiscardIoctl
	}
	h.by, h.told = by, true
	return by
}

// takesCommand tries with nothing to discard: who knows the command, of a device that can, calls an empty range EINVAL. So does a kernel that
// knows no commands at all (before 5.19) whatever the file; one that does says of no file that it is none.
func (h *Handle) takesCommand(f *engine.Fiber) bool {
	return f.Do(uring.PrepDiscard(-1, 0, 0)) == -int32(unix.EBADF) && f.Do(h.on(uring.PrepDiscard(h.fd, 0, 0))) == -int32(unix.EINVAL)
}

// Discard tells the device that nothing needs a range any more: the content is undefined afterwards, and like a write it survives a power cut
// only after a flush. With DiscardNone nothing is done. In flight it must be alone with its range: neither read nor written.
func (h *Handle) Discard(f *engine.Fiber, off, n int64) error {
	if off < 0 || n <= 0 || off%BlockBytes != 0 || n%BlockBytes != 0 || n > h.d.geometry.Bytes-off {
		panicPlace(h.d, off, n)
	}
	if h.d.readOnly {
		return h.Error(OpDiscard, off, int(n), -int32(unix.EROFS))
	}
	by := h.DiscardBy(f)
	for tries := 0; ; tries++ {
		res := int32(0)
		switch by {
		case DiscardPunch:
			res = f.Do(h.on(uring.PrepFallocate(h.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, uint64(off), uint64(n))))
		case DiscardCommand:
			res = f.Do(h.on(uring.PrepDiscard(h.fd, uint64(off), uint64(n))))
		case DiscardIoctl:
			h.r.Offload(f, func() { res = -int32(discardIoctl(h.d.fd, uint64(off), uint64(n))) })
		}
		if res != -int32(unix.EINTR) && res != -int32(unix.EAGAIN) || tries == retriesMax {
			return h.Error(OpDiscard, off, int(n), res)
		}
		f.Yield()
	}
}

// discardUnit is the device's unit of discards in whole blocks, and where in the device the first one begins. The kernel tells the distance to
// the next boundary, of a partition that from its start. A boundary inside a block cannot be met: the device leaves the ends of a discard
// alone then.
func discardUnit(granularity, alignment int64) (unit, align int64) {
	unit = max(BlockBytes, (granularity+BlockBytes-1)&^(BlockBytes-1)) // 512 is usual
	if alignment > 0 && alignment%BlockBytes == 0 {
		align = alignment % unit
	}
	return unit, align
}

// number is what a file of sysfs says; 0: nothing.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
