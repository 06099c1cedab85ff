package mountpoint

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"basalt/tools/outcome"
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

// Whoever made /tmp/basalt-UID before we did could answer in our place.
func TestControlSocketsOfSomebodyElse(t *testing.T) {
	const somebody = 65534
	base := filepath.Join(t.TempDir(), "basalt")
	if _, err := controlSocketIn(base, os.Getuid(), "/mnt"); err != nil {
		t.Fatal(err)
	}
	refused := func(base, why string) {
		t.Helper()
		if path, err := controlSocketIn(base, somebody, "/mnt"); outcome.CodeOf(err) != outcome.InUse || !strings.Contains(err.Error(), base) {
			t.Errorf("%s: %q, %v", why, path, err)
		}
	}
	refused(base, "the directory of another user")
	if err := os.Chown(base, somebody, somebody); err != nil {
		t.Fatal(err)
	}
	if _, err := controlSocketIn(base, somebody, "/mnt"); err != nil {
		t.Errorf("his own: %v", err)
	}
	link := base + "-link"
	if err := os.Symlink(base, link); err != nil {
		t.Fatal(err)
	}
	refused(link, "a link")
	if err := os.Chmod(base, 0o777); err != nil {
		t.Fatal(err)
	}
	refused(base, "one that everybody may write to")
}
