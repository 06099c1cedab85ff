package netio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"basalt/engine"
)

// rawPeer speaks bytes, not the protocol.
type rawPeer struct {
	t testing.TB
	net.Conn
}

func (s *scene) rawDial(t testing.TB) *rawPeer {
	t.Helper()
	c, err := net.Dial(s.network, s.address)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &rawPeer{t, c}
}

// rawFrame encodes a frame with right checksums.
func rawFrame(h Header, body, payload []byte) []byte {
	if h.Shard == 0 {
		h.Shard = 3
	}
	h.bodyLen, h.bodyCrc = uint32(len(body)), checksum(body)
	h.payloadLen, h.payloadCrc = uint32(len(payload)), checksum(payload)
	b := make([]byte, HeaderLen)
	EncodeHeader(b, &h)
	return append(append(b, body...), payload...)
}

func rawHello(shard uint16) []byte {
	return rawFrame(Header{Kind: KindHello, Shard: shard}, []byte{1, 1, 0, 0, 0, 0, 0, 0, 'h', 'i'}, nil)
}

func (p *rawPeer) put(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

func (p *rawPeer) frame() (Header, []byte, error) {
	var head [HeaderLen]byte
	if _, err := io.ReadFull(p, head[:]); err != nil {
		return Header{}, nil, err
	}
	var h Header
	if perr := DecodeHeader(head[:], &h); perr != nil {
		p.t.Fatalf("the server sent a bad frame: %v", perr)
	}
	rest := make([]byte, h.BodyLen()+h.PayloadLen())
	if _, err := io.ReadFull(p, rest); err != nil {
		return h, nil, err
	}
	return h, rest, nil
}

// greet completes the handshake.
func (p *rawPeer) greet() {
	p.t.Helper()
	p.put(rawHello(3))
	if h, body, err := p.frame(); err != nil || h.Kind != KindWelcome || !bytes.Contains(body, []byte("welcome hi")) {
		p.t.Fatalf("handshake: %v %q %v", h.Kind, body, err)
	}
}

// wantEnd reads until the connection ends; the last frame is an ERROR of this code, with this in its sentence.
func (p *rawPeer) wantEnd(code Code, sentence string) {
	p.t.Helper()
	var last Header
	var body []byte
	for {
		h, b, err := p.frame()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				p.t.Fatalf("the server does not close; last frame %v", last.Kind)
			}
			break
		}
		last, body = h, b
	}
	e, perr := decodeErrorBody(body)
	if last.Kind != KindError || last.ReqID != 0 || perr != nil || e.Code != code || !strings.Contains(e.Sentence, sentence) {
		p.t.Fatalf("last frame %v %q, want an ERROR %d with %q", last.Kind, body, code, sentence)
	}
}

func (s *scene) stats(t testing.TB) (st Stats) {
	t.Helper()
	if err := s.sr.Call(func(f *engine.Fiber) error { st = s.port.Stats(f.Turn()); return nil }); err != nil {
		t.Fatal(err)
	}
	return st
}

// still proves that the server serves others.
func (s *scene) still(t testing.TB) {
	t.Helper()
	err := s.cr.Call(func(f *engine.Fiber) error {
		l, err := s.dial(f, LinkConfig{})
		if err != nil {
			return err
		}
		err = echo(f, l, []byte("e"), pattern(50_000))
		l.Close(f.Turn())
		return err
	})
	if err != nil {
		t.Fatalf("the server does not serve others: %v", err)
	}
}

