package sim

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"

	"basalt/engine"
)

// ErrPowerCut is what Run returns when a disk's CutPowerAt was reached: nothing more happens in this world until
// PowerOn. What the disks then hold is AfterPowerLoss.
var ErrPowerCut = errors.New("sim: power cut")

// DeadlockError says that nobody can ever run again: no completion to come, no timer, and Run's condition not met.
type DeadlockError struct{ Dump string }

func (e *DeadlockError) Error() string { return "sim: deadlock\n" + e.Dump }

// LivelockError says that a Run took more steps than it may.
type LivelockError struct {
	Steps int
	Dump  string
}

func (e *LivelockError) Error() string {
	return fmt.Sprintf("sim: no end after %d steps\n%s", e.Steps, e.Dump)
}

const (
	stepsMaxDefault = 4_000_000
	fdBase          = 1 << 24                   // descriptors of a world; no real one is that high
	wallStart       = 1_767_225_600_000_000_000 // 2026-01-01 UTC
	monoStart       = 1_000_000_000
)

// World is one deterministic universe: time, disks, connections, reactors. See the package comment.
type World struct {
	seed   uint64
	rng    *rand.Rand // the test's: World.Rand
	sched  *rand.Rand // order of steps, small delays
	stall  *rand.Rand // how long code takes
	labels uint64     // sources made so far
	line   timeline
	trace  trace

	columns []*column
	files   []any // by descriptor - fdBase: *Disk, *end, *eventFd; nil = closed
	disks   int32
	conns   []*Conn
	cut     bool

	StepsMax int // of one Run; 0 = 4 million
}

// NewWorld makes an empty world. Everything that happens in it follows from seed.
func NewWorld(seed uint64) *World {
	w := &World{seed: seed, rng: stream(seed, 1), sched: stream(seed, 2), stall: stream(seed, 3), trace: newTrace()}
	w.line.now = monoStart
	return w
}

// Seed is what NewWorld was given.
func (w *World) Seed() uint64 { return w.seed }

// Rand is a source of chance for the test itself; the world's own choices do not draw from it.
func (w *World) Rand() *rand.Rand { return w.rng }

// Now is virtual time in ns, the one that Clock().Mono shows.
func (w *World) Now() int64 { return w.line.now }

// TraceHash identifies everything that has happened so far. The same seed and the same code give the same hash.
func (w *World) TraceHash() uint64 { return w.trace.hash }

// Follow prints every event to out from now on (nil: no more): for the eyes, when a seed fails.
func (w *World) Follow(out io.Writer) { w.trace.follow = out }

// source makes an independent random source.
func (w *World) source(kind uint64) *rand.Rand {
	w.labels++
	return stream(w.seed, kind<<32|w.labels)
}

// Disk makes an empty disk (all zero) of bytes, a multiple of 4 KiB.
func (w *World) Disk(name string, bytes int64) *Disk { return newDisk(w, name, bytes) }

// Adopt moves a disk (of a world that is over, or detached) into this world.
func (w *World) Adopt(d *Disk) *Disk {
	w.adopt(d)
	return d
}

func (w *World) adopt(d *Disk) {
	if len(d.flight) > 0 {
		panic("sim: a disk with operations in flight is adopted through AfterPowerLoss")
	}
	w.disks++
	d.w, d.id, d.rng = w, w.disks, w.source(0xD0)
	d.fd = w.openFd(d)
}

func (w *World) openFd(f any) int32 {
	w.files = append(w.files, f)
	return fdBase + int32(len(w.files)-1)
}

func (w *World) file(fd int32) any {
	if i := int(fd) - fdBase; i >= 0 && i < len(w.files) {
		return w.files[i]
	}
	return nil
}

func (w *World) closeFd(fd int32) int32 {
	f := w.file(fd)
	if f == nil {
		return -int32(syscall.EBADF)
	}
	w.files[fd-fdBase] = nil
	if e, ok := f.(*end); ok {
		e.unlink()
	}
	return 0
}

// after schedules run in ns from now, at a place among the events of that instant that the seed picks.
func (w *World) after(ns int64, run func()) *happening { return w.at(w.line.now+ns, run) }

func (w *World) at(ns int64, run func()) *happening {
	return w.line.schedule(ns, w.sched.Uint64(), run)
}

// After lets a test act in virtual time (hurt a connection, rot a block).
func (w *World) After(ns int64, run func()) { w.after(ns, run) }

// powerCut stops the world at this operation of d.
func (w *World) powerCut(d *Disk) {
	w.cut = true
	d.trace("power-cut", d.ops, 0, 0)
}

