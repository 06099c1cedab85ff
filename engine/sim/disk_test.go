package sim

import (
	"bytes"
	"syscall"
	"testing"

	"basalt/engine/invariant"
	"basalt/engine/uring"
)

// bare is a ring without a reactor: what the tests of this package drive by hand.
func (w *World) bare() *ring {
	return &ring{w: w, id: 99, caps: uring.Caps{Backend: "sim", SQEntries: sqEntries, CQEntries: cqEntries}}
}

// drain lets time pass until nothing is left to happen and returns the completions in order.
func (r *ring) drain() []uring.CQE {
	var all []uring.CQE
	var buf [8]uring.CQE
	for {
		_ = r.Enter(0, 0)
		for n := r.Reap(buf[:]); n > 0; n = r.Reap(buf[:]) {
			all = append(all, buf[:n]...)
			_ = r.Enter(0, 0)
		}
		at, ok := r.w.line.next()
		if !ok {
			return all
		}
		r.w.line.now = max(r.w.line.now, at)
		r.w.line.runDue()
	}
}

// one submits s and returns its result.
func (r *ring) one(t *testing.T, s uring.SQE) int32 {
	t.Helper()
	s.UserData = 7
	if err := r.Push(&s); err != nil {
		t.Fatal(err)
	}
	got := r.drain()
	if len(got) != 1 || got[0].UserData != 7 {
		t.Fatalf("completions %v, want one", got)
	}
	return got[0].Res
}

// aligned is test memory on a sector boundary.
func aligned(n int, fill byte) []byte {
	b := make([]byte, n+SectorBytes)
	skip := (SectorBytes - int(addressOf(b)%SectorBytes)) % SectorBytes
	b = b[skip : skip+n]
	for i := range b {
		b[i] = fill
	}
	return b
}

func write(d *Disk, p []byte, off int64) uring.SQE {
	return uring.PrepWrite(d.fd, addressOf(p), uint32(len(p)), uint64(off))
}

func read(d *Disk, p []byte, off int64) uring.SQE {
	return uring.PrepRead(d.fd, addressOf(p), uint32(len(p)), uint64(off))
}

func TestDiskKeepsOnlyWhatWasFlushed(t *testing.T) {
	var kept, lost, torn int
	for seed := range uint64(200) {
		w := NewWorld(seed)
		d, r := w.Disk("d", 1<<20), w.bare()
		a, b := aligned(8192, 'a'), aligned(8192, 'b')
		if res := r.one(t, write(d, a, 0)); res != 8192 {
			t.Fatal(res)
		}
		if res := r.one(t, uring.PrepFsync(d.fd, true)); res != 0 {
			t.Fatal(res)
		}
		if res := r.one(t, write(d, b, 8192)); res != 8192 {
			t.Fatal(res)
		}
		got := make([]byte, 16384)
		d.ReadAt(got, 0)
		if got[0] != 'a' || got[8192] != 'b' {
			t.Fatal("a completed write is not visible")
		}
		d.AfterPowerLoss().ReadAt(got, 0)
		if !bytes.Equal(got[:8192], a) {
			t.Fatalf("seed %d: a flushed write is gone", seed)
		}
		n := bytes.Count(got[8192:], []byte("b"))
		if n%SectorBytes != 0 {
			t.Fatalf("seed %d: %d bytes of a write survived, not whole sectors", seed, n)
		}
		switch n {
		case 0:
			lost++
		case 8192:
			kept++
		default:
			torn++
		}
	}
	if kept == 0 || lost == 0 || torn == 0 {
		t.Fatalf("%d kept, %d lost, %d torn: not every fate happens", kept, lost, torn)
	}
}

