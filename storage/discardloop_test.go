package storage

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/loopdev"
	"golang.org/x/sys/unix"
)

// loopDevice makes a block device of an image file.
func loopDevice(t *testing.T, image string) string {
	t.Helper()
	d, err := loopdev.Attach(image, loopdev.Options{SectorBytes: 4096})
	if err != nil {
		t.Fatalf("discards are tested on a loop device: %v", err)
	}
	t.Cleanup(func() { d.Close() })
	return d.Path()
}

// onReal runs fn on a reactor with a real ring and that device.
func onReal(t *testing.T, path string, o device.Options, fn func(f *engine.Fiber, h *device.Handle) error) {
	t.Helper()
	o.Own = func([]byte) bool { return true }
	dev, err := device.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	r, err := engine.New(engine.Config{Name: "real", CPU: -1, ArenaBytes: 128 << 20})
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

const (
	holeObjects = 32
	holeBytes   = 1 << 20
)

func holeObject(i int) (name, content []byte) {
	return []byte(fmt.Sprintf("object%d", i)), bytes.Repeat([]byte{byte(i + 1)}, holeBytes)
}

// punching is a store on a real device over a file.
type punching struct {
	s         *Store
	allocated func() int64 // bytes of the file
}

// discarded waits for so many bytes to be discarded since the mount.
func (p *punching) discarded(f *engine.Fiber, atLeast uint64) error {
	for p.s.stats.DiscardedBytes < atLeast {
		if p.s.discards.off != nil {
			return p.s.discards.off
		}
		f.Sleep(1e6)
	}
	return nil
}

// fill writes the objects, once all that is free has been discarded.
func (p *punching) fill(f *engine.Fiber) error {
	if err := p.discarded(f, 80<<20); err != nil {
		return err
	}
	if n := p.allocated(); n > 12<<20 {
		return fmt.Errorf("%d bytes of the file are allocated, and the store is empty", n)
	}
	if _, err := p.s.Update(f, func(tx *Tx) error { return tx.CreateCollection(1) }); err != nil {
		return err
	}
	for i := range holeObjects {
		name, content := holeObject(i)
		if _, err := p.s.Update(f, func(tx *Tx) error { return tx.Write(1, name, 0, content) }); err != nil {
			return err
		}
	}
	return p.s.Checkpoint(f)
}

// thin removes half of them, and waits for their blocks to be discarded.
func (p *punching) thin(f *engine.Fiber) error {
	full, before := p.allocated(), p.s.stats.DiscardedBytes
	if full < holeObjects*holeBytes {
		return fmt.Errorf("%d bytes of the file are allocated with %d objects", full, holeObjects)
	}
	for i := range holeObjects / 2 {
		name, _ := holeObject(i)
		if _, err := p.s.Update(f, func(tx *Tx) error { return tx.Remove(1, name) }); err != nil {
			return err
		}
	}
	if err := errors.Join(p.s.Checkpoint(f), p.discarded(f, before+holeObjects/2*holeBytes-holeBytes)); err != nil {
		return err
	}
	if n := full - p.allocated(); n < holeObjects/2*holeBytes-2*holeBytes {
		return fmt.Errorf("%d bytes of the file were freed, removed were %d", n, holeObjects/2*holeBytes)
	}
	return nil
}

// intact checks the device, and reads what was not removed.
func intact(f *engine.Fiber, h *device.Handle, opt Options) error {
	if rep, err := Fsck(f, h, 0, opt); err != nil || len(rep.Findings) > 0 {
		return fmt.Errorf("fsck: %v, %w", rep, err)
	}
	s, _, err := Mount(f, h, 0, opt)
	if err != nil {
		return err
	}
	for i := holeObjects / 2; i < holeObjects; i++ {
		name, content := holeObject(i)
		p := make([]byte, holeBytes)
		if _, err := s.Read(f, 1, name, 0, p); err != nil || !bytes.Equal(p, content) {
			return fmt.Errorf("object %d: %w", i, err)
		}
	}
	return s.Unmount(f)
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
		p := punching{allocated: func() int64 {
			var st unix.Stat_t
			if err := unix.Stat(image, &st); err != nil {
				t.Error(err)
			}
			return st.Blocks * 512
		}}
		opt := Options{CacheBytes: 4 << 20, DeltaBytesMax: 8 << 20, Discard: true, DiscardMinBytes: 256 << 10, DiscardDelayNs: 1e6}
		onReal(t, path, o, func(f *engine.Fiber, h *device.Handle) (err error) {
			if err := Format(f, h, FormatOptions{UUID: [16]byte{9}, JournalBytes: 4 << 20}); err != nil {
				return err
			}
			if p.s, _, err = Mount(f, h, 0, opt); err != nil {
				return err
			}
			if by := p.s.Stats().Discard.By; (by == device.DiscardPunch.String()) == block || by == "none" {
				return fmt.Errorf("discards by %s", by)
			}
			for _, step := range []func(f *engine.Fiber) error{p.fill, p.thin, p.s.Unmount} {
				if err := step(f); err != nil {
					return err
				}
			}
			return nil
		})
		onReal(t, path, o, func(f *engine.Fiber, h *device.Handle) error { return intact(f, h, opt) })
	}
}