// PowerOn lets time go on after a cut. The reactors that were running must have been crashed.
func (w *World) PowerOn() {
	for _, c := range w.columns {
		if !c.dead {
			panic("sim: PowerOn with a reactor that survived the power cut")
		}
	}
	w.cut = false
}

// Run steps the world until done says so: a reactor that may have work is picked by the seed and makes one turn; when
// all are idle, time moves to the next event. It returns ErrPowerCut, a *DeadlockError, a *LivelockError, or the error
// of a reactor that failed.
func (w *World) Run(done func() bool) error {
	limit := w.StepsMax
	if limit == 0 {
		limit = stepsMaxDefault
	}
	for steps := 0; ; steps++ {
		switch {
		case w.cut:
			return ErrPowerCut
		case done():
			return nil
		case steps >= limit:
			return &LivelockError{Steps: steps, Dump: w.Dump()}
		}
		w.line.runDue()
		if w.cut {
			return ErrPowerCut
		}
		if c := w.pick(); c != nil {
			if err := w.step(c); err != nil {
				return err
			}
			continue
		}
		if !w.advance() && !done() {
			return &DeadlockError{Dump: w.Dump()}
		}
	}
}

// pick chooses among the reactors that have work; nil if none has. A quiet one is stepped too now and then: waking for
// nothing is legal. It is never the only one, so a wake that got lost shows as a deadlock.
func (w *World) pick() *column {
	var ready [16]*column
	list := ready[:0]
	for _, c := range w.columns {
		if d, has := c.deadline(); has && d <= w.line.now {
			c.quiet = false
		}
		if c.up && !c.dead && !c.quiet {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		return nil
	}
	if w.sched.IntN(32) == 0 {
		if c := w.columns[w.sched.IntN(len(w.columns))]; c.up && !c.dead {
			return c
		}
	}
	return list[w.sched.IntN(len(list))]
}

// step lets one reactor make one turn.
func (w *World) step(c *column) error {
	w.line.now += between(w.stall, 0, 3_000) // code takes time
	c.quiet = false
	worked := c.r.Step()
	c.turns++
	w.trace.add(event{at: w.line.now, what: "turn", who: c.id, a: c.turns})
	if err := c.r.Err(); err != nil {
		return fmt.Errorf("sim: reactor %d: %w", c.id, err)
	}
	c.quiet = !worked && !c.r.Runnable() && len(c.ring.cq) == 0 && len(c.ring.over) == 0
	return nil
}

// advance moves time to the next thing that is to happen; false: there is nothing.
func (w *World) advance() bool {
	at, ok := w.line.next()
	for _, c := range w.columns {
		if d, has := c.deadline(); has && (!ok || d < at) {
			at, ok = d, true
		}
	}
	if !ok {
		return false
	}
	w.line.now = max(w.line.now, at)
	for _, c := range w.columns {
		if d, has := c.deadline(); has && d <= w.line.now {
			c.quiet = false
		}
	}
	return true
}

// Dump describes who waits for what, and the last events.
func (w *World) Dump() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, virtual time %.6f s, %d events, hash %016x\n", w.seed, float64(w.line.now-monoStart)/1e9, w.trace.count, w.trace.hash)
	for _, c := range w.columns {
		c.dump(&b)
	}
	for _, f := range w.files {
		switch f := f.(type) {
		case *Disk:
			fmt.Fprintf(&b, "disk %d %q: %d operations, %d in flight, %d writes not flushed\n", f.id, f.name, f.ops, len(f.flight), len(f.pending))
		case *end:
			fmt.Fprintf(&b, "socket %d: %d bytes on the way, %d unread, %d receives and %d sends wait, eof %v, errno %d\n",
				f.fd, f.wire, len(f.rx), len(f.recvs), len(f.sends), f.eof, int(f.err))
		}
	}
	w.trace.dump(&b)
	return b.String()
}

// Clock is virtual time for a reactor, or for a test.
func (w *World) Clock() engine.Clock { return (*clock)(w) }

type clock World

// Mono shows virtual time. Now and then code is slow (preempted, a page fault): the asking moves time itself, so that
// time budgets inside one turn run out here too.
func (c *clock) Mono() int64 {
	w := (*World)(c)
	if w.stall.IntN(16) == 0 {
		w.line.now += between(w.stall, 1_000, 150_000)
	}
	return w.line.now
}

func (c *clock) Wall() int64 { return wallStart + (*World)(c).line.now }

func sumOf(p ...[]byte) uint32 {
	var s uint32
	for _, b := range p {
		s = crc32.Update(s, castagnoli, b)
	}
	return s
}
