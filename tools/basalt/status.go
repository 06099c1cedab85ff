package main

import (
	"encoding/json"
	"os"
	"time"

	"github.com/spf13/cobra"

	"basalt/tools/control"
	"basalt/tools/mountpoint"
	"basalt/tools/outcome"
)

// defaultSocket is where a node listens unless told otherwise.
const defaultSocket = "/run/basalt/node.sock"

// controlSuffix is added to the node's socket for its control socket.
const controlSuffix = ".ctl"

// stopPatienceMax is how long an order to stop waits: a checkpoint of a full delta on a slow disk is long done by then.
const stopPatienceMax = 10 * time.Minute

func statusCommand() *cobra.Command {
	var asJSON, metrics bool
	command := &cobra.Command{
		Use:   "status [SOCKET|DIRECTORY]",
		Short: "Show how a node (by its socket) or a mount (by its directory) is",
		Args:  atMost(1, "one socket or directory"),
		RunE: func(c *cobra.Command, args []string) error {
			path, err := whose(args)
			if err != nil {
				return err
			}
			if metrics {
				text, err := control.Scrape(path)
				if err == nil {
					_, err = c.OutOrStdout().Write(text)
				}
				return err
			}
			status, err := control.Ask(path)
			if err != nil {
				return err
			}
			if !asJSON {
				status.Print(c.OutOrStdout())
				return nil
			}
			text, err := json.MarshalIndent(status, "", "  ")
			if err == nil {
				_, err = c.OutOrStdout().Write(append(text, '\n'))
			}
			return err
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	command.Flags().BoolVar(&metrics, "metrics", false, "print the metrics as Prometheus reads them")
	return command
}

func stopCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stop [SOCKET|DIRECTORY]",
		Short: "Stop a node: it drains, makes a checkpoint and ends; for a mount's directory: umount",
		Args:  atMost(1, "one socket or directory"),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 && isDir(args[0]) {
				return unmount(c.ErrOrStderr(), args[0], false) // refuses what is in use, where an order would wait
			}
			path, err := whose(args)
			if err != nil {
				return err
			}
			return control.Order(path, stopPatienceMax)
		},
	}
}

// whose finds the control socket that an argument means: a node's socket, a control socket itself, or a mount.
func whose(args []string) (string, error) {
	where := defaultSocket
	if len(args) == 1 {
		where = args[0]
	}
	dir, err := mountpoint.Resolve(where)
	if err != nil {
		return "", outcome.New(outcome.Unreachable, "%w", err)
	}
	kind, err := mountpoint.Mounted(dir)
	if err != nil {
		return "", err
	}
	if kind == mountpoint.Type {
		return mountpoint.ControlSocket(dir)
	}
	if isDir(where) {
		if path, err := mountpoint.ControlSocket(dir); err != nil {
			return "", err
		} else if _, err := os.Stat(path); err == nil {
			return path, nil // unmounted, and its process waits for the node
		}
		return "", outcome.New(outcome.Unreachable, "%s is no Basalt mount", where)
	}
	if _, err := os.Stat(where + controlSuffix); err == nil {
		return where + controlSuffix, nil
	}
	return where, nil
}

// isDir never touches a mount of ours: one that waits for its node would hang.
func isDir(where string) bool {
	if dir, err := mountpoint.Resolve(where); err == nil {
		if kind, err := mountpoint.Mounted(dir); err == nil && kind == mountpoint.Type {
			return true
		}
	}
	info, err := os.Stat(where)
	return err == nil && info.IsDir()
}
