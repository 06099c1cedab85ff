package client

import (
	"slices"

	"basalt/meta/record"
)

// kept is what was answered but is not yet known to be on the server's media: should the server lose it, it is played again. Bounded by
// bytes; who would exceed the bound waits until the server has committed (see Session.room). Owned by the session's column.
type kept struct {
	list     []keptRequest // in the order of the answers, which is nearly that of the transactions
	head     int           // list[:head] is free
	bytes    int
	reserved int // for requests that are being asked
	max      int
	spare    [][]byte // large buffers for reuse
}

type keptRequest struct {
	txn  uint64 // the transaction's number when it was answered
	id   uint64 // its request id
	body []byte
	data []byte
}

const (
	spareFrom = 64 << 10 // buffers from this size on are used again
	spareMax  = 16
)

const _ = uint(record.ReplayMax - 2*(record.StripeSize+record.RequestSizeMax+record.ReplayHead)) // one request always fits

func keptCost(body, data int) int { return body + data + record.ReplayHead }

// reserve makes sure that a request of this cost can be kept; false: not now.
func (k *kept) reserve(cost int) bool {
	if k.bytes+k.reserved+cost > k.max {
		return false
	}
	k.reserved += cost
	return true
}

// forfeit gives a reservation back.
func (k *kept) forfeit(cost int) { k.reserved -= cost }

// add turns a reservation into a kept copy.
func (k *kept) add(cost int, txn, id uint64, body, data []byte) {
	k.reserved -= cost
	k.bytes += keptCost(len(body), len(data))
	k.list = append(k.list, keptRequest{txn: txn, id: id, body: append([]byte(nil), body...), data: k.copy(data)})
}

func (k *kept) copy(data []byte) []byte {
	if len(data) == 0 {
		return nil
	}
	if n := len(k.spare); n > 0 && len(data) >= spareFrom {
		b := k.spare[n-1]
		k.spare = k.spare[:n-1]
		return append(b[:0], data...)
	}
	size := len(data)
	if size >= spareFrom {
		size = record.StripeSize
	}
	return append(make([]byte, 0, size), data...)
}

// trim forgets what is committed.
func (k *kept) trim(committed uint64) {
	for k.head < len(k.list) && k.list[k.head].txn <= committed {
		q := &k.list[k.head]
		k.bytes -= keptCost(len(q.body), len(q.data))
		if cap(q.data) >= spareFrom && len(k.spare) < spareMax {
			k.spare = append(k.spare, q.data)
		}
		*q = keptRequest{}
		k.head++
	}
	if k.head == len(k.list) {
		k.list, k.head = k.list[:0], 0
	} else if k.head > len(k.list)/2 && k.head > 64 {
		n := copy(k.list, k.list[k.head:])
		clear(k.list[n:])
		k.list, k.head = k.list[:n], 0
	}
}

// all lists what is kept above a transaction, in the order of the transactions.
func (k *kept) all(above uint64) []keptRequest {
	var list []keptRequest
	for _, q := range k.list[k.head:] {
		if q.txn > above {
			list = append(list, q)
		}
	}
	slices.SortFunc(list, func(a, b keptRequest) int {
		if a.txn < b.txn {
			return -1
		}
		if a.txn > b.txn {
			return 1
		}
		return 0
	})
	return list
}

// clear forgets everything and says how much of it was above the transaction.
func (k *kept) clear(above uint64) (lost int) {
	lost = len(k.all(above))
	k.trim(^uint64(0))
	return lost
}

// final makes of a request what gives the same result if it is asked again later: the inode number and the offset that the server chose are
// written into it.
func final(q *record.Request, p *record.Reply) (changed bool) {
	switch q.Op {
	case record.OpMknod, record.OpMkdir, record.OpSymlink:
		q.WantIno = p.Attr.Ino
		return true
	case record.OpCreate:
		if p.Flags&record.ReplyCreated != 0 {
			q.WantIno = p.Attr.Ino
			return true
		}
	case record.OpWrite:
		if q.Flags&record.FlagAppend != 0 {
			q.Flags &^= record.FlagAppend
			q.Off = p.Off
			return true
		}
	}
	return false
}

// window hands out request ids that are never further apart than the answers the server remembers. Owned by the session's column.
type window struct {
	low, next uint64 // ids from low to next-1 are out, some of them answered
	answered  [record.IdemSlots]bool
}

// take gives the next id; false: the oldest must be answered first.
func (w *window) take() (uint64, bool) {
	if w.next-w.low >= record.IdemSlots-1 {
		return 0, false
	}
	id := w.next
	w.next++
	w.answered[id%record.IdemSlots] = false
	return id, true
}

// done notes that id is answered, or given up.
func (w *window) done(id uint64) {
	w.answered[id%record.IdemSlots] = true
	for w.low < w.next && w.answered[w.low%record.IdemSlots] {
		w.low++
	}
}
