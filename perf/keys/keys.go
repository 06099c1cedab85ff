// Package keys is the work with keys that the bench gives a store and its rivals: which keys, which values, in which order. Both
// sides import it, so that neither has the easier work.
//
// It owns no state. Keys are in the order of their numbers, and no two are alike; the same index gives the same random numbers.
package keys

import (
	"encoding/binary"
	"math/rand/v2"
)

const (
	Bytes         = 16  // of a key
	PutValueBytes = 256 // of a value that is put
	GetValueBytes = 100 // of a value that is looked up

	putCount = 1 << 20 // keys that are put again and again
)

// Name writes key number i.
func Name(key []byte, i uint64) {
	binary.BigEndian.PutUint64(key, i)
	binary.BigEndian.PutUint64(key[8:], Scatter(i))
}

// Scatter is a number that looks random and is another one for each i: an odd factor is invertible modulo 2^64.
func Scatter(i uint64) uint64 { return i * 0x9e3779b97f4a7c15 }

// NamePut writes one of the keys that are put, at random.
func NamePut(key []byte, rng *rand.Rand) { Name(key, Scatter(rng.Uint64N(putCount))) }

// Rand is the source of the fiber or goroutine with that index.
func Rand(index int) *rand.Rand { return rand.New(rand.NewPCG(uint64(index), 1)) }

// Pattern makes a value that is the same each time.
func Pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i * 13)
	}
	return p
}

// Randomize fills a value with bytes that do not compress.
func Randomize(val []byte, seed uint64) []byte {
	rng := rand.NewPCG(seed, 2)
	for i := range val {
		if i%8 == 0 {
			seed = rng.Uint64()
		}
		val[i] = byte(seed >> (i % 8 * 8))
	}
	return val
}
