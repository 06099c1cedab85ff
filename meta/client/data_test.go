package client

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/meta/record"
)

// shelf is a Caller over one file and one directory in memory, which looks at what it is asked.
type shelf struct {
	t     *testing.T
	data  []byte
	names []record.Entry // sorted by cookie
	page  int            // entries of a page
	asked []record.Request
	busy  int // calls at the same time
	most  int
	fail  map[uint64]record.Status // by offset
	opens int
}

// Call serves after a while, so that calls overlap.
func (s *shelf) Call(f *engine.Fiber, q *record.Request, data []byte, p *record.Reply, dst []byte) error {
	s.asked = append(s.asked, *q)
	s.busy++
	s.most = max(s.most, s.busy)
	f.Sleep(1000)
	s.busy--
	if st, ok := s.fail[q.Off]; ok {
		p.Status = st
		return nil
	}
	switch q.Op {
	case record.OpRead:
		if int(q.Count) != len(dst) || q.Off/record.StripeSize != (q.Off+uint64(q.Count)-1)/record.StripeSize {
			s.t.Errorf("read of %d at %d into %d bytes", q.Count, q.Off, len(dst))
		}
		if q.Off < uint64(len(s.data)) {
			p.Count = uint32(copy(dst, s.data[q.Off:]))
		}
	case record.OpWrite:
		at := q.Off
		if q.Flags&record.FlagAppend != 0 {
			at = uint64(len(s.data))
			data = data[:min(uint64(len(data)), record.StripeSize-at%record.StripeSize)]
		} else if at/record.StripeSize != (at+uint64(len(data))-1)/record.StripeSize {
			s.t.Errorf("write of %d at %d", len(data), at)
		}
		if need := int(at) + len(data); need > len(s.data) {
			s.data = append(s.data, make([]byte, need-len(s.data))...)
		}
		copy(s.data[at:], data)
		p.Count, p.Off = uint32(len(data)), at
	case record.OpOpenDir:
		p.Handle = 5
		s.opens++
	case record.OpReleaseDir:
		s.opens--
	case record.OpReadDir:
		s.list(q, p)
	default:
		p.Status = record.NotSupported
	}
	return nil
}

func (s *shelf) list(q *record.Request, p *record.Reply) {
	n := 0
	for i := range s.names {
		e := &s.names[i]
		if e.Cookie < q.Cookie || e.Cookie == q.Cookie && (len(q.Name) == 0 || bytes.Compare(e.Name, q.Name) <= 0) {
			continue
		}
		if n == s.page {
			return
		}
		p.Value = e.Append(p.Value)
		n++
	}
	p.Flags = record.ReplyEOF
}

