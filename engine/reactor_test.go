package engine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"basalt/engine/uring"
	"golang.org/x/sys/unix"
)

// start runs a reactor on the real ring; a host without io_uring can't run this system at all.
func start(t testing.TB, cfg Config) *Reactor {
	t.Helper()
	cfg.CPU = -1
	if cfg.ArenaBytes == 0 {
		cfg.ArenaBytes = 4 << 20
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(func(*Fiber) error { return nil }); err != nil {
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

// on runs fn in a fiber and fails the test by its error.
func on(t testing.TB, r *Reactor, fn func(f *Fiber) error) {
	t.Helper()
	if err := r.Call(fn); err != nil {
		t.Fatal(err)
	}
}

func tempFile(t testing.TB, data []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

func TestReadThroughRingAndFiber(t *testing.T) {
	r := start(t, Config{})
	file := tempFile(t, []byte("hello, column"))
	on(t, r, func(f *Fiber) error {
		b, err := r.Arena().Get(4096)
		if err != nil {
			return err
		}
		defer r.Arena().Put(b)
		if n := f.Do(uring.PrepRead(int32(file.Fd()), r.Arena().Addr(b), 4096, 0)); n != 13 {
			t.Errorf("read = %d, want 13", n)
		}
		if got := string(r.Arena().Bytes(b)[:13]); got != "hello, column" {
			t.Errorf("read %q", got)
		}
		if !r.Arena().Registered() {
			t.Errorf("buffers are not registered: %s", r.Stats().BuffersReason)
			return nil
		}
		copy(r.Arena().Bytes(b), "HELLO")
		if n := f.Do(uring.PrepWriteFixed(int32(file.Fd()), r.Arena().Addr(b), 5, 0, r.Arena().Index(b))); n != 5 {
			t.Errorf("write = %d, want 5", n)
		}
		if n := f.Do(uring.PrepFsync(int32(file.Fd()), true)); n != 0 {
			t.Errorf("fsync = %d", n)
		}
		if n := f.Do(uring.PrepRead(-1, r.Arena().Addr(b), 4096, 0)); n != -int32(unix.EBADF) {
			t.Errorf("read of no file = %d, want EBADF", n)
		}
		return nil
	})
	if data, _ := os.ReadFile(file.Name()); string(data) != "HELLO, column" {
		t.Errorf("file holds %q", data)
	}
}

func TestBootErrorEndsTheReactor(t *testing.T) {
	r, err := New(Config{CPU: -1, ArenaBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	want := errors.New("no store here")
	if err := r.Start(func(*Fiber) error { return want }); !errors.Is(err, want) {
		t.Fatalf("Start = %v, want boot's error", err)
	}
	if err := r.Post(MessageFunc(func(*Turn) {})); err != ErrStopped {
		t.Fatalf("Post to an ended reactor = %v, want ErrStopped", err)
	}
	if err := r.Call(func(*Fiber) error { return nil }); err != ErrStopped {
		t.Fatalf("Call of an ended reactor = %v, want ErrStopped", err)
	}
}
