// Command bench measures Basalt beside its ceilings, in the same run, and prints one line per bar.
//
//	bench -area node -dir DIR [-rounds 5] [-seconds 2] [-parts engine,store] [-only NAME]
//
// DIR holds the files that are measured on; they are written once, whole, and used again. Both sides of a bar take
// turns (see perf/bar). The areas are lists of bars: node is one node from the engine to the mount. The parts that mount
// need root, and the right to drop the kernel's caches.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"basalt/perf/bar"
)

// bench is what every bar needs to know. Immutable after flags were read.
type bench struct {
	dir     string  // for images and mounts
	bin     string  // where storaged and basalt were built
	rounds  int     // of each bar
	seconds float64 // of each side in a round
	parts   string  // names of the parts to measure; empty: all
	only    string  // measure bars whose names contain it
	files   int     // of each thread in the small-file workload
}

func main() {
	var b bench
	area := flag.String("area", "node", "list of bars: node")
	flag.StringVar(&b.dir, "dir", "", "a directory for images and mounts; the files stay there for the next run")
	flag.StringVar(&b.bin, "bin", "bin", "the directory of the built storaged and basalt")
	flag.IntVar(&b.rounds, "rounds", bar.RoundsMin, "rounds of each bar")
	flag.Float64Var(&b.seconds, "seconds", 2, "seconds of each side in a round")
	flag.StringVar(&b.only, "only", "", "measure only bars whose names contain this")
	flag.StringVar(&b.parts, "parts", "", "measure only these parts of the area, comma separated")
	null := flag.String("serve-null", "", "for the bench itself: serve the null file system here until standard input ends")
	transport := flag.String("fuse-transport", "auto", "of -serve-null")
	flag.IntVar(&b.files, "files", 2000, "files of each thread in the small-file workload")
	flag.Parse()
	if *null != "" {
		exit(serveNull(*null, *transport))
	}
	if flag.NArg() > 0 || *area != "node" || b.dir == "" {
		fmt.Fprintln(os.Stderr, "bench: -dir is needed, and -area is node")
		flag.Usage()
		os.Exit(2)
	}
	exit(b.node())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// part is one list of bars with what they need set up: opened late, closed early, so that one part's memory and
// processes are gone when the next is measured.
type part func(b *bench) (bars []bar.Bar, done func() error, err error)

var nodeParts = []struct {
	name string
	part part
}{
	{"engine", enginePart}, {"store", storePart}, {"roundtrip", roundTripPart}, {"wire", wirePart}, {"mount", mountPart},
	{"files-uring", filesPart("uring")}, {"files-dev", filesPart("dev")}, {"library", libraryPart},
}

// node measures everything from the engine to the mount.
func (b *bench) node() error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	describe(os.Stdout)
	var first error
	for _, p := range nodeParts {
		if b.parts != "" && !slices.Contains(strings.Split(b.parts, ","), p.name) {
			continue
		}
		if err := b.run(p.part); err != nil && first == nil {
			first = fmt.Errorf("part %s: %w", p.name, err)
		}
	}
	return first
}

func (b *bench) run(p part) error {
	bars, done, err := p(b)
	if err != nil {
		return err
	}
	if b.only != "" {
		var kept []bar.Bar
		for _, x := range bars {
			if strings.Contains(strings.Join(x.Names, ","), b.only) {
				kept = append(kept, x)
			}
		}
		bars = kept
	}
	_, err = bar.Run(os.Stdout, b.rounds, bars)
	if derr := done(); err == nil {
		err = derr
	}
	return err
}
