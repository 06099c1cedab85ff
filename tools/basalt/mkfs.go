package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"basalt/meta/record"
	"basalt/storage/format"
	"basalt/tools/config"
	"basalt/tools/node"
	"basalt/tools/outcome"
)

func mkfsCommand() *cobra.Command {
	var size, journal config.Size
	var cfg node.FormatConfig
	command := &cobra.Command{
		Use:   "mkfs [--size SIZE] DEVICE",
		Short: "Make an empty file system on a block device or in an image file",
		Args:  exactly(1, "a block device or an image file"),
		RunE: func(c *cobra.Command, args []string) error {
			cfg.Device, cfg.Bytes, cfg.JournalBytes = args[0], int64(size), int64(journal)
			if cfg.Bytes%4096 != 0 {
				return outcome.New(outcome.Usage, "--size: %d is not a multiple of 4096 bytes", cfg.Bytes)
			}
			if err := checkFormat(&cfg); err != nil {
				return err
			}
			if err := node.Format(cfg); err != nil {
				return err
			}
			if cfg.Slices > 1 {
				fmt.Fprintf(c.OutOrStdout(), "made %d Basalt file systems on %s, one in each slice\n", cfg.Slices, cfg.Device)
				return nil
			}
			fmt.Fprintf(c.OutOrStdout(), "made a Basalt file system on %s\n", cfg.Device)
			return nil
		},
	}
	f := command.Flags()
	f.Var(&size, "size", "of an image file that is to be made; a device or file that is there keeps its own")
	f.BoolVar(&cfg.Force, "force", false, "overwrite whatever is there")
	f.Var(&journal, "journal-bytes", "of the journal of each slice (default: 1/64 of the slice, 64 MiB to 1 GiB)")
	f.IntVar(&cfg.Slices, "slices", 1, "equal parts of the device: a node serves each as a shard, on a thread of its own, with a file system of its own")
	f.IntVar(&cfg.NodeBytes, "node-bytes", 0, "of a tree node, 8192 or 16384 (default)")
	f.IntVar(&cfg.Groups, "groups", 0, "placement groups (default 256)")
	return command
}

// checkFormat refuses what no store could be made of, before an image is made or a device opened.
func checkFormat(cfg *node.FormatConfig) error {
	switch {
	case cfg.Slices < 1 || cfg.Slices > format.SlicesMax:
		return outcome.New(outcome.Usage, "--slices %d: want 1 to %d", cfg.Slices, format.SlicesMax)
	case cfg.Groups < 0 || cfg.Groups > record.GroupsMax:
		return outcome.New(outcome.Usage, "--groups %d: want 1 to %d", cfg.Groups, record.GroupsMax)
	case cfg.NodeBytes != 0 && !format.ValidNodeBytes(cfg.NodeBytes):
		return outcome.New(outcome.Usage, "--node-bytes %d: want a power of two from %d to %d", cfg.NodeBytes, format.NodeBytesMin, format.NodeBytesMax)
	case cfg.JournalBytes%format.BlockBytes != 0:
		return outcome.New(outcome.Usage, "--journal-bytes: %d is not a multiple of %d bytes", cfg.JournalBytes, format.BlockBytes)
	}
	return nil
}
