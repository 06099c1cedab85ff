package sim

import (
	"encoding/binary"
	"syscall"
	"testing"

	"basalt/engine/uring"
)

func TestRingOverflowsWithoutLoss(t *testing.T) {
	w := NewWorld(1)
	r := w.bare()
	pushed := uint64(0)
	for range 20 {
		for {
			s := uring.PrepNop()
			s.UserData = pushed + 1
			if err := r.Push(&s); err == uring.ErrFull {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			pushed++
		}
		_ = r.Enter(0, 0)
	}
	w.line.now += 1_000_000
	w.line.runDue()
	if len(r.cq) != cqEntries || len(r.over) != int(pushed)-cqEntries {
		t.Fatalf("%d completions in the queue, %d beyond", len(r.cq), len(r.over))
	}
	seen := make([]bool, pushed+1)
	for _, c := range r.drain() {
		if seen[c.UserData] {
			t.Fatalf("completed twice: %d", c.UserData)
		}
		seen[c.UserData] = true
		pushed--
	}
	if pushed != 0 {
		t.Fatalf("%d completions are missing", pushed)
	}
}

func TestTimeoutAndCancel(t *testing.T) {
	w := NewWorld(1)
	r := w.bare()
	ts := make([]byte, 16)
	binary.NativeEndian.PutUint64(ts, 2)
	s := uring.PrepTimeout(addressOf(ts))
	if res := r.one(t, s); res != -int32(syscall.ETIME) || w.line.now < monoStart+2e9 {
		t.Fatalf("%d after %d ns", res, w.line.now-monoStart)
	}
	s.UserData = 5
	c := uring.PrepCancel(5)
	c.UserData = 6
	began := w.line.now
	_, _ = r.Push(&s), r.Push(&c)
	got := [7]int32{5: 99, 6: 99}
	for _, e := range r.drain() {
		got[e.UserData] = e.Res
	}
	if got[5] != -int32(syscall.ECANCELED) || got[6] != 0 || w.line.now-began > 1e9 {
		t.Fatalf("timeout %d, cancel %d, %d ns", got[5], got[6], w.line.now-began)
	}
	if res := r.one(t, uring.PrepCancel(5)); res != -int32(syscall.ENOENT) {
		t.Fatalf("cancel of nothing: %d", res)
	}
	d := w.Disk("d", 1<<20)
	p := aligned(4096, 1)
	s = write(d, p, 0)
	s.UserData = 5
	_, _ = r.Push(&s), r.Push(&c)
	for _, e := range r.drain() {
		got[e.UserData] = e.Res
	}
	if got[5] != 4096 || got[6] != -int32(syscall.EALREADY) {
		t.Fatalf("a disk write runs to its end: %d, cancel %d", got[5], got[6])
	}
}

func TestLinkedEntriesRunInOrder(t *testing.T) {
	for _, fault := range []Fault{FaultNone, FaultWriteError, FaultShort} {
		w := NewWorld(uint64(fault))
		d, r := w.Disk("d", 1<<20), w.bare()
		if fault != FaultNone {
			d.FaultAt(fault, 1)
		}
		p := aligned(4096, 'p')
		a, b, c := write(d, p, 0).Linked(), uring.PrepFsync(d.fd, true).Linked(), write(d, p, 8192)
		for i, s := range []*uring.SQE{&a, &b, &c} {
			s.UserData = uint64(i)
			_ = r.Push(s)
		}
		got := r.drain()
		if len(got) != 3 {
			t.Fatalf("%v: %v", fault, got)
		}
		for i, e := range got {
			if e.UserData != uint64(i) || i > 0 && (e.Res == -int32(syscall.ECANCELED)) != (fault != FaultNone) {
				t.Fatalf("%v: %v", fault, got)
			}
		}
		lost := make([]byte, 4096)
		d.AfterPowerLossSeed(2).ReadAt(lost, 0)
		if fault == FaultNone && lost[0] != 'p' {
			t.Fatal("flush linked behind a write did not cover it")
		}
	}
}

func TestFixedBuffersAndFiles(t *testing.T) {
	w := NewWorld(1)
	d, r := w.Disk("d", 1<<20), w.bare()
	mem := aligned(16384, 'm')
	if err := r.RegisterBuffers([][]byte{mem}); err != nil {
		t.Fatal(err)
	}
	if err := r.RegisterFiles([]int32{-1, -1}); err != nil {
		t.Fatal(err)
	}
	s := uring.PrepWriteFixed(0, addressOf(mem), 8192, 0, 0).Fixed(1)
	if res := r.one(t, s); res != -int32(syscall.EBADF) {
		t.Fatalf("empty slot: %d", res)
	}
	if err := r.UpdateFile(1, d.fd); err != nil {
		t.Fatal(err)
	}
	if res := r.one(t, s); res != 8192 {
		t.Fatal(res)
	}
	s.Addr += 12288
	if res := r.one(t, s); res != -int32(syscall.EFAULT) {
		t.Fatalf("beyond the registered buffer: %d", res)
	}
	s.BufIndex = 3
	if res := r.one(t, s); res != -int32(syscall.EFAULT) {
		t.Fatalf("unknown buffer: %d", res)
	}
	if r.UpdateFile(2, 0) == nil || r.RegisterBuffers(nil) == nil || r.RegisterFiles(nil) == nil {
		t.Fatal("accepted what a kernel refuses")
	}
}

func TestEventWakesOnce(t *testing.T) {
	w := NewWorld(1)
	r := w.bare()
	fd, signal, err := r.NewEvent()
	if err != nil {
		t.Fatal(err)
	}
	mem := make([]byte, 8)
	s := uring.PrepRead(fd, addressOf(mem), 8, 0)
	_ = r.Push(&s)
	if got := r.drain(); len(got) != 0 {
		t.Fatalf("an event without a signal: %v", got)
	}
	signal()
	signal()
	if got := r.drain(); len(got) != 1 || got[0].Res != 8 || binary.NativeEndian.Uint64(mem) != 2 {
		t.Fatalf("%v, count %d", got, mem[0])
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	signal() // a late one, after the reactor has ended
	if w.file(fd) != nil {
		t.Fatal("the event survives its ring")
	}
}
