package arena

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"basalt/engine/invariant"
)

func newArena(t testing.TB, n int) *Arena {
	t.Helper()
	a, err := New(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func get(t testing.TB, a *Arena, n int) Buf {
	t.Helper()
	b, err := a.Get(n)
	if err != nil {
		t.Fatalf("get of %d with %d of %d used: %v", n, a.Used(), a.Cap(), err)
	}
	return b
}

func panics(t *testing.T, what string, fn func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s did not panic", what)
		}
	}()
	fn()
}

func TestBlocksAreAlignedToTheirSize(t *testing.T) {
	a := newArena(t, 16<<20)
	for _, x := range []struct{ n, size int }{{1, 4096}, {4096, 4096}, {4097, 8192}, {100_000, 128 << 10}, {1 << 20, 1 << 20}, {BlockMax, BlockMax}} {
		b := get(t, a, x.n)
		p := a.Bytes(b)
		if len(p) != x.n || cap(p) != x.size || b.Len() != x.n {
			t.Errorf("get %d: len %d cap %d, want cap %d", x.n, len(p), cap(p), x.size)
		}
		if a.Addr(b)%uint64(x.size) != 0 {
			t.Errorf("get %d: address %#x is not aligned to %d", x.n, a.Addr(b), x.size)
		}
		if !a.Contains(p) || a.AddrOf(p) != a.Addr(b) || !b.Valid() {
			t.Errorf("get %d: the arena does not know its own block", x.n)
		}
	}
	if a.Used() != 4096+4096+8192+128<<10+1<<20+BlockMax {
		t.Errorf("used = %d", a.Used())
	}
}

