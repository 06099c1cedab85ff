// Command storaged is the storage node: it serves the shards on its devices until it is told to stop.
//
// It owns the process: configuration, log, control socket, signals. Invariants: readiness (sd_notify, or the report to
// the shell that waits for --detach) is told only when requests are served; SIGTERM and `basalt stop` drain, make a
// checkpoint and end with code 0; a second signal ends at once, which is a crash and loses nothing that was promised.
// Read run here first, then flags.go.
package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"basalt/tools/config"
	"basalt/tools/daemon"
	"basalt/tools/node"
	"basalt/tools/outcome"
	"basalt/tools/version"
)

func main() {
	ready, isChild := daemon.Child()
	s := newSettings()
	command := &cobra.Command{
		Use:           "storaged --device DEVICE [--device DEVICE]",
		Short:         "Serve a Basalt store",
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(c *cobra.Command, args []string) error { return s.main(c, args, ready, isChild) },
	}
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return outcome.New(outcome.Usage, "%w (see --help)", err)
	})
	s.register(command.Flags())
	err := command.Execute()
	if err != nil {
		ready.Fail(err)
	}
	os.Exit(outcome.Exit(os.Stderr, "storaged", err))
}

func (s *settings) main(c *cobra.Command, args []string, ready *daemon.Ready, isChild bool) error {
	if len(args) > 0 {
		return outcome.New(outcome.Usage, "storaged takes flags only, have %q", args)
	}
	if s.version {
		fmt.Fprintln(c.OutOrStdout(), version.Long())
		return nil
	}
	if s.configFile != "" {
		if err := config.File(c.Flags(), s.configFile); err != nil {
			return err
		}
	}
	if s.showConfig {
		fmt.Fprint(c.OutOrStdout(), config.Show(c.Flags()))
		return nil
	}
	if s.detach && !isChild {
		if s.log == "" {
			return outcome.New(outcome.Usage, "--detach needs --log FILE")
		}
		return daemon.Detach(s.log, c.OutOrStdout())
	}
	return s.run(ready, isChild)
}

// run is the life of the node.
func (s *settings) run(ready *daemon.Ready, isChild bool) error {
	log, err := s.logger(isChild)
	if err != nil {
		return err
	}
	log.Info("starting", "version", version.Long(), "pid", os.Getpid())
	cfg, err := s.node(log)
	if err != nil {
		return err
	}
	if err := makeSocketDir(s.socket, defaultSocket); err != nil {
		return err
	}
	lock, err := s.pidLock()
	if err != nil {
		return err
	}
	defer lock.Release()
	signals := daemon.Signals()
	n, err := s.start(cfg, signals)
	if err != nil {
		if s.log != "" && !isChild { // what main prints goes to standard error, which is not the log then
			log.Error("not started", "error", err)
		}
		return err
	}
	return s.serve(n, log, ready, signals)
}

// start brings the node up. A signal meanwhile ends the process at once, however long a replay takes: nothing was served
// yet. Only while the kernel mounts it is left to serve, because a mount without its process would be dead.
func (s *settings) start(cfg node.Config, signals chan os.Signal) (*node.Node, error) {
	var claim daemon.Claim
	if cfg.Mount != nil {
		cfg.Mount.MayMount = claim.Take
	}
	var n *node.Node
	err := daemon.Interruptible(signals, &claim, func() (err error) {
		n, err = node.Start(cfg)
		return err
	})
	if err != nil {
		return nil, err // n may still be in the making
	}
	return n, nil
}

// serve waits for whoever stops the node, and stops it.
func (s *settings) serve(n *node.Node, log *slog.Logger, ready *daemon.Ready, signals <-chan os.Signal) error {
	doors, err := s.open(n)
	if err != nil {
		return stopAfter(n, err)
	}
	defer doors.metrics.Close()
	if err := daemon.Notify("READY=1"); err != nil {
		log.Warn("readiness", "error", err)
	}
	ready.Done("")
	log.Info("serving")
	select {
	case sig := <-signals:
		log.Info("stopping", "signal", sig.String())
	case <-doors.node.Stop():
		log.Info("stopping", "ordered", "on the control socket")
	case <-doors.mount.Stop():
		log.Info("stopping", "ordered", "on the control socket of the mount")
	case <-n.MountDone():
		log.Info("stopping", "because", "the mount of this process was taken off")
	}
	go func() {
		for sig := range signals {
			if daemon.Insists(sig) {
				log.Warn("second signal: ending at once", "signal", sig.String())
				os.Exit(int(outcome.Failed))
			}
		}
	}()
	if err := daemon.Notify("STOPPING=1"); err != nil {
		log.Warn("readiness", "error", err)
	}
	err = n.Stop()
	if err != nil {
		log.Error("stopped with an error", "error", err)
	} else {
		log.Info("stopped")
	}
	doors.finish(err)
	return err
}
