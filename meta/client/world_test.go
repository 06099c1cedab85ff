package client

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/meta"
	"basalt/meta/record"
	"basalt/netio"
	"basalt/storage"
)

// realm is the whole of Basalt in one simulated world: a node with its store on a simulated disk, and one mount whose two columns are connected to
// it over simulated connections. The node dies as a process or with its power, at any moment; the programs on the mount live on.
type realm struct {
	t       *testing.T
	seed    uint64
	w       *sim.World
	disk    *sim.Disk
	node    *engine.Reactor // nil: down
	store   *storage.Store
	port    *netio.Port
	mount   *Mount
	columns []*engine.Reactor
	views   []*FS
	events  []string
}

func smallStore() storage.Options {
	return storage.Options{CacheBytes: 512 << 10, DeltaBytesMax: 3 << 20, SlabChunkBytes: 128 << 10, TxnRecordMax: 64 << 10, TxnDataMax: 2 << 20,
		GroupRecordMax: 128 << 10, GroupDataMax: 4 << 20, GroupStartBytes: 256 << 10, GroupDelayNs: 5_000_000}
}

const (
	killsMax     = 12
	realmDisk    = 96 << 20
	realmJournal = 4 << 20
)

func newRealm(t *testing.T, seed uint64) *realm {
	m := &realm{t: t, seed: seed, w: sim.NewWorld(seed), mount: NewMount([16]byte{3})}
	m.disk = m.w.Disk("disk", realmDisk)
	m.boot(true)
	for i := range 2 {
		r := m.w.Reactor(engine.Config{Name: fmt.Sprint("column ", i), ArenaBytes: 48 << 20})
		if err := m.w.Boot(r, func(f *engine.Fiber) error {
			fs, _, err := m.mount.Connect(f, SessionConfig{Client: "test", ReplayMax: 4 << 20, Dial: m.dial(r),
				Report: func(e string, args ...any) {
					m.events = append(m.events, fmt.Sprint(i, " ", m.w.Now()/1e6, "ms ", e, args))
				}})
			m.views = append(m.views, fs)
			return err
		}); err != nil {
			m.fail("connecting: %v", err)
		}
		m.columns = append(m.columns, r)
	}
	return m
}

func (m *realm) fail(format string, args ...any) {
	m.t.Helper()
	tail := m.events[max(0, len(m.events)-20):]
	m.t.Fatalf("seed %d: %s\n%s", m.seed, fmt.Sprintf(format, args...), tail)
}

// boot starts a node on what is on the disk.
func (m *realm) boot(format bool) {
	r := m.w.Reactor(engine.Config{Name: "node", ArenaBytes: 64 << 20})
	err := m.w.Boot(r, func(f *engine.Fiber) error {
		h, err := m.disk.Device().Attach(f.Turn())
		if err != nil {
			return err
		}
		if format {
			if err := storage.Format(f, h, storage.FormatOptions{UUID: [16]byte{1}, JournalBytes: realmJournal}); err != nil {
				return err
			}
		}
		if m.store, _, err = storage.Mount(f, h, 0, smallStore()); err != nil {
			return err
		}
		if format {
			if err := meta.Format(f, m.store, meta.FormatOptions{ID: [16]byte{2}, Seed: 5, Groups: 4, WallNs: f.Turn().Wall()}); err != nil {
				return err
			}
		}
		shard := meta.NewShard(m.store, meta.Options{})
		if err := shard.Start(f); err != nil {
			return err
		}
		m.port, err = netio.NewPort(0, r, shard, netio.Limits{})
		return err
	})
	if err != nil {
		m.fail("starting the node: %v", err)
	}
	m.node = r
}

func (m *realm) dial(from *engine.Reactor) func(f *engine.Fiber, cfg netio.LinkConfig) (*netio.Link, error) {
	return func(f *engine.Fiber, cfg netio.LinkConfig) (*netio.Link, error) {
		if m.node == nil {
			return nil, errNoServer
		}
		near, far := m.w.Pipe(from, m.node)
		port := m.port
		if err := m.node.Post(engine.MessageFunc(func(t *engine.Turn) { port.Adopt(t, far, "client", nil) })); err != nil {
			return nil, err
		}
		return netio.Adopt(f, near, "node", cfg)
	}
}

// kill ends the node: its process, or with its power, which takes what the disk had not flushed.
func (m *realm) kill(power bool) {
	if power {
		m.w.PowerOff(m.node)
		m.disk = m.w.Adopt(m.disk.AfterPowerLoss())
	} else {
		m.w.Crash(m.node)
	}
	m.node = nil
}

