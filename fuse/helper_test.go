package fuse_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	raw "github.com/hanwen/go-fuse/v2/fuse"

	"basalt/engine"
	"basalt/engine/uring"
	"basalt/fuse"
)

// A process must not touch a mount that it serves itself: system calls on the mount are made by this very binary, started again.
const childEnv = "BASALT_FUSE_TEST_CHILD"

var children = map[string]func(dir string) error{}

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		if err := children[name](os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const childTimeout = 60 * time.Second

// child runs the named function in another process and fails the test with what it said.
func child(t testing.TB, name, dir string) {
	t.Helper()
	if out, err := childCommand(t, name, dir).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func childCommand(t testing.TB, name, dir string) *exec.Cmd {
	if children[name] == nil {
		t.Fatalf("no child function %q", name)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, dir)
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.WaitDelay = childTimeout
	return cmd
}

// world is a mount with its columns.
type world struct {
	t        testing.TB
	dir      string
	reactors []*engine.Reactor
	conn     *fuse.Connection
	log      bytes.Buffer
}

func newReactors(t testing.TB, n int) []*engine.Reactor {
	t.Helper()
	var list []*engine.Reactor
	for i := range n {
		r, err := engine.New(engine.Config{
			Name: fmt.Sprintf("column %d", i), Shard: engine.ShardID(i), CPU: i % runtime.NumCPU(), ArenaBytes: 96 << 20, OpsMax: 1024,
			Ring: func() (uring.Ring, error) {
				return uring.Open(uring.Config{Entries: 512, CQEntries: 2048, SQE128: true})
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Start(func(*engine.Fiber) error { return nil }); err != nil {
			t.Fatalf("a column does not start: %v", err)
		}
		t.Cleanup(func() {
			r.Stop()
			if err := r.Wait(); err != nil {
				t.Errorf("column %d: %v", i, err)
			}
		})
		list = append(list, r)
	}
	return list
}

// mountRaw serves one instance per column at a fresh directory and unmounts it at the end of the test.
func mountRaw(t testing.TB, o fuse.Options, columns int, make func(i int, r *engine.Reactor) raw.RawFileSystem) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), reactors: newReactors(t, columns)}
	o.Dir = w.dir
	o.Log = slog.New(slog.NewTextHandler(&w.log, nil))
	var list []fuse.Column
	for i, r := range w.reactors {
		list = append(list, fuse.Column{Reactor: r, CPU: i, Raw: make(i, r)})
	}
	conn, err := fuse.Serve(o, list)
	if err != nil {
		t.Fatalf("mounting needs /dev/fuse, the right to mount, and (transport uring) kernel 6.14: %v", err)
	}
	w.conn = conn
	t.Cleanup(w.unmount)
	return w
}

func (w *world) unmount() {
	if err := w.conn.Unmount(false); err != nil {
		w.t.Errorf("%v\n%s", err, w.log.String())
		if err := w.conn.Unmount(true); err != nil {
			w.t.Errorf("lazily: %v", err)
		}
		return
	}
	for i, r := range w.reactors {
		var used int64
		if err := r.Call(func(*engine.Fiber) error { used = r.Arena().Used(); return nil }); err != nil {
			w.t.Error(err)
		}
		if used > 4096 { // the reactor's own wake buffer
			w.t.Errorf("column %d still has %d bytes of slots after unmounting", i, used)
		}
	}
	if s := w.log.String(); strings.Contains(s, "level=ERROR") {
		w.t.Errorf("the mount complained:\n%s", s)
	}
}
