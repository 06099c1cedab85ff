package netio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"basalt/engine"
)

// scene is a server and a client to test, however they are connected: real sockets under both transports, or the simulator.
type scene struct {
	h     *scripted
	port  *Port
	sr    *engine.Reactor // the shard's
	cr    *engine.Reactor // the client's
	lim   Limits
	dial  func(f *engine.Fiber, cfg LinkConfig) (*Link, error)
	drain func(f *engine.Fiber) error // stop the server, from the client's reactor
	cut   func(f *engine.Fiber)       // break every connection

	network, address string // real scenes
}

// onServer runs fn on the shard.
func (s *scene) onServer(f *engine.Fiber, fn func(f *engine.Fiber)) error {
	return engine.CallOn(f, s.sr, fn)
}

// testLimits are short enough for tests of silence, long enough for a busy machine.
func testLimits() Limits {
	return Limits{Handshake: 2 * time.Second, Send: 5 * time.Second, Idle: 5 * time.Second, Drain: 5 * time.Second}
}

// scripted is a handler that does what the first byte of the body says.
type scripted struct {
	conns    []*Conn
	gate     engine.WaitList // what 'w' waits for
	waiting  int
	oneWays  int
	notices  []string
	detached int
	refusal  error
	served   int
	onServe  func(f *engine.Fiber)
}

func (h *scripted) Attach(f *engine.Fiber, c *Conn, hello []byte) ([]byte, error) {
	if h.refusal != nil {
		return nil, h.refusal
	}
	h.conns = append(h.conns, c)
	c.Value = string(hello)
	return append([]byte("welcome "), hello...), nil
}

func (h *scripted) Notice(_ *engine.Turn, c *Conn, kind Kind, body []byte) {
	h.notices = append(h.notices, fmt.Sprintf("%v %s", kind, body))
}

func (h *scripted) Detach(_ *engine.Turn, c *Conn) { h.detached++ }

func (h *scripted) Serve(f *engine.Fiber, c *Conn, q *Request, p *Reply) {
	h.served++
	if h.onServe != nil {
		h.onServe(f)
	}
	switch q.Body[0] {
	case 'o': // one-way
		h.oneWays++
		return
	case 'w': // wait
		h.waiting++
		h.gate.Wait(f)
		h.waiting--
	case 's': // sleep
		f.Sleep(int64(binary.LittleEndian.Uint32(q.Body[1:])))
	case 'p': // payload of n bytes
		n := int(binary.LittleEndian.Uint32(q.Body[1:]))
		p.Body = append(p.Body, 'p')
		h.fill(c, p, n)
		return
	case 'n': // notice
		if err := c.Notify(f.Turn(), KindRecall, q.Body[1:]); err != nil && !c.Down() {
			panic(err)
		}
	case 'b': // body of n bytes
		p.Body = append(p.Body, pattern(int(binary.LittleEndian.Uint32(q.Body[1:])))...)
		return
	case 'l': // a payload that is lent only until the return
		p.Body = append(p.Body, 'l')
		p.Payload = pattern(int(binary.LittleEndian.Uint32(q.Body[1:])))
		return
	}
	p.Body = append(p.Body, q.Body...)
	p.Txn, p.Committed = q.ReqID, q.ReqID/2
	if len(q.Payload) > 0 {
		b, err := c.port.r.Arena().Get(len(q.Payload))
		if err != nil {
			panic(err)
		}
		p.PayloadBuf = b
		p.Payload = c.port.r.Arena().Bytes(b)
		copy(p.Payload, q.Payload)
	}
}

func (h *scripted) fill(c *Conn, p *Reply, n int) {
	b, err := c.port.r.Arena().Get(n)
	if err != nil {
		panic(err)
	}
	p.PayloadBuf, p.Payload = b, c.port.r.Arena().Bytes(b)
	copy(p.Payload, pattern(n))
}

// pattern is n bytes that differ wherever a byte could be lost or moved.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(n)*2654435761 + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func op(kind byte, n int) []byte { return binary.LittleEndian.AppendUint32([]byte{kind}, uint32(n)) }

// echo calls with this body and payload and checks that both come back.
func echo(f *engine.Fiber, l *Link, body, payload []byte) error {
	rep := Reply{Payload: make([]byte, len(payload))}
	h := Header{DeadlineMs: 20000}
	if err := l.Call(f, &h, body, payload, &rep); err != nil {
		return fmt.Errorf("call %d: %w", h.ReqID, err)
	}
	if !bytes.Equal(rep.Body, body) || !bytes.Equal(rep.Payload, payload) {
		return fmt.Errorf("call %d: body %d and payload %d bytes came back as %d and %d, or changed", h.ReqID, len(body), len(payload), len(rep.Body), len(rep.Payload))
	}
	if rep.Txn != h.ReqID || rep.Committed != h.ReqID/2 {
		return fmt.Errorf("call %d: txn %d, committed %d", h.ReqID, rep.Txn, rep.Committed)
	}
	return nil
}

