package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"basalt/tools/outcome"
	"basalt/tools/rig"
)

// bin is where TestMain built the binaries.
var bin string

func TestMain(m *testing.M) {
	if os.Getenv(noFuseEnv) != "" {
		fmt.Fprintln(os.Stderr, becomeNobody())
		os.Exit(125)
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "basalt-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // a test runs a binary as another user
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin = dir
	if err := rig.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// newRig makes a rig with an image, and takes it down at the end of the test.
func newRig(t *testing.T) *rig.Rig {
	t.Helper()
	r := bareRig(t)
	must(t, r.Mkfs())
	return r
}

func bareRig(t *testing.T) *rig.Rig {
	t.Helper()
	// Not t.TempDir: test names make socket paths too long, and a mount that cannot be taken off must not fail its removal.
	dir, err := os.MkdirTemp("", "e2e-")
	must(t, err)
	r := &rig.Rig{Bin: bin, Dir: dir, Size: "256MiB"}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("taking the rig down: %v", err)
		}
		for _, name := range []string{"storaged", "mount"} {
			if _, err := os.Stat(r.LogOf(name)); err == nil && t.Failed() {
				t.Logf("%s.log:\n%s", name, r.Tail(name))
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused runs a command that must fail with the code and one sentence that contains every word.
func refused(t *testing.T, r *rig.Rig, want outcome.Code, words []string, name string, args ...string) {
	t.Helper()
	res, err := r.Run(name, args...)
	if err == nil {
		t.Fatalf("%s %q succeeded", name, args)
	}
	checkRefusal(t, res, want, words)
}

func join(r *rig.Rig, name string) string { return filepath.Join(r.Dir, name) }
