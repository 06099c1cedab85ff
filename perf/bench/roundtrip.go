package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"

	"golang.org/x/sys/unix"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/engine/uring"
	"basalt/netio"
	"basalt/perf/bar"
)

const (
	frameBytes = 64       // a header alone: what a null request is on the wire
	batchBytes = 64 << 10 // what the bare echo takes at once
)

// roundTripPart: a request without a body and its reply, server and client each a column of this process, against
// the same bytes echoed by one fiber on a bare ring.
func roundTripPart(b *bench) ([]bar.Bar, func() error, error) {
	var bars []bar.Bar
	for _, depth := range []int{1, 64} {
		bars = append(bars, bar.Bar{
			Names:   []string{fmt.Sprintf("null-request-unix-qd%d", depth)},
			Unit:    "op/s",
			Ours:    bar.One(func() (float64, error) { return b.nullRequests(depth) }),
			Against: bar.One(func() (float64, error) { return b.bareEcho(depth) }),
		})
	}
	return bars, func() error { return nil }, nil
}

// pair starts two columns and ends them when work has returned.
func pair(work func(server, client *engine.Reactor) error) (err error) {
	var columns [2]*engine.Reactor
	for i := range columns {
		r, err := engine.New(engine.Config{Name: fmt.Sprintf("bench %d", i), Shard: engine.ShardID(i), CPU: -1, ArenaBytes: 64 << 20})
		if err != nil {
			return err
		}
		if err := r.Start(func(*engine.Fiber) error { return nil }); err != nil {
			return err
		}
		columns[i] = r
		defer func() {
			r.Stop()
			err = errors.Join(err, r.Wait())
		}()
	}
	return work(columns[0], columns[1])
}

// silent is a shard that has nothing to say.
type silent struct{}

func (silent) Attach(*engine.Fiber, *netio.Conn, []byte) ([]byte, error)      { return nil, nil }
func (silent) Serve(*engine.Fiber, *netio.Conn, *netio.Request, *netio.Reply) {}
func (silent) Notice(*engine.Turn, *netio.Conn, netio.Kind, []byte)           {}
func (silent) Detach(*engine.Turn, *netio.Conn)                               {}

func (b *bench) nullRequests(depth int) (rate float64, err error) {
	path := filepath.Join(b.dir, "null.sock")
	err = pair(func(server, client *engine.Reactor) error {
		port, err := netio.NewPort(0, server, silent{}, netio.Limits{})
		if err != nil {
			return err
		}
		door, err := netio.Listen(netio.ServerConfig{Unix: path, Ports: []*netio.Port{port}})
		if err != nil {
			return err
		}
		err = client.Call(func(f *engine.Fiber) error {
			l, err := netio.Dial(f, netio.LinkConfig{Network: "unix", Address: path})
			if err != nil {
				return err
			}
			rate, err = fleet(f, depth, b.seconds, func(f *engine.Fiber, _ *rand.Rand, stop func() bool) (n int, err error) {
				for ; !stop() && err == nil; n++ {
					var p netio.Reply
					err = l.Call(f, &netio.Header{Kind: netio.KindRequest}, nil, nil, &p)
				}
				return n, err
			})
			l.Close(f.Turn())
			return err
		})
		return errors.Join(err, door.Close())
	})
	return rate, err
}

// bareEcho keeps depth frames on the way between two fibers that only receive and send.
func (b *bench) bareEcho(depth int) (rate float64, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	err = pair(func(server, client *engine.Reactor) error {
		echoed := make(chan error, 1)
		go func() { echoed <- server.Call(func(f *engine.Fiber) error { return echo(f, int32(fds[0])) }) }()
		err := client.Call(func(f *engine.Fiber) error {
			rate, err = fleet(f, 1, b.seconds, func(f *engine.Fiber, _ *rand.Rand, stop func() bool) (int, error) {
				return echoClient(f, int32(fds[1]), depth, stop)
			})
			return err
		})
		return errors.Join(err, unix.Shutdown(fds[1], unix.SHUT_RDWR), <-echoed)
	})
	return rate, err
}

// wire is one end of the bare echo.
type wire struct {
	f    *engine.Fiber
	fd   int32
	addr uint64
}

func newWire(f *engine.Fiber, fd int32) (wire, arena.Buf, error) {
	a := f.Reactor().Arena()
	buf, err := a.Get(batchBytes)
	if err != nil {
		return wire{}, buf, err
	}
	return wire{f: f, fd: fd, addr: a.Addr(buf)}, buf, nil
}

func (w wire) recv() (int, error) {
	res := w.f.Do(uring.PrepRecv(w.fd, w.addr, batchBytes, 0))
	if res < 0 {
		return 0, unix.Errno(-res)
	}
	return int(res), nil
}

func (w wire) send(n int) error {
	for sent := 0; sent < n; {
		res := w.f.Do(uring.PrepSend(w.fd, w.addr+uint64(sent), uint32(n-sent), 0))
		if res < 0 {
			return unix.Errno(-res)
		}
		sent += int(res)
	}
	return nil
}

func echo(f *engine.Fiber, fd int32) error {
	w, buf, err := newWire(f, fd)
	if err != nil {
		return err
	}
	defer f.Reactor().Arena().Put(buf)
	for {
		n, err := w.recv()
		if n == 0 || err != nil {
			return err
		}
		if err := w.send(n); err != nil {
			return err
		}
	}
}

func echoClient(f *engine.Fiber, fd int32, depth int, stop func() bool) (frames int, err error) {
	w, buf, err := newWire(f, fd)
	if err != nil {
		return 0, err
	}
	defer f.Reactor().Arena().Put(buf)
	if err := w.send(depth * frameBytes); err != nil {
		return 0, err
	}
	back := 0
	for !stop() {
		n, err := w.recv()
		if err != nil {
			return frames, err
		}
		back += n
		whole := back / frameBytes
		back -= whole * frameBytes
		frames += whole
		if err := w.send(whole * frameBytes); err != nil {
			return frames, err
		}
	}
	for back < depth*frameBytes { // what is on its way still: the echo must not find the connection gone
		n, err := w.recv()
		if n == 0 || err != nil {
			return frames, err
		}
		back += n
	}
	return frames, nil
}
