package daemon

import (
	"errors"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"basalt/tools/outcome"
)

// Signals are those that ask a process to end in order. SIGHUP is one, because a terminal that is closed would else kill
// what was started in it; where it is ignored already (nohup) it stays ignored.
func Signals() chan os.Signal {
	list := []os.Signal{syscall.SIGTERM, syscall.SIGINT}
	if !signal.Ignored(syscall.SIGHUP) {
		list = append(list, syscall.SIGHUP)
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, list...)
	signal.Ignore(syscall.SIGPIPE) // the terminal of the log may go first: a log line that finds no reader ends nothing
	return signals
}

// Insists tells whether a signal that comes after another means "at once". SIGHUP does not: a closed terminal sends it
// more than once.
func Insists(sig os.Signal) bool { return sig != syscall.SIGHUP }

// Claim is taken once, by a start that comes to what must not be cut off, or by the signal that ends it before.
type Claim struct{ taken atomic.Bool }

// Take is true for the first caller only.
func (c *Claim) Take() bool { return c.taken.CompareAndSwap(false, true) }

// ErrEnded is what a start returns when the claim was taken from it.
var ErrEnded = errors.New("ended by a signal")

// Interruptible runs a start. If a signal comes first and has the claim, it returns at once while start still runs: the
// caller ends the process. If start has the claim, the signal is put back for whoever serves next.
func Interruptible(signals chan os.Signal, claim *Claim, start func() error) error {
	started := make(chan error, 1)
	go func() { started <- start() }()
	select {
	case err := <-started:
		return err
	case sig := <-signals:
		if claim.Take() {
			return outcome.New(outcome.Failed, "ended by a signal (%v) before it served", sig)
		}
		err := <-started
		select {
		case signals <- sig:
		default: // more of them have come meanwhile
		}
		return err
	}
}
