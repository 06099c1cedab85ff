package fuse

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Notification codes of the kernel's protocol.
const (
	noticeInvalInode = 2
	noticeIncEpoch   = 8
	epochMinor       = 44 // protocol 7.44 (kernel 6.16): one notification makes every cached name invalid
	noticeQueue      = 64 // invalidations waiting
)

// ErrEnded is returned for what is asked of a connection that is over.
var ErrEnded = errors.New("the mount is gone")

// notifier sends notifications. The kernel takes the inode's lock for some of them, which a system call that waits for one of our
// answers may hold: so they leave from a goroutine of their own, never from a column.
type notifier struct {
	conn *Connection
	work chan invalidation
	sent atomic.Uint64
}

type invalidation struct {
	names  bool
	inodes []uint64
	then   func(error)
}

func newNotifier(c *Connection) *notifier {
	n := &notifier{conn: c, work: make(chan invalidation, noticeQueue)}
	go n.run()
	return n
}

// run ends with the connection, and closes the device behind it.
func (n *notifier) run() {
	for {
		select {
		case v := <-n.work:
			v.then(n.invalidate(v))
		case <-n.conn.done:
			unix.Close(n.conn.fd)
			for {
				select {
				case v := <-n.work:
					v.then(ErrEnded)
				default:
					return
				}
			}
		}
	}
}

func (n *notifier) invalidate(v invalidation) error {
	if v.names && n.conn.CachesNames() {
		if err := n.send(noticeIncEpoch, nil); err != nil {
			return err
		}
	}
	var body [24]byte // nodeid u64, offset i64, length i64: offset 0 and length 0 is the whole file
	for _, ino := range v.inodes {
		le.PutUint64(body[:], ino)
		// ENOENT: the kernel has forgotten it meanwhile, so there is nothing to invalidate.
		if err := n.send(noticeInvalInode, body[:]); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

func (n *notifier) send(code uint32, body []byte) error {
	msg := make([]byte, outHeaderSize, outHeaderSize+len(body))
	le.PutUint32(msg, uint32(outHeaderSize+len(body)))
	le.PutUint32(msg[4:], code)
	msg = append(msg, body...)
	n.sent.Add(1)
	if _, err := unix.Write(n.conn.fd, msg); err != nil {
		return fmt.Errorf("notification %d: %w", code, err)
	}
	return nil
}

// CachesNames says whether the kernel may be given names to keep: only where one notification takes them all back.
func (c *Connection) CachesNames() bool { return c.minor >= epochMinor }

// Invalidate makes the kernel drop what it keeps: all names, and attributes and pages of the inodes. then is called on the notifier's
// goroutine when the kernel has done so.
func (c *Connection) Invalidate(names bool, inodes []uint64, then func(error)) {
	select {
	case c.note.work <- invalidation{names: names, inodes: inodes, then: then}:
	case <-c.done:
		then(ErrEnded)
	}
}
