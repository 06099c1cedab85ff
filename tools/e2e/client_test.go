package e2e

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"

	"basalt"
)

// The Go client against a real node, beside a mount of the same file system.
func TestGoClient(t *testing.T) {
	r := newRig(t)
	must(t, r.StartNode())
	must(t, r.Mount())
	x, err := basalt.Dial("unix:"+r.Socket(), basalt.Config{})
	must(t, err)
	closed := false
	defer func() {
		if !closed {
			x.Close()
		}
	}()
	must(t, x.Mkdir("dir", 0o755))
	must(t, x.WriteFile("dir/small", []byte("small")))
	must(t, x.Symlink("small", "dir/link"))
	must(t, x.Link("dir/small", "dir/hard"))
	must(t, x.Rename("dir/hard", "dir/moved"))
	must(t, x.Chmod("dir/small", 0o600))
	must(t, x.Sync())
	must(t, fstest.TestFS(x, "dir/small", "dir/moved")) // reads byte by byte, so only small files yet
	large := content(1, 3<<20+5)
	must(t, x.WriteFile("dir/large", large))
	sameFile(t, filepath.Join(r.Mnt(), "dir", "large"), large) // what the client wrote, the mount reads
	writeSynced(t, filepath.Join(r.Mnt(), "dir", "by-mount"), []byte("by the mount"))
	have, err := x.ReadFile("dir/by-mount")
	must(t, err)
	if string(have) != "by the mount" {
		t.Errorf("the client reads %q", have)
	}
	clientFiles(t, x)
	clientRefusals(t, x)
	clientCrowd(t, x)
	must(t, x.Close())
	closed = true
	if _, err := x.Stat("."); err == nil {
		t.Error("a closed file system answers")
	}
}

func clientFiles(t *testing.T, x *basalt.FS) {
	t.Helper()
	f, err := x.OpenFile("dir/log", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640)
	must(t, err)
	_, err = f.Write([]byte("0123456789"))
	must(t, err)
	_, err = f.WriteAt([]byte("ab"), 2)
	must(t, err)
	must(t, f.Truncate(8))
	_, err = f.Seek(-6, io.SeekEnd)
	must(t, err)
	rest, err := io.ReadAll(f)
	must(t, err)
	if string(rest) != "ab4567" {
		t.Errorf("read %q", rest)
	}
	must(t, f.Sync())
	must(t, f.Close())
	a, err := x.OpenFile("dir/log", os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = a.Write([]byte("!"))
	must(t, err)
	must(t, a.Close())
	info, err := x.Stat("dir/log")
	must(t, err)
	if info.Size() != 9 || info.Mode() != 0o640 {
		t.Errorf("size %d, mode %v", info.Size(), info.Mode())
	}
	must(t, x.Truncate("dir/log", 1))
	space, err := x.Space()
	must(t, err)
	if space.Free == 0 || space.Free > space.Total {
		t.Errorf("space %+v", space)
	}
	must(t, x.Remove("dir/log"))
}

func clientRefusals(t *testing.T, x *basalt.FS) {
	t.Helper()
	for _, c := range []struct {
		err  error
		want error
	}{
		{second(x.Open("none")), fs.ErrNotExist},
		{second(x.Open("none/deeper")), fs.ErrNotExist},
		{second(x.Open("/dir")), fs.ErrInvalid},
		{second(x.Open("dir/../dir")), fs.ErrInvalid},
		{second(x.OpenFile("dir/small", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)), fs.ErrExist},
		{x.Mkdir("dir", 0o755), fs.ErrExist},
		{x.Remove("dir"), fs.ErrExist},
		{x.Remove("dir/none"), fs.ErrNotExist},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("have %v, want %v", c.err, c.want)
		}
	}
	must(t, x.Symlink("loop", "dir/loop"))
	if _, err := x.Open("dir/loop"); err == nil {
		t.Error("a link that leads to itself was opened")
	}
	must(t, x.Remove("dir/loop"))
	if _, err := basalt.Dial("pigeon:x", basalt.Config{}); err == nil {
		t.Error("an address of an unknown kind is accepted")
	}
}

func second[T any](_ T, err error) error { return err }

// clientCrowd uses one FS from many goroutines.
func clientCrowd(t *testing.T, x *basalt.FS) {
	t.Helper()
	var crowd sync.WaitGroup
	for i := range 32 {
		crowd.Go(func() {
			for j := range 20 {
				name := fmt.Sprintf("dir/crowd-%d-%d", i, j)
				want := content(uint64(i*100+j), 1000*j)
				if err := x.WriteFile(name, want); err != nil {
					t.Error(err)
					return
				}
				if have, err := x.ReadFile(name); err != nil || string(have) != string(want) {
					t.Errorf("%s reads back wrong (%d bytes, %v)", name, len(have), err)
				}
			}
		})
	}
	crowd.Wait()
	entries, err := x.ReadDir("dir")
	must(t, err)
	if len(entries) != 32*20+5 {
		t.Errorf("%d names, want %d", len(entries), 32*20+5)
	}
}
