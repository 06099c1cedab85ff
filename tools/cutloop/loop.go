package main

import (
	"errors"
	"fmt"
	"time"

	"basalt/engine/loopdev"
)

// patience is how long the kernel and our children may take for what takes milliseconds.
const patience = 60 * time.Second

// attach makes a loop device over a file, past the page cache. One without a write cache would send no flushes, and one with pages of its own
// would send old writes later.
func attach(backing string) (*loopdev.Device, error) {
	d, err := loopdev.Attach(backing, loopdev.Options{Direct: true})
	if err != nil {
		return nil, err
	}
	cache, direct := d.Fact("queue/write_cache"), d.Fact("loop/dio")
	if cache == "write back" && direct == "1" {
		return d, nil
	}
	return nil, errors.Join(fmt.Errorf("%s has write cache %q and direct I/O %q, a disk with a cache needs \"write back\" and \"1\"", d.Path(), cache, direct), detach(d))
}

// detach gives it up and waits until it is gone: a killed process's ring keeps it for a moment.
func detach(d *loopdev.Device) error {
	err := d.Close()
	for deadline := time.Now().Add(patience); d.Attached(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.Join(err, fmt.Errorf("%s is still in use after %v", d.Path(), patience))
		}
	}
	return err
}
