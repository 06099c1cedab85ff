package sim

import (
	"bytes"
	"syscall"
	"testing"

	"basalt/engine/uring"
)

// wire is a connection between two bare rings.
type wire struct {
	t        *testing.T
	w        *World
	a, b     *ring
	fdA, fdB int32
}

func newWire(t *testing.T, seed uint64) *wire {
	w := NewWorld(seed)
	x := &wire{t: t, w: w, a: w.bare(), b: w.bare()}
	x.fdA, x.fdB = w.Pipe(nil, nil)
	return x
}

// settle lets everything happen that can.
func (x *wire) settle() (a, b []uring.CQE) {
	for {
		ca, cb := x.a.drain(), x.b.drain()
		a, b = append(a, ca...), append(b, cb...)
		if len(ca)+len(cb) == 0 {
			return a, b
		}
	}
}

func (x *wire) push(r *ring, s uring.SQE, data uint64) {
	s.UserData = data
	if err := r.Push(&s); err != nil {
		x.t.Fatal(err)
	}
}

func pattern(n int, seed uint64) []byte {
	r := stream(seed, 9)
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// Bytes arrive in order and complete, however they are cut into sends, segments and receives.
func TestStreamKeepsOrder(t *testing.T) {
	for seed := range uint64(20) {
		x := newWire(t, seed)
		want := pattern(700_000, seed)
		var got []byte
		sent := 0
		buf := make([]byte, 50_000)
		x.push(x.a, uring.PrepSend(x.fdA, addressOf(want), uint32(len(want)), 0), 1)
		x.push(x.b, uring.PrepRecv(x.fdB, addressOf(buf), uint32(len(buf)), 0), 2)
		for len(got) < len(want) {
			ca, cb := x.a.drain(), x.b.drain()
			for _, c := range ca {
				sent += int(c.Res)
				if rest := want[sent:]; len(rest) > 0 {
					x.push(x.a, uring.PrepSend(x.fdA, addressOf(rest), uint32(len(rest)), 0), 1)
				}
			}
			for _, c := range cb {
				if c.Res <= 0 {
					t.Fatalf("seed %d: receive: %d after %d bytes", seed, c.Res, len(got))
				}
				got = append(got, buf[:c.Res]...)
				x.push(x.b, uring.PrepRecv(x.fdB, addressOf(buf), uint32(len(buf)), 0), 2)
			}
			if len(ca)+len(cb) == 0 {
				t.Fatalf("seed %d: stuck after %d bytes", seed, len(got))
			}
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: the stream was changed", seed)
		}
	}
}

func TestWaitAllIsWhole(t *testing.T) {
	x := newWire(t, 3)
	want := pattern(600_000, 1)
	buf := make([]byte, len(want))
	x.push(x.a, uring.PrepSend(x.fdA, addressOf(want), uint32(len(want)), msgWaitAll), 1)
	x.push(x.b, uring.PrepRecv(x.fdB, addressOf(buf), uint32(len(buf)), msgWaitAll), 2)
	a, b := x.settle()
	if len(a) != 1 || len(b) != 1 || int(a[0].Res) != len(want) || int(b[0].Res) != len(want) || !bytes.Equal(buf, want) {
		t.Fatalf("send %v, receive %v", a, b)
	}
}

func TestMultishotReceive(t *testing.T) {
	x := newWire(t, 4)
	br, err := x.b.NewBufRing(7, 4, 4096)
	if err != nil {
		t.Fatal(err)
	}
	want := pattern(200_000, 1)
	x.push(x.a, uring.PrepSend(x.fdA, addressOf(want), uint32(len(want)), msgWaitAll).Linked(), 1)
	x.push(x.a, uring.PrepShutdown(x.fdA, shutWrite), 2)
	var got []byte
	var nobufs, ends int
	armed := false
	for range 10_000 {
		if !armed {
			x.push(x.b, uring.PrepRecvMultishot(x.fdB, 7), 3)
			armed = true
		}
		_, cs := x.settle()
		for _, c := range cs {
			if id, ok := c.BufID(); ok {
				got = append(got, br.Bytes(id)[:c.Res]...)
				br.Recycle(id)
			}
			if c.Flags&uring.CQEFMore == 0 {
				armed = false
			}
			switch {
			case c.Res == -int32(syscall.ENOBUFS):
				nobufs++
			case c.Res == 0:
				ends++
			}
		}
		if ends > 0 {
			break
		}
	}
	if !bytes.Equal(got, want) || ends != 1 || nobufs == 0 {
		t.Fatalf("%d bytes of %d, %d ends, out of buffers %d times", len(got), len(want), ends, nobufs)
	}
}

func TestSendmsgGathers(t *testing.T) {
	x := newWire(t, 5)
	p, q := []byte("hello "), []byte("world")
	iov := make([]byte, 32)
	put := func(b []byte, v uint64) {
		for i := range 8 {
			b[i] = byte(v >> (8 * i))
		}
	}
	put(iov, addressOf(p))
	put(iov[8:], uint64(len(p)))
	put(iov[16:], addressOf(q))
	put(iov[24:], uint64(len(q)))
	hdr := make([]byte, msghdrBytes)
	put(hdr[16:], addressOf(iov))
	put(hdr[24:], 2)
	buf := make([]byte, 11)
	x.push(x.a, uring.PrepSendmsg(x.fdA, addressOf(hdr), msgWaitAll), 1)
	x.push(x.b, uring.PrepRecv(x.fdB, addressOf(buf), 11, msgWaitAll), 2)
	if a, _ := x.settle(); len(a) != 1 || a[0].Res != 11 || string(buf) != "hello world" {
		t.Fatalf("%v %q", a, buf)
	}
}

func TestZeroCopyTellsWhenTheMemoryIsFree(t *testing.T) {
	x := newWire(t, 6)
	p := pattern(1000, 1)
	x.push(x.a, uring.PrepSendZC(x.fdA, addressOf(p), 1000, msgWaitAll), 1)
	a, _ := x.settle()
	if len(a) != 2 || a[0].Res != 1000 || a[0].Flags != uring.CQEFMore || a[1].Flags != uring.CQEFNotif {
		t.Fatalf("%v", a)
	}
}

func TestConnectionEnds(t *testing.T) {
	buf := make([]byte, 100)
	recv := func(x *wire) int32 {
		x.push(x.b, uring.PrepRecv(x.fdB, addressOf(buf), 100, 0), 2)
		if _, b := x.settle(); len(b) == 1 {
			return b[0].Res
		}
		return 1 << 20
	}
	x := newWire(t, 1)
	x.w.Conn(x.fdA).Reset()
	if res := recv(x); res != -int32(syscall.ECONNRESET) {
		t.Errorf("receive after a reset: %d", res)
	}
	x.push(x.a, uring.PrepSend(x.fdA, addressOf(buf), 100, 0), 1)
	if a, _ := x.settle(); len(a) != 1 || a[0].Res != -int32(syscall.ECONNRESET) {
		t.Errorf("send after a reset: %v", a)
	}

	x = newWire(t, 1)
	x.push(x.a, uring.PrepClose(x.fdA), 1)
	if res := recv(x); res != 0 {
		t.Errorf("receive after the peer closed: %d", res)
	}
	x.push(x.a, uring.PrepSend(x.fdA, addressOf(buf), 100, 0), 1)
	if a, _ := x.settle(); len(a) != 1 || a[0].Res != -int32(syscall.EBADF) {
		t.Errorf("send on a closed descriptor: %v", a)
	}

	// A close does not end a receive in flight, and the peer hears nothing until that has ended.
	x = newWire(t, 1)
	x.push(x.a, uring.PrepRecv(x.fdA, addressOf(buf), 100, 0), 9)
	x.settle()
	x.push(x.a, uring.PrepClose(x.fdA), 1)
	if res := recv(x); res != 1<<20 {
		t.Errorf("the peer was told although a receive holds the socket: %d", res)
	}
	x.push(x.a, uring.PrepCancel(9), 3)
	if _, b := x.settle(); len(b) != 1 || b[0].Res != 0 {
		t.Errorf("after the cancel the peer sees %v, want the end", b)
	}
}

func TestPartitionHealsOrEnds(t *testing.T) {
	buf := make([]byte, 100)
	for _, heals := range []bool{true, false} {
		x := newWire(t, 1)
		c := x.w.Conn(x.fdA)
		c.Partition()
		if heals {
			x.w.After(10e9, c.Heal)
		}
		began := x.w.line.now
		x.push(x.a, uring.PrepSend(x.fdA, addressOf(buf), 100, msgWaitAll), 1)
		x.push(x.b, uring.PrepRecv(x.fdB, addressOf(buf), 100, msgWaitAll), 2)
		_, b := x.settle()
		want, at := int32(100), int64(10e9)
		if !heals {
			want, at = -int32(syscall.ETIMEDOUT), 15e9
		}
		if took := x.w.line.now - began; len(b) != 1 || b[0].Res != want || took < at || took > at+1e9 {
			t.Errorf("heals %v: %v after %d ns", heals, b, took)
		}
	}
}

// What arrives is always the beginning of what was sent: a reset loses the rest, it never cuts a hole.
func TestAResetLeavesNoHole(t *testing.T) {
	for seed := range uint64(300) {
		x := newWire(t, seed)
		want := pattern(3000, seed)
		var got []byte
		buf := make([]byte, 3000)
		for i := range 3 {
			if i == 1 {
				x.w.Conn(x.fdA).Reset()
			}
			x.push(x.a, uring.PrepSend(x.fdA, addressOf(want[1000*i:]), 1000, msgWaitAll), 1)
			x.a.Enter(0, 0)
			x.w.line.now += 3_000 // the send is done, its bytes are on their way
			x.w.line.runDue()
		}
		for over := false; !over; {
			x.push(x.b, uring.PrepRecv(x.fdB, addressOf(buf), 3000, 0), 2)
			_, b := x.settle()
			if len(b) != 1 {
				t.Fatalf("seed %d: %v", seed, b)
			}
			if over = b[0].Res <= 0; !over {
				got = append(got, buf[:b[0].Res]...)
			}
		}
		if !bytes.HasPrefix(want, got) {
			t.Fatalf("seed %d: %d bytes arrived that are not the beginning of what was sent", seed, len(got))
		}
	}
}
