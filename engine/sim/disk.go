package sim

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"syscall"

	"basalt/engine/device"
	"basalt/engine/invariant"
)

// Disk is a simulated device with a volatile write cache. What a read sees (cache) and what is on media (durable)
// are kept apart; pending lists the completed writes that no flush has covered, in the order they took effect.
// Owned by its world.
type Disk struct {
	w    *World
	id   int32 // immutable: number in traces
	name string
	fd   int32
	rng  *rand.Rand

	cache   *image
	durable *image
	pending []landed
	flight  []*diskOp
	bad     []span // unreadable until rewritten
	usable  int64  // operations at or past it fail; = bytes unless the device lies about its size

	plan    faultPlan
	ops     uint64 // operations begun
	done    uint64 // operations ended: the order that a flush is judged by
	cutAt   uint64 // begin of this operation cuts the power; 0 = never
	onEvent func(d *Disk, what string)

	confined []confinement
}

// landed is a completed write that is not yet durable.
type landed struct {
	off  int64
	n    int
	data []byte // nil = zeros (punched)
	end  uint64 // value of Disk.done when it completed
	lost bool   // a failed flush covered it: no later flush will save it
}

type span struct{ off, end int64 }

func (s span) meets(off int64, n int) bool { return off < s.end && s.off < off+int64(n) }

