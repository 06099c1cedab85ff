package meta

import (
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/meta/record"
	"basalt/storage"
)

// house is a shard in a world, over the fake store or a real one, with one local mount that keeps time for its requests.
type house struct {
	t     testing.TB
	w     *sim.World
	r     *engine.Reactor
	fake  *fakeStore
	s     *Shard
	sess  *Session
	clock int64
}

const (
	testStripe = 16384
	testLease  = 5e9
)

func testOptions() Options { return Options{LeaseNs: testLease, PinsMax: 3, OpensMax: 100} }

func newWorld(t testing.TB, seed uint64) (*sim.World, *engine.Reactor) {
	w := sim.NewWorld(seed)
	r := w.Reactor(engine.Config{Name: "meta", ArenaBytes: 16 << 20, FibersMax: 256, InboxMax: 256, OpsMax: 256})
	if err := w.Boot(r, func(f *engine.Fiber) error { return nil }); err != nil {
		t.Fatal(err)
	}
	return w, r
}

// newHouse formats and starts a namespace over the fake store.
func newHouse(t testing.TB, seed uint64) *house {
	h := &house{t: t, fake: newFakeStore(seed), clock: 1000}
	h.w, h.r = newWorld(t, seed)
	h.do(func(f *engine.Fiber) {
		if err := newShard(h.fake, testOptions()).format(f, testFormat()); err != nil {
			t.Fatal(err)
		}
	})
	h.start()
	return h
}

func testFormat() FormatOptions {
	return FormatOptions{ID: [16]byte{1}, Seed: 42, Groups: 8, StripeSize: testStripe, WallNs: 1}
}

// start makes a shard on the fake store and attaches the local mount.
func (h *house) start() {
	h.s = newShard(h.fake, testOptions())
	h.do(func(f *engine.Fiber) {
		if err := h.s.Start(f); err != nil {
			h.t.Fatal(err)
		}
		var err error
		if h.sess, _, err = h.s.Local(f, [16]byte{9}, true, nil); err != nil {
			h.t.Fatal(err)
		}
	})
}

// restart is a crash (what was not committed is lost), or with commit a clean stop.
func (h *house) restart(commit bool) {
	h.do(func(f *engine.Fiber) {
		if commit {
			if err := h.fake.Commit(f, h.fake.applied); err != nil {
				h.t.Fatal(err)
			}
		}
		h.s.Stop(f)
	})
	h.fake = h.fake.crash()
	h.start()
}

// do runs fn in a fiber of the shard's reactor.
func (h *house) do(fn func(f *engine.Fiber)) {
	h.t.Helper()
	if err := h.w.Do(h.r, func(f *engine.Fiber) error { fn(f); return nil }); err != nil {
		h.t.Fatal(err)
	}
}

// ask serves one request of the local mount. The request's time is the house's clock, which ticks with each.
func (h *house) ask(q record.Request, data []byte) record.Reply {
	h.t.Helper()
	p, _ := h.askRead(q, data, 0)
	return p
}

func (h *house) askRead(q record.Request, data []byte, room int) (p record.Reply, got []byte) {
	h.t.Helper()
	h.clock++
	if q.NowNs == 0 {
		q.NowNs = h.clock
	}
	dst := make([]byte, room)
	h.do(func(f *engine.Fiber) { h.s.Do(f, h.sess, &q, data, &p, dst) })
	if q.Op == record.OpRead && p.Status == record.OK {
		got = dst[:p.Count]
	}
	return p, got
}

// must is ask for a request that has to succeed.
func (h *house) must(q record.Request, data []byte) record.Reply {
	h.t.Helper()
	p := h.ask(q, data)
	if p.Status != record.OK {
		h.t.Fatalf("%v %q: %v", q.Op, q.Name, p.Status)
	}
	return p
}

// want is ask for a request with a known outcome.
func (h *house) want(st record.Status, q record.Request, data []byte) record.Reply {
	h.t.Helper()
	p := h.ask(q, data)
	if p.Status != st {
		h.t.Fatalf("%v %q %q: %v, want %v", q.Op, q.Name, q.NewName, p.Status, st)
	}
	return p
}

func name(s string) []byte { return []byte(s) }

func (h *house) mkdir(dir record.Ino, s string) record.Ino {
	h.t.Helper()
	return h.must(record.Request{Op: record.OpMkdir, Dir: dir, Name: name(s), Mode: 0o755}, nil).Attr.Ino
}

