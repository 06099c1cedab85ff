package storage

import (
	"fmt"

	"basalt/engine/arena"
)

// slabRef is the place of some bytes in a slab, in units of 8 bytes. It holds no pointer, so that the items of a delta cost the garbage
// collector nothing. 32 bits · 8 = 32 GiB, far above any delta.
type slabRef uint32

const slabUnit = 8

// slab is bump-allocated memory outside the heap. Nothing in it is freed before all of it is: it lives as long as its delta generation.
type slab struct {
	arena  *arena.Arena
	chunk  int // immutable: bytes of a chunk, a power of two
	shift  uint
	bufs   []arena.Buf
	mem    [][]byte // mem[i] is the memory of bufs[i]
	next   int      // bytes used, counting the waste at the end of each full chunk
	wasted int
}

func newSlab(a *arena.Arena, chunkBytes int) *slab {
	if chunkBytes&(chunkBytes-1) != 0 || chunkBytes < arena.PageBytes || chunkBytes > arena.BlockMax {
		panic(fmt.Sprintf("storage: slab chunk of %d bytes", chunkBytes))
	}
	s := &slab{arena: a, chunk: chunkBytes}
	for 1<<s.shift < chunkBytes {
		s.shift++
	}
	return s
}

// alloc returns n contiguous bytes and their place. The error is arena.ErrExhausted, or ErrTooLarge for more than a chunk.
func (s *slab) alloc(n int) (slabRef, []byte, error) {
	if n > s.chunk {
		return 0, nil, ErrTooLarge
	}
	at := (s.next + slabUnit - 1) &^ (slabUnit - 1)
	if end := len(s.bufs) << s.shift; at+n > end { // does not fit into the last chunk: the rest of it is waste
		b, err := s.arena.Get(s.chunk)
		if err != nil {
			return 0, nil, err
		}
		s.wasted += end - s.next
		s.bufs = append(s.bufs, b)
		s.mem = append(s.mem, s.arena.Bytes(b))
		at = end
	}
	s.next = at + n
	return slabRef(at / slabUnit), s.bytes(slabRef(at/slabUnit), n), nil
}

// mark and reset: a transaction that is undone gives back what it took. Chunks stay.
func (s *slab) mark() int { return s.next }

func (s *slab) reset(mark int) {
	for len(s.bufs) > 0 && (len(s.bufs)-1)<<s.shift >= mark {
		last := len(s.bufs) - 1
		s.arena.Put(s.bufs[last])
		s.bufs, s.mem = s.bufs[:last], s.mem[:last]
	}
	s.next = mark
}

func (s *slab) bytes(r slabRef, n int) []byte {
	at := int(r) * slabUnit
	off := at & (s.chunk - 1)
	return s.mem[at>>s.shift][off : off+n : off+n]
}

// held is how many bytes of the arena the slab has.
func (s *slab) held() int { return len(s.bufs) << s.shift }

// giveBack gives back the last chunk; false: none is left.
func (s *slab) giveBack() (more bool) {
	if i := len(s.bufs) - 1; i >= 0 {
		s.arena.Put(s.bufs[i])
		s.bufs, s.mem = s.bufs[:i], s.mem[:i]
	}
	s.next = 0
	return len(s.bufs) > 0
}
