package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"basalt/tools/outcome"
	"basalt/tools/rig"
)

// noFuseEnv makes the test binary the helper below; its value is the file that is put over /dev/fuse.
const noFuseEnv = "BASALT_E2E_NO_FUSE"

const nobody = 65534

// becomeNobody runs in a mount namespace of its own: /dev/fuse becomes a file nobody may open, we become nobody, and
// then the program given as arguments. It returns only to say what went wrong.
func becomeNobody() error {
	locked := os.Getenv(noFuseEnv)
	os.Unsetenv(noFuseEnv)
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount(locked, "/dev/fuse", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cover /dev/fuse: %w", err)
	}
	if err := syscall.Setgid(nobody); err != nil {
		return err
	}
	if err := syscall.Setuid(nobody); err != nil {
		return err
	}
	return syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
}

func TestNoPermissionOnFuse(t *testing.T) {
	r := newRig(t)
	r.NodeFlags = []string{"--socket-mode", "0666"}
	must(t, r.StartNode())
	must(t, os.Chmod(r.Dir, 0o755))
	must(t, os.Chown(r.Mnt(), nobody, nobody))
	locked := join(r, "locked")
	must(t, os.WriteFile(locked, nil, 0))

	var out, errs strings.Builder
	cmd := exec.Command("/proc/self/exe", filepath.Join(bin, "basalt"), "mount", "--foreground", "--node", r.Socket(), r.Mnt())
	cmd.Env = append(os.Environ(), noFuseEnv+"="+locked)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err == nil {
		t.Fatal("nobody mounted without /dev/fuse")
	}
	res := rig.Result{Code: cmd.ProcessState.ExitCode(), Stdout: out.String(), Stderr: errs.String()}
	checkRefusal(t, res, outcome.Mount, []string{"no permission", "/dev/fuse"})
}
