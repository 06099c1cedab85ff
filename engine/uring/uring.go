// Package uring is the seam between the engine and the kernel: one io_uring, its submission and
// completion entries, and nothing about what they mean.
//
// A Ring belongs to the thread that opened it (SINGLE_ISSUER, DEFER_TASKRUN): every method is called
// from there, except the signal function of NewEvent, which any thread may call. Memory named by an
// entry (Addr) must be outside the Go heap, or be kept alive and unmoved by the caller, and belongs
// to the kernel until the entry's completion has been reaped.
//
// Invariants: an entry accepted by Push is submitted by the next Enter, in order; every submitted
// entry completes exactly once (a multishot one: once without CQEFMore, which is its last). Nothing is
// lost when the completion queue overflows: the kernel keeps the surplus and Enter fetches it.
//
// No locks. Survives EINTR (Go preempts threads by signals), a full submission queue, a kernel without
// the newer features (Caps says what is missing; the method then returns ErrUnsupported).
//
// Read sqe.go first, then native.go. The simulator implements Ring too; everything above this
// package is the same code there.
package uring

import "errors"

// Errors of a Ring that the caller tells apart.
var (
	ErrFull        = errors.New("uring: submission queue full")               // Enter(0, 0) makes room
	ErrUnsupported = errors.New("uring: not supported by this ring")          // capability absent: see Caps
	ErrMemlock     = errors.New("uring: locked-memory limit too small")       // RLIMIT_MEMLOCK; nothing was registered
	ErrMissing     = errors.New("uring: io_uring not available on this host") // not in the kernel, or forbidden
)

// Ring is one io_uring.
type Ring interface {
	// Push copies *s into the submission queue. ErrFull: Enter(0, 0) first, then again.
	Push(s *SQE) error
	// PushCmd is Push for a command entry of 128 bytes; cmd is what follows byte 48 of it.
	// ErrUnsupported unless the ring was opened with Config.SQE128.
	PushCmd(s *SQE, cmd *[80]byte) error
	// Enter submits everything pushed and, for wait > 0, blocks until that many completions are there,
	// or for timeoutNs (< 0: no limit). EINTR and a passed timeout are not errors: look at Reap.
	Enter(wait uint32, timeoutNs int64) error
	// Reap copies completions out and frees their places; it never blocks.
	Reap(dst []CQE) int
	// RegisterBuffers pins memory for the *Fixed operations; entry i has BufIndex i. Once per ring.
	// ErrMemlock: the limit is too small, use the plain operations.
	RegisterBuffers(bufs [][]byte) error
	// RegisterFiles makes the table of fixed files, -1 for an empty slot. Once per ring.
	RegisterFiles(fds []int32) error
	// UpdateFile replaces one slot of that table; fd -1 empties it.
	UpdateFile(slot int, fd int32) error
	// NewBufRing provides entries (a power of two) buffers of size bytes for receives that let the
	// kernel choose (SQEBufferSelect with this group).
	NewBufRing(group uint16, entries, size int) (BufRing, error)
	// NewEvent returns a descriptor that 8 bytes can be read from after signal; signal may be called
	// from any thread. Close of the ring closes the descriptor.
	NewEvent() (fd int32, signal func(), err error)
	// Cap tells what this ring can do.
	Cap() Caps
	// Close ends the ring. The caller has seen the completions of everything that names memory it
	// will free.
	Close() error
}

// BufRing is a set of equal buffers lent to the kernel. A completion with CQEFBuffer carries the
// buffer's number in its flags (CQE.BufID); the receiver owns that buffer until Recycle.
type BufRing interface {
	Group() uint16
	Entries() int
	Size() int
	Bytes(id uint16) []byte // the whole buffer
	Recycle(id uint16)      // back to the kernel
	Close() error           // after the last receive on the group has ended
}

// Config of a ring. Zero values: 256 entries, completion queue of four times that.
type Config struct {
	Entries   uint32 // submission queue, rounded up to a power of two by the kernel
	CQEntries uint32 // completion queue, rounded up as well
	SQE128    bool   // entries of 128 bytes: what PushCmd needs
	IOPoll    bool   // poll the device for completions: reads and writes only, no fsync, no sockets
	SQPoll    bool   // a kernel thread submits; costs a core
}

const entriesDefault = 256

func (c Config) withDefaults() Config {
	if c.Entries == 0 {
		c.Entries = entriesDefault
	}
	if c.CQEntries == 0 {
		c.CQEntries = 4 * c.Entries
	}
	return c
}
