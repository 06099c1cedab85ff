//go:build giouring

package uring

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/pawelgaczynski/giouring"
	"golang.org/x/sys/unix"
)

// foreign is the ring on github.com/pawelgaczynski/giouring, for comparison. It links only with
// -ldflags=-checklinkname=0. Of that library only what was found to work is used:
//
//   - entries are assigned whole: its Prepare functions leave flags of the slot's last use in place;
//   - files are registered by the raw call: its own takes []int where the kernel reads int32;
//   - a wait with a limit is a second system call after the submission;
//   - no NO_SQARRAY (it corrupts the queue), no ring descriptor registration (it can't be undone), no
//     buffer rings (their arithmetic overflows), and the completion queue is always twice the submission
//     queue.
type foreign struct {
	ring   *giouring.Ring
	caps   Caps
	arg    enterArg
	ts     kernelTimespec
	events []*event

	dst    []CQE // of the Reap that is running
	copied int
	copyFn func(*giouring.CompletionQueueEvent)
	closed bool
}

// OpenGiouring opens a ring of the second backend for the calling, locked thread.
func OpenGiouring(cfg Config) (Ring, error) {
	cfg = cfg.withDefaults()
	if cfg.IOPoll || cfg.SQPoll {
		return nil, fmt.Errorf("%w: polling with giouring", ErrUnsupported)
	}
	entries := max(cfg.Entries, (cfg.CQEntries+1)/2)
	flags := uint32(setupClamp | setupSubmitAll | setupSingleIssuer | setupDeferTaskrun | setupCoopTaskrun | setupTaskrunFlag)
	if cfg.SQE128 {
		flags |= setupSQE128
	}
	g := &foreign{ring: giouring.NewRing()}
	if err := g.ring.QueueInit(entries, flags); err != nil {
		switch err {
		case unix.ENOSYS, unix.EPERM:
			return nil, fmt.Errorf("%w: io_uring_setup: %w", ErrMissing, err)
		}
		return nil, fmt.Errorf("uring: giouring with %d entries: %w", entries, err)
	}
	g.copyFn = g.copyOne
	n := g.ring.SQSpaceLeft()
	g.caps = Caps{Backend: "giouring", SQEntries: n, CQEntries: 2 * n, SQE128: cfg.SQE128, ExtArg: true, DeferTask: true, FileUpdate: true}
	return g, nil
}

func (g *foreign) Cap() Caps { return g.caps }

func (g *foreign) Push(s *SQE) error {
	p := g.ring.GetSQE()
	if p == nil {
		return ErrFull
	}
	*sqeOf(p) = *s
	return nil
}

func (g *foreign) PushCmd(s *SQE, cmd *[80]byte) error {
	if !g.caps.SQE128 {
		return ErrUnsupported
	}
	p := g.ring.GetSQE()
	if p == nil {
		return ErrFull
	}
	*sqeOf(p) = *s
	*cmdArea(sqeOf(p)) = *cmd
	return nil
}

func (g *foreign) Enter(wait uint32, timeoutNs int64) error {
	now := wait
	if timeoutNs >= 0 {
		now = 0
	}
	for {
		_, err := g.ring.SubmitAndWait(now)
		if err != nil && !tolerable(err) {
			return fmt.Errorf("uring: giouring: submit, wait for %d: %w", now, err)
		}
		if !errors.Is(err, unix.EINTR) || g.ring.SQReady() == 0 {
			break
		}
	}
	if wait == 0 || timeoutNs < 0 || g.ring.CQReady() >= wait {
		return nil
	}
	g.ts = kernelTimespec{sec: timeoutNs / 1e9, nsec: timeoutNs % 1e9}
	if err := g.waitTimed(wait); err != nil && !tolerable(err) {
		return fmt.Errorf("uring: giouring: wait for %d: %w", wait, err)
	}
	return nil
}

// tolerable errors of an enter: a signal, the end of the wait, completions to be reaped first.
func tolerable(err error) bool {
	for _, ok := range []error{unix.EINTR, unix.ETIME, unix.EBUSY, unix.EAGAIN} {
		if errors.Is(err, ok) {
			return true
		}
	}
	return false
}

func (g *foreign) Reap(dst []CQE) int {
	if g.ring.CQReady() == 0 {
		if !g.ring.CQHasOverflow() {
			return 0
		}
		if _, err := g.ring.GetEvents(); err != nil && !tolerable(err) {
			return 0 // the next Enter says what is wrong
		}
	}
	g.dst, g.copied = dst, 0
	g.ring.ForEachCQE(g.copyFn)
	g.dst = nil
	g.ring.CQAdvance(uint32(g.copied))
	return g.copied
}

func (g *foreign) copyOne(c *giouring.CompletionQueueEvent) {
	if g.copied < len(g.dst) {
		g.dst[g.copied] = CQE{UserData: c.UserData, Res: c.Res, Flags: c.Flags}
		g.copied++
	}
}

func (g *foreign) RegisterBuffers(bufs [][]byte) error {
	iov := make([]syscall.Iovec, len(bufs))
	for i, b := range bufs {
		iov[i].Base = &b[0]
		iov[i].SetLen(len(b))
	}
	if _, err := g.ring.RegisterBuffers(iov); err != nil {
		if errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EPERM) {
			return fmt.Errorf("%w: registering %d buffers: %w", ErrMemlock, len(bufs), err)
		}
		return fmt.Errorf("uring: registering %d buffers: %w", len(bufs), err)
	}
	g.caps.Buffers = true
	return nil
}

func (g *foreign) RegisterFiles(fds []int32) error {
	if err := g.registerInt32s(fds); err != nil {
		return fmt.Errorf("uring: registering %d files: %w", len(fds), err)
	}
	g.caps.Files = true
	return nil
}

func (g *foreign) UpdateFile(slot int, fd int32) error {
	if !g.caps.Files {
		return ErrUnsupported
	}
	if err := updateFile(g.ring.RingFd(), uint32(slot), fd); err != nil {
		return fmt.Errorf("uring: file slot %d: %w", slot, err)
	}
	return nil
}

func (g *foreign) NewBufRing(group uint16, entries, size int) (BufRing, error) {
	if err := checkBufRing(entries, size); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%w: buffer rings with giouring", ErrUnsupported)
}

func (g *foreign) NewEvent() (fd int32, signal func(), err error) {
	e, err := newEvent()
	if err != nil {
		return -1, nil, err
	}
	g.events = append(g.events, e)
	return e.fd, e.signal, nil
}

func (g *foreign) Close() error {
	if g.closed {
		return nil
	}
	g.closed = true
	err := unregister(g.ring.RingFd(), g.caps)
	g.ring.QueueExit()
	for _, e := range g.events {
		e.close()
	}
	if err != nil {
		return fmt.Errorf("uring: close: %w", err)
	}
	return nil
}
