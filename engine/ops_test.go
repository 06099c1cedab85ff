package engine

import (
	"errors"
	"runtime"
	"slices"
	"testing"

	"basalt/engine/invariant"
	"basalt/engine/uring"
	"golang.org/x/sys/unix"
)

func socketPair(t testing.TB) (a, b int32) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return int32(fds[0]), int32(fds[1])
}

// note is a Completer that remembers.
type note struct {
	calls []int32
	flags uint32
	wake  *WaitList
}

func (n *note) Complete(t *Turn, res int32, flags uint32) {
	n.calls, n.flags = append(n.calls, res), flags
	if n.wake != nil {
		n.wake.WakeAll(t)
	}
}

func TestOperationsBeyondTheLimitWait(t *testing.T) {
	r := start(t, Config{OpsMax: 4})
	on(t, r, func(f *Fiber) error {
		var l WaitList
		var notes [10]note
		for i := range notes {
			notes[i].wake = &l
			f.Turn().Submit(uring.PrepNop(), &notes[i])
		}
		if r.ops.backlogLen != 7 { // one of the four is the wake event's read
			t.Errorf("%d operations wait, want 7", r.ops.backlogLen)
		}
		for i := range notes {
			for len(notes[i].calls) == 0 {
				l.Wait(f)
			}
			if notes[i].calls[0] != 0 {
				t.Errorf("operation %d: %d", i, notes[i].calls[0])
			}
		}
		return nil
	})
	if s := r.Stats(); s.OpsPeak != 4 || s.BacklogPeak != 7 || s.Backlog != 0 {
		t.Errorf("peak %d, backlog peak %d, backlog %d", s.OpsPeak, s.BacklogPeak, s.Backlog)
	}
}

func TestCancel(t *testing.T) {
	r := start(t, Config{OpsMax: 2})
	a, _ := socketPair(t)
	on(t, r, func(f *Fiber) error {
		var l WaitList
		inKernel, waiting, last := note{wake: &l}, note{wake: &l}, note{wake: &l}
		id := f.Turn().Submit(uring.PrepPollAdd(a, unix.POLLIN), &inKernel)
		back := f.Turn().Submit(uring.PrepPollAdd(a, unix.POLLIN), &waiting)
		f.Turn().Submit(uring.PrepNop(), &last)
		f.Yield()
		if len(inKernel.calls)+len(waiting.calls)+len(last.calls) != 0 {
			t.Error("something completed by itself")
		}
		f.Turn().Cancel(back)
		f.Turn().Cancel(id)
		for len(inKernel.calls) == 0 || len(waiting.calls) == 0 || len(last.calls) == 0 {
			l.Wait(f)
		}
		if inKernel.calls[0] != -int32(unix.ECANCELED) || waiting.calls[0] != -int32(unix.ECANCELED) || last.calls[0] != 0 {
			t.Errorf("results %v %v %v", inKernel.calls, waiting.calls, last.calls)
		}
		// Ids of what is over, and of nothing, are ignored, also when the slot is in use again.
		again := note{wake: &l}
		f.Turn().Submit(uring.PrepNop(), &again)
		for _, old := range []OpID{id, back, 0, 1 << 63} {
			f.Turn().Cancel(old)
		}
		for len(again.calls) == 0 {
			l.Wait(f)
		}
		if again.calls[0] != 0 {
			t.Errorf("a stale id canceled a new operation: %d", again.calls[0])
		}
		return nil
	})
}

func TestMultishotCompletesAgainAndAgain(t *testing.T) {
	r := start(t, Config{})
	a, b := socketPair(t)
	on(t, r, func(f *Fiber) error {
		var l WaitList
		n := note{wake: &l}
		id := f.Turn().Submit(uring.PrepPollMultishot(b, unix.POLLIN), &n)
		for i := range 5 {
			if _, err := unix.Write(int(a), []byte("x")); err != nil {
				return err
			}
			for len(n.calls) <= i {
				l.Wait(f)
			}
			if n.flags&uring.CQEFMore == 0 {
				t.Fatal("the multishot poll has ended")
			}
		}
		f.Turn().Cancel(id)
		for n.flags&uring.CQEFMore != 0 {
			l.Wait(f)
		}
		if last := n.calls[len(n.calls)-1]; last != -int32(unix.ECANCELED) {
			t.Errorf("last result %d, want ECANCELED", last)
		}
		return nil
	})
}

