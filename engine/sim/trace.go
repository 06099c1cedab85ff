package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
)

// traceKept is how many of the last events a dump shows.
const traceKept = 128

// event is one line of the trace. what is a constant string, so recording allocates nothing.
type event struct {
	at      int64
	what    string
	who     int32 // reactor, disk or descriptor number
	a, b, c uint64
}

// trace folds every scheduling and device event into one hash (FNV-1a over 64-bit words) and keeps the last few.
// It never sees an address or anything else that differs between two runs of one seed.
type trace struct {
	hash   uint64
	count  uint64
	last   [traceKept]event
	follow io.Writer // if set, each event is printed as it happens
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func newTrace() trace { return trace{hash: fnvOffset} }

func (t *trace) add(e event) {
	h := t.hash
	for i := 0; i < len(e.what); i++ {
		h = (h ^ uint64(e.what[i])) * fnvPrime
	}
	for _, v := range [5]uint64{uint64(e.at), uint64(uint32(e.who)), e.a, e.b, e.c} {
		h = (h ^ v) * fnvPrime
		h ^= h >> 29 // a multiplication alone never moves high bits down
	}
	t.hash = h
	t.last[t.count%traceKept] = e
	t.count++
	if t.follow != nil {
		fmt.Fprintln(t.follow, e.String())
	}
}

func (e event) String() string {
	return fmt.Sprintf("%12.3fus %-12s #%d %d %d %d", float64(e.at)/1e3, e.what, e.who, e.a, e.b, int64(e.c))
}

// dump writes the last events, oldest first.
func (t *trace) dump(w io.Writer) {
	from := uint64(0)
	if t.count > traceKept {
		from = t.count - traceKept
	}
	for i := from; i < t.count; i++ {
		fmt.Fprintln(w, t.last[i%traceKept].String())
	}
}

// stream makes an independent random source for one concern (scheduling, a disk, a connection), so that a change
// in how often one of them draws does not shift what the others see.
func stream(seed uint64, label uint64) *rand.Rand {
	return rand.New(rand.NewPCG(mix(seed, label), mix(label, ^seed)))
}

// mix is splitmix64's finalizer over two words.
func mix(a, b uint64) uint64 {
	z := a + 0x9e3779b97f4a7c15*(b+1)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// between draws from [lo, hi].
func between(r *rand.Rand, lo, hi int64) int64 {
	if hi <= lo {
		return lo
	}
	return lo + r.Int64N(hi-lo+1)
}

func chance(r *rand.Rand, p float64) bool { return p > 0 && r.Float64() < p }
