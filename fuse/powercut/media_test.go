package powercut

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// fresh is a medium of 64 KiB of ones, and what the cut says.
func fresh(t *testing.T) (m *Media, cut *Counts, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "media")
	if err := os.WriteFile(path, bytes.Repeat([]byte{1}, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	cut = &Counts{}
	m, err := Open(path, func(c Counts) { *cut = c })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m, cut, path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func onMedia(t *testing.T, path string) []byte {
	t.Helper()
	p, err := os.ReadFile(path)
	must(t, err)
	return p
}

func TestOnlyAFlushReachesTheMedia(t *testing.T) {
	m, _, path := fresh(t)
	before := onMedia(t, path)
	must(t, m.WriteAt(bytes.Repeat([]byte{2}, 5000), 3000))
	must(t, m.Zero(6000, 1000))
	must(t, m.WriteAt([]byte{3}, 6500))
	want := bytes.Clone(before)
	copy(want[3000:], bytes.Repeat([]byte{2}, 5000))
	clear(want[6000:7000])
	want[6500] = 3
	have := make([]byte, len(want))
	must(t, m.ReadAt(have, 0))
	if !bytes.Equal(have, want) {
		t.Fatal("a reader does not see what was written last")
	}
	if !bytes.Equal(onMedia(t, path), before) {
		t.Fatal("the media changed without a flush")
	}
	must(t, m.ReadAt(have[:100], 6450))
	if !bytes.Equal(have[:100], want[6450:6550]) {
		t.Fatal("a short read shows something else")
	}
	if c := m.Counts(); c.Held != 3 || c.HeldBytes != 6001 || c.Writes != 2 || c.Zeroes != 1 {
		t.Fatalf("counted %+v", c)
	}
	must(t, m.Flush())
	if !bytes.Equal(onMedia(t, path), want) {
		t.Fatal("the flush did not write what was held back")
	}
	if c := m.Counts(); c.Held != 0 || c.HeldBytes != 0 || c.Flushes != 1 {
		t.Fatalf("counted %+v after the flush", c)
	}
	if m.WriteAt([]byte{1}, 64<<10) == nil || m.ReadAt(have, 1) == nil {
		t.Fatal("what is behind the end was taken")
	}
}

// Every sector of what was held back is old or new, what was flushed is there, and over the seeds everything happens that may.
func TestCutKeepsLosesOrTears(t *testing.T) {
	var kept, lost, torn, tornSectors, tornPages int
	for seed := range uint64(300) {
		m, cut, path := fresh(t)
		must(t, m.WriteAt(bytes.Repeat([]byte{2}, 4096), 0))
		must(t, m.Flush())
		m.CutAfter(Aim{}, 3, seed)
		must(t, m.WriteAt(bytes.Repeat([]byte{3}, 16<<10), 16<<10))
		must(t, m.WriteAt(bytes.Repeat([]byte{4}, 4<<10), 48<<10))
		if err := m.WriteAt(bytes.Repeat([]byte{5}, 512), 60<<10); !errors.Is(err, ErrPower) {
			t.Fatalf("the third operation says %v", err)
		}
		if cut.Held != 3 || cut.Kept+cut.Lost+cut.Torn != 3 || !cut.Cut || cut.CutIn != "write" {
			t.Fatalf("the cut says %+v", *cut)
		}
		p := onMedia(t, path)
		want := bytes.Repeat([]byte{1}, 64<<10)
		copy(want, bytes.Repeat([]byte{2}, 4096))
		for s := 0; s < len(p); s += SectorBytes {
			sector := p[s : s+SectorBytes]
			isNew := s >= 16<<10 && s < 32<<10 && sector[0] == 3 || s >= 48<<10 && s < 52<<10 && sector[0] == 4 || s == 60<<10 && sector[0] == 5
			if bytes.Count(sector, sector[:1]) != SectorBytes || !isNew && !bytes.Equal(sector, want[s:s+SectorBytes]) {
				t.Fatalf("seed %d: sector %d is neither old nor new", seed, s/SectorBytes)
			}
			if isNew != (p[s/PageBytes*PageBytes] > 2) && s < 52<<10 {
				tornSectors++
			}
		}
		if a, b := p[16<<10], p[28<<10]; a != b {
			tornPages++
		}
		kept, lost, torn = kept+cut.Kept, lost+cut.Lost, torn+cut.Torn
		for _, err := range []error{m.Flush(), m.WriteAt(p[:512], 0), m.Zero(0, 512), m.ReadAt(p[:512], 0)} {
			if !errors.Is(err, ErrPower) {
				t.Fatalf("after the cut something is answered: %v", err)
			}
		}
		if !bytes.Equal(p[512:], onMedia(t, path)[512:]) {
			t.Fatal("the media changed after the cut")
		}
	}
	if kept < 200 || lost < 200 || torn < 200 || tornSectors < 200 || tornPages < 50 {
		t.Fatalf("kept %d, lost %d, torn %d (%d sectors unlike their page, %d pages unlike their write)", kept, lost, torn, tornSectors, tornPages)
	}
}

func TestACutFlushMayHaveDoneAnyPart(t *testing.T) {
	parts := map[int]bool{}
	for seed := range uint64(64) {
		m, cut, path := fresh(t)
		m.CutAfter(Aim{}, 4, seed)
		for i := range int64(3) {
			must(t, m.WriteAt(bytes.Repeat([]byte{9}, 512), i*4096))
		}
		if err := m.Flush(); !errors.Is(err, ErrPower) || cut.CutIn != "flush" {
			t.Fatalf("the flush says %v, cut in %q", err, cut.CutIn)
		}
		parts[bytes.Count(onMedia(t, path), []byte{9})/512] = true
	}
	if len(parts) != 4 {
		t.Fatalf("only so many of three writes were ever there: %v", parts)
	}
}

func TestAFullCacheWritesItselfBack(t *testing.T) {
	m, _, path := fresh(t)
	m.heldMax = 8 << 10
	for i := range int64(3) {
		must(t, m.WriteAt(bytes.Repeat([]byte{7}, 4096), i*4096))
	}
	if c := m.Counts(); c.Held != 0 || c.Written != 1 || bytes.Count(onMedia(t, path), []byte{7}) != 3*4096 {
		t.Fatalf("counted %+v", c)
	}
}

// An aimed cut waits for its place to be written.
func TestCutIsAimed(t *testing.T) {
	m, cut, _ := fresh(t)
	m.CutAfter(Aim{Places: []Span{{4096, 4096}, {16384, 4096}}, Times: 2}, 2, 1)
	must(t, m.WriteAt(make([]byte, 4096), 0))
	must(t, m.WriteAt(make([]byte, 512), 8191))
	must(t, m.WriteAt(make([]byte, 4096), 20480))
	must(t, m.Flush())
	must(t, m.WriteAt(make([]byte, 8192), 12288)) // the second time: the first operation that counts
	if err := m.Flush(); !errors.Is(err, ErrPower) || !cut.Cut || cut.Held != 1 {
		t.Fatalf("the flush after it says %v, the cut %+v", err, *cut)
	}
}
