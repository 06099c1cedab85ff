package device

import (
	"bytes"
	"errors"
	"testing"

	"basalt/engine"
	"basalt/engine/loopdev"
	"golang.org/x/sys/unix"
)

// loop makes a block device of an image file.
func loop(t *testing.T, path string) string {
	t.Helper()
	d, err := loopdev.Attach(path, loopdev.Options{SectorBytes: 4096})
	if err != nil {
		t.Fatalf("block devices are tested on a loop device: %v", err)
	}
	t.Cleanup(func() { d.Close() })
	return d.Path()
}

func TestBlockDevice(t *testing.T) {
	path := loop(t, created(t, 8<<20))
	d, err := Open(path, Options{BytesMin: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if g := d.Geometry(); !g.Block || g.Bytes != 8<<20 || g.LogicalBytes != 4096 || !g.Direct {
		t.Errorf("geometry %+v", g)
	}
	r := newReactor(t)
	if err := r.Call(func(f *engine.Fiber) error {
		h, err := d.Attach(f.Turn())
		if err != nil {
			return err
		}
		b, err := r.Arena().Get(64 << 10)
		if err != nil {
			return err
		}
		p := r.Arena().Bytes(b)
		for i := range p {
			p[i] = byte(i>>12) + 1
		}
		want := bytes.Clone(p)
		if err := h.Write(f, p, 1<<20); err != nil {
			return err
		}
		if err := h.Flush(f); err != nil {
			return err
		}
		clear(p)
		if err := h.Read(f, p, 1<<20); err != nil {
			return err
		}
		if !bytes.Equal(p, want) {
			t.Error("read something else than was written")
		}
		return h.Discard(f, 0, 1<<20)
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{}); !errors.Is(err, ErrBusy) {
		t.Errorf("second claim = %v, want ErrBusy", err)
	}
	reader, err := Open(path, Options{ReadOnly: true})
	if !errors.Is(err, ErrBusy) {
		t.Errorf("a reader beside a writer = %v, want ErrBusy", err)
		reader.Close()
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// After an orderly stop nothing of ours still has the device, not even for a moment.
func TestClaimAfterStopSucceedsAtOnce(t *testing.T) {
	defer func(n int) { claimTries = n }(claimTries)
	claimTries = 1
	path := loop(t, created(t, 1<<20))
	for round := range 5 {
		d, err := Open(path, Options{})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		r, err := engine.New(engine.Config{CPU: -1, ArenaBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Start(func(f *engine.Fiber) error {
			h, err := d.Attach(f.Turn())
			if err != nil {
				return err
			}
			b, err := r.Arena().Get(4096)
			if err != nil {
				return err
			}
			return h.Read(f, r.Arena().Bytes(b), 0)
		}); err != nil {
			t.Fatal(err)
		}
		r.Stop()
		if err := r.Wait(); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Every way to discard frees exactly its range of the file behind a loop device, and what stands beside it stays.
func TestBlockDeviceDiscards(t *testing.T) {
	image := created(t, 8<<20)
	d, err := Open(loop(t, image), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if g := d.Geometry(); !g.Discard || g.DiscardBytes%BlockBytes != 0 || g.DiscardBytes == 0 || g.DiscardAlign != 0 {
		t.Errorf("geometry %+v", g)
	}
	allocated := func() int64 {
		var st unix.Stat_t
		if err := unix.Stat(image, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	with(t, d, func(f *engine.Fiber, h *Handle, p []byte) {
		asked := h.DiscardBy(f)
		t.Logf("this kernel discards by %s", asked)
		if asked != DiscardCommand && asked != DiscardIoctl {
			t.Fatalf("a loop device discards by %s", asked)
		}
		for i := range p {
			p[i] = 'x'
		}
		for _, by := range []DiscardBy{asked, DiscardIoctl} {
			if h.by = by; h.Write(f, p, 0) != nil || h.Flush(f) != nil {
				t.Fatal("write")
			}
			before := allocated()
			if err := h.Discard(f, 1<<20, 1<<20); err != nil {
				t.Fatalf("by %s: %v", by, err)
			}
			if n := before - allocated(); n != 1<<20 {
				t.Errorf("by %s: %d bytes of the file have been freed, want 1 MiB", by, n)
			}
			if err := h.Read(f, p, 0); err != nil || bytes.Count(p, []byte("x")) != len(p)-1<<20 || p[1<<20-1] != 'x' || p[2<<20] != 'x' {
				t.Errorf("by %s: more or less than its range is gone: %v", by, err)
			}
		}
		panics(t, "discard beyond the end", func() { h.Discard(f, 0, 16<<20) })
		panics(t, "discard of half a block", func() { h.Discard(f, 512, 4096) })
	})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDiscardUnit(t *testing.T) {
	for _, x := range []struct{ granularity, alignment, unit, align int64 }{
		{0, 0, 4096, 0}, {512, 0, 4096, 0}, {4096, 0, 4096, 0}, {65536, 0, 65536, 0}, {65536, 8192, 65536, 8192}, {65536, 69632, 65536, 4096},
		{65536, 512, 65536, 0}, {65536, -1, 65536, 0}, {2 << 20, 1 << 20, 2 << 20, 1 << 20}, {6144, 0, 8192, 0},
	} {
		if unit, align := discardUnit(x.granularity, x.alignment); unit != x.unit || align != x.align {
			t.Errorf("granularity %d, alignment %d: unit %d from %d on, want %d from %d on", x.granularity, x.alignment, unit, align, x.unit, x.align)
		}
	}
}
