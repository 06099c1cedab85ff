package storage

import (
	"basalt/engine"
	"basalt/engine/device"
	"basalt/storage/format"
)

// ReadLabel tells what a device is and how it is divided, from the newest valid copy of its label. A device that is shorter than its label
// says is device.ErrShort.
func ReadLabel(f *engine.Fiber, h *device.Handle) (*format.Label, error) {
	return readLabel(f, h, &MountReport{})
}
