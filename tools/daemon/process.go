package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Process is another process by descriptor: its number cannot come to mean somebody else.
type Process struct {
	PID int
	fd  int
}

// OpenProcess takes hold of a running process.
func OpenProcess(pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("take hold of process %d: %w", pid, err)
	}
	return &Process{PID: pid, fd: fd}, nil
}

// Peer is the process that listens at the other end of a Unix connection; nil for ourselves, and for one whose number
// means nothing here (it lives in another PID namespace). It is the right one only if it answers after this call:
// a process that ended before may have left its number to somebody else.
func Peer(conn *net.UnixConn) (*Process, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var asking error
	if err := raw.Control(func(fd uintptr) { cred, asking = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return nil, err
	}
	if asking != nil {
		return nil, fmt.Errorf("ask who listens: %w", asking)
	}
	if pid := int(cred.Pid); pid != 0 && pid != os.Getpid() {
		return OpenProcess(pid)
	}
	return nil, nil
}

// waitStep bounds a wait in the kernel, so that a cancelled context is seen.
const waitStep = 100 * time.Millisecond

// Wait returns when the process has ended: the kernel has closed its files then, so its locks are free.
func (p *Process) Wait(ctx context.Context) error {
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, int(waitStep.Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for process %d: %w", p.PID, err)
		case n > 0:
			return nil
		}
	}
	return fmt.Errorf("wait for process %d: %w", p.PID, ctx.Err())
}

// Kill ends it at once; one that has ended already is no error.
func (p *Process) Kill() error {
	if err := unix.PidfdSendSignal(p.fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	return nil
}

// Close lets go of it.
func (p *Process) Close() {
	if p != nil {
		unix.Close(p.fd)
	}
}
