// Package mountpoint finds things out about a directory that is, was, or shall be a mount: what is mounted there,
// on which control socket its process listens, and how it is unmounted.
//
// It owns no state; the kernel's mount table is asked every time. Invariant: no function here touches the mounted
// file system itself, because a mount whose process has died makes every such call fail or hang. Read Resolve first.
package mountpoint

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"basalt/tools/outcome"
)

// Type is the file system type that the kernel shows for our mounts.
const Type = "fuse.basalt"

// Resolve makes a directory's name absolute and free of symbolic links without looking into the directory itself.
func Resolve(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if abs == "/" {
		return abs, nil
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", fmt.Errorf("find %s: %w", dir, err)
	}
	return filepath.Join(parent, filepath.Base(abs)), nil
}

// Mounted is the type of what is mounted on top at an absolute directory, "" for nothing.
func Mounted(dir string) (string, error) {
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("read the mount table: %w", err)
	}
	defer table.Close()
	kind := ""
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		if at, of, ok := parseMountInfo(lines.Text()); ok && at == dir {
			kind = of // a later line is mounted on top of an earlier one
		}
	}
	return kind, lines.Err()
}

// parseMountInfo reads "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw": field 5, and the first after "-".
func parseMountInfo(line string) (dir, kind string, ok bool) {
	left, right, found := strings.Cut(line, " - ")
	fields := strings.Fields(left)
	after := strings.Fields(right)
	if !found || len(fields) < 5 || len(after) < 1 {
		return "", "", false
	}
	return unescape(fields[4]), after[0], true
}

// unescape undoes the kernel's octal escapes of blank, tab, newline and backslash.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// ControlSocket is where the process that serves the mount at an absolute directory listens.
func ControlSocket(dir string) (string, error) {
	return controlSocketIn(RunDir(), os.Getuid(), dir)
}

func controlSocketIn(base string, uid int, dir string) (string, error) {
	mode := os.FileMode(0o700)
	if uid == 0 {
		mode = 0o755 // the node's socket is there too, and its own mode says who may connect
	}
	if err := os.MkdirAll(base, mode); err != nil {
		return "", fmt.Errorf("directory of the control sockets: %w", err)
	}
	if err := checkOwn(base, uid); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join(base, "mount-"+hex.EncodeToString(sum[:8])+".ctl"), nil
}

// checkOwn refuses a directory in which somebody else could put sockets of his own: everybody may make one of that name in /tmp.
// Who may write to root's is for root to decide.
func checkOwn(base string, uid int) error {
	if uid == 0 {
		return nil
	}
	info, err := os.Lstat(base)
	if err != nil {
		return fmt.Errorf("directory of the control sockets: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(owner.Uid) != uid || info.Mode().Perm()&0o022 != 0 {
		return outcome.New(outcome.InUse, "%s must be a directory of user %d that nobody else may write to, and is not: remove it, or set XDG_RUNTIME_DIR to a directory of your own", base, uid)
	}
	return nil
}

// RunDir holds the sockets of this user's processes.
func RunDir() string {
	if os.Getuid() == 0 {
		return "/run/basalt"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "basalt")
	}
	return fmt.Sprintf("/tmp/basalt-%d", os.Getuid())
}

// Unmount takes the mount off the directory; lazy detaches it even while programs use it.
func Unmount(dir string, lazy bool) error {
	if os.Getuid() != 0 {
		return unmountAsUser(dir, lazy)
	}
	flags := 0
	if lazy {
		flags = syscall.MNT_DETACH
	}
	switch err := syscall.Unmount(dir, flags); {
	case errors.Is(err, syscall.EBUSY):
		return busy(dir)
	case err != nil:
		return outcome.New(outcome.Mount, "unmount %s: %w", dir, err)
	}
	return nil
}

func unmountAsUser(dir string, lazy bool) error {
	args := []string{"-u", dir}
	if lazy {
		args = []string{"-u", "-z", dir}
	}
	text, err := exec.Command("fusermount3", args...).CombinedOutput()
	switch {
	case err == nil:
		return nil
	case strings.Contains(string(text), "busy"):
		return busy(dir)
	}
	return outcome.New(outcome.Mount, "unmount %s: %s (%w)", dir, strings.TrimSpace(string(text)), err)
}

func busy(dir string) error {
	return outcome.New(outcome.InUse, "%s is in use: leave it and close its files (fuser -vm %s shows who), or unmount with --lazy", dir, dir)
}

// CheckFuse says what is missing for a mount, before a node is asked for one.
func CheckFuse() error {
	fd, err := syscall.Open("/dev/fuse", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		return outcome.New(outcome.Mount, "there is no /dev/fuse: load the kernel's fuse module (modprobe fuse), or give it to this container")
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return outcome.New(outcome.Mount, "no permission on /dev/fuse: run as root, or let this user read and write it")
	case err != nil:
		return outcome.New(outcome.Mount, "/dev/fuse: %w", err)
	}
	syscall.Close(fd)
	return nil
}
