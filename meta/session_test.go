package meta

import (
	"fmt"
	"testing"

	"basalt/engine"
	"basalt/meta/record"
	"basalt/netio"
)

// change is a request that changes something; changes makes what they need and lists one of each kind.
type change struct {
	q    record.Request
	data []byte
}

const changesCount = 13

func changes(c *wire) []change {
	d := c.ask(record.OK, record.Request{Op: record.OpMkdir, Dir: root, Name: name("d")}, nil).Attr.Ino
	f := c.ask(record.OK, create(d, "f", 0), nil).Attr.Ino
	c.ask(record.OK, record.Request{Op: record.OpWrite, Ino: f}, []byte("0123"))
	c.ask(record.OK, create(d, "victim", record.FlagNoOpen), nil)
	c.ask(record.OK, record.Request{Op: record.OpMkdir, Dir: d, Name: name("empty")}, nil)
	c.ask(record.OK, record.Request{Op: record.OpSetXattr, Ino: f, Name: name("user.x"), Value: name("v")}, nil)
	return []change{
		{create(d, "new", record.FlagExcl), nil},
		{record.Request{Op: record.OpMkdir, Dir: d, Name: name("dir")}, nil},
		{record.Request{Op: record.OpSymlink, Dir: d, Name: name("sym"), Value: name("t")}, nil},
		{record.Request{Op: record.OpMknod, Dir: d, Name: name("fifo"), Mode: record.ModeFifo}, nil},
		{record.Request{Op: record.OpLink, Ino: f, Dir: d, Name: name("hard")}, nil},
		{unlink(d, "victim"), nil},
		{rmdir(d, "empty"), nil},
		{rename(d, "f", root, "g", record.FlagNoReplace), nil},
		{record.Request{Op: record.OpWrite, Ino: f, Flags: record.FlagAppend}, []byte("45")},
		{truncate(f, 3), nil},
		{fallocate(f, 0, 100, 0), nil},
		{record.Request{Op: record.OpSetXattr, Ino: f, Name: name("user.y"), Flags: record.FlagCreate}, nil},
		{record.Request{Op: record.OpRemoveXattr, Ino: f, Name: name("user.x")}, nil},
	}
}

// A request whose answer was lost is asked again, with the same number, and gets the first answer: in the same life of the server, in the next
// one if it was committed, and done anew if it was not.
func TestRepeatedRequestGetsTheFirstAnswer(t *testing.T) {
	for i := range changesCount {
		for _, when := range []string{"same life", "next life, committed", "next life, lost"} {
			h := newWireHouse(t, 40)
			c := h.wire(1, 1)
			m := changes(c)[i]
			h.commitAll()
			c.kept = nil
			reqid, first := c.send(m.q, m.data)
			if first.Status != record.OK {
				t.Fatalf("%v: %v", m.q.Op, first.Status)
			}
			tree := h.tree()
			m.q.NowNs = h.clock
			switch when {
			case "same life":
				c.drop()
				c.attach(false)
			default:
				if when == "next life, committed" {
					h.commitAll()
				}
				h.die()
				answered := false
				c.kept = nil
				c.recover()
				c.done(&answered)
				if !answered {
					t.Fatal("REPLAYDONE is not answered")
				}
			}
			second := c.again(reqid, m.q, m.data)
			made := first.Flags&record.ReplyCreated != 0
			if made && when == "next life, lost" { // another number: nobody had seen the first one
				second.Attr.Ino = first.Attr.Ino
			} else if tree != h.tree() {
				t.Errorf("%v, %s: %s", m.q.Op, when, differAt(tree, h.tree()))
			}
			if fmt.Sprint(first) != fmt.Sprint(second) {
				t.Errorf("%v, %s:\nfirst  %+v\nsecond %+v", m.q.Op, when, first, second)
			}
			if m.q.Op == record.OpCreate && when != "next life, lost" && h.s.opens.total(first.Attr.Ino) != 1 {
				t.Errorf("create, %s: %d opens", when, h.s.opens.total(first.Attr.Ino))
			}
			h.check()
		}
	}
}

