package main

import (
	"bufio"
	"errors"

	"github.com/spf13/cobra"

	"basalt/storage/dump"
	"basalt/storage/format"
	"basalt/tools/node"
	"basalt/tools/outcome"
)

const dumpLong = `dump shows what stands on a device that no node uses, and writes nothing. It needs no store that can be mounted: what is
damaged is shown as far as it decodes, after the word BAD, with the place, what was wanted and what was found, and its first
bytes; what can be reached in spite of it is shown as well.

Blocks are 4096 bytes and are counted from the start of the device; start~length is a run of them. Names and keys that are not
plain ASCII are written hex:DIGITS, and are given so to --name, --prefix and --from.

Exit code 0: nothing that was shown is damaged; 4: something is; 1: what was asked for is not there.`

// dumping is what all dumps have in common.
type dumping struct {
	opt dump.Options
	at  int64
}

func dumpCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "dump",
		Short: "Show the structures of a store, read-only, damaged ones too",
		Long:  dumpLong,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return outcome.New(outcome.Usage, "there is no dump of %q: super, journal, tree, object, space (see --help)", args[0])
			}
			return c.Help()
		},
	}
	command.AddCommand(dumpSuper(), dumpJournal(), dumpTree(), dumpObject(), dumpSpace())
	return command
}

// command makes one of them; flags adds its own, and show decides after they were read.
func (d *dumping) command(use, short, long, at string, show func(d *dump.Dump) error, raw func(d *dump.Dump, block dump.BlockNo) error) *cobra.Command {
	command := &cobra.Command{
		Use:   use + " DEVICE",
		Short: short,
		Long:  long,
		Args:  exactly(1, "a block device or an image file"),
		RunE: func(c *cobra.Command, args []string) error {
			if d.opt.Slice < 0 || d.opt.Slice >= format.SlicesMax {
				return outcome.New(outcome.Usage, "--slice %d: possible are 0 to %d", d.opt.Slice, format.SlicesMax-1)
			}
			if d.opt.Lines < 1 {
				return outcome.New(outcome.Usage, "--lines %d: at least 1", d.opt.Lines)
			}
			if c.Flags().Changed("at") {
				if d.at < 0 {
					return outcome.New(outcome.Usage, "--at %d: blocks are counted from 0", d.at)
				}
				show = func(s *dump.Dump) error { return raw(s, dump.BlockNo(d.at)) }
			}
			d.opt.UserKey, d.opt.ObjectName = meansKey, meansObject
			out := bufio.NewWriterSize(c.OutOrStdout(), 64<<10)
			bad, err := node.Dump(args[0], out, d.opt, show)
			if err = errors.Join(err, out.Flush()); err == nil && bad > 0 {
				err = outcome.New(outcome.Damage, "%s: of what was shown, %d structures are damaged (marked BAD)", args[0], bad)
			}
			return err
		},
	}
	f := command.Flags()
	f.IntVar(&d.opt.Slice, "slice", 0, "of the device, counted from 0")
	f.BoolVar(&d.opt.JSON, "json", false, "one JSON object a line")
	f.IntVar(&d.opt.Lines, "lines", 10_000, "most lines (or JSON objects) to show; the last one says how to go on")
	f.Int64Var(&d.at, "at", 0, at)
	return command
}

// epoch adds the choice of the superblock.
func (d *dumping) epoch(command *cobra.Command) *cobra.Command {
	command.Flags().Uint64Var(&d.opt.Epoch, "epoch", 0, "start from the superblock of this epoch (default: the newest that is valid)")
	return command
}

func dumpSuper() *cobra.Command {
	d := &dumping{}
	return d.command("super", "Show labels and superblocks",
		"Both copies of the device's label, its segments, and the four superblocks of a slice: two slots of two copies each.",
		"show this block as a superblock, or as a label if it begins like one", (*dump.Dump).Super, (*dump.Dump).SuperAt)
}

func dumpJournal() *cobra.Command {
	d, o := &dumping{}, dump.JournalOptions{}
	command := d.command("journal", "Show the records of the journal, where it ends, and why",
		"The records behind the superblock as a replay reads them, with their transactions and operations; then where the log ends, why,\nand what stands there.",
		"show the record that stands at this block of the device", func(s *dump.Dump) error { return s.Journal(o) }, (*dump.Dump).JournalAt)
	f := command.Flags()
	f.Uint64Var(&o.From, "from", 0, "first sequence to show")
	f.Uint64Var(&o.To, "to", 0, "last sequence to show (default: to the end)")
	f.BoolVar(&o.Records, "records", false, "records only, without their transactions")
	f.BoolVar(&o.Verify, "verify", false, "read the data that the records name, and compare checksums")
	f.BoolVar(&o.All, "all", false, "every record that stands in the ring, those of former laps and lives too")
	return d.epoch(command)
}

