package storage

import (
	"errors"
	"fmt"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/storage/format"
)

// ReadLabel tells what a device is and how it is divided, from the newest valid copy of its label. A device that is shorter than its label
// says is device.ErrShort; one that is longer has grown since mkfs, and what was added belongs to nobody.
func ReadLabel(f *engine.Fiber, h *device.Handle) (*format.Label, error) {
	return readLabel(f, h, &MountReport{})
}

// readLabel finds out what the device is: the newest valid copy of its label.
func readLabel(f *engine.Fiber, h *device.Handle, rep *MountReport) (*format.Label, error) {
	buf, err := f.Reactor().Arena().Get(format.LabelBytes)
	if err != nil {
		return nil, err
	}
	defer f.Reactor().Arena().Put(buf)
	mem := f.Reactor().Arena().Bytes(buf)
	have := uint64(h.Bytes()) / format.BlockBytes
	if have < 2*format.LabelBytes/format.BlockBytes {
		return nil, fmt.Errorf("storage: %s has %d blocks, and no room for a label: %w", h.Name(), have, device.ErrShort)
	}
	first, err := labelAt(f, h, format.LabelPlaces(have)[0], mem)
	if err == nil && first.Blocks > have {
		return nil, fmt.Errorf("storage: %s has %d blocks, and its label says that it had %d: %w", h.Name(), have, first.Blocks, device.ErrShort)
	}
	var ends []Extent
	var bad []error
	switch {
	case err == nil: // it is whole, so it knows
		ends = format.LabelEnds(mem, have)[:1]
	case format.IsCorrupt(err):
		ends = format.LabelEnds(mem, have)
	default: // what is in mem nobody knows
		ends = format.LabelEnds(nil, have)
	}
	if err != nil {
		rep.Bad, bad = append(rep.Bad, err.Error()), append(bad, err)
	}
	best := first
	for i, e := range ends {
		second, err := labelAt(f, h, e, mem)
		switch {
		case err == nil && (first == nil || second.Generation > first.Generation):
			best = second
		case err != nil:
			bad = append(bad, err)
		}
		if err == nil {
			break
		}
		if i == len(ends)-1 {
			rep.Bad = append(rep.Bad, err.Error())
		}
	}
	if best == nil {
		return nil, fmt.Errorf("storage: %s has no valid label: %w", h.Name(), errors.Join(bad...))
	}
	rep.Unused = (have - best.Blocks) * format.BlockBytes
	return best, nil
}

// labelAt reads one copy of the label.
func labelAt(f *engine.Fiber, h *device.Handle, e Extent, mem []byte) (*format.Label, error) {
	if err := h.Read(f, mem, e.Offset()); err != nil {
		return nil, err
	}
	p := format.Place{Device: h.Name(), Extent: e}
	l, err := format.DecodeLabel(p, mem)
	if err == nil && e.Start != 0 && uint64(e.End()) != l.Blocks {
		return nil, &format.CorruptError{Place: p, What: "label device blocks", Want: fmt.Sprint(uint64(e.End())), Got: fmt.Sprint(l.Blocks)}
	}
	return l, err
}
