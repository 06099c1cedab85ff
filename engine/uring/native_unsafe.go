package uring

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's structures and system calls. Nothing here decides anything.

type ringParams struct { // struct io_uring_params, 120 bytes
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFd uint32
	_                                                                      [3]uint32
	sqOff                                                                  sqOffsets
	cqOff                                                                  cqOffsets
}

type sqOffsets struct {
	head, tail, ringMask, ringEntries, flags, dropped, array, _ uint32
	_                                                           uint64
}

type cqOffsets struct {
	head, tail, ringMask, ringEntries, overflow, cqes, flags, _ uint32
	_                                                           uint64
}

type enterArg struct { // struct io_uring_getevents_arg
	sigmask   uint64
	sigmaskSz uint32
	minWaitUs uint32
	ts        uint64
}

type kernelTimespec struct{ sec, nsec int64 }

type ringFdUpdate struct { // struct io_uring_rsrc_update
	offset, _ uint32
	data      uint64
}

type bufReg struct { // struct io_uring_buf_reg
	ringAddr    uint64
	ringEntries uint32
	bgid, flags uint16
	_           [3]uint64
}

type bufEntry struct { // struct io_uring_buf; the tail of the ring is resv of the first
	addr uint64
	n    uint32
	bid  uint16
	tail uint16
}

type probeOp struct {
	op, _ uint8
	flags uint16
	_     uint32
}

type probeAll struct { // struct io_uring_probe
	lastOp, opsLen uint8
	_              uint16
	_              [3]uint32
	ops            [256]probeOp
}

const (
	_ = uint(unsafe.Sizeof(SQE{}) - sqeBytes)
	_ = uint(sqeBytes - unsafe.Sizeof(SQE{}))
	_ = uint(120 - unsafe.Sizeof(ringParams{}))
	_ = uint(unsafe.Sizeof(ringParams{}) - 120)
	_ = uint(40 - unsafe.Sizeof(bufReg{}))

	offSQRing = 0
	offSQEs   = 0x10000000
)

// ringMaps is what the kernel shares with us.
type ringMaps struct {
	sqHead, sqTail, sqFlags *uint32
	cqHead, cqTail          *uint32
	cqOverflow              *uint32
	sqMask, cqMask          uint32
	sqEntries               uint32
	sqeShift                uint32 // an entry is 1<<sqeShift SQEs
	sqes                    []SQE
	cqes                    []CQE
	ring, sqeMem            []byte
}

func (m *ringMaps) mmap(fd int, p *ringParams) (err error) {
	if p.flags&setupSQE128 != 0 {
		m.sqeShift = 1
	}
	ringBytes := uintptr(p.cqOff.cqes) + uintptr(p.cqEntries)*unsafe.Sizeof(CQE{})
	if p.flags&setupNoSQArray == 0 {
		ringBytes = max(ringBytes, uintptr(p.sqOff.array)+uintptr(p.sqEntries)*4)
	}
	prot, flags := unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE
	if m.ring, err = unix.Mmap(fd, offSQRing, int(ringBytes), prot, flags); err != nil {
		return err
	}
	if m.sqeMem, err = unix.Mmap(fd, offSQEs, int(p.sqEntries)*sqeBytes<<m.sqeShift, prot, flags); err != nil {
		unix.Munmap(m.ring)
		return err
	}
	at := func(off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&m.ring[off])) }
	m.sqHead, m.sqTail, m.sqFlags = at(p.sqOff.head), at(p.sqOff.tail), at(p.sqOff.flags)
	m.cqHead, m.cqTail, m.cqOverflow = at(p.cqOff.head), at(p.cqOff.tail), at(p.cqOff.overflow)
	m.sqMask, m.cqMask = *at(p.sqOff.ringMask), *at(p.cqOff.ringMask)
	m.sqEntries = p.sqEntries
	m.sqes = unsafe.Slice((*SQE)(unsafe.Pointer(&m.sqeMem[0])), int(p.sqEntries)<<m.sqeShift)
	m.cqes = unsafe.Slice((*CQE)(unsafe.Pointer(&m.ring[p.cqOff.cqes])), int(p.cqEntries))
	if p.flags&setupNoSQArray == 0 { // entry i is always at place i
		array := unsafe.Slice(at(p.sqOff.array), int(p.sqEntries))
		for i := range array {
			array[i] = uint32(i)
		}
	}
	return nil
}