func onShelf(t *testing.T, s *shelf, fn func(f *engine.Fiber, fs *FS)) {
	t.Helper()
	s.t = t
	w := sim.NewWorld(1)
	defer w.Close()
	r := w.Reactor(engine.Config{Name: "client", ArenaBytes: 8 << 20})
	fs := NewMount([16]byte{1}).NewFS(r, s)
	if err := w.Boot(r, func(*engine.Fiber) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := w.Do(r, func(f *engine.Fiber) error { fn(f, fs); return nil }); err != nil {
		t.Fatal(err)
	}
}

// Reads and writes that span stripes are split, asked for at once, and put together again.
func TestStripes(t *testing.T) {
	s := &shelf{}
	onShelf(t, s, func(f *engine.Fiber, fs *FS) {
		want := make([]byte, 5*record.StripeSize)
		for i := range want {
			want[i] = byte(i>>13 ^ i)
		}
		for _, cut := range []struct{ off, n int }{{0, 4096}, {100, 1 << 20}, {1<<20 - 1, 2}, {1 << 20, 1 << 20}, {3, 4 << 20}, {1<<20 + 5, 3<<20 + 7}} {
			s.asked, s.most = nil, 0
			n, st := fs.Write(f, 9, uint64(cut.off), want[cut.off:cut.off+cut.n], 0)
			stripes := (cut.off+cut.n-1)>>20 - cut.off>>20 + 1
			if st != record.OK || n != cut.n || len(s.asked) != stripes || s.most != stripes {
				t.Errorf("write of %v: %d, %v, %d requests, %d at once, want %d", cut, n, st, len(s.asked), s.most, stripes)
			}
			got := make([]byte, cut.n)
			n, st = fs.Read(f, 9, uint64(cut.off), got)
			if st != record.OK || n != cut.n || !bytes.Equal(got, want[cut.off:cut.off+cut.n]) {
				t.Errorf("read of %v: %d, %v", cut, n, st)
			}
		}
		got := make([]byte, 1<<20)
		end := len(s.data)
		if n, st := fs.Read(f, 9, uint64(end-700_000), got); n != 700_000 || st != record.OK {
			t.Errorf("read across the end: %d, %v", n, st)
		}
		if n, st := fs.Read(f, 9, uint64(end+5), got); n != 0 || st != record.OK {
			t.Errorf("read behind the end: %d, %v", n, st)
		}
	})
}

// What failed behind a stripe that was done is not reported as an error, and not as done.
func TestStripeFails(t *testing.T) {
	s := &shelf{data: make([]byte, 4<<20), fail: map[uint64]record.Status{2 << 20: record.Corrupt}}
	onShelf(t, s, func(f *engine.Fiber, fs *FS) {
		buf := make([]byte, 3<<20)
		if n, st := fs.Read(f, 9, 1<<20, buf); n != 1<<20 || st != record.OK {
			t.Errorf("%d, %v", n, st)
		}
		if n, st := fs.Read(f, 9, 2<<20, buf); n != 0 || st != record.Corrupt {
			t.Errorf("%d, %v", n, st)
		}
		if _, st := fs.Write(f, 9, record.SizeMax-3, buf[:5], 0); st != record.TooBig {
			t.Errorf("a write beyond the largest file: %v", st)
		}
	})
}

// Appending goes wherever the end is, stripe by stripe, in order.
func TestAppend(t *testing.T) {
	s := &shelf{data: make([]byte, 1<<20-10)}
	onShelf(t, s, func(f *engine.Fiber, fs *FS) {
		p := make([]byte, 2<<20)
		for i := range p {
			p[i] = byte(i % 251)
		}
		if n, st := fs.Write(f, 9, 0, p, record.FlagAppend); n != len(p) || st != record.OK {
			t.Fatalf("%d, %v", n, st)
		}
		if !bytes.Equal(s.data[1<<20-10:], p) || len(s.asked) != 3 || s.most != 1 {
			t.Errorf("%d bytes in %d requests, %d at once", len(s.data), len(s.asked), s.most)
		}
	})
}

func entries(n int) []record.Entry {
	list := []record.Entry{
		{Cookie: record.CookieDot, Ino: 1, Type: record.ModeDir, Name: []byte(".")},
		{Cookie: record.CookieDotDot, Ino: 1, Type: record.ModeDir, Name: []byte("..")},
	}
	for i := range n { // every third cookie belongs to two names
		list = append(list, record.Entry{Cookie: uint64(10 + i - i%3/2), Ino: record.Ino(100 + i), Type: record.ModeRegular, Name: fmt.Appendf(nil, "n%05d", i)})
	}
	return list
}

// A listing gives each name once, however small the pages and the reader's buffer; seeking back works; starting anew does too.
func TestListing(t *testing.T) {
	for _, page := range []int{1, 2, 7, 1000} {
		s := &shelf{names: entries(100), page: page}
		onShelf(t, s, func(f *engine.Fiber, fs *FS) {
			h, st := fs.OpenDir(f, 1)
			if st != record.OK {
				t.Fatal(st)
			}
			read := func(cookie uint64, room int) (names []string, last uint64) {
				for {
					got := 0
					st := fs.ReadDir(f, h, cookie, false, func(e *record.Entry, _ int64) bool {
						if got == room {
							return false
						}
						got++
						names = append(names, string(e.Name))
						cookie = e.Cookie
						return true
					})
					if st != record.OK {
						t.Fatal(st)
					}
					if got == 0 {
						return names, cookie
					}
				}
			}
			var want []string
			for _, e := range s.names {
				want = append(want, string(e.Name))
			}
			for _, room := range []int{1, 3, 1000} {
				if got, _ := read(0, room); !slices.Equal(got, want) {
					t.Errorf("pages of %d, buffer of %d: %d names of %d", page, room, len(got), len(want))
				}
			}
			if got, _ := read(s.names[51].Cookie, 10); !slices.Equal(got, want[52:]) && !slices.Equal(got, want[53:]) {
				t.Errorf("pages of %d: after seeking %v", page, got[:3])
			}
			if st := fs.ReleaseDir(f, h); st != record.OK {
				t.Error(st)
			}
			if st := fs.ReadDir(f, h, 0, false, nil); st != record.Invalid {
				t.Errorf("reading a closed directory: %v", st)
			}
			if s.opens != 0 || len(fs.opens.list) != 0 {
				t.Errorf("%d, %d opens are left", s.opens, len(fs.opens.list))
			}
		})
	}
}

// The attributes in a listing are those of the moment, also when the reader takes a page in several calls: what changed meanwhile is asked
// for again. Nothing is asked for twice without need.
func TestListingWithCurrentAttributes(t *testing.T) {
	s := &shelf{names: entries(30), page: 1000}
	for i := range s.names {
		s.names[i].Attr = record.Attr{Ino: s.names[i].Ino, Mode: uint32(s.names[i].Type), Size: 1}
	}
	onShelf(t, s, func(f *engine.Fiber, fs *FS) {
		h, st := fs.OpenDir(f, 1)
		if st != record.OK {
			t.Fatal(st)
		}
		var cookie uint64
		next := func() (e record.Entry) {
			got := 0
			st := fs.ReadDir(f, h, cookie, true, func(it *record.Entry, _ int64) bool {
				if got++; got == 1 {
					e, cookie = *it, it.Cookie
				}
				return got == 1
			})
			if st != record.OK || got == 0 {
				t.Fatalf("%v after %d entries", st, got)
			}
			return e
		}
		asked := func(fn func()) int {
			s.asked = nil
			fn()
			return len(s.asked)
		}
		if n := asked(func() { next(); next() }); n != 2 {
			t.Errorf("without the grant two calls asked %d times", n)
		}
		if err := fs.Grant(f, 30e9); err != nil {
			t.Fatal(err)
		}
		if n := asked(func() { next(); next(); next() }); n != 1 {
			t.Errorf("with the grant three calls asked %d times, only the first had a page from before it", n)
		}
		for i := range s.names {
			s.names[i].Attr.Size = 2
		}
		if _, st := fs.Write(f, 109, 0, []byte{1}, 0); st != record.OK {
			t.Fatal(st)
		}
		if e := next(); e.Attr.Size != 2 {
			t.Errorf("%s has %d bytes after a write that was answered", e.Name, e.Attr.Size)
		}
	})
}

// An interrupt reaches the parts that other fibers do.
func TestInterruptParts(t *testing.T) {
	s := &stubborn{}
	w := sim.NewWorld(1)
	defer w.Close()
	r := w.Reactor(engine.Config{Name: "client", ArenaBytes: 8 << 20})
	fs := NewMount([16]byte{1}).NewFS(r, s)
	if err := w.Boot(r, func(*engine.Fiber) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := w.Do(r, func(f *engine.Fiber) error {
		me := f
		f.Turn().After(5_000_000, engine.TimerFunc(func(*engine.Turn) { me.SetCanceled() }))
		if _, st := fs.Read(f, 9, 1<<20-4096, make([]byte, 8192)); st != record.Interrupted {
			t.Errorf("%v", st)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// stubborn answers nobody who is not interrupted.
type stubborn struct{}

func (*stubborn) Call(f *engine.Fiber, _ *record.Request, _ []byte, _ *record.Reply, _ []byte) error {
	for !f.Canceled() {
		f.Sleep(1_000_000)
	}
	return record.Interrupted
}
