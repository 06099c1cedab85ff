package uring

import (
	"fmt"
	"strings"
)

// Caps is what one ring can do. Immutable after Open, except Buffers and Files, which say what has been
// registered.
type Caps struct {
	Backend     string // "native", "giouring", "sim"
	SQEntries   uint32
	CQEntries   uint32
	SQE128      bool
	ExtArg      bool // timeout inside enter
	DeferTask   bool // SINGLE_ISSUER | DEFER_TASKRUN
	NoSQArray   bool
	FixedRingFd bool // enter by a registered ring descriptor
	BufRings    bool // NewBufRing works
	FileUpdate  bool // UpdateFile works
	IOPoll      bool
	SQPoll      bool
	Buffers     bool // RegisterBuffers has succeeded
	Files       bool // RegisterFiles has succeeded
}

// Report is what this kernel and this process offer, as found by trying.
type Report struct {
	Kernel       string
	Available    bool
	Reason       string // why not, if not Available
	Caps         Caps   // of a ring opened with SQE128
	Ops          []uint8
	MemlockBytes int64 // RLIMIT_MEMLOCK, -1 without limit (or CAP_IPC_LOCK)
	SQPoll       bool  // a ring with a submitting kernel thread can be had
	IOPoll       bool  // a ring that polls can be had; whether a device can be polled only its reads tell
}

// HasOp tells whether the kernel knows the opcode.
func (r Report) HasOp(op uint8) bool {
	for _, o := range r.Ops {
		if o == op {
			return true
		}
	}
	return false
}

// String is one line for the log.
func (r Report) String() string {
	if !r.Available {
		return fmt.Sprintf("io_uring: not available on %s: %s", r.Kernel, r.Reason)
	}
	limit := "no memlock limit"
	if r.MemlockBytes >= 0 {
		limit = fmt.Sprintf("memlock %d bytes", r.MemlockBytes)
	}
	return fmt.Sprintf("io_uring: kernel %s, %s, %d operations, %s, sqpoll %t, iopoll %t", r.Kernel, r.Caps, len(r.Ops), limit, r.SQPoll, r.IOPoll)
}

// String lists the capabilities that are there.
func (c Caps) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s ring sq %d cq %d", c.Backend, c.SQEntries, c.CQEntries)
	for _, x := range []struct {
		on   bool
		name string
	}{
		{c.SQE128, "sqe128"}, {c.ExtArg, "ext-arg"}, {c.DeferTask, "defer-taskrun"}, {c.NoSQArray, "no-sqarray"},
		{c.FixedRingFd, "fixed-ring-fd"}, {c.BufRings, "buffer-rings"}, {c.FileUpdate, "file-update"},
		{c.IOPoll, "iopoll"}, {c.SQPoll, "sqpoll"}, {c.Buffers, "registered-buffers"}, {c.Files, "registered-files"},
	} {
		if x.on {
			b.WriteString(" " + x.name)
		}
	}
	return b.String()
}
