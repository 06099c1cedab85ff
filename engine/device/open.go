package device

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Options of Open.
type Options struct {
	ReadOnly bool
	Force    bool                   // do not refuse foreign content
	Own      func(head []byte) bool // the first 64 KiB are ours: then nothing else is looked for
	BytesMin int64                  // refuse what is shorter, with ErrShort
	Buffered bool                   // accept an image on a file system without direct I/O: through the page cache, for tests only
	Discard  bool                   // tell an image file too what is free: it becomes sparse, and may run out of space later
}

// Open claims a block device or an image file: exclusively for writing, shared with other readers for
// reading.
func Open(path string, o Options) (*Device, error) {
	d, err := open(path, o)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", path, err)
	}
	return d, nil
}

func open(path string, o Options) (d *Device, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, errors.Unwrap(err) // the path is named by Open
	}
	block := info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0
	if !block && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w (%s)", ErrKind, info.Mode().Type())
	}
	fd, direct, err := claim(path, block, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	g, err := measure(fd, block, info)
	if err != nil {
		return nil, err
	}
	g.Direct = direct
	if !block && o.Discard {
		g.Discard, g.DiscardBytes = true, BlockBytes
	}
	if g.Bytes < max(o.BytesMin, BlockBytes) {
		return nil, fmt.Errorf("%w: %d bytes, want at least %d", ErrShort, g.Bytes, max(o.BytesMin, BlockBytes))
	}
	if !o.Force {
		if err := refuseForeign(path, g.Bytes, o.Own); err != nil {
			return nil, err
		}
	}
	d = &Device{fd: int32(fd), name: path, geometry: g, readOnly: o.ReadOnly}
	d.close = func() error {
		d.fd = -1
		// A ring that had the file registered lets go of it some time after it was closed (the kernel tears
		// rings down in the background), so the lock is given back by name, not by the last descriptor.
		return errors.Join(unix.Flock(fd, unix.LOCK_UN), unix.Close(fd))
	}
	return d, nil
}

// Claiming is patient: the kernel tears the ring of a killed process down some time after its end, and until
// then the ring's file table keeps the device open. 40 × 50 ms.
const claimPause = 50 * time.Millisecond

var claimTries = 40 // a variable for tests that want the refusal

// claim opens past the page cache and makes sure that nobody else has it.
func claim(path string, block bool, o Options) (fd int, direct bool, err error) {
	for try := 1; ; try++ {
		fd, direct, err = claimOnce(path, block, o)
		if !errors.Is(err, ErrBusy) || try >= claimTries {
			return fd, direct, err
		}
		wait := unix.NsecToTimespec(int64(claimPause))
		if e := unix.Nanosleep(&wait, nil); e != nil && e != unix.EINTR {
			return fd, direct, err
		}
	}
}

// claimOnce: for a block device O_EXCL is the kernel's own claim (a mounted one has it); the lock keeps other
// processes of ours out, of an image file too.
func claimOnce(path string, block bool, o Options) (fd int, direct bool, err error) {
	flags, lock := unix.O_RDWR|unix.O_CLOEXEC|unix.O_DIRECT, unix.LOCK_EX
	if o.ReadOnly {
		flags, lock = unix.O_RDONLY|unix.O_CLOEXEC|unix.O_DIRECT, unix.LOCK_SH
	}
	if block && !o.ReadOnly { // a reader must be able to look at a device that is in use
		flags |= unix.O_EXCL
	}
	direct = true
	fd, err = openRetry(path, flags)
	if err == unix.EINVAL { // what a file system says that has no direct I/O
		if !o.Buffered {
			return -1, false, fmt.Errorf("%w on the file system that holds it", ErrNoDirect)
		}
		direct = false
		fd, err = openRetry(path, flags&^unix.O_DIRECT)
	}
	switch {
	case err == unix.EBUSY:
		return -1, false, fmt.Errorf("%w: the kernel has it (mounted, or part of something)", ErrBusy)
	case err == unix.ETXTBSY:
		return -1, false, fmt.Errorf("%w: %w", ErrBusy, err)
	case err != nil:
		return -1, false, err
	}
	if err = unix.Flock(fd, lock|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		if err == unix.EWOULDBLOCK {
			return -1, false, fmt.Errorf("%w: another process has locked it", ErrBusy)
		}
		return -1, false, fmt.Errorf("locking it: %w", err)
	}
	return fd, direct, nil
}

