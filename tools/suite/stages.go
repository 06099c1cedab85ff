package main

// stage is one `go test`.
type stage struct {
	name    string
	args    []string
	env     []string // added to the environment
	planted bool     // a bug is compiled in: the stage is green only if a test is red
}

// stages in the order they run: what fails fastest and explains most comes first.
var stages = []stage{
	{name: "all", args: []string{"-timeout=15m", "./..."}},

	// The race detector slows the simulator tenfold, so it runs where goroutines and rings really meet.
	{name: "race", args: []string{"-race", "-timeout=15m", "./engine/...", "./netio/...", "./meta/client/...", "./fuse/...", "./tools/config", "./tools/control", "./tools/daemon"}},

	// Costly assertions and buffer patterns on; fewer seeds than "all", which has run them without.
	{name: "checked", env: []string{"BASALT_SEEDS=200", "BASALT_CUT_SEEDS=1"}, args: []string{"-tags=checked", "-timeout=15m", "./engine/...", "./storage/...", "./meta/...", "./netio/..."}},

	// The second ring backend, held to the same suite. It does not link without the flag (see docs/decisions).
	{name: "giouring", args: []string{"-tags=giouring", "-ldflags=-checklinkname=0", "-timeout=5m", "./engine/uring/..."}},

	// Bugs planted by a build tag in production code only: the unmodified suite must turn red.
	{name: "planted reuse", planted: true, args: []string{"-tags=planted_reuse", "-failfast", "-timeout=10m", "./storage/campaign"}},
	{name: "planted noflush", planted: true, args: []string{"-tags=planted_noflush", "-failfast", "-timeout=10m", "./storage/campaign"}},
	{name: "planted noflush, real disk", planted: true, args: []string{"-tags=planted_noflush", "-failfast", "-timeout=10m", "-run=^TestPowerCuts$", "./tools/cutloop"}},
	{name: "planted discard", planted: true, args: []string{"-tags=planted_discard", "-failfast", "-timeout=10m", "-run=^(TestPowerCutAtEveryDiscard|TestRandomLives)$", "./storage/campaign"}},
	{name: "planted nocrc", planted: true, args: []string{"-tags=planted_nocrc", "-failfast", "-timeout=10m", "./storage/campaign"}},
}
