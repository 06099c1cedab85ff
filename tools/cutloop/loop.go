package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// loopDevice is a loop device that is gone with its last descriptor, ours included: nothing has to clean up after us.
type loopDevice struct {
	fd   int
	path string
}

// patience is how long the kernel and our children may take for what takes milliseconds.
const patience = 60 * time.Second

// attach makes a loop device over a file, past the page cache.
func attach(backing string) (*loopDevice, error) {
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("this machine has no loop devices for us (root is needed, and the kernel's loop driver): /dev/loop-control: %w", err)
	}
	defer unix.Close(control)
	file, err := unix.Open(backing, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s for a loop device: %w", backing, err)
	}
	defer unix.Close(file)
	for range 20 { // another process may take the free one before us
		n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("ask for a free loop device: %w", err)
		}
		d := &loopDevice{path: fmt.Sprintf("/dev/loop%d", n)}
		if d.fd, err = unix.Open(d.path, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
			return nil, fmt.Errorf("open %s: %w", d.path, err)
		}
		config := unix.LoopConfig{Fd: uint32(file)}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO
		copy(config.Info.File_name[:len(config.Info.File_name)-1], backing)
		err = unix.IoctlLoopConfigure(d.fd, &config)
		if err == nil {
			return d, d.verify()
		}
		unix.Close(d.fd)
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("set up %s: %w", d.path, err)
		}
	}
	return nil, errors.New("every free loop device was taken by somebody else before we could have it")
}

func (d *loopDevice) fact(name string) string {
	text, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(d.path), name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// verify: a loop device without a write cache sends no flushes, and one with pages of its own sends old writes later.
func (d *loopDevice) verify() error {
	cache, direct := d.fact("queue/write_cache"), d.fact("loop/dio")
	if cache == "write back" && direct == "1" {
		return nil
	}
	return errors.Join(fmt.Errorf("%s has write cache %q and direct I/O %q, a disk with a cache needs \"write back\" and \"1\"", d.path, cache, direct), d.detach())
}

// detach gives it up and waits until it is gone: a killed process's ring keeps it for a moment.
func (d *loopDevice) detach() error {
	if d.fd < 0 {
		return nil
	}
	err := unix.Close(d.fd)
	d.fd = -1
	for deadline := time.Now().Add(patience); d.fact("loop/backing_file") != ""; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.Join(err, fmt.Errorf("%s is still in use after %v", d.path, patience))
		}
	}
	return err
}
