package format

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// packed makes a node of keys, which it sorts, with values of so many bytes.
func packed(keys [][]byte, valueBytes, level int) Node {
	slices.SortFunc(keys, bytes.Compare)
	keys = slices.CompactFunc(keys, bytes.Equal)
	var entries []Entry
	size := NodeHeaderBytes
	for _, k := range keys {
		e := Entry{Key: k, Val: make([]byte, valueBytes)}
		for i := range e.Val {
			e.Val[i] = 0xff // what follows a short key must not look like a part of it
		}
		if size += e.CellBytes(level); size > NodeBytesMax {
			break
		}
		entries = append(entries, e)
	}
	b := make([]byte, NodeBytesMax)
	EncodeNode(b, &NodeHeader{Level: uint8(level)}, entries)
	return b
}

// plainSearch is what Search does, without any thought.
func plainSearch(n Node, key []byte) (int, bool) {
	for i := range n.Count() {
		if c := bytes.Compare(n.AppendKey(nil, i), key); c >= 0 {
			return i, c == 0
		}
	}
	return n.Count(), false
}

// Search, with an index and without, against a plain one: keys of all lengths, zeros at the end, first bytes that are all the same; in a node that
// has room left and in one that is full to the last byte.
func TestSearchFindsWhatIsThere(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	kinds := map[string]func(i int) []byte{
		"dense":     func(i int) []byte { return number(uint64(i)) },
		"random":    func(int) []byte { return number(rng.Uint64()) },
		"gaps":      func(i int) []byte { return number(1 << (i % 64)) },
		"squares":   func(i int) []byte { return number(uint64(i) * uint64(i) * uint64(i)) },
		"two piles": func(i int) []byte { return number(uint64(i%2)<<63 + uint64(i)) },
		"names":     func(i int) []byte { return fmt.Appendf(nil, "directory/file-%d.txt", i) },
		"same head": func(i int) []byte {
			return fmt.Appendf(nil, "%s-%07d", []string{"aaaaaaaaaaaa", "b"}[i%2], rng.IntN(1000))
		},
		"zeros": func(i int) []byte { return append([]byte{1, byte(i % 3)}, make([]byte, i%20)...) },
		"short": func(i int) []byte { return number(uint64(i * 7))[6-i%3*2:] },
		"empty": func(i int) []byte { return make([]byte, i%4) },
		"left edge": func(i int) []byte {
			return AppendExtentKey(nil, 1, []byte("object"), uint64(64*i))[:min(i, 1)*(18-i%2*5)]
		},
		"another at the left": func(i int) []byte { return fmt.Appendf(nil, "%s%05d", []string{"same", "s"}[1/(i+1)], i) },
		"short at the left":   func(i int) []byte { return fmt.Appendf(nil, "same%0*d", 5*min(i, 1), i)[:4+min(i, 1)*5] },
	}
	for name, kind := range kinds {
		for _, count := range []int{1, 2, 15, 16, 17, 100, 400} {
			for level := range 2 {
				var keys [][]byte
				for i := range count {
					keys = append(keys, kind(i))
				}
				loose := packed(append(slices.Clone(keys), bytes.Repeat([]byte{0xff}, 20)), 3, level) // its keys have more in common than the prefix
				n := packed(keys, 3, level)
				plain := slices.Clone(n[:n.Used()])
				le.PutUint16(loose[6:], uint16(n.Count()))
				IndexNode(n)
				IndexNode(loose)
				var probes [][]byte
				for _, k := range keys {
					probes = append(probes, k, append(slices.Clone(k), 0), k[:len(k)/2], append(slices.Clone(k), 0xff))
					if len(k) > 0 {
						up := slices.Clone(k)
						up[rng.IntN(len(up))]++
						probes = append(probes, up)
					}
				}
				last := n.AppendKey(nil, n.Count()-1)
				for i := range last {
					probes = append(probes, last[:i])
				}
				for _, k := range append(probes, nil, []byte{0}, []byte{0xff, 0xff}) {
					j, same := plainSearch(n, k)
					for _, n := range []Node{n, plain, loose} {
						if i, equal := n.Search(k); i != j || equal != same {
							t.Fatalf("%s, %d keys: %x is found at %d (%v), it belongs to %d (%v)", name, count, k, i, equal, j, same)
						}
					}
				}
			}
		}
	}
}

// coldNodes are more than the processor's caches hold.
func coldNodes(kind string) (nodes []Node, keys [][][]byte) {
	rng := rand.New(rand.NewPCG(9, 10))
	for i := range 1500 {
		var list [][]byte
		size := 4
		switch kind {
		case "extents": // of an object whose blocks were overwritten one by one
			size = ExtentRecordHeader + 4
			for k := range 380 {
				list = append(list, AppendExtentKey(nil, 1, []byte("random"), uint64(380*i+k)))
			}
		case "hashes":
			size = 100
			for range 110 {
				list = append(list, AppendUserKey(nil, 1, binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, rng.Uint64()), 1)))
			}
		case "names":
			size = 40
			for k := range 120 {
				list = append(list, AppendUserKey(nil, 1, fmt.Appendf(nil, "some/directory/%08d.txt", 150*i+k+rng.IntN(2))))
			}
		}
		n := packed(list, size, 0)
		n = n[:NodeBytesDefault]
		IndexNode(n)
		nodes = append(nodes, n)
		keys = append(keys, list)
	}
	return nodes, keys
}

func BenchmarkSearchCold(b *testing.B) {
	for _, kind := range []string{"extents", "hashes", "names"} {
		b.Run(kind, func(b *testing.B) {
			nodes, keys := coldNodes(kind)
			rng := rand.New(rand.NewPCG(11, 12))
			at, key := make([]int, 1<<16), make([][]byte, 1<<16)
			for i := range at {
				at[i] = rng.IntN(len(nodes))
				key[i] = slices.Clone(keys[at[i]][rng.IntN(len(keys[at[i]]))])
			}
			b.ResetTimer()
			for i := range b.N {
				nodes[at[i%len(at)]].Search(key[i%len(at)])
			}
		})
	}
}

// The quick check of a node says of every damage what the thorough one says.
func TestSoundIsWhatCheckEntriesFinds(t *testing.T) {
	rng := rand.New(rand.NewPCG(15, 16))
	good, bad := 0, 0
	for range 40_000 {
		var keys [][]byte
		for i := range 1 + rng.IntN(12) {
			keys = append(keys, fmt.Appendf(nil, "key%0*d", 1+rng.IntN(10), i*rng.IntN(50)))
		}
		n := packed(keys, rng.IntN(30), rng.IntN(2))[:NodeBytesMin]
		used := n.Used()
		for range rng.IntN(3) { // where it matters: counts, slots, cells, and the zeros behind
			at := []int{rng.IntN(NodeHeaderBytes), rng.IntN(used), rng.IntN(min(used+20, len(n))), rng.IntN(len(n))}[rng.IntN(4)]
			n[at] ^= 1 << rng.IntN(8)
		}
		p := Place{Extent: Extent{Start: BlockNo(le.Uint64(n[24:]))}}
		if _, err := DecodeNodeHeader(p, n); err != nil {
			continue
		}
		_, err := CheckEntries(p, n)
		if n.sound() != (err == nil) || (CheckNode(p, n) == nil) != (err == nil) {
			t.Fatalf("sound: %v; thoroughly: %v; node %x", n.sound(), err, n[:300])
		}
		if err == nil {
			good++
		} else {
			bad++
		}
	}
	if good < 1000 || bad < 1000 {
		t.Fatalf("%d nodes were good, %d bad", good, bad)
	}
}
