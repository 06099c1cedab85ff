package btree

import (
	"basalt/engine"
	"basalt/engine/arena"
	"basalt/engine/device"
	"basalt/engine/uring"
	"basalt/storage/format"
)

// queue is what a device that takes several operations at once offers beside Device; *device.Handle does.
type queue interface {
	ReadOp(p []byte, off int64) uring.SQE
	WriteOp(p []byte, off int64) uring.SQE
	Error(op device.Op, off int64, n int, res int32) error
}

// retry tells whether an operation's result says only that it must be done again, step by step.
func retry(res int32) bool {
	const eintr, eagain = 4, 11
	return res >= 0 || res == -eintr || res == -eagain
}

// ahead reads leaves before they are wanted, several at once: a fold or a walk goes from left to right and knows which
// come next. It belongs to one fold or walk.
type ahead struct {
	gather engine.Gather
	t      *Tree
	mem    arena.Buf
	ptrs   [aheadNodes]format.ChildPtr
	res    [aheadNodes]int32
	n      int
	cold   bool // nothing comes from the cache: what is on the device is to be verified
}

// open takes the memory; without memory to spare, or on a device that takes one operation at a time, nothing is read ahead.
func (a *ahead) open(t *Tree, cold bool) {
	a.t, a.n, a.cold = t, 0, cold
	if t.queue == nil {
		return
	}
	if b, err := t.cache.get(aheadNodes * t.cfg.NodeBytes); err == nil {
		a.mem = b
	}
}

func (a *ahead) close() {
	if a.mem.Valid() {
		a.t.cfg.Arena.Put(a.mem)
		a.mem = arena.Buf{}
	}
}

func (a *ahead) bytes(i int) []byte {
	n := a.t.cfg.NodeBytes
	return a.t.cfg.Arena.Bytes(a.mem)[i*n : (i+1)*n : (i+1)*n]
}

// have is the memory that ptr was read into, or nil. It is not verified.
func (a *ahead) have(ptr format.ChildPtr) []byte {
	for i := range a.n {
		if a.ptrs[i] == ptr && int(a.res[i]) == a.t.cfg.NodeBytes {
			return a.bytes(i)
		}
	}
	return nil
}

// fill reads child i of a node of level 1, and those after it that next says will be wanted, at once.
func (a *ahead) fill(f *engine.Fiber, n format.Node, i int, next func(j int) bool) {
	if !a.mem.Valid() || a.skip(n.Child(i)) {
		return
	}
	a.n = 0
	for j := i; j < n.Count() && a.n < aheadNodes; j++ {
		child := n.Child(j)
		e := a.t.nodeExtent(child)
		if j > i && (!a.cold && a.t.cached(child) || !next(j)) || a.t.inSpace("leaf", e) != nil {
			continue
		}
		a.ptrs[a.n], a.res[a.n] = child, 0
		a.gather.Submit(f, a.t.queue.ReadOp(a.bytes(a.n), e.Offset()), &a.res[a.n])
		a.n++
	}
	a.gather.Wait(f)
}

// skip tells whether a child needs no read.
func (a *ahead) skip(p format.ChildPtr) bool { return a.have(p) != nil || !a.cold && a.t.cached(p) }

func (t *Tree) cached(p format.ChildPtr) bool {
	return t.cache.find(p.Block, p.Epoch, p.Crc, frameNode) >= 0
}
