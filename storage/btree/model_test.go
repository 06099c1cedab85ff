package btree

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"basalt/storage/format"
)

// TestModel folds random changes and range deletions, in many shapes of tree, and compares with a map after each.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := rigOptions{
			blocks: 6000, nodeBytes: rapid.SampledFrom([]int{4096, 8192, 16384}).Draw(t, "node"),
			entriesMax: rapid.SampledFrom([]int{0, 4, 5, 8, 17}).Draw(t, "entries"),
			inlineMax:  rapid.SampledFrom([]int{0, 20, 300}).Draw(t, "inline"),
			batch:      rapid.SampledFrom([]int{0, 65536}).Draw(t, "batch"),
		}
		r, done := newRig(t, o)
		r.env.short = rapid.Bool().Draw(t, "short")
		key := keyGen(rapid.IntRange(0, 3).Draw(t, "keys"))
		for range rapid.IntRange(1, 12).Draw(t, "folds") {
			changes := map[string]*string{}
			for range rapid.IntRange(0, 80).Draw(t, "changes") {
				k := key.Draw(t, "key")
				if rapid.IntRange(0, 9).Draw(t, "delete") < 3 {
					changes[k] = nil
					continue
				}
				v := strings.Repeat(string(rune('a'+len(k)%26)), rapid.OneOf(rapid.IntRange(0, 40),
					rapid.IntRange(0, 40), rapid.IntRange(0, 1200), rapid.IntRange(0, 9000)).Draw(t, "len"))
				changes[k] = &v
			}
			r.fold(changes, drawRanges(t, key))
			r.check()
			for range 4 {
				k := key.Draw(t, "look")
				v, ok := r.get(k)
				if want, have := r.want[k]; ok != have || v != want {
					t.Fatalf("get %q: %q %v, want %q %v", k, v, ok, want, have)
				}
				if got, want := r.scan(k, 7), r.wantScan(k, 7); !slices.Equal(got, want) {
					t.Fatalf("scan from %q: %q, want %q", k, got, want)
				}
				if got, want := r.back(k, 7), r.wantBack(k, 7); !slices.Equal(got, want) {
					t.Fatalf("back from %q: %q, want %q", k, got, want)
				}
			}
			if rapid.Bool().Draw(t, "release") {
				r.env.release()
			}
		}
		done()
	})
}

// keyGen makes keys of several kinds: dense, spread, with long common prefixes, of any bytes.
func keyGen(kind int) *rapid.Generator[string] {
	switch kind {
	case 0:
		return rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("%04d", rapid.IntRange(0, 400).Draw(t, "n")) })
	case 1:
		return rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("%08x", rapid.Uint32().Draw(t, "n")) })
	case 2:
		return rapid.Custom(func(t *rapid.T) string {
			return strings.Repeat("p", rapid.SampledFrom([]int{300, 300, 40, 480}).Draw(t, "p")) +
				fmt.Sprint(rapid.IntRange(0, 3000).Draw(t, "n"))
		})
	}
	return rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.Byte(), 0, 6).Draw(t, "bytes"))
	})
}

func drawRanges(t *rapid.T, key *rapid.Generator[string]) (out []Range) {
	ends := []string{}
	for range 2 * rapid.SampledFrom([]int{0, 0, 1, 2, 4}).Draw(t, "ranges") {
		ends = append(ends, key.Draw(t, "end"))
	}
	sort.Strings(ends)
	ends = slices.Compact(ends)
	for i := 0; i+1 < len(ends); i += 2 {
		out = append(out, Range{[]byte(ends[i]), []byte(ends[i+1])})
	}
	return out
}

