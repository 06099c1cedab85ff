// Package bar compares two measurements and prints one line for the comparison.
//
// A bar pairs something of ours with its ceiling: the same work done by the barest thing that can do it on this
// machine. Both sides run in the same round, in alternating order, because the machine's speed drifts; the figure of
// a side is the median of its rounds. Figures are rates unless the bar says otherwise, so a ratio above one means
// that ours is the faster. A bar with a Limit has no other side: its figure is a cost, and the ratio is limit over figure.
//
// State: a Bar is plain data owned by whoever built it; Run keeps nothing.
package bar

import (
	"fmt"
	"io"
	"sort"
	"strings"
)

// RoundsMin is the least number of rounds from which a median is worth quoting.
const RoundsMin = 5

// Side measures once and returns a figure for each name of its bars, in their order.
type Side func() ([]float64, error)

// One is a side of a single figure.
func One(measure func() (float64, error)) Side {
	return func() ([]float64, error) {
		v, err := measure()
		return []float64{v}, err
	}
}

// Bar is one comparison, or several that one run of a side measures together (a create, stat, unlink sequence).
type Bar struct {
	Names   []string
	Unit    string
	Ours    Side
	Against Side    // nil if there is a Limit
	Wanted  float64 // the least ratio that passes; 0 states a direction only

	Limit  float64      // of a cost: the most that passes. Wanted is then 1, whatever it says
	Rounds int          // of this bar, if not those of the run: for a count that no other load on the machine can change
	Before func() error // prepares what the sides need, once, when the bar's turn has come; may be nil
}

// Result is a finished comparison: medians, and the ratio of the medians.
type Result struct {
	Name, Unit                string
	Wanted                    float64
	OursMedian, AgainstMedian float64
	Rounds                    int
	Limited                   bool // AgainstMedian is a limit, and less is better
}

// ratioMax is printed for a cost of nothing at all.
const ratioMax = 1000

// Ratio is ours over against, 0 when the ceiling measured nothing; of a limit it is the limit over ours.
func (r Result) Ratio() float64 {
	switch {
	case r.Limited && r.OursMedian <= r.AgainstMedian/ratioMax:
		return ratioMax
	case r.Limited:
		return r.AgainstMedian / r.OursMedian
	case r.AgainstMedian == 0:
		return 0
	}
	return r.OursMedian / r.AgainstMedian
}

// Verdict is ok, short, or - for a bar that only states a direction.
func (r Result) Verdict() string {
	switch {
	case r.Wanted == 0:
		return "-"
	case r.Ratio() >= r.Wanted:
		return "ok"
	}
	return "short"
}

func (r Result) String() string {
	return fmt.Sprintf("bar=%s ours=%s against=%s unit=%s ratio=%.2f wanted=%.2f rounds=%d %s",
		r.Name, figure(r.OursMedian), figure(r.AgainstMedian), r.Unit, r.Ratio(), r.Wanted, r.Rounds, r.Verdict())
}

// Run takes the rounds of every bar, prints each result as it is known, and returns them all. A side that fails ends
// its bar with an error line; the other bars still run, and the first error is returned.
func Run(w io.Writer, rounds int, bars []Bar) ([]Result, error) {
	var results []Result
	var first error
	for _, b := range bars {
		rs, err := run(b, rounds)
		if err != nil {
			err = fmt.Errorf("bar=%s failed: %w", strings.Join(b.Names, ","), err)
			fmt.Fprintln(w, err)
			if first == nil {
				first = err
			}
			continue
		}
		for _, r := range rs {
			fmt.Fprintln(w, r)
		}
		results = append(results, rs...)
	}
	return results, first
}

func run(b Bar, rounds int) ([]Result, error) {
	if b.Before != nil {
		if err := b.Before(); err != nil {
			return nil, err
		}
	}
	if b.Rounds > 0 {
		rounds = b.Rounds
	}
	if b.Limit > 0 {
		b.Against, b.Wanted = b.limit, 1
	}
	ours, against := make([][]float64, len(b.Names)), make([][]float64, len(b.Names))
	for i := range rounds {
		if err := b.round(i, ours, against); err != nil {
			return nil, err
		}
	}
	rs := make([]Result, len(b.Names))
	for k, name := range b.Names {
		rs[k] = Result{Name: name, Unit: b.Unit, Wanted: b.Wanted, Rounds: rounds, Limited: b.Limit > 0,
			OursMedian: Median(ours[k]), AgainstMedian: Median(against[k])}
	}
	return rs, nil
}

// round runs each side once and appends what they measured.
func (b *Bar) round(i int, ours, against [][]float64) error {
	sides := []struct {
		side Side
		into [][]float64
	}{{b.Ours, ours}, {b.Against, against}}
	if i%2 == 1 { // neither side always runs into the other's wake
		sides[0], sides[1] = sides[1], sides[0]
	}
	for _, s := range sides {
		v, err := s.side()
		if err != nil {
			return err
		}
		if len(v) != len(b.Names) {
			return fmt.Errorf("a side measured %d figures for %d names", len(v), len(b.Names))
		}
		for k := range v {
			s.into[k] = append(s.into[k], v[k])
		}
	}
	return nil
}

// limit is the other side of a bar that has a limit.
func (b *Bar) limit() ([]float64, error) {
	v := make([]float64, len(b.Names))
	for k := range v {
		v[k] = b.Limit
	}
	return v, nil
}

// Median of a list, which it leaves as it was; 0 for an empty one.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := append([]float64(nil), v...)
	sort.Float64s(s)
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// figure prints three significant places without exponents.
func figure(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v > 0 && v < 0.1:
		return fmt.Sprintf("%.4f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
