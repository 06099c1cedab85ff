package netio

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"basalt/engine"
)

// conformance is what every transport must do. The same cases run over real sockets and in the simulator.
var conformance = []struct {
	name string
	lim  func(l *Limits)
	run  func(f *engine.Fiber, s *scene) error
}{
	{name: "handshake", run: caseHandshake},
	{name: "refused", run: caseRefused},
	{name: "echo", run: caseEcho},
	{name: "pipelined", run: casePipelined},
	{name: "payloads", run: casePayloads},
	{name: "lent payload", run: caseLentPayload},
	{name: "reply too large", run: caseReplyTooLarge},
	{name: "out of order", run: caseOutOfOrder},
	{name: "one-way", run: caseOneWay},
	{name: "notices", run: caseNotices},
	{name: "deadline", run: caseDeadline},
	{name: "cancel", run: caseCancel},
	{name: "link down", run: caseLinkDown},
	{name: "client closes", run: caseClientCloses},
	{name: "drain", run: caseDrain},
	{name: "few credits", lim: func(l *Limits) { l.CreditRequests, l.CreditBytes = 3, 200<<10 }, run: caseFewCredits},
	{name: "small shard", lim: func(l *Limits) { l.ShardBytes = 3 << 20 }, run: caseSmallShard},
	{name: "idle", lim: func(l *Limits) { l.Idle = 200e6 }, run: caseIdle},
	{name: "two links", run: caseTwoLinks},
}

