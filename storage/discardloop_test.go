package storage

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
	"golang.org/x/sys/unix"
)

// loopDevice makes a block device of an image file; the kernel gives it back when the last user closes it.
func loopDevice(t *testing.T, image string) string {
	t.Helper()
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("discards are tested on a loop device, by root: %v", err)
	}
	defer unix.Close(control)
	file, err := unix.Open(image, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(file)
	for range 16 { // another process may take the number between asking and using it
		n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Fatalf("free loop device: %v", err)
		}
		name := fmt.Sprintf("/dev/loop%d", n)
		dev, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err = unix.IoctlLoopConfigure(dev, &unix.LoopConfig{Fd: uint32(file), Size: 4096}); err == nil {
			t.Cleanup(func() {
				unix.IoctlSetInt(dev, unix.LOOP_CLR_FD, 0)
				unix.Close(dev)
			})
			return name
		}
		unix.Close(dev)
		if err != unix.EBUSY {
			t.Fatalf("loop device %s: %v", name, err)
		}
	}
	t.Fatal("no loop device to be had")
	return ""
}

// onReal runs fn on a reactor with a real ring and that device.
func onReal(t *testing.T, path string, o device.Options, fn func(f *engine.Fiber, h *device.Handle) error) {
	t.Helper()
	o.Own = func([]byte) bool { return true }
	dev, err := device.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	r, err := engine.New(engine.Config{Name: "real", CPU: -1, ArenaBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	err = r.Start(func(f *engine.Fiber) error {
		h, err := dev.Attach(f.Turn())
		if err != nil {
			return err
		}
		return fn(f, h)
	})
	if err != nil {
		t.Error(err)
	}
	r.Stop()
	if err := errors.Join(r.Wait(), dev.Close()); err != nil || t.Failed() {
		t.Fatal(err)
	}
}

// On a loop device, and on an image file that asks for it: what is free at the mount becomes holes in the file, and so does what is removed; what
// is left is intact, and a check finds nothing.
func TestDiscardedSpaceIsHolesInTheFile(t *testing.T) {
	for _, block := range []bool{true, false} {
		image := filepath.Join(t.TempDir(), "image")
		if err := device.Create(image, 96<<20); err != nil {
			t.Fatal(err)
		}
		path, o := image, device.Options{Discard: true}
		if block {
			path, o = loopDevice(t, image), device.Options{}
		}
		allocated := func() int64 {
			var st unix.Stat_t
			if err := unix.Stat(image, &st); err != nil {
				t.Fatal(err)
			}
			return st.Blocks * 512
		}
		const objects, size = 32, 1 << 20
		name := func(i int) []byte { return []byte(fmt.Sprintf("object%d", i)) }
		content := func(i int) []byte { return bytes.Repeat([]byte{byte(i + 1)}, size) }
		opt := Options{CacheBytes: 4 << 20, DeltaBytesMax: 8 << 20, Discard: true, DiscardMinBytes: 256 << 10, DiscardDelayNs: 1e6}
		onReal(t, path, o, func(f *engine.Fiber, h *device.Handle) error {
			if err := Format(f, h, FormatOptions{UUID: [16]byte{9}, JournalBytes: 4 << 20}); err != nil {
				return err
			}
			s, _, err := Mount(f, h, 0, opt)
			if err != nil {
				return err
			}
			if by := s.Stats().Discard.By; (by == device.DiscardPunch.String()) == block || by == "none" {
				return fmt.Errorf("discards by %s", by)
			}
			discarded := func(atLeast uint64) error {
				for s.stats.DiscardedBytes < atLeast {
					if s.discards.off != nil {
						return s.discards.off
					}
					f.Sleep(1e6)
				}
				return nil
			}
			if err := discarded(80 << 20); err != nil {
				return err
			}
			if n := allocated(); n > 12<<20 {
				return fmt.Errorf("%d bytes of the file are allocated, and the store is empty", n)
			}
			if _, err := s.Update(f, func(tx *Tx) error { return tx.CreateCollection(1) }); err != nil {
				return err
			}
			for i := range objects {
				if _, err := s.Update(f, func(tx *Tx) error { return tx.Write(1, name(i), 0, content(i)) }); err != nil {
					return err
				}
			}
			if err := s.Checkpoint(f); err != nil {
				return err
			}
			full, before := allocated(), s.stats.DiscardedBytes
			if full < objects*size {
				return fmt.Errorf("%d bytes of the file are allocated with %d objects", full, objects)
			}
			for i := range objects / 2 {
				if _, err := s.Update(f, func(tx *Tx) error { return tx.Remove(1, name(i)) }); err != nil {
					return err
				}
			}
			if err := errors.Join(s.Checkpoint(f), discarded(before+objects/2*size-size)); err != nil {
				return err
			}
			if n := full - allocated(); n < objects/2*size-2*size {
				return fmt.Errorf("%d bytes of the file were freed, removed were %d", n, objects/2*size)
			}
			return s.Unmount(f)
		})
		onReal(t, path, o, func(f *engine.Fiber, h *device.Handle) error {
			if rep, err := Fsck(f, h, 0, opt); err != nil || len(rep.Findings) > 0 {
				return fmt.Errorf("fsck: %v, %w", rep, err)
			}
			s, _, err := Mount(f, h, 0, opt)
			if err != nil {
				return err
			}
			for i := objects / 2; i < objects; i++ {
				p := make([]byte, size)
				if _, err := s.Read(f, 1, name(i), 0, p); err != nil || !bytes.Equal(p, content(i)) {
					return fmt.Errorf("object %d: %w", i, err)
				}
			}
			return s.Unmount(f)
		})
	}
}
