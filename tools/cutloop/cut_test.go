package main

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/storage"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(play(role))
	}
	os.Exit(m.Run())
}

// The power goes five times, one of them while the store mounts: what was reported as committed is there, nothing is half applied, and
// the check has nothing to find. `cutloop --cuts N` is the long version.
func TestPowerCuts(t *testing.T) {
	sum, err := rounds(options{cuts: 5, opsMax: 800, seed: 7, dir: t.TempDir()})
	if err != nil {
		t.Fatalf("%v\nmore of it: go run ./tools/cutloop --cuts 50", err)
	}
	if err := sum.enough(); err != nil || sum.cuts != 5 {
		t.Fatalf("%v: %+v", err, sum)
	}
}

// powered is a new disk that is plugged in.
func powered(t *testing.T) *disk {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(diskFile(dir), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := plug(dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Everything above stands on this: a flush of the loop device is an fsync of the file below it, and nothing else is.
func TestLoopDeviceTurnsAFlushIntoAnFsync(t *testing.T) {
	d := powered(t)
	for range 3 {
		if err := d.probe(); err != nil {
			t.Error(err)
		}
	}
	if err := d.unplug(); err != nil {
		t.Error(err)
	}
}

// After the cut the disk answers EIO, to a read, a write and a flush.
func TestCutDiskAnswersEIO(t *testing.T) {
	d := powered(t)
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(d.loop.Path(), unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.tell(order{Cut: true, Ops: 2, Seed: 1}); err != nil {
		t.Error(err)
	}
	if _, err := unix.Pwrite(fd, page, 4096); err != nil {
		t.Errorf("the write before the cut: %v", err)
	}
	if _, err := unix.Pwrite(fd, page, 8192); err != unix.EIO {
		t.Errorf("the write that the power went in: %v", err)
	}
	if c, err := d.wait("cut", nil); err != nil || c.Held != 2 || c.CutIn != "write" {
		t.Errorf("the cut says %+v, %v", c, err)
	}
	if _, err := unix.Pread(fd, page, 0); err != unix.EIO {
		t.Errorf("a read after the cut: %v", err)
	}
	if err := unix.Fdatasync(fd); err != unix.EIO {
		t.Errorf("a flush after the cut: %v", err)
	}
	unix.Close(fd)
	if err := d.unplug(); err != nil {
		t.Error(err)
	}
}

// Whoever dies, no loop device and no mount is left behind.
func TestNothingIsLeftBehind(t *testing.T) {
	for _, killed := range []bool{false, true} {
		d := powered(t)
		loop := d.loop
		if killed {
			if err := d.server.kill(); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.unplug(); (err != nil) != killed {
			t.Errorf("the server was killed: %v; unplugging says %v", killed, err)
		}
		if loop.Attached() {
			t.Errorf("%s is still over %s", loop.Path(), loop.Fact("loop/backing_file"))
		}
		if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != unix.EINVAL {
			t.Errorf("%s was still mounted (%v)", d.dir, err)
		}
	}
}

// compareOn lets the script run in a simulated store up to transaction n and compares it with a campaign's model and progress.
func compareOn(t *testing.T, n uint64, c *campaign) (err error) {
	t.Helper()
	w := sim.NewWorld(1)
	defer w.Close()
	disk := w.Disk("disk", diskBytes)
	r := w.Reactor(engine.Config{Name: "store", ArenaBytes: arenaBytes, FibersMax: 64, InboxMax: 64, OpsMax: 128})
	bad := w.Boot(r, func(f *engine.Fiber) error {
		h, err := disk.Device().Attach(f.Turn())
		if err != nil {
			return err
		}
		return storage.Format(f, h, storage.FormatOptions{UUID: [16]byte{1}, JournalBytes: journalBytes})
	})
	if bad != nil {
		t.Fatal(bad)
	}
	bad = w.Do(r, func(f *engine.Fiber) error {
		h, err := disk.Device().Attach(f.Turn())
		if err != nil {
			return err
		}
		s, _, err := storage.Mount(f, h, 0, limits(1))
		if err != nil {
			return err
		}
		var last storage.Seq
		for range n {
			if last, err = s.Update(f, func(tx *storage.Tx) error { return perform(tx, c.o.seed, 1, uint64(tx.NextSeq())) }); err != nil {
				return err
			}
		}
		return s.Commit(f, last)
	})
	if bad != nil {
		t.Fatal(bad)
	}
	bad = w.Do(r, func(f *engine.Fiber) error {
		h, e := disk.Device().Attach(f.Turn())
		if e != nil {
			return e
		}
		opt := limits(1)
		opt.ReadOnly = true
		s, _, e := storage.Mount(f, h, 0, opt)
		if e == nil {
			err = c.compare(f, s)
		}
		return e
	})
	if bad != nil {
		t.Fatal(bad)
	}
	return err
}

// The comparison must see every kind of loss.
func TestCompareSeesEveryKindOfLoss(t *testing.T) {
	const n, seed = 60, 3
	for _, x := range []struct {
		name  string
		spoil func(c *campaign)
		want  string
	}{
		{"nothing", func(*campaign) {}, ""},
		{"a committed transaction", func(c *campaign) { c.p.Committed = n + 1 }, "LOST"},
		{"one that nobody began", func(c *campaign) { c.p.Begun = n - 1 }, "only 59 were begun"},
		{"one of another life", func(c *campaign) { c.life = 2 }, "has begun it anew"},
		{"a key", func(c *campaign) { c.m.advance(1, n); c.m.keys[1]["other"] = nil }, "keys and must have"},
		{"a key too many", func(c *campaign) { c.m.advance(1, n); delete(c.m.keys[1], numberKey) }, "and it must not"},
		{"a value", func(c *campaign) { c.m.advance(1, n); c.m.keys[1][numberKey] = nil }, "that differ"},
		{"a byte of an object", func(c *campaign) { c.m.advance(1, n); anyObject(c.m)[0] ^= 1 }, "that differ"},
		{"an object", func(c *campaign) { c.m.advance(1, n); c.m.objects[1]["o0"] = nil; c.m.objects[1]["o1"] = nil }, "object 1/o"},
	} {
		c := &campaign{o: options{seed: seed}, m: newModel(seed), life: 1, p: progress{Begun: n, Committed: n}}
		x.spoil(c)
		err := compareOn(t, n, c)
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", x.name, err, x.want)
		}
	}
}

func anyObject(m *model) []byte {
	for c := 1; c <= colls; c++ {
		for _, o := range m.objects[c] {
			if len(o) > 0 {
				return o
			}
		}
	}
	return []byte{0}
}
