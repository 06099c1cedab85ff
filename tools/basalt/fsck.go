package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"basalt/meta"
	"basalt/storage"
	"basalt/tools/node"
	"basalt/tools/outcome"
)

func fsckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "fsck DEVICE",
		Short: "Check a store, read-only, while no node runs on it",
		Long:  "fsck replays the journal in memory and checks that every block is reachable once, free, or waiting, and that every checksum is right; then that names, inodes, links and data of the file system agree. Exit code 0: clean; 3: it is no store of this release; 4: damage.",
		Args:  exactly(1, "a block device or an image file"),
		RunE: func(c *cobra.Command, args []string) error {
			report, names, err := node.Check(args[0])
			if err != nil {
				return err
			}
			printReport(c.OutOrStdout(), report)
			n := len(report.Findings) + report.More
			if names != nil {
				printNames(c.OutOrStdout(), names)
				n += len(names.Problems) + names.More
			}
			if n > 0 {
				return outcome.New(outcome.Damage, "%s is damaged: %d findings", args[0], n)
			}
			return nil
		},
	}
}

func printReport(out io.Writer, r *storage.FsckReport) {
	m := r.Mount
	fmt.Fprintf(out, "superblock %d, cleanly unmounted: %v; %d journal records with %d transactions replayed in memory\n", m.Epoch, m.Clean, m.Records, m.Transactions)
	for _, bad := range m.Bad {
		fmt.Fprintf(out, "a copy cannot be read, another can: %s\n", bad)
	}
	if m.Cut != "" {
		fmt.Fprintf(out, "cut off the end of the log, and never acknowledged: %s\n", m.Cut)
	}
	if m.MapRebuilt != "" {
		fmt.Fprintf(out, "the space map would be rebuilt: %s\n", m.MapRebuilt)
	}
	fmt.Fprintf(out, "%d tree nodes, %d keys, %d objects, %d extents\n", r.Nodes, r.Keys, r.Objects, r.Extents)
	if r.Shares > 0 {
		fmt.Fprintf(out, "%d records of blocks that objects share\n", r.Shares)
	}
	fmt.Fprintf(out, "blocks: %d data, %d values, %d in limbo, %d free\n", r.DataBlocks, r.ValueBlocks, r.LimboBlocks, r.FreeBlocks)
	for _, finding := range r.Findings {
		fmt.Fprintf(out, "DAMAGE %v\n", finding)
	}
	if r.More > 0 {
		fmt.Fprintf(out, "and %d more\n", r.More)
	}
	if len(r.Findings) == 0 {
		fmt.Fprintln(out, "store: clean")
	}
}

func printNames(out io.Writer, r *meta.Report) {
	fmt.Fprintf(out, "%d inodes, %d directories, %d names, %d bytes in files, %d inodes without names, %d sessions\n", r.Inodes, r.Dirs, r.Names, r.Bytes, r.Orphans, r.Sessions)
	for _, problem := range r.Problems {
		fmt.Fprintf(out, "DAMAGE %v\n", problem)
	}
	if r.More > 0 {
		fmt.Fprintf(out, "and %d more\n", r.More)
	}
	if len(r.Problems) == 0 {
		fmt.Fprintln(out, "clean")
	}
}