func TestReceiveIntoProvidedBuffers(t *testing.T) {
	r := start(t, Config{})
	a, b := socketPair(t)
	on(t, r, func(f *Fiber) error {
		ring, err := r.Ring().NewBufRing(1, 8, 4096)
		if !r.Ring().Cap().BufRings {
			if !errors.Is(err, uring.ErrUnsupported) {
				t.Errorf("NewBufRing = %v, want ErrUnsupported", err)
			}
			return nil
		}
		if err != nil {
			return err
		}
		out, err := r.Arena().Get(4096)
		if err != nil {
			return err
		}
		var l WaitList
		var got []byte
		ended := false
		f.Turn().Submit(uring.PrepRecvMultishot(b, 1), CompleterFunc(func(t *Turn, res int32, flags uint32) {
			if id, ok := uring.BufID(flags); ok {
				got = append(got, ring.Bytes(id)[:res]...)
				ring.Recycle(id)
			}
			ended = flags&uring.CQEFMore == 0
			l.WakeAll(t)
		}))
		text := "over the shard's own ring"
		for i := range len(text) {
			r.Arena().Bytes(out)[0] = text[i]
			if n := f.Do(uring.PrepSend(a, r.Arena().Addr(out), 1, unix.MSG_NOSIGNAL)); n != 1 {
				t.Errorf("send: %d", n)
			}
		}
		if n := f.Do(uring.PrepShutdown(a, unix.SHUT_WR)); n != 0 {
			t.Errorf("shutdown: %d", n)
		}
		for !ended {
			l.Wait(f)
		}
		if string(got) != text {
			t.Errorf("received %q", got)
		}
		return ring.Close()
	})
}

func TestCommandsNeedARingForThem(t *testing.T) {
	plain := start(t, Config{})
	on(t, plain, func(f *Fiber) error {
		if res := f.DoCmd(uring.PrepURingCmd(0, 0, 0, 0), new([80]byte)); res != -int32(unix.ENOSYS) {
			t.Errorf("command on a plain ring: %d, want ENOSYS", res)
		}
		return nil
	})
	big := start(t, Config{Ring: func() (uring.Ring, error) {
		return uring.Open(uring.Config{Entries: 64, CQEntries: 4096, SQE128: true})
	}})
	on(t, big, func(f *Fiber) error {
		if res := f.DoCmd(uring.PrepNop(), new([80]byte)); res != 0 {
			t.Errorf("nop by command: %d", res)
		}
		return nil
	})
}

func TestMoreSubmissionsThanTheQueueHolds(t *testing.T) {
	r := start(t, Config{OpsMax: 512, Ring: func() (uring.Ring, error) {
		return uring.Open(uring.Config{Entries: 8, CQEntries: 512})
	}})
	on(t, r, func(f *Fiber) error {
		var g Gather
		res := make([]int32, 500)
		for i := range res {
			res[i] = -1
			g.Submit(f, uring.PrepNop(), &res[i])
		}
		g.Wait(f)
		for i, x := range res {
			if x != 0 {
				t.Errorf("nop %d: %d", i, x)
			}
		}
		return nil
	})
	if r.Stats().SubmitFull == 0 {
		t.Error("the queue of 8 was never full")
	}
}

func TestRegisteredFileSlots(t *testing.T) {
	r := start(t, Config{FilesMax: 2})
	file := tempFile(t, []byte("slot"))
	on(t, r, func(f *Fiber) error {
		b, _ := r.Arena().Get(4096)
		one, ok1 := r.RegisterFile(int32(file.Fd()))
		two, ok2 := r.RegisterFile(int32(file.Fd()))
		_, ok3 := r.RegisterFile(int32(file.Fd()))
		if !ok1 || !ok2 || ok3 || one == two {
			t.Errorf("slots %d %v, %d %v, third %v", one, ok1, two, ok2, ok3)
		}
		if n := f.Do(uring.PrepRead(-1, r.Arena().Addr(b), 4096, 0).Fixed(two)); n != 4 {
			t.Errorf("read by slot: %d", n)
		}
		r.ReleaseFile(two)
		if n := f.Do(uring.PrepRead(-1, r.Arena().Addr(b), 4096, 0).Fixed(two)); n != -int32(unix.EBADF) {
			t.Errorf("read by an empty slot: %d, want EBADF", n)
		}
		if slot, ok := r.RegisterFile(int32(file.Fd())); !ok || slot != two {
			t.Errorf("slot %d %v, want %d again", slot, ok, two)
		}
		return nil
	})
}

