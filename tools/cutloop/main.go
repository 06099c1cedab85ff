// Command cutloop cuts the power of a disk under a store, again and again, through the real ring and a real kernel, and
// checks each time that everything reported as committed is there and nothing is half applied.
//
// The disk is a loop device over a file system that loses power (fuse/powercut). Three processes work on it, because the
// one that serves the disk must not use it: a child that serves the file system, a child that runs the load on the loop
// device and dies or meets EIO at the cut, and this one, which plugs the disk in, orders the cut, and afterwards attaches
// what is left, checks it read-only and compares it with a model. One seed decides the load's transactions, the operation
// in which the power goes and what is left of each write; the kernel decides the rest.
//
// The rounds' goroutine owns the model. Invariants: a transaction's content follows from seed, life and number, so that
// the model needs only to know how far the store had come; the numbers begun and committed are in a file beside the disk
// before anybody could rely on them. It survives the death of each of its processes: a loop device goes with its last
// descriptor, the child unmounts when its parent is gone. Read rounds.go first, then disk.go, load.go and script.go.
package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
)

type options struct {
	cuts   int
	opsMax int // operations of the disk before a cut, at most
	seed   uint64
	dir    string
	keep   bool
}

func main() {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(play(role))
	}
	var o options
	pflag.IntVar(&o.cuts, "cuts", 50, "how often to cut the power")
	pflag.IntVar(&o.opsMax, "ops-max", 3000, "most writes and flushes of the disk before a cut")
	pflag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the load, the moments, and what is left")
	pflag.StringVar(&o.dir, "dir", "", "where the disk's file and the mount go (default: a new directory, removed afterwards if all was well)")
	pflag.BoolVar(&o.keep, "keep", false, "keep the directory")
	pflag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintf(os.Stderr, "cutloop: %v\n", err)
		os.Exit(1)
	}
}

func run(o options) (err error) {
	if o.cuts < 1 || o.opsMax < 1 {
		return errors.New("--cuts and --ops-max must be at least 1")
	}
	made := o.dir == ""
	if made {
		if o.dir, err = os.MkdirTemp("", "basalt-cutloop-"); err != nil {
			return err
		}
	}
	fmt.Printf("cutloop: %d cuts, seed %d, in %s\n", o.cuts, o.seed, o.dir)
	sum, err := rounds(o)
	if err != nil {
		return err // what happened stays to be looked at
	}
	sum.print(os.Stdout)
	if err := sum.enough(); err != nil {
		return err
	}
	fmt.Println("cutloop: all is as it must be")
	if made && !o.keep {
		return os.RemoveAll(o.dir)
	}
	return nil
}