func dumpTree() *cobra.Command {
	d, o := &dumping{}, dump.TreeOptions{}
	kind, prefix, from := "", "", ""
	command := d.command("tree", "Show the nodes of the tree, or its keys",
		"The nodes of the superblock's tree, each with the range of its keys; with --keys what the leaves hold. What the journal has and\nno checkpoint has folded yet is not in the tree.",
		"show the node that stands at this block, with its entries",
		func(s *dump.Dump) error { return s.Tree(o) }, (*dump.Dump).TreeAt)
	command.PreRunE = func(c *cobra.Command, _ []string) (err error) {
		if o.Keys && c.Flags().Changed("level") {
			return outcome.New(outcome.Usage, "--level chooses nodes, --keys shows none")
		}
		if !o.Keys && (o.Verify || kind != "" || prefix != "" || from != "" || o.Coll >= 0) {
			return outcome.New(outcome.Usage, "--collection, --kind, --prefix, --from and --verify choose keys: add --keys")
		}
		if o.Coll > 1<<16-1 || o.Coll < -1 {
			return outcome.New(outcome.Usage, "--collection %d: possible are 0 to 65535", o.Coll)
		}
		if o.Kind = dump.Kinds[kind]; kind != "" && o.Kind == 0 {
			return outcome.New(outcome.Usage, "--kind %s: possible are collection, onode, extent, key, share", kind)
		}
		if o.Prefix, err = nameFlag("--prefix", prefix); err == nil {
			o.From, err = nameFlag("--from", from)
		}
		return err
	}
	f := command.Flags()
	f.BoolVar(&o.Keys, "keys", false, "show keys instead of nodes")
	f.IntVar(&o.Level, "level", -1, "only nodes of this level; 0 are the leaves")
	f.BoolVar(&o.Verify, "verify", false, "read values that stand outside of their leaf, and compare checksums")
	f.IntVar(&o.Coll, "collection", -1, "only keys of this collection")
	f.StringVar(&kind, "kind", "", "only keys of this kind: collection, onode, extent, key, share")
	f.StringVar(&prefix, "prefix", "", "only objects or keys whose name begins so")
	f.StringVar(&from, "from", "", "only tree keys from this one on, as a stopped dump names it")
	return d.epoch(command)
}

func dumpObject() *cobra.Command {
	d, o := &dumping{}, dump.ObjectOptions{}
	name := ""
	command := d.command("object --name NAME --collection C", "Show an object, or who has a block",
		"The object's onode, attributes and extents in the superblock's tree, and what the journal does to it afterwards. With --at: which\nstructure, node, value, object or record of the journal a block belongs to.",
		"show who has this block", func(s *dump.Dump) error { return s.Object(o) }, (*dump.Dump).ObjectAt)
	f := command.Flags()
	f.StringVar(&name, "name", "", "of the object")
	f.Uint16Var(&o.Coll, "collection", 0, "that it is in")
	f.BoolVar(&o.Verify, "verify", false, "read its blocks, and compare checksums")
	command.PreRunE = func(c *cobra.Command, _ []string) (err error) {
		if c.Flags().Changed("at") {
			return nil
		}
		if name == "" || !c.Flags().Changed("collection") {
			return outcome.New(outcome.Usage, "dump object needs --name and --collection, or --at BLOCK")
		}
		o.Name, err = objectName(name)
		return err
	}
	return d.epoch(command)
}

func dumpSpace() *cobra.Command {
	d, o := &dumping{}, dump.SpaceOptions{}
	command := d.command("space", "Show both space maps, and what differs between them",
		"Both regions of the space map with the free extents counted by size; which blocks the later one has released from limbo and which\nit has taken; and what the journal has taken since.",
		"show the map whose header stands at this block", func(s *dump.Dump) error { return s.Space(o) }, (*dump.Dump).SpaceAt)
	f := command.Flags()
	f.BoolVar(&o.Extents, "extents", false, "show every extent, not only counts")
	f.BoolVar(&o.Tree, "tree", false, "read the tree and compare the map with what it names")
	return d.epoch(command)
}

// nameFlag reads a name that may be written as hex digits.
func nameFlag(flag, text string) ([]byte, error) {
	b, err := dump.ParseName(text)
	if err != nil {
		return nil, outcome.New(outcome.Usage, "%s %w: write hex: and an even number of hex digits", flag, err)
	}
	return b, nil
}

// objectName reads the name of an object.
func objectName(text string) ([]byte, error) {
	b, err := nameFlag("name", text)
	if err == nil && (len(b) == 0 || len(b) > format.NameBytesMax) {
		err = outcome.New(outcome.Usage, "the name of an object has 1 to %d bytes, not %d", format.NameBytesMax, len(b))
	}
	return b, err
}
