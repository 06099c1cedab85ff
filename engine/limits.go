package engine

import (
	"errors"
	"fmt"

	"basalt/engine/uring"
)

// Limits of a reactor; 0 in Config takes the default.
const (
	arenaBytesDefault = 64 << 20
	fibersMaxDefault  = 4096
	inboxMaxDefault   = 4096
	opsMaxDefault     = 4096
	filesMaxDefault   = 1024
	offloadMaxDefault = 4

	backlogFactor   = 4    // operations known to the reactor ≤ OpsMax × this; what is over OpsMax waits
	reapBatch       = 256  // completions copied out at once
	reapBatchesMax  = 16   // batches taken in one turn
	inboxPerTurnMax = 1024 // messages delivered in one turn
	resumesPerTurn  = 4096 // fibers resumed in one turn; what is ready beyond waits for the next
	longTurnNs      = 1_000_000
	callRetryNs     = 50_000 // CallOn: pause before the next try when the other inbox is full
	opsMaxLimit     = 1 << 20
	fibersMaxLimit  = 1 << 20
	idleFibersKeep  = 1024 // coroutines kept for reuse
	inboxMaxLimit   = 1 << 20
	wakeBufferBytes = 8
	ringEntriesOwn  = 512 // submission queue of the ring that a reactor opens when Config.Ring is nil
	pushTriesMax    = 8
	stopWaitNs      = 5_000_000_000 // Stop: how long the kernel may keep operations before memory is left to it
)

const _ = uint(fibersMaxLimit - fibersMaxDefault)
const _ = uint(opsMaxLimit - opsMaxDefault)

// Config of a reactor. Zero values take defaults; impossible ones are refused by New.
type Config struct {
	Name       string
	Shard      ShardID
	CPU        int                        // pin to this CPU; -1: not pinned
	Ring       func() (uring.Ring, error) // called on the reactor's thread; nil: uring.Open
	Clock      Clock                      // nil: SystemClock
	ArenaBytes int
	FibersMax  int
	InboxMax   int // rounded up to a power of two
	OpsMax     int // operations in flight; at most the ring's completion queue
	FilesMax   int // slots for RegisterFile
	OffloadMax int // goroutines of Offload
}

func (c Config) withDefaults() Config {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	set(&c.ArenaBytes, arenaBytesDefault)
	set(&c.FibersMax, fibersMaxDefault)
	set(&c.InboxMax, inboxMaxDefault)
	set(&c.OpsMax, opsMaxDefault)
	set(&c.FilesMax, filesMaxDefault)
	set(&c.OffloadMax, offloadMaxDefault)
	if c.Clock == nil {
		c.Clock = SystemClock
	}
	if c.Name == "" {
		c.Name = fmt.Sprintf("shard %d", c.Shard)
	}
	if c.Ring == nil {
		cq := uint32(c.OpsMax)
		c.Ring = func() (uring.Ring, error) {
			return uring.Open(uring.Config{Entries: ringEntriesOwn, CQEntries: max(cq, 2*ringEntriesOwn)})
		}
	}
	return c
}

func (c Config) check() error {
	for _, x := range []struct {
		name          string
		v, least, max int
	}{
		{"CPU", c.CPU, -1, 1 << 16},
		{"ArenaBytes", c.ArenaBytes, 4096, 1 << 42},
		{"FibersMax", c.FibersMax, 1, fibersMaxLimit},
		{"InboxMax", c.InboxMax, 1, inboxMaxLimit},
		{"OpsMax", c.OpsMax, 1, opsMaxLimit},
		{"FilesMax", c.FilesMax, 1, 1 << 15},
		{"OffloadMax", c.OffloadMax, 1, 1 << 10},
	} {
		if x.v < x.least || x.v > x.max {
			return fmt.Errorf("engine: config of %s: %s = %d, want %d…%d", c.Name, x.name, x.v, x.least, x.max)
		}
	}
	return nil
}

// Errors of the engine.
var (
	ErrBusy    = errors.New("engine: busy")    // a bound is reached: slow down, try again
	ErrStopped = errors.New("engine: stopped") // the reactor no longer runs
)