func TestRepeatedOpensAndReleasesCountOnce(t *testing.T) {
	h := newWireHouse(t, 41)
	c := h.wire(1, 1)
	f := c.ask(record.OK, create(root, "f", record.FlagNoOpen), nil).Attr.Ino
	open, release := record.Request{Op: record.OpOpen, Ino: f}, record.Request{Op: record.OpRelease, Ino: f}
	for i, q := range []record.Request{open, open, release, release} {
		id, _ := c.send(q, nil)
		c.drop()
		c.attach(false)
		c.again(id, q, nil)
		if got, want := h.s.opens.total(f), []uint64{1, 2, 1, 0}[i]; got != want {
			t.Errorf("step %d: %d opens, want %d", i, got, want)
		}
	}
}

// Two sessions whose requests depend on each other lose the server with everything since the last commit; it comes back as it was.
func TestReplay(t *testing.T) {
	h := newWireHouse(t, 42)
	a, b := h.wire(1, 1), h.wire(1, 2)
	d := a.ask(record.OK, record.Request{Op: record.OpMkdir, Dir: root, Name: name("d")}, nil).Attr.Ino
	h.commitAll()
	f := b.ask(record.OK, create(d, "f", 0), nil).Attr.Ino
	a.ask(record.OK, record.Request{Op: record.OpWrite, Ino: f}, []byte("from a"))
	b.ask(record.OK, record.Request{Op: record.OpWrite, Ino: f, Flags: record.FlagAppend}, []byte(", from b"))
	sub := a.ask(record.OK, record.Request{Op: record.OpMkdir, Dir: d, Name: name("sub")}, nil).Attr.Ino
	b.ask(record.OK, rename(d, "f", sub, "g", 0), nil)
	a.ask(record.OK, record.Request{Op: record.OpWrite, Ino: f, Off: 3 * testStripe}, pattern(5000, 1))
	want := h.tree()
	h.die()
	if h.tree() == want {
		t.Fatal("nothing was lost")
	}
	a.recover(f)
	var doneA, doneB bool
	a.done(&doneA)
	if doneA || !h.s.Recovering() {
		t.Fatal("the window closed before all were back")
	}
	b.recover(f)
	b.done(&doneB)
	if !doneA || !doneB || h.s.Recovering() {
		t.Fatal("the window is still open")
	}
	if got := h.tree(); got != want {
		t.Error(differAt(want, got))
	}
	if h.s.opens.total(f) != 2 || h.s.stats.Replayed != 6 || h.s.stats.ReplayFail != 0 {
		t.Errorf("%d opens, %+v", h.s.opens.total(f), h.s.stats)
	}
	// All of it is committed now.
	h.fake = h.fake.crash()
	h.check()
	h.s.store = h.fake
	if got := h.tree(); got != want {
		t.Error(differAt(want, got))
	}
}

// The server dies again in the middle of the recovery, when some of what was replayed had been committed under new numbers.
func TestReplayAcrossTwoRestarts(t *testing.T) {
	for committed := range 8 {
		h := newWireHouse(t, 43)
		a := h.wire(1, 1)
		h.commitAll()
		f := a.ask(record.OK, create(root, "f", 0), nil).Attr.Ino
		for i := range 6 {
			a.ask(record.OK, record.Request{Op: record.OpWrite, Ino: f, Flags: record.FlagAppend}, []byte{byte('a' + i)})
		}
		want := h.tree()
		h.die()
		a.recover(f)
		// As the window does it, but only so far.
		h.do(func(fb *engine.Fiber) {
			for i, r := range sortedByTxn(h.s.table.list) {
				if i == committed {
					break
				}
				if err := h.s.replayOne(fb, r); err != nil {
					t.Fatal(err)
				}
			}
		})
		h.commitAll()
		h.die()
		kept := len(a.kept)
		a.recover(f)
		if a.hello.Committed >= a.kept[0].txn {
			t.Fatalf("the server says %d is committed, the client keeps %d…", a.hello.Committed, a.kept[0].txn)
		}
		ok := false
		a.done(&ok)
		if got := h.tree(); !ok || got != want {
			t.Errorf("%d of %d committed: %v %s", committed, kept, ok, differAt(want, got))
		}
		if int(h.s.stats.ReplaySkip) != min(committed, kept) {
			t.Errorf("%d skipped, want %d", h.s.stats.ReplaySkip, committed)
		}
		h.check()
	}
}

