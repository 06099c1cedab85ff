package fuse_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	raw "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"basalt/engine"
	"basalt/fuse"
	"basalt/fuse/nullfs"
)

var transports = []fuse.Transport{fuse.TransportURing, fuse.TransportDev}

// Both transports carry every kind of request, with two columns, and the counters tell which one did.
func TestTransports(t *testing.T) {
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			null := nullfs.New(true, 0)
			w := mountRaw(t, fuse.Options{Transport: tr, CacheSymlinks: true}, 2, func(int, *engine.Reactor) raw.RawFileSystem { return null })
			child(t, "everything", w.dir)
			s := w.conn.Stats()
			got, _ := w.conn.Transport()
			if got != tr {
				t.Fatalf("transport %q, want %q", got, tr)
			}
			if tr == fuse.TransportDev && s.URing != 0 {
				t.Errorf("%d requests over io_uring on a /dev/fuse mount", s.URing)
			}
			if tr == fuse.TransportURing && (s.URing < 1000 || s.Dev-s.Forgets-s.Interrupts > 10) {
				t.Errorf("a silent fallback: %+v", s)
			}
			if s.Forgets == 0 {
				t.Errorf("no FORGET arrived: %+v", s)
			}
			if s.Refused != 0 || s.Starved != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func init() { children["everything"] = everything }

func everything(dir string) error {
	for _, step := range []func(string) error{names, data, direct, listing, parallel} {
		if err := step(dir); err != nil {
			return err
		}
	}
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0) // FORGETs
}

func names(dir string) error {
	long := strings.Repeat("n", 255)
	if err := os.MkdirAll(filepath.Join(dir, "a/b", long), 0o750); err != nil {
		return err
	}
	st, err := os.Stat(filepath.Join(dir, "a/b", long))
	if err != nil || st.Mode().Perm() != 0o750 || !st.IsDir() {
		return fmt.Errorf("stat of a directory: %v %v", st, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "a"), 0o700); !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("mkdir over a directory: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, long+"x")); !errors.Is(err, unix.ENAMETOOLONG) {
		return fmt.Errorf("a name too long: %v", err)
	}
	target := strings.Repeat("t/", 1500)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(target, link); err != nil {
		return err
	}
	for range 2 { // the second time from the kernel's cache
		if s, err := os.Readlink(link); err != nil || s != target {
			return fmt.Errorf("readlink: %d bytes, %v", len(s), err)
		}
	}
	if err := os.Rename(link, filepath.Join(dir, "a", long)); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, "a", long)); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, "a")); !errors.Is(err, unix.ENOTEMPTY) {
		return fmt.Errorf("rmdir of a full directory: %v", err)
	}
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs)
}

func pattern(n int, seed byte) []byte {
	p := make([]byte, n)
	x := uint32(seed) + 1
	for i := range p {
		x = x*1664525 + 1013904223
		p[i] = byte(x >> 24)
	}
	return p
}

