// Package bar compares two measurements and prints one line for the comparison.
//
// A bar pairs something of ours with its ceiling: the same work done by the barest thing that can do it on this
// machine. Both sides run in the same round, in alternating order, because the machine's speed drifts; the figure of
// a side is the median of its rounds. Figures are rates unless the bar says otherwise, so a ratio above one means
// that ours is the faster.
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
	Against Side
	Wanted  float64 // the least ratio that passes; 0 states a direction only
}

// Result is a finished comparison: medians, and the ratio of the medians.
type Result struct {
	Name, Unit                string
	Wanted                    float64
	OursMedian, AgainstMedian float64
	Rounds                    int
}

// Ratio is ours over against, 0 when the ceiling measured nothing.
func (r Result) Ratio() float64 {
	if r.AgainstMedian == 0 {
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
	ours, against := make([][]float64, len(b.Names)), make([][]float64, len(b.Names))
	for i := range rounds {
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
				return nil, err
			}
			if len(v) != len(b.Names) {
				return nil, fmt.Errorf("a side measured %d figures for %d names", len(v), len(b.Names))
			}
			for k := range v {
				s.into[k] = append(s.into[k], v[k])
			}
		}
	}
	rs := make([]Result, len(b.Names))
	for k, name := range b.Names {
		rs[k] = Result{Name: name, Unit: b.Unit, Wanted: b.Wanted, Rounds: rounds,
			OursMedian: Median(ours[k]), AgainstMedian: Median(against[k])}
	}
	return rs, nil
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
	}
	return fmt.Sprintf("%.2f", v)
}
