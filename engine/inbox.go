package engine

import (
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/cpu"
)

// inbox is a bounded queue with many producers and one consumer, without locks: a ring of cells, each with
// a sequence number that says whose turn it is. A producer claims a position by compare-and-swap on
// tail, writes the message, and publishes it by the cell's sequence. (Vyukov's bounded queue, with a
// closed bit in tail: after close nothing more is claimed, and everything claimed before is found.)
type inbox struct {
	cells []inboxCell // immutable
	mask  uint64      // immutable
	_     cpu.CacheLinePad
	tail  atomic.Uint64 // next position to claim; top bit: closed
	_     cpu.CacheLinePad
	head  atomic.Uint64 // next position to take; written by the consumer only
	_     cpu.CacheLinePad
}

type inboxCell struct {
	seq atomic.Uint64 // position: free for it; position+1: holds its message
	m   Message
}

const inboxClosed = uint64(1) << 63

func (q *inbox) init(size int) {
	n := 1
	for n < size {
		n *= 2
	}
	n = max(n, 2)
	q.cells = make([]inboxCell, n)
	q.mask = uint64(n - 1)
	for i := range q.cells {
		q.cells[i].seq.Store(uint64(i))
	}
}

// push is for any thread.
func (q *inbox) push(m Message) error {
	pos := q.tail.Load()
	for {
		if pos&inboxClosed != 0 {
			return ErrStopped
		}
		cell := &q.cells[pos&q.mask]
		switch seq := cell.seq.Load(); {
		case seq == pos:
			if q.tail.CompareAndSwap(pos, pos+1) {
				cell.m = m
				cell.seq.Store(pos + 1)
				return nil
			}
			pos = q.tail.Load()
		case seq < pos: // still holds the message of one lap ago
			if now := q.tail.Load(); now == pos {
				return ErrBusy
			} else {
				pos = now
			}
		default: // somebody else has claimed it meanwhile
			pos = q.tail.Load()
		}
	}
}

// pop is for the consumer. ok is false if nothing is published at the head.
func (q *inbox) pop() (m Message, ok bool) {
	pos := q.head.Load()
	cell := &q.cells[pos&q.mask]
	if cell.seq.Load() != pos+1 {
		return nil, false
	}
	m, cell.m = cell.m, nil
	cell.seq.Store(pos + uint64(len(q.cells)))
	q.head.Store(pos + 1)
	return m, true
}

// empty is for the consumer: nothing is published at the head.
func (q *inbox) empty() bool {
	pos := q.head.Load()
	return q.cells[pos&q.mask].seq.Load() != pos+1
}

// length is how many are claimed and not taken; exact on the consumer's thread if nobody pushes. Elsewhere
// both ends move meanwhile: head first, which never overtakes a tail read later, and no more than fit.
func (q *inbox) length() int {
	head := q.head.Load()
	return int(min(q.tail.Load()&^inboxClosed-head, uint64(len(q.cells))))
}

// close ends the queue and hands everything accepted before to take, in order.
func (q *inbox) close(take func(Message)) {
	end := q.tail.Or(inboxClosed) &^ inboxClosed
	for q.head.Load() != end {
		m, ok := q.pop()
		if !ok { // claimed, and its producer is between two instructions
			runtime.Gosched()
			continue
		}
		take(m)
	}
}
