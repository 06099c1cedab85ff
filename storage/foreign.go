package storage

import (
	"basalt/engine"
	"basalt/engine/device"
	"basalt/storage/format"
)

// foreignBytes is as much of an end of a device as other systems use for what tells them.
const foreignBytes = 1 << 20

// foreign says what of other systems shows at that end of the device at which a label copy should stand, and does not; empty: nothing that is known. It
// looks at nothing that belongs to a slice.
func foreign(f *engine.Fiber, h *device.Handle, label *format.Label, e Extent) (string, error) {
	first, last := label.Segments[0].Extent().Start, label.Segments[len(label.Segments)-1].Extent().End()
	atEnd := e.Start != 0
	off, n := int64(0), min(foreignBytes, offsetOf(first))
	if atEnd {
		n = min(foreignBytes, h.Bytes()-offsetOf(last))
		off = h.Bytes() - n
	}
	at := e.Offset() - off
	if at < 0 {
		return "", nil // of a device that has grown: it is not the end
	}
	buf, err := f.Reactor().Arena().Get(int(n))
	if err != nil {
		return "", err // who may write over what shows there must know
	}
	defer f.Reactor().Arena().Put(buf)
	mem := f.Reactor().Arena().Bytes(buf)[:n]
	if err := h.Read(f, mem, off); err != nil {
		return "", nil // the damage itself is named
	}
	if atEnd { // a tool may have left the first bytes of our copy as they were
		return device.Identify(nil, mem, h.Bytes()), nil
	}
	return device.Identify(mem, nil, h.Bytes()), nil
}