// A chosen loss does what it says, to what no flush has covered.
func TestChosenLoss(t *testing.T) {
	w := NewWorld(1)
	d, r := w.Disk("d", 1<<20), w.bare()
	for i, fill := range []byte("abcd") {
		if res := r.one(t, write(d, aligned(4096, fill), int64(i)*4096)); res != 4096 {
			t.Fatal(res)
		}
		if i == 0 {
			if res := r.one(t, uring.PrepFsync(d.fd, true)); res != 0 {
				t.Fatal(res)
			}
		}
	}
	for _, x := range []struct {
		loss Loss
		want string // what is left at the begin of each page
	}{
		{Loss{}, "a\x00\x00\x00"},
		{Loss{Keep: 1}, "abcd"},
		{Loss{Newest: 1}, "a\x00\x00d"},
		{Loss{Newest: 2}, "a\x00cd"},
		{Loss{Newest: 9}, "abcd"},
	} {
		got, p := "", make([]byte, 4096)
		for i := range 4 {
			d.AfterPowerLossOf(x.loss, 1).ReadAt(p, int64(i)*4096)
			if bytes.Count(p, p[:1]) != 4096 {
				t.Errorf("%+v: page %d is torn", x.loss, i)
			}
			got += string(p[:1])
		}
		if got != x.want {
			t.Errorf("%+v leaves %q, want %q", x.loss, got, x.want)
		}
	}
	torn := 0
	for seed := range uint64(20) {
		p := make([]byte, 4096)
		d.AfterPowerLossOf(Loss{Tear: 1}, seed).ReadAt(p, 4096)
		if n := bytes.Count(p, []byte{'b'}); n%SectorBytes != 0 {
			t.Fatalf("%d bytes of a torn write are not whole sectors", n)
		} else if n > 0 && n < 4096 {
			torn++
		}
	}
	if torn < 10 {
		t.Errorf("only %d of 20 writes were torn", torn)
	}
}

// A flush covers what had completed when it began, not what completes while it runs.
func TestFlushDoesNotCoverWhatIsInFlight(t *testing.T) {
	lost := 0
	for seed := range uint64(100) {
		w := NewWorld(seed)
		d, r := w.Disk("d", 1<<20), w.bare()
		p := aligned(4096, 'p')
		a, b := write(d, p, 0), uring.PrepFsync(d.fd, true)
		_, _ = r.Push(&a), r.Push(&b)
		r.drain()
		got := make([]byte, 4096)
		d.AfterPowerLoss().ReadAt(got, 0)
		if !bytes.Equal(got, p) {
			lost++
		}
	}
	if lost == 0 {
		t.Fatal("a write in flight when the flush began was never lost")
	}
}

// Of two writes to one place the older never comes back over the newer.
func TestOlderWriteNeverOverNewer(t *testing.T) {
	for seed := range uint64(300) {
		w := NewWorld(seed)
		d, r := w.Disk("d", 1<<20), w.bare()
		a, b := aligned(4096, 'a'), aligned(4096, 'b')
		r.one(t, write(d, a, 0))
		r.one(t, write(d, b, 0))
		if seed%2 == 0 {
			d.FaultAt(FaultFlushError, 1)
			if res := r.one(t, uring.PrepFsync(d.fd, true)); res != -int32(syscall.EIO) {
				t.Fatal(res)
			}
			r.one(t, write(d, b, 0))
		}
		r.one(t, uring.PrepFsync(d.fd, true))
		got := make([]byte, 4096)
		d.AfterPowerLoss().ReadAt(got, 0)
		if !bytes.Equal(got, b) {
			t.Fatalf("seed %d: flushed content is %q…, want b", seed, got[:1])
		}
	}
}

func TestFailedFlushIsNotMadeGoodByTheNext(t *testing.T) {
	lost := 0
	for seed := range uint64(60) {
		w := NewWorld(seed)
		d, r := w.Disk("d", 1<<20), w.bare()
		a := aligned(4096, 'a')
		r.one(t, write(d, a, 0))
		d.FaultAt(FaultFlushError, 1)
		r.one(t, uring.PrepFsync(d.fd, true))
		if res := r.one(t, uring.PrepFsync(d.fd, true)); res != 0 {
			t.Fatal(res)
		}
		got := make([]byte, 4096)
		d.ReadAt(got, 0)
		if !bytes.Equal(got, a) {
			t.Fatal("the content must stay readable: that is what makes a failed flush dangerous")
		}
		d.AfterPowerLoss().ReadAt(got, 0)
		if !bytes.Equal(got, a) {
			lost++
		}
	}
	if lost == 0 {
		t.Fatal("a flush after a failed one always saved the data")
	}
}