func TestOpenUnlinkedFileSurvivesRestartIfSaidAgain(t *testing.T) {
	for _, again := range []bool{true, false} {
		h := newWireHouse(t, 44)
		a := h.wire(1, 1)
		f := a.ask(record.OK, create(root, "f", 0), nil).Attr.Ino
		a.ask(record.OK, record.Request{Op: record.OpWrite, Ino: f}, pattern(9000, 1))
		a.ask(record.OK, unlink(root, "f"), nil)
		h.commitAll()
		h.die()
		a.kept = nil
		if again {
			a.recover(f)
			// The connection is lost before all is said, and it is said anew: it counts once.
			a.drop()
			a.recover(f)
		} else {
			a.recover()
		}
		ok := false
		a.done(&ok)
		h.settle()
		st := record.NotFound
		if again {
			st = record.OK
		}
		a.ask(st, record.Request{Op: record.OpGetAttr, Ino: f}, nil)
		h.check()
		if again {
			a.ask(record.OK, record.Request{Op: record.OpRelease, Ino: f}, nil)
			h.settle()
			a.ask(record.NotFound, record.Request{Op: record.OpGetAttr, Ino: f}, nil)
			h.check()
		}
	}
}

func TestWindowClosesWithoutTheAbsent(t *testing.T) {
	h := newWireHouse(t, 45)
	a, b := h.wire(1, 1), h.wire(2, 1)
	h.commitAll()
	a.ask(record.OK, create(root, "from a", record.FlagNoOpen), nil)
	lost := b.ask(record.OK, create(root, "from b", record.FlagNoOpen), nil).Attr.Ino
	h.die()
	a.recover()
	ok := false
	a.done(&ok)
	h.sleep(testLease / 2)
	if ok {
		t.Fatal("half a lease is no lease")
	}
	h.sleep(testLease)
	if !ok || h.s.Recovering() {
		t.Fatal("the window is still open")
	}
	a.ask(record.OK, lookup(root, "from a"), nil)
	a.ask(record.NotFound, lookup(root, "from b"), nil)
	if w := b.attach(false); w.Flags&record.WelcomeNew == 0 || w.Flags&record.WelcomeReplay != 0 {
		t.Errorf("welcome %+v", w)
	}
	if p, _ := b.frame(netio.KindReplay, 1, 1, nil, nil); p.Status != record.Stale {
		t.Errorf("a replay that comes too late: %v", p.Status)
	}
	if next := b.ask(record.OK, create(root, "again", record.FlagNoOpen), nil).Attr.Ino; next == lost {
		t.Errorf("%v is used again", next)
	}
	h.check()
}

// Who comes back after the window has closed learns what of its life had survived, not how far the server has got since: the numbers go on from
// there, and would make it take for committed what is lost.
func TestTheAbsentLearnWhatSurvived(t *testing.T) {
	h := newWireHouse(t, 56)
	a, b := h.wire(1, 1), h.wire(2, 1)
	h.commitAll()
	survived := uint64(h.s.store.Committed())
	b.ask(record.OK, create(root, "from b", record.FlagNoOpen), nil)
	lost := b.kept[0].txn
	h.die()
	a.recover()
	ok := false
	a.done(&ok)
	h.sleep(3 * testLease / 2)
	for i := range 50 {
		a.ask(record.OK, create(root, fmt.Sprint(i), record.FlagNoOpen), nil)
	}
	h.commitAll()
	w := b.attach(false)
	if w.Flags&record.WelcomeNew == 0 || w.Committed < survived || w.Committed >= lost {
		t.Errorf("welcome %+v: committed should be %d, below the lost transaction %d", w, survived, lost)
	}
}

func TestRequestsWaitForTheWindow(t *testing.T) {
	h := newWireHouse(t, 46)
	a := h.wire(1, 1)
	h.commitAll()
	h.die()
	a.recover()
	var p record.Reply
	served := false
	err := h.w.Go(h.r, func(f *engine.Fiber) {
		q := create(root, "f", 0)
		p, _ = a.frameIn(f, netio.KindRequest, a.next, 0, q.Append(nil), nil)
		served = true
	})
	if err != nil {
		t.Fatal(err)
	}
	h.sleep(testLease / 4)
	if served {
		t.Fatal("served while the window was open")
	}
	ok := false
	a.done(&ok)
	h.sleep(1e6)
	if !served || p.Status != record.OK || !ok {
		t.Errorf("served %v, %v", served, p.Status)
	}
}