func openRetry(path string, flags int) (fd int, err error) {
	for {
		fd, err = unix.Open(path, flags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// measure finds the geometry.
func measure(fd int, block bool, info os.FileInfo) (Geometry, error) {
	g := Geometry{Block: block, LogicalBytes: 512, PhysicalBytes: BlockBytes, WriteCache: true}
	if !block {
		g.Bytes = info.Size()
		var x unix.Statx_t
		if unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &x) == nil && x.Dio_offset_align > 0 {
			g.LogicalBytes = int(x.Dio_offset_align)
		}
	} else if err := measureBlock(fd, &g); err != nil {
		return g, err
	}
	g.Bytes -= g.Bytes % BlockBytes
	if g.LogicalBytes > BlockBytes || BlockBytes%g.LogicalBytes != 0 {
		return g, fmt.Errorf("%w: it transfers units of %d bytes, we use %d", ErrGeometry, g.LogicalBytes, BlockBytes)
	}
	return g, nil
}

func measureBlock(fd int, g *Geometry) error {
	bytes, err := unix.IoctlGetInt(fd, unix.BLKGETSIZE64)
	if err != nil {
		return fmt.Errorf("asking its size: %w", err)
	}
	logical, err := unix.IoctlGetInt(fd, unix.BLKSSZGET)
	if err != nil {
		return fmt.Errorf("asking its sector size: %w", err)
	}
	g.Bytes, g.LogicalBytes = int64(bytes), logical
	if physical, err := unix.IoctlGetInt(fd, unix.BLKPBSZGET); err == nil {
		g.PhysicalBytes = physical
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	// What sysfs does not say leaves the careful answer: cached, not rotating, no discard.
	g.Rotational = queueFact(st.Rdev, "rotational") == "1"
	if g.Discard = number(queueFact(st.Rdev, "discard_max_bytes")) > 0; g.Discard {
		g.DiscardBytes, g.DiscardAlign = discardUnit(number(queueFact(st.Rdev, "discard_granularity")), number(sysFact(st.Rdev, "discard_alignment")))
	}
	g.WriteCache = queueFact(st.Rdev, "write_cache") != "write through"
	return nil
}

// queueFact reads what the queue of a device says, of a partition that of the whole device.
func queueFact(rdev uint64, name string) string {
	if fact := sysFact(rdev, "queue/"+name); fact != "" {
		return fact
	}
	return sysFact(rdev, "../queue/"+name)
}

// sysFact reads /sys/dev/block/M:m/name.
func sysFact(rdev uint64, name string) string {
	dir := filepath.Join("/sys/dev/block", strconv.Itoa(int(unix.Major(rdev)))+":"+strconv.Itoa(int(unix.Minor(rdev))))
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return ""
	}
	b, err := os.ReadFile(filepath.Join(real, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Create makes an image file with all its blocks allocated, so that a write can't fail for lack of space
// later; bytes is a multiple of BlockBytes. It fails if the path exists.
func Create(path string, bytes int64) (err error) {
	if bytes < BlockBytes || bytes%BlockBytes != 0 {
		return fmt.Errorf("device %s: create: %w: %d bytes are not whole blocks of %d", path, ErrGeometry, bytes, BlockBytes)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("device: create: %w", err)
	}
	defer func() {
		if e := file.Close(); err == nil && e != nil {
			err = fmt.Errorf("device: create: %w", e)
		}
		if err != nil {
			os.Remove(path) // best effort: the error that counts is already on its way
		}
	}()
	for {
		if err = unix.Fallocate(int(file.Fd()), 0, 0, bytes); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("device %s: allocating %d bytes: %w", path, bytes, err)
	}
	if err = file.Sync(); err != nil {
		return fmt.Errorf("device: create: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the file's name durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("device: create: %w", err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("device: create: %w", err)
	}
	return nil
}
