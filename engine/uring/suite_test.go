package uring

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// The suite holds whatever backend Open gives, native or (build tag giouring) the other one, to the same
// behaviour. What a backend lacks has to be said by its Caps and answered with ErrUnsupported: lacks checks.

const waitNs = 5_000_000_000 // a completion that takes longer never comes

func open(t *testing.T, cfg Config) Ring {
	t.Helper()
	runtime.LockOSThread()
	r, err := Open(cfg)
	if err != nil {
		t.Fatalf("these tests need io_uring: %v", err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		runtime.UnlockOSThread()
	})
	return r
}

// lacks asserts what an absent capability answers, and reports whether it is absent.
func lacks(t *testing.T, has bool, err error) bool {
	t.Helper()
	if has {
		return false
	}
	if !errors.Is(err, ErrUnsupported) {
		t.Fatalf("capability absent, but the answer is %v, want ErrUnsupported", err)
	}
	return true
}

func push(t *testing.T, r Ring, s SQE, userData uint64) {
	t.Helper()
	s.UserData = userData
	if err := r.Push(&s); err != nil {
		t.Fatalf("push: %v", err)
	}
}

// reap waits for n completions.
func reap(t *testing.T, r Ring, n int) []CQE {
	t.Helper()
	var all []CQE
	var buf [16]CQE
	for len(all) < n {
		got := r.Reap(buf[:min(len(buf), n-len(all))])
		all = append(all, buf[:got]...)
		if got > 0 {
			continue
		}
		before := len(all)
		if err := r.Enter(1, waitNs); err != nil {
			t.Fatalf("enter: %v", err)
		}
		if got := r.Reap(buf[:min(len(buf), n-len(all))]); got > 0 {
			all = append(all, buf[:got]...)
		}
		if len(all) == before {
			t.Fatalf("%d completions, want %d", len(all), n)
		}
	}
	return all
}

// do runs one operation.
func do(t *testing.T, r Ring, s SQE) CQE {
	t.Helper()
	push(t, r, s, 77)
	c := reap(t, r, 1)[0]
	if c.UserData != 77 {
		t.Fatalf("user data %d, want 77", c.UserData)
	}
	return c
}

func testFile(t *testing.T, content string) int32 {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return int32(fd)
}

func memory(t *testing.T, n int) []byte {
	t.Helper()
	m, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(m) })
	return m
}

func pair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

func TestNopsKeepTheirUserData(t *testing.T) {
	r := open(t, Config{Entries: 8})
	next := uint64(1)
	for range 10 { // more than once around the queue
		for i := range 8 {
			push(t, r, PrepNop(), next+uint64(i))
		}
		seen := map[uint64]bool{}
		for _, c := range reap(t, r, 8) {
			if c.Res != 0 || c.UserData < next || c.UserData >= next+8 || seen[c.UserData] {
				t.Fatalf("completion %+v of nops %d…%d", c, next, next+7)
			}
			seen[c.UserData] = true
		}
		next += 8
	}
}

func TestFullQueueSaysSo(t *testing.T) {
	r := open(t, Config{Entries: 4})
	n := int(r.Cap().SQEntries)
	for i := range n {
		push(t, r, PrepNop(), uint64(i+1))
	}
	s := PrepNop()
	if err := r.Push(&s); err != ErrFull {
		t.Fatalf("push into a full queue = %v, want ErrFull", err)
	}
	if err := r.Enter(0, 0); err != nil {
		t.Fatal(err)
	}
	push(t, r, PrepNop(), 99)
	reap(t, r, n+1)
}

// A completion queue of 8 with 256 completions: none may be lost.
func TestCompletionQueueOverflow(t *testing.T) {
	r := open(t, Config{Entries: 8, CQEntries: 8})
	const total = 256
	for i := 0; i < total; {
		s := PrepNop()
		s.UserData = uint64(i + 1)
		if err := r.Push(&s); err == ErrFull {
			if err := r.Enter(0, 0); err != nil {
				t.Fatal(err)
			}
			continue
		}
		i++
	}
	seen := make([]bool, total+1)
	for _, c := range reap(t, r, total) {
		if c.UserData == 0 || c.UserData > total || seen[c.UserData] {
			t.Fatalf("completion %d lost or doubled", c.UserData)
		}
		seen[c.UserData] = true
	}
}

