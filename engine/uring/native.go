package uring

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// native is the ring on the kernel's own interface. All of it belongs to the thread that opened it.
type native struct {
	fd      int
	enterFd int    // fd, or its registered index
	enterFl uint32 // flags of every enter
	setup   uint32 // what io_uring_setup accepted
	caps    Caps
	maps    ringMaps
	tail    uint32 // of the submission queue; published by Enter
	arg     enterArg
	ts      kernelTimespec
	events  []*event
	bufs    []*nativeBufRing
	closed  bool
}

// Kernel constants (include/uapi/linux/io_uring.h).
const (
	setupIOPoll       = 1 << 0
	setupSQPoll       = 1 << 1
	setupCQSize       = 1 << 3
	setupClamp        = 1 << 4
	setupSubmitAll    = 1 << 7
	setupCoopTaskrun  = 1 << 8
	setupTaskrunFlag  = 1 << 9
	setupSQE128       = 1 << 10
	setupSingleIssuer = 1 << 12
	setupDeferTaskrun = 1 << 13
	setupNoSQArray    = 1 << 16

	featSingleMmap = 1 << 0
	featNoDrop     = 1 << 1
	featExtArg     = 1 << 8

	enterGetEvents      = 1 << 0
	enterSQWakeup       = 1 << 1
	enterSQWait         = 1 << 2
	enterExtArg         = 1 << 3
	enterRegisteredRing = 1 << 4

	sqNeedWakeup = 1 << 0
	sqCQOverflow = 1 << 1
	sqTaskrun    = 1 << 2

	registerBuffers     = 0
	unregisterBuffers   = 1
	registerFiles       = 2
	unregisterFiles     = 3
	registerFilesUpdate = 6
	registerProbe       = 8
	registerRingFds     = 20
	unregisterRingFds   = 21
	registerPbufRing    = 22
	unregisterPbufRing  = 23
)

const sqPollIdleMs = 100

// OpenNative opens a ring for the calling thread, which has to be locked to its goroutine and stays the
// only one to use the ring.
func OpenNative(cfg Config) (Ring, error) {
	cfg = cfg.withDefaults()
	n := &native{fd: -1}
	p, err := n.setupBest(cfg)
	if err != nil {
		return nil, err
	}
	if miss := featSingleMmap | featNoDrop | featExtArg; p.features&uint32(miss) != uint32(miss) {
		unix.Close(n.fd)
		return nil, fmt.Errorf("%w: kernel too old (features %#x)", ErrMissing, p.features)
	}
	if err := n.maps.mmap(n.fd, p); err != nil {
		unix.Close(n.fd)
		return nil, fmt.Errorf("uring: mapping the queues: %w", err)
	}
	n.tail = atomic.LoadUint32(n.maps.sqTail)
	n.enterFd = n.fd
	if index, err := ringFdRegister(n.fd); err == nil {
		n.enterFd, n.enterFl = index, enterRegisteredRing
	}
	n.caps = Caps{
		Backend: "native", SQEntries: p.sqEntries, CQEntries: p.cqEntries,
		SQE128: n.setup&setupSQE128 != 0, ExtArg: true, DeferTask: n.setup&setupDeferTaskrun != 0,
		NoSQArray: n.setup&setupNoSQArray != 0, FixedRingFd: n.enterFl != 0,
		BufRings: true, FileUpdate: true, IOPoll: cfg.IOPoll, SQPoll: cfg.SQPoll,
	}
	return n, nil
}

