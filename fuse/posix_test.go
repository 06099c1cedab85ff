package fuse_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The file system as a program sees it, over both transports, on two columns: everything that the null file system is tested with, and
// what only a real one can do.
func TestFiles(t *testing.T) {
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			n := newNode(t)
			m := n.mount("one", tr)
			for _, c := range []string{"everything", "posix"} {
				child(t, c, m.dir)
			}
			if s := m.Stats(); s.Refused != 0 || s.Forgets == 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func init() {
	children["posix"] = func(dir string) error {
		for _, step := range []struct {
			name string
			do   func(dir string) error
		}{
			{"attributes", attributes}, {"links", links}, {"unlinked", unlinked}, {"rename", renames}, {"xattr", xattrs}, {"holes", holes},
			{"append", appends}, {"privileges", privileges}, {"listing", rewinding}, {"large", large}, {"locks", locks}, {"limits", limits},
		} {
			d := filepath.Join(dir, step.name)
			if err := os.Mkdir(d, 0o755); err != nil {
				return err
			}
			if err := step.do(d); err != nil {
				return fmt.Errorf("%s: %w", step.name, err)
			}
		}
		return nil
	}
}

func expect(what string, got, want any) error {
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("%s: %v, want %v", what, got, want)
	}
	return nil
}

func attributes(dir string) error {
	p := filepath.Join(dir, "f")
	old := unix.Umask(0o027)
	err := os.WriteFile(p, []byte("12345"), 0o666)
	unix.Umask(old)
	if err != nil {
		return err
	}
	when := time.Unix(-1000, 123456789)
	if err := errors.Join(os.Chtimes(p, when, when), os.Chown(p, 1, 2)); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(p, &st); err != nil {
		return err
	}
	return errors.Join(expect("mode after umask", st.Mode, uint32(unix.S_IFREG|0o640)), expect("owner", st.Uid, 1), expect("group", st.Gid, 2), expect("size", st.Size, 5),
		expect("mtime", time.Unix(st.Mtim.Unix()), when), expect("links", st.Nlink, 1), expect("chmod", os.Chmod(p, 0o4711), nil))
}

func links(dir string) error {
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := errors.Join(os.WriteFile(a, []byte("x"), 0o600), os.Link(a, b)); err != nil {
		return err
	}
	sa, err := os.Stat(a)
	if err != nil {
		return err
	}
	sb, err := os.Stat(b)
	if err != nil {
		return err
	}
	if !os.SameFile(sa, sb) || sb.Sys().(*syscall.Stat_t).Nlink != 2 {
		return errors.New("two names are not one file")
	}
	if err := os.Link(dir, filepath.Join(dir, "d")); !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("link of a directory: %v", err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		return err
	}
	return unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
}

// An open file outlives its name.
func unlinked(dir string) error {
	p := filepath.Join(dir, "f")
	f, err := os.Create(p)
	if err != nil {
		return err
	}
	defer f.Close()
	want := pattern(100_000, 3)
	if _, err := f.Write(want[:50_000]); err != nil {
		return err
	}
	if err := os.Remove(p); err != nil {
		return err
	}
	if _, err := f.Write(want[50_000:]); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		return fmt.Errorf("reading an unlinked file: %v", err)
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return expect("links", st.Sys().(*syscall.Stat_t).Nlink, 0)
}

func renames(dir string) error {
	at := func(n string) string { return filepath.Join(dir, n) }
	if err := errors.Join(os.WriteFile(at("a"), []byte("a"), 0o600), os.WriteFile(at("b"), []byte("b"), 0o600), os.MkdirAll(at("d/e"), 0o700)); err != nil {
		return err
	}
	flagged := func(from, to string, flags uint) error {
		return unix.Renameat2(unix.AT_FDCWD, at(from), unix.AT_FDCWD, at(to), flags)
	}
	if err := errors.Join(expect("noreplace", flagged("a", "b", unix.RENAME_NOREPLACE), unix.EEXIST), expect("exchange", flagged("a", "b", unix.RENAME_EXCHANGE), nil),
		expect("whiteout", flagged("a", "b", unix.RENAME_WHITEOUT), unix.EINVAL), expect("loop", flagged("d", "d/e/f", 0), unix.EINVAL),
		expect("not empty", flagged("d/e", "d", 0), unix.ENOTEMPTY), expect("over a directory", flagged("a", "d", 0), unix.EISDIR)); err != nil {
		return err
	}
	a, err := os.ReadFile(at("a"))
	if err != nil || string(a) != "b" {
		return fmt.Errorf("after the exchange a has %q: %v", a, err)
	}
	if err := flagged("a", "b", 0); err != nil {
		return err
	}
	b, err := os.ReadFile(at("b"))
	if err != nil || string(b) != "b" {
		return fmt.Errorf("b has %q: %v", b, err)
	}
	return expect("a", unix.Access(at("a"), unix.F_OK), unix.ENOENT)
}