func TestReadAndWrite(t *testing.T) {
	r := open(t, Config{Entries: 4})
	fd, m := testFile(t, "0123456789"), memory(t, 4096)
	if c := do(t, r, PrepRead(fd, addressOf(m), 4096, 2)); c.Res != 8 || string(m[:8]) != "23456789" {
		t.Fatalf("read: %d %q", c.Res, m[:8])
	}
	copy(m, "abc")
	if c := do(t, r, PrepWrite(fd, addressOf(m), 3, 4)); c.Res != 3 {
		t.Fatalf("write: %d", c.Res)
	}
	if c := do(t, r, PrepRead(fd, addressOf(m), 4096, 0)); c.Res != 10 || string(m[:10]) != "0123abc789" {
		t.Fatalf("read back: %d %q", c.Res, m[:10])
	}
	if c := do(t, r, PrepRead(-1, addressOf(m), 4096, 0)); c.Res != -int32(unix.EBADF) {
		t.Fatalf("read of no file: %d, want EBADF", c.Res)
	}
	if c := do(t, r, PrepFallocate(fd, 0, 0, 8192)); c.Res != 0 {
		t.Fatalf("fallocate: %d", c.Res)
	}
}

// A slot last used by fdatasync, poll or send must not hand its flags on to a write.
func TestNothingLeaksFromASlotsLastUse(t *testing.T) {
	r := open(t, Config{Entries: 1})
	fd, m := testFile(t, "x"), memory(t, 4096)
	a, _ := pair(t)
	for round := range 4 {
		for _, s := range []SQE{PrepFsync(fd, true), PrepSend(int32(a), addressOf(m), 1, unix.MSG_NOSIGNAL), PrepPollAdd(int32(a), unix.POLLOUT)} {
			if c := do(t, r, s); c.Res < 0 {
				t.Fatalf("opcode %d: %v", s.Opcode, unix.Errno(-c.Res))
			}
			if c := do(t, r, PrepWrite(fd, addressOf(m), 100, uint64(round)*100)); c.Res != 100 {
				t.Fatalf("write after opcode %d: %d", s.Opcode, c.Res)
			}
		}
	}
}

func TestRegisteredBuffers(t *testing.T) {
	r := open(t, Config{Entries: 4})
	fd, m := testFile(t, "registered"), memory(t, 64<<10)
	if err := r.RegisterBuffers([][]byte{m[:32<<10], m[32<<10:]}); err != nil {
		t.Fatal(err)
	}
	if !r.Cap().Buffers {
		t.Error("Caps does not say that buffers are registered")
	}
	second := m[32<<10:]
	if c := do(t, r, PrepReadFixed(fd, addressOf(second), 4096, 0, 1)); c.Res != 10 || string(second[:10]) != "registered" {
		t.Fatalf("read into buffer 1: %d %q", c.Res, second[:10])
	}
	if c := do(t, r, PrepReadFixed(fd, addressOf(second), 4096, 0, 0)); c.Res != -int32(unix.EFAULT) {
		t.Fatalf("read outside buffer 0: %d, want EFAULT", c.Res)
	}
	copy(m, "REG")
	if c := do(t, r, PrepWriteFixed(fd, addressOf(m), 3, 0, 0)); c.Res != 3 {
		t.Fatalf("write from buffer 0: %d", c.Res)
	}
}