// file makes a closed file with the bytes.
func (h *house) file(dir record.Ino, s string, data []byte) record.Ino {
	h.t.Helper()
	ino := h.must(record.Request{Op: record.OpCreate, Dir: dir, Name: name(s), Mode: 0o644, Flags: record.FlagNoOpen}, nil).Attr.Ino
	h.write(ino, 0, data)
	return ino
}

// write splits at stripes, as a client does.
func (h *house) write(ino record.Ino, off uint64, data []byte) {
	h.t.Helper()
	for len(data) > 0 {
		n := min(len(data), int(testStripe-off%testStripe))
		h.must(record.Request{Op: record.OpWrite, Ino: ino, Off: off}, data[:n])
		off, data = off+uint64(n), data[n:]
	}
}

func (h *house) read(ino record.Ino, off uint64, n int) []byte {
	h.t.Helper()
	p, got := h.askRead(record.Request{Op: record.OpRead, Ino: ino, Off: off, Count: uint32(n)}, nil, n)
	if p.Status != record.OK {
		h.t.Fatalf("read %v: %v", ino, p.Status)
	}
	return got
}

func (h *house) stat(ino record.Ino) record.Attr {
	h.t.Helper()
	return h.must(record.Request{Op: record.OpGetAttr, Ino: ino}, nil).Attr
}

// check runs the consistency checker and looks for objects that nobody owns, which only the fake can enumerate.
func (h *house) check() *Report {
	h.t.Helper()
	var rep *Report
	h.do(func(f *engine.Fiber) {
		var err error
		if rep, err = check(f, h.fake); err != nil {
			h.t.Fatal(err)
		}
	})
	for _, p := range rep.Problems {
		h.t.Errorf("check: %v", p)
	}
	h.fake.now.Ascend(func(it fakeItem) bool {
		if !it.obj {
			return true
		}
		ino, stripe, err := record.DecodeObjectName([]byte(it.key))
		if err != nil {
			h.t.Errorf("object %x: %v", it.key, err)
			return true
		}
		var v record.Inode
		in, ok := h.fake.now.Get(fakeItem{coll: storage.Coll(ino.Group()), key: string(record.AppendInoKey(nil, record.KindInode, ino))})
		if !ok || v.Decode(in.val) != nil || stripe >= v.Stripes {
			h.t.Errorf("object %d of inode %v belongs to nobody", stripe, ino)
		}
		return true
	})
	if h.t.Failed() {
		h.t.FailNow()
	}
	return rep
}

// settle waits until the reaper has nothing to do.
func (h *house) settle() {
	h.t.Helper()
	h.do(func(f *engine.Fiber) {
		for h.s.reaping {
			f.Sleep(1e6)
		}
	})
}

// list reads a whole directory in pages of the given size.
func (h *house) list(dir record.Ino, count uint32, plus bool) (names []string, entries []record.Entry) {
	h.t.Helper()
	open := h.must(record.Request{Op: record.OpOpenDir, Ino: dir}, nil)
	q := record.Request{Op: record.OpReadDir, Ino: dir, Handle: open.Handle, Count: count}
	if plus {
		q.Flags = record.FlagPlus
	}
	for {
		p := h.must(q, nil)
		for rest := p.Value; len(rest) > 0; {
			var e record.Entry
			var err error
			if rest, err = record.NextEntry(rest, &e); err != nil {
				h.t.Fatal(err)
			}
			e.Name = append([]byte(nil), e.Name...)
			names, entries = append(names, string(e.Name)), append(entries, e)
			q.Cookie, q.Name = e.Cookie, e.Name
		}
		if p.Flags&record.ReplyEOF != 0 {
			break
		}
	}
	h.must(record.Request{Op: record.OpReleaseDir, Ino: dir, Handle: open.Handle}, nil)
	return names, entries
}

// sleep lets virtual time pass.
func (h *house) sleep(ns int64) {
	h.t.Helper()
	h.do(func(f *engine.Fiber) { f.Sleep(ns) })
}

// poke changes an inode behind the server's back.
func (h *house) poke(ino record.Ino, fn func(i *record.Inode)) {
	h.t.Helper()
	h.do(func(f *engine.Fiber) {
		o := h.s.own(func(o *operation) error {
			i, err := o.inode(ino)
			if err != nil {
				return err
			}
			fn(&i.Inode)
			i.dirty = true
			return nil
		})
		if _, err := o.update(f); err != nil {
			h.t.Fatal(err)
		}
		h.s.give(o)
	})
}
