package uring

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Without CAP_IPC_LOCK and with 8 MiB of locked memory, 64 MiB can't be registered: that has to be told
// apart from every other failure. The thread that gave the capability up ends with its goroutine.
func TestRegisterBuffersBeyondTheLimit(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		t.Fatal(err)
	}
	lower := unix.Rlimit{Cur: min(8<<20, limit.Max), Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &lower); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit)
	m := memory(t, 64<<20)
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		result <- func() error {
			hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var data [2]unix.CapUserData
			if err := unix.Capset(&hdr, &data[0]); err != nil {
				return err
			}
			r, err := Open(Config{Entries: 4})
			if err != nil {
				return err
			}
			defer r.Close()
			if err := r.RegisterBuffers([][]byte{m}); err != nil {
				return err
			}
			return errors.New("64 MiB were registered")
		}()
	}()
	if err := <-result; !errors.Is(err, ErrMemlock) {
		t.Fatalf("got %v, want ErrMemlock", err)
	}
}

func TestProbe(t *testing.T) {
	r, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	if !r.Available {
		t.Fatalf("these tests need io_uring: %s", r.Reason)
	}
	for _, op := range []uint8{OpRead, OpWrite, OpFsync, OpRecv, OpSend, OpURingCmd, OpAsyncCancel} {
		if !r.HasOp(op) {
			t.Errorf("the kernel does not list operation %d", op)
		}
	}
	if r.HasOp(255) {
		t.Error("the kernel lists operation 255")
	}
	if s := r.String(); !strings.Contains(s, r.Kernel) || !strings.Contains(s, "sqe128") {
		t.Errorf("report %q", s)
	}
	gone := Report{Kernel: "5.4", Reason: "because"}
	if s := gone.String(); !strings.Contains(s, "not available") || !strings.Contains(s, "because") {
		t.Errorf("report %q", s)
	}
}

func TestNativeRingHasWhatThisKernelOffers(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := OpenNative(Config{Entries: 8, CQEntries: 64})
	if err != nil {
		t.Fatalf("these tests need io_uring: %v", err)
	}
	defer r.Close()
	c := r.Cap()
	if c.SQEntries != 8 || c.CQEntries != 64 || !c.ExtArg || !c.BufRings || !c.FileUpdate {
		t.Errorf("capabilities %s", c)
	}
	if !c.DeferTask || !c.FixedRingFd {
		t.Errorf("a kernel of 6.1 or later is expected here: %s", c)
	}
}

// The polling modes are options of the native ring: what the suite asks of a ring holds for the one with a
// submitting thread too.
func TestRingWithASubmittingThread(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := OpenNative(Config{Entries: 4, SQPoll: true})
	if err != nil {
		t.Fatalf("SQPOLL: %v", err)
	}
	defer r.Close()
	for i := 0; i < 40; {
		s := PrepNop()
		s.UserData = uint64(i + 1)
		switch err := r.Push(&s); err {
		case nil:
			i++
		case ErrFull:
			if err := r.Enter(0, 0); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatal(err)
		}
	}
	reap(t, r, 40)
}

func TestPollingRingSaysWhatTheDeviceCannot(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := OpenNative(Config{Entries: 4, IOPoll: true})
	if err != nil {
		t.Fatalf("IOPOLL: %v", err)
	}
	defer r.Close()
	if c := do(t, r, PrepFsync(testFile(t, "x"), true)); c.Res != -int32(unix.EINVAL) {
		t.Errorf("fsync on a polling ring: %d, want EINVAL", c.Res)
	}
}
