package netio

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/engine/uring"
)

// Null round trips: what a request costs that does nothing. The ceiling is measured in the same run: an echo of 64 bytes per
// request between two bare rings, one thread each, no frames, no fibers.
//
//	go test ./netio -run '^$' -bench Null -benchtime 1s -count 5

func BenchmarkNull(b *testing.B) {
	for _, network := range []string{"unix", "tcp"} {
		for _, depth := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/depth=%d/bare-ring", network, depth), func(b *testing.B) { benchBare(b, network, depth) })
			for _, transport := range []string{TransportRing, TransportGnet} {
				b.Run(fmt.Sprintf("%s/depth=%d/%s", network, depth, transport), func(b *testing.B) { benchLink(b, network, transport, depth, 0) })
			}
		}
	}
}

// BenchmarkPayload moves payloads both ways.
func BenchmarkPayload(b *testing.B) {
	for _, n := range []int{4 << 10, 64 << 10, 1 << 20} {
		for _, transport := range []string{TransportRing, TransportGnet} {
			b.Run(fmt.Sprintf("unix/%dKiB/depth=16/%s", n>>10, transport), func(b *testing.B) {
				b.SetBytes(int64(2 * n))
				benchLink(b, "unix", transport, 16, n)
			})
		}
	}
}

func benchLink(b *testing.B, network, transport string, depth, payload int) {
	h := &nullHandler{}
	var over Handler = h
	if payload > 0 {
		over = &h.scripted
	}
	s := realSceneOf(b, network, transport, testLimits(), &h.scripted, over)
	err := s.cr.Call(func(f *engine.Fiber) error {
		l, err := s.dial(f, LinkConfig{})
		if err != nil {
			return err
		}
		b.ResetTimer()
		err = together(f, depth, func(f *engine.Fiber, i int) error {
			var out, in []byte
			if payload > 0 {
				a := f.Reactor().Arena()
				x, err := a.Get(payload)
				if err != nil {
					return err
				}
				y, err := a.Get(payload)
				if err != nil {
					return err
				}
				defer a.Put(x)
				defer a.Put(y)
				out, in = a.Bytes(x), a.Bytes(y)
			}
			rep := Reply{Body: make([]byte, 0, 64)}
			body := []byte("e")
			for n := i; n < b.N; n += depth {
				h := Header{}
				rep.Payload = in
				if err := l.Call(f, &h, body, out, &rep); err != nil {
					return err
				}
			}
			return nil
		})
		b.StopTimer()
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
}

// bareRing is one end of the ceiling.
type bareRing struct {
	ring uring.Ring
	fd   int32
	mem  []byte
	cqes [16]uring.CQE
}

func openBare(b *testing.B, fd int32) (*bareRing, func()) {
	ring, err := uring.Open(uring.Config{Entries: 64})
	if err != nil {
		b.Fatal(err)
	}
	a, err := arena.New(4 << 20)
	if err != nil {
		b.Fatal(err)
	}
	buf, err := a.Get(1 << 20)
	if err != nil {
		b.Fatal(err)
	}
	return &bareRing{ring: ring, fd: fd, mem: a.Bytes(buf)}, func() { ring.Close(); a.Close() }
}

// do submits and returns what comes first: a receive's bytes. Sends' completions are swallowed.
func (r *bareRing) do(b *testing.B, recvArmed bool, send int) int {
	if send > 0 {
		e := uring.PrepSend(r.fd, address(r.mem), uint32(send), sendFlags)
		if err := r.ring.Push(&e); err != nil {
			b.Fatal(err)
		}
	}
	if !recvArmed {
		half := r.mem[len(r.mem)/2:]
		e := uring.PrepRecv(r.fd, address(half), uint32(len(half)), 0)
		e.UserData = 1
		if err := r.ring.Push(&e); err != nil {
			b.Fatal(err)
		}
	}
	for {
		if err := r.ring.Enter(1, -1); err != nil {
			b.Fatal(err)
		}
		got := -1
		for _, c := range r.cqes[:r.ring.Reap(r.cqes[:])] {
			if c.UserData == 1 {
				got = int(c.Res)
			}
		}
		if got >= 0 {
			return got
		}
	}
}

const bareBytes = 64

func benchBare(b *testing.B, network string, depth int) {
	client, server := socketPair(b, network)
	done := make(chan struct{})
	go func() { // the server: sends back what it gets
		defer close(done)
		runtime.LockOSThread()
		r, end := openBare(b, server)
		defer end()
		n := 0
		for {
			if n = r.do(b, false, n); n == 0 {
				return
			}
		}
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, end := openBare(b, client)
	defer end()
	b.ResetTimer()
	send, odd := depth*bareBytes, 0
	for n := 0; n < b.N; {
		odd += r.do(b, false, send)
		n += odd / bareBytes
		send = odd / bareBytes * bareBytes
		odd %= bareBytes
	}
	b.StopTimer()
	e := uring.PrepShutdown(client, 2)
	if err := r.ring.Push(&e); err != nil {
		b.Fatal(err)
	}
	if err := r.ring.Enter(1, -1); err != nil {
		b.Fatal(err)
	}
	<-done
}

// socketPair is a connected pair of descriptors in blocking mode.
func socketPair(b *testing.B, network string) (int32, int32) {
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(b.TempDir(), "s")
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial(network, ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	return blockingFd(b, c), blockingFd(b, s)
}

func blockingFd(b *testing.B, c net.Conn) int32 {
	defer c.Close()
	file, err := c.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { file.Close() })
	return int32(file.Fd()) // Fd puts it into blocking mode
}
