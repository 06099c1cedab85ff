package fuse

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	devicePath  = "/dev/fuse"
	enablePath  = "/sys/module/fuse/parameters/enable_uring"
	limitPath   = "/proc/sys/fs/fuse/max_pages_limit"
	fuseConf    = "/etc/fuse.conf"
	bdiPath     = "/sys/class/bdi/"
	possPath    = "/sys/devices/system/cpu/possible"
	pagesMax    = 256 // what kernels without the sysctl allow
	initTimeout = 10_000
)

// mount attaches the file system and opens its device: mount(2) as root, fusermount3 for everyone else.
func (c *Connection) mount() error {
	dir, err := resolve(c.opt.Dir)
	if err != nil {
		return fmt.Errorf("mount %s: %w", c.opt.Dir, err)
	}
	c.opt.Dir = dir
	if err := checkDir(dir, c.opt.NonEmpty); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		c.direct = true
		c.fd, err = mountDirect(&c.opt)
	} else {
		if !c.opt.OwnerOnly && !othersAllowed() {
			c.opt.OwnerOnly = true
			c.log.Info("other users can't enter this mount: "+fuseConf+" does not say user_allow_other", "dir", dir)
		}
		c.fd, err = mountHelped(&c.opt)
	}
	if m, ok := findMount(dir); ok {
		c.dev = m.dev
	}
	return err
}

// resolve names the directory as the mount table does, without looking into it.
func resolve(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil || abs == "/" {
		return abs, err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", err
	}
	return filepath.Join(parent, filepath.Base(abs)), nil
}

// checkDir refuses a mount point that can't be one, in words that say what to do. It asks the mount table first: touching a mount whose
// daemon hangs would hang us too.
func checkDir(dir string, nonEmpty bool) error {
	if m, ok := findMount(dir); ok {
		return fmt.Errorf("mount %s: already mounted (%s, type %s); unmount it first with: umount %s", dir, m.source, m.fstype, dir)
	}
	st, err := os.Lstat(dir)
	switch {
	case errors.Is(err, unix.ENOTCONN), errors.Is(err, unix.ECONNABORTED):
		return fmt.Errorf("mount %s: a dead mount is still there; remove it with: umount -l %s", dir, dir)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("mount %s: there is no such directory; make it first", dir)
	case err != nil:
		return fmt.Errorf("mount %s: %w", dir, err)
	case !st.IsDir():
		return fmt.Errorf("mount %s: not a directory", dir)
	}
	if nonEmpty {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	defer d.Close()
	if names, _ := d.Readdirnames(1); len(names) > 0 {
		return fmt.Errorf("mount %s: the directory is not empty (it has %q); choose an empty one", dir, names[0])
	}
	return nil
}

type mountEntry struct{ dev, source, fstype string }

// findMount looks for the topmost mount on exactly dir.
func findMount(dir string) (mountEntry, bool) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return mountEntry{}, false
	}
	var found mountEntry
	ok := false
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		dash := 0
		for i, w := range f {
			if w == "-" {
				dash = i
			}
		}
		if dash < 6 || len(f) < dash+3 || unescape(f[4]) != dir {
			continue
		}
		found, ok = mountEntry{dev: f[2], fstype: f[dash+1], source: f[dash+2]}, true
	}
	return found, ok
}

// unescape undoes the octal escapes of the mount table.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// mountDirect is what fusermount3 would do, by ourselves.
func mountDirect(o *Options) (int, error) {
	fd, err := unix.Open(devicePath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, deviceError(err)
	}
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,%s", fd, os.Geteuid(), os.Getegid(), strings.Join(o.kernelOptions(), ","))
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	if o.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount(o.Source, o.Dir, "fuse."+o.Subtype, flags, data); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("mount %s: %w", o.Dir, err)
	}
	return fd, nil
}

func deviceError(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("mount: %s is missing: load the kernel module with: modprobe fuse", devicePath)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("mount: no permission to open %s: run as root, or let your user read and write it", devicePath)
	}
	return fmt.Errorf("mount: opening %s: %w", devicePath, err)
}

// kernelOptions are those of the FUSE file system type.
func (o *Options) kernelOptions() []string {
	list := []string{fmt.Sprintf("max_read=%d", o.MaxWrite)}
	if !o.OwnerOnly {
		list = append(list, "allow_other")
	}
	if o.KernelChecks {
		list = append(list, "default_permissions")
	}
	return list
}

