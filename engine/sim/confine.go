package sim

import (
	"fmt"

	"basalt/engine"
)

// confinement is where one reactor may write on a disk.
type confinement struct {
	ring *ring
	may  func(off, n int64) bool
}

// Confine has a write or discard of r on the disk, if may denies it, panic before the disk sees it: for stores that share a device and must
// keep out of each other's blocks. What a power loss leaves is confined anew.
func (d *Disk) Confine(r *engine.Reactor, may func(off, n int64) bool) {
	d.confined = append(d.confined, confinement{d.w.column(r).ring, may})
}

func (d *Disk) checkConfined(r *ring, op *diskOp) {
	if op.kind != opWrite && op.kind != opDiscard {
		return
	}
	for _, c := range d.confined {
		if c.ring == r && !c.may(op.off, int64(op.n)) {
			panic(fmt.Sprintf("sim: reactor %d: %s of %d bytes at %d of disk %q, outside of what it was confined to", r.id, opNames[op.kind], op.n, op.off, d.name))
		}
	}
}
