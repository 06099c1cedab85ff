package main

import (
	"github.com/spf13/cobra"

	"basalt/tools/control"
	"basalt/tools/mountpoint"
	"basalt/tools/outcome"
)

func umountCommand() *cobra.Command {
	var lazy bool
	command := &cobra.Command{
		Use:   "umount DIRECTORY",
		Short: "Unmount, and wait until everything written is on media",
		Args:  exactly(1, "the mounted directory"),
		RunE:  func(_ *cobra.Command, args []string) error { return unmount(args[0], lazy) },
	}
	command.Flags().BoolVar(&lazy, "lazy", false, "detach it now although programs use it; it ends when they do")
	return command
}

// unmount takes the mount off and then waits for the process that served it. A process that was killed leaves a dead
// mount behind; the kernel takes that off all the same, and nobody is there to wait for.
func unmount(where string, lazy bool) error {
	dir, err := mountpoint.Resolve(where)
	if err != nil {
		return err
	}
	kind, err := mountpoint.Mounted(dir)
	if err != nil {
		return err
	}
	if kind != mountpoint.Type {
		return outcome.New(outcome.Failed, "%s is no Basalt mount", where)
	}
	if err := mountpoint.Unmount(dir, lazy); err != nil || lazy {
		return err
	}
	path, err := mountpoint.ControlSocket(dir)
	if err != nil {
		return err
	}
	if err := control.Order(path, stopPatienceMax); err != nil && outcome.CodeOf(err) != outcome.Unreachable {
		return err
	}
	return nil
}
