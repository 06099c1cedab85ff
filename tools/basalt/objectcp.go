package main

import (
	"github.com/spf13/cobra"
)

func objectCp() *cobra.Command {
	o := &objects{}
	command := o.command("cp --device DEVICE --collection C NAME COPY", "Make an object of another one, without copying its data",
		"cp makes a second object of the same size, content and attributes in the same collection. The two share their blocks until one of them is\nchanged; each can be changed and removed without the other. An object in more than 1024 pieces is refused. The first copy on a store\nraises the version of its format to 2: older software refuses it from then on.",
		between(2, 2, "the name of an object and one for its copy"), true, func(_ *cobra.Command, args []string) error {
			from, err := objectName(args[0])
			if err != nil {
				return err
			}
			to, err := objectName(args[1])
			if err != nil {
				return err
			}
			return o.cfg.Copy(from, to)
		})
	f := command.Flags()
	f.BoolVar(&o.cfg.Replace, "replace", false, "replace the object COPY if it is there, with its attributes")
	f.BoolVar(&o.cfg.Force, "force", false, "also in a collection of the namespace, whose invariants this bypasses")
	return command
}
