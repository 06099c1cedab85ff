package rig

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"basalt/tools/mountpoint"
)

// process is a child that tells its readiness as a service does: READY=1 on NOTIFY_SOCKET.
type process struct {
	cmd    *exec.Cmd       // immutable
	notify *net.UnixConn   // immutable
	ended  chan struct{}   // closed when the process has been waited for
	err    error           // of Wait; read after ended
	said   strings.Builder // standard error; read after ended
}

func start(bin, dir string, args []string) (*process, error) {
	socket := filepath.Join(dir, "notify.sock")
	os.Remove(socket)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("socket for readiness: %w", err)
	}
	p := &process{cmd: exec.Command(bin, args...), notify: notify, ended: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	p.cmd.Stderr = &p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no orphan if the test dies
	started := make(chan error, 1)
	go p.run(started)
	if err := <-started; err != nil {
		notify.Close()
		return nil, err
	}
	return p, nil
}

// run keeps its thread until the child has ended: the kernel sends Pdeathsig when the thread that started it goes.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	p.notify.Close()
	close(p.ended)
}

// waitReady returns when the process has said READY=1, or why it never will.
func (p *process) waitReady(patience time.Duration) error {
	if err := p.notify.SetReadDeadline(time.Now().Add(patience)); err != nil {
		<-p.ended // the descriptor is closed when the process ends
		return fmt.Errorf("storaged ended before it was ready: %v: %s", p.err, p.said.String())
	}
	buf := make([]byte, 256)
	for {
		n, err := p.notify.Read(buf)
		if err != nil {
			break
		}
		if strings.Contains(string(buf[:n]), "READY=1") {
			return nil
		}
	}
	select {
	case <-p.ended:
		return fmt.Errorf("storaged ended before it was ready: %v: %s", p.err, p.said.String())
	case <-time.After(time.Second):
		return fmt.Errorf("storaged was not ready after %v", patience)
	}
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// kill ends the process at once and waits until it is gone.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) { // it may have ended by itself
		return err
	}
	<-p.ended
	return nil
}

func (p *process) signalTerm() error { return p.cmd.Process.Signal(syscall.SIGTERM) }

func (p *process) waitExit() error {
	select {
	case <-p.ended:
	case <-time.After(startPatience):
		return fmt.Errorf("storaged did not end within %v of being told to", startPatience)
	}
	if p.err != nil {
		return fmt.Errorf("storaged ended badly: %w: %s", p.err, p.said.String())
	}
	return nil
}

func mounted(dir string) bool {
	abs, err := mountpoint.Resolve(dir)
	if err != nil {
		return false
	}
	kind, err := mountpoint.Mounted(abs)
	return err == nil && kind == mountpoint.Type
}
