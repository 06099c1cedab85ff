package record

import (
	"encoding/binary"
	"math/bits"
)

// The namespace hashes names and stripes with XXH64 and a seed of the file system, so that nobody outside can choose names that
// collide. It is on disk (dentry keys) and therefore spelled out here.
const (
	prime1 uint64 = 11400714785074694791
	prime2 uint64 = 14029467366897019727
	prime3 uint64 = 1609587929392839161
	prime4 uint64 = 9650029242287828579
	prime5 uint64 = 2870177450012600261
)

func hashRound(acc, in uint64) uint64 {
	return bits.RotateLeft64(acc+in*prime2, 31) * prime1
}

func hashMerge(acc, v uint64) uint64 {
	return (acc^hashRound(0, v))*prime1 + prime4
}

// Hash is XXH64 of b.
func Hash(seed uint64, b []byte) uint64 {
	le := binary.LittleEndian
	n := uint64(len(b))
	var h uint64
	if n >= 32 {
		v1, v2, v3, v4 := seed+prime1+prime2, seed+prime2, seed, seed-prime1
		for len(b) >= 32 {
			v1 = hashRound(v1, le.Uint64(b))
			v2 = hashRound(v2, le.Uint64(b[8:]))
			v3 = hashRound(v3, le.Uint64(b[16:]))
			v4 = hashRound(v4, le.Uint64(b[24:]))
			b = b[32:]
		}
		h = bits.RotateLeft64(v1, 1) + bits.RotateLeft64(v2, 7) + bits.RotateLeft64(v3, 12) + bits.RotateLeft64(v4, 18)
		h = hashMerge(hashMerge(hashMerge(hashMerge(h, v1), v2), v3), v4)
	} else {
		h = seed + prime5
	}
	h += n
	for ; len(b) >= 8; b = b[8:] {
		h = bits.RotateLeft64(h^hashRound(0, le.Uint64(b)), 27)*prime1 + prime4
	}
	if len(b) >= 4 {
		h = bits.RotateLeft64(h^uint64(le.Uint32(b))*prime1, 23)*prime2 + prime3
		b = b[4:]
	}
	for _, c := range b {
		h = bits.RotateLeft64(h^uint64(c)*prime5, 11) * prime1
	}
	h = (h ^ h>>33) * prime2
	h = (h ^ h>>29) * prime3
	return h ^ h>>32
}

// NameHash is the hash of a dentry, which is also its readdir cookie: 63 bits, because the kernel's offsets are signed, and never 0, 1
// or 2, which stand for the start, "." and "..".
func NameHash(seed uint64, name []byte) uint64 {
	h := Hash(seed, name) >> 1
	if h <= CookieDotDot {
		h += CookieDotDot + 1
	}
	return h
}

// StripeGroup is the placement group of a stripe's object: stripe 0 is at home with its inode, the others go where they hash.
func StripeGroup(seed uint64, ino Ino, stripe uint32, groups uint32) uint16 {
	if stripe == 0 {
		return ino.Group()
	}
	var name [ObjectNameSize]byte
	return uint16(Hash(seed, AppendObjectName(name[:0], ino, stripe)) % uint64(groups))
}

// DirGroup is the placement group of a new directory: spread by a hash of its place.
func DirGroup(seed uint64, parent Ino, name []byte, groups uint32) uint16 {
	return uint16(Hash(seed^uint64(parent)*prime1, name) % uint64(groups))
}
