package uring

import (
	"fmt"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// event is an eventfd that any thread may signal until, and while, it is being closed: a late signal
// must never be written to a descriptor number that somebody else has got meanwhile.
type event struct {
	fd    int32
	users atomic.Int64 // signals under way; negative once closed
}

var eventOne = []byte{1, 0, 0, 0, 0, 0, 0, 0}

func newEvent() (*event, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("uring: eventfd: %w", err)
	}
	return &event{fd: int32(fd)}, nil
}

// signal makes the descriptor readable. A write can't fail but for a closed descriptor, and can't block
// before 2⁶⁴−2 unread signals.
func (e *event) signal() {
	if e.users.Add(1) > 0 {
		for {
			if _, err := unix.Write(int(e.fd), eventOne); err != unix.EINTR {
				break
			}
		}
	}
	e.users.Add(-1)
}

const eventClosed = int64(-1) << 40

func (e *event) close() {
	e.users.Add(eventClosed)
	for e.users.Load() != eventClosed {
		runtime.Gosched()
	}
	unix.Close(int(e.fd))
}
