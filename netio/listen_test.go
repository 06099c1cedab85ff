package netio

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"basalt/engine"
)

func testPort(t *testing.T, shard uint16) *Port {
	t.Helper()
	p, err := NewPort(shard, startReactor(t, "server", engine.Config{ArenaBytes: 8 << 20}), &scripted{}, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustListen(t *testing.T, cfg ServerConfig) *Server {
	t.Helper()
	s, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func wantRefusal(t *testing.T, cfg ServerConfig, words ...string) {
	t.Helper()
	s, err := Listen(cfg)
	if err == nil {
		s.Close()
		t.Fatalf("%+v was accepted", cfg)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Fatalf("%q does not say %q", err, w)
		}
	}
}

func TestUnixSocketFile(t *testing.T) {
	p := testPort(t, 0)
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	for _, want := range []os.FileMode{0, 0o660} {
		s := mustListen(t, ServerConfig{Unix: path, UnixMode: want, Ports: []*Port{p}})
		if want == 0 {
			want = 0o600
		}
		st, err := os.Lstat(path)
		if err != nil || st.Mode().Perm() != want || st.Mode()&os.ModeSocket == 0 {
			t.Fatalf("socket has mode %v, want %v (%v)", st.Mode(), want, err)
		}
		wantRefusal(t, ServerConfig{Unix: path, Ports: []*Port{p}}, path, "in use")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 0 {
			t.Fatalf("after close there is still %v (%v)", left, err)
		}
	}
	// What a killed node leaves behind is replaced.
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	s := mustListen(t, ServerConfig{Unix: path, Ports: []*Port{p}})
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("after a stale socket: %v", err)
	}
	c.Close()
	s.Close()
	// What is not a socket is left alone.
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, ServerConfig{Unix: path, Ports: []*Port{p}}, path, "not a socket")
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Fatalf("the file is %q now (%v)", b, err)
	}
}

func TestListenRefusals(t *testing.T) {
	p := testPort(t, 0)
	ports := []*Port{p}
	wantRefusal(t, ServerConfig{Ports: ports}, "nothing to listen on")
	wantRefusal(t, ServerConfig{TCP: "127.0.0.1:0"}, "no shards")
	wantRefusal(t, ServerConfig{TCP: "127.0.0.1:0", Ports: []*Port{p, p}}, "shard 0", "twice")
	wantRefusal(t, ServerConfig{TCP: "127.0.0.1:0", Ports: ports, Transport: "quic"}, "quic", "ring", "gnet")
	wantRefusal(t, ServerConfig{TCP: "127.0.0.1", Ports: ports}, "127.0.0.1", "port")
	wantRefusal(t, ServerConfig{TCP: "127.0.0.1:99999", Ports: ports}, "99999")
	wantRefusal(t, ServerConfig{Unix: filepath.Join(t.TempDir(), "no such", "s"), Ports: ports}, "no such")
	wantRefusal(t, ServerConfig{Unix: filepath.Join(t.TempDir(), strings.Repeat("x", 120)), Ports: ports}, "too long", "shorter")
	wantRefusal(t, ServerConfig{TCP: "127.0.0.1:0", Ports: ports, Loops: -1}, "loops")
	many := testPort(t, 1)
	many.lim.ConnsMax = 1 << 30
	wantRefusal(t, ServerConfig{TCP: "127.0.0.1:0", Ports: []*Port{many}}, "ulimit -n")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	wantRefusal(t, ServerConfig{TCP: ln.Addr().String(), Ports: ports}, ln.Addr().String(), "in use", "choose another port")
	// One of two fails: the other is given back.
	path := filepath.Join(t.TempDir(), "s")
	wantRefusal(t, ServerConfig{Unix: path, TCP: ln.Addr().String(), Ports: ports}, "in use")
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Fatalf("the socket is still there (%v)", err)
	}
}

func TestTCPAddressIsFreeAfterClose(t *testing.T) {
	p := testPort(t, 0)
	s := mustListen(t, ServerConfig{TCP: "127.0.0.1:0", Ports: []*Port{p}})
	addr := s.TCP()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	q := testPort(t, 0)
	mustListen(t, ServerConfig{TCP: addr, Ports: []*Port{q}})
}

