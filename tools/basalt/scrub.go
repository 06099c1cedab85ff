package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"basalt/storage/dump"
	"basalt/tools/control"
	"basalt/tools/outcome"
)

func scrubCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "scrub",
		Short: "Have a node read all that it has and verify it; or show how far that is and what is in quarantine",
		Args:  exactly(0, ""),
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	command.AddCommand(
		scrubOrder(control.ScrubStart, "Begin a pass, unless one runs"),
		scrubOrder(control.ScrubStop, "End the pass that runs; the next one begins at the beginning"),
		scrubOrder(control.ScrubStatus, "Show how far it is, and what is in quarantine"),
	)
	return command
}

func scrubOrder(order, short string) *cobra.Command {
	var asJSON, wait bool
	command := &cobra.Command{
		Use:   order + " [SOCKET|DIRECTORY]",
		Short: short,
		Args:  atMost(1, "one socket, or the directory of a node's own mount"),
		RunE: func(c *cobra.Command, args []string) error {
			path, err := whose(args)
			if err != nil {
				return err
			}
			begun, err := control.OrderScrub(path, order)
			shards := begun
			if err == nil && wait {
				shards, err = awaitScrub(c.ErrOrStderr(), path, begun)
			}
			if err != nil {
				return err
			}
			if err := showScrub(c.OutOrStdout(), shards, asJSON); err != nil {
				return err
			}
			if n := cutShort(begun, shards); wait && n > 0 {
				return outcome.New(outcome.Failed, "%d of %d passes ended before they were whole", n, len(begun))
			}
			return nil
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	if order == control.ScrubStart {
		command.Flags().BoolVar(&wait, "wait", false, "return when the pass has ended, and show on a terminal how far it is")
	}
	return command
}

// scrubLook is the time between two looks at a pass that is waited for: a node answers on its control socket and sends nothing by itself.
const scrubLook = 200 * time.Millisecond

func awaitScrub(out io.Writer, path string, shards []control.Scrub) ([]control.Scrub, error) {
	bar := newTransfer(out, "scrub", -1)
	defer bar.end()
	for {
		running := false
		var done, of uint64
		for _, s := range shards {
			running = running || s.Running
			done, of = done+s.BytesDone, of+s.BytesOf
		}
		bar.reach(int64(done), int64(of))
		if !running {
			return shards, nil
		}
		time.Sleep(scrubLook)
		var err error
		if shards, err = control.OrderScrub(path, control.ScrubStatus); err != nil {
			return shards, err
		}
	}
}

// cutShort is how many of the passes that had begun did not become whole ones: somebody stopped them.
func cutShort(begun, ended []control.Scrub) (n int) {
	for i := range begun {
		if begun[i].Running && (i >= len(ended) || ended[i].Passes == begun[i].Passes) {
			n++
		}
	}
	return n
}

// showScrub prints it; what is in quarantine gives the exit code of damage.
func showScrub(out io.Writer, shards []control.Scrub, asJSON bool) error {
	bad := 0
	for _, s := range shards {
		bad += len(s.Quarantine)
	}
	if asJSON {
		text, err := json.MarshalIndent(shards, "", "  ")
		if err != nil {
			return err
		}
		if _, err := out.Write(append(text, '\n')); err != nil {
			return err
		}
	} else {
		for _, s := range shards {
			printScrub(out, &s)
		}
	}
	if bad > 0 {
		return outcome.New(outcome.Damage, "%d in quarantine", bad)
	}
	return nil
}

func printScrub(out io.Writer, s *control.Scrub) {
	const mib = 1 << 20
	state := "idle"
	if s.Running {
		state = "running since " + s.Began.Format(time.RFC3339)
	}
	fmt.Fprintf(out, "shard %s (slice %d of %s): %s\n", s.Shard, s.Slice, s.Device, state)
	last := "none since the node started"
	if !s.Ended.IsZero() {
		last = s.Ended.Format(time.RFC3339)
	}
	percent := 0.0
	if s.BytesOf > 0 {
		percent = min(100, 100*float64(s.BytesDone)/float64(s.BytesOf))
	}
	fmt.Fprintf(out, "  read             %.1f of %.1f MiB (%.0f %%), %d objects, %d findings\n", float64(s.BytesDone)/mib, float64(s.BytesOf)/mib, percent, s.Objects, s.Findings)
	fmt.Fprintf(out, "  last whole pass  %s (%d so far)\n", last, s.Passes)
	for _, q := range s.Quarantine {
		what := fmt.Sprintf("%s at %d~%d", q.What, q.Start, q.Blocks)
		if len(q.Object) > 0 {
			what += fmt.Sprintf(": block %d of object %s of collection %d", q.Block, dump.Name(q.Object), q.Collection)
			if means := meansObject(q.Collection, q.Object); means != "" {
				what += ", " + means
			}
		}
		fmt.Fprintf(out, "  DAMAGE %s: %s\n", what, q.Reason)
	}
}
