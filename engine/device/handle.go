package device

import (
	"fmt"

	"basalt/engine"
	"basalt/engine/uring"
	"golang.org/x/sys/unix"
)

// retriesMax is how often one transfer is tried again after EINTR or EAGAIN before they count as failure.
const retriesMax = 16

// Handle is a Device on one reactor: its slot in the ring's file table. Owned by that reactor's thread.
type Handle struct {
	d    *Device
	r    *engine.Reactor
	fd   int32 // or the slot
	slot bool
	by   DiscardBy // once asked
	told bool      // asked

	flushes
}

// Attach prepares the device for the turn's reactor. A full file table is no obstacle: then the descriptor
// itself is used.
func (d *Device) Attach(t *engine.Turn) (*Handle, error) {
	if d.fd < 0 {
		return nil, fmt.Errorf("device %s: attach: it is closed", d.name)
	}
	h := &Handle{d: d, r: t.Reactor(), fd: d.fd}
	if slot, ok := h.r.RegisterFile(d.fd); ok {
		h.fd, h.slot = slot, true
	}
	h.owner = h.r.Name()
	d.peers.add(h)
	return h, nil
}

// Detach gives the slot back; nothing is in flight.
func (h *Handle) Detach(_ *engine.Turn) {
	h.d.peers.remove(h)
	if h.slot {
		h.r.ReleaseFile(h.fd)
		h.slot, h.fd = false, h.d.fd
	}
}

// Device is what the handle is of.
func (h *Handle) Device() *Device { return h.d }

// Name and Bytes are the device's.
func (h *Handle) Name() string { return h.d.name }
func (h *Handle) Bytes() int64 { return h.d.geometry.Bytes }

// ReadOp is the operation that reads into p: for a Gather or a Completer, which sees a byte count, perhaps
// less than asked for, or -errno; Error makes an error of it.
func (h *Handle) ReadOp(p []byte, off int64) uring.SQE {
	addr := h.check(p, off)
	a := h.r.Arena()
	if a.Registered() {
		return h.on(uring.PrepReadFixed(h.fd, addr, uint32(len(p)), uint64(off), a.IndexOf(addr)))
	}
	return h.on(uring.PrepRead(h.fd, addr, uint32(len(p)), uint64(off)))
}

// WriteOp is the operation that writes p.
func (h *Handle) WriteOp(p []byte, off int64) uring.SQE {
	addr := h.check(p, off)
	a := h.r.Arena()
	if a.Registered() {
		return h.on(uring.PrepWriteFixed(h.fd, addr, uint32(len(p)), uint64(off), a.IndexOf(addr)))
	}
	return h.on(uring.PrepWrite(h.fd, addr, uint32(len(p)), uint64(off)))
}

// Error makes an error of an operation's result: nil if all n bytes were transferred.
func (h *Handle) Error(op Op, off int64, n int, res int32) error {
	switch {
	case res < 0:
		return &IOError{Device: h.d.name, Op: op, Off: off, Len: n, Errno: unix.Errno(-res)}
	case int(res) != n && (op == OpRead || op == OpWrite):
		return &IOError{Device: h.d.name, Op: op, Off: off + int64(res), Len: n - int(res)}
	}
	return nil
}

// Read fills p from off.
func (h *Handle) Read(f *engine.Fiber, p []byte, off int64) error {
	return h.transfer(f, OpRead, p, off)
}

// Write writes p at off. It is durable after the next Flush.
func (h *Handle) Write(f *engine.Fiber, p []byte, off int64) error {
	if h.d.readOnly {
		return h.Error(OpWrite, off, len(p), -int32(unix.EROFS))
	}
	return h.transfer(f, OpWrite, p, off)
}

// transfer moves all of p, in as many steps as the kernel takes. One may end inside a block: the next begins
// with that block again.
func (h *Handle) transfer(f *engine.Fiber, op Op, p []byte, off int64) error {
	retries := 0
	for {
		var s uring.SQE
		if op == OpRead {
			s = h.ReadOp(p, off)
		} else {
			s = h.WriteOp(p, off)
		}
		switch res := f.Do(s); {
		case int(res) == len(p):
			return nil
		case res == -int32(unix.EINTR) || res == -int32(unix.EAGAIN) || res > 0 && res < BlockBytes:
			if retries++; retries > retriesMax {
				return h.Error(op, off, len(p), res)
			}
			f.Yield()
		case res <= 0: // an error, or the end of the device
			return h.Error(op, off, len(p), res)
		default:
			whole := res - res%BlockBytes
			p, off = p[whole:], off+int64(whole)
		}
	}
}

func (h *Handle) on(s uring.SQE) uring.SQE {
	if h.slot {
		s = s.Fixed(h.fd)
	}
	return engine.Soon(s)
}

// check panics unless the transfer is one we may ask for; it returns the address.
func (h *Handle) check(p []byte, off int64) uint64 {
	n := int64(len(p))
	if n == 0 || n%BlockBytes != 0 || off < 0 || off%BlockBytes != 0 || n > h.d.geometry.Bytes-off {
		panicPlace(h.d, off, n)
	}
	addr := h.r.Arena().AddrOf(p)
	if addr%BlockBytes != 0 {
		panicAddress(h.d, addr)
	}
	return addr
}

//go:noinline
func panicPlace(d *Device, off, n int64) {
	panic(fmt.Sprintf("device %s (%d bytes): transfer of %d bytes at %d is not whole blocks inside it", d.name, d.geometry.Bytes, n, off))
}

//go:noinline
func panicAddress(d *Device, addr uint64) {
	panic(fmt.Sprintf("device %s: transfer with memory at %#x, not aligned to a block", d.name, addr))
}
