// Command suite runs every test of the repository in stages and counts what ran: `make test` is this program.
//
// It owns nothing but the numbers. Invariants: a skipped test is a failure; a stage that runs no test is a failure; a
// stage with a planted bug passes only if some test fails in it (a build that fails is not a find). The closing line
// is "N passed, N failed, N skipped". Read stages.go first.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

func main() {
	only := flag.String("only", "", "run the stages whose name contains this")
	list := flag.Bool("list", false, "list the stages and end")
	flag.Parse()
	if *list {
		for _, s := range stages {
			fmt.Printf("%-18s go test %s\n", s.name, strings.Join(s.args, " "))
		}
		return
	}
	if !run(os.Stdout, *only) {
		os.Exit(1)
	}
}

func run(out io.Writer, only string) bool {
	var total tally
	began := time.Now()
	for _, s := range stages {
		if !strings.Contains(s.name, only) {
			continue
		}
		fmt.Fprintf(out, "== %s: go test %s\n", s.name, strings.Join(s.args, " "))
		stageBegan := time.Now()
		one := s.execute(out)
		fmt.Fprintf(out, "== %s: %v, %.0f s\n", s.name, one, time.Since(stageBegan).Seconds())
		total.add(one)
	}
	fmt.Fprintf(out, "%d stages and packages broken before a test could run, %.0f s in all\n", total.broken, time.Since(began).Seconds())
	fmt.Fprintln(out, total)
	return total.green()
}

// execute runs one stage and returns its count.
func (s stage) execute(out io.Writer) tally {
	cmd := exec.Command("go", append([]string{"test", "-json", "-count=1"}, s.args...)...) // a remembered result is not a run
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Stderr = out
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		fmt.Fprintln(out, err)
		return tally{broken: 1}
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(out, err)
		return tally{broken: 1}
	}
	quiet := out
	if s.planted {
		quiet = io.Discard // its failures are what we want
	}
	t := count(pipe, quiet)
	exit := cmd.Wait()
	if s.planted {
		return s.judge(t, out)
	}
	if exit != nil && t.failed == 0 && t.broken == 0 {
		fmt.Fprintf(out, "go test ended with %v and no failed test\n", exit)
		t.broken++
	}
	if t.passed+t.failed == 0 {
		fmt.Fprintln(out, "no test ran")
		t.broken++
	}
	return t
}

// judge turns the run of a planted bug into one result: found, or not.
func (s stage) judge(t tally, out io.Writer) tally {
	switch {
	case t.broken > 0 && t.failed == 0:
		fmt.Fprintf(out, "%s: does not build or run, so nothing is proved\n", s.name)
		return tally{broken: 1}
	case t.failed == 0:
		fmt.Fprintf(out, "FAIL %s: the planted bug was not found by %d tests\n", s.name, t.passed)
		return tally{failed: 1}
	}
	fmt.Fprintf(out, "   found: %s\n", strings.Join(t.failures, ", "))
	return tally{passed: 1, skipped: t.skipped}
}
