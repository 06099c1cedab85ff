package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"basalt/meta"
	"basalt/storage"
	"basalt/storage/format"
	"basalt/tools/node"
	"basalt/tools/outcome"
)

func fsckCommand() *cobra.Command {
	var repair repairing
	slice := 0
	command := &cobra.Command{
		Use:   "fsck DEVICE",
		Short: "Check a store, read-only, while no node runs on it; with --repair, mend it",
		Long:  "fsck replays the journal in memory and checks that every block is reachable once, free, or waiting, and that every checksum is right; then that names, inodes, links and data of the file system agree. It does so for every slice of the device, or for the one that --slice names. With --repair it first names what it would mend and what would be lost, and then, if that is confirmed, does it and checks once more. Exit code 0: clean, now; 3: it is no store of this release; 4: damage, or damage is left. Of several slices the worst counts: 4, then 3, then what kept it from looking.",
		Args:  exactly(1, "a block device or an image file"),
		RunE: func(c *cobra.Command, args []string) error {
			one := node.EverySlice
			if c.Flags().Changed("slice") {
				if one = slice; slice < 0 || slice >= format.SlicesMax {
					return outcome.New(outcome.Usage, "--slice %d: possible are 0 to %d", slice, format.SlicesMax-1)
				}
			}
			if _, err := repair.wish(); err != nil {
				return err
			}
			if repair.repair {
				if err := repair.run(c.InOrStdin(), c.OutOrStdout(), args[0], one); err != nil {
					return err
				}
			}
			reports, err := node.Check(args[0], one)
			n := 0
			for _, r := range reports {
				if r.Err != nil && len(reports) == 1 { // it says everything
					break
				}
				if found := printSlice(c.OutOrStdout(), r, len(reports) > 1); r.Err == nil {
					n += found
				}
			}
			if n > 0 {
				err = errors.Join(err, outcome.New(outcome.Damage, "%s is damaged: %d findings", args[0], n))
			}
			return err
		},
	}
	repair.register(command)
	command.Flags().IntVar(&slice, "slice", 0, "of the device, counted from 0 (default: every one)")
	return command
}

// printSlice shows what was found of a slice, and counts it.
func printSlice(out io.Writer, r node.SliceReport, named bool) int {
	if named {
		fmt.Fprintf(out, "slice %d\n", r.Slice)
	}
	printReport(out, r.Store)
	n := len(r.Store.Findings) + r.Store.More
	if r.Names != nil {
		printNames(out, r.Names)
		n += len(r.Names.Problems) + r.Names.More
	}
	return n
}

func printReport(out io.Writer, r *storage.FsckReport) {
	m := r.Mount
	fmt.Fprintf(out, "superblock %d, cleanly unmounted: %v; %d journal records with %d transactions replayed in memory\n", m.Epoch, m.Clean, m.Records, m.Transactions)
	for _, bad := range m.Bad {
		fmt.Fprintf(out, "a copy cannot be read, another can: %s\n", bad)
	}
	if m.Unused > 0 {
		fmt.Fprintf(out, "the device has grown since mkfs: %d bytes behind its end as the label has it are not used\n", m.Unused)
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
