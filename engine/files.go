package engine

import (
	"errors"

	"basalt/engine/uring"
)

// fileTable is the ring's table of fixed files: the kernel then skips the reference count per operation.
// Owned by the reactor's loop.
type fileTable struct {
	free []int32 // slots, a stack
	used int
	busy []bool // by slot
}

// init registers empty slots; ok is false where the ring has no such table.
func (t *fileTable) init(ring uring.Ring, n int) (ok bool, err error) {
	if !ring.Cap().FileUpdate {
		return false, nil
	}
	slots := make([]int32, n)
	for i := range slots {
		slots[i] = -1
	}
	if err := ring.RegisterFiles(slots); err != nil {
		if errors.Is(err, uring.ErrUnsupported) {
			return false, nil
		}
		return false, err
	}
	t.busy = make([]bool, n)
	t.free = make([]int32, n)
	for i := range t.free {
		t.free[i] = int32(n - 1 - i)
	}
	return true, nil
}

// RegisterFile puts the descriptor into the ring's table; SQE.Fixed(slot) then names it. ok is false when
// the table is full or absent: use the descriptor. On the reactor's thread only.
func (r *Reactor) RegisterFile(fd int32) (slot int32, ok bool) {
	t := &r.files
	n := len(t.free)
	if n == 0 || r.dead {
		return -1, false
	}
	slot = t.free[n-1]
	if err := r.ring.UpdateFile(int(slot), fd); err != nil {
		return -1, false
	}
	t.free, t.busy[slot] = t.free[:n-1], true
	t.used++
	return slot, true
}

// ReleaseFile empties the slot. Operations in flight on it end as they would; the file itself is closed by
// whoever opened it.
func (r *Reactor) ReleaseFile(slot int32) {
	if r.dead {
		return
	}
	t := &r.files
	if slot < 0 || int(slot) >= len(t.busy) || !t.busy[slot] {
		panic("engine: release of a file slot that is not in use")
	}
	if err := r.ring.UpdateFile(int(slot), -1); err != nil {
		r.fail(err)
		return
	}
	t.busy[slot] = false
	t.free = append(t.free, slot)
	t.used--
}
