package control

import (
	"log/slog"
	"time"

	"basalt/engine"
)

// turnsEvery bounds what long turns write into the log: one line a minute and reactor.
const turnsEvery = time.Minute

// WatchTurns says in the log what made turns of the reactor long, from now on until it has ended.
func WatchTurns(log *slog.Logger, r *engine.Reactor) {
	seen := r.Stats().LongTurns // those of the boot are no news
	go func() {
		tick := time.NewTicker(turnsEvery)
		defer tick.Stop()
		watchTurns(log, seen, r.Stats, tick.C, r.Done())
	}()
}

func watchTurns(log *slog.Logger, seen uint64, stats func() engine.Stats, tick <-chan time.Time, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case <-tick:
		}
		if s := stats(); s.LongTurns > seen {
			log.Warn("turns of the loop took over 1 ms: what else the shard does waits meanwhile", "reactor", s.Name, "new", s.LongTurns-seen, "last", s.LongTurn.String())
			seen = s.LongTurns
		}
	}
}
