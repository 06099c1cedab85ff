package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"basalt/storage/dump"
	"basalt/storage/format"
	"basalt/tools/node"
	"basalt/tools/outcome"
)

const objectLong = `object works on the objects of a device that no node uses: it locks the device as mkfs does, mounts the store (the journal is
replayed), does one thing and unmounts. get, ls and stat mount it read-only and write nothing.

NAME is the name of the object; hex:DIGITS is one that is not plain ASCII. The collections of the namespace are the file system's:
put, cp and rm refuse them, because inodes would no longer agree with their data; --force does it all the same.`

// objects are the flags that all of them have.
type objects struct {
	cfg node.Objects
}

func objectCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "object",
		Short: "Put, get, list, copy and remove objects of a store that no node uses",
		Long:  objectLong,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return outcome.New(outcome.Usage, "there is no object %s: put, get, ls, stat, cp, rm (see --help)", args[0])
			}
			return c.Help()
		},
	}
	command.AddCommand(objectPut(), objectGet(), objectLs(), objectStat(), objectCp(), objectRm())
	return command
}

// command makes one of them. collection: it cannot do without.
func (o *objects) command(use, short, long string, args cobra.PositionalArgs, collection bool, run func(c *cobra.Command, args []string) error) *cobra.Command {
	command := &cobra.Command{Use: use, Short: short, Long: long, Args: args}
	command.RunE = func(c *cobra.Command, args []string) error {
		switch {
		case o.cfg.Device == "":
			return outcome.New(outcome.Usage, "object %s needs --device, a block device or an image file", c.Name())
		case collection && !c.Flags().Changed("collection"):
			return outcome.New(outcome.Usage, "object %s needs --collection (object ls without it lists them)", c.Name())
		case o.cfg.Slice < 0 || o.cfg.Slice >= format.SlicesMax:
			return outcome.New(outcome.Usage, "--slice %d: possible are 0 to %d", o.cfg.Slice, format.SlicesMax-1)
		}
		return run(c, args)
	}
	f := command.Flags()
	f.StringVar(&o.cfg.Device, "device", "", "block device or image file")
	f.IntVar(&o.cfg.Slice, "slice", 0, "of the device, counted from 0")
	f.Uint16Var(&o.cfg.Collection, "collection", 0, "that the object is in")
	return command
}

// between is cobra's argument check for commands with an optional last argument.
func between(least, most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= most {
			return nil
		}
		return outcome.New(outcome.Usage, "object %s needs %s: %s", c.Name(), what, c.UseLine())
	}
}

func objectPut() *cobra.Command {
	o := &objects{}
	command := o.command("put --device DEVICE --collection C NAME [FILE]", "Make an object of a file or of standard input",
		"put makes an object of what FILE, or standard input, has. Up to 4 MiB are one transaction. A longer object is marked unfinished until all\nof it is there: if the input fails, it is removed again; if the power fails, get refuses it and stat says so.",
		between(1, 2, "the name of an object"), true, func(c *cobra.Command, args []string) error { return o.put(c, args) })
	f := command.Flags()
	f.BoolVar(&o.cfg.Create, "create", false, "make the collection if there is none")
	f.BoolVar(&o.cfg.Replace, "replace", false, "replace the object if it is there, with its attributes")
	f.BoolVar(&o.cfg.Force, "force", false, "also in a collection of the namespace, whose invariants this bypasses")
	return command
}