func TestReplayBounds(t *testing.T) {
	h := newWireHouse(t, 47)
	a := h.wire(1, 1)
	h.commitAll()
	h.die()
	a.recover()
	q := record.Request{Op: record.OpWrite, Ino: root}
	n := 0
	for ; n < 1000; n++ {
		if p, _ := a.frame(netio.KindReplay, uint64(n+1), 5, q.Append(nil), make([]byte, 1<<20)); p.Status != record.OK {
			if p.Status != record.TooBig {
				t.Errorf("%v", p.Status)
			}
			break
		}
	}
	if n != 15 {
		t.Errorf("%d MiB buffered", n)
	}
	for _, body := range [][]byte{nil, {1}, make([]byte, 8), {200, 0, 0, 0, 0, 0, 0, 0}} {
		if p, _ := a.frame(netio.KindReplay, 9999, 5, body, nil); p.Status != record.Invalid {
			t.Errorf("replay of %x: %v", body, p.Status)
		}
		if p, _ := a.frame(netio.KindRequest, 9999, 5, body, nil); p.Status != record.Invalid {
			t.Errorf("request %x: %v", body, p.Status)
		}
	}
}

func TestAbsentMountExpires(t *testing.T) {
	h := newWireHouse(t, 48)
	a := h.wire(1, 1)
	f := a.ask(record.OK, create(root, "f", 0), nil).Attr.Ino
	a.ask(record.OK, unlink(root, "f"), nil)
	a.drop()
	h.sleep(testLease / 2)
	if w := a.attach(false); w.Flags&record.WelcomeNew != 0 {
		t.Errorf("welcome %+v", w)
	}
	a.ask(record.OK, record.Request{Op: record.OpGetAttr, Ino: f}, nil)
	a.drop()
	h.sleep(2 * testLease)
	h.settle()
	if rep := h.check(); rep.Sessions != 0 || rep.Orphans != 0 || rep.Inodes != 1 {
		t.Errorf("%+v", rep)
	}
	if w := a.attach(false); w.Flags&record.WelcomeNew == 0 {
		t.Errorf("welcome %+v", w)
	}
	a.ask(record.NotFound, record.Request{Op: record.OpGetAttr, Ino: f}, nil)
}

// A WELCOME may be lost: a session is new until it has been heard of.
func TestNewsAreRepeated(t *testing.T) {
	h := newWireHouse(t, 52)
	a := &wire{h: h, mount: [16]byte{1}, id: 1, next: 1}
	for range 3 {
		if w := a.attach(false); w.Flags&record.WelcomeNew == 0 {
			t.Errorf("welcome %+v", w)
		}
		a.drop()
	}
	a.attach(false)
	a.ask(record.NotFound, lookup(root, "f"), nil)
	a.drop()
	if w := a.attach(false); w.Flags&record.WelcomeNew != 0 {
		t.Errorf("welcome %+v", w)
	}
}

func TestSessionsOfOneMountExpireTogether(t *testing.T) {
	h := newWireHouse(t, 49)
	a, b := h.wire(1, 1), h.wire(1, 2)
	f := a.ask(record.OK, create(root, "f", 0), nil).Attr.Ino
	a.drop()
	h.sleep(5 * testLease)
	if w := a.attach(false); w.Flags&record.WelcomeNew != 0 {
		t.Errorf("welcome %+v", w)
	}
	if h.s.opens.total(f) != 1 {
		t.Errorf("%d opens", h.s.opens.total(f))
	}
	a.drop()
	b.drop()
	h.sleep(5 * testLease)
	if h.s.opens.total(f) != 0 || len(h.s.table.list) != 0 || len(h.s.table.mounts) != 0 {
		t.Errorf("%d opens, %d sessions, %d mounts", h.s.opens.total(f), len(h.s.table.list), len(h.s.table.mounts))
	}
}

func TestLeave(t *testing.T) {
	h := newWireHouse(t, 50)
	a := h.wire(1, 1)
	a.ask(record.OK, create(root, "f", 0), nil)
	a.ask(record.OK, unlink(root, "f"), nil)
	d := a.ask(record.OK, record.Request{Op: record.OpOpenDir, Ino: root}, nil)
	if d.Handle == 0 {
		t.Error("no handle")
	}
	a.ask(record.OK, record.Request{Op: record.OpLeave}, nil)
	h.settle()
	if rep := h.check(); rep.Sessions != 0 || rep.Orphans != 0 {
		t.Errorf("%+v", rep)
	}
	a.ask(record.Stale, lookup(root, "f"), nil)
	h.commitAll()
	h.die()
	if h.s.Recovering() {
		t.Error("the server waits for a session that has left")
	}
	if len(h.s.handles) != 0 {
		t.Errorf("%d handles", len(h.s.handles))
	}
}