func data(dir string) error {
	name := filepath.Join(dir, "data")
	want := pattern(3<<20+12345, 1)
	if err := os.WriteFile(name, want, 0o644); err != nil {
		return err
	}
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, want) {
		return fmt.Errorf("read back %d bytes of %d, equal %v: %v", len(got), len(want), bytes.Equal(got, want), err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("hello"), 1_000_001); err != nil {
		return err
	}
	copy(want[1_000_001:], "hello")
	m, err := unix.Mmap(int(f.Fd()), 0, len(want), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	if !bytes.Equal(m, want) {
		return errors.New("the mapping has other bytes")
	}
	copy(m[2_000_000:], "mapped")
	copy(want[2_000_000:], "mapped")
	if err := errors.Join(unix.Msync(m, unix.MS_SYNC), unix.Munmap(m), f.Sync(), f.Truncate(2_500_000)); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	got, err = io.ReadAll(f)
	if err != nil || !bytes.Equal(got, want[:2_500_000]) {
		return fmt.Errorf("after mapping and truncation: %d bytes, %v", len(got), err)
	}
	return nil
}

// aligned returns memory that O_DIRECT takes: whole pages.
func aligned(n int) []byte {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	return b
}

func direct(dir string) error {
	fd, err := unix.Open(filepath.Join(dir, "direct"), unix.O_RDWR|unix.O_CREAT|unix.O_DIRECT, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	want := aligned(2 << 20)
	copy(want, pattern(len(want), 2))
	for _, size := range []int{4096, 64 << 10, 1 << 20, 2 << 20} {
		if n, err := unix.Pwrite(fd, want[:size], 4096); n != size || err != nil {
			return fmt.Errorf("direct write of %d: %d, %v", size, n, err)
		}
		got := aligned(size)
		if n, err := unix.Pread(fd, got, 4096); n != size || err != nil || !bytes.Equal(got, want[:size]) {
			return fmt.Errorf("direct read of %d: %d, equal %v, %v", size, n, bytes.Equal(got, want[:size]), err)
		}
	}
	return nil
}

func listing(dir string) error {
	d := filepath.Join(dir, "many")
	if err := os.Mkdir(d, 0o755); err != nil {
		return err
	}
	var want []string
	for i := range 1500 {
		n := fmt.Sprintf("file-%04d", i)
		want = append(want, n)
		if err := os.WriteFile(filepath.Join(d, n), nil, 0o600); err != nil {
			return err
		}
	}
	for range 2 {
		list, err := os.ReadDir(d)
		if err != nil {
			return err
		}
		var got []string
		for _, e := range list {
			if i, err := e.Info(); err != nil || i.Mode().Perm() != 0o600 {
				return fmt.Errorf("%s: %v %v", e.Name(), i, err)
			}
			got = append(got, e.Name())
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("listed %d names of %d", len(got), len(want))
		}
	}
	return nil
}

func parallel(dir string) error {
	var wg sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		wg.Go(func() {
			for k := range 40 {
				name := filepath.Join(dir, fmt.Sprintf("p-%d-%d", i, k))
				want := pattern(i*5000+k*777, byte(i))
				if errs[i] = os.WriteFile(name, want, 0o600); errs[i] != nil {
					return
				}
				got, err := os.ReadFile(name)
				if err != nil || !bytes.Equal(got, want) {
					errs[i] = fmt.Errorf("%s: %d bytes of %d: %v", name, len(got), len(want), err)
					return
				}
				if errs[i] = os.Remove(name); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// An open file keeps the mount busy; unmounting lazily lets it end with its last user.
func TestUnmountBusy(t *testing.T) {
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			null := nullfs.New(true, time.Minute)
			w := mountRaw(t, fuse.Options{Transport: tr}, 1, func(int, *engine.Reactor) raw.RawFileSystem { return null })
			cmd := childCommand(t, "holder", w.dir)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(out, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
			if err := w.conn.Unmount(false); !errors.Is(err, unix.EBUSY) {
				t.Fatalf("unmounting under an open file: %v", err)
			}
			if err := w.conn.Unmount(true); err != nil {
				t.Fatal(err)
			}
			select {
			case <-w.conn.Done():
				t.Fatal("the mount ended under its user")
			default:
			}
			in.Close()
			if err := cmd.Wait(); err != nil {
				t.Fatalf("the user of a lazily unmounted file: %v", err)
			}
			<-w.conn.Done()
		})
	}
}

func init() { children["holder"] = holder }

func holder(dir string) error {
	f, err := os.Create(filepath.Join(dir, "held"))
	if err != nil {
		return err
	}
	fmt.Print("ready")
	io.Copy(io.Discard, os.Stdin)
	if _, err := f.WriteString("still works"); err != nil {
		return err
	}
	return f.Close()
}

// Aborting the connection from outside fails what is under way, and the daemon ends in good order.
func TestAbort(t *testing.T) {
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			stuck := &stuckFS{FS: nullfs.New(true, 0)}
			w := mountRaw(t, fuse.Options{Transport: tr, QueueDepth: 1}, 2, func(_ int, r *engine.Reactor) raw.RawFileSystem {
				return &stuckColumn{stuckFS: stuck, r: r}
			})
			cmd := childCommand(t, "stucksync", w.dir)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			stuck.wait(t)
			abort(t, w.dir)
			if err := cmd.Wait(); err == nil {
				t.Error("fsync succeeded on an aborted connection")
			}
			<-w.conn.Done() // although nothing else ends the wait
			if err := unix.Unmount(w.dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
}

// A program that somebody wants to stop is let go, on whichever column it waits; one whose timer rings waits on and sees nothing of it.
func TestInterrupt(t *testing.T) {
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			stuck := &stuckFS{FS: nullfs.New(true, 0)}
			w := mountRaw(t, fuse.Options{Transport: tr}, 2, func(_ int, r *engine.Reactor) raw.RawFileSystem { return &stuckColumn{stuckFS: stuck, r: r} })
			for _, last := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
				cmd := exec.Command("dd", "if=/dev/zero", "of="+filepath.Join(w.dir, last.String()), "bs=4096", "count=1", "conv=fsync", "status=none")
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				stuck.wait(t)
				before := w.conn.Stats().Interrupts
				if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil { // dd catches it
					t.Fatal(err)
				}
				for w.conn.Stats().Interrupts == before {
					unix.Poll(nil, 1)
				}
				select {
				case <-stuck.left:
					t.Errorf("a caught signal ended the wait")
				case <-time.After(3 * 200 * time.Millisecond): // three looks at the signals
				}
				if err := cmd.Process.Signal(last); err != nil {
					t.Fatal(err)
				}
				if err := cmd.Wait(); err == nil {
					t.Errorf("%v: dd was not ended", last)
				}
				<-stuck.left
			}
		})
	}
}

// Who is killed while the kernel makes him wait for somebody else's lock sends his request all the same, with the signal already pending: of
// that the kernel tells nothing over io_uring, and he must be let go nevertheless.
func TestSignalBeforeRequest(t *testing.T) {
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			stuck := &stuckFS{FS: nullfs.New(true, 0)}
			w := mountRaw(t, fuse.Options{Transport: tr}, 2, func(_ int, r *engine.Reactor) raw.RawFileSystem { return &stuckColumn{stuckFS: stuck, r: r} })
			child(t, "make", w.dir)
			var cmds []*exec.Cmd
			for range 2 {
				cmd := childCommand(t, "sync what is there", w.dir)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				cmds = append(cmds, cmd)
				if len(cmds) == 1 {
					stuck.wait(t) // it holds the lock of the inode
				}
			}
			for !waitsForLock(t, cmds[1].Process.Pid) {
				unix.Poll(nil, 1)
			}
			for _, cmd := range []*exec.Cmd{cmds[1], cmds[0]} {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			ended := make(chan error, len(cmds))
			for _, cmd := range cmds {
				go func() { ended <- cmd.Wait() }()
			}
			for range cmds {
				select {
				case err := <-ended:
					if err == nil {
						t.Error("a killed program ended well")
					}
				case <-time.After(childTimeout / 3):
					stuck.release(t)
					t.Fatal("a killed program was not let go")
				}
			}
		})
	}
}