func (o *objects) put(c *cobra.Command, args []string) error {
	name, err := objectName(args[0])
	if err != nil {
		return err
	}
	in, size := c.InOrStdin(), int64(-1)
	if len(args) == 2 && args[1] != "-" {
		file, err := os.Open(args[1])
		if err != nil {
			return outcome.New(outcome.Failed, "%w", err)
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
		in = file
	}
	shown := newTransfer(c.ErrOrStderr(), "put "+args[0], size)
	defer shown.end()
	_, err = o.cfg.Put(name, io.TeeReader(in, shown))
	return err
}

func objectGet() *cobra.Command {
	o := &objects{}
	replace := false
	command := o.command("get --device DEVICE --collection C NAME [FILE]", "Write an object to a file or to standard output",
		"get writes the bytes of an object to FILE, or to standard output. Every block is verified. Where one is damaged get ends with exit code 4:\nstandard output has the bytes before it, and FILE is not made. It is written as FILE.partial and gets its name when all of it is there.",
		between(1, 2, "the name of an object"), true, func(c *cobra.Command, args []string) error { return o.get(c, args, replace) })
	command.Flags().BoolVar(&replace, "replace", false, "replace FILE if it is there")
	command.Flags().BoolVar(&o.cfg.Force, "force", false, "also an object whose put did not end")
	return command
}

func (o *objects) get(c *cobra.Command, args []string, replace bool) error {
	name, err := objectName(args[0])
	if err != nil {
		return err
	}
	shown := newTransfer(c.ErrOrStderr(), "get "+args[0], -1)
	o.cfg.OnSize = func(bytes int64) { shown.size = bytes }
	defer shown.end()
	if len(args) == 1 || args[1] == "-" {
		_, err = o.cfg.Get(name, io.MultiWriter(c.OutOrStdout(), shown))
		return err
	}
	return o.getFile(name, args[1], replace, shown)
}

// getFile writes to FILE. A regular file comes into being, or is replaced, when all of the object is there and not before; a device or a pipe is
// written as it is.
func (o *objects) getFile(name []byte, path string, replace bool, shown io.Writer) error {
	target, mode := path, os.O_WRONLY
	info, err := os.Stat(path)
	switch {
	case err == nil && o.isDevice(info):
		return outcome.New(outcome.Usage, "%s is the device itself", path)
	case err == nil && info.Mode().IsRegular() && !replace:
		return outcome.New(outcome.Failed, "%s is there already: --replace replaces it", path)
	case err == nil && !info.Mode().IsRegular():
	default:
		target, mode = path+".partial", os.O_WRONLY|os.O_CREATE|os.O_EXCL
	}
	file, err := os.OpenFile(target, mode, 0o666)
	if err != nil {
		return outcome.New(outcome.Failed, "%w", err)
	}
	_, err = o.cfg.Get(name, io.MultiWriter(file, shown))
	if bad := file.Close(); err == nil && bad != nil {
		err = outcome.New(outcome.Failed, "%w", bad)
	}
	if target == path {
		return err
	}
	if err == nil {
		if err = os.Rename(target, path); err == nil {
			return nil
		}
		err = outcome.New(outcome.Failed, "%w", err)
	}
	if bad := os.Remove(target); bad != nil {
		err = outcome.New(outcome.CodeOf(err), "%w; and %w", err, bad)
	}
	return err
}

func (o *objects) isDevice(info os.FileInfo) bool {
	device, err := os.Stat(o.cfg.Device)
	return err == nil && os.SameFile(info, device)
}

func objectLs() *cobra.Command {
	o := &objects{}
	asJSON, limit := false, 0
	command := o.command("ls --device DEVICE [--collection C]", "List the objects of a collection, or the collections",
		"ls lists the objects of a collection with size, allocated blocks and version; shorter names come first. Without --collection it lists the\ncollections of the slice.",
		between(0, 0, "no argument"), false, func(c *cobra.Command, _ []string) error { return o.list(c, asJSON, limit) })
	command.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	command.Flags().IntVar(&limit, "limit", 0, "list so many at most (default: all)")
	return command
}

func (o *objects) list(c *cobra.Command, asJSON bool, limit int) error {
	if limit < 0 {
		return outcome.New(outcome.Usage, "--limit %d: at least 1", limit)
	}
	out := bufio.NewWriter(c.OutOrStdout())
	if !c.Flags().Changed("collection") {
		all, err := o.cfg.Collections()
		for i, one := range all {
			if limit > 0 && i == limit {
				break
			}
			line(out, asJSON, map[string]any{"collection": one.ID, "namespace": one.Owned}, "%5d %s\n", one.ID, map[bool]string{true: "namespace", false: "-"}[one.Owned])
		}
		return errors.Join(err, out.Flush())
	}
	n := 0
	err := o.cfg.List(func(x *node.Object) bool {
		line(out, asJSON, map[string]any{"name": dump.Name(x.Name), "size": x.Info.Size, "blocks": x.Info.Blocks, "version": x.Info.Version},
			"%12d %8d %8d %s\n", x.Info.Size, x.Info.Blocks, x.Info.Version, dump.Name(x.Name))
		n++
		return n != limit
	})
	return errors.Join(err, out.Flush())
}

// line prints one thing; what goes wrong with the output the caller hears from Flush.
func line(out io.Writer, asJSON bool, fields map[string]any, text string, args ...any) {
	if !asJSON {
		fmt.Fprintf(out, text, args...)
		return
	}
	_ = json.NewEncoder(out).Encode(fields)
}

func objectStat() *cobra.Command {
	o := &objects{}
	asJSON := false
	command := o.command("stat --device DEVICE --collection C NAME", "Describe an object",
		"stat tells an object's size, allocated blocks, version (the last transaction that changed it) and attributes.",
		between(1, 1, "the name of an object"), true, func(c *cobra.Command, args []string) error {
			name, err := objectName(args[0])
			if err != nil {
				return err
			}
			x, err := o.cfg.Stat(name)
			if err != nil {
				return err
			}
			return printObject(c.OutOrStdout(), x, asJSON)
		})
	command.Flags().BoolVar(&asJSON, "json", false, "as one JSON object")
	return command
}

func printObject(out io.Writer, x *node.Object, asJSON bool) error {
	if asJSON {
		type attr struct {
			Name  string `json:"name"`
			Value []byte `json:"value"` // base64
		}
		attrs := []attr{}
		for _, a := range x.Attrs {
			attrs = append(attrs, attr{dump.Name(a.Name), a.Val})
		}
		return json.NewEncoder(out).Encode(map[string]any{"name": dump.Name(x.Name), "size": x.Info.Size, "blocks": x.Info.Blocks, "version": x.Info.Version, "unfinished": x.Unfinished, "attributes": attrs})
	}
	_, err := fmt.Fprintf(out, "name %s\nsize %d\nblocks %d\nversion %d\n", dump.Name(x.Name), x.Info.Size, x.Info.Blocks, x.Info.Version)
	if x.Unfinished && err == nil {
		_, err = fmt.Fprintln(out, "unfinished: it was not put whole")
	}
	for _, a := range x.Attrs {
		if err == nil {
			_, err = fmt.Fprintf(out, "attribute %s %s\n", dump.Name(a.Name), dump.Name(a.Val))
		}
	}
	return err
}

func objectRm() *cobra.Command {
	o := &objects{}
	command := o.command("rm --device DEVICE --collection C NAME", "Remove an object", "rm removes an object with its attributes.",
		between(1, 1, "the name of an object"), true, func(_ *cobra.Command, args []string) error {
			name, err := objectName(args[0])
			if err != nil {
				return err
			}
			return o.cfg.Remove(name)
		})
	command.Flags().BoolVar(&o.cfg.Force, "force", false, "also from a collection of the namespace, whose invariants this bypasses")
	return command
}
