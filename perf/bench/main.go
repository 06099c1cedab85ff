// Command bench measures Basalt beside its ceilings, in the same run, and prints one line per bar.
//
//	bench -area node|store -dir DIR [-bin bin] [-rounds 5] [-seconds 2] [-parts engine,store] [-only NAME]
//
// DIR holds the files that are measured on; they are written once, whole, and used again. Both sides of a bar take
// turns (see perf/bar). The areas are lists of bars: node is one node from the engine to the mount, store is the object
// store alone, with what is wanted of it. The parts that mount need root, and the right to drop the kernel's caches; the
// part gets needs the right to make a memory cgroup. Its other side and that of puts are perf/rivals, a program of a module of its own.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/pprof"
	"slices"
	"strings"

	"basalt/perf/bar"
)

// bench is what every bar needs to know. Immutable after flags were read.
type bench struct {
	dir     string  // for images and mounts
	bin     string  // where storaged, basalt and rivals were built
	rounds  int     // of each bar
	seconds float64 // of each side in a round
	parts   string  // names of the parts to measure; empty: all
	only    string  // measure bars whose names contain it
	files   int     // of each thread in the small-file workload

	// Of the area store.
	keys    int     // in the store that is larger than memory
	objects int     // that the heap is measured with
	crashed int     // objects in the store that crashes
	ops     int     // reads, and writes, over which allocations are counted
	churn   float64 // how often the capacity is written anew to age a store
}

func main() {
	var b bench
	area := flag.String("area", "node", "list of bars: node or store")
	flag.StringVar(&b.dir, "dir", "", "a directory for images and mounts; the files stay there for the next run")
	flag.StringVar(&b.bin, "bin", "bin", "the directory of the built storaged and basalt, and of rivals for area store")
	flag.IntVar(&b.rounds, "rounds", bar.RoundsMin, "rounds of each bar")
	flag.Float64Var(&b.seconds, "seconds", 2, "seconds of each side in a round")
	flag.StringVar(&b.only, "only", "", "measure only bars whose names contain this")
	flag.StringVar(&b.parts, "parts", "", "measure only these parts of the area, comma separated")
	null := flag.String("serve-null", "", "for the bench itself: serve the null file system here until standard input ends")
	transport := flag.String("fuse-transport", "auto", "of -serve-null")
	flag.IntVar(&b.files, "files", 2000, "files of each thread in the small-file workload")
	flag.IntVar(&b.keys, "keys", 10_000_000, "area store: keys of the store that is larger than memory")
	flag.IntVar(&b.objects, "objects", 10_000_000, "area store: objects that the Go heap is measured with")
	flag.IntVar(&b.crashed, "crash-objects", 1_000_000, "area store: objects in the store that crashes")
	flag.IntVar(&b.ops, "ops", 1_000_000, "area store: reads, and writes, over which allocations are counted")
	flag.Float64Var(&b.churn, "churn", 3, "area store: how often the capacity is written anew to age a store")
	profile := flag.String("cpuprofile", "", "write a CPU profile of this process here")
	child := flag.String("child", "", "for the bench itself: be the child process of this name")
	group := flag.String("cgroup", "", "of -child: the memory cgroup to live in")
	flag.Parse()
	stop, err := profileTo(*profile)
	switch parts := areas[*area]; {
	case err != nil:
	case *null != "":
		err = serveNull(*null, *transport)
	case *child != "":
		err = b.child(*child, *group)
	case flag.NArg() > 0 || parts == nil || b.dir == "":
		fmt.Fprintln(os.Stderr, "bench: -dir is needed, and -area is node or store")
		flag.Usage()
		os.Exit(2)
	default:
		err = b.area(parts)
	}
	exit(errors.Join(err, stop()))
}

// profileTo starts a CPU profile of this process, if a file is named, and returns what ends it.
func profileTo(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return func() error { return nil }, err
	}
	return func() error { pprof.StopCPUProfile(); return f.Close() }, pprof.StartCPUProfile(f)
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

type namedPart struct {
	name string
	part part
}

var areas = map[string][]namedPart{
	"node": {
		{"engine", enginePart(0)}, {"store", storePart}, {"roundtrip", roundTripPart}, {"wire", wirePart}, {"mount", mountPart},
		{"files-uring", filesPart("uring")}, {"files-dev", filesPart("dev")}, {"library", libraryPart},
	},
	"store": {
		{"engine", enginePart(0.95)}, {"data", dataPart}, {"cost", costPart}, {"stall", stallPart}, {"amplify", amplifyPart},
		{"puts", putsPart}, {"aged", agedPart}, {"crash", crashPart}, {"heap", heapPart}, {"gets", getsPart},
	},
}

// area measures every part of a list, and goes on behind one that fails.
func (b *bench) area(parts []namedPart) error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	describe(os.Stdout)
	var failed []error
	for _, p := range parts {
		if b.parts != "" && !slices.Contains(strings.Split(b.parts, ","), p.name) {
			continue
		}
		if err := b.run(p.part); err != nil {
			failed = append(failed, fmt.Errorf("part %s: %w", p.name, err))
		}
	}
	return errors.Join(failed...)
}

// progress tells whoever waits what takes so long.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "# "+format+"\n", args...) }

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
