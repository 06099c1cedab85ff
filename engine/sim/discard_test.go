package sim

import (
	"bytes"
	"syscall"
	"testing"

	"basalt/engine/uring"
)

// What is discarded is undefined: over many pages some keep their content, some are zeros, most are neither, and the seed decides. Beside the range
// nothing changes.
func TestDiscardedContentIsUndefined(t *testing.T) {
	const pages = 200
	after := func(seed uint64) []byte {
		w := NewWorld(seed)
		defer w.Close()
		d, r := w.Disk("d", 1<<20), w.bare()
		d.WriteAt(bytes.Repeat([]byte("x"), 1<<20), 0)
		if res := r.one(t, uring.PrepDiscard(d.fd, pageBytes, pages*pageBytes)); res != 0 {
			t.Fatal(res)
		}
		got := make([]byte, 1<<20)
		d.ReadAt(got, 0)
		return got
	}
	got := after(1)
	old, zeros, other := 0, 0, 0
	for i := range pages {
		switch p := got[(1+i)*pageBytes : (2+i)*pageBytes]; {
		case bytes.Equal(p, bytes.Repeat([]byte("x"), pageBytes)):
			old++
		case bytes.Equal(p, make([]byte, pageBytes)):
			zeros++
		default:
			other++
		}
	}
	if old < pages/8 || zeros < pages/8 || other < pages/4 {
		t.Errorf("%d pages are as they were, %d are zeros, %d something else", old, zeros, other)
	}
	rest := append(bytes.Clone(got[:pageBytes]), got[(1+pages)*pageBytes:]...)
	if bytes.Count(rest, []byte("x")) != len(rest) {
		t.Error("something beside the range has changed")
	}
	if !bytes.Equal(got, after(1)) || bytes.Equal(got, after(2)) {
		t.Error("the content does not depend on the seed, and on nothing else")
	}
}

func TestDiscardRefusals(t *testing.T) {
	w := NewWorld(1)
	defer w.Close()
	d, r := w.Disk("d", 1<<20), w.bare()
	other := uring.PrepDiscard(d.fd, 0, 4096)
	other.Off++
	for _, s := range []uring.SQE{
		uring.PrepDiscard(d.fd, 0, 0), uring.PrepDiscard(d.fd, 100, 512), uring.PrepDiscard(d.fd, 0, 100), uring.PrepDiscard(d.fd, 512, 1<<20),
		uring.PrepDiscard(d.fd, 1<<63, 4096), uring.PrepDiscard(d.fd, 4096, 1<<63), other,
	} {
		if res := r.one(t, s); res != -int32(syscall.EINVAL) {
			t.Errorf("%+v: %d", s, res)
		}
	}
	if res := r.one(t, uring.PrepDiscard(-1, 0, 0)); res != -int32(syscall.EBADF) {
		t.Errorf("of no file: %d", res)
	}
	if d.Ops() != 0 {
		t.Errorf("%d operations reached the disk", d.Ops())
	}
}

// A discard is volatile as a write is: until a flush covers it a power cut keeps it, undoes it, or leaves some sectors; in flight as well. After the
// flush the content stays what it was.
func TestDiscardAndPowerLoss(t *testing.T) {
	const n = 16 * pageBytes
	for _, inFlight := range []bool{false, true} {
		var kept, undone, partly int
		for seed := range uint64(60) {
			w := NewWorld(seed)
			d, r := w.Disk("d", 1<<20), w.bare()
			before := bytes.Repeat([]byte("x"), n)
			d.WriteAt(before, 0)
			var now []byte
			if inFlight {
				s := uring.PrepDiscard(d.fd, 0, n)
				if err := r.Push(&s); err != nil || r.Enter(0, 0) != nil {
					t.Fatal(err)
				}
				now = d.flight[0].data
			} else {
				if res := r.one(t, uring.PrepDiscard(d.fd, 0, n)); res != 0 {
					t.Fatal(res)
				}
				now = make([]byte, n)
				d.ReadAt(now, 0)
			}
			if d.Volatile() != 1 {
				t.Fatalf("%d volatile operations", d.Volatile())
			}
			for i := range uint64(10) {
				got := make([]byte, n)
				left := d.AfterPowerLossSeed(seed*100 + i)
				left.ReadAt(got, 0)
				switch {
				case bytes.Equal(got, now):
					kept++
				case bytes.Equal(got, before):
					undone++
				default:
					partly++
				}
				for s := 0; s < n; s += SectorBytes {
					if p := got[s : s+SectorBytes]; !bytes.Equal(p, now[s:s+SectorBytes]) && !bytes.Equal(p, before[s:s+SectorBytes]) {
						t.Fatalf("sector %d is neither what it was nor what the discard left", s/SectorBytes)
					}
				}
			}
			if !inFlight {
				if res := r.one(t, uring.PrepFsync(d.fd, true)); res != 0 || d.Volatile() != 0 {
					t.Fatal(res, d.Volatile())
				}
				got := make([]byte, n)
				d.AfterPowerLossSeed(seed).ReadAt(got, 0)
				if !bytes.Equal(got, now) {
					t.Fatal("a flushed discard is undone")
				}
			}
			w.Close()
		}
		if kept < 60 || undone < 60 || partly < 60 {
			t.Errorf("in flight %v: kept %d times, undone %d, partly done %d", inFlight, kept, undone, partly)
		}
	}
}

// A failed discard has done a part of it, and a slow one is only slow.
func TestDiscardFaults(t *testing.T) {
	w := NewWorld(3)
	defer w.Close()
	d, r := w.Disk("d", 1<<20), w.bare()
	d.WriteAt(bytes.Repeat([]byte("x"), 1<<20), 0)
	d.FaultAt(FaultWriteError, 1)
	if res := r.one(t, uring.PrepDiscard(d.fd, 0, 1<<20)); res != -int32(syscall.EIO) {
		t.Fatal(res)
	}
	got := make([]byte, 1<<20)
	d.ReadAt(got, 0)
	if same := bytes.Count(got, []byte("x")); same < 1<<19 || same > 1<<20-1<<17 {
		t.Errorf("%d bytes of 1 MiB are as they were", same)
	}
	d.FaultAt(FaultSlow, 1)
	if res := r.one(t, uring.PrepDiscard(d.fd, 0, 4096)); res != 0 {
		t.Fatal(res)
	}
}
