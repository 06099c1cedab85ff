package storage

import (
	"cmp"
	"slices"
)

// extentList is a list of extents in pieces: no step that makes it longer or shorter takes longer for a long one. next without a pool changes
// nothing that a copy of the list sees, so a copy of one that does not grow any more can be gone through while the list stays.
type extentList struct {
	pieces [][]Extent
	at     int    // extents of the first piece that are gone
	blocks uint64 // of those that are left
}

const extentPieceLen = 512

// extentPool keeps pieces of lists that are used up for those that come.
type extentPool struct {
	free  [][]Extent
	space []Extent // of the slice: no extent of a list reaches over the end of one of them, wherever the next begins
}

// begins tells whether b is the first block of an extent of the space.
func (p *extentPool) begins(b BlockNo) bool {
	_, found := slices.BinarySearchFunc(p.space, b, func(e Extent, b BlockNo) int { return cmp.Compare(e.Start, b) })
	return found
}

// extentPoolMax pieces are kept, 16 MiB: a checkpoint of a million overwritten blocks.
const extentPoolMax = 2048

func (p *extentPool) take() []Extent {
	if i := len(p.free) - 1; i >= 0 {
		piece := p.free[i]
		p.free = p.free[:i]
		return piece
	}
	return make([]Extent, 0, extentPieceLen)
}

func (p *extentPool) put(piece []Extent) {
	if len(p.free) < extentPoolMax {
		p.free = append(p.free, piece[:0])
	}
}

func (p *extentPool) bytes() int { return len(p.free) * extentPieceLen * extentBytes }

const extentBytes = 16 // of an Extent in memory

func (l *extentList) empty() bool { return len(l.pieces) == 0 }

// add appends e, which lies in one extent of the space, or makes the last extent longer.
func (l *extentList) add(e Extent, pool *extentPool) {
	l.blocks += uint64(e.Len)
	i := len(l.pieces) - 1
	if i >= 0 {
		last := l.pieces[i]
		if x := &last[len(last)-1]; x.End() == e.Start && !pool.begins(e.Start) {
			x.Len += e.Len
			return
		}
		if len(last) < extentPieceLen {
			l.pieces[i] = append(last, e)
			return
		}
	}
	l.pieces = append(l.pieces, append(pool.take(), e))
}

// next takes the first extent out. A piece that is used up goes to the pool, if there is one.
func (l *extentList) next(pool *extentPool) (e Extent, ok bool) {
	if len(l.pieces) == 0 {
		return e, false
	}
	first := l.pieces[0]
	e = first[l.at]
	if l.at++; l.at == len(first) {
		l.pieces, l.at = l.pieces[1:], 0
		if pool != nil {
			pool.put(first)
		}
	}
	l.blocks -= uint64(e.Len)
	return e, true
}

// extentSort brings the extents of a list into the order of their places, where those that touch become one: what comes free so costs the
// allocator a fraction. It goes in small steps: first each piece is sorted, then a heap merges them.
type extentSort struct {
	in     extentList
	out    extentList
	pool   *extentPool
	sorted int           // pieces
	heap   []mergeSource // of pieces; the least first extent on top
}

// mergeSource is a piece that is being merged: its first extent that is left.
type mergeSource struct {
	start BlockNo
	piece int32
	at    int32
}

// begin takes over a list, of which nothing was taken yet.
func (m *extentSort) begin(l extentList, pool *extentPool) {
	if l.at > 0 {
		panic("storage: sort of a list that is being used up")
	}
	*m = extentSort{in: l, pool: pool, heap: m.heap[:0]}
}

// take is the sorted list.
func (m *extentSort) take() (l extentList) {
	l, m.in, m.out = m.out, extentList{}, extentList{}
	return l
}

// step takes one; n says for how many small ones it counts, 0: all is done.
func (m *extentSort) step() (n int) {
	if m.sorted < len(m.in.pieces) {
		p := m.in.pieces[m.sorted]
		slices.SortFunc(p, func(a, b Extent) int { return cmp.Compare(a.Start, b.Start) })
		m.heap = append(m.heap, mergeSource{start: p[0].Start, piece: int32(m.sorted)})
		for i := len(m.heap) - 1; i > 0 && m.heap[i].start < m.heap[(i-1)/2].start; i = (i - 1) / 2 {
			m.heap[i], m.heap[(i-1)/2] = m.heap[(i-1)/2], m.heap[i]
		}
		m.sorted++
		return lookSteps
	}
	if len(m.heap) == 0 {
		return 0
	}
	top := &m.heap[0]
	p := m.in.pieces[top.piece]
	m.out.add(p[top.at], m.pool)
	if top.at++; int(top.at) < len(p) {
		top.start = p[top.at].Start
	} else {
		m.pool.put(p)
		m.in.pieces[top.piece] = nil
		m.heap[0] = m.heap[len(m.heap)-1]
		m.heap = m.heap[:len(m.heap)-1]
	}
	m.sink()
	return 1
}

// sink brings the top of the heap to its place.
func (m *extentSort) sink() {
	h := m.heap
	for i := 0; ; {
		k := 2*i + 1
		if k >= len(h) {
			return
		}
		if k+1 < len(h) && h[k+1].start < h[k].start {
			k++
		}
		if h[i].start <= h[k].start {
			return
		}
		h[i], h[k] = h[k], h[i]
		i = k
	}
}