// together runs n fibers and returns the first error in their order.
func together(f *engine.Fiber, n int, fn func(f *engine.Fiber, i int) error) error {
	errs := make([]error, n)
	left := n
	var done engine.WaitList
	for i := range n {
		err := f.Turn().Go(fmt.Sprintf("part %d", i), func(g *engine.Fiber) {
			errs[i] = fn(g, i)
			left--
			if left == 0 {
				done.WakeAll(g.Turn())
			}
		})
		if err != nil {
			return err
		}
	}
	for left > 0 {
		done.Wait(f)
	}
	return errors.Join(errs...)
}

// until lets others run until the condition holds.
func until(f *engine.Fiber, what string, cond func() bool) error {
	for i := 0; !cond(); i++ {
		if i > 20000 {
			return fmt.Errorf("waited in vain: %s", what)
		}
		f.Sleep(500_000)
	}
	return nil
}

// untilServer is until, for a condition of the shard.
func (s *scene) untilServer(f *engine.Fiber, what string, cond func() bool) error {
	var err error
	if e := s.onServer(f, func(g *engine.Fiber) { err = until(g, what, cond) }); e != nil {
		return e
	}
	return err
}

func startReactor(t testing.TB, name string, cfg engine.Config) *engine.Reactor {
	t.Helper()
	cfg.Name, cfg.CPU = name, -1
	if cfg.ArenaBytes == 0 {
		cfg.ArenaBytes = 96 << 20
	}
	r, err := engine.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(func(*engine.Fiber) error { return nil }); err != nil {
		t.Fatalf("these tests need io_uring: %v", err)
	}
	t.Cleanup(func() {
		r.Stop()
		if err := r.Wait(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// realScene connects the two over a real socket.
func realScene(t testing.TB, network, transport string, lim Limits) *scene {
	t.Helper()
	h := &scripted{}
	return realSceneOf(t, network, transport, lim, h, h)
}

// realSceneOf is realScene with a handler over the scripted one: a port keeps the handler that it was made with.
func realSceneOf(t testing.TB, network, transport string, lim Limits, h *scripted, over Handler) *scene {
	t.Helper()
	s := &scene{h: h, lim: lim}
	s.sr = startReactor(t, "server", engine.Config{})
	s.cr = startReactor(t, "client", engine.Config{})
	var err error
	if s.port, err = NewPort(3, s.sr, over, lim); err != nil {
		t.Fatal(err)
	}
	cfg := ServerConfig{Transport: transport, Ports: []*Port{s.port}}
	if network == "unix" {
		cfg.Unix = filepath.Join(t.TempDir(), "s")
	} else {
		cfg.TCP = "127.0.0.1:0"
	}
	server, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	shut := func() error {
		if closed {
			return nil
		}
		closed = true
		return server.Close()
	}
	t.Cleanup(func() {
		if err := shut(); err != nil {
			t.Error(err)
		}
		checkEmpty(t, s)
	})
	address := cfg.Unix
	if network == "tcp" {
		address = server.TCP()
	}
	s.network, s.address = network, address
	s.dial = func(f *engine.Fiber, c LinkConfig) (*Link, error) {
		c.Network, c.Address, c.Shard = network, address, 3
		if c.Limits == (Limits{}) {
			c.Limits = lim
		}
		return Dial(f, c)
	}
	s.drain = func(f *engine.Fiber) error {
		var err error
		f.Reactor().Offload(f, func() { err = shut() })
		return err
	}
	s.cut = func(f *engine.Fiber) {
		s.onServer(f, func(g *engine.Fiber) {
			for _, c := range append([]*Conn(nil), s.port.conns...) {
				c.Close(g.Turn())
			}
		})
	}
	return s
}

// checkEmpty: after the server has closed, the port holds nothing, and nothing of the arena but the reactor's own page.
func checkEmpty(t testing.TB, s *scene) {
	t.Helper()
	err := s.sr.Call(func(f *engine.Fiber) error {
		p := s.port
		if len(p.conns) != 0 || p.requests != 0 || p.bytes != 0 || len(p.starved) != 0 {
			return fmt.Errorf("after close: %d connections, %d requests, %d bytes, %d starved", len(p.conns), p.requests, p.bytes, len(p.starved))
		}
		if s.h.detached != len(s.h.conns) {
			return fmt.Errorf("%d connections attached, %d detached", len(s.h.conns), s.h.detached)
		}
		if used := f.Reactor().Arena().Used(); used > 4096 {
			return fmt.Errorf("after close: %d bytes of the arena are still taken", used)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

var transports = []struct{ network, transport string }{
	{"unix", TransportRing}, {"tcp", TransportRing}, {"unix", TransportGnet}, {"tcp", TransportGnet},
}

// everywhere runs a test over every socket and transport.
func everywhere(t *testing.T, lim Limits, fn func(t *testing.T, s *scene)) {
	for _, x := range transports {
		t.Run(x.network+"/"+x.transport, func(t *testing.T) { fn(t, realScene(t, x.network, x.transport, lim)) })
	}
}
