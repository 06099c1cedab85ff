package meta

import (
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/meta/record"
	"basalt/netio"
)

// remote is a mount at the other end of a simulated connection.
type remote struct {
	h       *house
	r       *engine.Reactor
	mount   byte
	session uint64
	link    *netio.Link
	conn    *sim.Conn
	recalls []uint64
	answer  bool // recalls are answered at once
	welcome record.Welcome
	up      bool
	err     error
}

func newPortHouse(t *testing.T) (*house, *netio.Port) {
	h := newWireHouse(t, 60)
	var port *netio.Port
	h.do(func(f *engine.Fiber) {
		var err error
		if port, err = netio.NewPort(0, h.r, h.s, netio.Limits{}); err != nil {
			t.Fatal(err)
		}
	})
	return h, port
}

func (h *house) remote(t *testing.T, port *netio.Port, mount byte) *remote {
	m := &remote{h: h, mount: mount, session: 1, answer: true}
	m.r = h.w.Reactor(engine.Config{Name: "client", ArenaBytes: 8 << 20})
	if err := h.w.Boot(m.r, func(f *engine.Fiber) error { return nil }); err != nil {
		t.Fatal(err)
	}
	m.dial(t, port)
	return m
}

// dial starts to connect; the world has to run until up or err.
func (m *remote) dial(t *testing.T, port *netio.Port) {
	near, far := m.h.w.Pipe(m.r, m.h.r)
	m.conn = m.h.w.Conn(near)
	m.up, m.err = false, nil
	if err := m.h.r.Post(engine.MessageFunc(func(t *engine.Turn) { port.Adopt(t, far, "client", nil) })); err != nil {
		t.Fatal(err)
	}
	hello := record.Hello{Version: record.Version, WantCache: true, Mount: [16]byte{m.mount}, Session: m.session}
	err := m.h.w.Go(m.r, func(f *engine.Fiber) {
		m.link, m.err = netio.Adopt(f, near, "server", netio.LinkConfig{Hello: hello.Append(nil), OnNotice: m.notice})
		if m.err == nil {
			m.err = m.welcome.Decode(m.link.Welcome())
		}
		m.up = m.err == nil
	})
	if err != nil {
		t.Fatal(err)
	}
	m.h.sleep(1e8)
}

func (m *remote) notice(t *engine.Turn, l *netio.Link, kind netio.Kind, body []byte) {
	var r record.Recall
	if kind != netio.KindRecall || r.Decode(body) != nil {
		m.h.t.Errorf("notice %v %x", kind, body)
	}
	m.recalls = append(m.recalls, r.Grant)
	if m.answer {
		m.say(t, l, r)
	}
}

func (m *remote) say(t *engine.Turn, l *netio.Link, r record.Recall) {
	if err := l.Post(t, &netio.Header{Kind: netio.KindRecalled}, r.Append(nil)); err != nil {
		m.h.t.Error(err)
	}
}

func (m *remote) cached() bool { return m.up && m.welcome.Flags&record.WelcomeCache != 0 }

func TestSecondMountEndsCaching(t *testing.T) {
	h, port := newPortHouse(t)
	a := h.remote(t, port, 1)
	if !a.cached() {
		t.Fatalf("the only mount may cache: %+v %v", a.welcome, a.err)
	}
	a.answer = false
	b := h.remote(t, port, 2)
	if len(a.recalls) != 1 || b.up {
		t.Fatalf("%d recalls, second mount up: %v", len(a.recalls), b.up)
	}
	h.sleep(testLease / 2)
	if b.up {
		t.Fatal("the second mount is in before the first has answered")
	}
	// An answer to another grant means nothing.
	wrong := record.Recall{Grant: a.recalls[0] + 1}
	for _, r := range []record.Recall{wrong, {Grant: a.recalls[0]}} {
		if b.up {
			t.Fatal("a wrong answer counts")
		}
		if err := h.w.Do(a.r, func(f *engine.Fiber) error { a.say(f.Turn(), a.link, r); return nil }); err != nil {
			t.Fatal(err)
		}
		h.sleep(1e8)
	}
	if !b.up || b.cached() {
		t.Fatalf("second mount: up %v, caching %v, %v", b.up, b.cached(), b.err)
	}
	c := h.remote(t, port, 3)
	if !c.up || c.cached() || len(a.recalls) != 1 || len(b.recalls) != 0 {
		t.Errorf("third mount: up %v, caching %v; %d and %d recalls", c.up, c.cached(), len(a.recalls), len(b.recalls))
	}
}

