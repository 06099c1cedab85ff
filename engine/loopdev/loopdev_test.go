package loopdev

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A device has the file's bytes, the sectors that were asked for, and is there until the last descriptor is closed, whoever has it.
func TestAttach(t *testing.T) {
	file := filepath.Join(t.TempDir(), "image")
	content := make([]byte, 1<<20)
	copy(content[4096:], "behind the first sector")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{}, {SectorBytes: 4096}, {SectorBytes: 4096, Direct: true}} {
		d, err := Attach(file, o)
		if err != nil {
			t.Fatal(err)
		}
		user, err := os.Open(d.Path())
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 23)
		if _, err := user.ReadAt(p, 4096); err != nil || string(p) != "behind the first sector" {
			t.Errorf("%+v: read %q, %v", o, p, err)
		}
		bytes, err := unix.IoctlGetInt(int(user.Fd()), unix.BLKGETSIZE64)
		if err != nil || bytes != 1<<20 {
			t.Errorf("%+v: %d bytes, %v", o, bytes, err)
		}
		sector, err := unix.IoctlGetInt(int(user.Fd()), unix.BLKSSZGET)
		if err != nil || sector != max(o.SectorBytes, 512) {
			t.Errorf("%+v: sectors of %d bytes, %v", o, sector, err)
		}
		if direct := d.Fact("loop/dio") == "1"; direct != o.Direct || d.Fact("loop/backing_file") != file {
			t.Errorf("%+v: direct %v, of %q", o, direct, d.Fact("loop/backing_file"))
		}
		if err := errors.Join(d.Close(), d.Close()); err != nil {
			t.Error(err)
		}
		if !d.Attached() {
			t.Errorf("%+v: it is gone under its user", o)
		}
		if err := user.Close(); err != nil {
			t.Error(err)
		}
		for tries := 0; d.Attached(); tries++ { // the machine's own probing may have it for a moment
			if tries == 100_000 {
				t.Fatalf("%+v: it outlives its last user", o)
			}
		}
	}
	if _, err := Attach(filepath.Join(t.TempDir(), "none"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a device of no file: %v", err)
	}
}
