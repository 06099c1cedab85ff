package node

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/storage"
	"basalt/storage/format"
	"basalt/tools/outcome"
)

// disk is one device of the node, with what its label says.
type disk struct {
	path string
	dev  *device.Device

	discard bool // its stores tell it what is free

	*format.Label
}

// shardsMax: a shard's number has 16 bits on the wire.
const shardsMax = 1 << 16

// labelArena is the memory in which labels are read.
const labelArena = 2 << 20

// sameTwice refuses a device that is named twice, by whatever path, before anything is opened: its own lock would say that somebody else
// has it.
func sameTwice(paths []string) error {
	var seen []os.FileInfo
	for i, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			seen = append(seen, nil) // whoever opens it says why
			continue
		}
		for j, other := range seen {
			if other != nil && sameDevice(info, other) {
				return outcome.New(outcome.Usage, "%s and %s are the same device: name each once", paths[j], paths[i])
			}
		}
		seen = append(seen, info)
	}
	return nil
}

// sameDevice compares files by what they are, and the nodes of block devices by the device that they name.
func sameDevice(a, b os.FileInfo) bool {
	if os.SameFile(a, b) {
		return true
	}
	x, ok := a.Sys().(*syscall.Stat_t)
	y, ok2 := b.Sys().(*syscall.Stat_t)
	return ok && ok2 && a.Mode()&b.Mode()&os.ModeDevice != 0 && (a.Mode()^b.Mode())&os.ModeCharDevice == 0 && x.Rdev == y.Rdev
}

// openDisks opens every device, decides whether it is told what is free, and reads its label. What was opened is given back with an error too.
func openDisks(paths []string, discard string) (list []*disk, err error) {
	for _, path := range paths {
		dev, err := open(path, device.Options{Own: ours, Discard: discard == DiscardOn})
		if err != nil {
			return list, err
		}
		d := &disk{path: path, dev: dev}
		list = append(list, d)
		if d.discard, err = discards(discard, dev); err != nil {
			return list, err
		}
	}
	if err := on(labelArena, func(f *engine.Fiber) error {
		for _, d := range list {
			if err := d.readLabel(f); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return list, err
	}
	return list, checkDisks(list)
}

func (d *disk) readLabel(f *engine.Fiber) error {
	h, err := d.dev.Attach(f.Turn())
	if err != nil {
		return err
	}
	defer h.Detach(f.Turn())
	if d.Label, err = storage.ReadLabel(f, h); err != nil {
		return explainStore(d.path, err)
	}
	return nil
}

// tellGrown warns of devices that are longer than their labels say. They are served with the length that they had at mkfs.
func tellGrown(log *slog.Logger, list []*disk) {
	for _, d := range list {
		if used := int64(d.Blocks) * format.BlockBytes; used < d.dev.Bytes() {
			log.Warn("the device has grown since mkfs; what was added is not used", "device", d.path, "bytes", d.dev.Bytes(), "bytes_used", used)
		}
	}
}

// checkDisks refuses devices that cannot be served together.
func checkDisks(list []*disk) error {
	shards := 0
	for i, d := range list {
		for _, other := range list[:i] {
			if d.Label.Device == other.Label.Device {
				return outcome.New(outcome.Device, "%s and %s have the same UUID %x: one is a copy of the other; serve only one of them", other.path, d.path, d.Label.Device[:])
			}
		}
		shards += int(d.Slices)
	}
	if shards > shardsMax {
		return outcome.New(outcome.Device, "these devices have %d slices, and a node serves %d shards at most", shards, shardsMax)
	}
	return nil
}

func closeDisks(list []*disk) error {
	var errs []error
	for _, d := range list {
		errs = append(errs, d.dev.Close())
	}
	return errors.Join(errs...)
}

// absolute makes a path independent of the working directory, as far as possible.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
