package storage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
)

// The production limits on an image file through the real ring: many fibers, more data than a delta takes, a remount, and nothing to find.
func TestRealRing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	if err := device.Create(path, 384<<20); err != nil {
		t.Fatal(err)
	}
	run := func(fn func(f *engine.Fiber, h *device.Handle) error) {
		t.Helper()
		onReal(t, path, device.Options{}, fn)
	}
	opt := Options{CacheBytes: 8 << 20, DeltaBytesMax: 8 << 20}
	run(func(f *engine.Fiber, h *device.Handle) error {
		if err := Format(f, h, FormatOptions{UUID: [16]byte{5}}); err != nil {
			return err
		}
		s, _, err := Mount(f, h, 0, opt)
		if err != nil {
			return err
		}
		if err := churn(f, s, 16, 200); err != nil {
			return err
		}
		if s.stats.Checkpoints < 3 {
			return fmt.Errorf("only %d checkpoints", s.stats.Checkpoints)
		}
		return s.Unmount(f)
	})
	run(func(f *engine.Fiber, h *device.Handle) error {
		rep, err := Fsck(f, h, 0, Options{})
		for _, x := range rep.Findings {
			t.Errorf("fsck: %v", x)
		}
		return err
	})
}

// churn has fibers write, overwrite, read back, remove and commit objects and keys of their own.
func churn(f *engine.Fiber, s *Store, fibers, rounds int) error {
	if _, err := s.Update(f, func(tx *Tx) error { return tx.CreateCollection(1) }); err != nil {
		return err
	}
	var all engine.WaitList
	var bad error
	left := fibers
	for w := range fibers {
		if err := f.Turn().Go("churn", func(f *engine.Fiber) {
			if err := churnOne(f, s, uint64(w), rounds); err != nil && bad == nil {
				bad = err
			}
			if left--; left == 0 {
				all.WakeAll(f.Turn())
			}
		}); err != nil {
			return err
		}
	}
	all.Wait(f)
	return bad
}

func churnOne(f *engine.Fiber, s *Store, w uint64, rounds int) error {
	rng := rand.New(rand.NewPCG(w, 9))
	buf, err := f.Reactor().Arena().Get(64 << 10)
	if err != nil {
		return err
	}
	defer f.Reactor().Arena().Put(buf)
	got := f.Reactor().Arena().Bytes(buf)
	for i := range rounds {
		name := []byte(fmt.Sprintf("o%d-%d", w, rng.IntN(8)))
		data := bytes.Repeat([]byte{byte(i + 1)}, 1+rng.IntN(60_000))
		seq, err := s.Update(f, func(tx *Tx) error {
			if err := tx.Truncate(1, name, 0); err != nil {
				return err
			}
			if err := tx.Write(1, name, 0, data); err != nil {
				return err
			}
			return tx.Put(1, append([]byte("key"), name...), data[:min(len(data), 3000)])
		})
		if err == nil && i%8 == 0 {
			err = s.Commit(f, seq)
		}
		if err != nil {
			return err
		}
		n, err := s.Read(f, 1, name, 0, got)
		if err != nil || !bytes.Equal(got[:n], data) {
			return fmt.Errorf("fiber %d, round %d: %d bytes of %d: %v", w, i, n, len(data), err)
		}
		if i%5 == 0 {
			if _, err := s.Update(f, func(tx *Tx) error { return tx.Remove(1, name) }); err != nil {
				return err
			}
		}
	}
	return nil
}
