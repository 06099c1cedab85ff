package netio

import (
	"encoding/binary"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
)

// sink is a carrier whose peer takes everything at once.
type sink struct {
	c     *Conn
	taken int
}

func (k *sink) send(t *engine.Turn, pieces [][]byte) {
	n := 0
	for _, p := range pieces {
		n += len(p)
	}
	k.taken += n
	t.After(0, engine.TimerFunc(func(t *engine.Turn) { k.c.sent(t, int32(n)) }))
}

func (k *sink) pull(*engine.Turn) {}
func (k *sink) close(bool)        {}

// Whatever a peer sends, in whatever pieces, the connection does not panic, holds a bounded amount, and gives it all back. The input is a list
// of frames, most of them made valid (length and checksums set right) so that the fuzzer gets behind the checks.
func FuzzConn(f *testing.F) {
	f.Add(uint8(3), []byte{3, 4, 0, 'e', 'c', 'h', 'o'}, uint16(17))
	f.Add(uint8(1), []byte{9, 0, 0, 3, 1, 200, 'w', 6, 3, 0, 'a', 'b', 'c'}, uint16(64))
	f.Add(uint8(0), []byte("garbage, from the first byte on"), uint16(5))
	f.Fuzz(func(t *testing.T, mode uint8, in []byte, split uint16) {
		stream := rawHello(3)
		if mode&1 == 0 {
			stream = append(stream, in...)
		} else {
			for len(in) >= 3 && len(stream) < 1<<20 {
				h := Header{Kind: Kind(in[0] % 16), ReqID: uint64(len(stream))}
				body := in[3:min(len(in), 3+int(in[1]))]
				payload := pattern(int(in[2]) * 700)
				if h.Kind == KindRequest && in[2]%3 == 1 {
					h.Flags, payload = FlagOneWay, nil
				}
				h.Committed = uint64(len(payload))
				if len(body) == 0 || body[0] == 'n' || body[0] == 'p' || body[0] == 'l' || body[0] == 's' {
					body = append([]byte{'e'}, body...)
				}
				frame := rawFrame(h, body, payload)
				if mode&2 != 0 && len(in) > 20 {
					frame[int(in[len(in)-1])%len(frame)] ^= 1
				}
				stream, in = append(stream, frame...), in[3+min(len(in)-3, int(in[1])):]
			}
		}
		fuzzStream(t, stream, int(split)+1)
	})
}

func fuzzStream(t *testing.T, stream []byte, split int) {
	w := sim.NewWorld(uint64(len(stream)))
	defer w.Close()
	r := w.Reactor(engine.Config{ArenaBytes: 16 << 20})
	h := &scripted{}
	lim := testLimits()
	lim.CreditBytes, lim.ShardBytes = 1<<20, 3<<20
	p, err := NewPort(3, r, h, lim)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Boot(r, func(*engine.Fiber) error { return nil }); err != nil {
		t.Fatal(err)
	}
	err = w.Do(r, func(f *engine.Fiber) error {
		k := &sink{}
		var c *Conn
		p.adopt(f.Turn(), -1, k, "fuzz", nil, func(x *Conn) { c, k.c = x, x })
		for waits := 0; len(stream) > 0 && c.state < streamDown && c.phase != phaseLeaving; {
			if c.paused && c.state == streamOpen {
				h.gate.WakeAll(f.Turn())
				f.Sleep(1_000_000)
				if waits++; waits > 5000 {
					t.Fatalf("stuck: phase %d, %d requests, %d bytes of output", c.phase, c.requests, c.out.bytes)
				}
				continue
			}
			n := min(split, len(stream), len(c.in.next()))
			copy(c.in.next(), stream[:n])
			c.received(f.Turn(), n)
			stream = stream[n:]
			if r.Arena().Used() > 8<<20 {
				t.Fatalf("%d bytes held", r.Arena().Used())
			}
		}
		for waits := 0; p.requests > 0 && c.incoming == 0 || p.requests > 1; waits++ {
			if waits > 5000 {
				t.Fatalf("stuck: %d requests, %d at the gate, phase %d", p.requests, h.waiting, c.phase)
			}
			h.gate.WakeAll(f.Turn())
			f.Sleep(1000)
		}
		p.Drain(f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if used := r.Arena().Used(); used > 4096 || p.requests != 0 || p.bytes != 0 {
		t.Fatalf("left behind: %d bytes of the arena, %d requests, %d bytes", used, p.requests, p.bytes)
	}
}

// What decodes as a WELCOME or an ERROR is within bounds.
func FuzzBodies(f *testing.F) {
	f.Add(appendWelcome(nil, &DefaultLimits, []byte("session")))
	f.Add(appendErrorBody(nil, CodeBusy, "busy"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if requests, bytes, idle, session, perr := decodeWelcome(in); perr == nil {
			if requests < 1 || bytes < 1 || idle <= 0 || len(session) != len(in)-welcomePrefixLen {
				t.Fatalf("%d %d %v %q", requests, bytes, idle, session)
			}
		}
		if e, perr := decodeErrorBody(in); perr == nil && uint16(e.Code) != binary.LittleEndian.Uint16(in) {
			t.Fatalf("%+v", e)
		}
	})
}
