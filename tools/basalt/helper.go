package main

import (
	"os"
	"strings"

	"basalt/tools/outcome"
)

// mount(8) has its own exit codes for helpers: 1 wrong use, 32 mount failed.
const (
	helperUsage  = 1
	helperFailed = 32
)

// helperMain is `mount.basalt SOURCE DIRECTORY [-sfnv] [-o OPTIONS]`, as mount(8) calls it for `mount -t basalt`.
func helperMain(args []string) int {
	args, fake, err := helperArgs(args)
	if err == nil && !fake {
		command := root()
		command.SetArgs(args)
		err = command.Execute()
	}
	code := outcome.Exit(os.Stderr, "mount.basalt", err)
	switch outcome.Code(code) {
	case outcome.OK:
		return 0
	case outcome.Usage:
		return helperUsage
	}
	return helperFailed
}

// helperArgs turns them into those of `basalt mount`. fake: -f, check only.
func helperArgs(args []string) (out []string, fake bool, err error) {
	var words []string
	out = []string{"mount"}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "-o" || arg == "-N" || arg == "-t":
			i++
			if i == len(args) {
				return nil, false, outcome.New(outcome.Usage, "%s needs a value", arg)
			}
			if arg == "-o" {
				out = append(out, helperOptions(args[i])...)
			}
		case strings.HasPrefix(arg, "-"):
			fake = fake || strings.Contains(arg, "f") // -s, -n and -v change nothing for us
		default:
			words = append(words, arg)
		}
	}
	if len(words) != 2 {
		return nil, false, outcome.New(outcome.Usage, "want SOURCE DIRECTORY, have %q", words)
	}
	return append(out, "--node="+words[0], words[1]), fake, nil
}

// generic are options that mount(8) or fstab know and that say nothing to us.
var generic = map[string]bool{
	"rw": true, "defaults": true, "auto": true, "noauto": true, "user": true, "nouser": true, "users": true, "_netdev": true,
	"nofail": true, "exec": true, "nosuid": true, "nodev": true, "relatime": true, "noatime": true, "async": true,
}

// helperOptions: "ro,fuse-transport=dev" → "--ro", "--fuse-transport=dev"; a wrong name is refused by the command itself.
func helperOptions(list string) []string {
	var flags []string
	for _, option := range strings.Split(list, ",") {
		if option == "" || generic[option] || strings.HasPrefix(option, "x-") || strings.HasPrefix(option, "comment=") {
			continue
		}
		flags = append(flags, "--"+option)
	}
	return flags
}
