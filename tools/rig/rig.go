// Package rig runs a real node and a real mount from the built binaries in a directory of their own, for the
// end-to-end tests and the kill loop.
//
// A Rig is owned by one goroutine, except Status and Kill, which any may call. Invariants: nothing outside the
// directory is touched; every process started is either stopped or killed by Close, by its own process id; a command
// that fails returns what it printed. It survives the death of either process, which is what it is for. Read rig.go
// first, then process.go.
package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"basalt/tools/control"
	"basalt/tools/daemon"
	"basalt/tools/mountpoint"
)

// Rig is one node and at most one separate mount.
type Rig struct {
	Bin        string   // directory of the binaries
	Dir        string   // everything else
	NodeFlags  []string // added to storaged
	MountFlags []string // added to basalt mount
	MkfsFlags  []string // added to basalt mkfs
	Size       string   // of the image

	NodeElsewhere bool // the mount's node belongs to another rig
	NoDevice      bool // NodeFlags say which device

	node  *process
	mount *daemon.Process // of the last Mount
}

// startPatience is how long a process may take from its start to its readiness: replay of a full journal included.
const startPatience = 120 * time.Second

// runPatience is how long a command that ends by itself may take.
const runPatience = 3 * time.Minute

// Build compiles the binaries into dir.
func Build(dir string, flags ...string) error {
	args := append([]string{"build"}, flags...)
	cmd := exec.Command("go", append(args, "-o", dir+"/", "basalt/tools/storaged", "basalt/tools/basalt")...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the binaries: %w\n%s", err, text)
	}
	return nil
}

// Image, Socket, Mnt and Log are the paths in use.
func (r *Rig) Image() string  { return filepath.Join(r.Dir, "disk.img") }
func (r *Rig) Socket() string { return filepath.Join(r.Dir, "node.sock") }
func (r *Rig) Mnt() string    { return filepath.Join(r.Dir, "mnt") }

// LogOf is the log of "storaged" or "mount".
func (r *Rig) LogOf(name string) string { return filepath.Join(r.Dir, name+".log") }

// Result is how a command ended.
type Result struct {
	Code   int
	Stdout string
	Stderr string
}

// Run runs one of the binaries to its end.
func (r *Rig) Run(name string, args ...string) (Result, error) {
	var out, errs strings.Builder
	ctx, cancel := context.WithTimeout(context.Background(), runPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(r.Bin, name), args...)
	cmd.Dir = r.Dir
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	res := Result{Code: cmd.ProcessState.ExitCode(), Stdout: out.String(), Stderr: errs.String()}
	if err != nil {
		return res, fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, res.Stdout, res.Stderr)
	}
	return res, nil
}

// Mkfs makes the image.
func (r *Rig) Mkfs() error {
	size := r.Size
	if size == "" {
		size = "1GiB"
	}
	args := append([]string{"mkfs", "--size", size}, r.MkfsFlags...)
	if _, err := r.Run("basalt", append(args, r.Image())...); err != nil {
		return err
	}
	return os.MkdirAll(r.Mnt(), 0o755)
}

// Fsck checks the image read-only; no node may be running.
func (r *Rig) Fsck() (string, error) {
	res, err := r.Run("basalt", "fsck", r.Image())
	return res.Stdout, err
}

// StartNode starts storaged as our child and waits until it serves.
func (r *Rig) StartNode(extra ...string) error {
	args := []string{"--socket", r.Socket(), "--log", r.LogOf("storaged")}
	if !r.NoDevice {
		args = append(args, "--device", r.Image())
	}
	args = append(append(args, r.NodeFlags...), extra...)
	p, err := start(filepath.Join(r.Bin, "storaged"), r.Dir, args)
	if err != nil {
		return err
	}
	r.node = p
	if err := p.waitReady(startPatience); err != nil {
		return fmt.Errorf("%w\n%s", err, tail(r.LogOf("storaged")))
	}
	return nil
}

// KillNode ends storaged as a power cut of the process would: SIGKILL, nothing flushed.
func (r *Rig) KillNode() error { return r.node.kill() }

