package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"basalt/fuse/powercut"
)

// event is a line of the serving child's standard output.
type event struct {
	What   string // ready, cut, counts
	Counts powercut.Counts
}

// speaker writes whole lines.
type speaker struct {
	mu  sync.Mutex
	out io.Writer
}

func (s *speaker) say(what string, c powercut.Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A parent that does not listen any more is gone, and the end of the input says so.
	_ = json.NewEncoder(s.out).Encode(event{what, c})
}

// serve is the child that serves the disk. It ends when the disk is unmounted, and unmounts it when its input ends.
func serve(r role) error {
	signal.Ignore(syscall.SIGINT) // the parent's end is ours; a terminal interrupts both
	out := &speaker{out: os.Stdout}
	media, err := powercut.Open(r.Disk, func(c powercut.Counts) { out.say("cut", c) })
	if err != nil {
		return err
	}
	server, err := powercut.Mount(media, r.Dir)
	if err != nil {
		return errors.Join(err, media.Close())
	}
	out.say("ready", media.Counts())
	go obey(media, out, r.Dir)
	server.Serve()
	return media.Close()
}

// order is a line of its standard input; each is answered by the counts.
type order struct {
	Cut       bool // else it only asks
	Aim       powercut.Aim
	Ops, Seed uint64
}

func obey(media *powercut.Media, out *speaker, dir string) {
	for lines := json.NewDecoder(os.Stdin); ; {
		var o order
		if lines.Decode(&o) != nil {
			break // the parent is done, or gone
		}
		if o.Cut {
			media.CutAfter(o.Aim, o.Ops, o.Seed)
		}
		out.say("counts", media.Counts())
	}
	// Detached, not unmounted: the loop device may still be there, and its requests are answered until it is gone.
	_ = unix.Unmount(dir, unix.MNT_DETACH) // fails when the parent has unmounted it
}