func xattrs(dir string) error {
	p := filepath.Join(dir, "f")
	if err := os.WriteFile(p, nil, 0o600); err != nil {
		return err
	}
	big := pattern(60_000, 4)
	buf := make([]byte, 64<<10)
	get := func(name string, b []byte) any {
		n, err := unix.Getxattr(p, name, b)
		if err != nil {
			return err
		}
		return n
	}
	if err := errors.Join(expect("absent", get("user.a", buf), unix.ENODATA), expect("set", unix.Setxattr(p, "user.a", []byte("value"), unix.XATTR_CREATE), nil),
		expect("create again", unix.Setxattr(p, "user.a", nil, unix.XATTR_CREATE), unix.EEXIST), expect("replace absent", unix.Setxattr(p, "user.b", nil, unix.XATTR_REPLACE), unix.ENODATA),
		expect("size", get("user.a", nil), 5), expect("short buffer", get("user.a", buf[:3]), unix.ERANGE), expect("value", get("user.a", buf), 5),
		expect("big", unix.Setxattr(p, "user.big", big, 0), nil), expect("big size", get("user.big", buf), len(big)), expect("acl", get("system.posix_acl_access", buf), unix.EOPNOTSUPP)); err != nil {
		return err
	}
	// A capability is seen as soon as it is set, although the kernel was told before that there is none; and a write takes it away.
	caps := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // revision 2, effective: CAP_NET_BIND_SERVICE
	if err := errors.Join(expect("no capability", get("security.capability", buf), unix.ENODATA), expect("set capability", unix.Setxattr(p, "security.capability", caps, 0), nil),
		expect("capability", get("security.capability", buf), len(caps)), expect("write", os.WriteFile(p, []byte("x"), 0), nil), expect("taken away", get("security.capability", buf), unix.ENODATA)); err != nil {
		return err
	}
	n, err := unix.Listxattr(p, buf)
	if err != nil {
		return err
	}
	names := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
	slices.Sort(names)
	return errors.Join(expect("names", names, []string{"user.a", "user.big"}), expect("remove", unix.Removexattr(p, "user.a"), nil), expect("removed", get("user.a", buf), unix.ENODATA))
}

func holes(dir string) error {
	f, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		return err
	}
	defer f.Close()
	fd := int(f.Fd())
	data := pattern(256<<10, 5)
	if _, err := f.WriteAt(data, 1<<20); err != nil {
		return err
	}
	seek := func(off int64, whence int) any {
		at, err := unix.Seek(fd, off, whence)
		if err != nil {
			return err
		}
		return at
	}
	if err := errors.Join(expect("first data", seek(0, unix.SEEK_DATA), 1<<20), expect("hole", seek(0, unix.SEEK_HOLE), 0), expect("end", seek(1<<20, unix.SEEK_HOLE), 1<<20+256<<10),
		expect("behind the end", seek(2<<20, unix.SEEK_DATA), unix.ENXIO)); err != nil {
		return err
	}
	if err := errors.Join(unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 1<<20+4096, 8192), unix.Fallocate(fd, 0, 4<<20, 4096)); err != nil {
		return err
	}
	clear(data[4096 : 4096+8192])
	got := make([]byte, len(data))
	if _, err := f.ReadAt(got, 1<<20); err != nil || !bytes.Equal(got, data) {
		return fmt.Errorf("after punching: %v", err)
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return errors.Join(expect("size after fallocate", st.Size(), 4<<20+4096), expect("collapse", unix.Fallocate(fd, unix.FALLOC_FL_COLLAPSE_RANGE, 0, 4096), unix.EOPNOTSUPP))
}

