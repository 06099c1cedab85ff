package fuse

import (
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"basalt/engine"
)

func TestPendingSignals(t *testing.T) {
	const head = "Name:\tdd\nState:\tD (disk sleep)\nSigQ:\t1/7866\n"
	for _, c := range []struct {
		status string
		stop   bool
	}{
		{head + "SigPnd:\t0000000000000000\nShdPnd:\t0000000000000200\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n", false}, // SIGUSR1
		{head + "SigPnd:\t0000000000000000\nShdPnd:\t0000000000004000\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n", true},  // SIGTERM
		{head + "SigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n", true},  // SIGKILL, its own
		{head + "SigPnd:\t0000000000000002\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000000000\n", false}, // SIGINT, blocked
		{head + "SigPnd:\t0000000000000000\nShdPnd:\t0000000000000002\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000002\n", false}, // SIGINT, ignored
		{"", false},
	} {
		if got := pendingSignals(c.status)&stopping != 0; got != c.stop {
			t.Errorf("%q: %v", c.status, got)
		}
	}
	if !wantsToStop(1 << 30) {
		t.Error("a thread that can't be seen holds its request for ever")
	}
}

// waitingFS answers SYNCFS when its fiber is canceled, or has waited for long.
type waitingFS struct {
	fuse.RawFileSystem
	reactor  *engine.Reactor
	canceled chan bool
}

func (w *waitingFS) SyncFS() fuse.Status {
	f := w.reactor.Current()
	for i := 0; i < 1000 && !f.Canceled(); i++ {
		f.Sleep(1_000_000)
	}
	w.canceled <- f.Canceled()
	return fuse.OK
}

// An INTERRUPT that comes while its request waits for a fiber is not forgotten: the kernel sends no second one.
func TestInterruptBeforeFiber(t *testing.T) {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null) // after the reactor has ended: until then it may be writing the answer
	r, err := engine.New(engine.Config{Name: "column", CPU: -1, ArenaBytes: 4 << 20, FibersMax: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(func(*engine.Fiber) error { return nil }); err != nil {
		t.Fatal(err)
	}
	defer func() { r.Stop(); r.Wait() }()
	fs := &waitingFS{RawFileSystem: fuse.NewDefaultRawFileSystem(), reactor: r, canceled: make(chan bool, 1)}
	c := &column{conn: &Connection{}, reactor: r, raw: fs, file: int32(null), running: map[uint64]*slot{}, devEnded: true, live: 2}
	err = r.Call(func(f *engine.Fiber) error { // has the only fiber
		s, err := c.newSlot(0, payloadMin)
		if err != nil {
			return err
		}
		s.length = inHeaderSize
		le.PutUint32(s.head[headIn+4:], opSyncFS)
		le.PutUint64(s.head[headIn+8:], 7)
		le.PutUint32(s.head[headIn+32:], 1<<30) // no such thread: it counts as stopping
		s.arrived()
		c.start(f.Turn(), s)
		if len(c.waiting) != 1 {
			t.Error("the request did not have to wait for a fiber")
		}
		c.interrupted(f.Turn(), 7)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !<-fs.canceled {
		t.Error("the interrupted request waits on")
	}
}
