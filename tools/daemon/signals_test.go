package daemon

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestSignalEndsAStart(t *testing.T) {
	signals, hung := make(chan os.Signal, 1), make(chan struct{})
	defer close(hung)
	var claim Claim
	signals <- syscall.SIGTERM
	err := Interruptible(signals, &claim, func() error { <-hung; return nil })
	if err == nil || !strings.Contains(err.Error(), "ended by a signal (terminated)") {
		t.Errorf("%v", err)
	}
	if claim.Take() {
		t.Error("the start may go on to mount")
	}
}

// From its claim on, a start comes to its end, and the signal is for whoever serves.
func TestClaimedStartKeepsTheSignal(t *testing.T) {
	signals := make(chan os.Signal) // without room: a send returns when the signal was taken
	var claim Claim
	failed := errors.New("not mounted")
	err := Interruptible(signals, &claim, func() error {
		if !claim.Take() {
			return errors.New("the claim was not free")
		}
		signals <- syscall.SIGTERM
		return failed
	})
	if !errors.Is(err, failed) {
		t.Errorf("%v", err)
	}
}

func TestClosedTerminalDoesNotInsist(t *testing.T) {
	if Insists(syscall.SIGHUP) || !Insists(syscall.SIGTERM) || !Insists(syscall.SIGINT) {
		t.Error("a second SIGHUP must not give anything up, the others must")
	}
}