func TestColumnsOfOneMountCacheTogether(t *testing.T) {
	h, port := newPortHouse(t)
	a := h.remote(t, port, 1)
	b := &remote{h: h, r: a.r, mount: 1, session: 2, answer: true}
	b.dial(t, port)
	if !a.cached() || !b.cached() {
		t.Fatalf("%v %v", a.cached(), b.cached())
	}
	c := h.remote(t, port, 2)
	if !c.up || c.cached() || len(a.recalls) != 1 || len(b.recalls) != 1 {
		t.Errorf("second mount up %v, caching %v; recalls %v %v", c.up, c.cached(), a.recalls, b.recalls)
	}
}

func TestSilentMountLosesItsSession(t *testing.T) {
	h, port := newPortHouse(t)
	a := h.remote(t, port, 1)
	a.answer = false
	b := h.remote(t, port, 2)
	h.sleep(2 * testLease)
	if !b.cached() { // it is alone now
		t.Fatalf("up %v, caching %v, %v", b.up, b.cached(), b.err)
	}
	if a.link.Up() {
		t.Error("the silent one is still connected")
	}
	a.dial(t, port)
	if !a.up || a.welcome.Flags&record.WelcomeNew == 0 || a.cached() || len(b.recalls) != 1 {
		t.Errorf("it comes back as %+v %v, with recalls %v", a.welcome, a.err, b.recalls)
	}
}

func TestAbsentMountHoldsTheGrantForALease(t *testing.T) {
	h, port := newPortHouse(t)
	a := h.remote(t, port, 1)
	a.conn.Reset()
	h.sleep(1e8)
	b := h.remote(t, port, 2)
	h.sleep(testLease / 2)
	if b.up {
		t.Fatal("in, while the first may still use what it caches")
	}
	h.sleep(testLease)
	if !b.cached() {
		t.Fatalf("up %v, caching %v, %v", b.up, b.cached(), b.err)
	}
}

// A mount that loses its connection in the middle of a recall is asked again when it comes back.
func TestRecallFindsAMountThatComesBack(t *testing.T) {
	h, port := newPortHouse(t)
	a := h.remote(t, port, 1)
	a.answer = false
	b := h.remote(t, port, 2)
	a.conn.Reset()
	h.sleep(1e8)
	a.answer = true
	a.dial(t, port)
	h.sleep(1e8)
	if !a.up || len(a.recalls) != 2 || !b.up || b.cached() {
		t.Fatalf("first up %v, recalls %v; second up %v, caching %v", a.up, a.recalls, b.up, b.cached())
	}
}

func TestRecallOfALocalMount(t *testing.T) {
	h, port := newPortHouse(t)
	recalled := false
	h.do(func(f *engine.Fiber) {
		_, cache, err := h.s.Local(f, [16]byte{50}, true, func(f *engine.Fiber) {
			f.Sleep(testLease / 4)
			recalled = true
		})
		if err != nil || !cache {
			t.Errorf("%v %v", cache, err)
		}
	})
	a := h.remote(t, port, 1)
	if a.up || recalled {
		t.Fatal("in before the local mount has dropped its caches")
	}
	h.sleep(testLease / 2)
	if !a.up || !recalled || a.cached() {
		t.Errorf("up %v, recalled %v, caching %v", a.up, recalled, a.cached())
	}
}

func TestGrantComesBackToTheLastMount(t *testing.T) {
	h, port := newPortHouse(t)
	a := h.remote(t, port, 1)
	b := h.remote(t, port, 2)
	q := record.Request{Op: record.OpLeave}
	err := h.w.Do(a.r, func(f *engine.Fiber) error {
		return a.link.Call(f, &netio.Header{}, q.Append(nil), nil, &netio.Reply{})
	})
	if err != nil {
		t.Fatal(err)
	}
	b.conn.Reset()
	h.sleep(1e8)
	b.dial(t, port)
	if !b.cached() {
		t.Errorf("up %v, caching %v", b.up, b.cached())
	}
}
