package engine

import "time"

// Clock is where a reactor's time comes from; the simulator has its own.
type Clock interface {
	Mono() int64 // ns, never goes back
	Wall() int64 // ns since 1970 UTC; may jump
}

// SystemClock is the clock of the host. This file is the only one in the engine that asks for the time.
var SystemClock Clock = &systemClock{start: time.Now()}

type systemClock struct{ start time.Time } // immutable

// Mono counts from process start plus one, so that 0 is never a time.
func (c *systemClock) Mono() int64 { return int64(time.Since(c.start)) + 1 }

func (c *systemClock) Wall() int64 { return time.Now().UnixNano() }