// setupBest asks for everything and then for less: NO_SQARRAY came with 6.6, DEFER_TASKRUN with 6.1.
func (n *native) setupBest(cfg Config) (p *ringParams, err error) {
	base := uint32(setupCQSize | setupClamp)
	if cfg.SQE128 {
		base |= setupSQE128
	}
	if cfg.IOPoll {
		base |= setupIOPoll
	}
	tries := []uint32{
		setupSubmitAll | setupSingleIssuer | setupDeferTaskrun | setupCoopTaskrun | setupTaskrunFlag | setupNoSQArray,
		setupSubmitAll | setupSingleIssuer | setupDeferTaskrun | setupCoopTaskrun | setupTaskrunFlag,
		setupSubmitAll | setupCoopTaskrun | setupTaskrunFlag,
		setupSubmitAll,
	}
	if cfg.SQPoll {
		base |= setupSQPoll
		tries = []uint32{setupSubmitAll | setupSingleIssuer | setupNoSQArray, setupSubmitAll}
	}
	for _, flags := range tries {
		p = &ringParams{flags: base | flags, cqEntries: cfg.CQEntries}
		if cfg.SQPoll {
			p.sqThreadIdle = sqPollIdleMs
		}
		n.fd, err = ringSetup(cfg.Entries, p)
		if err == nil {
			n.setup = base | flags
			return p, nil
		}
		if err != unix.EINVAL {
			break
		}
	}
	switch err {
	case unix.ENOSYS, unix.EPERM:
		return nil, fmt.Errorf("%w: io_uring_setup: %w", ErrMissing, err)
	case unix.ENOMEM:
		return nil, fmt.Errorf("%w: io_uring_setup: %w", ErrMemlock, err)
	}
	return nil, fmt.Errorf("uring: io_uring_setup of %d entries, %d completions: %w", cfg.Entries, cfg.CQEntries, err)
}

func (n *native) Cap() Caps { return n.caps }

// slot returns the place of the next entry, nil if the queue is full.
func (n *native) slot() *SQE {
	m := &n.maps
	if n.tail-atomic.LoadUint32(m.sqHead) >= m.sqEntries {
		return nil
	}
	return &m.sqes[(n.tail&m.sqMask)<<m.sqeShift]
}

func (n *native) Push(s *SQE) error {
	p := n.slot()
	if p == nil {
		return ErrFull
	}
	*p = *s
	n.tail++
	return nil
}

func (n *native) PushCmd(s *SQE, cmd *[80]byte) error {
	if !n.caps.SQE128 {
		return ErrUnsupported
	}
	p := n.slot()
	if p == nil {
		return ErrFull
	}
	*p = *s
	*cmdArea(p) = *cmd
	n.tail++
	return nil
}

// Enter publishes the tail and calls the kernel, unless there is nothing to submit, nothing to wait for
// and no completion that the kernel holds back (overflow, deferred task work).
func (n *native) Enter(wait uint32, timeoutNs int64) error {
	m := &n.maps
	atomic.StoreUint32(m.sqTail, n.tail)
	for {
		pending := n.tail - atomic.LoadUint32(m.sqHead)
		flags := n.enterFl
		state := atomic.LoadUint32(m.sqFlags)
		if wait > 0 || state&(sqCQOverflow|sqTaskrun) != 0 || n.caps.IOPoll {
			flags |= enterGetEvents
		}
		if n.caps.SQPoll {
			flags |= n.pollerFlags(pending, state)
			pending = 0 // its thread takes them
		}
		if pending == 0 && flags == n.enterFl {
			return nil
		}
		done, errno := n.enter(pending, wait, flags, timeoutNs)
		if lost := atomic.LoadUint32(m.cqOverflow); lost != 0 {
			return fmt.Errorf("uring: the kernel had no memory to keep completions: %d are lost", lost)
		}
		switch errno {
		case 0:
			if done < pending { // it stopped early, and did not wait
				continue
			}
			return nil
		case unix.EINTR:
			if pending > 0 {
				continue
			}
			return nil
		case unix.ETIME:
			return nil
		case unix.EBUSY, unix.EAGAIN: // completions to be reaped first, or no memory just now
			return nil
		}
		return fmt.Errorf("uring: io_uring_enter(submit %d, wait %d): %w", pending, wait, errno)
	}
}

