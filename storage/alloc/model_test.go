package alloc

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"basalt/storage/format"
)

// model is the obvious allocator: one bit for each block.
type model struct {
	space []extent
	free  []bool // indexed by block
}

func newModel(space []extent) *model {
	return &model{space: space, free: make([]bool, space[len(space)-1].End()+4)}
}

func (m *model) set(e extent, free bool) {
	for b := e.Start; b < e.End(); b++ {
		m.free[b] = free
	}
}

func (m *model) count(e extent) (n int) {
	for b := e.Start; b < e.End() && int(b) < len(m.free); b++ {
		if m.free[b] {
			n++
		}
	}
	return n
}

// runs are the maximal free extents, cut at the ends of the space's extents.
func (m *model) runs() (out []extent) {
	for _, s := range m.space {
		run := extent{}
		for b := s.Start; b <= s.End(); b++ {
			if b < s.End() && m.free[b] {
				if run.Len == 0 {
					run.Start = b
				}
				run.Len++
			} else if run.Len > 0 {
				out, run = append(out, run), extent{}
			}
		}
	}
	return out
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func (m *model) compare(t fataler, a *Allocator) {
	t.Helper()
	if err := a.Check(); err != nil {
		t.Fatalf("%v", err)
	}
	want := m.runs()
	i, blocks, pieces := 0, uint64(0), uint64(0)
	a.Ascend(func(e extent) bool {
		if i >= len(want) || want[i] != e {
			t.Fatalf("free extent %d is %v, want of %v", i, e, want)
		}
		i++
		blocks += uint64(e.Len)
		pieces += uint64(e.Len / a.classes.piece)
		return true
	})
	if i != len(want) || blocks != a.FreeBlocks() || pieces != a.Pieces() {
		t.Fatalf("%d extents, %d blocks, %d pieces; want %v, %d, %d", i, a.FreeBlocks(), a.Pieces(), want, blocks, pieces)
	}
}

// longest is the length of the longest free run.
func (m *model) longest() (n blockCount) {
	for _, r := range m.runs() {
		n = max(n, r.Len)
	}
	return n
}

// checkTaken verifies what AllocRun promises about the extent it took, before the model learns of it.
func (m *model) checkTaken(t fataler, e extent, ok bool, want, least blockCount) {
	t.Helper()
	longest := m.longest()
	switch {
	case !ok && least <= ExactMax && longest >= least:
		t.Fatalf("nothing for %d…%d blocks, but %d are free in one run", least, want, longest)
	case ok && (e.Len < least || e.Len > want || m.count(e) != int(e.Len)):
		t.Fatalf("got %v for %d…%d blocks, %d of it are free", e, least, want, m.count(e))
	case ok && want <= ExactMax && e.Len < min(want, longest):
		t.Fatalf("got %v for %d blocks, but %d are free in one run", e, want, longest)
	case ok && e.Len < want && classOf(longest) > classOf(e.Len) && classFit(want) <= classOf(longest):
		t.Fatalf("got %v for %d blocks, but a run of %d is free", e, want, longest)
	}
}

// TestExhaustive takes every set of free blocks of a small space and in it every allocation, claim and release.
func TestExhaustive(t *testing.T) {
	space := []extent{{Start: 3, Len: 5}, {Start: 8, Len: 4}} // touching extents, which must stay apart
	const blocks = 9
	for bits := range 1 << blocks {
		build := func() (*Allocator, *model) {
			a, m := New(space, 2), newModel(space)
			for i := range blocks {
				if bits&(1<<i) != 0 {
					e := extent{Start: blockNo(3 + i), Len: 1}
					a.Free(e)
					m.set(e, true)
				}
			}
			return a, m
		}
		a, m := build()
		m.compare(t, a)
		for want := blockCount(1); want <= 6; want++ {
			for least := blockCount(1); least <= want; least++ {
				for hint := blockNo(2); hint <= 13; hint += 3 {
					a, m := build()
					e, ok := a.AllocRun(want, least, hint)
					m.checkTaken(t, e, ok, want, least)
					m.set(e, false)
					m.compare(t, a)
				}
			}
		}
		for start := blockNo(1); start < 13; start++ {
			for n := blockCount(1); n <= 6; n++ {
				testRun(t, build, extent{Start: start, Len: n})
			}
		}
	}
}

// testRun claims, and then frees, one extent in one state.
func testRun(t *testing.T, build func() (*Allocator, *model), e extent) {
	t.Helper()
	a, m := build()
	free, inside := m.count(e), a.InSpace(e)
	if want := inside && free == int(e.Len); a.IsFree(e) != want || a.AnyFree(e) != (free > 0) {
		t.Fatalf("%v: IsFree %v, AnyFree %v, but %d are free", e, a.IsFree(e), a.AnyFree(e), free)
	}
	if a.Claim(e) {
		m.set(e, false)
	} else if inside && free == int(e.Len) {
		t.Fatalf("claim of free %v failed", e)
	}
	m.compare(t, a)
	if inside && m.count(e) == 0 {
		a.Free(e)
		m.set(e, true)
		m.compare(t, a)
	} else if !panics(func() { a.Free(e) }) {
		t.Fatalf("free of %v with %d free blocks did not panic", e, free)
	}
}

func panics(fn func()) (yes bool) {
	defer func() { yes = recover() != nil }()
	fn()
	return false
}

// TestModel runs random allocations, releases, claims, and space maps over a space with all size classes.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		space := []extent{{Start: 16, Len: 300}, {Start: 400, Len: 40_000}, {Start: 40_400, Len: 600}}
		a, m := NewFree(space, 4), newModel(space)
		for _, e := range space {
			m.set(e, true)
		}
		var held []extent
		free := a.FreeMap() // is told of everything
		claim := func(e extent) {
			m.set(e, false)
			if !free.Claim(e) || free.Claim(e) {
				t.Fatalf("claim of %v from the map", e)
			}
		}
		length := rapid.OneOf(rapid.Uint32Range(1, 20), rapid.Uint32Range(1, 300), rapid.Uint32Range(1, 30_000))
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 6).Draw(t, "op") {
			case 0, 1, 2:
				want := blockCount(length.Draw(t, "want"))
				least := blockCount(rapid.Uint32Range(1, uint32(want)).Draw(t, "least"))
				e, ok := a.AllocRun(want, least, blockNo(rapid.Uint64Range(0, 41_200).Draw(t, "hint")))
				m.checkTaken(t, e, ok, want, least)
				if ok {
					held = append(held, e)
					claim(e)
				}
			case 3, 4:
				if len(held) > 0 {
					i := rapid.IntRange(0, len(held)-1).Draw(t, "which")
					e := held[i]
					if e.Len > 1 && rapid.Bool().Draw(t, "half") { // give only its front back
						held[i] = extent{Start: e.Start + blockNo(e.Len/2), Len: e.Len - e.Len/2}
						e.Len /= 2
					} else {
						held = append(held[:i], held[i+1:]...)
					}
					a.Free(e)
					free.Free(e)
					m.set(e, true)
				}
			case 5:
				n := blockCount(length.Draw(t, "all"))
				before := a.FreeBlocks()
				got, ok := a.AllocAll(n, 0, nil)
				if ok != (before >= uint64(n)) {
					t.Fatalf("AllocAll(%d) = %v with %d free", n, ok, before)
				}
				for _, e := range got {
					claim(e)
				}
				held = append(held, got...)
			case 6:
				e := extent{Start: blockNo(rapid.Uint64Range(400, 40_000).Draw(t, "from")), Len: blockCount(length.Draw(t, "claim"))}
				if e.Len = min(e.Len, blockCount(40_400-e.Start)); m.count(e) < int(e.Len) && free.Claim(e) {
					t.Fatalf("claimed %v, of which %d blocks are free", e, m.count(e))
				}
			}
			m.compare(t, a)
			compareRuns(t, free, m.runs())
		}
		mapRoundTrip(t, a, space)
	})
}