func TestEachFaultDoesWhatTheTableSays(t *testing.T) {
	base := aligned(8192, 'o')
	setup := func(f Fault) (*Disk, *ring) {
		w := NewWorld(42)
		d, r := w.Disk("d", 1<<20), w.bare()
		d.WriteAt(base, 0)
		d.FaultAt(f, 1)
		return d, r
	}
	p := aligned(8192, 'n')
	got := make([]byte, 8192)
	eio := -int32(syscall.EIO)
	for _, c := range []struct {
		fault  Fault
		write  bool
		res    int32
		passes func() bool // over got: the buffer of the read, or the disk after the write
	}{
		{FaultReadError, false, eio, func() bool { return true }},
		{FaultReadFlip, false, 8192, func() bool { return bytes.Count(got, []byte("o")) == 8191 }},
		{FaultReadMisdirect, false, 8192, func() bool { return !bytes.Equal(got, base) }},
		{FaultSlow, false, 8192, func() bool { return bytes.Equal(got, base) }},
		{FaultWriteFlip, true, 8192, func() bool { return bytes.Count(got, []byte("n")) == 8191 }},
		{FaultWriteMisdirect, true, 8192, func() bool { return bytes.HasPrefix(got, []byte("o")) }},
		{FaultWriteLost, true, 8192, func() bool { return bytes.Equal(got, base) }},
		{FaultWriteError, true, eio, func() bool {
			n := bytes.Count(got, []byte("n"))
			return n%SectorBytes == 0 && n > 0 && n < 8192
		}},
	} {
		d, r := setup(c.fault)
		began := d.w.line.now
		buf := aligned(8192, 0)
		s := read(d, buf, 0)
		if c.write {
			s = write(d, p, 0)
		}
		if res := r.one(t, s); res != c.res {
			t.Errorf("%v: result %d, want %d", c.fault, res, c.res)
		}
		copy(got, buf)
		if c.write {
			d.ReadAt(got, 0)
		}
		if !c.passes() || d.Hit(c.fault) != 1 {
			t.Errorf("%v: content %q…, %d hits", c.fault, got[:8], d.Hit(c.fault))
		}
		if slow := d.w.line.now-began > 40_000_000; slow != (c.fault == FaultSlow) {
			t.Errorf("%v: took %d ns", c.fault, d.w.line.now-began)
		}
		if res := r.one(t, read(d, buf, 0)); res != 8192 {
			t.Errorf("%v: the next read fails too: %d", c.fault, res)
		}
	}
}

func TestShortTransfers(t *testing.T) {
	w := NewWorld(5)
	d, r := w.Disk("d", 1<<20), w.bare()
	p := aligned(8192, 'n')
	d.SetFaults(Faults{Short: 1})
	res := r.one(t, write(d, p, 0))
	if res <= 0 || res >= 8192 || res%SectorBytes != 0 {
		t.Fatalf("short write: %d", res)
	}
	got := make([]byte, 8192)
	d.ReadAt(got, 0)
	if n := bytes.Count(got, []byte("n")); n != int(res) {
		t.Fatalf("%d bytes written, %d reported", n, res)
	}
	d.SetFaults(Faults{})
	d.Shorten(64 << 10)
	if res := r.one(t, read(d, p, 64<<10-4096)); res != 4096 {
		t.Fatalf("read over the end of a short device: %d", res)
	}
	if res := r.one(t, write(d, p, 128<<10)); res != -int32(syscall.ENOSPC) {
		t.Fatalf("write past the end of a short device: %d", res)
	}
	if res := r.one(t, write(d, p, 1<<20-4096)); res != -int32(syscall.ENOSPC) {
		t.Fatalf("write past the end: %d", res)
	}
	if res := r.one(t, read(d, p, 1<<20-4096)); res != 0 {
		t.Fatalf("read past the end of a short device: %d", res)
	}
}

func TestDamageHealsWhenRewritten(t *testing.T) {
	w := NewWorld(5)
	d, r := w.Disk("d", 1<<20), w.bare()
	p, n := aligned(4096, 0), aligned(4096, 'n')
	d.Damage(4096, 8192)
	if res := r.one(t, read(d, p, 8192)); res != -int32(syscall.EIO) {
		t.Fatal(res)
	}
	r.one(t, write(d, n, 8192))
	if res := r.one(t, read(d, p, 8192)); res != 4096 {
		t.Fatal(res)
	}
	if res := r.one(t, read(d, p, 4096)); res != -int32(syscall.EIO) {
		t.Fatalf("the part that was not rewritten: %d", res)
	}
	d.Flip(8192, 3)
	if r.one(t, read(d, p, 8192)); p[0] != 'n'^8 {
		t.Fatalf("rot: %q", p[:2])
	}
}

