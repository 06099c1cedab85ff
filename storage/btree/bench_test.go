package btree

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

func benchRig(b *testing.B, n, nodeBytes int) (*rig, func()) {
	r, done := newRig(b, rigOptions{blocks: 8000, nodeBytes: nodeBytes, cache: 14 << 20})
	all := map[string]*string{}
	v := strings.Repeat("v", 100)
	for i := range n {
		all[benchKey(i)] = &v
	}
	r.fold(all, nil)
	for i := range n {
		r.get(benchKey(i))
	}
	return r, done
}

// benchKey looks like the key of a directory entry: prefix, parent, hash, name.
func benchKey(i int) string {
	h := binary.BigEndian.AppendUint64(nil, uint64(i)*0x9e3779b97f4a7c15)
	return "\x00\x01\x04\x02\x00\x01\x00\x00\x00\x00\x00\x07" + string(h) + fmt.Sprintf("file-%06d.txt", i)
}

// TestGetAllocatesNothing is the promise about the cached path.
func TestGetAllocatesNothing(t *testing.T) {
	r, done := filled(t, rigOptions{blocks: 2000, nodeBytes: 16384, cache: 8 << 20}, 5000, 50)
	defer done()
	key := []byte("004711")
	r.get("004711")
	if n := testing.AllocsPerRun(200, func() {
		if _, found, miss := r.tree.Get(r.root, key); !found || !miss.None() {
			t.Fatal("not found")
		}
	}); n != 0 {
		t.Errorf("Get allocates %v times", n)
	}
	c := r.tree.Cursor(r.root)
	if n := testing.AllocsPerRun(200, func() {
		if m := c.Seek(key); !m.None() || !c.Valid() {
			t.Fatal("not found")
		}
		if m := c.Next(); !m.None() {
			t.Fatal("missing")
		}
	}); n != 0 {
		t.Errorf("Seek and Next allocate %v times", n)
	}
}

func BenchmarkGet(b *testing.B) {
	for _, size := range []int{4096, 8192, 16384} {
		b.Run(fmt.Sprintf("node=%d", size), func(b *testing.B) {
			r, done := benchRig(b, 50_000, size)
			defer done()
			keys := make([][]byte, 4096)
			for i := range keys {
				keys[i] = []byte(benchKey(i * 12))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if _, found, _ := r.tree.Get(r.root, keys[i%len(keys)]); !found {
					b.Fatal("not found")
				}
			}
		})
	}
}

func BenchmarkNext(b *testing.B) {
	r, done := benchRig(b, 50_000, 16384)
	defer done()
	c := r.tree.Cursor(r.root)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if !c.Valid() {
			c.Seek(nil)
		}
		c.Next()
	}
}

// BenchmarkFold rewrites random entries of a tree, as a checkpoint does; one operation is one change.
func BenchmarkFold(b *testing.B) {
	for _, n := range []int{100, 5000} {
		b.Run(fmt.Sprintf("changes=%d", n), func(b *testing.B) {
			r, done := benchRig(b, 50_000, 16384)
			defer done()
			v := strings.Repeat("w", 100)
			b.ReportAllocs()
			for done := 0; done < b.N; done += n {
				b.StopTimer()
				changes := map[string]*string{}
				for i := range n {
					changes[benchKey((i*7919+done)%50_000)] = &v
				}
				r.env.release()
				b.StartTimer()
				r.fold(changes, nil)
			}
		})
	}
}
