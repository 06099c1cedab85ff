package node

import (
	"bytes"
	"errors"
	"os"
	"syscall"

	"basalt/engine/device"
	"basalt/storage/format"
	"basalt/tools/outcome"
)

// labelMagic begins a device that mkfs has made (docs/FORMAT.md, Label).
const labelMagic = "BASALTLB"

// ours tells the store that we made from what else may be on a device.
func ours(head []byte) bool { return bytes.HasPrefix(head, []byte(labelMagic)) }

// openDevice opens what mkfs made, and says what is wrong with anything else.
func openDevice(path string, readOnly bool) (*device.Device, error) {
	return open(path, device.Options{ReadOnly: readOnly, Own: ours})
}

func open(path string, o device.Options) (*device.Device, error) {
	d, err := device.Open(path, o)
	var foreign *device.ForeignError
	switch {
	case err == nil:
		return d, nil
	case errors.As(err, &foreign) && hasLabel(path):
		return nil, outcome.New(outcome.Device, "device %s: it holds %s where a Basalt label should stand, and the other copy of that label is whole: basalt fsck --repair shows what is left of the store, "+
			"and writes this copy anew if that is wished (%w)", path, foreign.Found, device.ErrForeign)
	}
	return nil, explainDevice(path, err)
}

// explainDevice gives an error of the device layer its code, and adds what to do.
func explainDevice(path string, err error) error {
	var foreign *device.ForeignError
	switch {
	case errors.Is(err, device.ErrBusy):
		return outcome.New(outcome.InUse, "%s is in use: another storaged, mkfs or fsck has it (%w)", path, err)
	case errors.As(err, &foreign):
		return outcome.New(outcome.Device, "%w: it is left alone; basalt mkfs --force would overwrite it", err)
	case errors.Is(err, os.ErrNotExist):
		return outcome.New(outcome.Device, "%w: make it with basalt mkfs, or name the right one", err)
	case errors.Is(err, device.ErrKind):
		return outcome.New(outcome.Device, "%w: name a block device or an image file", err)
	case errors.Is(err, device.ErrShort):
		return outcome.New(outcome.Device, "%w: it is too small", err)
	case errors.Is(err, device.ErrNoDirect):
		return outcome.New(outcome.Device, "%w: it has no O_DIRECT; put the image on ext4, xfs or btrfs, or use a block device", err)
	case errors.Is(err, syscall.EROFS):
		return outcome.New(outcome.Device, "%w: a node writes to it; mount that file system writable (mount -o remount,rw), or copy the image elsewhere", err)
	case errors.Is(err, os.ErrPermission):
		return outcome.New(outcome.Device, "%w: run as a user who may read and write it; a device or file that is set read-only (blockdev --getro, lsattr) must be made writable first", err)
	}
	return outcome.New(outcome.Device, "%w", err)
}

// notOurs are what a check finds on something that is no store, or a store of another release. That is not damage.
var notOurs = map[string]bool{"label magic": true, "label version": true, "superblock version": true}

// refusal turns a finding into the refusal of the whole device if all that it consists of says so: a store with one copy of its label
// overwritten and the other rotten is a damaged store.
func refusal(path string, finding error) error {
	if !everyCorrupt(finding, func(c *format.CorruptError) bool { return notOurs[c.What] }) {
		return nil
	}
	return explainStore(path, finding)
}

// everyCorrupt tells whether all places that an error names are so; false if it names none.
func everyCorrupt(err error, so func(*format.CorruptError) bool) bool {
	switch e := err.(type) { // a tree: what is joined must be looked at one by one
	case nil:
		return false
	case *format.CorruptError:
		return so(e)
	case interface{ Unwrap() []error }:
		all := e.Unwrap()
		for _, one := range all {
			if !everyCorrupt(one, so) {
				return false
			}
		}
		return len(all) > 0
	}
	return everyCorrupt(errors.Unwrap(err), so)
}

// explainStore gives an error of mounting a store its code, and adds what to do.
func explainStore(path string, err error) error {
	var bad *format.CorruptError
	switch {
	case errors.Is(err, device.ErrShort):
		return outcome.New(outcome.Device, "%s is too short: %w: it was cut, or only a part of it was copied; bring back the whole device", path, err)
	case !errors.As(err, &bad):
		return outcome.New(outcome.Device, "%s cannot be used: %w", path, err)
	case bad.What == "label version" || bad.What == "superblock version":
		return outcome.New(outcome.Device, "%s has format version %s, and this program reads version %s: use the release that made it", path, bad.Got, bad.Want)
	case bad.What == "label magic":
		return outcome.New(outcome.Device, "%s carries no Basalt store: make one with basalt mkfs", path)
	}
	return outcome.New(outcome.Device, "%s is damaged: %w: run basalt fsck to see how far", path, err)
}
