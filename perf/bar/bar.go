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
)

// RoundsMin is the least number of rounds from which a median is worth quoting.
const RoundsMin = 5

// Side measures once and returns a figure in the bar's unit.
type Side func() (float64, error)

// Bar is one comparison.
type Bar struct {
	Name    string
	Unit    string
	Ours    Side
	Against Side
	Wanted  float64 // the least ratio that passes; 0 states a direction only
}

// Result is a finished bar: medians, and the ratio of the medians.
type Result struct {
	Bar
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
		r, err := run(b, rounds)
		if err != nil {
			fmt.Fprintf(w, "bar=%s failed: %v\n", b.Name, err)
			if first == nil {
				first = fmt.Errorf("bar %s: %w", b.Name, err)
			}
			continue
		}
		fmt.Fprintln(w, r)
		results = append(results, r)
	}
	return results, first
}

func run(b Bar, rounds int) (Result, error) {
	var ours, against []float64
	for i := range rounds {
		sides := []struct {
			side Side
			into *[]float64
		}{{b.Ours, &ours}, {b.Against, &against}}
		if i%2 == 1 { // neither side always runs into the other's wake
			sides[0], sides[1] = sides[1], sides[0]
		}
		for _, s := range sides {
			v, err := s.side()
			if err != nil {
				return Result{}, err
			}
			*s.into = append(*s.into, v)
		}
	}
	return Result{Bar: b, OursMedian: Median(ours), AgainstMedian: Median(against), Rounds: rounds}, nil
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