func (m *ringMaps) munmap() error {
	err := unix.Munmap(m.ring)
	if e := unix.Munmap(m.sqeMem); err == nil {
		err = e
	}
	m.sqes, m.cqes = nil, nil
	return err
}

// cmdArea is bytes 48 to 128 of an entry of 128 bytes.
func cmdArea(s *SQE) *[80]byte {
	return (*[80]byte)(unsafe.Add(unsafe.Pointer(s), cmdOffset))
}

func ringSetup(entries uint32, p *ringParams) (fd int, err error) {
	r, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(entries), uintptr(unsafe.Pointer(p)), 0)
	if errno != 0 {
		return -1, errno
	}
	unix.CloseOnExec(int(r))
	return int(r), nil
}

// enterNow only submits, and does not sleep: the scheduler need not be told of it, which would cost more than many a submission's share of the turn.
func enterNow(fd int, submit, flags uint32) (done uint32, errno unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), 0, uintptr(flags), 0, 0)
	return uint32(r), errno
}

func enterPlain(fd int, submit, wait, flags uint32) (done uint32, errno unix.Errno) {
	r, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), uintptr(wait), uintptr(flags), 0, 0)
	return uint32(r), errno
}

// enterTimed waits with a limit. arg and ts are fields of a heap object: the collector does not move
// those, and the caller holds it.
func enterTimed(fd int, submit, wait, flags uint32, arg *enterArg, ts *kernelTimespec) (done uint32, errno unix.Errno) {
	*arg = enterArg{sigmaskSz: 8, ts: uint64(uintptr(unsafe.Pointer(ts)))}
	r, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(fd), uintptr(submit), uintptr(wait), uintptr(flags),
		uintptr(unsafe.Pointer(arg)), unsafe.Sizeof(*arg))
	return uint32(r), errno
}

func register(fd int, op uintptr, arg unsafe.Pointer, n int) (int, error) {
	for {
		r, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(fd), op, uintptr(arg), uintptr(n), 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(r), nil
	}
}

func ringFdRegister(fd int) (index int, err error) {
	u := ringFdUpdate{offset: ^uint32(0), data: uint64(fd)}
	if _, err := register(fd, registerRingFds, unsafe.Pointer(&u), 1); err != nil {
		return 0, err
	}
	return int(u.offset), nil
}

func ringFdUnregister(fd, index int) {
	u := ringFdUpdate{offset: uint32(index)}
	register(fd, unregisterRingFds, unsafe.Pointer(&u), 1) // fails only if there is nothing to undo
}

func registerIovecs(fd int, bufs [][]byte) error {
	iov := make([]unix.Iovec, len(bufs))
	for i, b := range bufs {
		iov[i].Base = unsafe.SliceData(b)
		iov[i].SetLen(len(b))
	}
	_, err := register(fd, registerBuffers, unsafe.Pointer(unsafe.SliceData(iov)), len(iov))
	return err
}

func registerInt32s(fd int, op uintptr, v []int32) error {
	_, err := register(fd, op, unsafe.Pointer(unsafe.SliceData(v)), len(v))
	return err
}

func registerNothing(fd int, op uintptr) error {
	_, err := register(fd, op, nil, 0)
	return err
}

func updateFile(ring int, slot uint32, fd int32) error {
	v := fd
	u := ringFdUpdate{offset: slot, data: uint64(uintptr(unsafe.Pointer(&v)))}
	n, err := register(ring, registerFilesUpdate, unsafe.Pointer(&u), 1)
	keep(&v)
	if err == nil && n != 1 {
		return unix.EINVAL
	}
	return err
}

// keep makes v live, and on the heap, until here: the kernel got its address as a number.
//
//go:noinline
func keep(v *int32) { kept.Store(v) }

var kept atomic.Pointer[int32] // any thread's

func ringProbe(fd int) (*probeAll, error) {
	p := &probeAll{}
	_, err := register(fd, registerProbe, unsafe.Pointer(p), len(p.ops))
	return p, err
}