func TestExhaustionAndMerging(t *testing.T) {
	a := newArena(t, 8<<20)
	for round := range 3 { // whole again each time, or the big blocks would be gone
		var small []Buf
		for {
			b, err := a.Get(4096)
			if err == ErrExhausted {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			small = append(small, b)
		}
		if len(small) != 2048 || a.Used() != a.Cap() {
			t.Fatalf("round %d: %d pages, %d of %d used", round, len(small), a.Used(), a.Cap())
		}
		rand.New(rand.NewPCG(1, uint64(round))).Shuffle(len(small), func(i, j int) { small[i], small[j] = small[j], small[i] })
		for _, b := range small {
			a.Put(b)
		}
		x, y := get(t, a, BlockMax), get(t, a, BlockMax)
		if _, err := a.Get(1); err != ErrExhausted {
			t.Fatalf("get from a full arena: %v", err)
		}
		a.Put(x)
		a.Put(y)
	}
	if a.Used() != 0 || a.Peak() != a.Cap() {
		t.Errorf("used %d, peak %d", a.Used(), a.Peak())
	}
}

// Random gets and puts against a map of who owns which page; every block keeps its content.
func TestAgainstModel(t *testing.T) {
	a := newArena(t, 9<<20+12345) // rounded down to whole blocks
	if a.Cap() != 8<<20 {
		t.Fatalf("cap = %d", a.Cap())
	}
	rng := rand.New(rand.NewPCG(7, 7))
	type owned struct {
		b    Buf
		fill byte
	}
	var live []owned
	var used int64
	for i := range 5_000 {
		if rng.IntN(2) == 0 || len(live) == 0 {
			n := 1 + rng.IntN(1<<rng.IntN(19))
			b, err := a.Get(n)
			if err == ErrExhausted {
				continue
			}
			p := a.Bytes(b)
			for j := range p {
				p[j] = byte(i)
			}
			live = append(live, owned{b, byte(i)})
			used += int64(cap(p))
		} else {
			k := rng.IntN(len(live))
			o := live[k]
			p := a.Bytes(o.b)
			if want := bytes.Repeat([]byte{o.fill}, len(p)); !bytes.Equal(p, want) {
				t.Fatalf("block of %d bytes was changed by another", len(p))
			}
			used -= int64(cap(p))
			a.Put(o.b)
			live[k] = live[len(live)-1]
			live = live[:len(live)-1]
		}
		if a.Used() != used {
			t.Fatalf("used = %d, want %d", a.Used(), used)
		}
	}
	for _, o := range live {
		a.Put(o.b)
	}
	get(t, a, BlockMax)
	get(t, a, BlockMax)
}

func TestSmallArenaOfOddSize(t *testing.T) {
	a := newArena(t, 7*4096+100)
	if a.Cap() != 7*4096 {
		t.Fatalf("cap = %d, want 7 pages", a.Cap())
	}
	b4, b2, b1 := get(t, a, 4*4096), get(t, a, 2*4096), get(t, a, 4096)
	if _, err := a.Get(1); err != ErrExhausted {
		t.Fatalf("an eighth page: %v", err)
	}
	a.Put(b2)
	a.Put(b4)
	a.Put(b1)
	get(t, a, 4*4096)
}

func TestMisuse(t *testing.T) {
	a := newArena(t, 1<<20)
	b := get(t, a, 5000)
	panics(t, "Bytes of no block", func() { a.Bytes(Buf{}) })
	panics(t, "Put of no block", func() { a.Put(Buf{}) })
	panics(t, "Put of a wrong size", func() { a.Put(Buf{page: b.page, n: 100}) })
	panics(t, "Put inside a block", func() { a.Put(Buf{page: b.page + 1, n: 4096}) })
	panics(t, "AddrOf of other memory", func() { a.AddrOf(make([]byte, 10)) })
	a.Put(b)
	panics(t, "Put twice", func() { a.Put(b) })
	panics(t, "Addr after Put", func() { a.Addr(b) })
	for _, n := range []int{0, -1, BlockMax + 1} {
		if _, err := a.Get(n); err == nil {
			t.Errorf("get of %d bytes succeeded", n)
		}
	}
	if a.Contains(make([]byte, 8)) || a.Contains(nil) {
		t.Error("the arena claims memory that is not its own")
	}
	if _, err := New(100); err == nil {
		t.Error("an arena of less than a page was made")
	}
}

func TestFreedMemoryIsMarkedInCheckedBuilds(t *testing.T) {
	a := newArena(t, 1<<20)
	b := get(t, a, 4096)
	p := a.Bytes(b)
	p[0], p[4095] = 1, 1
	a.Put(b)
	marked := p[0] == freedByte && p[4095] == freedByte
	if marked != invariant.Enabled {
		t.Errorf("freed memory is marked: %v, want %v", marked, invariant.Enabled)
	}
}

func TestSegmentsForRegistration(t *testing.T) {
	a := newArena(t, 1<<30+8<<20) // not touched: costs no memory
	s := a.Segments()
	if len(s) != 2 || len(s[0]) != 1<<30 || len(s[1]) != 8<<20 {
		t.Fatalf("%d segments", len(s))
	}
	var last Buf
	for range 256 {
		last = get(t, a, BlockMax)
		if want := (a.Addr(last) - address(s[0])) >> 30; uint64(a.Index(last)) != want || uint64(a.IndexOf(a.Addr(last))) != want {
			t.Fatalf("block at %#x has index %d, want %d", a.Addr(last), a.Index(last), want)
		}
	}
	if last = get(t, a, BlockMax); a.Index(last) != 1 {
		t.Errorf("block behind the first GiB has index %d", a.Index(last))
	}
	if a.Registered() {
		t.Error("registered before anybody said so")
	}
	a.SetRegistered()
	if !a.Registered() {
		t.Error("not registered")
	}
}

func TestNoAllocationsPerBlock(t *testing.T) {
	a := newArena(t, 1<<20)
	if n := testing.AllocsPerRun(100, func() {
		b, _ := a.Get(8192)
		_ = a.Bytes(b)
		a.Put(b)
	}); n != 0 {
		t.Errorf("%v allocations per Get and Put", n)
	}
}

func BenchmarkGetPut(b *testing.B) {
	a := newArena(b, 64<<20)
	for b.Loop() {
		x, _ := a.Get(4096)
		a.Put(x)
	}
}

// A handle that was put is of no use again when somebody else owns the memory: it would free, or change, what is
// not its own.
func TestAHandleEndsWithItsPut(t *testing.T) {
	a := newArena(t, 1<<20)
	old := get(t, a, 4096)
	a.Put(old)
	b := get(t, a, 4096)
	if a.Addr(b) == 0 || b.Len() != 4096 || b == old {
		t.Fatalf("block %v after %v", b, old)
	}
	panics(t, "Put of a handle whose block has a new owner", func() { a.Put(old) })
	panics(t, "Bytes of such a handle", func() { a.Bytes(old) })
	a.Put(b)
}