func TestBeforeHandshake(t *testing.T) {
	lim := testLimits()
	lim.Handshake = 300 * time.Millisecond
	version9 := rawHello(3)
	version9[4] = 9
	badCrc := rawHello(3)
	badCrc[HeaderLen+3] ^= 1
	everywhere(t, lim, func(t *testing.T, s *scene) {
		for _, c := range []struct {
			name, sentence string
			send           []byte
			code           Code
		}{
			{"garbage", "magic", []byte(strings.Repeat("GET / HTTP/1.1\r\n", 100)), CodeMalformed},
			{"one wrong byte", "magic", []byte("X"), CodeMalformed},
			{"silence", "no valid HELLO", nil, CodeTimeout},
			{"half a header", "no valid HELLO", rawHello(3)[:40], CodeTimeout},
			{"half a body", "no valid HELLO", rawHello(3)[:HeaderLen+4], CodeTimeout},
			{"another version", "speaks version 1 of the protocol, the peer", version9, CodeVersion},
			{"another shard", "there is no shard 99 here: this is a node with one shard", rawHello(99), CodeNoShard},
			{"a request first", "kind before HELLO", rawFrame(Header{Kind: KindRequest, Shard: 3}, []byte("e"), nil), CodeMalformed},
			{"bad checksum", "bodyCrc", badCrc, CodeMalformed},
			{"short body", "HELLO body", rawFrame(Header{Kind: KindHello, Shard: 3}, []byte{1, 1}, nil), CodeMalformed},
			{"future versions only", "speaks version 1", rawFrame(Header{Kind: KindHello, Shard: 3}, []byte{2, 9, 0, 0, 0, 0, 0, 0}, nil), CodeVersion},
			{"reserved bytes", "reserved", rawFrame(Header{Kind: KindHello, Shard: 3}, []byte{1, 1, 0, 0, 7, 0, 0, 0}, nil), CodeMalformed},
		} {
			p := s.rawDial(t)
			p.t = t
			if len(c.send) > 0 {
				p.put(c.send)
			}
			t.Log(c.name)
			p.wantEnd(c.code, c.sentence)
		}
		s.still(t)
	})
}

func TestAfterHandshake(t *testing.T) {
	request := Header{Kind: KindRequest, Shard: 3, ReqID: 1}
	badBody := rawFrame(request, []byte("echo"), nil)
	badBody[HeaderLen] ^= 1
	badPayload := rawFrame(request, []byte("echo"), pattern(200_000))
	badPayload[HeaderLen+100_000] ^= 1
	smallBadPayload := rawFrame(request, []byte("echo"), pattern(200))
	smallBadPayload[HeaderLen+100] ^= 1
	tooLong := request
	tooLong.payloadLen = PayloadMax + 1
	oversize := make([]byte, HeaderLen)
	EncodeHeader(oversize, &tooLong)
	everywhere(t, testLimits(), func(t *testing.T, s *scene) {
		for _, c := range []struct {
			name, sentence string
			send           []byte
		}{
			{"body checksum", "bodyCrc", badBody},
			{"payload checksum", "payloadCrc", badPayload},
			{"small payload checksum", "payloadCrc", smallBadPayload},
			{"oversize", "payloadLen", oversize},
			{"garbage", "magic", bytes.Repeat([]byte("x"), 5000)},
			{"a second HELLO", "kind from a client", rawHello(3)},
			{"an empty error", "error body", rawFrame(Header{Kind: KindError}, nil, nil)},
			{"a reply", "kind from a client", rawFrame(Header{Kind: KindReply, ReqID: 1}, nil, nil)},
		} {
			p := s.rawDial(t)
			p.t = t
			p.greet()
			p.put(append(rawFrame(Header{Kind: KindRequest, ReqID: 9}, []byte("e: a good one first"), nil), c.send...))
			t.Log(c.name)
			p.wantEnd(CodeMalformed, c.sentence)
		}
		// Frames that end in the middle, everywhere.
		whole := rawFrame(request, []byte("echo"), pattern(60_000))
		for _, n := range []int{1, 63, 64, 66, 68, 69, 1000, 40_000, len(whole) - 1} {
			p := s.rawDial(t)
			p.t = t
			p.greet()
			p.put(whole[:n])
			p.Close()
		}
		s.still(t)
		if err := s.sr.Call(func(f *engine.Fiber) error {
			return until(f, "the end of every connection", func() bool { return len(s.port.conns) == 0 })
		}); err != nil {
			t.Fatal(err)
		}
		if st := s.stats(t); st.ProtocolErrors != 8 || st.Outstanding != 0 || st.OutstandingBytes != 0 {
			t.Fatalf("%+v", st)
		}
	})
}

// A peer that asks for much and reads nothing holds little, delays nobody, and is closed.
// What a client sends before it is welcomed has to wait; there is a bound to how much can.
func TestTooMuchBeforeWelcome(t *testing.T) {
	everywhere(t, testLimits(), func(t *testing.T, s *scene) {
		p := s.rawDial(t)
		p.put(append(rawHello(3), make([]byte, 60<<10)...))
		p.drainRefused()
		s.still(t)
	})
}

