// Package daemon is how a Basalt process lives beside its shell: it goes to the background and says when it is ready,
// tells the service manager, and keeps a second process off what it uses.
//
// It owns the readiness pipe and the lock files it opens. Invariants: the parent of a detached process returns only
// after the child is ready or has failed, with the child's own exit code; a lock is held by an open descriptor, so a
// killed process leaves none behind. Read detach.go first.
package daemon

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"basalt/tools/outcome"
)

// readyEnv tells a child that descriptor 3 is the pipe its parent waits on.
const readyEnv = "BASALT_READY_FD"

// reportBytesMax bounds what a parent reads from its child.
const reportBytesMax = 64 << 10

// Ready is the child's end of the pipe. The zero value (not detached) is valid and says nothing.
type Ready struct{ pipe *os.File }

// Child returns the pipe when this process was started by Detach.
func Child() (*Ready, bool) {
	if os.Getenv(readyEnv) != "3" {
		return &Ready{}, false
	}
	os.Unsetenv(readyEnv)
	syscall.CloseOnExec(3)
	return &Ready{pipe: os.NewFile(3, "ready")}, true
}

// Done tells the parent that the service answers; text is printed by the parent.
func (r *Ready) Done(text string) { r.report(outcome.OK, text) }

// Fail tells the parent why the service did not come up.
func (r *Ready) Fail(err error) { r.report(outcome.CodeOf(err), err.Error()) }

func (r *Ready) report(code outcome.Code, text string) {
	if r.pipe == nil {
		return
	}
	fmt.Fprintf(r.pipe, "%d %s", code, text)
	r.pipe.Close()
	r.pipe = nil
}

// Detach starts this program again in a session of its own, with its output in the log, and waits for its report.
func Detach(log string, out io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	file, err := OpenLog(log)
	if err != nil {
		return err
	}
	defer file.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), readyEnv+"=3")
	cmd.ExtraFiles = []*os.File{write}
	cmd.Stdout, cmd.Stderr = file, file
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	write.Close()
	report, err := io.ReadAll(io.LimitReader(read, reportBytesMax))
	if err != nil {
		return fmt.Errorf("wait for the background process: %w", err)
	}
	return judge(string(report), log, cmd, out)
}

func judge(report, log string, cmd *exec.Cmd, out io.Writer) error {
	digits, text, ok := strings.Cut(report, " ")
	code, err := strconv.Atoi(digits)
	if !ok || err != nil {
		state := cmd.Wait()
		return outcome.New(outcome.Failed, "the background process ended before it was ready (%v): see %s", state, log)
	}
	if outcome.Code(code) != outcome.OK {
		return outcome.New(outcome.Code(code), "%s", text)
	}
	if text != "" {
		fmt.Fprintln(out, text)
	}
	return nil
}

// OpenLog opens a log for appending and makes its directory.
func OpenLog(name string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, fmt.Errorf("directory of the log: %w", err)
	}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return file, nil
}
