package mount

import (
	"errors"
	"testing"
	"time"
)

// An unmount waits for the node as long as it takes: many ticks later it still waits, each of them was told, and the
// result is that of the sync.
func TestOutlast(t *testing.T) {
	done, tick := make(chan error), make(chan time.Time)
	ended := errors.New("ended")
	told := 0
	got := make(chan error, 1)
	go func() { got <- outlast(done, tick, func() { told++ }) }()
	const ticks = 10_000
	for range ticks {
		tick <- time.Time{} // taken only by one who still waits
	}
	done <- ended
	if err := <-got; !errors.Is(err, ended) || told != ticks {
		t.Errorf("%v after %d lines, want %d", err, told, ticks)
	}
}
