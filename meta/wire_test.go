package meta

import (
	"bytes"
	"testing"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/meta/record"
	"basalt/netio"
)

// wire is one session of a remote mount, as the handler sees it: frames in, frames out, without the bytes between.
type wire struct {
	h     *house
	mount [16]byte
	id    uint64
	conn  *netio.Conn
	next  uint64
	kept  []keptDeed // answered and not known to be committed
	hello record.Welcome
}

type keptDeed struct {
	reqid, txn uint64
	body, data []byte
}

// newWireHouse has no local mount: that would be a second one beside the remote ones.
func newWireHouse(t testing.TB, seed uint64) *house {
	h := &house{t: t, fake: newFakeStore(seed), clock: 1000}
	h.w, h.r = newWorld(t, seed)
	h.do(func(f *engine.Fiber) {
		if err := newShard(h.fake, testOptions()).format(f, testFormat()); err != nil {
			t.Fatal(err)
		}
	})
	h.startAlone()
	return h
}

func (h *house) startAlone() {
	h.s = newShard(h.fake, testOptions())
	h.do(func(f *engine.Fiber) {
		if err := h.s.Start(f); err != nil {
			h.t.Fatal(err)
		}
	})
}

// die loses everything that is not committed, and starts anew.
func (h *house) die() {
	h.do(func(f *engine.Fiber) { h.s.Stop(f) })
	h.fake = h.fake.crash()
	h.startAlone()
}

func (h *house) wire(mount byte, id uint64) *wire {
	c := &wire{h: h, mount: [16]byte{mount}, id: id, next: 1}
	c.attach(false)
	return c
}

// attach connects, or connects again.
func (c *wire) attach(cache bool) record.Welcome {
	c.h.t.Helper()
	if err := c.tryAttach(cache); err != nil {
		c.h.t.Fatal(err)
	}
	return c.hello
}

func (c *wire) tryAttach(cache bool) error {
	conn := &netio.Conn{}
	hello := record.Hello{Version: record.Version, WantCache: cache, Mount: c.mount, Session: c.id, Client: []byte("test")}
	var w []byte
	var err error
	c.h.do(func(f *engine.Fiber) { w, err = c.h.s.Attach(f, conn, hello.Append(nil)) })
	if err != nil {
		return err
	}
	c.conn = conn
	return c.hello.Decode(w)
}

func (c *wire) drop() {
	c.h.do(func(f *engine.Fiber) { c.h.s.Detach(f.Turn(), c.conn) })
}

// frame serves one frame and returns the answer.
func (c *wire) frame(kind netio.Kind, reqid, txn uint64, body, data []byte) (p record.Reply, rep netio.Reply) {
	c.h.t.Helper()
	c.h.do(func(f *engine.Fiber) { p, rep = c.frameIn(f, kind, reqid, txn, body, data) })
	return p, rep
}

func (c *wire) frameIn(f *engine.Fiber, kind netio.Kind, reqid, txn uint64, body, data []byte) (p record.Reply, rep netio.Reply) {
	q := netio.Request{Header: netio.Header{Kind: kind, ReqID: reqid, Txn: txn, Committed: 1 << 20}, Body: body, Payload: data}
	c.h.s.Serve(f, c.conn, &q, &rep)
	if rep.PayloadBuf != (arena.Buf{}) {
		rep.Payload = bytes.Clone(rep.Payload)
		f.Reactor().Arena().Put(rep.PayloadBuf)
	}
	if err := p.Decode(rep.Body); err != nil {
		c.h.t.Fatal(err)
	}
	return p, rep
}

// send makes a request and returns its id; ask keeps it for a replay as a client does.
func (c *wire) send(q record.Request, data []byte) (reqid uint64, p record.Reply) {
	c.h.t.Helper()
	if c.h.clock++; q.NowNs == 0 {
		q.NowNs = c.h.clock
	}
	reqid = c.next
	c.next++
	return reqid, c.again(reqid, q, data)
}

func (c *wire) again(reqid uint64, q record.Request, data []byte) record.Reply {
	c.h.t.Helper()
	p, rep := c.frame(netio.KindRequest, reqid, 0, q.Append(nil), data)
	c.keep(reqid, rep, q, data, p)
	return p
}

// keep notes what would have to be replayed.
func (c *wire) keep(reqid uint64, rep netio.Reply, q record.Request, data []byte, p record.Reply) {
	n := 0
	for _, k := range c.kept {
		if k.txn > rep.Committed {
			c.kept[n] = k
			n++
		}
	}
	c.kept = c.kept[:n]
	if rep.Txn <= rep.Committed || !q.Mutates() || p.Status != record.OK {
		return
	}
	if p.Flags&record.ReplyCreated != 0 {
		q.WantIno = p.Attr.Ino
	}
	c.kept = append(c.kept, keptDeed{reqid, rep.Txn, q.Append(nil), data})
}

func (c *wire) ask(st record.Status, q record.Request, data []byte) record.Reply {
	c.h.t.Helper()
	_, p := c.send(q, data)
	if p.Status != st {
		c.h.t.Fatalf("%v %q: %v, want %v", q.Op, q.Name, p.Status, st)
	}
	return p
}

// replay sends what is kept, the last first: the order is in the numbers.
func (c *wire) replay() {
	c.h.t.Helper()
	for i := len(c.kept) - 1; i >= 0; i-- {
		k := c.kept[i]
		if p, _ := c.frame(netio.KindReplay, k.reqid, k.txn, k.body, k.data); p.Status != record.OK {
			c.h.t.Fatalf("replay: %v", p.Status)
		}
	}
}

// done sends REPLAYDONE in a fiber of its own: it is answered when the window closes.
func (c *wire) done(answered *bool) {
	c.h.t.Helper()
	err := c.h.w.Go(c.h.r, func(f *engine.Fiber) {
		p, _ := c.frameIn(f, netio.KindReplayDone, 1<<40, 0, nil, nil)
		*answered = p.Status == record.OK
	})
	if err != nil {
		c.h.t.Fatal(err)
	}
	c.h.sleep(1e6)
}

// recover comes back after a restart with everything that is kept.
func (c *wire) recover(opens ...record.Ino) {
	c.h.t.Helper()
	if w := c.attach(false); w.Flags&record.WelcomeReplay == 0 || w.Flags&record.WelcomeNew != 0 {
		c.h.t.Fatalf("welcome %+v", w)
	}
	for _, ino := range opens {
		q := record.Request{Op: record.OpOpen, Ino: ino, Flags: record.FlagReassert, Count: 1}
		if p, _ := c.frame(netio.KindRequest, 1<<41, 0, q.Append(nil), nil); p.Status != record.OK {
			c.h.t.Fatalf("reassert: %v", p.Status)
		}
	}
	c.replay()
}

// commitAll makes everything durable.
func (h *house) commitAll() {
	h.do(func(f *engine.Fiber) {
		if err := h.fake.Commit(f, h.fake.applied); err != nil {
			h.t.Fatal(err)
		}
	})
}

// tree is the dump of the whole tree, taken beside the server.
func (h *house) tree() (d string) {
	h.t.Helper()
	s := newShard(h.fake, testOptions())
	h.do(func(f *engine.Fiber) {
		if err := s.loadFS(f); err != nil {
			h.t.Fatal(err)
		}
		var err error
		if d, err = (asker{f, s, s.table.add(1, [16]byte{1}, nil)}).dump(); err != nil {
			h.t.Fatal(err)
		}
	})
	return d
}