// ascender is a set of free extents.
type ascender interface {
	Ascend(fn func(e extent) bool)
}

func compareRuns(t fataler, s ascender, want []extent) {
	t.Helper()
	if m, ok := s.(*FreeMap); ok {
		if err := m.check(); err != nil {
			t.Fatalf("%v", err)
		}
	}
	i := 0
	s.Ascend(func(e extent) bool {
		if i >= len(want) || want[i] != e {
			t.Fatalf("free extent %d is %v, want of %v", i, e, want)
		}
		i++
		return true
	})
	if i != len(want) {
		t.Fatalf("%d free extents, want %d", i, len(want))
	}
}

func encodeMap(a *Allocator, step int) ([]byte, format.SpaceMapHeader) {
	e := NewMapEncoder(a.FreeMap(), format.SpaceMapHeader{Epoch: 7, Self: 100, Slice: 1, Store: format.UUID{1}})
	for !e.Step(step) {
	}
	return e.Bytes(), e.Header()
}

func mapRoundTrip(t fataler, a *Allocator, space []extent) {
	t.Helper()
	place := format.Place{Device: "test", Extent: extent{Start: 100, Len: 1}}
	b, h := encodeMap(a, 3)
	if whole, _ := encodeMap(a, 1<<30); string(whole) != string(b) {
		t.Fatalf("a map written in steps differs from one written at once")
	}
	if room := int(format.SpaceMapBlocks(a.SpaceBlocks())) * format.BlockBytes; len(b) > room {
		t.Fatalf("map of %d bytes in a region of %d", len(b), room)
	}
	got, h2, err := DecodeMap(place, b, space, 4)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if h != h2 {
		t.Fatalf("header %+v became %+v", h, h2)
	}
	if err := got.Check(); err != nil {
		t.Fatalf("%v", err)
	}
	var want []extent
	a.Ascend(func(e extent) bool { want = append(want, e); return true })
	compareRuns(t, &got.free, want)
}

