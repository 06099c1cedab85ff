package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"basalt/storage"
	"basalt/storage/dump"
	"basalt/tools/node"
	"basalt/tools/outcome"
)

// repairing is what the flags of fsck say about a repair.
type repairing struct {
	repair, yes bool
	lose        []string
}

func (r *repairing) register(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&r.repair, "repair", false, "show what can be mended and what would be lost, and do it after a confirmation on the terminal, or with --yes")
	f.BoolVar(&r.yes, "yes", false, "with --repair: do it without asking")
	f.StringSliceVar(&r.lose, "lose", nil, "with --repair: what may be given up: blocks (data blocks that cannot be read become holes), journal (it is cut before a record that cannot be read), nodes (a new tree is made of what can be read of the old one), unmapped (blocks that only lost nodes name may be overwritten, where no space map says which these are), foreign (what another tool has written over a copy of the label)")
}

// wish reads --lose.
func (r *repairing) wish() (w storage.RepairWish, err error) {
	if !r.repair && (r.yes || len(r.lose) > 0) {
		return w, outcome.New(outcome.Usage, "--yes and --lose say how to repair: they need --repair")
	}
	for _, what := range r.lose {
		switch what {
		case "blocks":
			w.Blocks = true
		case "journal":
			w.Journal = true
		case "nodes":
			w.Nodes = true
		case "unmapped":
			w.Unmapped = true
		case "foreign":
			w.Foreign = true
		default:
			return w, outcome.New(outcome.Usage, "--lose %q: want blocks, journal, nodes, unmapped or foreign, or several (blocks,journal)", what)
		}
	}
	return w, nil
}

// run shows the plan, has it confirmed, and does it.
func (r *repairing) run(in io.Reader, out io.Writer, device string, slice int) error {
	wish, err := r.wish()
	if err != nil {
		return err
	}
	done := func(p *storage.RepairPlan) {
		for _, what := range p.Done {
			fmt.Fprintf(out, "DONE %s\n", what)
		}
	}
	return node.Repair(device, slice, done, func(slice int, p *storage.RepairPlan) (storage.RepairWish, error) {
		fmt.Fprintf(out, "slice %d\n", slice)
		printPlan(out, p, wish)
		switch missing := p.Wanting(wish); {
		case p.Nothing():
			return wish, nil
		case len(p.Refused) > 0:
			return wish, outcome.New(outcome.Damage, "%s has damage that no repair mends: nothing was changed", device)
		case len(missing) > 0:
			return wish, outcome.New(outcome.Damage, "%s cannot be mended without a loss: nothing was changed; --lose %s gives up what is listed", device, strings.Join(missing, ","))
		case !r.yes && !confirmed(in, out):
			return wish, outcome.New(outcome.Damage, "%s: nothing was changed; --yes does what is listed", device)
		}
		return wish, nil
	})
}

func printPlan(out io.Writer, p *storage.RepairPlan, w storage.RepairWish) {
	if p.Nothing() {
		fmt.Fprintln(out, "nothing to repair")
	}
	if cut := p.Report.Mount.Cut; cut != "" {
		fmt.Fprintf(out, "the end of the log is cut, as every mount does: a crash, or rot that looks like one: %s\n", cut)
	}
	for _, what := range p.Fixes {
		fmt.Fprintf(out, "REPAIR %s\n", what)
	}
	word := func(wished bool, name string) string {
		if wished {
			return "LOSS"
		}
		return "LOSS with --lose " + name
	}
	for _, what := range p.Foreign {
		fmt.Fprintf(out, "%s: %s\n", word(w.Foreign, "foreign"), what)
	}
	if t := p.Losses.Tail; t != nil {
		fmt.Fprintf(out, "%s: %v\n", word(w.Journal, "journal"), t)
	}
	for i := range p.Losses.Ranges {
		fmt.Fprintf(out, "%s: %v\n", word(w.Nodes, "nodes"), &p.Losses.Ranges[i])
	}
	if n := p.Losses.Unmapped; n > 0 {
		fmt.Fprintf(out, "%s: up to %d blocks that only the lost nodes name look like free ones, because the space map cannot be used, and the new tree may be written over them: if the lost nodes can be read again some day (another cable, another machine), what they name may not be there any more\n", word(w.Unmapped, "unmapped"), n)
	}
	for i := range p.Losses.Patches {
		fmt.Fprintf(out, "%s: %v\n", word(w.Blocks, "blocks"), &p.Losses.Patches[i])
	}
	for _, x := range p.Losses.Blocks {
		means := meansObject(uint16(x.Coll), x.Object)
		if means != "" {
			means = " (" + means + ")"
		}
		fmt.Fprintf(out, "%s: block %d of object %s of collection %d%s becomes a hole: %v\n", word(w.Blocks, "blocks"), x.Block, dump.Name(x.Object), x.Coll, means, x.Err)
	}
	if len(p.Losses.Ranges) > 0 {
		fmt.Fprintln(out, "what the journal changes is known only when the tree is whole again: what --lose blocks or --lose journal gives up of it is listed afterwards")
	}
	if len(p.Losses.Blocks) > 0 && !w.Blocks {
		fmt.Fprintln(out, "without it these blocks stay as they are: reading them is an error")
	}
	for _, what := range p.Refused {
		fmt.Fprintf(out, "REFUSED %s\n", what)
	}
}

// confirmed asks, where somebody is there to answer.
func confirmed(in io.Reader, out io.Writer) bool {
	file, ok := in.(*os.File)
	if !ok {
		return false
	}
	if _, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS); err != nil {
		return false
	}
	fmt.Fprint(out, "Do this? Type yes: ")
	line, _ := bufio.NewReader(in).ReadString('\n') // an end of the input is no yes
	return strings.TrimSpace(line) == "yes"
}
