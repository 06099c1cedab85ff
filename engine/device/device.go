// Package device is a block device, or an image file, as the reactor's ring sees it: a flat run of bytes
// that is read, written, flushed and discarded in units of 4 KiB, past the page cache.
//
// A Device is opened once per process, from an ordinary goroutine, and is immutable from then on, but for
// what its handles tell each other about failures (flush.go). Each reactor that uses it attaches and gets
// a Handle, which belongs to that reactor's thread.
//
// Invariants: memory is the reactor's arena's, memory and offset are multiples of 4 KiB, and nothing
// reaches beyond the size found at open (a violation panics: it is our bug). A write that completed is
// durable only after a flush that was begun later and counts: flush.go has the rule; so is a discard. After a write or a
// flush that failed nothing more becomes durable, through any handle. Nobody else has the device: it is
// claimed exclusively.
//
// One lock, for attaching and detaching; nothing is called under it. Survives short transfers (they are continued, from a block's start), EINTR and EAGAIN; everything else the kernel
// reports is an *IOError with the place.
//
// Read device.go, then handle.go, flush.go and discard.go; open.go and foreign.go are for the start.
package device

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// BlockBytes is the unit of everything; what a device demands may be less, never more.
const BlockBytes = 4096

// Reasons not to open a device. Each comes wrapped with the path and what was found.
var (
	ErrBusy     = errors.New("device is in use")                // mounted, claimed, or locked by another process
	ErrForeign  = errors.New("device holds something else")     // see *ForeignError
	ErrShort    = errors.New("device is shorter than expected") // at open, or a transfer that ends early
	ErrNoDirect = errors.New("no direct I/O")                   // the file system that holds the image can't do it
	ErrKind     = errors.New("neither a block device nor a regular file")
	ErrGeometry = errors.New("unusable geometry")
)

// Op is what was tried.
type Op string

// Operations.
const (
	OpRead    Op = "read"
	OpWrite   Op = "write"
	OpFlush   Op = "flush"
	OpDiscard Op = "discard"
)

// IOError is what the world answered to one transfer.
type IOError struct {
	Device string
	Op     Op
	Off    int64
	Len    int
	Errno  unix.Errno // 0: the transfer ended early, at Off
}

func (e *IOError) Error() string {
	why := e.Errno.Error()
	if e.Errno == 0 {
		why = ErrShort.Error()
	}
	if e.Op == OpFlush {
		return fmt.Sprintf("device %s: flush: %s", e.Device, why)
	}
	return fmt.Sprintf("device %s: %s of %d bytes at %d: %s", e.Device, e.Op, e.Len, e.Off, why)
}

// Unwrap gives the errno, or ErrShort.
func (e *IOError) Unwrap() error {
	if e.Errno == 0 {
		return ErrShort
	}
	return e.Errno
}

// Geometry is what is known about a device. Immutable.
type Geometry struct {
	Bytes         int64 // whole blocks
	LogicalBytes  int   // smallest transfer
	PhysicalBytes int   // smallest that is not read, changed and written inside
	Block         bool  // a block device; else an image file
	Direct        bool  // past the page cache
	Rotational    bool
	WriteCache    bool  // the device has one: only Flush makes durable
	Discard       bool  // worth telling it what is free
	DiscardBytes  int64 // the unit in which it takes that, in whole blocks: less may be ignored; 0 without Discard
	DiscardAlign  int64 // where the first whole unit begins
}

// Device is an open device.
type Device struct {
	fd       int32
	name     string
	geometry Geometry
	readOnly bool
	close    func() error
	peers    peers
}

// New makes a Device of a descriptor that somebody else owns: the simulator.
func New(fd int32, g Geometry, name string) *Device {
	return &Device{fd: fd, geometry: g, name: name}
}

// Name is what messages call it: the path.
func (d *Device) Name() string { return d.name }

// Bytes is the size, in whole blocks.
func (d *Device) Bytes() int64 { return d.geometry.Bytes }

// Geometry is what was found at open.
func (d *Device) Geometry() Geometry { return d.geometry }

// ReadOnly tells whether it was opened so; a Write then fails with EROFS.
func (d *Device) ReadOnly() bool { return d.readOnly }

// Close gives the device up. Every reactor that attached has ended, or detached.
func (d *Device) Close() error {
	if d.close == nil {
		return nil
	}
	err := d.close()
	d.close = nil
	if err != nil {
		return fmt.Errorf("device %s: close: %w", d.name, err)
	}
	return nil
}