// Thousands of extents, as of a store that was overwritten at random for long: the sets, three levels high, against the map.
func TestManyExtents(t *testing.T) {
	space := []extent{{Start: 8, Len: 30_000}, {Start: 40_000, Len: 60_000}}
	rng := rand.New(rand.NewPCG(5, 6))
	a := NewFree(space, 4)
	m := a.FreeMap()
	for step := range 60_000 {
		home := space[rng.IntN(2)]
		e := extent{Start: home.Start + blockNo(rng.Uint64N(uint64(home.Len))), Len: blockCount(1 + rng.IntN(1+rng.IntN(40)))}
		e.Len = min(e.Len, blockCount(home.End()-e.Start))
		switch took := a.Claim(e); {
		case took != m.Claim(e):
			t.Fatalf("step %d: %v: claimed %v", step, e, took)
		case took:
		case !a.AnyFree(e):
			a.Free(e)
			m.Free(e)
		}
		if step%30 == 0 {
			if e, ok := a.AllocRun(e.Len, 1, e.Start); ok && !m.Claim(e) {
				t.Fatalf("step %d: %v was given out and is not free", step, e)
			}
		}
		if step%5000 == 0 {
			if err := a.Check(); err != nil {
				t.Fatal(err)
			}
			var want []extent
			m.Ascend(func(e extent) bool { want = append(want, e); return true })
			compareRuns(t, a, want)
		}
	}
	if a.Runs() < 3000 || a.FreeBlocks() != m.FreeBlocks() {
		t.Fatalf("%d extents, %d blocks; the map has %d", a.Runs(), a.FreeBlocks(), m.FreeBlocks())
	}
}
