package journal

import (
	"basalt/engine"
	"basalt/engine/uring"
	"basalt/storage/format"
)

// queue is what a device that takes several operations at once offers beside Device; *device.Handle does.
type queue interface {
	ReadOp(p []byte, off int64) uring.SQE
}

// ahead reads the next window of the ring while the records of the present one are worked on. It is only a matter of speed: what it cannot read, or
// what is not wanted after all, is read by the scan itself.
type ahead struct {
	gather engine.Gather
	queue  queue
	buf    []byte // as long as the window's; nil: nothing is read ahead
	from   uint64 // first block
	n      uint64 // blocks; 0: nothing was read, or is being
	res    int32
}

// ReadAhead has the scan read ahead into buf, aligned arena memory as long as the scan's own. Close must follow before either goes back.
func (s *Scan) ReadAhead(buf []byte) {
	if q, ok := s.dev.(queue); ok && len(buf) == len(s.buf) {
		s.ahead.queue, s.ahead.buf = q, buf
	}
}

// Close waits for what is being read.
func (s *Scan) Close(f *engine.Fiber) { s.ahead.drop(f) }

func (a *ahead) drop(f *engine.Fiber) {
	a.gather.Wait(f)
	a.n = 0
}

// take exchanges the window for the one that was read ahead, if that begins at block.
func (s *Scan) take(f *engine.Fiber, block uint64) bool {
	a := &s.ahead
	if a.n == 0 {
		return false
	}
	from, n := a.from, a.n
	a.drop(f)
	if from != block || a.res != int32(n*format.BlockBytes) {
		return false
	}
	s.buf, a.buf = a.buf, s.buf
	s.from, s.n = from, n
	return true
}

// begin starts to read what will be wanted after the window: from the first record on that it does not have to its end. Whether they are records nobody has
// verified yet.
func (s *Scan) begin(f *engine.Fiber) {
	a := &s.ahead
	if a.buf == nil {
		return
	}
	at := uint64(0)
	for at < s.n {
		b := s.buf[at*format.BlockBytes:]
		if string(b[:len(format.JournalMagic)]) != format.JournalMagic {
			return // here the log ends, or goes on at the beginning of the ring
		}
		h := format.PeekJournalHeader(b)
		if at+uint64(h.Blocks()) > s.n {
			break
		}
		at += max(uint64(h.Blocks()), 1)
	}
	if at == 0 {
		return
	}
	ring := uint64(s.super.Journal.Len)
	if a.from = s.from + at; a.from >= ring {
		a.from = 0
	}
	a.n = min(uint64(len(a.buf))/format.BlockBytes, ring-a.from)
	p := a.buf[:a.n*format.BlockBytes]
	a.gather.Submit(f, a.queue.ReadOp(p, int64(s.super.Journal.Start+format.BlockNo(a.from))*format.BlockBytes), &a.res)
	f.Yield() // a turn ends: the kernel gets it now, not when the next window is wanted
}
