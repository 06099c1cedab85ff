package fuse_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	raw "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"basalt/engine"
	"basalt/fuse"
	"basalt/fuse/nullfs"
)

// Each mount point that can't be one is refused in a sentence that says why and what to do, and nothing is left behind.
func TestBadMountPoints(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	null := nullfs.New(true, 0)
	w := mountRaw(t, fuse.Options{}, 1, func(int, *engine.Reactor) raw.RawFileSystem { return null })
	column := []fuse.Column{{Reactor: w.reactors[0], CPU: -1, Raw: null}}
	cases := []struct {
		name string
		o    fuse.Options
		want []string
	}{
		{"none", fuse.Options{}, []string{"no mount point"}},
		{"missing", fuse.Options{Dir: filepath.Join(dir, "missing")}, []string{"no such directory", "make it"}},
		{"file", fuse.Options{Dir: file}, []string{"not a directory"}},
		{"full", fuse.Options{Dir: dir}, []string{"not empty", `"file"`}},
		{"mounted", fuse.Options{Dir: w.dir}, []string{"already mounted", "umount " + w.dir}},
		{"transport", fuse.Options{Dir: t.TempDir(), Transport: "carrier pigeon"}, []string{"uring or dev", "carrier pigeon"}},
		{"depth", fuse.Options{Dir: t.TempDir(), QueueDepth: 5000}, []string{"1 … 1024"}},
		{"write", fuse.Options{Dir: t.TempDir(), MaxWrite: 5000}, []string{"max write"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			conn, err := fuse.Serve(c.o, column)
			if err == nil {
				conn.Unmount(true)
				t.Fatal("mounted")
			}
			for _, s := range c.want {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
			if c.name != "mounted" && mounted(c.o.Dir) {
				t.Error("something is mounted all the same")
			}
		})
	}
}

func mounted(dir string) bool {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	return dir != "" && bytes.Contains(b, []byte(" "+dir+" "))
}

// A column without memory for the slots: the mount is taken back.
func TestNoMemory(t *testing.T) {
	r, err := engine.New(engine.Config{Name: "small", CPU: -1, ArenaBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(func(*engine.Fiber) error { return nil }); err != nil {
		t.Fatal(err)
	}
	defer func() { r.Stop(); r.Wait() }()
	dir := t.TempDir()
	conn, err := fuse.Serve(fuse.Options{Dir: dir, Transport: fuse.TransportDev}, []fuse.Column{{Reactor: r, CPU: -1, Raw: nullfs.New(false, 0)}})
	if err == nil {
		conn.Unmount(true)
		t.Fatal("mounted")
	}
	if !strings.Contains(err.Error(), "memory for 32 FUSE requests of 1024 KiB") {
		t.Error(err)
	}
	if mounted(dir) {
		t.Error("something is mounted all the same")
	}
}

// What is left of a daemon that was killed is recognised.
func TestDeadMount(t *testing.T) {
	dir := t.TempDir()
	cmd, out := daemon(t, "daemon", dir)
	cmd.Process.Kill()
	cmd.Wait()
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	child(t, "ended", dir)
	r := newReactors(t, 1)
	_, err := fuse.Serve(fuse.Options{Dir: dir}, []fuse.Column{{Reactor: r[0], CPU: -1, Raw: nullfs.New(false, 0)}})
	if err == nil || !strings.Contains(err.Error(), "umount") {
		t.Errorf("mounting over a dead mount: %v\n%s", err, out)
	}
}

// A user mounts with the help of fusermount3, and is told what is missing: the right to open /dev/fuse, or the helper. It happens in a mount
// name space of its own, where /dev/fuse can be given away without changing the machine.
func TestUserMount(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755), os.Chown(dir, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	c := ownCopy(t, childCommand(t, "userworld", dir))
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if said, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
}

func init() { children["userworld"] = userWorld }

// asNobody makes the command that runs another child function as an ordinary user.
func asNobody(name, dir string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.Command(os.Args[0], dir)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

func userWorld(dir string) error {
	node := os.Args[0] + ".fuse"
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(10, 229))),
		os.Chmod(node, 0o600), unix.Mount(node, "/dev/fuse", "", unix.MS_BIND, "")); err != nil {
		return err
	}
	for _, refusal := range []struct {
		mode        os.FileMode
		child, want string
	}{{0o600, "refused", "no permission to open /dev/fuse"}, {0o666, "nohelper", "fusermount3 is not installed"}} {
		if err := os.Chmod("/dev/fuse", refusal.mode); err != nil {
			return err
		}
		cmd, out := asNobody(refusal.child, dir)
		if err := cmd.Run(); err != nil || !strings.Contains(out.String(), refusal.want) {
			return fmt.Errorf("%s: %v: %s", refusal.child, err, out)
		}
	}
	cmd, out := asNobody("daemon", dir)
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := awaitMount(cmd, dir, out); err != nil {
		return err
	}
	if table, err := os.ReadFile("/proc/self/mountinfo"); err != nil || !strings.Contains(string(table), ` a,b\134c `) {
		return fmt.Errorf("the source of the mount is not in the table: %w\n%s", err, table)
	}
	user, said := asNobody("data", dir)
	if err := user.Run(); err != nil {
		return fmt.Errorf("%w: %s\n%s", err, said, out)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if mounted(dir) {
		return errors.New("still mounted")
	}
	return nil
}

// daemon starts a child that serves a mount, and waits until it does.
func daemon(t testing.TB, name, dir string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := childCommand(t, name, dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := awaitMount(cmd, dir, &out); err != nil {
		t.Fatal(err)
	}
	return cmd, &out
}

func awaitMount(cmd *exec.Cmd, dir string, out *bytes.Buffer) error {
	for deadline := time.Now().Add(10 * time.Second); !mounted(dir); unix.Poll(nil, 5) {
		if time.Now().After(deadline) {
			cmd.Process.Kill()
			return fmt.Errorf("the daemon did not mount: %w\n%s", cmd.Wait(), out.String())
		}
	}
	return nil
}

// ownCopy puts the test binary where another user can run it.
func ownCopy(t testing.TB, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	b, err := os.ReadFile(cmd.Path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := os.MkdirTemp("", "basalt-fuse")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(d) })
	p := filepath.Join(d, "test")
	if err := errors.Join(os.Chmod(d, 0o755), os.WriteFile(p, b, 0o755), os.Chmod(p, 0o755)); err != nil {
		t.Fatal(err)
	}
	own := exec.Command(p, cmd.Args[1:]...)
	own.Env = cmd.Env
	return own
}

func init() {
	children["daemon"] = func(dir string) error { return serve(dir) }
	children["data"] = data
	children["refused"] = func(dir string) error { fmt.Println(serve(dir)); return nil }
	children["nohelper"] = func(dir string) error {
		os.Setenv("PATH", "/nonexistent")
		fuse.HelperPaths = []string{"fusermount3"}
		err := serve(dir)
		fmt.Println(err)
		return nil
	}
	children["ended"] = func(dir string) error {
		if _, err := os.Stat(dir); !errors.Is(err, unix.ENOTCONN) && !errors.Is(err, unix.ECONNABORTED) {
			return fmt.Errorf("stat of a dead mount: %v", err)
		}
		return nil
	}
}

// serve mounts a null file system and serves it until SIGTERM.
func serve(dir string) error {
	r, err := engine.New(engine.Config{Name: "column", CPU: -1, ArenaBytes: 16 << 20})
	if err != nil {
		return err
	}
	if err := r.Start(func(*engine.Fiber) error { return nil }); err != nil {
		return err
	}
	o := fuse.Options{Dir: dir, Source: `a,b\c`, Transport: fuse.TransportDev, QueueDepth: 4, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	conn, err := fuse.Serve(o, []fuse.Column{{Reactor: r, CPU: -1, Raw: nullfs.New(true, 0)}})
	if err != nil {
		return err
	}
	<-stop
	return conn.Unmount(false)
}