func TestLimitsRefused(t *testing.T) {
	for _, l := range []Limits{{ConnsMax: -1}, {CreditRequests: 1 << 20}, {CreditBytes: 100}, {ShardBytes: PayloadMax}, {Idle: time.Microsecond}, {Drain: 24 * time.Hour}} {
		if _, err := NewPort(0, nil, nil, l); err == nil {
			t.Errorf("%+v was accepted", l)
		}
	}
}

func TestTooManyConnections(t *testing.T) {
	lim := testLimits()
	lim.ConnsMax = 2
	everywhere(t, lim, func(t *testing.T, s *scene) {
		err := s.cr.Call(func(f *engine.Fiber) error {
			for range 2 {
				if _, err := s.dial(f, LinkConfig{}); err != nil {
					return err
				}
			}
			_, err := s.dial(f, LinkConfig{})
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "has 2 connections, the most it takes") && !strings.Contains(err.Error(), "has 3") {
			t.Fatalf("got %v", err)
		}
	})
}

func TestDialNobody(t *testing.T) {
	r := startReactor(t, "client", engine.Config{ArenaBytes: 8 << 20})
	for _, c := range []struct{ network, address, want string }{
		{"unix", filepath.Join(t.TempDir(), "none"), "no such file"},
		{"unix", strings.Repeat("x", 200), "shorter directory"},
		{"tcp", "127.0.0.1:1", "refused"},
		{"tcp", "127.0.0.1", "port"},
		{"udp", "127.0.0.1:1", "want unix or tcp"},
	} {
		err := r.Call(func(f *engine.Fiber) error {
			_, err := Dial(f, LinkConfig{Network: c.network, Address: c.address})
			return err
		})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: got %v, want %q", c.network, c.address, err, c.want)
		}
	}
	// A server that accepts and says nothing.
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	err = r.Call(func(f *engine.Fiber) error {
		_, err := Dial(f, LinkConfig{Network: "unix", Address: ln.Addr().String(), Timeout: 50 * time.Millisecond})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "no WELCOME in time") {
		t.Errorf("silent server: %v", err)
	}
}

// A front door that ends by itself says so; what is connected lives on.
func TestDoorFails(t *testing.T) {
	failed := make(chan error, 1)
	h := &scripted{}
	r := startReactor(t, "server", engine.Config{ArenaBytes: 16 << 20})
	p, err := NewPort(0, r, h, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	s := mustListen(t, ServerConfig{Unix: path, Ports: []*Port{p}, OnFail: func(err error) { failed <- err }})
	client := startReactor(t, "client", engine.Config{ArenaBytes: 16 << 20})
	err = client.Call(func(f *engine.Fiber) error {
		l, err := Dial(f, LinkConfig{Network: "unix", Address: path})
		if err != nil {
			return err
		}
		f.Reactor().Offload(f, func() {
			s.doors[0].engine.Stop(canceled()) // as gnet does when it can't accept
			err = <-failed
		})
		if err == nil || !strings.Contains(err.Error(), "nobody can connect") {
			return err
		}
		return echo(f, l, []byte("e"), pattern(1000))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// A storm of connections beyond the bound: those that may linger until they have read why are bounded too, because descriptors are.
func TestStormOfConnections(t *testing.T) {
	r := startReactor(t, "storm", engine.Config{})
	p, err := NewPort(3, r, &scripted{}, Limits{ConnsMax: 4})
	if err != nil {
		t.Fatal(err)
	}
	err = r.Call(func(f *engine.Fiber) error {
		lingering := 0
		for range 40 {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(pair[1])
			if c := p.Adopt(f.Turn(), int32(pair[0]), "storm", nil); c.state < streamDown {
				lingering++
			}
		}
		p.Drain(f)
		if lingering != 8 {
			return fmt.Errorf("%d connections are kept, want 4 that are served and 4 that are told", lingering)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