// waitsForLock tells whether a thread of the process sleeps where no signal reaches it.
func waitsForLock(t *testing.T, pid int) bool {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err == nil && strings.Contains(string(text), ") D ") {
			return true
		}
	}
	return false
}

// More requests wait than a /dev/fuse mount has slots: others still get through the door, one of those put aside can be stopped, and when the
// wait is over all are served.
func TestParked(t *testing.T) {
	stuck := &stuckFS{FS: nullfs.New(true, 0)}
	w := mountRaw(t, fuse.Options{Transport: fuse.TransportDev, QueueDepth: 2}, 1, func(_ int, r *engine.Reactor) raw.RawFileSystem { return &stuckColumn{stuckFS: stuck, r: r} })
	start := func(i int) *exec.Cmd {
		cmd := exec.Command("dd", "if=/dev/zero", fmt.Sprintf("of=%s/%d/f", w.dir, i), "bs=4096", "count=1", "conv=fsync", "status=none")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	child(t, "ten directories", w.dir) // in one, the creations would wait for each other
	first := start(0)
	stuck.wait(t) // one slot waits, the other reads
	var others []*exec.Cmd
	for i := 1; i < 10; i++ {
		others = append(others, start(i))
	}
	for w.conn.Stats().Parked < 9 {
		unix.Poll(nil, 1)
	}
	if err := others[4].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := others[4].Wait(); err == nil {
		t.Error("the killed one ended well")
	}
	stuck.release(t)
	for i, cmd := range append(slices.Delete(others, 4, 5), first) {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func init() {
	children["ten directories"] = func(dir string) error {
		for i := range 10 {
			if err := os.Mkdir(filepath.Join(dir, fmt.Sprint(i)), 0o700); err != nil {
				return err
			}
		}
		return nil
	}
	children["make"] = func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "made"), nil, 0o600)
	}
	children["sync what is there"] = func(dir string) error {
		f, err := os.Open(filepath.Join(dir, "made"))
		if err != nil {
			return err
		}
		return f.Sync()
	}
	children["stucksync"] = func(dir string) error {
		f, err := os.Create(filepath.Join(dir, "stuck"))
		if err != nil {
			return err
		}
		return f.Sync()
	}
}

// stuckFS waits in fsync until it is canceled or released.
type stuckFS struct {
	*nullfs.FS
	mu      sync.Mutex
	entered chan struct{}
	open    chan struct{}
	left    chan struct{}
}

func (s *stuckFS) gate() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entered == nil {
		s.entered, s.open, s.left = make(chan struct{}, 16), make(chan struct{}), make(chan struct{}, 16)
	}
	return s.entered
}

func (s *stuckFS) wait(t *testing.T) {
	select {
	case <-s.gate():
	case <-time.After(childTimeout):
		t.Fatal("fsync did not arrive")
	}
}

func (s *stuckFS) release(*testing.T) { s.gate(); close(s.open) }

func (s *stuckFS) stuck(f *engine.Fiber) raw.Status {
	s.gate() <- struct{}{}
	defer func() { s.left <- struct{}{} }()
	for !f.Canceled() {
		select {
		case <-s.open:
			return raw.OK
		default:
		}
		f.Sleep(1_000_000)
	}
	return raw.EINTR
}

type stuckColumn struct {
	*stuckFS
	r *engine.Reactor
}

func (s *stuckColumn) Fsync(<-chan struct{}, *raw.FsyncIn) raw.Status { return s.stuck(s.r.Current()) }

// abort writes to the connection's control file; its number is the minor device number of the mount.
func abort(t *testing.T, dir string) {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("/sys/fs/fuse/connections", 0o755); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if f[4] != dir {
			continue
		}
		_, minor, _ := strings.Cut(f[2], ":")
		name := "/sys/fs/fuse/connections/" + minor + "/abort"
		if _, err := os.Stat(name); err != nil {
			if err := unix.Mount("fusectl", "/sys/fs/fuse/connections", "fusectl", 0, ""); err != nil {
				t.Fatalf("the control files of FUSE are needed: %v", err)
			}
		}
		if err := os.WriteFile(name, []byte("1"), 0); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("%s is not mounted", dir)
}