// Without the right to lock memory the shard runs on plain buffers, and says so.
func TestUnregisteredBuffersAreReported(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		t.Fatal(err)
	}
	lower := unix.Rlimit{Cur: min(8<<20, limit.Max), Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &lower); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit)
	r := start(t, Config{ArenaBytes: 64 << 20, Ring: func() (uring.Ring, error) {
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&hdr, &none[0]); err != nil { // of the reactor's thread only, which ends with it
			return nil, err
		}
		return uring.Open(uring.Config{Entries: 64, CQEntries: 4096})
	}})
	if s := r.Stats(); s.BuffersRegistered || s.BuffersReason == "" {
		t.Errorf("registered %v, reason %q", s.BuffersRegistered, s.BuffersReason)
	}
	file := tempFile(t, []byte("plain"))
	on(t, r, func(f *Fiber) error {
		b, err := r.Arena().Get(4096)
		if err != nil {
			return err
		}
		if r.Arena().Registered() {
			t.Error("the arena claims to be registered")
		}
		if n := f.Do(uring.PrepRead(int32(file.Fd()), r.Arena().Addr(b), 4096, 0)); n != 5 {
			t.Errorf("read: %d", n)
		}
		return nil
	})
}

func TestNothingIsAllocatedPerOperation(t *testing.T) {
	r := start(t, Config{})
	file := tempFile(t, make([]byte, 8192))
	on(t, r, func(f *Fiber) error {
		b, _ := r.Arena().Get(8192)
		fd, addr := int32(file.Fd()), r.Arena().Addr(b)
		var g struct {
			Gather
			res [4]int32
		}
		work := map[string]func(){
			"Do": func() { f.Do(uring.PrepReadFixed(fd, addr, 4096, 0, 0)) },
			"Gather": func() {
				for i := range g.res {
					g.Submit(f, uring.PrepReadFixed(fd, addr, 4096, 0, 0), &g.res[i])
				}
				g.Wait(f)
			},
			"Sleep": func() { f.Sleep(1) },
			"Spawn": func() { f.Turn().Spawn((*emptyTask)(nil)); f.Yield() },
		}
		most := 0.05
		if invariant.Enabled {
			most++ // each turn has its own Turn there
		}
		for name, fn := range work {
			if n := allocsPerRun(fn); n > most {
				t.Errorf("%s: %.2f allocations", name, n)
			}
		}
		return nil
	})
}

type emptyTask struct{}

func (*emptyTask) Run(*Fiber) {}

// allocsPerRun is testing.AllocsPerRun for a fiber: that one changes GOMAXPROCS, which needs the world to
// stop while this thread is in the kernel.
func allocsPerRun(fn func()) float64 {
	const runs = 500
	for range 20 {
		fn()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		fn()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / runs
}

// An operation canceled while it waited behind others completes now, not when one of those has.
func TestCancelOfAWaitingOperationCompletesAtOnce(t *testing.T) {
	a, _ := socketPair(t)
	var inKernel, first, second, again note
	var ids [2]OpID
	r := steppedBy(t, Config{OpsMax: 2, Clock: &jumpClock{ns: 1}}, func(f *Fiber) error {
		f.Turn().Submit(uring.PrepPollAdd(a, unix.POLLIN), &inKernel)
		ids[0] = f.Turn().Submit(uring.PrepPollAdd(a, unix.POLLIN), &first)
		ids[1] = f.Turn().Submit(uring.PrepPollAdd(a, unix.POLLIN), &second)
		return nil
	})
	for r.Step() {
	}
	for i, canceled := range []*note{&second, &first} { // not in the order in which they wait
		r.turn.Cancel(ids[1-i])
		r.turn.Cancel(ids[1-i]) // twice is once
		for r.Step() {
		}
		if len(canceled.calls) != 1 {
			t.Fatalf("cancel %d: it has not completed: %v", i, canceled.calls)
		}
	}
	if !slices.Equal(first.calls, []int32{-int32(unix.ECANCELED)}) || !slices.Equal(second.calls, first.calls) || len(inKernel.calls) != 0 {
		t.Fatalf("results %v, %v, in flight %v", first.calls, second.calls, inKernel.calls)
	}
	// The slots are free again once those before them have gone, and not before.
	id := r.turn.Submit(uring.PrepNop(), &again)
	r.turn.Cancel(id)
	for r.Step() {
	}
	if !slices.Equal(again.calls, first.calls) {
		t.Errorf("a third one: %v", again.calls)
	}
}
