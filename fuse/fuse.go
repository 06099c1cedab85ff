// Package fuse is the POSIX mount: the kernel's FUSE requests, carried over io_uring or over /dev/fuse, each answered by a fiber on a
// column.
//
// State: a Connection belongs to the goroutine that made it (Unmount, Wait and Stats may be called from any). Everything that a
// request touches belongs to a column: its slots (one request in the kernel's or in our hands each), its protocol decoder and its
// RawFileSystem. Columns share nothing but the device's descriptor.
//
// Invariants: a slot's memory is the kernel's from the submission that fetches until its completion, ours from then to the submission
// that answers. Input and output payload are the same memory: the decoder copies names, and a handler consumes its data before any
// output is written. Every request that wants an answer gets exactly one. This process never makes a system call on a path below its
// own mount point while it serves, except to unmount. Notifications to the kernel leave from their own goroutine, never from a handler.
//
// Locks: none of ours. The decoder (fuse.ProtocolServer) has a mutex that it never holds while it calls a handler.
//
// Survives: a kernel without FUSE over io_uring (everything goes over /dev/fuse, and the counters show it), the death of the mount from
// outside (umount, abort through fusectl), interrupts at any moment.
//
// Read connection.go first, then slot.go.
package fuse

import (
	"errors"
	"log/slog"

	"github.com/hanwen/go-fuse/v2/fuse"

	"basalt/engine"
)

// Limits and their relations.
const (
	maxWriteDefault   = 1 << 20 // bytes of data in one request; the kernel caps it at max_pages_limit pages
	queueDepthDefault = 32      // slots of one queue: 32 · 1 MiB of payload per column
	QueueDepthMax     = 1024
	devDepthMin       = 2   // one slot reads, another works
	devDepthBeside    = 4   // slots of /dev/fuse where queues carry the requests: FORGET and INTERRUPT never wait
	maxBackground     = 256 // requests the kernel sends without a waiting caller: readahead, direct I/O of several parts
	payloadMin        = 8 << 10
	readAheadWrites   = 2 // requests of the largest size that the kernel reads ahead
)

const _ = uint(maxWriteDefault - payloadMin)
const _ = uint(devDepthBeside - devDepthMin)
const _ = uint(QueueDepthMax - queueDepthDefault)

// Transport says how requests travel.
type Transport string

const (
	TransportAuto  Transport = ""      // io_uring where the kernel offers it, else /dev/fuse
	TransportURing Transport = "uring" // io_uring, or the mount fails with the reason
	TransportDev   Transport = "dev"   // /dev/fuse, read and written through the ring
)

// ErrTransport is wrapped by the error that refuses TransportURing.
var ErrTransport = errors.New("FUSE over io_uring is not available")

// Options of a mount; the zero value of each field is a sensible default, except Dir.
type Options struct {
	Dir           string // the mount point: an empty directory
	Source        string // first column of df and /proc/self/mounts
	Subtype       string // shown as fuse.<Subtype>
	Transport     Transport
	QueueDepth    int  // slots per queue
	MaxWrite      int  // bytes of data per request
	OwnerOnly     bool // without allow_other: only the mounting user may enter
	ReadOnly      bool
	NonEmpty      bool // mount over a directory that has entries
	KernelChecks  bool // default_permissions: the kernel decides by mode bits
	CacheSymlinks bool
	Log           *slog.Logger
}

// Column is where requests of some CPUs are served: a reactor, and the file system instance whose methods run on it. The reactor's ring
// must have been opened with SQE128 to carry FUSE over io_uring.
type Column struct {
	Reactor *engine.Reactor
	CPU     int // the CPU the reactor is pinned to, -1 if it is not
	Raw     fuse.RawFileSystem
}

func (o *Options) setDefaults() {
	if o.Source == "" {
		o.Source = "basalt"
	}
	if o.Subtype == "" {
		o.Subtype = "basalt"
	}
	if o.QueueDepth == 0 {
		o.QueueDepth = queueDepthDefault
	}
	if o.MaxWrite == 0 {
		o.MaxWrite = maxWriteDefault
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
}

func (o *Options) check(columns []Column) error {
	switch {
	case o.Dir == "":
		return errors.New("mount: no mount point given")
	case len(columns) == 0:
		return errors.New("mount: no column to serve it")
	case o.QueueDepth < 1 || o.QueueDepth > QueueDepthMax:
		return errors.New("mount: queue depth must be 1 … 1024")
	case o.MaxWrite < payloadMin || o.MaxWrite > maxWriteDefault || o.MaxWrite&4095 != 0:
		return errors.New("mount: max write must be 8 KiB … 1 MiB and a multiple of 4 KiB")
	case o.Transport != TransportAuto && o.Transport != TransportURing && o.Transport != TransportDev:
		return errors.New("mount: FUSE transport must be uring or dev, not " + string(o.Transport))
	}
	return nil
}