func TestDirectIOMustBeAligned(t *testing.T) {
	w := NewWorld(1)
	d, r := w.Disk("d", 1<<20), w.bare()
	p := aligned(8192, 'n')
	for _, s := range []uring.SQE{
		write(d, p[:100], 0), write(d, p[:512], 100), write(d, p[8:520], 0), read(d, p[:513], 0),
	} {
		if res := r.one(t, s); res != -int32(syscall.EINVAL) {
			t.Errorf("%+v: %d", s, res)
		}
	}
}

func TestPunchedRangeIsZero(t *testing.T) {
	w := NewWorld(1)
	d, r := w.Disk("d", 1<<20), w.bare()
	d.WriteAt(bytes.Repeat([]byte("x"), 32<<10), 0)
	if res := r.one(t, uring.PrepFallocate(d.fd, punchHole|keepSize, 4096, 8192)); res != 0 {
		t.Fatal(res)
	}
	got := make([]byte, 32<<10)
	d.ReadAt(got, 0)
	if bytes.Count(got, []byte{0}) != 8192 || got[4096] != 0 {
		t.Fatal("not zero")
	}
}

// A buffer that is changed while its write is in flight is a bug of ours: checked builds panic, others write the old or
// the new bytes.
func TestBufferChangedInFlight(t *testing.T) {
	var olds, news, panics int
	for seed := range uint64(40) {
		func() {
			defer func() {
				if recover() != nil {
					panics++
				}
			}()
			w := NewWorld(seed)
			d, r := w.Disk("d", 1<<20), w.bare()
			p := aligned(4096, 'o')
			s := write(d, p, 0)
			_ = r.Push(&s)
			_ = r.Enter(0, 0)
			p[17] = 'n'
			r.drain()
			got := make([]byte, 4096)
			d.ReadAt(got, 0)
			if got[17] == 'o' {
				olds++
			} else {
				news++
			}
		}()
	}
	if invariant.Enabled && panics != 40 || !invariant.Enabled && (olds == 0 || news == 0) {
		t.Fatalf("checked %v: %d panics, %d old, %d new", invariant.Enabled, panics, olds, news)
	}
}

func TestCutStopsTheDevice(t *testing.T) {
	w := NewWorld(3)
	d, r := w.Disk("d", 1<<20), w.bare()
	d.CutPowerAt(2)
	p := aligned(4096, 'p')
	if res := r.one(t, write(d, p, 0)); res != 4096 {
		t.Fatal(res)
	}
	s := write(d, p, 4096)
	_ = r.Push(&s)
	if got := r.drain(); len(got) != 0 || !w.cut {
		t.Fatalf("after the cut: completions %v", got)
	}
	if n := d.Volatile(); n != 2 {
		t.Fatalf("%d volatile writes, want one completed and one in flight", n)
	}
	if err := w.Run(func() bool { return false }); err != ErrPowerCut {
		t.Fatal(err)
	}
}

// What a fork would lose is decided later, and does not touch the disk it was taken from.
func TestForkIsIndependent(t *testing.T) {
	w := NewWorld(3)
	d, r := w.Disk("d", 1<<20), w.bare()
	a, b := aligned(4096, 'a'), aligned(4096, 'b')
	var forks []*Disk
	d.OnEvent(func(d *Disk, what string) { forks = append(forks, d.Fork()) })
	r.one(t, write(d, a, 0))
	r.one(t, uring.PrepFsync(d.fd, true))
	d.OnEvent(nil)
	r.one(t, write(d, b, 0))
	if len(forks) != 4 { // begin and end of both
		t.Fatalf("%d forks", len(forks))
	}
	got := make([]byte, 4096)
	for seed := range uint64(50) {
		forks[3].AfterPowerLossSeed(seed).ReadAt(got, 0)
		if !bytes.Equal(got, a) {
			t.Fatal("a flushed write is missing in a fork")
		}
		forks[0].AfterPowerLossSeed(seed).ReadAt(got, 0)
		if bytes.Contains(got, []byte("b")) {
			t.Fatal("a later write shows in a fork")
		}
	}
	w2 := NewWorld(4)
	moved := w2.Adopt(forks[3].AfterPowerLossSeed(1))
	p := aligned(4096, 0)
	if res := w2.bare().one(t, read(moved, p, 0)); res != 4096 || !bytes.Equal(p, a) {
		t.Fatalf("an adopted disk reads %d, %q…", res, p[:1])
	}
}