// Writers that append do not overwrite each other.
func appends(dir string) error {
	p := filepath.Join(dir, "f")
	const writers, each = 4, 300
	done := make(chan error, writers)
	for w := range writers {
		go func() {
			f, err := os.OpenFile(p, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			for i := 0; err == nil && i < each; i++ {
				_, err = fmt.Fprintf(f, "%d %04d\n", w, i)
			}
			done <- errors.Join(err, f.Close())
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			return err
		}
	}
	b, err := os.ReadFile(p)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	slices.Sort(lines)
	return errors.Join(expect("lines", len(lines), writers*each), expect("different", len(slices.Compact(lines)), writers*each))
}

// What another than the owner writes loses its set-uid bit; so does what is truncated on opening.
func privileges(dir string) error {
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0) // the way to it may be closed to others
	if err != nil {
		return err
	}
	defer unix.Close(at)
	for _, how := range []struct {
		name  string
		flags int
		write bool
	}{{"write", unix.O_WRONLY, true}, {"trunc", unix.O_WRONLY | unix.O_TRUNC, false}} {
		p := filepath.Join(dir, how.name)
		if err := errors.Join(os.WriteFile(p, []byte("#!"), 0o777), os.Chmod(p, 0o6777|os.ModeSetuid|os.ModeSetgid)); err != nil {
			return err
		}
		if err := asUser(func() error {
			fd, err := unix.Openat(at, how.name, how.flags, 0)
			if err != nil {
				return err
			}
			if how.write {
				_, err = unix.Write(fd, []byte("x"))
			}
			return errors.Join(err, unix.Close(fd))
		}); err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Stat(p, &st); err != nil {
			return err
		}
		if err := expect(how.name, st.Mode&0o7777, 0o777); err != nil {
			return err
		}
	}
	return nil
}

// A directory that grows and shrinks while it is read keeps the names that were there all the time; rewinding sees the new ones.
func rewinding(dir string) error {
	for i := range 2000 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("stay-%04d", i)), nil, 0o600); err != nil {
			return err
		}
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	seen := map[string]int{}
	for i := 0; ; i++ {
		names, err := d.Readdirnames(100)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		for _, n := range names {
			seen[n]++
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("new-%04d", i)), nil, 0o600); err != nil {
			return err
		}
	}
	for i := range 2000 {
		if n := seen[fmt.Sprintf("stay-%04d", i)]; n != 1 {
			return fmt.Errorf("stay-%04d was listed %d times", i, n)
		}
	}
	if _, err := d.Seek(0, io.SeekStart); err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	if !slices.Contains(names, "new-0000") {
		return errors.New("rewinding does not see a new name")
	}
	return os.RemoveAll(dir)
}

// A file of many stripes, written and read in odd pieces.
func large(dir string) error {
	p := filepath.Join(dir, "f")
	want := pattern(9<<20+777, 6)
	f, err := os.Create(p)
	if err != nil {
		return err
	}
	for at := 0; at < len(want); {
		n := min(len(want)-at, 700_001)
		if _, err := f.WriteAt(want[at:at+n], int64(at)); err != nil {
			return err
		}
		at += n
	}
	if err := errors.Join(f.Sync(), f.Close(), os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)); err != nil {
		return err
	}
	got, err := os.ReadFile(p)
	if err != nil || !bytes.Equal(got, want) {
		return fmt.Errorf("%d bytes of %d, equal %v: %v", len(got), len(want), bytes.Equal(got, want), err)
	}
	if err := os.Truncate(p, 3<<20+5); err != nil {
		return err
	}
	got, err = os.ReadFile(p)
	if err != nil || !bytes.Equal(got, want[:3<<20+5]) {
		return fmt.Errorf("after truncation %d bytes: %v", len(got), err)
	}
	return nil
}

