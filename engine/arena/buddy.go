package arena

import "math/bits"

// buddy is the allocator over page numbers: free blocks of each order in a doubly linked list whose links
// are page numbers, and one state word per page. 4 KiB pages: 10 bytes of bookkeeping each, 0.2 %.
type buddy struct {
	pages uint32
	state []uint16 // low byte, of the first page of a block: order | flags, 0 inside a block; high byte: generation
	next  []uint32 // of the first page of a free block; page+1, 0 = end
	prev  []uint32
	head  [orderMax + 1]uint32 // page+1
	avail uint16               // bit per order: list not empty
}

const (
	stateFree = 0x40
	stateUsed = 0x80
	stateBits = 8
	stateMask = 1<<stateBits - 1
	genBits   = 16 - stateBits
)

func (b *buddy) get(page uint32) uint8 { return uint8(b.state[page]) }
func (b *buddy) set(page uint32, state uint8) {
	b.state[page] = b.state[page]&^stateMask | uint16(state)
}

// generation counts the ends of blocks that began at this page.
func (b *buddy) generation(page uint32) uint32 { return uint32(b.state[page] >> stateBits) }

// orderOf is the smallest order whose block holds n bytes, n > 0.
func orderOf(n int) uint8 {
	return uint8(bits.Len(uint((n - 1) / PageBytes)))
}

// init makes everything free: the largest aligned blocks that fit.
func (b *buddy) init(pages int) {
	b.pages = uint32(pages)
	b.state = make([]uint16, pages)
	b.next = make([]uint32, pages)
	b.prev = make([]uint32, pages)
	// From the end to the start, so that the lists begin at the lowest page.
	type run struct {
		page  uint32
		order uint8
	}
	var runs []run
	for p := uint32(0); p < b.pages; {
		order := uint8(orderMax)
		for p&(1<<order-1) != 0 || p+1<<order > b.pages {
			order--
		}
		runs = append(runs, run{p, order})
		p += 1 << order
	}
	for i := len(runs) - 1; i >= 0; i-- {
		b.push(runs[i].page, runs[i].order)
	}
}

func (b *buddy) alloc(order uint8) (page uint32, ok bool) {
	have := b.avail >> order
	if have == 0 {
		return 0, false
	}
	from := order + uint8(bits.TrailingZeros16(have))
	page = b.head[from] - 1
	b.remove(page, from)
	for from > order { // split; the upper half is free
		from--
		b.push(page+1<<from, from)
	}
	b.set(page, stateUsed|order)
	return page, true
}

func (b *buddy) free(page uint32, order uint8) {
	b.state[page] = (b.state[page]>>stateBits + 1) << stateBits
	for order < orderMax {
		mate := page ^ 1<<order
		if mate >= b.pages || b.get(mate) != stateFree|order {
			break
		}
		b.remove(mate, order)
		page &^= 1 << order
		order++
	}
	b.push(page, order)
}

func (b *buddy) allocated(page uint32, order uint8, generation uint32) bool {
	return page < b.pages && uint32(b.state[page]) == generation<<stateBits|stateUsed|uint32(order)
}

func (b *buddy) push(page uint32, order uint8) {
	first := b.head[order]
	b.next[page], b.prev[page] = first, 0
	if first != 0 {
		b.prev[first-1] = page + 1
	}
	b.head[order] = page + 1
	b.set(page, stateFree|order)
	b.avail |= 1 << order
}

func (b *buddy) remove(page uint32, order uint8) {
	n, p := b.next[page], b.prev[page]
	if p == 0 {
		b.head[order] = n
	} else {
		b.next[p-1] = n
	}
	if n != 0 {
		b.prev[n-1] = p
	}
	if b.head[order] == 0 {
		b.avail &^= 1 << order
	}
	b.set(page, 0)
}