func TestRegisteredFiles(t *testing.T) {
	r := open(t, Config{Entries: 4})
	one, two, m := testFile(t, "one"), testFile(t, "two2"), memory(t, 4096)
	err := r.RegisterFiles([]int32{one, two, -1})
	if err != nil {
		t.Fatal(err)
	}
	for slot, want := range []int32{3, 4} { // the second entry is what a wrong width would lose
		if c := do(t, r, PrepRead(-1, addressOf(m), 4096, 0).Fixed(int32(slot))); c.Res != want {
			t.Fatalf("slot %d: %d bytes, want %d", slot, c.Res, want)
		}
	}
	if c := do(t, r, PrepRead(-1, addressOf(m), 4096, 0).Fixed(2)); c.Res != -int32(unix.EBADF) {
		t.Fatalf("empty slot: %d, want EBADF", c.Res)
	}
	if err := r.UpdateFile(2, two); lacks(t, r.Cap().FileUpdate, err) {
		return
	} else if err != nil {
		t.Fatal(err)
	}
	if c := do(t, r, PrepRead(-1, addressOf(m), 4096, 0).Fixed(2)); c.Res != 4 {
		t.Fatalf("updated slot: %d bytes, want 4", c.Res)
	}
	if err := r.UpdateFile(0, -1); err != nil {
		t.Fatal(err)
	}
	if c := do(t, r, PrepRead(-1, addressOf(m), 4096, 0).Fixed(0)); c.Res != -int32(unix.EBADF) {
		t.Fatalf("emptied slot: %d, want EBADF", c.Res)
	}
	if err := r.UpdateFile(99, two); err == nil {
		t.Fatal("a slot beyond the table was updated")
	}
}

func TestSocketsAndShutdown(t *testing.T) {
	r := open(t, Config{Entries: 8})
	a, b := pair(t)
	m := memory(t, 8192)
	push(t, r, PrepRecv(int32(b), addressOf(m), 4096, 0), 1)
	copy(m[4096:], "ping")
	push(t, r, PrepSend(int32(a), addressOf(m[4096:]), 4, unix.MSG_NOSIGNAL), 2)
	for _, c := range reap(t, r, 2) {
		if c.Res != 4 {
			t.Fatalf("operation %d: %d", c.UserData, c.Res)
		}
	}
	if string(m[:4]) != "ping" {
		t.Fatalf("received %q", m[:4])
	}
	if c := do(t, r, PrepShutdown(int32(a), unix.SHUT_RDWR)); c.Res != 0 {
		t.Fatalf("shutdown: %d", c.Res)
	}
	if c := do(t, r, PrepRecv(int32(b), addressOf(m), 4096, 0)); c.Res != 0 {
		t.Fatalf("recv after shutdown: %d, want the end", c.Res)
	}
	if c := do(t, r, PrepSend(int32(b), addressOf(m), 4, unix.MSG_NOSIGNAL)); c.Res != -int32(unix.EPIPE) {
		t.Fatalf("send after shutdown: %d, want EPIPE", c.Res)
	}
}

func TestCancel(t *testing.T) {
	r := open(t, Config{Entries: 8})
	a, _ := pair(t)
	m := memory(t, 4096)
	push(t, r, PrepRecv(int32(a), addressOf(m), 4096, 0), 1)
	push(t, r, PrepPollAdd(int32(a), unix.POLLIN), 2)
	if err := r.Enter(0, 0); err != nil {
		t.Fatal(err)
	}
	push(t, r, PrepCancel(1), 3)
	got := map[uint64]int32{}
	for _, c := range reap(t, r, 2) {
		got[c.UserData] = c.Res
	}
	if got[1] != -int32(unix.ECANCELED) || got[3] != 0 {
		t.Fatalf("cancel of a receive: %v", got)
	}
	push(t, r, PrepCancelAny(), 4)
	for _, c := range reap(t, r, 2) {
		got[c.UserData] = c.Res
	}
	if got[2] != -int32(unix.ECANCELED) || got[4] != 1 {
		t.Fatalf("cancel of everything: %v", got)
	}
	if c := do(t, r, PrepCancel(12345)); c.Res != -int32(unix.ENOENT) {
		t.Fatalf("cancel of nothing: %d, want ENOENT", c.Res)
	}
}
