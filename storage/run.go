package storage

import (
	"math/bits"

	"basalt/engine/arena"
	"basalt/storage/format"
)

// run is an extent that the open group took from the allocator, and the memory of what will be written there. The group hands its blocks
// out one after the other, so that a group is a few large writes. Block i of the extent is at i·4096 of the buffer.
type run struct {
	ext  Extent
	used BlockCount // blocks handed out; the rest goes back to the allocator when the group is sealed
	buf  arena.Buf
	mem  []byte
	dead []uint64 // one bit for each block that was superseded before the group was sealed: never written, never named by the record
}

func (r *run) isDead(i BlockCount) bool { return r.dead != nil && r.dead[i/64]>>(i%64)&1 != 0 }

func (r *run) kill(i BlockCount) {
	if r.dead == nil {
		r.dead = make([]uint64, (r.ext.Len+63)/64)
	}
	if r.isDead(i) {
		panic("storage: block superseded twice")
	}
	r.dead[i/64] |= 1 << (i % 64)
}

// liveFrom is the first block from i on that was superseded, or the end of those that were handed out.
func (r *run) liveFrom(i BlockCount) BlockCount {
	if r.dead == nil {
		return r.used
	}
	for i < r.used && !r.isDead(i) {
		i++
	}
	return i
}

func (r *run) deadCount() (n int) {
	for _, w := range r.dead {
		n += bits.OnesCount64(w)
	}
	return n
}

func (r *run) block(i BlockCount) []byte {
	at := int(i) * format.BlockBytes
	return r.mem[at : at+format.BlockBytes]
}

// runTable is every run of a group, and where each block is. It is the table of pending writes: a block in it may not be on the device
// yet, so whoever reads it takes it from here.
type runTable struct {
	runs   []run
	sorted []int32 // indices of runs, by start
}

// place is the index in sorted of the last run that starts at or before b, or -1.
func (t *runTable) place(b BlockNo) int {
	lo, hi := 0, len(t.sorted)
	for lo < hi {
		mid := (lo + hi) / 2
		if t.runs[t.sorted[mid]].ext.Start <= b {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

// find returns the run that handed out block b.
func (t *runTable) find(b BlockNo) (*run, BlockCount, bool) {
	i := t.place(b)
	if i < 0 {
		return nil, 0, false
	}
	r := &t.runs[t.sorted[i]]
	if b >= r.ext.Start+BlockNo(r.used) {
		return nil, 0, false
	}
	return r, BlockCount(b - r.ext.Start), true
}

// gap is how many of the n blocks from b on are not the table's: they lie before the next run, and if b is a superseded block of a run,
// before the next one that is not. b itself is none that the table has to write.
func (t *runTable) gap(b BlockNo, n BlockCount) BlockCount {
	i := t.place(b)
	if i >= 0 {
		r := &t.runs[t.sorted[i]]
		for k := b - r.ext.Start; k < BlockNo(r.used); k++ {
			if !r.isDead(BlockCount(k)) {
				n = min(n, BlockCount(min(r.ext.Start+k-b, BlockNo(n))))
				break
			}
		}
	}
	if i++; i < len(t.sorted) {
		n = min(n, BlockCount(min(t.runs[t.sorted[i]].ext.Start-b, BlockNo(n))))
	}
	return n
}

func (t *runTable) add(r run) {
	at := t.place(r.ext.Start) + 1
	t.runs = append(t.runs, r)
	t.sorted = append(t.sorted, 0)
	copy(t.sorted[at+1:], t.sorted[at:])
	t.sorted[at] = int32(len(t.runs) - 1)
}

// dropLast takes back the run that was added last.
func (t *runTable) dropLast() run {
	last := len(t.runs) - 1
	r := t.runs[last]
	at := t.place(r.ext.Start)
	t.sorted = append(t.sorted[:at], t.sorted[at+1:]...)
	t.runs = t.runs[:last]
	return r
}

func (t *runTable) clear() {
	clear(t.runs)
	t.runs, t.sorted = t.runs[:0], t.sorted[:0]
}