// TestDropped: of what range deletions take, and of nothing else, the store is told what it asks for.
func TestDropped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, done := newRig(t, rigOptions{blocks: 4000, nodeBytes: 4096, entriesMax: 5, inlineMax: 30})
		key := keyGen(0)
		fill := map[string]*string{}
		for range rapid.IntRange(1, 150).Draw(t, "n") {
			k := key.Draw(t, "key")
			v := strings.Repeat(k, rapid.IntRange(0, 12).Draw(t, "times"))
			fill[k] = &v
		}
		r.fold(fill, nil)
		wantLo, wantHi := key.Draw(t, "lo"), key.Draw(t, "hi")
		inside := func(k string) bool { return k >= wantLo && k < wantHi }
		r.env.visit = func(lo, hi []byte) bool {
			return wantLo < wantHi && string(lo) < wantHi && (hi == nil || string(hi) > wantLo)
		}
		ranges := drawRanges(t, key)
		src := &listSource{ranges: ranges}
		settled := map[string]bool{}
		before := map[string]string{}
		keys := []string{}
		for k, v := range r.want {
			before[k] = v
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			if rapid.IntRange(0, 4).Draw(t, "change") == 0 {
				settled[k] = rapid.Bool().Draw(t, "settled")
				src.changes = append(src.changes, Change{Key: []byte(k), Val: []byte("new"), Settled: settled[k]})
			}
		}
		r.epoch++
		root, err := r.tree.Fold(nil, r.root, r.epoch, src, r.env)
		if err != nil {
			t.Fatalf("fold: %v", err)
		}
		r.root = root
		var want []string
		for _, k := range keys {
			gone := false
			for _, x := range ranges {
				gone = gone || (k >= string(x.Lo) && k < string(x.Hi))
			}
			if s, changed := settled[k]; changed {
				r.want[k] = "new"
				gone = gone && !s
			} else if gone {
				delete(r.want, k)
			}
			if gone && inside(k) {
				want = append(want, k+"="+before[k])
			}
		}
		var got []string
		for _, d := range r.env.dropped { // the store also sees neighbours, and ignores what it does not know
			if inside(d[:4]) {
				got = append(got, d)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("dropped %q, want %q", got, want)
		}
		r.check()
		done()
	})
}

// TestGrowAndShrink takes a tree up several levels and back to nothing, by single deletions and by one range.
func TestGrowAndShrink(t *testing.T) {
	for _, byRange := range []bool{false, true} {
		r, done := newRig(t, rigOptions{blocks: 8000, nodeBytes: 4096, entriesMax: 4})
		all := map[string]*string{}
		for i := range 1000 {
			v := fmt.Sprint(i)
			all[fmt.Sprintf("%05d", i)] = &v
		}
		r.fold(all, nil)
		r.check()
		if r.root.Height < 5 {
			t.Fatalf("1000 entries at 4 a node stand %d levels high", r.root.Height)
		}
		r.env.release()
		if byRange {
			reads := r.tree.folded.read
			r.fold(nil, []Range{{[]byte("00001"), []byte("9")}})
			if n := r.tree.folded.read - reads; n > 500 {
				t.Errorf("a range deletion of nearly all read %d nodes: leaves too", n)
			}
			r.check()
			if r.root.Height != 1 {
				t.Errorf("one entry stands %d levels high", r.root.Height)
			}
			r.fold(map[string]*string{"00000": nil}, nil)
		} else {
			for i := range 1000 {
				r.fold(map[string]*string{fmt.Sprintf("%05d", i*7%1000): nil}, nil)
				r.env.release()
				if i%97 == 0 {
					r.check()
				}
			}
		}
		r.check()
		if r.root != (Root{}) {
			t.Errorf("the empty tree is %+v", r.root)
		}
		r.env.release()
		if free := r.env.a.FreeBlocks(); free != uint64(r.space.Len) {
			t.Errorf("%d of %d blocks are free in the end", free, r.space.Len)
		}
		done()
	}
}

// TestWriteAmplification: one change in a full tree rewrites one path, not its neighbours.
func TestWriteAmplification(t *testing.T) {
	r, done := newRig(t, rigOptions{blocks: 20000, nodeBytes: 4096})
	defer done()
	all := map[string]*string{}
	v := strings.Repeat("v", 60)
	for i := range 20000 {
		all[fmt.Sprintf("%08d", i)] = &v
	}
	r.fold(all, nil)
	r.env.release()
	for i := range 20 {
		before := r.tree.folded.written
		r.fold(map[string]*string{fmt.Sprintf("%08dx", i*911): &v}, nil)
		r.env.release()
		if n := r.tree.folded.written - before; n > uint64(2*r.root.Height) {
			t.Fatalf("one insertion wrote %d nodes in a tree of %d levels", n, r.root.Height)
		}
	}
	r.check()
	nodes := 0
	if err := r.tree.Walk(nil, r.root, Visitor{Node: func(_ format.Extent, _ format.ChildPtr, _ int) error { nodes++; return nil }}); err != nil {
		t.Fatal(err)
	}
	if least := 20000 * (60 + 8 + 6) / 4096; nodes > least*3/2 {
		t.Errorf("bulk load left %d nodes, %d would be full", nodes, least)
	}
}
