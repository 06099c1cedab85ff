package main

import (
	"errors"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"basalt/tools/config"
	"basalt/tools/control"
	"basalt/tools/daemon"
	"basalt/tools/mount"
	"basalt/tools/mountpoint"
	"basalt/tools/outcome"
	"basalt/tools/version"
)

// mounting is one `basalt mount`.
type mounting struct {
	node       config.Address
	fuse       config.Choice
	cfg        mount.Config
	log        string
	foreground bool
}

func mountCommand() *cobra.Command {
	m := &mounting{node: config.Address{Unix: defaultSocket}, fuse: config.Choice{Value: "auto", Of: []string{"auto", "uring", "dev"}}}
	command := &cobra.Command{
		Use:   "mount [--node ADDRESS] DIRECTORY",
		Short: "Mount the file system of a node",
		Args:  exactly(1, "a directory"),
		RunE:  func(c *cobra.Command, args []string) error { return m.main(c, args[0]) },
	}
	f := command.Flags()
	f.Var(&m.node, "node", "where the node listens: unix:PATH or tcp:HOST:PORT")
	f.Uint16Var(&m.cfg.Shard, "shard", 0, "which shard of the node: each has a file system of its own")
	f.Var(&m.fuse, "fuse-transport", "how the kernel hands requests over; auto takes io_uring where there is one")
	f.StringVar(&m.log, "log", "", "file to append the log to (default: beside the control socket)")
	f.BoolVar(&m.foreground, "foreground", false, "stay in the terminal; the log goes to standard error")
	f.BoolVar(&m.cfg.ReadOnly, "ro", false, "read-only")
	f.BoolVar(&m.cfg.OwnerOnly, "owner-only", false, "only the mounting user may enter")
	f.BoolVar(&m.cfg.NonEmpty, "nonempty", false, "mount over a directory that has entries")
	f.BoolVar(&m.cfg.Pin, "pin", true, "pin each column to its CPU")
	f.IntVar(&m.cfg.Columns, "columns", 0, "threads (default: one for each CPU)")
	f.IntVar(&m.cfg.QueueDepth, "queue-depth", 0, "requests of one FUSE queue at a time (default 32)")
	return command
}

func (m *mounting) main(c *cobra.Command, where string) error {
	ready, isChild := daemon.Child()
	err := m.run(c, where, ready, isChild)
	if err != nil {
		ready.Fail(err)
	}
	return err
}

func (m *mounting) run(c *cobra.Command, where string, ready *daemon.Ready, isChild bool) error {
	dir, err := mountpoint.Resolve(where)
	if err != nil {
		return outcome.New(outcome.Mount, "%w", err)
	}
	m.cfg.Dir, m.cfg.Transport = dir, m.fuse.Value
	path, err := mountpoint.ControlSocket(dir)
	if err != nil {
		return err
	}
	if kind, err := mountpoint.Mounted(dir); err != nil {
		return err
	} else if kind == mountpoint.Type {
		return outcome.New(outcome.InUse, "%s is already a Basalt mount: unmount it first (basalt umount %s)", dir, dir)
	}
	if err := mountpoint.CheckFuse(); err != nil {
		return err
	}
	if !m.foreground && !isChild {
		if m.log == "" {
			m.log = path + ".log"
		}
		return daemon.Detach(m.log, c.OutOrStdout())
	}
	m.cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	return m.serve(path, ready)
}

// serve is the life of the mount's process.
func (m *mounting) serve(path string, ready *daemon.Ready) error {
	log := m.cfg.Log
	log.Info("starting", "version", version.Long(), "pid", os.Getpid(), "node", m.node.String(), "dir", m.cfg.Dir)
	signals := daemon.Signals()
	var claim daemon.Claim
	m.cfg.MayMount = claim.Take
	var mounted *mount.Mount
	err := daemon.Interruptible(signals, &claim, func() (err error) {
		mounted, err = mount.Remote(m.cfg, m.node)
		return err
	})
	if err != nil {
		return err
	}
	since := time.Now()
	door, err := control.Listen(path, func() control.Status { return m.status(mounted, since) })
	if err != nil {
		_ = mounted.Unmount(true) // nobody has been told of it yet
		_ = mounted.Close()
		return err
	}
	log.Info("mounted", "dir", m.cfg.Dir)
	ready.Done("")
	err = wait(m.cfg.Dir, mounted, door, signals, log)
	if err != nil {
		log.Error("ended with an error", "error", err)
	} else {
		log.Info("ended")
	}
	door.Finish(err)
	return err
}

// wait returns when the mount is gone and everything is on media. A signal or an order takes it off; while programs use
// it, it stays, and while the node is away an unmount waits for it without limit. A second signal meanwhile gives up what
// is not on media: a first one does not, even when the unmount was begun by somebody else.
func wait(dir string, mounted *mount.Mount, door *control.Server, signals <-chan os.Signal, log *slog.Logger) error {
	stop, gone := door.Stop(), mounted.Done()
	tried, closed := make(chan error, 1), make(chan error, 1)
	ending, signalled := false, false
	unmount := func() {
		if !ending {
			ending = true
			go func() { tried <- mounted.Unmount(false) }() // the kernel may first want everything written
		}
	}
	for {
		select {
		case <-gone:
			gone, ending = nil, true
			go func() { closed <- mounted.Close() }()
		case err := <-closed:
			return err
		case err := <-tried:
			if err != nil {
				ending, signalled = false, false
				log.Warn("still in use", "error", err)
			}
		case <-stop:
			stop = nil // closed for good
			log.Info("stopping", "ordered", "on the control socket")
			unmount()
		case sig := <-signals:
			log.Info("stopping", "signal", sig.String())
			if signalled && daemon.Insists(sig) {
				return giveUp(dir)
			}
			signalled = true
			unmount()
		}
	}
}

// giveUp detaches what is still there, so that nobody hangs in it; the end of the process does the rest.
func giveUp(dir string) error {
	err := outcome.New(outcome.Failed, "ended by a second signal: what the node had not committed is lost")
	if kind, _ := mountpoint.Mounted(dir); kind == mountpoint.Type {
		return errors.Join(err, mountpoint.Unmount(dir, true))
	}
	return err
}

func (m *mounting) status(mounted *mount.Mount, since time.Time) control.Status {
	name, why := mounted.Transport()
	state := control.Serving
	if mounted.NodeAway() {
		state = control.Waiting
	}
	return control.Status{
		Role: "mount", Version: version.Number, PID: os.Getpid(), State: state, Since: since,
		About: map[string]string{"directory": m.cfg.Dir, "node": m.node.String(), "shard": strconv.Itoa(int(m.cfg.Shard)), "fuse_transport": name + " (" + why + ")"},
		Parts: mounted.Parts(),
	}
}