// Locks work within one machine: the kernel keeps them.
func locks(dir string) error {
	p := filepath.Join(dir, "f")
	a, err := os.Create(p)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := os.Open(p)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := unix.Flock(int(a.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	if err := expect("a second lock", unix.Flock(int(b.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK); err != nil {
		return err
	}
	lk := unix.Flock_t{Type: unix.F_WRLCK, Len: 10}
	return errors.Join(unix.Flock(int(a.Fd()), unix.LOCK_UN), unix.Flock(int(b.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.FcntlFlock(a.Fd(), unix.F_SETLK, &lk))
}

func limits(dir string) error {
	long := filepath.Join(dir, strings.Repeat("x", 256))
	f, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		return err
	}
	defer f.Close()
	_, far := unix.Pwrite(int(f.Fd()), []byte("x"), 1<<52)
	return errors.Join(expect("name", unix.Mkdir(long, 0o700), unix.ENAMETOOLONG), expect("offset", far, unix.EFBIG),
		expect("target", os.Symlink(strings.Repeat("t", 4096), filepath.Join(dir, "s")) != nil, true))
}

// asUser runs fn with the rights of nobody on a thread that ends with it.
func asUser(fn func() error) error {
	done := make(chan error)
	go func() {
		lockThread()
		err := setFsUser(65534)
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	return <-done
}

// Two mounts of one node: what one does the other sees, at once, although the first was allowed to cache until the second came.
func TestTwoMounts(t *testing.T) {
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			n := newNode(t)
			first := n.mount("first", tr)
			child(t, "fill", first.dir)
			before := requests(first)
			child(t, "look", first.dir)
			cached := requests(first) - before
			second := n.mount("second", tr)
			if s := first.Stats(); s.Notices == 0 {
				t.Error("nothing was recalled from the kernel")
			}
			before = requests(first)
			child(t, "look", first.dir)
			if uncached := requests(first) - before; cached*2 > uncached {
				t.Errorf("%d requests while it may cache, %d when it may not", cached, uncached)
			}
			child(t, "change", second.dir)
			child(t, "changed", first.dir)
		})
	}
}

func requests(m *mount) uint64 { s := m.Stats(); return s.URing + s.Dev - s.Forgets }

func init() {
	children["fill"] = func(dir string) error {
		for i := range 20 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), []byte("before"), 0o600); err != nil {
				return err
			}
		}
		return errors.Join(os.Symlink("before", filepath.Join(dir, "s")), os.Mkdir(filepath.Join(dir, "d"), 0o700), look(dir))
	}
	children["look"] = look
	children["change"] = func(dir string) error {
		return errors.Join(os.WriteFile(filepath.Join(dir, "f0"), []byte("after, and longer"), 0o600), os.Remove(filepath.Join(dir, "f1")),
			os.WriteFile(filepath.Join(dir, "absent"), nil, 0o600), os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "e")), os.Chmod(filepath.Join(dir, "f2"), 0o444),
			os.Remove(filepath.Join(dir, "s")), os.Symlink("after", filepath.Join(dir, "s")))
	}
	children["changed"] = func(dir string) error {
		b, err := os.ReadFile(filepath.Join(dir, "f0"))
		if err != nil {
			return err
		}
		target, err := os.Readlink(filepath.Join(dir, "s"))
		if err != nil {
			return err
		}
		st, err := os.Stat(filepath.Join(dir, "f2"))
		if err != nil {
			return err
		}
		at := func(n string) error { return unix.Access(filepath.Join(dir, n), unix.F_OK) }
		return errors.Join(expect("data", string(b), "after, and longer"), expect("link", target, "after"), expect("mode", st.Mode().Perm(), os.FileMode(0o444)),
			expect("removed", at("f1"), unix.ENOENT), expect("made", at("absent"), nil), expect("renamed", at("d"), unix.ENOENT), expect("to", at("e"), nil))
	}
}

// look touches everything that a kernel can keep: data, attributes, links, names that are there and names that are not.
func look(dir string) error {
	for range 3 {
		for i := range 20 {
			if _, err := os.ReadFile(filepath.Join(dir, fmt.Sprint("f", i))); err != nil {
				return err
			}
			if _, err := os.Stat(filepath.Join(dir, fmt.Sprint("f", i))); err != nil {
				return err
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("absent: %v", err)
		}
		if _, err := os.Readlink(filepath.Join(dir, "s")); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(dir, "d")); err != nil {
			return err
		}
	}
	return nil
}
