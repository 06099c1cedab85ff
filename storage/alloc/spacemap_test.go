package alloc

import (
	"testing"

	"basalt/storage/format"
)

var mapSpace = []extent{{Start: 100, Len: 50}, {Start: 200, Len: 14}}

// sealed is a whole map with that payload and a crc that matches.
func sealed(payload []byte, change func(h *format.SpaceMapHeader)) []byte {
	h := format.SpaceMapHeader{Store: format.UUID{1}, Self: 100, Encoding: format.SpaceMapRuns, Blocks: 64}
	change(&h)
	b := append(make([]byte, format.SpaceMapHeaderBytes), payload...)
	format.SealSpaceMap(b, &h, format.Crc(payload))
	return b
}

func decode(b []byte) (*Allocator, error) {
	a, _, err := DecodeMap(format.Place{Device: "test", Extent: extent{Start: 100, Len: 1}}, b, mapSpace, 4)
	return a, err
}

func TestMapRefuses(t *testing.T) {
	good := sealed([]byte{5, 10}, func(h *format.SpaceMapHeader) { h.Free, h.Runs = 10, 1 })
	if _, err := decode(good); err != nil {
		t.Fatal(err)
	}
	runs := func(free, n uint64) func(h *format.SpaceMapHeader) {
		return func(h *format.SpaceMapHeader) { h.Free, h.Runs = free, n }
	}
	bits := func(h *format.SpaceMapHeader) { h.Encoding, h.Free, h.Runs = format.SpaceMapBitmap, 1, 1 }
	for name, b := range map[string][]byte{
		"counts":          sealed([]byte{5, 10}, runs(11, 1)),
		"runs":            sealed([]byte{5, 10}, runs(10, 2)),
		"outside":         sealed([]byte{60, 5}, runs(5, 1)),
		"far":             sealed([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, runs(5, 1)),
		"empty run":       sealed([]byte{5, 0}, runs(0, 0)),
		"half a run":      sealed([]byte{5}, runs(0, 0)),
		"unended":         sealed([]byte{0x80, 0x80}, runs(0, 0)),
		"touching runs":   sealed([]byte{5, 3, 0, 3}, runs(6, 2)),
		"blocks":          sealed([]byte{5, 10}, func(h *format.SpaceMapHeader) { h.Free, h.Runs, h.Blocks = 10, 1, 65 }),
		"self":            sealed([]byte{5, 10}, func(h *format.SpaceMapHeader) { h.Free, h.Runs, h.Self = 10, 1, 101 }),
		"short bitmap":    sealed([]byte{1}, bits),
		"encoding":        sealed([]byte{5, 10}, func(h *format.SpaceMapHeader) { h.Free, h.Runs, h.Encoding = 10, 1, 3 }),
		"cut":             good[:len(good)-1],
		"cut header":      good[:50],
		"flipped payload": append(append([]byte(nil), good[:len(good)-1]...), 11),
	} {
		if _, err := decode(b); !format.IsCorrupt(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	mapSpace = mapSpace[:1] // a bitmap of 50 blocks has 6 bits to spare, and they must be zero
	defer func() { mapSpace = mapSpace[:2] }()
	spare := sealed([]byte{1, 0, 0, 0, 0, 0, 4}, func(h *format.SpaceMapHeader) { bits(h); h.Blocks, h.Free, h.Runs = 50, 2, 2 })
	if _, err := decode(spare); !format.IsCorrupt(err) {
		t.Errorf("bits behind the end: %v", err)
	}
}

// FuzzDecodeMap: no panic, and what is accepted is a sound allocator that encodes to a map of the same meaning.
func FuzzDecodeMap(f *testing.F) {
	f.Add([]byte{5, 10}, false, uint64(10), uint64(1))
	f.Add([]byte{0xff, 0, 0, 0, 0, 0, 0, 0x80}, true, uint64(9), uint64(2))
	f.Fuzz(func(t *testing.T, payload []byte, bitmap bool, free, runs uint64) {
		b := sealed(payload, func(h *format.SpaceMapHeader) {
			h.Free, h.Runs = free, runs
			if bitmap {
				h.Encoding = format.SpaceMapBitmap
			}
		})
		a, err := decode(b)
		if err != nil {
			if !format.IsCorrupt(err) {
				t.Fatal(err)
			}
			return
		}
		if err := a.Check(); err != nil {
			t.Fatal(err)
		}
		mapRoundTrip(t, a, mapSpace)
	})
}

// BenchmarkAged allocates and frees on a slice that is 80 % full and torn into single pieces.
func BenchmarkAged(b *testing.B) {
	const blocks = 1 << 22 // 16 GiB
	a := New([]extent{{Start: 0, Len: blocks}}, 4)
	seed := uint64(1)
	next := func() uint64 { seed = seed*6364136223846793005 + 1442695040888963407; return seed >> 33 }
	for at := uint64(0); at < blocks-64; {
		n := 1 + next()%8
		a.Free(extent{Start: blockNo(at), Len: blockCount(n)})
		at += n + 1 + next()%36
	}
	held := make([]extent, 1024)
	b.ReportMetric(float64(a.Runs()), "runs")
	b.ResetTimer()
	for i := range b.N {
		slot := i % len(held)
		if held[slot].Len > 0 {
			a.Free(held[slot])
		}
		e, ok := a.Alloc(blockCount(1+next()%12), blockNo(next()%blocks))
		if !ok {
			b.Fatal("full")
		}
		held[slot] = e
	}
}

// BenchmarkMapEncode writes the map of a fragmented slice.
func BenchmarkMapEncode(b *testing.B) {
	a := New([]extent{{Start: 0, Len: 1 << 22}}, 4)
	for at := range blockNo(1 << 17) {
		a.Free(extent{Start: at * 32, Len: 3})
	}
	b.ResetTimer()
	for range b.N {
		m, _ := encodeMap(a, 1<<30)
		b.SetBytes(int64(len(m)))
	}
}

// What is free cannot come free again, whatever of it is: the map would count it twice.
func TestFreeMapRefusesWhatIsFree(t *testing.T) {
	space := []extent{{Start: 100, Len: 200}, {Start: 300, Len: 200}}
	for _, e := range []extent{{Start: 150, Len: 1}, {Start: 149, Len: 2}, {Start: 150, Len: 10}, {Start: 110, Len: 100}, {Start: 290, Len: 20}, {Start: 99, Len: 2}} {
		m := New(space, 4).FreeMap()
		m.Free(extent{Start: 150, Len: 5})
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v came free beside 150~5", e)
				}
			}()
			m.Free(e)
		}()
		compareRuns(t, m, []extent{{Start: 150, Len: 5}})
	}
}

// A map that is longer than one step reaches, with few and with many runs, and with runs that end with the space's extents.
func TestLongMaps(t *testing.T) {
	space := []extent{{Start: 64, Len: 100_003}, {Start: 100_067, Len: 50_001}, {Start: 400_000, Len: 9}}
	for gap := blockCount(1); gap < 60_000; gap = gap*3 + 1 {
		a := New(space, 4)
		for _, s := range space {
			for at := s.Start; at < s.End(); at += blockNo(2 * gap) {
				a.Free(extent{Start: at, Len: min(gap, blockCount(s.End()-at))})
			}
		}
		mapRoundTrip(t, a, space)
	}
}
