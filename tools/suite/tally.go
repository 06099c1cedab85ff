package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// tally counts tests and subtests; failures names at most failuresNamedMax of the failed ones.
type tally struct {
	passed, failed, skipped int
	broken                  int // packages that ended badly without a failed test: no build, panic outside, timeout
	failures                []string
}

const failuresNamedMax = 5

func (t tally) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.passed, t.failed+t.broken, t.skipped)
}

func (t tally) green() bool { return t.passed > 0 && t.failed == 0 && t.skipped == 0 && t.broken == 0 }

func (t *tally) add(o tally) {
	t.passed += o.passed
	t.failed += o.failed
	t.skipped += o.skipped
	t.broken += o.broken
}

// event is a line of test2json.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// counter follows one `go test -json`: it keeps the output of what runs, and shows that of what fails.
type counter struct {
	tally
	out    io.Writer
	output map[string][]string // by package and test
	failed map[string]bool     // packages with a failed test
}

// outputLinesMax bounds what is kept of one test's output: the end tells why it failed.
const outputLinesMax = 400

func count(in io.Reader, out io.Writer) tally {
	c := counter{out: out, output: make(map[string][]string), failed: make(map[string]bool)}
	lines := bufio.NewReaderSize(in, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprintf(out, "%s", line) // the go command itself speaks
			} else {
				c.see(e)
			}
		}
		if err != nil {
			return c.tally
		}
	}
}

func (c *counter) see(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		kept := append(c.output[key], e.Output)
		if len(kept) > outputLinesMax {
			kept = kept[len(kept)-outputLinesMax:]
		}
		c.output[key] = kept
	case "build-output":
		fmt.Fprint(c.out, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			c.endPackage(e, key)
		} else {
			c.endTest(e, key)
		}
		delete(c.output, key)
	}
}

func (c *counter) endTest(e event, key string) {
	switch e.Action {
	case "pass":
		c.passed++
		return
	case "skip":
		c.skipped++
	case "fail":
		c.tally.failed++
		c.failed[e.Package] = true
		if len(c.failures) < failuresNamedMax {
			c.failures = append(c.failures, e.Test)
		}
	}
	c.show(key)
}

func (c *counter) endPackage(e event, key string) {
	switch {
	case e.Action == "fail" && !c.failed[e.Package]:
		c.broken++
		c.show(key)
		c.showUnended(e.Package)
		fmt.Fprintf(c.out, "broken %s %.1f s\n", e.Package, e.Elapsed)
	case e.Action == "fail":
		fmt.Fprintf(c.out, "FAIL   %s %.1f s\n", e.Package, e.Elapsed)
	case e.Action == "pass":
		fmt.Fprintf(c.out, "ok     %s %.1f s\n", e.Package, e.Elapsed)
	}
}

func (c *counter) show(key string) {
	for _, line := range c.output[key] {
		fmt.Fprint(c.out, line)
	}
}

// showUnended shows what the tests said that ran when the process of their package died: it is theirs by name, and no end of them comes.
func (c *counter) showUnended(pkg string) {
	for key := range c.output {
		if strings.HasPrefix(key, pkg+" ") && key != pkg+" " {
			c.show(key)
			delete(c.output, key)
		}
	}
}