// pollerFlags: wake the submitting thread if it sleeps, and wait for room if the queue is full.
func (n *native) pollerFlags(pending, state uint32) (flags uint32) {
	if state&sqNeedWakeup != 0 {
		flags |= enterSQWakeup
	}
	if pending >= n.maps.sqEntries {
		flags |= enterSQWait
	}
	return flags
}

func (n *native) enter(pending, wait, flags uint32, timeoutNs int64) (done uint32, errno unix.Errno) {
	switch {
	case wait == 0 && flags&enterSQWait == 0:
		return enterNow(n.enterFd, pending, flags)
	case wait == 0 || timeoutNs < 0:
		return enterPlain(n.enterFd, pending, wait, flags)
	}
	n.ts = kernelTimespec{sec: timeoutNs / 1e9, nsec: timeoutNs % 1e9}
	return enterTimed(n.enterFd, pending, wait, flags|enterExtArg, &n.arg, &n.ts)
}

func (n *native) Reap(dst []CQE) int {
	got := n.copyOut(dst)
	if got == 0 && atomic.LoadUint32(n.maps.sqFlags)&sqCQOverflow != 0 {
		// The kernel keeps what did not fit; it moves it when asked. An error here shows at the next Enter.
		enterNow(n.enterFd, 0, n.enterFl|enterGetEvents)
		got = n.copyOut(dst)
	}
	return got
}

func (n *native) copyOut(dst []CQE) int {
	m := &n.maps
	head := atomic.LoadUint32(m.cqHead)
	ready := atomic.LoadUint32(m.cqTail) - head
	k := min(int(ready), len(dst))
	for i := range k {
		dst[i] = m.cqes[(head+uint32(i))&m.cqMask]
	}
	if k > 0 {
		atomic.StoreUint32(m.cqHead, head+uint32(k))
	}
	return k
}

func (n *native) RegisterBuffers(bufs [][]byte) error {
	err := registerIovecs(n.fd, bufs)
	switch err {
	case nil:
		n.caps.Buffers = true
		return nil
	case unix.ENOMEM, unix.EPERM:
		return fmt.Errorf("%w: registering %d buffers: %w", ErrMemlock, len(bufs), err)
	}
	return fmt.Errorf("uring: registering %d buffers: %w", len(bufs), err)
}

func (n *native) RegisterFiles(fds []int32) error {
	if err := registerInt32s(n.fd, registerFiles, fds); err != nil {
		return fmt.Errorf("uring: registering %d files: %w", len(fds), err)
	}
	n.caps.Files = true
	return nil
}

func (n *native) UpdateFile(slot int, fd int32) error {
	if !n.caps.Files {
		return ErrUnsupported
	}
	if err := updateFile(n.fd, uint32(slot), fd); err != nil {
		return fmt.Errorf("uring: file slot %d: %w", slot, err)
	}
	return nil
}

func (n *native) NewEvent() (fd int32, signal func(), err error) {
	e, err := newEvent()
	if err != nil {
		return -1, nil, err
	}
	n.events = append(n.events, e)
	return e.fd, e.signal, nil
}

// unregister lets go of what is registered: it would stay open, and pinned, until the kernel has torn the
// ring down in the background, some time after close. Now a device can be claimed again at once.
func unregister(fd int, caps Caps) (err error) {
	if caps.Files {
		err = registerNothing(fd, unregisterFiles)
	}
	if caps.Buffers {
		if e := registerNothing(fd, unregisterBuffers); err == nil {
			err = e
		}
	}
	return err
}

func (n *native) Close() error {
	if n.closed {
		return nil
	}
	n.closed = true
	for _, b := range n.bufs {
		b.release(n.fd)
	}
	err := unregister(n.fd, n.caps)
	if n.enterFl != 0 {
		ringFdUnregister(n.fd, n.enterFd)
	}
	if e := n.maps.munmap(); err == nil {
		err = e
	}
	if e := unix.Close(n.fd); err == nil {
		err = e
	}
	for _, e := range n.events {
		e.close()
	}
	if err != nil {
		return fmt.Errorf("uring: close: %w", err)
	}
	return nil
}
