package storage

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"basalt/engine/arena"
)

// benchLayer is a layer of n items with keys of objects, each with a value of that many bytes, put in a random order.
func benchLayer(b *testing.B, n, val int, key func(dst []byte, i int) []byte) (l *layer, order []int) {
	b.Helper()
	a, err := arena.New(512 << 20)
	if err != nil {
		b.Fatal(err)
	}
	l = newLayer(a, 256<<10, &nodePool{})
	order = rand.New(rand.NewPCG(1, 5)).Perm(n)
	v, k := make([]byte, val), []byte(nil)
	for _, i := range order {
		k = key(k[:0], i)
		if _, _, _, err := l.put(k, v, itemPut, 0, true, false); err != nil {
			b.Fatal(err)
		}
	}
	return l, order
}

func benchOnode(dst []byte, i int) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, 0, 1, 2, 16), uint64(i))
	return binary.BigEndian.AppendUint64(dst, uint64(i)*0x9e3779b97f4a7c15)
}

func benchExtent(dst []byte, i int) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, 0, 1, 3, 16), uint64(i/4096))
	dst = binary.BigEndian.AppendUint64(dst, uint64(i/4096)*0x9e3779b97f4a7c15)
	return binary.BigEndian.AppendUint64(dst, uint64(i%4096))
}

func BenchmarkLayer(b *testing.B) {
	const n = 200_000
	for _, kind := range []struct {
		name string
		key  func(dst []byte, i int) []byte
	}{{"onodes", benchOnode}, {"extents", benchExtent}} {
		l, order := benchLayer(b, n, 150, kind.key)
		b.Run(kind.name+"/get", func(b *testing.B) {
			var k []byte
			for i := range b.N {
				k = kind.key(k[:0], order[i%n])
				if _, ok := l.get(k); !ok {
					b.Fatal("lost")
				}
			}
		})
		b.Run(kind.name+"/miss", func(b *testing.B) {
			var k []byte
			for i := range b.N {
				k = append(kind.key(k[:0], order[i%n]), 0)
				if _, ok := l.get(k); ok {
					b.Fatal("found")
				}
			}
		})
		b.Run(kind.name+"/floor", func(b *testing.B) {
			var k []byte
			for i := range b.N {
				k = kind.key(k[:0], order[i%n])
				k[len(k)-1]++
				if _, ok, _ := l.floor(k, false); !ok {
					b.Fatal("lost")
				}
			}
		})
		b.Run(kind.name+"/put", func(b *testing.B) {
			var k []byte
			m, _ := benchLayer(b, 1, 150, kind.key)
			for i := range b.N {
				if i%n == 0 && i > 0 {
					b.StopTimer()
					m = renewed(m)
					b.StartTimer()
				}
				k = kind.key(k[:0], order[i%n])
				if _, _, _, err := m.put(k, nil, itemPut, 0, true, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// renewed is an empty layer in the place of one that is given back.
func renewed(l *layer) *layer {
	l.letGo()
	for l.giveBack() {
	}
	return newLayer(l.slab.arena, 256<<10, l.nodes.pool)
}

// BenchmarkLayerSplit is what an overwrite in the midst of an extent does: it looks for the extent, and puts what is left of it on both sides, and itself.
func BenchmarkLayerSplit(b *testing.B) {
	const n = 200_000
	l, _ := benchLayer(b, 1, 150, benchExtent)
	order := rand.New(rand.NewPCG(1, 5)).Perm(n)
	v, k := make([]byte, 50), []byte(nil)
	b.ResetTimer()
	for i := range b.N {
		if i%n == 0 && i > 0 {
			b.StopTimer()
			l = renewed(l)
			b.StartTimer()
		}
		at := 4096 + 4*order[i%n]
		k = benchExtent(k[:0], at)
		l.floor(k, false)
		for _, d := range [...]int{-1, 1, 0} {
			k = benchExtent(k[:0], at+d)
			if _, _, _, err := l.put(k, v, itemPut, 0, true, false); err != nil {
				b.Fatal(err)
			}
		}
	}
}