// escapeOption: fusermount3 takes a comma for the end of an option unless a backslash stands before it.
func escapeOption(value string) string {
	return strings.NewReplacer(`\`, `\\`, ",", `\,`).Replace(value)
}

// mountHelped has the set-uid helper mount, and receives the open device from it.
func mountHelped(o *Options) (int, error) {
	fd, err := unix.Open(devicePath, unix.O_RDWR|unix.O_CLOEXEC, 0) // the helper opens it with our rights, but explains less
	if err != nil {
		return -1, deviceError(err)
	}
	unix.Close(fd)
	helper, err := findHelper()
	if err != nil {
		return -1, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("mount: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "fusermount3"), os.NewFile(uintptr(pair[1]), "fusermount3")
	defer ours.Close()
	list := append(o.kernelOptions(), "fsname="+escapeOption(o.Source), "subtype="+escapeOption(o.Subtype), "nosuid", "nodev")
	if o.ReadOnly {
		list = append(list, "ro")
	}
	cmd := exec.Command(helper, "-o", strings.Join(list, ","), "--", o.Dir)
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.ExtraFiles = []*os.File{theirs}
	said, err := cmd.CombinedOutput()
	theirs.Close()
	if err != nil {
		return -1, fmt.Errorf("mount %s: %s: %w: %s", o.Dir, helper, err, strings.TrimSpace(string(said)))
	}
	return receiveDevice(int(ours.Fd()))
}

// othersAllowed says whether fusermount3 grants allow_other to users.
func othersAllowed() bool {
	b, err := os.ReadFile(fuseConf)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if strings.TrimSpace(line) == "user_allow_other" {
			return true
		}
	}
	return false
}

// HelperPaths is where fusermount3 is looked for; a name without a slash is looked up in PATH.
var HelperPaths = []string{"fusermount3", "/bin/fusermount3", "/usr/bin/fusermount3"}

func findHelper() (string, error) {
	for _, name := range HelperPaths {
		if p, err := exec.LookPath(name); err == nil {
			return p, nil
		}
	}
	return "", errors.New("mount: fusermount3 is not installed, and only root can mount without it: install the fuse3 package, or run as root")
}

func receiveDevice(socket int) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 8), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("mount: fusermount3 sent no device: %w", err)
	}
	list, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(list) != 1 {
		return -1, fmt.Errorf("mount: fusermount3 sent no device (%d control messages): %w", len(list), err)
	}
	fds, err := unix.ParseUnixRights(&list[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("mount: fusermount3 sent %d descriptors: %w", len(fds), err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		return -1, fmt.Errorf("mount: %w", err)
	}
	return fds[0], nil
}

// readInit waits for the first request.
func readInit(fd int, buf []byte) (int, error) {
	for {
		n, err := unix.Read(fd, buf)
		switch err {
		case nil:
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, initTimeout)
			if err == nil && ready == 0 {
				return 0, errors.New("mount: the kernel sent no INIT within ten seconds")
			}
		default:
			return 0, fmt.Errorf("mount: reading INIT: %w", err)
		}
	}
}

// Unmount detaches the file system and waits until its requests have ended. A mount that is in use is refused unless lazy: then it
// disappears from the name space at once, and ends when the last user leaves.
func (c *Connection) Unmount(lazy bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m, ok := findMount(c.opt.Dir); !ok || m.dev != c.dev {
		return nil // somebody else was faster
	}
	if err := detach(c.opt.Dir, c.direct, lazy); err != nil {
		return err
	}
	if !lazy {
		<-c.done
	}
	return nil
}

func detach(dir string, direct, lazy bool) error {
	if !direct {
		helper, err := findHelper()
		if err != nil {
			return err
		}
		args := []string{"-u", "--", dir}
		if lazy {
			args = []string{"-u", "-z", "--", dir}
		}
		if said, err := exec.Command(helper, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("unmount %s: %w: %s", dir, err, strings.TrimSpace(string(said)))
		}
		return nil
	}
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(dir, flags)
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("unmount %s: a program still has a file or its working directory there: %w", dir, err)
	case err != nil:
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}

// readAhead lets the kernel read ahead by more than its own 128 KiB, so that two full requests are under way in a sequential read. Only root may;
// for others the kernel's value stays.
func (c *Connection) readAhead() {
	if !c.direct || c.dev == "" {
		return
	}
	kib := strconv.Itoa(readAheadWrites * c.opt.MaxWrite >> 10)
	if err := os.WriteFile(bdiPath+c.dev+"/read_ahead_kb", []byte(kib), 0); err != nil {
		c.log.Warn("sequential reads stay slow: the read-ahead could not be set", "error", err)
	}
}

// abandon takes back a mount that never served.
func (c *Connection) abandon() error {
	err := detach(c.opt.Dir, c.direct, true)
	unix.Close(c.fd)
	return err
}

// enableURing makes the kernel offer FUSE over io_uring to connections made from now on. Root switches it on and says so; nobody resets
// it, because other mounts may have come to rely on it.
func enableURing(log *slog.Logger) error {
	now, err := os.ReadFile(enablePath)
	if err != nil {
		return errors.New("this kernel has no FUSE over io_uring (it needs 6.14 or later with CONFIG_FUSE_IO_URING)")
	}
	if s := strings.TrimSpace(string(now)); s == "Y" || s == "1" {
		return nil
	}
	if err := os.WriteFile(enablePath, []byte("Y"), 0); err != nil {
		return fmt.Errorf("it is switched off, and only root can switch it on: echo Y > %s", enablePath)
	}
	log.Info("switched FUSE over io_uring on for this machine", "wrote", "Y", "to", enablePath)
	return nil
}

// pagesLimit is the kernel's bound of one request.
func pagesLimit() int {
	if b, err := os.ReadFile(limitPath); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && n > 0 {
			return n
		}
	}
	return pagesMax
}

// possibleCPUs counts the CPUs the kernel makes queues for.
func possibleCPUs() int {
	b, err := os.ReadFile(possPath)
	if err != nil {
		return 1
	}
	return countCPUs(strings.TrimSpace(string(b)))
}

// countCPUs counts a list such as "0-3,8-11".
func countCPUs(list string) int {
	n := 0
	for part := range strings.SplitSeq(list, ",") {
		first, last, ranged := strings.Cut(part, "-")
		a, err := strconv.Atoi(first)
		if err != nil {
			return max(n, 1)
		}
		b := a
		if ranged {
			if b, err = strconv.Atoi(last); err != nil || b < a {
				return max(n, 1)
			}
		}
		n += b - a + 1
	}
	return n
}
