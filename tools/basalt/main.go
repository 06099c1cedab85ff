// Command basalt is the command line of Basalt: it makes and checks stores, mounts and unmounts, and asks running
// processes how they are. Under the name mount.basalt it is the helper that mount(8) calls for `mount -t basalt`.
//
// It owns no state beyond the process it may become (`basalt mount`). Invariant: every failure is one sentence on
// standard error with an exit code of package outcome. Each command is one file; read root here first.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"basalt/tools/outcome"
	"basalt/tools/version"
)

func main() {
	if filepath.Base(os.Args[0]) == "mount.basalt" {
		os.Exit(helperMain(os.Args[1:]))
	}
	command := root()
	_, err := command.ExecuteC()
	os.Exit(outcome.Exit(os.Stderr, "basalt", err))
}

func root() *cobra.Command {
	command := &cobra.Command{
		Use:           "basalt",
		Short:         "Make, mount and look after Basalt file systems",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return outcome.New(outcome.Usage, "unknown command %q (see --help)", args[0])
			}
			return c.Help()
		},
	}
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return outcome.New(outcome.Usage, "%w (see --help)", err)
	})
	command.AddCommand(mkfsCommand(), fsckCommand(), dumpCommand(), mountCommand(), umountCommand(), statusCommand(), scrubCommand(),
		objectCommand(), stopCommand(), versionCommand())
	return command
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  exactly(0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			fmt.Fprintln(c.OutOrStdout(), version.Long())
			return nil
		},
	}
}

// exactly is cobra's argument check with our exit code and a sentence that names what is missing.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		if n == 0 {
			return outcome.New(outcome.Usage, "%s takes no argument, have %q", c.Name(), args)
		}
		return outcome.New(outcome.Usage, "%s needs %s: %s", c.Name(), what, c.UseLine())
	}
}

func atMost(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return outcome.New(outcome.Usage, "%s takes at most %s: %s", c.Name(), what, c.UseLine())
	}
}
