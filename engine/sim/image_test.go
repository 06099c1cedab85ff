package sim

import (
	"bytes"
	"testing"
)

func TestImageCopiesOnWrite(t *testing.T) {
	r := stream(1, 1)
	a := newImage(64 << 10)
	want := make([]byte, 64<<10)
	var frozen []*image
	var copies [][]byte
	for range 400 {
		off := r.Int64N(60 << 10)
		p := make([]byte, 1+r.IntN(4<<10))
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		if r.IntN(4) == 0 {
			a.zero(off, int64(len(p)))
			clear(want[off : off+int64(len(p))])
		} else {
			a.write(p, off)
			copy(want[off:], p)
		}
		if r.IntN(10) == 0 {
			frozen = append(frozen, a.clone())
			copies = append(copies, bytes.Clone(want))
		}
	}
	check := func(m *image, want []byte) {
		t.Helper()
		got := make([]byte, len(want))
		m.read(got, 0)
		if !bytes.Equal(got, want) {
			t.Fatal("image differs from what was written")
		}
	}
	check(a, want)
	for i, m := range frozen {
		check(m, copies[i])
	}
	frozen[0].write([]byte("x"), 5)
	check(a, want)
	check(frozen[1], copies[1])
}

func TestTimelineRunsInOrder(t *testing.T) {
	r := stream(2, 2)
	var l timeline
	var got []int64
	var dropped []*happening
	for i := range 1000 {
		at := r.Int64N(500)
		h := l.schedule(at, r.Uint64(), func() {
			got = append(got, at)
			if at != l.now {
				t.Fatalf("event of %d runs at %d", at, l.now)
			}
		})
		if i%10 == 0 {
			dropped = append(dropped, h)
		}
	}
	for _, h := range dropped {
		h.drop()
	}
	for {
		at, ok := l.next()
		if !ok {
			break
		}
		if at <= l.now && len(got) > 0 {
			t.Fatalf("time does not move: %d after %d", at, l.now)
		}
		l.now = at
		l.runDue()
	}
	if len(got) != 900 {
		t.Fatalf("%d events ran, want 900", len(got))
	}
}
