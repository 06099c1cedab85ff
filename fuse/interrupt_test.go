package fuse

import "testing"

func TestPendingSignals(t *testing.T) {
	const head = "Name:\tdd\nState:\tD (disk sleep)\nSigQ:\t1/7866\n"
	for _, c := range []struct {
		status string
		stop   bool
	}{
		{head + "SigPnd:\t0000000000000000\nShdPnd:\t0000000000000200\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n", false}, // SIGUSR1
		{head + "SigPnd:\t0000000000000000\nShdPnd:\t0000000000004000\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n", true},  // SIGTERM
		{head + "SigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n", true},  // SIGKILL, its own
		{head + "SigPnd:\t0000000000000002\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000000000\n", false}, // SIGINT, blocked
		{head + "SigPnd:\t0000000000000000\nShdPnd:\t0000000000000002\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000002\n", false}, // SIGINT, ignored
		{"", false},
	} {
		if got := pendingSignals(c.status)&stopping != 0; got != c.stop {
			t.Errorf("%q: %v", c.status, got)
		}
	}
	if !wantsToStop(1 << 30) {
		t.Error("a thread that can't be seen holds its request for ever")
	}
}
