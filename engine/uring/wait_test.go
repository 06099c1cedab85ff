package uring

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestEnterEndsAtItsTimeout(t *testing.T) {
	r := open(t, Config{Entries: 4})
	began := time.Now()
	if err := r.Enter(1, 2_000_000); err != nil {
		t.Fatalf("a passed timeout is not an error: %v", err)
	}
	if spent := time.Since(began); spent < 2*time.Millisecond {
		t.Errorf("came back after %v, before the timeout of 2 ms", spent)
	}
	var c [1]CQE
	if n := r.Reap(c[:]); n != 0 {
		t.Errorf("%d completions of nothing", n)
	}
	// The limit is for waiting, not for what is there already.
	push(t, r, PrepNop(), 5)
	if err := r.Enter(1, 1_000_000_000); err != nil {
		t.Fatal(err)
	}
	if n := r.Reap(c[:]); n != 1 || c[0].UserData != 5 {
		t.Errorf("reaped %d, %+v", n, c[0])
	}
}

// Go preempts threads by signals; a waiting enter must go on, or come back without an error.
func TestEnterSurvivesSignals(t *testing.T) {
	r := open(t, Config{Entries: 4})
	a, b := pair(t)
	m := memory(t, 4096)
	push(t, r, PrepRecv(int32(b), addressOf(m), 4096, 0), 1)
	pid, tid := unix.Getpid(), unix.Gettid()
	sent := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < 200 && err == nil; i++ {
			err = unix.Tgkill(pid, tid, unix.SIGURG)
			runtime.Gosched()
		}
		if _, e := unix.Write(a, []byte("x")); err == nil {
			err = e
		}
		sent <- err
	}()
	var c [1]CQE
	for n := 0; n == 0; n = r.Reap(c[:]) {
		if err := r.Enter(1, -1); err != nil {
			t.Fatalf("enter under signals: %v", err)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if c[0].UserData != 1 || c[0].Res != 1 {
		t.Fatalf("completion %+v", c[0])
	}
}

func TestEventWakesFromAnotherThread(t *testing.T) {
	r := open(t, Config{Entries: 4})
	fd, signal, err := r.NewEvent()
	if err != nil {
		t.Fatal(err)
	}
	m := memory(t, 4096)
	for i := range 50 {
		push(t, r, PrepRead(fd, addressOf(m), 8, 0), uint64(i+1))
		if i%2 == 0 {
			go signal()
		} else {
			signal()
		}
		if c := reap(t, r, 1)[0]; c.Res != 8 || c.UserData != uint64(i+1) {
			t.Fatalf("event read: %+v", c)
		}
	}
}

// A signal under way while the ring closes must not reach a descriptor that has got the number since.
func TestSignalAfterCloseIsHarmless(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range 50 {
		r, err := Open(Config{Entries: 4})
		if err != nil {
			t.Fatalf("these tests need io_uring: %v", err)
		}
		fd, signal, err := r.NewEvent()
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan bool)
		go func() {
			for range 100 {
				signal()
			}
			close(done)
		}()
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
			t.Fatal(err)
		}
		<-done
		signal()
		if int32(p[1]) != fd && int32(p[0]) != fd {
			t.Logf("descriptor %d was not reused (%v)", fd, p)
		}
		var b [8]byte
		if n, err := unix.Read(p[0], b[:]); err != unix.EAGAIN {
			t.Fatalf("a late signal wrote %d bytes into a stranger's pipe (%v)", n, err)
		}
		unix.Close(p[0])
		unix.Close(p[1])
	}
}

func TestCommandEntries(t *testing.T) {
	r := open(t, Config{Entries: 4})
	nop := PrepNop()
	if err := r.PushCmd(&nop, new([80]byte)); !errors.Is(err, ErrUnsupported) {
		t.Fatalf("PushCmd on a ring of 64 byte entries = %v, want ErrUnsupported", err)
	}
	big := open(t, Config{Entries: 4, SQE128: true})
	if !big.Cap().SQE128 {
		t.Fatal("the ring does not say that it has 128 byte entries")
	}
	fd, m := testFile(t, "big"), memory(t, 4096)
	cmd := [80]byte{0: 0xff, 47: 0xff, 79: 0xff}
	for i := range 11 { // more than twice around, both kinds mixed
		s := PrepNop()
		s.UserData = uint64(i + 1)
		if err := big.PushCmd(&s, &cmd); err != nil {
			t.Fatal(err)
		}
		push(t, big, PrepRead(fd, addressOf(m), 4096, 0), 100)
		for _, c := range reap(t, big, 2) {
			if c.UserData == 100 && c.Res != 3 || c.UserData != 100 && c.Res != 0 {
				t.Fatalf("round %d: %+v", i, c)
			}
		}
	}
	// A command that the file does not know proves that the kernel read it as one.
	s := PrepURingCmd(fd, 1, 0, 0)
	s.UserData = 9
	if err := big.PushCmd(&s, &cmd); err != nil {
		t.Fatal(err)
	}
	if c := reap(t, big, 1)[0]; c.Res != -int32(unix.EOPNOTSUPP) && c.Res != -int32(unix.ENOTTY) {
		t.Fatalf("unknown command: %v", unix.Errno(-c.Res))
	}
}

