package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"basalt/engine/loopdev"
	"basalt/fuse/powercut"
)

// disk is the serving child, its mount, and the loop device over it.
type disk struct {
	server *child
	orders io.WriteCloser
	events chan event // closed when the child says no more
	dir    string     // of the mount
	loop   *loopdev.Device
}

// plug attaches the file, as it is, as a disk with power.
func plug(dir string) (d *disk, err error) {
	d = &disk{dir: filepath.Join(dir, "mnt"), events: make(chan event, 16)} // ready, a cut, and an answer for each order
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.unplug())
		}
	}()
	var says io.ReadCloser
	d.server, err = spawn(role{Name: "serve", Disk: diskFile(dir), Dir: d.dir}, false, func(cmd *exec.Cmd) (err error) {
		if d.orders, err = cmd.StdinPipe(); err != nil {
			return err
		}
		// Not StdoutPipe: Wait would close it under the reader.
		read, write, err := os.Pipe()
		if err != nil {
			return err
		}
		cmd.Stdout, cmd.Stderr, says = write, os.Stderr, read
		return nil
	})
	if d.server != nil {
		d.server.cmd.Stdout.(*os.File).Close() // the child has its own, or never will
	}
	if err != nil {
		d.server = nil
		if says != nil {
			says.Close()
		}
		return d, fmt.Errorf("start the process that serves the disk: %w", err)
	}
	go listen(says, d.events)
	if _, err := d.wait("ready", nil); err != nil {
		return d, fmt.Errorf("mount the file system of the disk (it needs root and /dev/fuse): %w", err)
	}
	d.loop, err = attach(filepath.Join(d.dir, powercut.FileName))
	return d, err
}

func diskFile(dir string) string { return filepath.Join(dir, "disk.img") }

func listen(says io.ReadCloser, events chan<- event) {
	defer close(events)
	defer says.Close()
	for lines := bufio.NewScanner(says); lines.Scan(); {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			events <- e
		}
	}
}

// wait returns when the child has said something; everything else that it says before is of no interest. If gone is closed first, it must
// have been said by then.
func (d *disk) wait(what string, gone <-chan struct{}) (powercut.Counts, error) {
	late := time.After(patience)
	for {
		select {
		case e, ok := <-d.events:
			if !ok {
				<-d.server.ended
				return powercut.Counts{}, fmt.Errorf("the process that serves the disk has ended: %v", d.server.err)
			}
			if e.What == what {
				return e.Counts, nil
			}
		case <-gone:
			gone, late = nil, time.After(time.Second) // for what is on its way
		case <-late:
			return powercut.Counts{}, fmt.Errorf("nothing was heard of %q from the disk", what)
		}
	}
}

// tell gives an order; it is in force when this returns.
func (d *disk) tell(o order) (powercut.Counts, error) {
	if err := json.NewEncoder(d.orders).Encode(o); err != nil {
		return powercut.Counts{}, err
	}
	return d.wait("counts", nil)
}

func (d *disk) counts() (powercut.Counts, error) { return d.tell(order{}) }

// unplug takes everything down, in whatever state it is; only a file is left.
func (d *disk) unplug() (err error) {
	if d.loop != nil {
		err = detach(d.loop)
		d.loop = nil
	}
	if d.server == nil {
		return err
	}
	if d.server.running() {
		err = errors.Join(err, unmount(d.dir))
	}
	d.orders.Close() // what could not be unmounted, the child detaches now
	select {
	case <-d.server.ended:
	case <-time.After(patience):
		err = errors.Join(err, fmt.Errorf("the process that serves the disk did not end within %v", patience), d.server.kill())
	}
	if e := unix.Unmount(d.dir, unix.MNT_DETACH); e == nil {
		err = errors.Join(err, fmt.Errorf("%s was still mounted when nobody served it any more", d.dir))
	}
	if d.server.err != nil {
		err = errors.Join(err, fmt.Errorf("the process that serves the disk: %w", d.server.err))
	}
	return err
}

// unmount is patient: the kernel lets go of a loop device's file some time after the device.
func unmount(dir string) error {
	for deadline := time.Now().Add(patience); ; <-time.After(time.Millisecond) {
		err := unix.Unmount(dir, 0)
		switch {
		case err == nil || errors.Is(err, unix.EINVAL): // EINVAL: it never was mounted
			return nil
		case !errors.Is(err, unix.EBUSY) || time.Now().After(deadline):
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
}

// probe proves that this kernel's loop device turns a flush into an fsync of the file below it, and that nothing is
// durable before: a write alone is held back, and a flush of the device lets it go.
func (d *disk) probe() error {
	page, err := unix.Mmap(-1, 0, powercut.PageBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	defer unix.Munmap(page)
	fd, err := unix.Open(d.loop.Path(), unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	page[0] = 0xB5
	before, err := d.counts()
	if err != nil {
		return err
	}
	if _, err := unix.Pwrite(fd, page, 0); err != nil {
		return fmt.Errorf("write to %s: %w", d.loop.Path(), err)
	}
	written, err := d.counts()
	if err != nil {
		return err
	}
	if err := unix.Fdatasync(fd); err != nil {
		return fmt.Errorf("flush %s: %w", d.loop.Path(), err)
	}
	flushed, err := d.counts()
	switch {
	case err != nil:
		return err
	case written.Writes != before.Writes+1 || written.Held != before.Held+1 || written.Flushes != before.Flushes:
		return fmt.Errorf("a write to %s reached the file below as %+v, after %+v: it must be one write and no flush", d.loop.Path(), written, before)
	case flushed.Flushes != written.Flushes+1 || flushed.Held != 0:
		return fmt.Errorf("a flush of %s left %+v, after %+v: it must be one fsync of the file below", d.loop.Path(), flushed, written)
	}
	return nil
}
