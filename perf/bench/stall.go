package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"basalt/engine"
	"basalt/perf/bar"
	"basalt/storage"
)

const (
	stallSamples  = 20_000 // 20 of them are above the 99.9th percentile
	stallPatience = 60 * time.Second
	stallLimit    = 10 // times the median
)

// stallPart: how long a committed overwrite takes at worst while a checkpoint runs.
func stallPart(b *bench) ([]bar.Bar, func() error, error) {
	path, err := b.storeImage()
	if err != nil {
		return nil, nil, err
	}
	o, err := freshStore(path, storage.FormatOptions{}, randomObject, object{})
	if err != nil {
		return nil, nil, err
	}
	return []bar.Bar{{
		Names: []string{"store-checkpoint-p99.9-over-median"}, Unit: "times", Limit: stallLimit,
		Ours: bar.One(o.stalls),
	}}, o.close, nil
}

// stalls measures overwrites of which some part falls into a checkpoint. The checkpoints are those that the load causes.
func (o *openStore) stalls() (float64, error) {
	during := make([]time.Duration, 0, stallSamples+dataDepth)
	var outside []time.Duration // to tell the machine's own hiccups from the checkpoint's
	deadline := time.Now().Add(stallPatience)
	stop := func() bool { return len(during) >= stallSamples || time.Now().After(deadline) }
	watched := watchTurns(o.r)
	err := o.r.Call(func(f *engine.Fiber) error {
		_, err := crew(f, dataDepth, stop, func(f *engine.Fiber, rng *rand.Rand, stop func() bool) (n int, err error) {
			p := o.patcher(o.random.name, make([]byte, blockBytes))
			for ; !stop(); n++ {
				running, start := o.s.Stats().Checkpointing, time.Now()
				if err := p.commit(f, rng.Uint64N(o.random.bytes/blockBytes)*blockBytes); err != nil {
					return n, err
				}
				if running || o.s.Stats().Checkpointing {
					during = append(during, time.Since(start))
				} else {
					outside = append(outside, time.Since(start))
				}
			}
			return n, nil
		})
		return err
	})
	longest := watched()
	if err != nil {
		return 0, err
	}
	if len(during) < stallSamples/10 {
		return 0, fmt.Errorf("only %d overwrites in checkpoints within %v", len(during), stallPatience)
	}
	median, worst := quantiles(during)
	median2, worst2 := quantiles(outside)
	progress("%d overwrites while a checkpoint ran: median %v, p99.9 %v; %d others: median %v, p99.9 %v",
		len(during), median, worst, len(outside), median2, worst2)
	progress("the longest of its turns: %v", longest)
	return float64(worst) / float64(median), nil
}

// quantiles are the median and the 99.9th percentile; it sorts the list.
func quantiles(d []time.Duration) (median, p999 time.Duration) {
	if len(d) == 0 {
		return 0, 0
	}
	slices.Sort(d)
	return d[len(d)/2], d[len(d)*999/1000]
}

// watchTurns keeps the longest of a reactor's long turns, and what was done in it, until it is asked.
func watchTurns(r *engine.Reactor) (longest func() engine.LongTurn) {
	var most engine.LongTurn
	var watch sync.WaitGroup
	end, seen := make(chan struct{}), r.Stats().LongTurns
	watch.Go(func() {
		tick := time.NewTicker(time.Millisecond) // no two long turns end within one
		defer tick.Stop()
		for {
			if s := r.Stats(); s.LongTurns > seen && s.LongTurn.Ns > most.Ns {
				most = s.LongTurn
			}
			select {
			case <-end:
				return
			case <-tick.C:
			}
		}
	})
	return func() engine.LongTurn { close(end); watch.Wait(); return most }
}
