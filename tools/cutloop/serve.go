package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
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

// obey takes orders: "cut OPERATIONS SEED" and "counts".
func obey(media *powercut.Media, out *speaker, dir string) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var n, seed uint64
		if _, err := fmt.Sscanf(lines.Text(), "cut %d %d", &n, &seed); err == nil {
			media.CutAfter(n, seed)
		}
		out.say("counts", media.Counts())
	}
	// Detached, not unmounted: the loop device may still be there, and its requests are answered until it is gone.
	_ = unix.Unmount(dir, unix.MNT_DETACH) // fails when the parent has unmounted it
}
