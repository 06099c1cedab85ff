package sim

import "math/rand/v2"

// Fork gives the disk as it is at this instant, with what is volatile and in flight, detached from any world: keep it
// to decide later what a power cut here would have left (see AfterPowerLoss), while this one runs on.
func (d *Disk) Fork() *Disk {
	c := &Disk{name: d.name, cache: d.cache.clone(), durable: d.durable.clone(), usable: d.usable}
	c.pending = append([]landed(nil), d.pending...)
	c.bad = append([]span(nil), d.bad...)
	for _, o := range d.flight {
		if o.kind != opWrite && o.kind != opDiscard {
			continue
		}
		o.take()
		c.flight = append(c.flight, &diskOp{kind: o.kind, off: o.off, n: o.n, data: o.data, fault: o.fault})
	}
	c.ops, c.done = d.ops, d.done
	return c
}

// Volatile counts the writes that a power cut now could lose: completed without a flush, or in flight.
func (d *Disk) Volatile() int {
	n := len(d.pending)
	for _, o := range d.flight {
		if o.kind == opWrite || o.kind == opDiscard {
			n++
		}
	}
	return n
}

// AfterPowerLoss gives a new disk with what is left if the power fails now: each volatile write is, by the seed, kept,
// lost, or torn at sectors; in flight ones too. The new disk has no faults planned. It lives in the same world;
// World.Adopt moves it to another.
func (d *Disk) AfterPowerLoss() *Disk {
	r := d.rng
	if r == nil {
		r = stream(d.ops, d.done)
	}
	return d.afterPowerLoss(r)
}

// AfterPowerLossSeed is AfterPowerLoss with its own source of chance: the same state may be lost in many ways.
func (d *Disk) AfterPowerLossSeed(seed uint64) *Disk { return d.afterPowerLoss(stream(seed, 0x10055)) }

// AfterPowerLossOf is AfterPowerLossSeed with the kind of loss chosen.
func (d *Disk) AfterPowerLossOf(l Loss, seed uint64) *Disk {
	return d.afterLoss(l, stream(seed, 0x10055))
}

func (d *Disk) afterPowerLoss(r *rand.Rand) *Disk { return d.afterLoss(drawLoss(r), r) }

func (d *Disk) afterLoss(loss Loss, r *rand.Rand) *Disk {
	left := d.durable.clone()
	n := &Disk{name: d.name, durable: left, usable: d.usable}
	n.bad = append([]span(nil), d.bad...)
	older := d.Volatile() - loss.Newest // so many left that are not among the newest
	for _, p := range d.pending {
		older--
		loss.land(r, left, p, older < 0)
	}
	for _, i := range r.Perm(len(d.flight)) { // those in flight take effect in any order
		o := d.flight[i]
		if o.kind != opWrite && o.kind != opDiscard {
			continue
		}
		older--
		if o.fault == FaultWriteLost {
			continue
		}
		o.take()
		if fits := d.fits(o.off, o.n); fits > 0 {
			loss.land(r, left, landed{off: o.off, n: fits, data: o.data}, older < 0)
		}
	}
	n.cache = left.clone()
	if d.w != nil {
		d.w.adopt(n)
	}
	return n
}

// Loss is how one power loss treats volatile writes: of all, the share Tear is torn at sectors; of the others the share Keep
// arrives and the rest is lost. The Newest arrive whole in any case, as if the device had written them first; of those
// in flight, any may be the newest.
type Loss struct {
	Keep, Tear float64
	Newest     int
}

// drawLoss. Swarm weights: some losses are extreme on purpose, because a fair coin per write almost never gives "all but
// the last" or "only the last".
func drawLoss(r *rand.Rand) Loss {
	switch r.IntN(8) {
	case 0:
		return Loss{Keep: 0}
	case 1:
		return Loss{Keep: 1}
	case 2:
		return Loss{Keep: 0.9}
	case 3:
		return Loss{Keep: 0.1}
	case 4:
		return Loss{Keep: 0.5, Tear: 1}
	}
	return Loss{Keep: r.Float64(), Tear: r.Float64()}
}

// land decides about one write.
func (l Loss) land(r *rand.Rand, to *image, p landed, newest bool) {
	if newest {
		put(to, p, 0, p.n)
		return
	}
	if chance(r, l.Tear) {
		tear(r, to, p)
		return
	}
	if !chance(r, l.Keep) {
		return
	}
	put(to, p, 0, p.n)
}

func put(to *image, p landed, from, end int) {
	if p.data == nil {
		to.zero(p.off+int64(from), int64(end-from))
		return
	}
	to.write(p.data[from:end], p.off+int64(from))
}

// tear keeps some sectors of a write: a head, a tail, or any.
func tear(r *rand.Rand, to *image, p landed) {
	sectors := (p.n + SectorBytes - 1) / SectorBytes
	at := r.IntN(sectors + 1)
	kind := r.IntN(3)
	for s := 0; s < sectors; s++ {
		var stays bool
		switch kind {
		case 0:
			stays = s < at
		case 1:
			stays = s >= at
		default:
			stays = chance(r, 0.5)
		}
		if stays {
			put(to, p, s*SectorBytes, min((s+1)*SectorBytes, p.n))
		}
	}
}
