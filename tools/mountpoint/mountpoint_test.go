package mountpoint

import (
	"os"
	"path/filepath"
	"testing"
)

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "loop")); err != nil {
		t.Fatal(err)
	}
	got, err := Resolve(filepath.Join(dir, "loop", "loop", "mnt"))
	if err != nil || got != filepath.Join(real, "mnt") {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := Resolve("/"); err != nil || got != "/" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Resolve(filepath.Join(dir, "none", "mnt")); err == nil {
		t.Error("a missing parent is accepted")
	}
}

func TestMounted(t *testing.T) {
	if kind, err := Mounted("/proc"); err != nil || kind != "proc" {
		t.Errorf("/proc is %q, %v", kind, err)
	}
	if kind, err := Mounted(t.TempDir()); err != nil || kind != "" {
		t.Errorf("a plain directory is %q, %v", kind, err)
	}
	dir, kind, ok := parseMountInfo(`36 35 0:98 / /a\040b\134c rw,noatime shared:1 - fuse.basalt node rw`)
	if !ok || dir != `/a b\c` || kind != Type {
		t.Errorf("%q %q %v", dir, kind, ok)
	}
	if _, _, ok := parseMountInfo("36 35 0:98 / /x rw"); ok {
		t.Error("a line without a type is accepted")
	}
}

func TestControlSocketIsOneForADirectory(t *testing.T) {
	a, err := ControlSocket("/a/mnt")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := ControlSocket("/b/mnt")
	again, _ := ControlSocket("/a/mnt")
	if a == b || a != again || len(a) > 100 {
		t.Errorf("%q %q %q", a, b, again)
	}
}
