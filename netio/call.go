package netio

import (
	"basalt/engine"
)

// call is one request of a link until its reply has arrived. It outlives its caller when that gives up: the server still has the request, so
// its credit is still taken. Pooled by the link.
type call struct {
	l        *Link
	id       uint64
	fiber    *engine.Fiber // who waits; nil: nobody any more
	rep      *Reply
	err      error
	deadline int64 // 0: none
	cost     int
	state    callState
	lent     bool // the caller's payload is in the outbox
	filling  bool // the reply's payload is being received into the caller's memory
	over     bool // the outcome is known; the caller is woken once its memory is free
	crc      uint32
	next     *call // free list, or the queue for credit
}

type callState uint8

const (
	callQueued   callState = iota // waits for credit
	callSent                      // in the table
	callAnswered                  // out of it
)

// end makes the outcome known. The caller is woken when nothing refers to its memory any more.
func (c *call) end(t *engine.Turn, err error) {
	if c.over {
		return
	}
	c.over, c.err = true, err
	c.settle(t)
}

func (c *call) settle(t *engine.Turn) {
	if c.over && !c.lent && !c.filling && c.fiber != nil {
		t.Ready(c.fiber)
	}
}

// returned: the payload that the caller lent has left.
func (c *call) returned(t *engine.Turn) {
	c.lent = false
	c.settle(t)
}

// mayReturn: the caller can have its memory back.
func (c *call) mayReturn() bool { return c.over && !c.lent && !c.filling }

// callTable finds the calls that are unanswered by their request id: open addressing, at most half full, no holes (a removal moves what
// follows back). Its order depends on nothing but the ids and the order of calls.
type callTable struct {
	slots []*call
	n     int
}

func (tb *callTable) init(most int) {
	n := 16
	for n < 2*most {
		n *= 2
	}
	tb.slots = make([]*call, n)
}

func (tb *callTable) slot(id uint64) int {
	return int((id * 0x9E3779B97F4A7C15) >> 32 & uint64(len(tb.slots)-1))
}

func (tb *callTable) get(id uint64) *call {
	for i := tb.slot(id); tb.slots[i] != nil; i = (i + 1) & (len(tb.slots) - 1) {
		if tb.slots[i].id == id {
			return tb.slots[i]
		}
	}
	return nil
}

func (tb *callTable) add(c *call) {
	if 2*tb.n >= len(tb.slots) {
		panic("netio: more calls than credit")
	}
	i := tb.slot(c.id)
	for tb.slots[i] != nil {
		i = (i + 1) & (len(tb.slots) - 1)
	}
	tb.slots[i] = c
	tb.n++
}

func (tb *callTable) remove(id uint64) {
	mask := len(tb.slots) - 1
	i := tb.slot(id)
	for tb.slots[i] == nil || tb.slots[i].id != id {
		if tb.slots[i] == nil {
			panic("netio: removal of a call that is not there")
		}
		i = (i + 1) & mask
	}
	tb.n--
	for j := (i + 1) & mask; tb.slots[j] != nil; j = (j + 1) & mask {
		home := tb.slot(tb.slots[j].id)
		if (j-home)&mask >= (j-i)&mask { // it may move back to the hole
			tb.slots[i], i = tb.slots[j], j
		}
	}
	tb.slots[i] = nil
}
