package engine

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"basalt/engine/uring"
	"golang.org/x/sys/unix"
)

// What a fiber's deferred calls ask of a reactor that has ended neither hangs, nor ends the process, nor
// looks like success.
func TestDeferredCallsOfADeadReactor(t *testing.T) {
	var gate WaitList
	var events []string
	res := int32(0)
	var called error
	r := stepped(t, &jumpClock{ns: 1}, func(f *Fiber) error {
		f.Turn().Go("waits again", func(g *Fiber) {
			defer func() { events = append(events, "list") }()
			defer gate.Wait(g) // it is in the list already, by the wait that is unwound
			gate.Wait(g)
		})
		f.Turn().Go("gathers", func(g *Fiber) {
			defer func() {
				var both Gather
				both.Submit(g, uring.PrepNop(), &res)
				both.Wait(g)
				events = append(events, "gather")
			}()
			g.Park()
		})
		f.Turn().Go("offloads", func(g *Fiber) {
			defer f.r.Offload(g, func() { events = append(events, "offload") })
			g.Park()
		})
		f.Turn().Go("calls", func(g *Fiber) {
			defer func() {
				called = CallOn(g, idleReactor(t), func(*Fiber) {})
				events = append(events, "call")
			}()
			g.Park()
		})
		return nil
	})
	for r.Step() {
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(events)
	if want := []string{"call", "gather", "list", "offload"}; !slices.Equal(events, want) {
		t.Errorf("deferred calls that ended: %v, want %v", events, want)
	}
	if res != -int32(unix.ECANCELED) {
		t.Errorf("an operation that was never submitted has the result %d", res)
	}
	if called != ErrStopped {
		t.Errorf("CallOn = %v, want ErrStopped", called)
	}
}

// idleReactor is one that takes posts; it never runs.
func idleReactor(t *testing.T) *Reactor {
	r, err := New(Config{CPU: -1})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// stuckRing is a kernel that does not give operations back: cancel requests get lost.
type stuckRing struct {
	uring.Ring
	closed bool
}

func (s *stuckRing) Push(e *uring.SQE) error {
	if e.Opcode == uring.OpAsyncCancel {
		return nil
	}
	return s.Ring.Push(e)
}

func (s *stuckRing) Close() error {
	s.closed = true
	return s.Ring.Close()
}

// hastyClock makes every wait end early.
type hastyClock struct{ jumpClock }

func (c *hastyClock) Mono() int64 { c.ns += stopWaitNs; return c.ns }

// Closing a ring waits, in older kernels without limit, for what is registered with it, and unmaps the
// buffers that receives in flight may still write to.
func TestARingThatKeepsOperationsIsLeftOpen(t *testing.T) {
	ring := &stuckRing{}
	r, err := New(Config{CPU: -1, ArenaBytes: 1 << 20, OpsMax: 16, Clock: &hastyClock{}, Ring: func() (_ uring.Ring, err error) {
		ring.Ring, err = uring.Open(uring.Config{Entries: 16})
		return ring, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := socketPair(t)
	if err := r.Start(func(f *Fiber) error {
		f.Turn().Submit(uring.PrepPollAdd(a, unix.POLLIN), CompleterFunc(func(*Turn, int32, uint32) {}))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	r.Stop()
	if err := r.Wait(); err == nil || !strings.Contains(err.Error(), "the kernel still has") {
		t.Errorf("Wait = %v", err)
	}
	if ring.closed {
		t.Error("the ring was closed while the kernel used its memory")
	}
}

// A panic outside of a fiber names the shard as well, and nobody who waits for the reactor gets to end the
// process before it has been told.
func TestPanicInATurnNamesTheShard(t *testing.T) {
	const key = "BASALT_TEST_TURN_PANIC"
	if os.Getenv(key) != "" {
		r := start(t, Config{Shard: 43, Name: "column of the test"})
		r.Post(MessageFunc(func(*Turn) { panic("out of order") }))
		r.Wait()
		os.Exit(0)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestPanicInATurnNamesTheShard$")
	cmd.Env = append(os.Environ(), key+"=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("the child lived on: %v\n%s", err, out)
	}
	for _, want := range []string{"column of the test", "shard 43", "out of order", "unwind_test.go"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the last words lack %q:\n%s", want, out)
		}
	}
}