func TestBufRing(t *testing.T) {
	r := open(t, Config{Entries: 16})
	b, err := r.NewBufRing(7, 4, 1024)
	if lacks(t, r.Cap().BufRings, err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if b.Group() != 7 || b.Entries() != 4 || b.Size() != 1024 {
		t.Fatalf("buffer ring %d %d %d", b.Group(), b.Entries(), b.Size())
	}
	in, out := pair(t)
	push(t, r, PrepRecvMultishot(int32(out), 7), 1)
	for i := range 20 { // five times around the buffers
		text := fmt.Sprintf("message %d", i)
		if _, err := unix.Write(in, []byte(text)); err != nil {
			t.Fatal(err)
		}
		c := reap(t, r, 1)[0]
		id, ok := c.BufID()
		if c.Res != int32(len(text)) || !ok || c.Flags&CQEFMore == 0 {
			t.Fatalf("receive %d: %+v", i, c)
		}
		if got := string(b.Bytes(id)[:c.Res]); got != text {
			t.Fatalf("received %q, want %q", got, text)
		}
		b.Recycle(id)
	}
	// Keep all buffers: the receive ends with ENOBUFS and goes on once it has some again.
	var kept []uint16
	for range 4 {
		unix.Write(in, []byte("keep"))
		c := reap(t, r, 1)[0]
		id, ok := c.BufID()
		if !ok {
			t.Fatalf("no buffer in %+v", c)
		}
		kept = append(kept, id)
	}
	unix.Write(in, []byte("late"))
	c := reap(t, r, 1)[0]
	if c.Res != -int32(unix.ENOBUFS) || c.Flags&CQEFMore != 0 {
		t.Fatalf("without buffers: %+v, want ENOBUFS and the end", c)
	}
	for _, id := range kept {
		b.Recycle(id)
	}
	push(t, r, PrepRecvMultishot(int32(out), 7), 2)
	c = reap(t, r, 1)[0]
	if id, ok := c.BufID(); !ok || c.Res != 4 || string(b.Bytes(id)[:4]) != "late" {
		t.Fatalf("after recycling: %+v", c)
	}
	unix.Shutdown(in, unix.SHUT_WR)
	if c = reap(t, r, 1)[0]; c.Res != 0 || c.Flags&CQEFMore != 0 {
		t.Fatalf("end of stream: %+v", c)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := r.NewBufRing(7, 2, 512) // the group is free again
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestBufRingRefusesNonsense(t *testing.T) {
	r := open(t, Config{Entries: 4})
	for _, x := range []struct{ entries, size int }{{0, 4096}, {3, 4096}, {1 << 16, 16}, {4, 0}, {1 << 15, 1 << 20}} {
		if _, err := r.NewBufRing(1, x.entries, x.size); err == nil {
			t.Errorf("%d × %d bytes were accepted", x.entries, x.size)
		}
	}
}

func TestTimeoutOperation(t *testing.T) {
	r := open(t, Config{Entries: 4})
	m := memory(t, 4096)
	m[8] = 200 // 200 ns
	if c := do(t, r, PrepTimeout(addressOf(m))); c.Res != -int32(unix.ETIME) {
		t.Fatalf("timeout: %d, want ETIME", c.Res)
	}
}

func TestPollMultishot(t *testing.T) {
	r := open(t, Config{Entries: 4})
	a, b := pair(t)
	push(t, r, PrepPollMultishot(int32(b), unix.POLLIN), 1)
	for range 3 {
		if _, err := unix.Write(a, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if c := reap(t, r, 1)[0]; c.Res&unix.POLLIN == 0 || c.Flags&CQEFMore == 0 {
			t.Fatalf("poll: %+v", c)
		}
	}
}
