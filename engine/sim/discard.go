package sim

import (
	"encoding/binary"
	"syscall"

	"basalt/engine/uring"
)

// discards begins the command that discards a range of a disk.
func (r *ring) discards(d *Disk, s *uring.SQE) (op *diskOp, res int32) {
	off, n := int64(s.Addr), int64(s.Addr3)
	switch {
	case s.Off != uint64(uring.CmdBlockDiscard), off < 0, n <= 0, off%SectorBytes != 0, n%SectorBytes != 0, n > d.Bytes()-off:
		return nil, -int32(syscall.EINVAL)
	}
	return &diskOp{kind: opDiscard, off: off, n: int(n), data: d.undefined(off, int(n))}, 0
}

// undefined is what a discarded range holds: of each page, what was there, zeros, or anything.
func (d *Disk) undefined(off int64, n int) []byte {
	p := make([]byte, n)
	d.cache.read(p, off)
	for rest := p; len(rest) > 0; {
		page := rest[:min(pageBytes, len(rest))]
		rest = rest[len(page):]
		switch d.rng.IntN(4) {
		case 0:
		case 1:
			clear(page)
		default:
			binary.LittleEndian.PutUint64(page, d.rng.Uint64()|1)
			for done := 8; done < len(page); done *= 2 {
				copy(page[done:], page[:done])
			}
		}
	}
	return p
}

// applyDiscard lets a discard take effect. One that fails has done a part of it.
func (d *Disk) applyDiscard(op *diskOp) int32 {
	n, failed := d.fits(op.off, op.n), op.fault == FaultWriteError || op.fault == FaultDiscardError
	switch {
	case failed && op.data != nil:
		d.landTorn(op.off, op.data[:n])
		return -int32(syscall.EIO)
	case failed:
		return -int32(syscall.EIO)
	case n > 0 && op.data != nil:
		d.land(op.off, n, op.data[:n])
	case n > 0:
		d.land(op.off, n, nil)
	}
	return 0
}