// worker is a program: it has a directory, and a model of what must be in it.
type worker struct {
	m     *realm
	fs    *FS
	rng   *rand.Rand
	dir   record.Ino
	names []string // sorted
	files map[string]*model
	open  []*model // without a name, but open
	made  int
	done  bool
}

type model struct {
	ino   record.Ino
	data  []byte
	xattr []byte
	dir   bool
	links int
	opens int
}

func (w *worker) must(what string, s record.Status) {
	if s != record.OK {
		w.m.fail("%s: %v", what, s)
	}
}

func (w *worker) pick() (string, *model) {
	if len(w.names) == 0 {
		return "", nil
	}
	n := w.names[w.rng.IntN(len(w.names))]
	return n, w.files[n]
}

func (w *worker) add(name string, f *model) {
	f.links++
	w.files[name] = f
	at, _ := slices.BinarySearch(w.names, name)
	w.names = slices.Insert(w.names, at, name)
}

func (w *worker) drop(name string) {
	w.files[name].links--
	delete(w.files, name)
	at, _ := slices.BinarySearch(w.names, name)
	w.names = slices.Delete(w.names, at, at+1)
}

func (w *worker) fresh() string { w.made++; return fmt.Sprintf("n%d", w.made) }

func (w *worker) run(f *engine.Fiber, steps int) {
	var found Found
	name := fmt.Sprintf("w%p", w)[:1] + fmt.Sprint(w.rng.Uint64())
	w.must("mkdir of a worker", w.fs.Mkdir(f, record.RootIno, name, &Birth{Mode: 0o755}, &found))
	w.dir = found.Attr.Ino
	for range steps {
		w.step(f)
	}
	w.done = true
}

func (w *worker) step(f *engine.Fiber) {
	name, old := w.pick()
	var found Found
	switch k := w.rng.IntN(100); {
	case old == nil || k < 15:
		n := w.fresh()
		_, s := w.fs.Create(f, w.dir, n, &Birth{Mode: 0o644, Flags: record.FlagExcl}, &found)
		w.must("create", s)
		w.add(n, &model{ino: found.Attr.Ino, opens: 1})
	case k < 20:
		n := w.fresh()
		w.must("mkdir", w.fs.Mkdir(f, w.dir, n, &Birth{Mode: 0o755}, &found))
		w.add(n, &model{ino: found.Attr.Ino, dir: true})
	case k < 50 && !old.dir:
		w.write(f, old)
	case k < 56 && !old.dir:
		size := w.rng.IntN(len(old.data) + 5000)
		w.must("truncate", w.fs.SetAttr(f, old.ino, &Change{Valid: record.SetSize, Size: uint64(size)}, &found))
		if size <= len(old.data) {
			old.data = old.data[:size]
		} else {
			old.data = append(old.data, make([]byte, size-len(old.data))...)
		}
	case k < 64:
		w.remove(f, name, old)
	case k < 70 && !old.dir:
		n := w.fresh()
		w.must("link", w.fs.Link(f, old.ino, w.dir, n, &found))
		w.add(n, old)
	case k < 80:
		w.rename(f, name, old)
	case k < 84:
		old.xattr = []byte(fmt.Sprint("value ", w.rng.Uint64()))
		w.must("setxattr", w.fs.SetXattr(f, old.ino, "user.x", old.xattr, 0))
	case k < 90:
		w.must("fsync", w.fs.Fsync(f, old.ino))
	case k < 95 && old.opens > 0:
		old.opens--
		w.must("release", w.fs.Release(f, old.ino))
	default:
		w.check(f, name, old)
	}
}

func (w *worker) write(f *engine.Fiber, m *model) {
	off, n := w.rng.IntN(len(m.data)+1), 1+w.rng.IntN(20_000)
	if w.rng.IntN(20) == 0 { // across a stripe
		off, n = record.StripeSize-w.rng.IntN(9000), 4096+w.rng.IntN(9000)
	}
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(w.rng.Uint32())
	}
	got, s := w.fs.Write(f, m.ino, uint64(off), p, 0)
	w.must("write", s)
	if got != n {
		w.m.fail("write of %d did %d", n, got)
	}
	if need := off + n; need > len(m.data) {
		m.data = append(m.data, make([]byte, need-len(m.data))...)
	}
	copy(m.data[off:], p)
}

func (w *worker) remove(f *engine.Fiber, name string, m *model) {
	if m.dir {
		w.must("rmdir", w.fs.Rmdir(f, w.dir, name))
	} else {
		w.must("unlink", w.fs.Unlink(f, w.dir, name))
	}
	w.drop(name)
	if m.links == 0 && m.opens > 0 {
		w.open = append(w.open, m)
	}
}

