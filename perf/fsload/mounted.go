package fsload

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Mounted drives a mounted file system by bare system calls: no poller, no finalizers, no buffering in between.
type Mounted struct{}

func named(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", op, path, err)
}

// again repeats a call that a signal (the Go runtime preempts by signal) interrupted.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func open(path string, flags int) (fd int, err error) {
	err = again(func() error { fd, err = unix.Open(path, flags|unix.O_CLOEXEC, 0o644); return err })
	return fd, named("open", path, err)
}

func (Mounted) Mkdir(path string) error {
	return named("mkdir", path, again(func() error { return unix.Mkdir(path, 0o755) }))
}

func (Mounted) Create(path string, data []byte) error {
	fd, err := open(path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)
	if err != nil {
		return err
	}
	n := 0
	err = again(func() error { n, err = unix.Write(fd, data); return err })
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err == nil && n != len(data) {
		return fmt.Errorf("write %s: %d bytes of %d", path, n, len(data))
	}
	return named("write", path, err)
}

func (Mounted) Stat(path string) error {
	var st unix.Stat_t
	return named("stat", path, again(func() error { return unix.Lstat(path, &st) }))
}

func (Mounted) Read(path string, buf []byte) (int, error) {
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return 0, err
	}
	n := 0
	err = again(func() error { n, err = unix.Read(fd, buf); return err })
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	return n, named("read", path, err)
}

func (Mounted) List(dir string) ([]string, error) {
	fd, err := open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var names []string
	buf := make([]byte, 64<<10)
	for {
		n := 0
		err := again(func() error { n, err = unix.ReadDirent(fd, buf); return err })
		if err != nil {
			return nil, named("readdir", dir, err)
		}
		if n == 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

func (Mounted) Rename(from, to string) error {
	return named("rename", from, again(func() error { return unix.Rename(from, to) }))
}

func (Mounted) Unlink(path string) error {
	return named("unlink", path, again(func() error { return unix.Unlink(path) }))
}

func (Mounted) Rmdir(path string) error {
	return named("rmdir", path, again(func() error { return unix.Rmdir(path) }))
}

// Cold drops the kernel's clean caches; it needs root.
func (Mounted) Cold() error {
	unix.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		return fmt.Errorf("dropping the kernel's caches, without which stat and read would measure them: %w", err)
	}
	return nil
}