func TestGreetings(t *testing.T) {
	h := newWireHouse(t, 51)
	bad := func(hello []byte) {
		t.Helper()
		h.do(func(f *engine.Fiber) {
			if _, err := h.s.Attach(f, &netio.Conn{}, hello); err == nil {
				t.Errorf("%x is welcome", hello)
			}
		})
	}
	ok := record.Hello{Version: record.Version, Session: 1}
	bad(nil)
	bad(ok.Append(nil)[:20])
	other := ok
	other.Version = 77
	bad(other.Append(nil))
	for i := range uint64(h.s.opt.SessionsMax) {
		h.s.table.add(i, [16]byte{byte(i), byte(i >> 8)}, nil)
	}
	bad(ok.Append(nil))
}

// A request that its client has long had the answer to, or has given up, may still be on its way when its slot is used again. It must not be done
// a second time.
func TestStragglerChangesNothing(t *testing.T) {
	h := newWireHouse(t, 53)
	c := h.wire(1, 1)
	ask := func(reqid uint64, q record.Request) record.Status {
		p, _ := c.frame(netio.KindRequest, reqid, 0, q.Append(nil), nil)
		return p.Status
	}
	first := c.next
	for i, step := range []struct {
		reqid uint64
		q     record.Request
		want  record.Status
	}{
		{first, create(root, "x", record.FlagNoOpen), record.OK},
		{first + 1, unlink(root, "x"), record.OK},
		{first + record.IdemSlots, create(root, "y", record.FlagNoOpen), record.OK},
		{first, create(root, "x", record.FlagNoOpen), record.Stale},
		{first + record.IdemSlots, create(root, "y", record.FlagNoOpen), record.OK},
		{first + 2, lookup(root, "x"), record.NotFound},
	} {
		if st := ask(step.reqid, step.q); st != step.want {
			t.Errorf("step %d: %v, want %v", i, st, step.want)
		}
	}
	h.check()
}

// What a client says in the window is bounded by what it costs the server, however small and however often repeated it is.
func TestSmallSayingsAreBounded(t *testing.T) {
	h := newWireHouse(t, 54)
	a := h.wire(1, 1)
	f := a.ask(record.OK, create(root, "f", 0), nil).Attr.Ino
	h.commitAll()
	h.die()
	a.kept = nil
	a.recover()
	body := (&record.Request{Op: record.OpOpen, Ino: f, Flags: record.FlagReassert, Count: 1}).Append(nil)
	for i := range 2 * h.s.opt.OpensMax {
		want := record.OK
		if i >= h.s.opt.OpensMax {
			want = record.TooManyOpen
		}
		if p, _ := a.frame(netio.KindRequest, 10000+uint64(i), 0, body, nil); p.Status != want {
			t.Fatalf("reassertion %d: %v", i, p.Status)
		}
	}
	h.s.opt.ReplayBytes = 1000
	body = (&record.Request{Op: record.OpUnlink, Dir: root, Name: name("f")}).Append(nil)
	n := 0
	for ; n < 1000; n++ {
		if p, _ := a.frame(netio.KindReplay, 20000+uint64(n), uint64(n+1), body, nil); p.Status != record.OK {
			break
		}
	}
	if most := 1000 / (len(body) + record.ReplayHead); n != most {
		t.Errorf("%d requests buffered, want %d", n, most)
	}
}

// However many opens mounts claim to have, the sum does not come round to none.
func TestOpensDoNotOverflow(t *testing.T) {
	table := newOpenTable()
	a, b := &mount{number: 1}, &mount{number: 2}
	const ino = record.Ino(7)
	for range 3 {
		table.add(a, ino, 1<<30)
	}
	table.add(b, ino, 1<<30)
	table.mark(ino, true)
	if got := table.total(ino); got != 1<<32 {
		t.Errorf("%d opens", got)
	}
	table.drop(a, func(record.Ino) { t.Error("gone with the first mount") })
	gone := false
	table.drop(b, func(record.Ino) { gone = true })
	if !gone || table.total(ino) != 0 || a.opens+b.opens != 0 {
		t.Errorf("gone %v, %d opens", gone, table.total(ino))
	}
}