// drainRefused reads until the connection ends.
func (p *rawPeer) drainRefused() {
	p.t.Helper()
	var timeout net.Error
	if _, err := io.Copy(io.Discard, p); errors.As(err, &timeout) && timeout.Timeout() {
		p.t.Fatal("the server does not close")
	}
}

// Requests that were sent together with HELLO are served once the session is in.
func TestRequestsBehindHello(t *testing.T) {
	everywhere(t, testLimits(), func(t *testing.T, s *scene) {
		p := s.rawDial(t)
		b := rawHello(3)
		for i := range 100 {
			b = append(b, rawFrame(Header{Kind: KindRequest, ReqID: uint64(i)}, []byte("e"), nil)...)
		}
		p.put(b)
		if h, _, err := p.frame(); err != nil || h.Kind != KindWelcome {
			t.Fatalf("%v %v", h.Kind, err)
		}
		for i := range 100 {
			if h, _, err := p.frame(); err != nil || h.Kind != KindReply || h.ReqID != uint64(i) {
				t.Fatalf("%v %d %v", h.Kind, h.ReqID, err)
			}
		}
	})
}

func TestSlowReader(t *testing.T) {
	lim := testLimits()
	lim.Send, lim.OutBytes, lim.CreditBytes = 700*time.Millisecond, 1<<20, 4<<20
	everywhere(t, lim, func(t *testing.T, s *scene) {
		p := s.rawDial(t)
		p.greet()
		ask := rawFrame(Header{Kind: KindRequest, ReqID: 5, Committed: PayloadMax}, op('p', PayloadMax), nil)
		p.put(bytes.Repeat(ask, 200))
		peak := int64(0)
		err := s.sr.Call(func(f *engine.Fiber) error {
			return until(f, "the slow reader's end", func() bool {
				peak = max(peak, s.sr.Arena().Used())
				return len(s.port.conns) == 0 && s.port.stats.Accepted > 0
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		// Queued replies up to OutBytes, one credit's worth more that had been admitted, one buffer each way.
		if most := int64(lim.OutBytes + lim.CreditBytes + 2<<20); peak > most {
			t.Fatalf("a slow reader held %d bytes, want at most %d", peak, most)
		}
		s.still(t)
		if st := s.stats(t); st.Slow != 1 {
			t.Fatalf("%+v", st)
		}
	})
}

// Replies without payload are bounded too: many small requests with large answers, of which none is taken, begin only as far as their
// answers may be queued. Those that wait are served in order once the peer reads.
func TestUntakenBodiesAreBounded(t *testing.T) {
	lim := testLimits()
	lim.OutBytes = 256 << 10
	everywhere(t, lim, func(t *testing.T, s *scene) {
		const asked = 400
		p := s.rawDial(t)
		p.greet()
		var burst []byte
		for i := range asked {
			burst = append(burst, rawFrame(Header{Kind: KindRequest, ReqID: uint64(i + 1)}, op('b', 60<<10), nil)...)
		}
		p.put(burst)
		err := s.sr.Call(func(f *engine.Fiber) error {
			return until(f, "requests that wait for the peer", func() bool {
				return len(s.port.conns) == 1 && s.h.conns[0].requests > 100 && s.h.conns[0].out.bytes > lim.OutBytes
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		peak := 0
		for i := range asked {
			if e := s.sr.Call(func(*engine.Fiber) error { peak = max(peak, s.h.conns[0].out.bytes); return nil }); e != nil {
				t.Fatal(e)
			}
			if h, body, err := p.frame(); err != nil || h.ReqID != uint64(i+1) || len(body) != 60<<10 {
				t.Fatalf("reply %d: %v, %d bytes, %v", i+1, h.ReqID, len(body), err)
			}
		}
		if most := lim.OutBytes + 61<<10; peak > most {
			t.Fatalf("%d bytes were queued for a peer that takes nothing, want at most %d", peak, most)
		}
	})
}

// A client that takes more than its credit is made to wait, or closed; the bound holds.
func TestCreditIsEnforced(t *testing.T) {
	lim := testLimits()
	lim.CreditRequests = 3
	everywhere(t, lim, func(t *testing.T, s *scene) {
		p := s.rawDial(t)
		p.greet()
		for i := range 50 {
			p.put(rawFrame(Header{Kind: KindRequest, ReqID: uint64(i)}, []byte("w"), nil))
		}
		err := s.sr.Call(func(f *engine.Fiber) error {
			for left := 50; left > 0; {
				if err := until(f, "requests", func() bool { return s.h.waiting == min(left, 3) }); err != nil {
					return err
				}
				for range 20 { // nothing more comes
					f.Yield()
				}
				if s.h.waiting > 3 {
					return fmt.Errorf("%d requests run, 3 were granted", s.h.waiting)
				}
				left -= s.h.waiting
				s.h.gate.WakeAll(f.Turn())
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			if h, _, err := p.frame(); err != nil || h.Kind != KindReply {
				t.Fatalf("%v %v", h.Kind, err)
			}
		}
	})
}

// What a link does with a server that does not follow the protocol.
func TestHostileServer(t *testing.T) {
	welcome := rawFrame(Header{Kind: KindWelcome, Shard: 3}, appendWelcome(nil, &DefaultLimits, nil), nil)
	badPayload := rawFrame(Header{Kind: KindReply, ReqID: 5}, []byte("e"), pattern(100))
	badPayload[HeaderLen+50] ^= 1
	badWelcome := rawFrame(Header{Kind: KindWelcome, Shard: 3}, make([]byte, 16), nil)
	for _, c := range []struct {
		name, want       string
		greeting, answer []byte
	}{
		{"garbage greeting", "magic", []byte("SSH-2.0-OpenSSH_9.6 some more bytes than a header has, so that it is looked at"), nil},
		{"another version", "version", func() []byte { b := bytes.Clone(welcome); b[4] = 2; return b }(), nil},
		{"no credit", "WELCOME credit", badWelcome, nil},
		{"a reply first", "kind before WELCOME", rawFrame(Header{Kind: KindReply}, nil, nil), nil},
		{"closes", "closed", []byte{}, nil},
		{"garbage answer", "magic", welcome, bytes.Repeat([]byte("?"), 100)},
		{"nobody's answer", "reqid", welcome, rawFrame(Header{Kind: KindReply, ReqID: 6}, []byte("e"), nil)},
		{"answer's payload", "payloadCrc", welcome, badPayload},
		{"a request", "kind from a server", welcome, rawFrame(Header{Kind: KindRequest, ReqID: 6}, []byte("e"), nil)},
		{"a second welcome", "kind from a server", welcome, welcome},
	} {
		t.Run(c.name, func(t *testing.T) {
			ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				buf := make([]byte, 1<<16)
				conn.Read(buf)
				conn.Write(c.greeting)
				if c.answer != nil {
					conn.Read(buf)
					conn.Write(c.answer)
					conn.Read(buf) // until the link has gone
				}
			}()
			r := startReactor(t, "client", engine.Config{ArenaBytes: 8 << 20})
			err = r.Call(func(f *engine.Fiber) error {
				l, err := Dial(f, LinkConfig{Network: "unix", Address: ln.Addr().String(), Shard: 3})
				if c.answer == nil {
					return err
				}
				if err != nil {
					return fmt.Errorf("dial: %w", err)
				}
				if err := l.Call(f, &Header{ReqID: 5}, []byte("e"), nil, &Reply{Payload: make([]byte, 200)}); !errors.Is(err, ErrLinkDown) {
					return fmt.Errorf("call: %v", err)
				}
				reason := l.Err()
				if err := until(f, "memory", func() bool { return r.Arena().Used() <= 4096 }); err != nil {
					return err
				}
				return reason
			})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want something about %q", err, c.want)
			}
		})
	}
}

// While the shard takes nothing, not even a word that there is something, what its peers send stays within the credit.
func TestShardTakesNothing(t *testing.T) {
	lim := testLimits()
	lim.CreditBytes = 4096
	s := realScene(t, "unix", TransportGnet, lim)
	p := s.rawDial(t)
	p.greet()
	stuck, free := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(free) })
	defer release()
	hold := func(*engine.Turn) { close(stuck); <-free }
	if err := s.sr.Post(engine.MessageFunc(hold)); err != nil {
		t.Fatal(err)
	}
	<-stuck
	for s.sr.Post(engine.MessageFunc(func(*engine.Turn) {})) == nil {
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		p.Write(make([]byte, 16<<20)) // fails when the door closes
	}()
	p.wantEnd(CodeCredit, "without an answer")
	<-written
	release()
	s.still(t)
}