func TestConformance(t *testing.T) {
	for _, x := range transports {
		for _, c := range conformance {
			t.Run(x.network+"/"+x.transport+"/"+c.name, func(t *testing.T) {
				lim := testLimits()
				if c.lim != nil {
					c.lim(&lim)
				}
				s := realScene(t, x.network, x.transport, lim)
				if err := s.cr.Call(func(f *engine.Fiber) error { return c.run(f, s) }); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

func caseHandshake(f *engine.Fiber, s *scene) error {
	l, err := s.dial(f, LinkConfig{Hello: []byte("mount 7")})
	if err != nil {
		return err
	}
	if string(l.Welcome()) != "welcome mount 7" || !l.Up() || l.Shard() != 3 {
		return fmt.Errorf("welcome %q, up %v", l.Welcome(), l.Up())
	}
	if st := l.Stats(); st.RequestsMax != s.port.lim.CreditRequests || st.BytesMax != s.port.lim.CreditBytes {
		return fmt.Errorf("granted %d requests, %d bytes", st.RequestsMax, st.BytesMax)
	}
	return s.onServer(f, func(*engine.Fiber) {
		if v := s.h.conns[0].Value; v != "mount 7" {
			err = fmt.Errorf("hello arrived as %v", v)
		}
	})
}

func caseRefused(f *engine.Fiber, s *scene) error {
	if err := s.onServer(f, func(*engine.Fiber) { s.h.refusal = errors.New("no mounts on Sundays") }); err != nil {
		return err
	}
	_, err := s.dial(f, LinkConfig{})
	var remote *RemoteError
	if !errors.As(err, &remote) || remote.Code != CodeRefused || !strings.Contains(err.Error(), "no mounts on Sundays") {
		return fmt.Errorf("got %v", err)
	}
	return nil
}

func caseEcho(f *engine.Fiber, s *scene) error {
	l, err := s.dial(f, LinkConfig{})
	if err != nil {
		return err
	}
	for i := range 50 {
		if err := echo(f, l, []byte("echo"+strings.Repeat("x", i*37)), pattern(i*211)); err != nil {
			return err
		}
	}
	return nil
}

// Thousands of requests at once, far more than the credit.
func casePipelined(f *engine.Fiber, s *scene) error {
	l, err := s.dial(f, LinkConfig{})
	if err != nil {
		return err
	}
	err = together(f, 3000, func(f *engine.Fiber, i int) error {
		return echo(f, l, append([]byte("e"), pattern(i%300)...), pattern(i%50*13))
	})
	if err != nil {
		return err
	}
	if st := l.Stats(); st.Calls != 3000 || st.Requests != 0 || st.Bytes != 0 || st.CreditWaits == 0 {
		return fmt.Errorf("after all calls: %+v", st)
	}
	return nil
}

// Every size around every boundary, in both directions, several at once.
func casePayloads(f *engine.Fiber, s *scene) error {
	l, err := s.dial(f, LinkConfig{})
	if err != nil {
		return err
	}
	sizes := []int{1, 4095, 4096, copyMax - 1, copyMax, copyMax + 1, recvBufMin - HeaderLen - 1, recvBufMin, recvBufMin + 1, 100_000, PayloadMax - 1, PayloadMax}
	for _, n := range sizes {
		if err := echo(f, l, []byte("e"), pattern(n)); err != nil {
			return fmt.Errorf("payload of %d: %w", n, err)
		}
	}
	for _, n := range []int{recvBufMin - HeaderLen, recvBufMin, 60_000, BodyMax} { // large bodies too
		if err := echo(f, l, append([]byte("e"), pattern(n-1)...), pattern(n%5000)); err != nil {
			return fmt.Errorf("body of %d: %w", n, err)
		}
	}
	return together(f, 24, func(f *engine.Fiber, i int) error {
		return echo(f, l, []byte("e"), pattern(sizes[i%len(sizes)]))
	})
}

func caseLentPayload(f *engine.Fiber, s *scene) error {
	l, err := s.dial(f, LinkConfig{})
	if err != nil {
		return err
	}
	for _, kind := range []byte{'l', 'p'} {
		for _, n := range []int{1, copyMax, copyMax + 1, 300_000} {
			rep := Reply{Payload: make([]byte, PayloadMax)}
			if err := l.Call(f, &Header{}, op(kind, n), nil, &rep); err != nil {
				return err
			}
			if !bytes.Equal(rep.Payload, pattern(n)) {
				return fmt.Errorf("%c: payload of %d came as %d bytes, or changed", kind, n, len(rep.Payload))
			}
		}
	}
	return nil
}

func caseReplyTooLarge(f *engine.Fiber, s *scene) error {
	l, err := s.dial(f, LinkConfig{})
	if err != nil {
		return err
	}
	rep := Reply{Payload: make([]byte, 99)}
	if err := l.Call(f, &Header{}, op('p', 100), nil, &rep); !errors.Is(err, ErrReplyLarge) {
		return fmt.Errorf("got %v", err)
	}
	return echo(f, l, []byte("e: still there"), nil)
}

func caseOutOfOrder(f *engine.Fiber, s *scene) error {
	l, err := s.dial(f, LinkConfig{})
	if err != nil {
		return err
	}
	var order []int
	err = together(f, 6, func(f *engine.Fiber, i int) error {
		if err := echo(f, l, op('s', (6-i)*8_000_000), nil); err != nil {
			return err
		}
		order = append(order, i)
		return nil
	})
	if err != nil {
		return err
	}
	if order[0] != 5 || order[5] != 0 {
		return fmt.Errorf("answered in the order %v: a slow request held up a quick one", order)
	}
	return nil
}

func caseOneWay(f *engine.Fiber, s *scene) error {
	l, err := s.dial(f, LinkConfig{})
	if err != nil {
		return err
	}
	for range 500 {
		if err := l.Post(f.Turn(), &Header{}, []byte("one-way")); err != nil {
			return err
		}
	}
	if err := echo(f, l, []byte("e"), nil); err != nil {
		return err
	}
	return s.untilServer(f, "500 one-way requests", func() bool { return s.h.oneWays == 500 })
}

func caseNotices(f *engine.Fiber, s *scene) error {
	var got []string
	l, err := s.dial(f, LinkConfig{OnNotice: func(t *engine.Turn, l *Link, kind Kind, body []byte) {
		got = append(got, fmt.Sprintf("%v %s", kind, body))
		if err := l.Post(t, &Header{Kind: KindRecalled}, append([]byte("answer to "), body...)); err != nil {
			got = append(got, err.Error())
		}
	}})
	if err != nil {
		return err
	}
	for _, x := range []string{"first", "second"} {
		if err := echo(f, l, []byte("n"+x), nil); err != nil {
			return err
		}
	}
	if fmt.Sprint(got) != "[RECALL first RECALL second]" {
		return fmt.Errorf("client got %v", got)
	}
	err = s.untilServer(f, "the answers", func() bool { return len(s.h.notices) == 2 })
	if err == nil && fmt.Sprint(s.h.notices) != "[RECALLED answer to first RECALLED answer to second]" {
		err = fmt.Errorf("server got %v", s.h.notices)
	}
	return err
}

// openGate lets everything go on that waits at the gate.
func (s *scene) openGate(f *engine.Fiber) error {
	return s.onServer(f, func(g *engine.Fiber) { s.h.gate.WakeAll(g.Turn()) })
}

// openGateFor waits until n requests have arrived there.
func (s *scene) openGateFor(f *engine.Fiber, n int) error {
	if err := s.untilServer(f, "requests at the gate", func() bool { return s.h.waiting == n }); err != nil {
		return err
	}
	return s.openGate(f)
}

func caseDeadline(f *engine.Fiber, s *scene) error {
	l, err := s.dial(f, LinkConfig{})
	if err != nil {
		return err
	}
	big := pattern(400_000)
	h := Header{DeadlineMs: 30}
	rep := Reply{Payload: make([]byte, len(big))}
	if err := l.Call(f, &h, []byte("w"), big, &rep); !errors.Is(err, ErrDeadline) {
		return fmt.Errorf("got %v", err)
	}
	clear(big) // ours again: what is sent must not change any more
	if st := l.Stats(); st.Requests != 1 {
		return fmt.Errorf("the abandoned request gave its credit back before it was answered: %+v", st)
	}
	if err := echo(f, l, []byte("e: others go on"), nil); err != nil {
		return err
	}
	// Asking again with the same id does not send it again, but gets the reply.
	again := Reply{Payload: make([]byte, len(big))}
	err = together(f, 2, func(f *engine.Fiber, i int) error {
		if i == 1 {
			return s.openGateFor(f, 1)
		}
		return l.Call(f, &Header{ReqID: h.ReqID}, []byte("w"), nil, &again)
	})
	if err != nil || !bytes.Equal(again.Payload, pattern(400_000)) || string(again.Body) != "w" {
		return fmt.Errorf("asked again: %v, %d bytes", err, len(again.Payload))
	}
	// And a reply that nobody waits for any more is dropped.
	if err := l.Call(f, &Header{DeadlineMs: 20}, []byte("w"), pattern(50_000), &Reply{Payload: make([]byte, 50_000)}); !errors.Is(err, ErrDeadline) {
		return fmt.Errorf("got %v", err)
	}
	if err := s.openGateFor(f, 1); err != nil {
		return err
	}
	if err := until(f, "late replies", func() bool { return l.Stats().Late == 1 && l.Stats().Requests == 0 }); err != nil {
		return err
	}
	var served int
	if err := s.onServer(f, func(*engine.Fiber) { served = s.h.served }); err != nil || served != 3 {
		return fmt.Errorf("%d requests were served, want 3 (%v)", served, err)
	}
	return echo(f, l, []byte("and on"), pattern(5000))
}

func caseCancel(f *engine.Fiber, s *scene) error {
	l, err := s.dial(f, LinkConfig{})
	if err != nil {
		return err
	}
	err = together(f, 2, func(f *engine.Fiber, i int) error {
		if i == 1 {
			if err := s.untilServer(f, "the request", func() bool { return s.h.waiting == 1 }); err != nil {
				return err
			}
			if !l.Cancel(f.Turn(), 77) || l.Cancel(f.Turn(), 78) {
				return errors.New("cancel found the wrong calls")
			}
			return nil
		}
		if err := l.Call(f, &Header{ReqID: 77}, []byte("w"), nil, &Reply{}); !errors.Is(err, ErrCanceled) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.openGate(f); err != nil {
		return err
	}
	return until(f, "the late reply", func() bool { return l.Stats().Requests == 0 })
}

func caseLinkDown(f *engine.Fiber, s *scene) error {
	downs := 0
	l, err := s.dial(f, LinkConfig{OnDown: func(_ *engine.Turn, _ *Link, reason error) {
		if reason != nil {
			downs++
		}
	}})
	if err != nil {
		return err
	}
	err = together(f, 21, func(f *engine.Fiber, i int) error {
		if i == 20 {
			if err := s.untilServer(f, "the requests", func() bool { return s.h.waiting == 20 }); err != nil {
				return err
			}
			s.cut(f)
			return nil
		}
		if err := l.Call(f, &Header{}, []byte("w"), pattern(i*3000), &Reply{}); !errors.Is(err, ErrLinkDown) {
			return fmt.Errorf("outstanding call: %v", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := l.Call(f, &Header{}, []byte("e"), nil, &Reply{}); !errors.Is(err, ErrLinkDown) || downs != 1 || l.Up() || l.Err() == nil {
		return fmt.Errorf("afterwards: %v, down told %d times, reason %v", err, downs, l.Err())
	}
	if err := l.Post(f.Turn(), &Header{}, []byte("o")); !errors.Is(err, ErrLinkDown) {
		return fmt.Errorf("post: %v", err)
	}
	if err := s.untilServer(f, "detach", func() bool { return s.h.detached == 1 }); err != nil {
		return err
	}
	if err := s.openGate(f); err != nil { // the handlers of a lost connection end too
		return err
	}
	if l, err = s.dial(f, LinkConfig{}); err != nil {
		return err
	}
	return echo(f, l, []byte("a new link"), nil)
}

func caseClientCloses(f *engine.Fiber, s *scene) error {
	l, err := s.dial(f, LinkConfig{})
	if err != nil {
		return err
	}
	if err := l.Post(f.Turn(), &Header{}, []byte("one last")); err != nil {
		return err
	}
	l.Close(f.Turn())
	l.Close(f.Turn())
	if err := s.untilServer(f, "detach", func() bool { return s.h.detached == 1 && s.h.oneWays == 1 && len(s.port.conns) == 0 }); err != nil {
		return err
	}
	if err := l.Call(f, &Header{}, []byte("e"), nil, &Reply{}); !errors.Is(err, ErrLinkDown) {
		return fmt.Errorf("call after close: %v", err)
	}
	return nil
}

// A server that stops answers what it has received, says goodbye, and refuses the rest.
func caseDrain(f *engine.Fiber, s *scene) error {
	goodbye := false
	var l *Link
	l, err := s.dial(f, LinkConfig{OnNotice: func(_ *engine.Turn, _ *Link, kind Kind, _ []byte) { goodbye = goodbye || kind == KindGoodbye }})
	if err != nil {
		return err
	}
	err = together(f, 33, func(f *engine.Fiber, i int) error {
		switch i {
		case 30: // stops the server
			if err := s.untilServer(f, "the requests", func() bool { return s.h.waiting == 30 }); err != nil {
				return err
			}
			return s.drain(f)
		case 31: // lets the handlers finish once the server is stopping
			if err := until(f, "goodbye", func() bool { return goodbye }); err != nil {
				return err
			}
			if err := l.Call(f, &Header{DeadlineMs: 10}, []byte("e"), nil, &Reply{}); !errors.Is(err, ErrDeadline) {
				return fmt.Errorf("a call after goodbye, with a deadline before the end: %v", err)
			}
			return s.openGate(f)
		case 32: // asks too late, and learns it when the link is down
			if err := until(f, "goodbye", func() bool { return goodbye }); err != nil {
				return err
			}
			if err := l.Call(f, &Header{}, []byte("e"), nil, &Reply{}); !errors.Is(err, ErrLinkDown) || l.Err() == nil {
				return fmt.Errorf("a call after goodbye: %v, link %v", err, l.Err())
			}
			return nil
		}
		return echo(f, l, []byte("w"), pattern(i*2000))
	})
	if err != nil {
		return err
	}
	if err := until(f, "the end", func() bool { return l.Err() != nil }); err != nil {
		return err
	}
	if !errors.Is(l.Err(), ErrStopped) {
		return fmt.Errorf("reason: %v", l.Err())
	}
	return nil
}

func caseFewCredits(f *engine.Fiber, s *scene) error {
	l, err := s.dial(f, LinkConfig{})
	if err != nil {
		return err
	}
	err = together(f, 60, func(f *engine.Fiber, i int) error {
		return echo(f, l, []byte("e"), pattern(i%7*20_000))
	})
	if err != nil {
		return err
	}
	if err := echo(f, l, []byte("more than the whole credit"), pattern(PayloadMax)); err != nil {
		return err
	}
	var peak int
	err = s.onServer(f, func(*engine.Fiber) { peak = s.port.stats.OutstandingBytesPeak })
	if err == nil && peak > HeaderLen+BodyMax+2*PayloadMax {
		err = fmt.Errorf("%d bytes outstanding at once", peak)
	}
	return err
}

// Many connections together ask for more than the shard has: they wait, none fails.
func caseSmallShard(f *engine.Fiber, s *scene) error {
	links := make([]*Link, 4)
	for i := range links {
		var err error
		if links[i], err = s.dial(f, LinkConfig{}); err != nil {
			return err
		}
	}
	err := together(f, 40, func(f *engine.Fiber, i int) error {
		return echo(f, links[i%4], []byte("e"), pattern(300_000))
	})
	if err != nil {
		return err
	}
	var st Stats
	if err := s.onServer(f, func(g *engine.Fiber) { st = s.port.Stats(g.Turn()) }); err != nil {
		return err
	}
	if st.OutstandingBytesPeak > 3<<20 || st.Starved == 0 {
		return fmt.Errorf("%+v", st)
	}
	return nil
}

// Silence is no death as long as pings are answered.
func caseIdle(f *engine.Fiber, s *scene) error {
	l, err := s.dial(f, LinkConfig{})
	if err != nil {
		return err
	}
	f.Sleep(1_000_000_000)
	var pings uint64
	if err := s.onServer(f, func(*engine.Fiber) { pings = s.port.stats.Pings }); err != nil {
		return err
	}
	pings += l.Stats().Pings // whoever is first spares the other
	if !l.Up() || pings == 0 {
		return fmt.Errorf("up %v after five times the idle time, %d pings", l.Up(), pings)
	}
	return echo(f, l, []byte("e"), nil)
}

func caseTwoLinks(f *engine.Fiber, s *scene) error {
	a, err := s.dial(f, LinkConfig{Hello: []byte("a")})
	if err != nil {
		return err
	}
	b, err := s.dial(f, LinkConfig{Hello: []byte("b")})
	if err != nil {
		return err
	}
	if err := together(f, 200, func(f *engine.Fiber, i int) error {
		return echo(f, []*Link{a, b}[i%2], []byte("e"), pattern(i*10))
	}); err != nil {
		return err
	}
	a.Close(f.Turn())
	return echo(f, b, []byte("e"), nil)
}