// diskOp is one operation in flight.
type diskOp struct {
	kind  opKind
	off   int64
	n     int
	mem   []byte // lent by the submitter until done is called
	data  []byte // write: the bytes as the device took them; nil = still to be taken from mem. Discard: what stands there then; nil = zeros
	sum   uint32 // write: crc of mem at submission (checked builds)
	dsync bool   // write: durable by itself when it completes
	begun uint64 // value of Disk.done at submission
	fault Fault
	timer *happening
	done  func(res int32) // nil: nobody waits any more
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newDisk(w *World, name string, bytes int64) *Disk {
	d := &Disk{w: w, name: name, cache: newImage(bytes), durable: newImage(bytes), usable: bytes}
	w.adopt(d)
	return d
}

// Bytes is the size the device reports.
func (d *Disk) Bytes() int64 { return d.cache.bytes }

// Fd is the descriptor under which rings of this world reach the disk.
func (d *Disk) Fd() int32 { return d.fd }

// Device is the disk as the engine knows devices.
func (d *Disk) Device() *device.Device {
	return device.New(d.fd, device.Geometry{
		Bytes: d.Bytes(), LogicalBytes: SectorBytes, PhysicalBytes: pageBytes, Block: true, Direct: true, WriteCache: true,
		Discard: true, DiscardBytes: pageBytes,
	}, "sim:"+d.name)
}

// Ops counts the operations begun so far: reads, writes, flushes and discards.
func (d *Disk) Ops() uint64 { return d.ops }

// Hit says how often a fault happened.
func (d *Disk) Hit(f Fault) int { return d.plan.hit[f] }

// SetFaults replaces the probabilities.
func (d *Disk) SetFaults(f Faults) { d.plan.probs = f }

// FaultAt lets f hit the nth (1 = next) operation from now that it can hit.
func (d *Disk) FaultAt(f Fault, nth int) {
	if nth < 1 {
		panic("sim: FaultAt counts from 1")
	}
	d.plan.once = append(d.plan.once, planned{fault: f, left: nth})
}

// CutPowerAt cuts the power when the nth operation (1 = the first ever) begins: it and all others in flight may or
// may not reach the media, and World.Run returns ErrPowerCut. 0 takes the plan back.
func (d *Disk) CutPowerAt(n uint64) { d.cutAt = n }

// OnEvent calls fn after each begin and end of an operation that can change what a power cut leaves. fn may Fork the
// disk; it must not submit to it.
func (d *Disk) OnEvent(fn func(d *Disk, what string)) { d.onEvent = fn }

// Shorten makes everything at or past bytes fail although the device goes on reporting its full size.
func (d *Disk) Shorten(bytes int64) { d.usable = bytes }

// Damage makes [off, off+n) unreadable (EIO) until it is written again: a latent sector error.
func (d *Disk) Damage(off, n int64) { d.bad = append(d.bad, span{off, off + n}) }

// Flip inverts one bit of what is stored at off, on media and in the cache: rot.
func (d *Disk) Flip(off int64, bit uint) {
	var b [1]byte
	d.cache.read(b[:], off)
	b[0] ^= 1 << (bit & 7)
	d.cache.write(b[:], off)
	d.durable.read(b[:], off)
	b[0] ^= 1 << (bit & 7)
	d.durable.write(b[:], off)
}

// ReadAt and WriteAt reach the content directly, outside of time and faults: for tests that look or corrupt.
func (d *Disk) ReadAt(p []byte, off int64) { d.cache.read(p, off) }

// WriteAt stores p on media and in the cache at once.
func (d *Disk) WriteAt(p []byte, off int64) {
	d.cache.write(p, off)
	d.durable.write(p, off)
}

func (d *Disk) trace(what string, a, b, c uint64) {
	d.w.trace.add(event{at: d.w.line.now, what: what, who: d.id, a: a, b: b, c: c})
}

// submit begins an operation; op.done is called exactly once, later, unless the power goes or the submitter dies.
func (d *Disk) submit(op *diskOp) {
	if d.w.cut {
		op.mem = nil // nothing reaches a device without power
		return
	}
	d.ops++
	op.begun = d.done
	op.fault = d.plan.draw(op.kind, d.rng)
	d.trace(opNames[op.kind], uint64(op.off), uint64(op.n), uint64(op.fault))
	if op.kind == opWrite {
		if invariant.Enabled {
			op.sum = crc32.Checksum(op.mem, castagnoli)
		}
		if chance(d.rng, 0.5) {
			op.take()
		}
	}
	if op.kind == opRead && invariant.Enabled {
		for i := range op.mem {
			op.mem[i] = 0xA7 // whoever looks before the completion sees this
		}
	}
	d.flight = append(d.flight, op)
	op.timer = d.w.after(d.latency(op), func() { d.complete(op) })
	d.tell("begin " + opNames[op.kind])
	if d.ops == d.cutAt {
		d.w.powerCut(d)
	}
}

// tell runs the observer for what matters to the state after a power cut.
func (d *Disk) tell(what string) {
	if d.onEvent != nil {
		d.onEvent(d, what)
	}
}

// take copies the bytes to write out of the submitter's memory. It happens at submission or at completion; in
// between the memory belongs to the device, and checked builds prove that nobody touched it.
func (op *diskOp) take() {
	if op.data != nil || op.kind != opWrite {
		return
	}
	op.verify()
	op.data = append(make([]byte, 0, op.n), op.mem...)
}

func (op *diskOp) verify() {
	if invariant.Enabled && op.kind == opWrite && op.mem != nil && crc32.Checksum(op.mem, castagnoli) != op.sum {
		panic(fmt.Sprintf("sim: buffer of a write in flight was changed: %d bytes to offset %d", op.n, op.off))
	}
}

func (d *Disk) latency(op *diskOp) int64 {
	var ns int64
	switch op.kind {
	case opRead:
		ns = between(d.rng, 40_000, 160_000)
	case opFlush:
		ns = between(d.rng, 100_000, 1_500_000)
	default:
		ns = between(d.rng, 15_000, 120_000)
	}
	ns += int64(op.n) / 4 // about 4 GB/s
	if op.fault == FaultSlow {
		slow := d.plan.probs.SlowNs
		if slow == 0 {
			slow = 50_000_000
		}
		ns += slow
	}
	return ns
}

// complete lets the operation take effect and tells its submitter.
func (d *Disk) complete(op *diskOp) {
	if d.w.cut {
		return
	}
	d.unflight(op)
	op.verify()
	op.take()
	d.done++
	res := d.apply(op)
	d.trace("done-"+opNames[op.kind], uint64(op.off), uint64(d.sum(op)), uint64(int64(res)))
	d.tell("end " + opNames[op.kind])
	if op.done != nil {
		op.done(res)
	}
}

// sum identifies the bytes of an operation in the trace.
func (d *Disk) sum(op *diskOp) uint32 {
	switch {
	case op.kind == opWrite:
		return crc32.Checksum(op.data, castagnoli)
	case op.kind == opRead && op.mem != nil:
		return crc32.Checksum(op.mem, castagnoli)
	}
	return 0
}

func (d *Disk) unflight(op *diskOp) {
	for i, o := range d.flight {
		if o == op {
			d.flight = append(d.flight[:i], d.flight[i+1:]...)
			return
		}
	}
	panic("sim: operation completed twice")
}

func (d *Disk) apply(op *diskOp) int32 {
	switch op.kind {
	case opRead:
		return d.applyRead(op)
	case opWrite:
		return d.applyWrite(op)
	case opDiscard:
		return d.applyDiscard(op)
	case opFlush:
		return d.applyFlush(op)
	}
	panic("sim: unknown disk operation")
}

// fits says how much of [off, off+n) exists.
func (d *Disk) fits(off int64, n int) int {
	return int(max(0, min(int64(n), d.usable-off)))
}

func (d *Disk) applyRead(op *diskOp) int32 {
	if op.mem == nil {
		return 0 // the reader died
	}
	n := d.fits(op.off, op.n)
	if op.fault == FaultReadError || d.isBad(op.off, n) {
		return -int32(syscall.EIO)
	}
	off := op.off
	if op.fault == FaultReadMisdirect {
		off = d.elsewhere(off, n)
	}
	n = d.shorten(op, n)
	d.cache.read(op.mem[:n], off)
	d.mixInFlight(op.mem[:n], off)
	if op.fault == FaultReadFlip && n > 0 {
		op.mem[d.rng.IntN(n)] ^= 1 << d.rng.IntN(8)
	}
	return int32(n)
}

// shorten is a transfer that ends early at a sector boundary, as the kernel may.
func (d *Disk) shorten(op *diskOp, n int) int {
	if op.fault == FaultShort && n > SectorBytes {
		return SectorBytes * (1 + d.rng.IntN(n/SectorBytes-1))
	}
	return n
}

// mixInFlight shows a reader some sectors of writes and discards that have not completed: order among operations in flight is the
// device's.
func (d *Disk) mixInFlight(dst []byte, off int64) {
	for _, o := range d.flight {
		if o.kind != opWrite && o.kind != opDiscard || o.off >= off+int64(len(dst)) || off >= o.off+int64(o.n) {
			continue
		}
		o.take()
		if o.data == nil {
			continue
		}
		for s := 0; s < o.n; s += SectorBytes {
			at := o.off + int64(s) - off
			if at >= 0 && at+SectorBytes <= int64(len(dst)) && s+SectorBytes <= o.n && chance(d.rng, 0.5) {
				copy(dst[at:at+SectorBytes], o.data[s:])
			}
		}
	}
}

func (d *Disk) isBad(off int64, n int) bool {
	for _, b := range d.bad {
		if b.meets(off, n) {
			return true
		}
	}
	return false
}

// elsewhere is a wrong but existing position of the same alignment.
func (d *Disk) elsewhere(off int64, n int) int64 {
	room := (d.usable - int64(n)) / pageBytes
	if room < 1 {
		return off
	}
	to := d.rng.Int64N(room)*pageBytes + off%pageBytes
	if to+int64(n) > d.usable {
		to -= pageBytes
	}
	if to == off {
		to = (off + pageBytes) % (room * pageBytes)
	}
	return max(to, 0)
}

func (d *Disk) applyWrite(op *diskOp) int32 {
	n := d.fits(op.off, op.n)
	if n == 0 {
		return -int32(syscall.ENOSPC)
	}
	off, data := op.off, op.data[:n]
	switch op.fault {
	case FaultWriteError:
		d.landTorn(off, data)
		return -int32(syscall.EIO)
	case FaultWriteLost:
		return int32(n)
	case FaultWriteFlip:
		data = append([]byte(nil), data...)
		data[d.rng.IntN(n)] ^= 1 << d.rng.IntN(8)
	case FaultWriteMisdirect:
		off = d.elsewhere(off, n)
	case FaultShort:
		n = d.shorten(op, n)
		data = data[:n]
	}
	d.land(off, n, data)
	if op.dsync {
		d.persistLast()
	}
	return int32(n)
}

// land makes a write visible, not durable.
func (d *Disk) land(off int64, n int, data []byte) {
	if data == nil {
		d.cache.zero(off, int64(n))
	} else {
		d.cache.write(data, off)
	}
	d.heal(off, n)
	d.pending = append(d.pending, landed{off: off, n: n, data: data, end: d.done})
}

// heal makes rewritten sectors readable again.
func (d *Disk) heal(off int64, n int) {
	if len(d.bad) == 0 {
		return
	}
	var left []span
	end := off + int64(n)
	for _, b := range d.bad {
		if !b.meets(off, n) {
			left = append(left, b)
			continue
		}
		if b.off < off {
			left = append(left, span{b.off, off})
		}
		if end < b.end {
			left = append(left, span{end, b.end})
		}
	}
	d.bad = left
}

// landTorn is a write that failed: each of its sectors is old or new.
func (d *Disk) landTorn(off int64, data []byte) {
	for s := 0; s < len(data); s += SectorBytes {
		if chance(d.rng, 0.5) {
			e := min(s+SectorBytes, len(data))
			d.land(off+int64(s), e-s, data[s:e])
		}
	}
}

// applyFlush makes durable what had completed when the flush began. What completed while it ran is not covered.
func (d *Disk) applyFlush(op *diskOp) int32 {
	covered := 0
	for covered < len(d.pending) && d.pending[covered].end <= op.begun {
		covered++
	}
	switch op.fault {
	case FaultFlushLie:
		return 0
	case FaultFlushError:
		for i := range d.pending[:covered] {
			d.pending[i].lost = true
		}
		return -int32(syscall.EIO)
	}
	var left []landed
	for i, p := range d.pending {
		switch {
		case i >= covered:
			left = append(left, p)
		case p.lost:
			if !d.overwritten(p, i+1, covered) {
				left = append(left, p)
			}
		default:
			d.persist(p)
		}
	}
	d.pending = left
	return 0
}

// overwritten says whether a later write that becomes durable now touches p: then p can only be lost.
func (d *Disk) overwritten(p landed, from, to int) bool {
	for _, q := range d.pending[from:to] {
		if !q.lost && (span{q.off, q.off + int64(q.n)}).meets(p.off, p.n) {
			return true
		}
	}
	return false
}

func (d *Disk) persist(p landed) {
	if p.data == nil {
		d.durable.zero(p.off, int64(p.n))
		return
	}
	d.durable.write(p.data, p.off)
}

// persistLast is a write with data sync: durable when it completes, and with it whatever older write it overlaps.
func (d *Disk) persistLast() {
	last := d.pending[len(d.pending)-1]
	var left []landed
	for _, p := range d.pending[:len(d.pending)-1] {
		if (span{last.off, last.off + int64(last.n)}).meets(p.off, p.n) {
			if !p.lost {
				d.persist(p)
			}
			continue
		}
		left = append(left, p)
	}
	d.persist(last)
	d.pending = left
}

// abandon lets an operation of a dead submitter run on as the kernel would: nobody is told, its memory is not used again.
func (d *Disk) abandon(op *diskOp) {
	if op.kind == opWrite {
		op.take()
	}
	op.mem, op.done = nil, nil
}