func (w *worker) rename(f *engine.Fiber, name string, m *model) {
	to := w.fresh()
	if over, victim := w.pick(); w.rng.IntN(3) == 0 && victim.dir == m.dir && victim != m {
		w.must("rename over", w.fs.Rename(f, w.dir, name, w.dir, over, 0))
		w.drop(over)
		if victim.links == 0 && victim.opens > 0 {
			w.open = append(w.open, victim)
		}
		to = over
	} else {
		w.must("rename", w.fs.Rename(f, w.dir, name, w.dir, to, record.FlagNoReplace))
	}
	m.links++ // of the new name, before the old one goes
	w.drop(name)
	m.links--
	w.add(to, m)
}

// check compares one name with the model.
func (w *worker) check(f *engine.Fiber, name string, m *model) {
	var found Found
	w.must("lookup of "+name, w.fs.Lookup(f, w.dir, name, &found))
	a := &found.Attr
	if a.Ino != m.ino || a.IsDir() != m.dir || !m.dir && (a.Size != uint64(len(m.data)) || int(a.Nlink) != m.links) {
		w.m.fail("%s is %+v, want inode %v, %d bytes, %d links", name, a, m.ino, len(m.data), m.links)
	}
	w.content(f, name, m)
	v, s := w.fs.GetXattr(f, m.ino, "user.x")
	if m.xattr == nil && s != record.NoData || m.xattr != nil && (s != record.OK || !bytes.Equal(v, m.xattr)) {
		w.m.fail("%s: attribute %q, %v, want %q", name, v, s, m.xattr)
	}
}

func (w *worker) content(f *engine.Fiber, name string, m *model) {
	if m.dir {
		return
	}
	got := make([]byte, len(m.data)+10)
	n, s := w.fs.Read(f, m.ino, 0, got)
	w.must("read of "+name, s)
	if !bytes.Equal(got[:n], m.data) {
		at := 0
		for at < min(n, len(m.data)) && got[at] == m.data[at] {
			at++
		}
		w.m.fail("%s has %d bytes, want %d; they differ at %d", name, n, len(m.data), at)
	}
}

// all compares everything, listing included.
func (w *worker) all(f *engine.Fiber) {
	for _, n := range w.names {
		w.check(f, n, w.files[n])
	}
	for i, m := range w.open {
		w.content(f, fmt.Sprint("unlinked file ", i), m)
	}
	h, s := w.fs.OpenDir(f, w.dir)
	w.must("opendir", s)
	var listed []string
	for cookie, more := uint64(0), true; more; {
		more = false
		w.must("readdir", w.fs.ReadDir(f, h, cookie, true, func(e *record.Entry, _ int64) bool {
			if e.Cookie > record.CookieDotDot {
				listed = append(listed, string(e.Name))
			}
			cookie, more = e.Cookie, true
			return true
		}))
	}
	slices.Sort(listed)
	if !slices.Equal(listed, w.names) {
		w.m.fail("listed %v, want %v", listed, w.names)
	}
	w.must("releasedir", w.fs.ReleaseDir(f, h))
}

// life runs the programs while the node dies again and again, then compares everything.
func (m *realm) life(workers, steps int) (kills int) {
	rng := m.w.Rand()
	var list []*worker
	for i := range workers {
		w := &worker{m: m, fs: m.views[i%2], rng: rand.New(rand.NewPCG(m.seed, uint64(i))), files: map[string]*model{}}
		list = append(list, w)
		if err := m.w.Go(m.columns[i%2], func(f *engine.Fiber) { w.run(f, steps) }); err != nil {
			m.fail("%v", err)
		}
	}
	finished := func() bool { return !slices.ContainsFunc(list, func(w *worker) bool { return !w.done }) }
	for !finished() {
		wake := false
		m.w.After(rng.Int64N(120_000_000), func() { wake = true })
		if err := m.w.Run(func() bool { return wake || finished() }); err != nil {
			m.fail("%v", err)
		}
		if finished() {
			break
		}
		switch {
		case m.node == nil:
			m.boot(false)
		case kills < killsMax: // then it is left alone, so that every life ends
			m.kill(rng.IntN(2) == 0)
			kills++
		}
	}
	if m.node == nil {
		m.boot(false)
	}
	for i, w := range list {
		if err := m.w.Do(m.columns[i%2], func(f *engine.Fiber) error { w.all(f); return nil }); err != nil {
			m.fail("%v", err)
		}
	}
	return kills
}

// What a program on a mount has done stays done, whatever happens to the node: each operation once, with or without fsync.
func TestRealm(t *testing.T) {
	kills := 0
	for seed := range uint64(12) {
		m := newRealm(t, 1000+seed)
		kills += m.life(4, 120)
		m.w.Close()
	}
	if kills < 24 {
		t.Errorf("the node was killed only %d times", kills)
	}
	t.Logf("%d kills", kills)
}
