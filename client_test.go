package basalt

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"basalt/engine"
	"basalt/meta/record"
	"basalt/netio"
)

// node is a node with a fixed tree that notes what it is asked:
//
//	1 root: dir (2), file (4), link → file, dot → ., updir → dir/..
//	2 dir: file (3), four bytes
type node struct {
	mu    sync.Mutex
	asked []string // guarded by mu
}

// since returns what was asked since the last time.
func (n *node) since() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	asked := n.asked
	n.asked = nil
	return asked
}

type entry struct {
	dir  record.Ino
	name string
}

var tree = map[entry]record.Attr{
	{1, "dir"}:   {Ino: 2, Mode: record.ModeDir | 0o755},
	{1, "file"}:  {Ino: 4, Mode: record.ModeRegular | 0o644},
	{1, "link"}:  {Ino: 5, Mode: record.ModeSymlink | 0o777},
	{1, "dot"}:   {Ino: 6, Mode: record.ModeSymlink | 0o777},
	{1, "updir"}: {Ino: 7, Mode: record.ModeSymlink | 0o777},
	{2, "file"}:  {Ino: 3, Mode: record.ModeRegular | 0o644, Size: 4},
}

var targets = map[record.Ino]string{5: "file", 6: ".", 7: "dir/.."}

func (n *node) Attach(_ *engine.Fiber, _ *netio.Conn, _ []byte) ([]byte, error) {
	w := record.Welcome{Version: record.Version, FS: [16]byte{1}, Incarnation: 1, Groups: 1, StripeSize: record.StripeSize,
		InlineMax: record.InlineMax, LeaseMs: 30_000}
	return w.Append(nil), nil
}

func (n *node) Notice(*engine.Turn, *netio.Conn, netio.Kind, []byte) {}
func (n *node) Detach(*engine.Turn, *netio.Conn)                     {}

func (n *node) Serve(_ *engine.Fiber, _ *netio.Conn, q *netio.Request, p *netio.Reply) {
	var req record.Request
	if err := req.Decode(q.Body); err != nil {
		panic(err)
	}
	n.mu.Lock()
	n.asked = append(n.asked, req.Op.String())
	n.mu.Unlock()
	var rep record.Reply
	attr, known := tree[entry{req.Dir, string(req.Name)}]
	switch req.Op {
	case record.OpLookup, record.OpCreate:
		switch {
		case known && req.Op == record.OpCreate && (req.Flags&record.FlagExcl != 0 || attr.IsSymlink()):
			rep.Status = record.Exists
		case req.Op == record.OpCreate && req.Name[0] == 'f' && req.Dir == 2: // as if the store were full
			rep.Status = record.NoSpace
		case known && req.Op == record.OpCreate && attr.IsDir():
			rep.Status = record.IsDir
		case known:
			rep.Attr = attr
		case req.Op == record.OpLookup:
			rep.Status = record.NotFound
		default:
			rep.Attr = record.Attr{Ino: 9, Mode: record.ModeRegular}
		}
	case record.OpGetAttr:
		rep.Attr = record.Attr{Ino: req.Ino, Mode: record.ModeDir | 0o700}
	case record.OpOpen:
		rep.Attr = record.Attr{Ino: req.Ino, Mode: record.ModeRegular}
	case record.OpReadlink:
		rep.Value = []byte(targets[req.Ino])
	case record.OpRead:
		p.Payload = []byte("data")[min(req.Off, 4):]
		rep.Count = uint32(len(p.Payload))
	}
	p.Body = rep.Append(p.Body)
}

// startNode serves n and returns a client of it.
func startNode(t *testing.T, n *node) *FS {
	t.Helper()
	r, err := engine.New(engine.Config{Name: "node", CPU: -1, ArenaBytes: 32 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(func(*engine.Fiber) error { return nil }); err != nil {
		t.Fatal(err)
	}
	port, err := netio.NewPort(0, r, n, netio.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	server, err := netio.Listen(netio.ServerConfig{Unix: socket, Ports: []*netio.Port{port}})
	if err != nil {
		t.Fatal(err)
	}
	x, err := Dial("unix:"+socket, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := errors.Join(x.Close(), server.Close())
		r.Stop()
		if err := errors.Join(err, r.Wait()); err != nil {
			t.Error(err)
		}
	})
	return x
}

// Each request is a round trip: an operation makes no more of them than it needs.
func TestRequestsOfAnOperation(t *testing.T) {
	n := &node{}
	x := startNode(t, n)
	open := func(name string, flag int) func() error {
		return func() error { _, err := x.OpenFile(name, flag, 0o600); return err }
	}
	stat := func(name string) func() error { return func() error { _, err := x.Stat(name); return err } }
	read := func(name string) func() error { return func() error { _, err := x.ReadFile(name); return err } }
	for _, c := range []struct {
		what string
		do   func() error
		want []string
		fail error
	}{
		{"stat .", stat("."), []string{"getattr"}, nil},
		{"stat", stat("dir/file"), []string{"lookup", "lookup"}, nil},
		{"open", open("dir/file", os.O_RDONLY), []string{"lookup", "lookup", "open"}, nil},
		{"create", open("dir/new", os.O_RDWR|os.O_CREATE|os.O_TRUNC), []string{"lookup", "create"}, nil},
		{"create over", open("file", os.O_RDWR|os.O_CREATE), []string{"create"}, nil},
		{"create on a full store", open("dir/file", os.O_RDWR|os.O_CREATE), []string{"lookup", "create", "lookup", "lookup", "open"}, nil},
		{"create exclusively", open("file", os.O_RDWR|os.O_CREATE|os.O_EXCL), []string{"create"}, fs.ErrExist},
		{"create over a link", open("link", os.O_RDWR|os.O_CREATE), []string{"create", "lookup", "readlink", "lookup", "open"}, nil},
		{"read", read("dir/file"), []string{"lookup", "lookup", "read"}, nil},
		{"remove", func() error { return x.Remove("file") }, []string{"unlink"}, nil},
	} {
		n.since()
		if err := c.do(); !errors.Is(err, c.fail) {
			t.Errorf("%s: %v, want %v", c.what, err, c.fail)
		}
		if asked := n.since(); !slices.Equal(asked, c.want) {
			t.Errorf("%s asks %v, want %v", c.what, asked, c.want)
		}
	}
	if data, err := x.ReadFile("dir/file"); err != nil || string(data) != "data" {
		t.Errorf("%q %v", data, err)
	}
}

// A link may lead to where we are, or above it; one that leads to a file is no directory.
func TestLinksOnTheWay(t *testing.T) {
	x := startNode(t, &node{})
	for name, want := range map[string]record.Ino{"dot": 1, "updir": 1, "dot/dir/file": 3, "updir/file": 4, "link": 4} {
		info, err := x.Stat(name)
		if err != nil || info.Sys().(*record.Attr).Ino != want {
			t.Errorf("%s: %v %v, want inode %v", name, info, err, want)
		}
	}
	var s *StatusError
	if _, err := x.Stat("link/file"); !errors.As(err, &s) || s.Status != record.NotDir {
		t.Errorf("a name below a file: %v", err)
	}
}

// Nobody is asked who he is: so only a node of this machine is talked to. The addresses here lead nowhere else even without the check.
func TestDialLoopbackOnly(t *testing.T) {
	for _, address := range []string{"tcp:0.0.0.0:1", "tcp:[::]:1"} {
		x, err := Dial(address, Config{})
		if err == nil {
			x.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "not loopback") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
