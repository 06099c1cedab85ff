package main

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"basalt/perf/keys"
)

// putStore takes puts of any goroutine; a put returns when it survives power loss.
type putStore interface {
	put(key, val []byte) error
	close() error
}

// putRate has that many goroutines put random keys for a time.
func putRate(seconds float64, goroutines int, put func(key, val []byte) error) (float64, error) {
	return goroutineRate(seconds, goroutines, func(rng *rand.Rand, stop func() bool) (n int, err error) {
		key, val := make([]byte, keys.Bytes), keys.Pattern(keys.PutValueBytes)
		for ; !stop(); n++ {
			keys.NamePut(key, rng)
			val[0]++
			if err := put(key, val); err != nil {
				return n, err
			}
		}
		return n, nil
	})
}

// goroutineRate is the bench's fleet of fibers for what is made for goroutines.
func goroutineRate(seconds float64, goroutines int, w func(rng *rand.Rand, stop func() bool) (int, error)) (float64, error) {
	var ended atomic.Bool
	var total atomic.Int64
	var all sync.WaitGroup
	failed := make(chan error, goroutines)
	start := time.Now()
	timer := time.AfterFunc(time.Duration(seconds*float64(time.Second)), func() { ended.Store(true) })
	defer timer.Stop()
	for i := range goroutines {
		all.Go(func() {
			n, err := w(keys.Rand(i), ended.Load)
			total.Add(int64(n))
			if err != nil {
				ended.Store(true)
				failed <- err
			}
		})
	}
	all.Wait()
	took := time.Since(start)
	close(failed)
	return float64(total.Load()) / took.Seconds(), <-failed
}
