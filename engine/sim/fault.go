package sim

import "math/rand/v2"

// Fault names one way in which a device fails. The table in the package comment says what each means.
type Fault uint8

const (
	FaultNone Fault = iota
	FaultReadError
	FaultWriteError
	FaultFlushError
	FaultFlushLie
	FaultReadFlip
	FaultWriteFlip
	FaultReadMisdirect
	FaultWriteMisdirect
	FaultWriteLost
	FaultSlow
	FaultShort
	FaultDiscardError
	faultCount
)

var faultNames = [faultCount]string{"none", "read-error", "write-error", "flush-error", "flush-lie", "read-flip",
	"write-flip", "read-misdirect", "write-misdirect", "write-lost", "slow", "short", "discard-error"}

func (f Fault) String() string {
	if f < faultCount {
		return faultNames[f]
	}
	return "fault?"
}

// Faults gives the probability of each fault per operation that it can hit; the zero value is a perfect device.
type Faults struct {
	ReadError, WriteError, FlushError float64
	FlushLie                          float64
	ReadFlip, WriteFlip               float64
	ReadMisdirect, WriteMisdirect     float64
	WriteLost                         float64
	Slow                              float64
	SlowRead                          float64 // of reads, besides Slow
	Short                             float64
	DiscardError                      float64
	SlowNs                            int64 // how long a slow operation takes; 0 = 50 ms
}

// opKind is what a device can be asked to do.
type opKind uint8

const (
	opRead opKind = iota
	opWrite
	opFlush
	opDiscard
	opKindCount
)

var opNames = [opKindCount]string{"read", "write", "flush", "discard"}

func (k opKind) String() string { return opNames[k] }

// hits lists which faults an operation of each kind can meet, in the order in which they are drawn.
var hits = [opKindCount][]Fault{
	opRead:    {FaultReadError, FaultReadFlip, FaultReadMisdirect, FaultSlow, FaultShort},
	opWrite:   {FaultWriteError, FaultWriteFlip, FaultWriteMisdirect, FaultWriteLost, FaultSlow, FaultShort},
	opFlush:   {FaultFlushError, FaultFlushLie, FaultSlow},
	opDiscard: {FaultWriteError, FaultSlow, FaultDiscardError},
}

func (k opKind) meets(f Fault) bool {
	for _, h := range hits[k] {
		if h == f {
			return true
		}
	}
	return false
}

func (p *Faults) prob(f Fault) float64 {
	switch f {
	case FaultReadError:
		return p.ReadError
	case FaultWriteError:
		return p.WriteError
	case FaultFlushError:
		return p.FlushError
	case FaultFlushLie:
		return p.FlushLie
	case FaultReadFlip:
		return p.ReadFlip
	case FaultWriteFlip:
		return p.WriteFlip
	case FaultReadMisdirect:
		return p.ReadMisdirect
	case FaultWriteMisdirect:
		return p.WriteMisdirect
	case FaultWriteLost:
		return p.WriteLost
	case FaultSlow:
		return p.Slow
	case FaultShort:
		return p.Short
	case FaultDiscardError:
		return p.DiscardError
	}
	return 0
}

// planned is a fault that hits exactly one operation: the one for which left reaches zero.
type planned struct {
	fault Fault
	left  int
}

// faultPlan decides per operation. Owned by its disk.
type faultPlan struct {
	probs Faults
	once  []planned
	hit   [faultCount]int // how often each fault happened
}

// draw picks the fault for an operation: a planned one first, else by probability. At most one fault hits an
// operation, so a test can tell which of them a failure came from.
func (p *faultPlan) draw(k opKind, r *rand.Rand) Fault {
	got := FaultNone
	keep := p.once[:0]
	for _, o := range p.once {
		if k.meets(o.fault) {
			o.left--
			if o.left == 0 {
				if got == FaultNone {
					got = o.fault
					continue
				}
				o.left = 1 // two plans for one operation: the second takes the next
			}
		}
		keep = append(keep, o)
	}
	p.once = keep
	if got == FaultNone {
		got = p.drawByChance(k, r)
	}
	p.hit[got]++
	return got
}

func (p *faultPlan) drawByChance(k opKind, r *rand.Rand) Fault {
	for _, f := range hits[k] {
		q := p.probs.prob(f)
		if f == FaultSlow && k == opRead {
			q += p.probs.SlowRead
		}
		if q > 0 && r.Float64() < q {
			return f
		}
	}
	return FaultNone
}
