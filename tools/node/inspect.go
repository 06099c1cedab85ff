package node

import (
	"errors"
	"io"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/storage"
	"basalt/storage/dump"
	"basalt/storage/format"
	"basalt/tools/outcome"
)

// Dump shows what stands on a device that no node uses, whatever is on it: a device whose label is gone is no foreign one here. bad counts the
// damaged structures that were shown.
func Dump(path string, out io.Writer, opt dump.Options, show func(d *dump.Dump) error) (bad int, err error) {
	dev, err := device.Open(path, device.Options{ReadOnly: true, Force: true})
	if err != nil {
		return 0, explainDevice(path, err)
	}
	err = briefly(func(f *engine.Fiber) error {
		h, err := dev.Attach(f.Turn())
		if err != nil {
			return err
		}
		defer h.Detach(f.Turn())
		d := dump.New(f, h, out, opt)
		err = show(d)
		bad = d.Bad()
		return explainDump(path, err)
	})
	return bad, errors.Join(err, dev.Close())
}

// openOverwritten opens what mkfs made for a repair, though the beginning of it be somebody else's now: the second copy of the label says what it was.
func openOverwritten(path string) (*device.Device, error) {
	dev, err := openDevice(path, false)
	if errors.Is(err, device.ErrForeign) && hasLabel(path) {
		return open(path, device.Options{Force: true})
	}
	return dev, err
}

// hasLabel tells whether one of the copies of a label is whole.
func hasLabel(path string) (has bool) {
	dev, err := device.Open(path, device.Options{ReadOnly: true, Force: true})
	if err != nil {
		return false
	}
	err = on(labelArena, func(f *engine.Fiber) error {
		h, err := dev.Attach(f.Turn())
		if err != nil {
			return err
		}
		defer h.Detach(f.Turn())
		_, err = storage.ReadLabel(f, h)
		has = err == nil
		return nil
	})
	return errors.Join(err, dev.Close()) == nil && has
}

// explainDump gives what ended a dump its code.
func explainDump(path string, err error) error {
	var io *device.IOError
	switch {
	case err == nil || dump.IsNotFound(err):
		return err
	case errors.Is(err, dump.ErrNoStore):
		return outcome.New(outcome.Device, "%s carries nothing of a Basalt store where labels and superblocks stand", path)
	case format.IsCorrupt(err):
		return outcome.New(outcome.Damage, "%s is damaged: %w", path, err)
	case errors.As(err, &io):
		return outcome.New(outcome.Device, "%w", err)
	}
	return err
}
