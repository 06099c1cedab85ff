// Command killloop kills storaged with SIGKILL again and again, at random moments and during checkpoints, under a load
// on a real mount, and checks each time that nothing acknowledged is missing: the read-only check of the image is clean,
// the node restarts, the mount goes on by itself, and every name and byte is as the load left it, fsynced or only
// written (the programs of the load survive, so the mount must bring back what the node had not committed).
//
// One goroutine runs the rounds; each worker owns a directory of the mount and the model of what must be in it, and
// parks at a gate while the rounds' goroutine reads both. The log of acknowledged fsyncs lies outside the mount. One
// seed decides the load and the moments; the kernel decides the rest. Read rounds.go first, then load.go.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"basalt/tools/rig"
)

type options struct {
	rounds, inCheckpoint, workers int
	seed                          uint64
	dir, bin, size                string
	fuseTransport, wireTransport  string
	deltaBytes                    string
	killAfterMax                  time.Duration
	keep                          bool
}

func main() {
	var o options
	pflag.IntVar(&o.rounds, "rounds", 50, "how often to kill")
	pflag.IntVar(&o.inCheckpoint, "in-checkpoint", 10, "how many of the rounds wait for a running checkpoint (at least half must catch one)")
	pflag.IntVar(&o.workers, "workers", 4, "programs that write")
	pflag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the load and the moments")
	pflag.StringVar(&o.dir, "dir", "", "where image, mount and logs go (default: a new directory, removed afterwards if all was well)")
	pflag.StringVar(&o.bin, "bin", "bin", "where storaged and basalt are")
	pflag.StringVar(&o.size, "size", "2GiB", "of the image")
	pflag.StringVar(&o.fuseTransport, "fuse-transport", "uring", "uring or dev")
	pflag.StringVar(&o.wireTransport, "wire-transport", "ring", "ring or gnet")
	pflag.StringVar(&o.deltaBytes, "delta-bytes", "16MiB", "small, so that checkpoints are frequent")
	pflag.DurationVar(&o.killAfterMax, "kill-after-max", 1500*time.Millisecond, "longest time of load in a round")
	pflag.BoolVar(&o.keep, "keep", false, "keep the directory")
	pflag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintf(os.Stderr, "killloop: %v\n", err)
		os.Exit(1)
	}
}

func run(o options) (err error) {
	made := o.dir == ""
	if made {
		if o.dir, err = os.MkdirTemp("", "basalt-killloop-"); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	r := &rig.Rig{
		Bin: o.bin, Dir: o.dir, Size: o.size,
		NodeFlags:  []string{"--wire-transport", o.wireTransport, "--delta-bytes", o.deltaBytes},
		MountFlags: []string{"--fuse-transport", o.fuseTransport},
	}
	fmt.Printf("killloop: %d rounds, seed %d, fuse %s, wire %s, in %s\n", o.rounds, o.seed, o.fuseTransport, o.wireTransport, o.dir)
	err = errors.Join(rounds(o, r), r.Close())
	if err != nil || o.keep {
		return err // what happened stays to be looked at
	}
	if made {
		return os.RemoveAll(o.dir)
	}
	return nil
}
