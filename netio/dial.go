package netio

import (
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"

	"basalt/engine"
	"basalt/engine/uring"
)

// Dial connects to a server and makes a link to one of its shards.
func Dial(f *engine.Fiber, cfg LinkConfig) (*Link, error) {
	peer := cfg.Network + " " + cfg.Address
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultLimits.Handshake
	}
	start := f.Turn().Now()
	sa, err := resolve(f, cfg.Network, cfg.Address)
	if err != nil {
		return nil, err
	}
	fd, err := openSocket(sa.family)
	if err != nil {
		return nil, fmt.Errorf("netio: socket for %s: %w", peer, err)
	}
	if res := connect(f, fd, sa.raw, int64(cfg.Timeout)); res < 0 {
		f.Do(uring.PrepClose(fd))
		return nil, fmt.Errorf("netio: cannot connect to %s: %w", peer, syscall.Errno(-res))
	}
	if left := cfg.Timeout - time.Duration(f.Turn().Now()-start); left > 0 {
		cfg.Timeout = left
	} else {
		cfg.Timeout = time.Millisecond
	}
	return Adopt(f, fd, peer, cfg)
}

// target is a socket address in the kernel's form.
type target struct {
	family int
	raw    []byte
}

// resolve asks for names outside the reactor; literal addresses and paths need nobody.
func resolve(f *engine.Fiber, network, address string) (target, error) {
	switch network {
	case "unix":
		return unixTarget(address)
	case "tcp":
		if err := Loopback(address); err != nil {
			return target{}, fmt.Errorf("netio: %w", err)
		}
		host, _, err := net.SplitHostPort(address)
		var ta *net.TCPAddr
		if net.ParseIP(host) != nil {
			ta, err = net.ResolveTCPAddr(network, address)
		} else {
			f.Reactor().Offload(f, func() { ta, err = net.ResolveTCPAddr(network, address) })
		}
		if err != nil {
			return target{}, fmt.Errorf("netio: address %q: %w", address, err)
		}
		if !ta.IP.IsLoopback() {
			return target{}, fmt.Errorf("netio: %s is %s here, and that is not loopback", address, ta.IP)
		}
		return tcpTarget(ta), nil
	}
	return target{}, fmt.Errorf("netio: network %q: want unix or tcp", network)
}

// Loopback refuses a HOST:PORT of another machine: nobody is authenticated yet, neither the peer that connects nor the node it finds.
func Loopback(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q: %w: write HOST:PORT", address, err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q: the port is no number from 0 to 65535", address)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s is not loopback: peers are not authenticated yet, so only 127.0.0.1, ::1 or localhost is allowed; a tunnel that authenticates can carry it further", address)
	}
	return nil
}

// connect waits for the connection, for ns at most.
func connect(f *engine.Fiber, fd int32, raw []byte, ns int64) int32 {
	buf, mem := reserve(f.Reactor().Arena(), len(raw))
	copy(mem, raw)
	w := &connecting{f: f}
	w.id = f.Turn().Submit(uring.PrepConnect(fd, address(mem), uint32(len(raw))), w)
	timer := f.Turn().After(ns, w)
	for !w.done {
		f.Park()
	}
	f.Turn().StopTimer(timer)
	if buf.Valid() {
		f.Reactor().Arena().Put(buf)
	}
	if w.late {
		return -int32(syscall.ETIMEDOUT)
	}
	return w.res
}

type connecting struct {
	f    *engine.Fiber
	id   engine.OpID
	res  int32
	done bool
	late bool
}

// Complete is the connection's.
func (w *connecting) Complete(t *engine.Turn, res int32, _ uint32) {
	w.res, w.done = res, true
	w.late = w.late && res < 0
	t.Ready(w.f)
}

// Fire gives up; the operation's completion still comes.
func (w *connecting) Fire(t *engine.Turn) {
	if !w.done {
		w.late = true
		t.Cancel(w.id)
	}
}
