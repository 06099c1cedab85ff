package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/meta/record"
	"basalt/netio"
)

// bench is a session against the stand-in.
type bench struct {
	t      testing.TB
	w      *sim.World
	s      *standIn
	r      *engine.Reactor
	mount  *Mount
	fs     *FS
	sess   *Session
	cache  *fakeCache
	faults sim.NetFaults
	events []string
}

type fakeCache struct {
	drops  int
	onDrop func(f *engine.Fiber)
}

func (c *fakeCache) Drop(f *engine.Fiber) error {
	c.drops++
	if c.onDrop != nil {
		c.onDrop(f)
	}
	return nil
}

var errNoServer = errors.New("no server")

func newBench(t testing.TB, seed uint64, cfg SessionConfig) *bench {
	t.Helper()
	b := &bench{t: t, w: sim.NewWorld(seed), mount: NewMount([16]byte{7}), cache: &fakeCache{}}
	t.Cleanup(b.w.Close)
	b.mount.SetCache(b.cache)
	b.s = newStandIn(t, b.w)
	b.r = b.w.Reactor(engine.Config{Name: "client", ArenaBytes: 32 << 20})
	cfg.Client = "test"
	cfg.Report = func(e string, args ...any) { b.events = append(b.events, fmt.Sprint(e, args)) }
	cfg.Dial = b.dial
	if err := b.w.Boot(b.r, func(f *engine.Fiber) (err error) {
		b.fs, b.sess, err = b.mount.Connect(f, cfg)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) dial(f *engine.Fiber, cfg netio.LinkConfig) (*netio.Link, error) {
	if b.s.r == nil {
		return nil, errNoServer
	}
	near, far := b.w.Pipe(b.r, b.s.r)
	b.w.Conn(near).SetFaults(b.faults)
	if err := b.s.r.Post(engine.MessageFunc(func(t *engine.Turn) { b.s.port.Adopt(t, far, "client", nil) })); err != nil {
		return nil, err
	}
	return netio.Adopt(f, near, "server", cfg)
}

func (b *bench) do(fn func(f *engine.Fiber)) {
	b.t.Helper()
	if err := b.w.Do(b.r, func(f *engine.Fiber) error { fn(f); return nil }); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) write(f *engine.Fiber, n uint64) {
	data := binary.LittleEndian.AppendUint64(nil, n)
	if got, s := b.fs.Write(f, theFile, 8*n, data, 0); s != record.OK || got != 8 {
		b.t.Errorf("write %d: %d, %v", n, got, s)
	}
}

// upTo is 0 … n-1.
func upTo(n int) []uint64 {
	var list []uint64
	for i := range n {
		list = append(list, uint64(i))
	}
	return list
}

func (b *bench) requireFile(want []uint64) {
	b.t.Helper()
	if !slices.Equal(b.s.live.file, want) {
		b.t.Fatalf("the file has %v, want %v\nevents: %v", b.s.live.file, want, b.events)
	}
}

// An answer that is lost with its connection does not make a change happen twice.
func TestLostAnswer(t *testing.T) {
	b := newBench(t, 1, SessionConfig{})
	b.do(func(f *engine.Fiber) {
		for i := range 10 {
			b.s.dropReplies = i % 2
			b.write(f, uint64(i))
		}
	})
	b.requireFile(upTo(10))
	if b.s.stale != 5 || b.sess.Stats().Losses != 5 {
		t.Errorf("%d requests came twice, want 5; %+v", b.s.stale, b.sess.Stats())
	}
}

// A server that dies loses what it had not committed; the session plays it again, in order, with the same numbers.
func TestReplay(t *testing.T) {
	b := newBench(t, 2, SessionConfig{})
	var dirs []record.Ino
	b.do(func(f *engine.Fiber) {
		if s := b.fs.Open(f, theFile, 0, nil); s != record.OK {
			t.Error(s)
		}
		for i := range 20 {
			b.write(f, uint64(i))
			var found Found
			if s := b.fs.Mkdir(f, 1, fmt.Sprint("d", i), &Birth{}, &found); s != record.OK {
				t.Error(s)
			}
			dirs = append(dirs, found.Attr.Ino)
			if i == 9 {
				if s := b.fs.Fsync(f, theFile); s != record.OK {
					t.Error(s)
				}
			}
		}
	})
	if n := b.sess.Stats().KeptRequests; n != 20 {
		t.Errorf("%d requests are kept, want the 20 since the fsync", n)
	}
	b.s.kill()
	b.s.start(t)
	if len(b.s.live.file) != 10 {
		t.Fatalf("the stand-in kept %d writes", len(b.s.live.file))
	}
	b.s.live.next = 1000 // other numbers would be given now
	b.do(func(f *engine.Fiber) { b.write(f, 20) })
	b.requireFile(upTo(21))
	for i, ino := range dirs {
		if got := b.s.live.names[fmt.Sprint("d", i)]; got != ino {
			t.Errorf("directory %d is inode %v, was %v", i, got, ino)
		}
	}
	if b.s.opens[theFile] != 1 {
		t.Errorf("the restarted server knows of %d opens", b.s.opens[theFile])
	}
	if st := b.sess.Stats(); st.Replays != 20 || st.Lost != 0 || st.KeptRequests != 1 {
		t.Errorf("%+v", st)
	}
}

// The server dies again and again, also while it is being told what it has lost; many fibers write all the time.
func TestKilledAgainAndAgain(t *testing.T) {
	for seed := range uint64(20) {
		b := newBench(t, 100+seed, SessionConfig{})
		b.faults = sim.NetFaults{Reset: 0.005}
		const fibers, each = 8, 40
		running := fibers
		for n := range fibers {
			if err := b.w.Go(b.r, func(f *engine.Fiber) {
				for i := range each {
					b.write(f, uint64(n*each+i))
					if i%16 == n {
						b.fs.Fsync(f, theFile)
					}
				}
				running--
			}); err != nil {
				t.Fatal(err)
			}
		}
		rng := b.w.Rand()
		for running > 0 {
			next := b.w.Now() + rng.Int64N(3_000_000)
			wake := false
			b.w.After(next-b.w.Now(), func() { wake = true })
			if err := b.w.Run(func() bool { return wake || running == 0 }); err != nil {
				t.Fatalf("seed %d: %v\n%v", seed, err, b.events)
			}
			if running > 0 && b.s.r != nil {
				b.s.stall = rng.IntN(4) == 0
				b.s.kill()
			}
			if b.s.r == nil && rng.IntN(2) == 0 {
				b.s.start(t)
			}
		}
		if b.s.r == nil {
			b.s.start(t)
		}
		b.do(func(f *engine.Fiber) {
			if s := b.fs.Fsync(f, theFile); s != record.OK {
				t.Errorf("seed %d: %v", seed, s)
			}
		})
		got := slices.Clone(b.s.durable.file)
		slices.Sort(got)
		if !slices.Equal(got, upTo(fibers*each)) {
			t.Fatalf("seed %d: %d numbers, want each of %d once: %v\n%v", seed, len(got), fibers*each, got, b.events)
		}
		for n := range fibers { // and each fiber's in its order
			at := -1
			for i := range each {
				k := slices.Index(b.s.durable.file, uint64(n*each+i))
				if k < at {
					t.Fatalf("seed %d: the writes of one fiber changed their order", seed)
				}
				at = k
			}
		}
		if b.sess.Stats().Lost != 0 {
			t.Fatalf("seed %d: %+v", seed, b.sess.Stats())
		}
		b.w.Close()
	}
}

// What is kept is bounded: at the bound the server is asked to commit.
func TestKeptIsBounded(t *testing.T) {
	b := newBench(t, 3, SessionConfig{ReplayMax: 20_000})
	peak := 0
	b.do(func(f *engine.Fiber) {
		for i := range 1000 {
			b.write(f, uint64(i))
			peak = max(peak, b.sess.kept.bytes+b.sess.kept.reserved)
		}
	})
	b.requireFile(upTo(1000))
	if peak > 20_000 || b.sess.Stats().Syncs == 0 {
		t.Errorf("peak %d bytes, %+v", peak, b.sess.Stats())
	}
}

// A session that stayed away too long has lost what it had not synced, and the next fsync says so, once.
func TestForgottenChanges(t *testing.T) {
	b := newBench(t, 4, SessionConfig{})
	b.do(func(f *engine.Fiber) { b.write(f, 0) })
	b.s.kill()
	b.s.known = false
	b.s.start(t)
	b.do(func(f *engine.Fiber) {
		data := make([]byte, 8)
		if _, s := b.fs.Write(f, theFile, 0, data, 0); s != record.IO { // it was under way, and nobody can say what became of it
			t.Errorf("a write across the loss: %v", s)
		}
		b.write(f, 1)
		if s := b.fs.Fsync(f, theFile); s != record.IO {
			t.Errorf("fsync after a loss: %v", s)
		}
		if s := b.fs.Fsync(f, theFile); s != record.OK {
			t.Errorf("the loss was reported; now: %v", s)
		}
	})
	b.requireFile([]uint64{1})
}

// A close that the server has not heard of when it dies is not counted twice: the file is still open elsewhere.
func TestReleaseAcrossRestart(t *testing.T) {
	b := newBench(t, 12, SessionConfig{})
	b.do(func(f *engine.Fiber) {
		for range 2 {
			if s := b.fs.Open(f, theFile, 0, nil); s != record.OK {
				t.Error(s)
			}
		}
		dir, s := b.fs.OpenDir(f, theFile)
		if s != record.OK {
			t.Error(s)
		}
		b.s.kill()
		f.Turn().After(1e9, &restart{b})
		if s := b.fs.Release(f, theFile); s != record.OK {
			t.Error(s)
		}
		if n := b.s.opens[theFile]; n != 2 {
			t.Errorf("the restarted server knows of %d opens, want that of the other descriptor and the directory's", n)
		}
		b.s.kill()
		f.Turn().After(1e9, &restart{b})
		if s := b.fs.ReleaseDir(f, dir); s != record.OK {
			t.Error(s)
		}
		if n := b.s.opens[theFile]; n != 1 {
			t.Errorf("the restarted server knows of %d opens, want 1", n)
		}
	})
}

// A close whose answer was lost with the session is said again: what the mount has open was said anew, and this was among it.
func TestReleaseAcrossExpiry(t *testing.T) {
	b := newBench(t, 13, SessionConfig{})
	b.do(func(f *engine.Fiber) {
		for range 2 {
			if s := b.fs.Open(f, theFile, 0, nil); s != record.OK {
				t.Error(s)
			}
		}
		b.s.dropReplies = 1
		b.s.forget = true
		if s := b.fs.Release(f, theFile); s != record.OK {
			t.Error(s)
		}
		if n := b.s.opens[theFile]; n != 1 {
			t.Errorf("the server knows of %d opens, want 1", n)
		}
	})
}

// restart brings the server back.
type restart struct{ b *bench }

func (r *restart) Fire(*engine.Turn) { r.b.s.start(r.b.t) }

// The window closes, and the answer to REPLAYDONE is lost: nothing else is, whatever the numbers of the new life say.
func TestLostAnswerToReplayDone(t *testing.T) {
	b := newBench(t, 14, SessionConfig{})
	b.s.txn = 1000 // others did much, and do not come back
	b.do(func(f *engine.Fiber) {
		for i := range 5 {
			b.write(f, uint64(i))
		}
	})
	b.s.kill()
	b.s.start(t)
	b.s.stall, b.s.closeUnsaid = true, true
	b.do(func(f *engine.Fiber) {
		b.write(f, 5)
		if s := b.fs.Fsync(f, theFile); s != record.OK {
			t.Errorf("fsync: %v", s)
		}
	})
	b.requireFile(upTo(6))
	if st := b.sess.Stats(); st.Lost != 0 || st.KeptRequests != 0 {
		t.Errorf("%+v\n%v", st, b.events)
	}
}

// While the server is away an interrupted caller comes back, the others wait.
func TestInterruptible(t *testing.T) {
	b := newBench(t, 5, SessionConfig{})
	b.s.kill()
	var victim *engine.Fiber
	const pending = record.Status(record.Statuses)
	first, second := pending, pending
	for i, p := range []*record.Status{&first, &second} {
		if err := b.w.Go(b.r, func(f *engine.Fiber) {
			if i == 0 {
				victim = f
			}
			var found Found
			*p = b.fs.Lookup(f, 1, "x", &found)
		}); err != nil {
			t.Fatal(err)
		}
	}
	b.do(func(f *engine.Fiber) {
		f.Sleep(1_000_000_000)
		if first != pending || second != pending {
			t.Errorf("%v, %v without a server", first, second)
		}
		victim.SetCanceled()
		f.Sleep(1_000_000_000)
	})
	if first != record.Interrupted || second != pending {
		t.Errorf("%v, %v: want the first interrupted and the second waiting", first, second)
	}
	b.s.start(t)
	b.do(func(f *engine.Fiber) { f.Sleep(3e9) })
	if second != record.NotFound {
		t.Errorf("after the server came back: %v", second)
	}
}

// A recall drops the caches before the server is told, and nothing may be cached afterwards.
func TestRecall(t *testing.T) {
	b := newBench(t, 6, SessionConfig{})
	if b.fs.Granted() {
		t.Fatal("granted without the server's word")
	}
	b.s.cache = true
	b.s.dropReplies = 1
	var found Found
	look := func(f *engine.Fiber) { b.fs.Lookup(f, 1, "x", &found) }
	b.do(look) // over a new connection
	b.do(look)
	if !b.fs.Granted() || found.KeepNs <= 0 || found.KeepNs > 30e9 {
		t.Fatalf("granted %v, keep %d", b.fs.Granted(), found.KeepNs)
	}
	drops := b.cache.drops
	if err := b.w.Do(b.s.r, func(f *engine.Fiber) error {
		r := record.Recall{Grant: 1}
		return b.s.conn.Notify(f.Turn(), netio.KindRecall, r.Append(nil))
	}); err != nil {
		t.Fatal(err)
	}
	if err := b.w.Run(func() bool { return b.s.recalled > 0 }); err != nil {
		t.Fatal(err)
	}
	if b.cache.drops != drops+1 || b.fs.Granted() {
		t.Errorf("%d drops, granted %v", b.cache.drops-drops, b.fs.Granted())
	}
	b.do(look)
	if found.KeepNs != 0 {
		t.Errorf("keep %d after the recall", found.KeepNs)
	}
}

// recall asks the mount for its grant and returns how often it has answered two seconds later.
func (b *bench) recall() int {
	b.t.Helper()
	if err := b.w.Do(b.s.r, func(f *engine.Fiber) error {
		r := record.Recall{Grant: 1}
		return b.s.conn.Notify(f.Turn(), netio.KindRecall, r.Append(nil))
	}); err != nil {
		b.t.Fatal(err)
	}
	b.do(func(f *engine.Fiber) { f.Sleep(2e9) })
	return b.s.recalled
}

// A mount that has much to send still answers a recall: else the server would give it up when the lease ends.
func TestRecallBehindMuchOutput(t *testing.T) {
	b := newBench(t, 10, SessionConfig{Limits: netio.Limits{OutBytes: 1}})
	b.cache.onDrop = func(f *engine.Fiber) {
		if err := f.Turn().Go("write", func(f *engine.Fiber) {
			if _, s := b.fs.Write(f, theFile, 0, make([]byte, record.StripeSize), 0); s != record.OK {
				t.Error(s)
			}
		}); err != nil {
			t.Error(err)
		}
		for range 20 { // its checksum is made in pieces; then it is in the outbox
			f.Yield()
		}
	}
	if n := b.recall(); n != 1 {
		t.Errorf("recalled %d times, want once: %v", n, b.events)
	}
	b.requireFile(upTo(1))
}

// So does one whose fibers are all busy when it is asked.
func TestRecallWithoutFiber(t *testing.T) {
	b := newBench(t, 11, SessionConfig{})
	var gate engine.WaitList
	b.do(func(f *engine.Fiber) {
		for f.Turn().Go("busy", gate.Wait) == nil {
		}
		f.Turn().After(1e9, &opener{&gate})
	})
	if n := b.recall(); n != 1 {
		t.Errorf("recalled %d times, want once: %v", n, b.events)
	}
}

// opener wakes whoever waits.
type opener struct{ gate *engine.WaitList }

func (o *opener) Fire(t *engine.Turn) { o.gate.WakeAll(t) }

// A server that has restarted waits a lease for those it knew before it welcomes others: the first connection has that patience.
func TestPatience(t *testing.T) {
	b := newBench(t, 8, SessionConfig{})
	b.s.attachNs = 65e9
	second := NewMount([16]byte{8})
	b.do(func(f *engine.Fiber) {
		fs, sess, err := second.Connect(f, SessionConfig{Dial: b.dial})
		if err != nil {
			t.Fatal(err)
		}
		var found Found
		if s := fs.Lookup(f, 1, "x", &found); s != record.NotFound {
			t.Error(s)
		}
		sess.Close(f)
	})
}

// Leaving tells the server, and whoever waits.
func TestClose(t *testing.T) {
	b := newBench(t, 7, SessionConfig{})
	b.do(func(f *engine.Fiber) {
		b.sess.Close(f)
		var found Found
		if s := b.fs.Lookup(f, 1, "x", &found); s != record.Disconnected {
			t.Errorf("after Close: %v", s)
		}
	})
	if !b.s.left {
		t.Error("the server was not told")
	}
}

// Ids are never further apart than what the server remembers, whatever the order of the answers.
func TestWindow(t *testing.T) {
	w := window{low: 1, next: 1}
	rng := sim.NewWorld(9).Rand()
	var out []uint64
	for range 100_000 {
		if rng.IntN(2) == 0 {
			if id, ok := w.take(); ok {
				out = append(out, id)
			}
		} else if len(out) > 0 {
			i := 0
			if rng.IntN(8) != 0 { // the oldest waits long
				i = rng.IntN(len(out))
			}
			w.done(out[i])
			out = slices.Delete(out, i, i+1)
		}
		if len(out) > 0 && slices.Max(out)-slices.Min(out) >= record.IdemSlots {
			t.Fatalf("ids from %d to %d are out", slices.Min(out), slices.Max(out))
		}
	}
}
