package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// roleEnv tells a process that it is a child, and which: tests run their own binary as the children, with the bugs that a
// build tag has planted in it.
const roleEnv = "BASALT_CUTLOOP_ROLE"

// role is what a child is told.
type role struct {
	Name     string // serve or load
	Disk     string // serve: the file that survives
	Dir      string // serve: where to mount
	Device   string // load: the loop device
	Progress string // load: where to note what was begun and what is committed
	Seed     uint64 // load
	Life     uint64 // load
}

// A load ends with exitDevice when its disk fails it as a disk without power does; anything else is a finding.
const (
	exitFailed = 1
	exitDevice = 3
)

func play(text string) int {
	var r role
	err := json.Unmarshal([]byte(text), &r)
	switch {
	case err != nil:
	case r.Name == "serve":
		err = serve(r)
	case r.Name == "load":
		err = load(r)
		if noPower(err) {
			return exitDevice
		}
	default:
		err = fmt.Errorf("no role %q", r.Name)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "cutloop %s: %v\n", r.Name, err)
		return exitFailed
	}
	return 0
}

// child is a process of ours.
type child struct {
	cmd   *exec.Cmd     // immutable
	ended chan struct{} // closed when it has been waited for
	err   error         // of its end; read after ended
}

// spawn starts this binary in a role. mortal: the kernel kills it when we die.
func spawn(r role, mortal bool, prepare func(*exec.Cmd) error) (*child, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(self), ended: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), roleEnv+"="+string(text))
	if err := prepare(c.cmd); err != nil {
		return nil, err
	}
	if mortal {
		c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	}
	started := make(chan error, 1)
	go c.run(started)
	return c, <-started
}

// run keeps its thread until the child has ended: the kernel sends Pdeathsig when the thread that started it goes.
func (c *child) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := c.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	c.err = c.cmd.Wait()
	close(c.ended)
}

func (c *child) running() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// kill ends it at once and waits until it is gone. It may have ended by itself.
func (c *child) kill() error {
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-c.ended
	return nil
}
