package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"basalt/tools/control"
	"basalt/tools/mountpoint"
	"basalt/tools/outcome"
)

// An unmount that takes longer than tellFirst says what it waits for, and again at tellEvery.
const (
	tellFirst = time.Second
	tellEvery = 30 * time.Second
)

func umountCommand() *cobra.Command {
	var lazy bool
	command := &cobra.Command{
		Use:   "umount DIRECTORY",
		Short: "Unmount, and wait until everything written is on media",
		Long:  "umount takes the mount off and waits, without limit, until everything that it had answered is on the node's media. If the node is away, it says so: start it again, or give up by signalling the mount's process twice. umount itself may be interrupted and called again: it goes on waiting.",
		Args:  exactly(1, "the mounted directory"),
		RunE:  func(c *cobra.Command, args []string) error { return unmount(c.ErrOrStderr(), args[0], lazy) },
	}
	command.Flags().BoolVar(&lazy, "lazy", false, "detach it now although programs use it; it ends when they do")
	return command
}

// unmount takes the mount off and then waits for the process that served it. A process that was killed leaves a dead
// mount behind; the kernel takes that off all the same, and nobody is there to wait for.
func unmount(tell io.Writer, where string, lazy bool) error {
	dir, err := mountpoint.Resolve(where)
	if err != nil {
		return err
	}
	kind, err := mountpoint.Mounted(dir)
	if err != nil {
		return err
	}
	path, err := mountpoint.ControlSocket(dir)
	if err != nil {
		return err
	}
	if kind != mountpoint.Type {
		if _, err := control.Ask(path); err != nil || lazy {
			return outcome.New(outcome.Failed, "%s is no Basalt mount", where)
		}
		// Unmounted already, and its process waits for the node.
	}
	ended := make(chan struct{})
	defer close(ended)
	go tellProgress(tell, dir, path, ended)
	if kind == mountpoint.Type {
		if err := mountpoint.Unmount(dir, lazy); err != nil || lazy {
			return err
		}
	}
	if err := control.Order(path, 0); err != nil && outcome.CodeOf(err) != outcome.Unreachable {
		return err
	}
	return nil
}

func tellProgress(out io.Writer, dir, path string, ended <-chan struct{}) {
	tick := time.NewTicker(tellFirst)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		tick.Reset(tellEvery)
		if status, err := control.Ask(path); err == nil { // else it is just ending, or was killed
			fmt.Fprintln(out, progress(dir, status))
		}
	}
}

// progress is what an unmount waits for.
func progress(dir string, s control.Status) string {
	if s.State == control.Waiting {
		return fmt.Sprintf("unmounting %s: waiting for the node on %s, which is away: start it again, so that nothing that was answered is lost (two times SIGTERM to process %d gives that up)", dir, s.About["node"], s.PID)
	}
	return fmt.Sprintf("unmounting %s: waiting for process %d (%s) to have everything on media", dir, s.PID, s.State)
}
