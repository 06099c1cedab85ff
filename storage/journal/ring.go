// Package journal is the order of things in the group commit: where a record stands in the ring, which group may start, what one flush
// makes durable, and where a replay ends. It decides; the store does the I/O.
//
// Its state belongs to the store that holds it, on that store's thread.
//
// Invariants: a record never straddles the end of the ring; the bytes between tail and head are never given out; groups are sealed,
// written and committed in one order; at most two are in flight; a flush covers only groups that were written before it was issued.
//
// No locks. It survives nothing: after a restart, Scan finds out from the device what it was.
//
// Read ring.go, then pipeline.go, then scan.go; ahead.go only makes that faster.
package journal

import "fmt"

// Ring counts the blocks of the journal. Positions in it are counted from the beginning of time, so that head - tail is what is in use;
// the block of the ring is the position modulo its length.
type Ring struct {
	blocks uint64
	head   uint64 // where the next record goes, unless it would straddle the end
	tail   uint64 // the first block that replay may still need
}

// NewRing is an empty ring whose next record goes to block at.
func NewRing(blocks, at uint64) Ring {
	if blocks == 0 || at > blocks {
		panic(fmt.Sprintf("journal: ring of %d blocks, at %d", blocks, at))
	}
	return Ring{blocks: blocks, head: at, tail: at}
}

// start is where a record of n blocks would begin if it were placed now.
func (r *Ring) start(n uint64) uint64 {
	at := r.head % r.blocks
	if at+n > r.blocks {
		return r.head + r.blocks - at
	}
	return r.head
}

// Fits tells whether a record of n blocks can be placed now. What fits stays so until something is placed.
func (r *Ring) Fits(n uint64) bool { return n <= r.blocks && r.start(n)+n-r.tail <= r.blocks }

// Place takes n blocks, which must fit. It returns where the record begins and where the next one may.
func (r *Ring) Place(n uint64) (at, end uint64) {
	if !r.Fits(n) {
		panic(fmt.Sprintf("journal: %d blocks do not fit: head %d, tail %d of %d", n, r.head, r.tail, r.blocks))
	}
	at = r.start(n)
	r.head = at + n
	return at, r.head
}

// Block is the block of the ring at that position.
func (r *Ring) Block(position uint64) uint64 { return position % r.blocks }

// Release says that replay needs nothing before position any more.
func (r *Ring) Release(position uint64) {
	if position < r.tail || position > r.head {
		panic(fmt.Sprintf("journal: release to %d outside of %d..%d", position, r.tail, r.head))
	}
	r.tail = position
}

// Head is where the next record goes.
func (r *Ring) Head() uint64 { return r.head }

// Used is the number of blocks that a checkpoint would release.
func (r *Ring) Used() uint64 { return r.head - r.tail }

// Blocks is the length of the ring.
func (r *Ring) Blocks() uint64 { return r.blocks }
