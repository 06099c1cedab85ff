package uring

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"basalt/engine/loopdev"
)

// loop makes a block device of a new file of n bytes, all of them 'x'; the kernel gives it back when the last user closes it.
func loop(t *testing.T, n int) (file, dev int32) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), n), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := loopdev.Attach(path, loopdev.Options{SectorBytes: 4096})
	if err != nil {
		t.Fatalf("discards are tested on a loop device: %v", err)
	}
	t.Cleanup(func() { d.Close() })
	opened := func(name string, flags int) int32 {
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC|flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return int32(fd)
	}
	return opened(path, 0), opened(d.Path(), unix.O_DIRECT)
}

func allocated(t *testing.T, fd int32) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(fd), &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

// A discard fits an entry of 64 bytes and one of 128, names its file directly or by a slot, frees exactly its range, and says what it cannot do. A
// kernel that does not know the command yet says EOPNOTSUPP to all of it.
func TestDiscard(t *testing.T) {
	for _, cfg := range []Config{{Entries: 4}, {Entries: 4, SQE128: true}} {
		t.Run(fmt.Sprintf("128 bytes %v", cfg.SQE128), func(t *testing.T) {
			r := open(t, cfg)
			file, dev := loop(t, 4<<20)
			if c := do(t, r, PrepDiscard(file, 0, 4096)); c.Res != -int32(unix.EOPNOTSUPP) {
				t.Fatalf("discard of a part of a file: %d, want EOPNOTSUPP", c.Res)
			}
			if c := do(t, r, PrepDiscard(-1, 0, 4096)); c.Res != -int32(unix.EBADF) {
				t.Fatalf("discard of no file: %d, want EBADF", c.Res)
			}
			if err := r.RegisterFiles([]int32{-1, dev}); err != nil {
				t.Fatal(err)
			}
			bad := -int32(unix.EINVAL)
			if c := do(t, r, PrepDiscard(dev, 0, 0)); c.Res == -int32(unix.EOPNOTSUPP) {
				bad = c.Res
			}
			for _, s := range []SQE{PrepDiscard(dev, 0, 0), PrepDiscard(dev, 100, 4096), PrepDiscard(dev, 0, 5<<20), PrepDiscard(-1, 0, 512).Fixed(1)} {
				if c := do(t, r, s); c.Res != bad {
					t.Fatalf("discard of %d bytes at %d: %d, want %d", s.Addr3, s.Addr, c.Res, bad)
				}
			}
			before := allocated(t, file)
			for _, s := range []SQE{PrepDiscard(dev, 1<<20, 1<<20), PrepDiscard(-1, 3<<20, 512<<10).Fixed(1)} {
				if c := do(t, r, s); c.Res != 0 && (bad == -int32(unix.EINVAL) || c.Res != bad) {
					t.Fatalf("discard: %v", unix.Errno(-c.Res))
				}
			}
			if bad != -int32(unix.EINVAL) {
				return
			}
			if n := before - allocated(t, file); n != 3<<19 {
				t.Fatalf("%d bytes of the file have been freed, want 1.5 MiB", n)
			}
			got := make([]byte, 4<<20)
			if n, err := unix.Pread(int(file), got, 0); err != nil || n != len(got) {
				t.Fatal(n, err)
			}
			if got[1<<20-1] != 'x' || got[2<<20] != 'x' || got[3<<20-1] != 'x' || bytes.Count(got, []byte{0}) != 3<<19 {
				t.Fatal("more or less than its range is gone")
			}
		})
	}
}
