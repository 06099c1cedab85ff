package e2e

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"basalt/tools/control"
	"basalt/tools/daemon"
	"basalt/tools/mountpoint"
	"basalt/tools/outcome"
	"basalt/tools/rig"
)

// program starts a binary whose standard error is read line by line.
func program(t *testing.T, r *rig.Rig, name string, args ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(filepath.Join(r.Bin, name), args...)
	cmd.Dir = r.Dir
	pipe, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended, unless the test failed
	return cmd, bufio.NewReader(pipe)
}

// untilSaid reads lines up to one that contains the words.
func untilSaid(t *testing.T, lines *bufio.Reader, words ...string) {
	t.Helper()
	var said bytes.Buffer
	for {
		line, err := lines.ReadString('\n')
		said.WriteString(line)
		if err != nil {
			t.Fatalf("ended without a word of %q:\n%s", words, &said)
		}
		missing := false
		for _, word := range words {
			missing = missing || !strings.Contains(line, word)
		}
		if !missing {
			return
		}
	}
}

// An unmount while the node is away waits for it, says so, and loses nothing: neither when it is interrupted and called
// again, nor when the mount's process gets a first signal.
func TestUmountWaitsForTheNode(t *testing.T) {
	r := newRig(t)
	r.NodeFlags = []string{"--lease-seconds", "3"}
	must(t, r.StartNode())
	must(t, r.Mount())
	status, err := r.Status(r.Mnt())
	must(t, err)
	must(t, os.WriteFile(filepath.Join(r.Mnt(), "answered"), content(1, 100_000), 0o644))
	must(t, r.KillNode())

	first, lines := program(t, r, "basalt", "umount", r.Mnt())
	untilSaid(t, lines, "waiting for the node", r.Socket(), "away")
	must(t, first.Process.Kill())
	_ = first.Wait() // killed
	second, lines := program(t, r, "basalt", "umount", r.Mnt())
	untilSaid(t, lines, "waiting for the node", r.Socket(), "away")
	must(t, syscall.Kill(status.PID, syscall.SIGTERM))
	stopping, err := r.Status(r.Mnt())
	must(t, err)
	if stopping.State != control.Waiting || stopping.PID != status.PID {
		t.Errorf("status %q of process %d, want %q of %d", stopping.State, stopping.PID, control.Waiting, status.PID)
	}
	must(t, r.StartNode())
	must(t, second.Wait())
	for _, want := range []string{"signal=terminated", "waiting until the node has committed"} {
		if !strings.Contains(r.Tail("mount"), want) {
			t.Errorf("no %q in the mount's log", want)
		}
	}
	must(t, r.KillNode()) // what counts is what is on media
	must(t, r.StartNode())
	must(t, r.Mount())
	sameFile(t, filepath.Join(r.Mnt(), "answered"), content(1, 100_000))
}

// The directory of a mount in the node's process is as good an address as the node's socket; after umount it has ended.
func TestInProcessByDirectory(t *testing.T) {
	r := newRig(t)
	pidFile := join(r, "pid")
	r.NodeFlags = []string{"--mount", r.Mnt(), "--pid-file", pidFile}
	must(t, r.StartNode())
	status, err := r.Status(r.Mnt())
	must(t, err)
	if status.Role != "node" || status.About["mount"] != r.Mnt() {
		t.Errorf("status of the directory: %+v", status)
	}
	busy, err := os.Create(filepath.Join(r.Mnt(), "busy"))
	must(t, err)
	defer busy.Close()
	refused(t, r, outcome.InUse, []string{r.Mnt(), "in use"}, "basalt", "umount", r.Mnt())
	must(t, busy.Close())
	for _, command := range []string{"umount", "stop"} {
		_, err = r.Run("basalt", command, r.Mnt())
		must(t, err)
		lock, err := daemon.Hold(pidFile, "the pid file")
		must(t, err) // the process has ended
		lock.Release()
		said, err := r.Fsck()
		must(t, err)
		if !strings.Contains(said, "cleanly unmounted: true") {
			t.Errorf("after %s there was no checkpoint:\n%s", command, said)
		}
		must(t, r.StartNode())
	}
}

// A mount that waits for a node which accepts and says nothing can be ended by one signal.
func TestSignalEndsAMountThatConnects(t *testing.T) {
	r := bareRig(t)
	must(t, os.Mkdir(r.Mnt(), 0o755))
	hung, err := net.Listen("unix", r.Socket())
	must(t, err)
	defer hung.Close()
	cmd := exec.Command(filepath.Join(r.Bin, "basalt"), "mount", "--foreground", "--node", r.Socket(), r.Mnt())
	var errs bytes.Buffer
	cmd.Stderr = &errs
	must(t, cmd.Start())
	conn, err := hung.Accept()
	must(t, err)
	defer conn.Close()
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	if err := cmd.Wait(); err == nil {
		t.Error("it ended as if it had mounted")
	}
	checkRefusal(t, rig.Result{Code: cmd.ProcessState.ExitCode(), Stderr: errs.String()}, outcome.Failed, []string{"ended by a signal", "terminated"})
	if mounted, err := mountpoint.Mounted(r.Mnt()); err != nil || mounted != "" {
		t.Errorf("%s is a mount (%q, %v)", r.Mnt(), mounted, err)
	}
}

// A terminal that is closed takes its mount off in order: SIGHUP comes, more than once, and nobody reads the log.
func TestClosedTerminal(t *testing.T) {
	r := newRig(t)
	must(t, r.StartNode())
	cmd := exec.Command(filepath.Join(r.Bin, "basalt"), "mount", "--foreground", "--node", r.Socket(), r.Mnt())
	terminal, log, err := os.Pipe()
	must(t, err)
	cmd.Stderr = log
	must(t, cmd.Start())
	must(t, log.Close())
	untilSaid(t, bufio.NewReader(terminal), "level=INFO", "mounted")
	must(t, terminal.Close())
	must(t, os.WriteFile(filepath.Join(r.Mnt(), "x"), content(1, 1000), 0o644))
	must(t, cmd.Process.Signal(syscall.SIGHUP))
	_ = cmd.Process.Signal(syscall.SIGHUP) // it may have ended by now
	must(t, cmd.Wait())
	if mounted, err := mountpoint.Mounted(r.Mnt()); err != nil || mounted != "" {
		t.Errorf("%s is still a mount (%q, %v)", r.Mnt(), mounted, err)
	}
}

// What a failed test or loop leaves must end: a mount whose node is gone is killed by the rig, and programs in it get an error.
func TestRigEndsAMountWithoutNode(t *testing.T) {
	r := newRig(t)
	must(t, r.StartNode())
	must(t, r.Mount())
	status, err := r.Status(r.Mnt())
	must(t, err)
	process, err := daemon.OpenProcess(status.PID)
	must(t, err)
	defer process.Close()
	must(t, r.KillNode())
	stuck := make(chan error, 1)
	go func() { stuck <- os.WriteFile(filepath.Join(r.Mnt(), "never"), []byte("x"), 0o644) }()
	if err := r.Close(); err == nil {
		t.Error("nobody is told that the mount had to be killed")
	}
	must(t, process.Wait(t.Context()))
	if mounted, err := mountpoint.Mounted(r.Mnt()); err != nil || mounted != "" {
		t.Errorf("%s is still a mount (%q, %v)", r.Mnt(), mounted, err)
	}
	if err := <-stuck; err == nil {
		// The program came after the mount was gone, and wrote into the directory below it.
		must(t, os.Remove(filepath.Join(r.Mnt(), "never")))
	}
}