// StopNode asks storaged to drain, and waits for its end.
func (r *Rig) StopNode() error {
	if _, err := r.Run("basalt", "stop", r.Socket()); err != nil {
		return err
	}
	return r.node.waitExit()
}

// TermNode ends storaged as a service manager does, by SIGTERM.
func (r *Rig) TermNode() error {
	if err := r.node.signalTerm(); err != nil {
		return err
	}
	return r.node.waitExit()
}

// Mount mounts with a process of its own and waits until it answers.
func (r *Rig) Mount(extra ...string) error {
	args := append([]string{"mount", "--node", r.Socket(), "--log", r.LogOf("mount")}, r.MountFlags...)
	args = append(append(args, extra...), r.Mnt())
	if _, err := r.Run("basalt", args...); err != nil {
		return err
	}
	status, err := r.Status(r.Mnt())
	if err != nil {
		return err
	}
	r.mount.Close()
	r.mount, err = daemon.OpenProcess(status.PID)
	return err
}

// KillMount ends the mount's process at once and takes off what it leaves. What it was to bring back to the node is lost.
func (r *Rig) KillMount() error {
	var errs []error
	if r.ownMount() {
		errs = append(errs, r.mount.Kill())
		ctx, cancel := context.WithTimeout(context.Background(), runPatience)
		defer cancel()
		errs = append(errs, r.mount.Wait(ctx))
		r.mount.Close()
		r.mount = nil
	}
	if mounted(r.Mnt()) {
		_, err := r.Run("basalt", "umount", "--lazy", r.Mnt()) // a mount must not outlive its directory
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// ownMount tells whether the mount has a process of its own; one that a test has started by hand is found by its socket.
func (r *Rig) ownMount() bool {
	if r.mount != nil {
		return true
	}
	dir, err := mountpoint.Resolve(r.Mnt())
	if err != nil {
		return false
	}
	path, err := mountpoint.ControlSocket(dir)
	if err != nil {
		return false
	}
	status, err := control.Ask(path)
	if err != nil || status.Role != "mount" {
		return false
	}
	r.mount, err = daemon.OpenProcess(status.PID)
	return err == nil
}

// NodeRuns tells whether the node's process is there.
func (r *Rig) NodeRuns() bool { return r.node != nil && r.node.running() }

// Umount unmounts and waits for the mount's process.
func (r *Rig) Umount() error {
	_, err := r.Run("basalt", "umount", r.Mnt())
	return err
}

// Status of the node (Socket) or the mount (Mnt).
func (r *Rig) Status(where string) (control.Status, error) {
	var status control.Status
	res, err := r.Run("basalt", "status", "--json", where)
	if err != nil {
		return status, err
	}
	err = json.Unmarshal([]byte(res.Stdout), &status)
	return status, err
}

// NodeControl is the node's control socket, for callers that ask often.
func (r *Rig) NodeControl() string { return r.Socket() + ".ctl" }

// Close takes everything down, whatever state it is in. The first error says what did not go down cleanly. A mount without
// its node would wait for it for ever: it is killed, as is one that does not come down.
func (r *Rig) Close() error {
	var first error
	if mounted(r.Mnt()) && r.ownMount() {
		if first = errNodeGone; r.NodeRuns() || r.NodeElsewhere {
			first = r.Umount()
		}
	}
	if r.NodeRuns() {
		if err := r.StopNode(); err != nil {
			_ = r.node.kill() // it did not stop, and err says so
			if first == nil {
				first = err
			}
		}
	}
	if err := r.KillMount(); first == nil {
		first = err
	}
	return first
}

var errNodeGone = errors.New("the mount is still there and its node is not: it is killed")

// tail is the end of a log, for error messages.
func tail(name string) string {
	const bytesMax = 4 << 10
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	if len(text) > bytesMax {
		text = text[len(text)-bytesMax:]
	}
	return string(text)
}

// Tail is the end of the log of "storaged" or "mount".
func (r *Rig) Tail(name string) string { return tail(r.LogOf(name)) }
