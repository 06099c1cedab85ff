package device

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"basalt/engine"
	"golang.org/x/sys/unix"
)

func init() { claimTries = 2 }

func newReactor(t testing.TB) *engine.Reactor {
	t.Helper()
	r, err := engine.New(engine.Config{CPU: -1, ArenaBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(func(*engine.Fiber) error { return nil }); err != nil {
		t.Fatalf("these tests need io_uring: %v", err)
	}
	t.Cleanup(func() {
		r.Stop()
		if err := r.Wait(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func created(t testing.TB, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := Create(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

func opened(t testing.TB, path string, o Options) *Device {
	t.Helper()
	d, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// with attaches d to a fiber's reactor, with one aligned buffer.
func with(t testing.TB, d *Device, fn func(f *engine.Fiber, h *Handle, p []byte)) {
	t.Helper()
	r := newReactor(t)
	if err := r.Call(func(f *engine.Fiber) error {
		h, err := d.Attach(f.Turn())
		if err != nil {
			return err
		}
		b, err := r.Arena().Get(4 << 20)
		if err != nil {
			return err
		}
		fn(f, h, r.Arena().Bytes(b))
		h.Detach(f.Turn())
		r.Arena().Put(b)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func panics(t *testing.T, what string, fn func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s did not panic", what)
		}
	}()
	fn()
}

func TestCreateAllocatesEverything(t *testing.T) {
	path := created(t, 3<<20)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != 3<<20 || st.Blocks*512 < st.Size {
		t.Errorf("size %d, %d bytes allocated", st.Size, st.Blocks*512)
	}
	if err := Create(path, 1<<20); !errors.Is(err, os.ErrExist) {
		t.Errorf("Create over a file = %v, want ErrExist", err)
	}
	for _, n := range []int64{0, -4096, 5000} {
		other := filepath.Join(t.TempDir(), "x")
		if err := Create(other, n); !errors.Is(err, ErrGeometry) {
			t.Errorf("Create of %d bytes = %v, want ErrGeometry", n, err)
		}
		if _, err := os.Stat(other); !errors.Is(err, os.ErrNotExist) {
			t.Error("a refused Create left a file")
		}
	}
	huge := filepath.Join(t.TempDir(), "huge")
	if err := Create(huge, 1<<62); err == nil {
		t.Error("an image of 4 EiB was made")
	}
	if _, err := os.Stat(huge); !errors.Is(err, os.ErrNotExist) {
		t.Error("a failed Create left a file")
	}
}

func TestReadWriteFlush(t *testing.T) {
	path := created(t, 8<<20)
	d := opened(t, path, Options{})
	if g := d.Geometry(); g.Bytes != 8<<20 || !g.Direct || g.Block || d.Name() != path || d.Bytes() != 8<<20 {
		t.Errorf("geometry %+v", g)
	}
	with(t, d, func(f *engine.Fiber, h *Handle, p []byte) {
		if err := h.Read(f, p, 0); err != nil || !bytes.Equal(p, make([]byte, len(p))) {
			t.Errorf("a new image does not read as zeros: %v", err)
		}
		for i := range p {
			p[i] = byte(i >> 12)
		}
		want := bytes.Clone(p)
		if err := h.Write(f, p, 4<<20); err != nil {
			t.Error(err)
		}
		if err := h.Flush(f); err != nil {
			t.Error(err)
		}
		clear(p)
		if err := h.Read(f, p, 4<<20); err != nil || !bytes.Equal(p, want) {
			t.Errorf("read back: %v", err)
		}
		if err := h.Read(f, p[:4096], 4<<20+4096*7); err != nil || p[0] != 7 {
			t.Errorf("one block: %v, %d", err, p[0])
		}
		if err := h.Discard(f, 4<<20, 4096); err != nil {
			t.Errorf("discard of an image that is not to be told: %v", err)
		}
		if err := h.Read(f, p[:4096], 4<<20); err != nil || p[4095] != 0 {
			t.Errorf("block 0 after the discard that does nothing: %v", err)
		}
	})
	onDisk, err := os.ReadFile(path)
	if err != nil || onDisk[4<<20+9*4096] != 9 {
		t.Errorf("the file holds %d, %v", onDisk[4<<20+9*4096], err)
	}
}

func TestDiscardMakesHolesIfAsked(t *testing.T) {
	path := created(t, 4<<20)
	d := opened(t, path, Options{Discard: true})
	with(t, d, func(f *engine.Fiber, h *Handle, p []byte) {
		for i := range p {
			p[i] = 1
		}
		if err := h.Write(f, p, 0); err != nil {
			t.Error(err)
		}
		if err := h.Discard(f, 1<<20, 2<<20); err != nil {
			t.Error(err)
		}
		if err := h.Read(f, p[:8192], 1<<20-4096); err != nil || p[0] != 1 || p[4096] != 0 {
			t.Errorf("around the hole: %v, %d %d", err, p[0], p[4096])
		}
		panics(t, "discard beyond the end", func() { h.Discard(f, 0, 8<<20) })
		panics(t, "discard of half a block", func() { h.Discard(f, 100, 4096) })
	})
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Size != 4<<20 || st.Blocks*512 > 3<<20 {
		t.Errorf("size %d, %d bytes allocated, %v", st.Size, st.Blocks*512, err)
	}
}

func TestTransfersThatWeMustNotAskFor(t *testing.T) {
	d := opened(t, created(t, 1<<20), Options{})
	with(t, d, func(f *engine.Fiber, h *Handle, p []byte) {
		panics(t, "an unaligned offset", func() { h.Read(f, p[:4096], 512) })
		panics(t, "half a block", func() { h.Read(f, p[:512], 0) })
		panics(t, "no bytes", func() { h.Read(f, nil, 0) })
		panics(t, "an unaligned address", func() { h.Read(f, p[512:4608], 0) })
		panics(t, "memory of the Go heap", func() { h.Write(f, make([]byte, 4096), 0) })
		panics(t, "a read beyond the end", func() { h.Read(f, p[:8192], 1<<20-4096) })
		panics(t, "a write before the start", func() { h.Write(f, p[:4096], -4096) })
		panics(t, "an offset that overflows", func() { h.Read(f, p[:4096], 1<<63-4096) })
	})
}

// The file becomes shorter behind our back: the transfer ends early, and the error says where.
func TestShortTransfer(t *testing.T) {
	path := created(t, 1<<20)
	d := opened(t, path, Options{})
	if err := os.Truncate(path, 512<<10); err != nil {
		t.Fatal(err)
	}
	with(t, d, func(f *engine.Fiber, h *Handle, p []byte) {
		err := h.Read(f, p[:64<<10], 480<<10)
		var e *IOError
		if !errors.As(err, &e) || !errors.Is(err, ErrShort) || e.Off != 512<<10 || e.Len != 32<<10 || e.Op != OpRead || e.Device != path {
			t.Errorf("read over the end = %v (%+v)", err, e)
		}
		if !strings.Contains(err.Error(), "32768 bytes at 524288") {
			t.Errorf("message %q", err)
		}
	})
}

func TestErrorsOfTheKernelNameThePlace(t *testing.T) {
	d := New(1<<20, Geometry{Bytes: 1 << 20}, "nowhere") // no such descriptor
	with(t, d, func(f *engine.Fiber, h *Handle, p []byte) {
		for op, err := range map[Op]error{OpRead: h.Read(f, p[:4096], 8192), OpWrite: h.Write(f, p[:4096], 8192), OpFlush: h.Flush(f)} {
			var e *IOError
			if !errors.As(err, &e) || !errors.Is(err, unix.EBADF) || e.Op != op || op != OpFlush && (e.Off != 8192 || e.Len != 4096) {
				t.Errorf("%s = %v", op, err)
			}
			if !strings.Contains(err.Error(), "nowhere") || !strings.Contains(err.Error(), string(op)) {
				t.Errorf("message %q", err)
			}
		}
	})
	if err := d.Close(); err != nil {
		t.Errorf("Close of a device that is not ours to close: %v", err)
	}
}

func TestReadOnly(t *testing.T) {
	path := created(t, 1<<20)
	one, two := opened(t, path, Options{ReadOnly: true}), opened(t, path, Options{ReadOnly: true})
	if !one.ReadOnly() || !two.ReadOnly() {
		t.Error("not read-only")
	}
	if _, err := Open(path, Options{}); !errors.Is(err, ErrBusy) {
		t.Errorf("Open for writing beside readers = %v, want ErrBusy", err)
	}
	with(t, one, func(f *engine.Fiber, h *Handle, p []byte) {
		if err := h.Read(f, p[:4096], 0); err != nil {
			t.Error(err)
		}
		if err := h.Write(f, p[:4096], 0); !errors.Is(err, unix.EROFS) {
			t.Errorf("write = %v, want EROFS", err)
		}
		if err := h.Discard(f, 0, 4096); !errors.Is(err, unix.EROFS) {
			t.Errorf("discard = %v, want EROFS", err)
		}
		if err := h.Flush(f); err != nil {
			t.Errorf("flush with nothing written: %v", err)
		}
	})
}

func TestOpenRefusals(t *testing.T) {
	path := created(t, 1<<20)
	d, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{}); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), path) {
		t.Errorf("second Open = %v, want ErrBusy", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, make([]byte, 4095), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		path string
		o    Options
		want error
	}{
		"too short for a block": {short, Options{}, ErrShort},
		"shorter than wanted":   {path, Options{BytesMin: 2 << 20}, ErrShort},
		"a directory":           {t.TempDir(), Options{}, ErrKind},
		"a character device":    {"/dev/null", Options{}, ErrKind},
		"nothing":               {path + "x", Options{}, os.ErrNotExist},
		"without direct I/O":    {"/proc/version", Options{ReadOnly: true}, ErrNoDirect},
		"buffered, but empty":   {"/proc/version", Options{ReadOnly: true, Buffered: true}, ErrShort},
	} {
		d, err := Open(x.path, x.o)
		if !errors.Is(err, x.want) {
			t.Errorf("%s: Open = %v, want %v", name, err, x.want)
		}
		if err == nil {
			d.Close()
		} else if strings.Count(err.Error(), x.path) != 1 {
			t.Errorf("%s: the message names the path other than once: %q", name, err)
		}
	}
	again := opened(t, path, Options{}) // refusals left nothing locked
	_ = again
}

func TestAttachOfAClosedDevice(t *testing.T) {
	d, err := Open(created(t, 1<<20), Options{})
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	r := newReactor(t)
	if err := r.Call(func(f *engine.Fiber) error {
		_, err := d.Attach(f.Turn())
		return err
	}); err == nil {
		t.Error("a closed device was attached")
	}
}
