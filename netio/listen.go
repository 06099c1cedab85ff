package netio

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"basalt/engine"
)

// ServerConfig says where a node listens and which shards it serves. At least one of Unix and TCP is set.
type ServerConfig struct {
	Unix      string      // path of a Unix socket; "" = none
	UnixMode  os.FileMode // its permissions; 0: 0600
	TCP       string      // host:port; port 0 lets the kernel choose (Server.TCP tells); "" = none
	Transport string      // "ring" (default): connections move to their shard's ring. "gnet": they stay on the front door's loop
	Loops     int         // of the front door; 0: 1
	Ports     []*Port     // the shards

	// OnFail is told, on a goroutine of its own, when the front door ends by itself: nobody can connect any more.
	OnFail func(error)
}

// Server is a node's front door and the ports behind it. Its methods are for ordinary goroutines, never for a reactor's thread.
type Server struct {
	cfg   ServerConfig // immutable
	doors []*door      // immutable
	tcp   string       // immutable
}

const filesElse = 64 // descriptors for everything else in the process

// Transports of a connection after its handshake.
const (
	TransportRing = "ring"
	TransportGnet = "gnet"
)

// Listen opens the front door. It returns when connections are accepted.
func Listen(cfg ServerConfig) (*Server, error) {
	if cfg.Transport == "" {
		cfg.Transport = TransportRing
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg}
	for _, open := range []struct {
		wanted bool
		do     func() error
	}{{cfg.Unix != "", s.listenUnix}, {cfg.TCP != "", s.listenTCP}} {
		if !open.wanted {
			continue
		}
		if err := open.do(); err != nil {
			return nil, errors.Join(err, s.shut())
		}
	}
	return s, nil
}

func (c *ServerConfig) check() error {
	if c.Transport != TransportRing && c.Transport != TransportGnet {
		return fmt.Errorf("netio: wire transport %q: want %s or %s", c.Transport, TransportRing, TransportGnet)
	}
	if c.Unix == "" && c.TCP == "" {
		return errors.New("netio: nothing to listen on: give a Unix socket path or a TCP address")
	}
	if len(c.Ports) == 0 {
		return errors.New("netio: no shards to serve")
	}
	if c.Loops < 0 || c.Loops > 64 {
		return fmt.Errorf("netio: %d loops, want 1 to 64", c.Loops)
	}
	for i, p := range c.Ports {
		for _, q := range c.Ports[:i] {
			if p.shard == q.shard {
				return fmt.Errorf("netio: shard %d is served twice", p.shard)
			}
		}
	}
	return c.checkFiles()
}

// checkFiles: a process that runs out of descriptors can't accept any more, so the bounds on connections must lie below that.
func (c *ServerConfig) checkFiles() error {
	need := uint64(visitorsMax + filesElse)
	for _, p := range c.Ports {
		need += 2 * uint64(p.lim.ConnsMax) // some are closing while others come
	}
	most, err := filesMax()
	if err == nil && most < need {
		return fmt.Errorf("netio: this process may open %d files, its connections alone may need %d: raise the limit (ulimit -n, LimitNOFILE) or lower the number of connections", most, need)
	}
	return err
}

// TCP is the address that was bound; "" if none.
func (s *Server) TCP() string { return s.tcp }

// Unix is the path of the socket; "" if none.
func (s *Server) Unix() string { return s.cfg.Unix }

// Close stops accepting, drains every port (outstanding requests are finished, their replies sent, for at most Limits.Drain), and closes
// everything. The reactors must still run.
func (s *Server) Close() error {
	for _, d := range s.doors {
		d.stopping.Store(true)
	}
	var err error
	for _, p := range s.cfg.Ports {
		err = errors.Join(err, p.r.Call(func(f *engine.Fiber) error { p.Drain(f); return nil }))
	}
	return errors.Join(err, s.shut())
}

func (s *Server) shut() error {
	var err error
	for _, d := range s.doors {
		err = errors.Join(err, d.shut())
	}
	if s.cfg.Unix != "" && len(s.doors) > 0 {
		if e := os.Remove(s.cfg.Unix); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("netio: removing the socket: %w", e))
		}
	}
	return err
}

func (s *Server) listenTCP() error {
	host, port, err := net.SplitHostPort(s.cfg.TCP)
	if err != nil {
		return fmt.Errorf("netio: TCP address %q: %w", s.cfg.TCP, err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("netio: TCP address %q: the port is not a number from 0 to 65535", s.cfg.TCP)
	}
	d, err := s.open("tcp", net.JoinHostPort(host, port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("netio: %s is in use by another program: stop it or choose another port (%w)", s.cfg.TCP, err)
	}
	if err != nil {
		return fmt.Errorf("netio: listening on %s: %w", s.cfg.TCP, err)
	}
	s.tcp, err = d.boundTCP(net.JoinHostPort(host, port))
	return err
}

// listenUnix binds the socket in a directory of its own that nobody else may enter, gives it its permissions, and moves it to its place: at
// no moment can somebody connect who may not, and a stale socket is replaced in one step.
func (s *Server) listenUnix() error {
	path := s.cfg.Unix
	if err := checkSocketPath(path); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".b")
	if err != nil {
		return fmt.Errorf("netio: socket %s: %w", path, err)
	}
	defer os.RemoveAll(dir)
	tmp := filepath.Join(dir, "s")
	if len(tmp) > unixPathMax || len(path) > unixPathMax {
		return fmt.Errorf("netio: socket path %q is too long, a Unix socket takes %d bytes including some for a temporary name: choose a shorter directory", path, unixPathMax)
	}
	if _, err := s.open("unix", tmp); err != nil {
		return fmt.Errorf("netio: listening on %s: %w", path, err)
	}
	mode := s.cfg.UnixMode
	if mode == 0 {
		mode = 0o600
	}
	if err := os.Chmod(tmp, mode); err != nil {
		return fmt.Errorf("netio: permissions of socket %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("netio: socket %s: %w", path, err)
	}
	return nil
}

// checkSocketPath: a socket that somebody serves is in use, one that nobody serves is stale and may be replaced; anything else is not ours.
func checkSocketPath(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("netio: socket %s: %w", path, err)
	}
	if st.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("netio: %s exists and is not a socket: it is left alone, choose another path", path)
	}
	c, err := net.DialTimeout("unix", path, 2*time.Second)
	if err == nil {
		c.Close()
		return fmt.Errorf("netio: socket %s is in use: another node serves it (%w)", path, syscall.EADDRINUSE)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("netio: cannot tell whether socket %s is in use: %w", path, err)
	}
	return nil
}

func (s *Server) open(network, address string) (*door, error) {
	d, err := openDoor(network, address, &s.cfg)
	if err == nil {
		s.doors = append(s.doors, d)
	}
	return d, err
}
