// Package loopdev makes block devices of files: loop devices, for tests and for programs that need a disk of their own. Nothing of the store uses it.
//
// A Device belongs to who attached it. Invariant: the kernel gives it up with its last descriptor, so that nobody has to clean up after a process
// that died. It needs root and the kernel's loop driver; an error says so.
package loopdev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Device is a loop device.
type Device struct {
	fd   int
	path string
}

// Options of Attach.
type Options struct {
	SectorBytes int  // 0: 512
	Direct      bool // past the page cache of the file
}

// attachTries: another process may take the free number between asking for it and using it.
const attachTries = 20

// Attach makes a block device of a file.
func Attach(file string, o Options) (*Device, error) {
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("this machine has no loop devices for us (root is needed, and the kernel's loop driver): /dev/loop-control: %w", err)
	}
	defer unix.Close(control)
	fd, err := unix.Open(file, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s for a loop device: %w", file, err)
	}
	defer unix.Close(fd)
	config := unix.LoopConfig{Fd: uint32(fd), Size: uint32(o.SectorBytes)}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	if o.Direct {
		config.Info.Flags |= unix.LO_FLAGS_DIRECT_IO
	}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], file)
	for range attachTries {
		n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("ask for a free loop device: %w", err)
		}
		d := &Device{path: fmt.Sprintf("/dev/loop%d", n)}
		if d.fd, err = unix.Open(d.path, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
			return nil, fmt.Errorf("open %s: %w", d.path, err)
		}
		if err = unix.IoctlLoopConfigure(d.fd, &config); err == nil {
			return d, nil
		}
		unix.Close(d.fd)
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("set up %s: %w", d.path, err)
		}
	}
	return nil, errors.New("every free loop device was taken by somebody else before we could have it")
}

// Path is the device's name.
func (d *Device) Path() string { return d.path }

// Fact is what the kernel says of the device, as "queue/write_cache"; empty: nothing.
func (d *Device) Fact(name string) string {
	text, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(d.path), name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// Attached tells whether anybody still has it.
func (d *Device) Attached() bool { return d.Fact("loop/backing_file") != "" }

// Close gives up our descriptor; the device is gone when nobody else has one.
func (d *Device) Close() error {
	if d.fd < 0 {
		return nil
	}
	err := unix.Close(d.fd)
	d.fd = -1
	return err
}
