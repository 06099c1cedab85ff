package main

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/perf/bar"
	"basalt/perf/fio"
	"basalt/perf/keys"
)

const (
	engineBytes = 1 << 30 // the file that the engine and fio share
	blockBytes  = 4096
)

var depths = []int{1, 16, 64}

// enginePart: 4 KiB random reads and writes by fibers on one reactor, against fio on the same file.
func enginePart(wanted float64) part {
	return func(b *bench) ([]bar.Bar, func() error, error) {
		path, err := b.fullFile("engine.img", engineBytes)
		if err != nil {
			return nil, nil, err
		}
		var bars []bar.Bar
		for _, write := range []bool{false, true} {
			for _, depth := range depths {
				rw := map[bool]string{false: "randread", true: "randwrite"}[write]
				job := fio.Job{File: path, RW: rw, Block: blockBytes, Depth: depth, Size: engineBytes, Seconds: b.seconds, Fixed: true}
				bars = append(bars, bar.Bar{
					Names:   []string{fmt.Sprintf("engine-%s-4k-qd%d", rw, depth)},
					Unit:    "op/s",
					Ours:    bar.One(func() (float64, error) { return b.engineRate(path, write, depth) }),
					Against: bar.One(func() (float64, error) { f, err := fio.Run(job); return f.IOPS, err }),
					Wanted:  wanted,
				})
			}
		}
		return bars, func() error { return nil }, nil
	}
}

// engineRate runs depth fibers, each doing one transfer after the other, for the bench's time.
func (b *bench) engineRate(path string, write bool, depth int) (float64, error) {
	dev, err := device.Open(path, device.Options{Own: func([]byte) bool { return true }})
	if err != nil {
		return 0, err
	}
	defer dev.Close()
	r, err := engine.New(engine.Config{Name: "bench", CPU: -1, ArenaBytes: 16 << 20})
	if err != nil {
		return 0, err
	}
	if err := r.Start(func(*engine.Fiber) error { return nil }); err != nil {
		return 0, err
	}
	defer r.Wait()
	defer r.Stop()
	rate := 0.0
	err = r.Call(func(f *engine.Fiber) error {
		h, err := dev.Attach(f.Turn())
		if err != nil {
			return err
		}
		rate, err = fleet(f, depth, b.seconds, func(f *engine.Fiber, rng *rand.Rand, stop func() bool) (int, error) {
			return transfers(f, h, rng, write, stop)
		})
		return err
	})
	return rate, err
}

func transfers(f *engine.Fiber, h *device.Handle, rng *rand.Rand, write bool, stop func() bool) (n int, err error) {
	a := f.Reactor().Arena()
	buf, err := a.Get(blockBytes)
	if err != nil {
		return 0, err
	}
	defer a.Put(buf)
	p := a.Bytes(buf)
	for ; !stop(); n++ {
		off := rng.Int64N(engineBytes/blockBytes) * blockBytes
		if write {
			err = h.Write(f, p, off)
		} else {
			err = h.Read(f, p, off)
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// work is what one fiber does until it is told to stop; it returns how many operations that were.
type work func(f *engine.Fiber, rng *rand.Rand, stop func() bool) (int, error)

// fleet runs depth fibers of one reactor for a time and returns what they did per second.
func fleet(f *engine.Fiber, depth int, seconds float64, w work) (float64, error) {
	total, took, err := shift(f, depth, seconds, w)
	return float64(total) / took.Seconds(), err
}

// shift runs depth fibers for a time, and returns how many operations they did, and how long it took until the last had
// ended. The clock is read by an ordinary goroutine's timer, not by the fibers.
func shift(f *engine.Fiber, depth int, seconds float64, w work) (int, time.Duration, error) {
	var ended atomic.Bool
	timer := time.AfterFunc(time.Duration(seconds*float64(time.Second)), func() { ended.Store(true) })
	defer timer.Stop()
	start := time.Now()
	total, err := crew(f, depth, ended.Load, w)
	return total, time.Since(start), err
}

// times is a stop that comes after n operations.
func times(n int) (stop func() bool) {
	return func() bool { n--; return n < 0 }
}

// crew runs depth fibers of one reactor until stop says so, or one of them fails, and returns how many operations they did.
func crew(f *engine.Fiber, depth int, stop func() bool, w work) (total int, first error) {
	running := depth
	for i := range depth {
		err := f.Turn().Go("bench", func(w1 *engine.Fiber) {
			n, err := w(w1, keys.Rand(i), func() bool { return first != nil || stop() })
			total += n
			if err != nil && first == nil {
				first = err
			}
			if running--; running == 0 {
				w1.Turn().Ready(f)
			}
		})
		if err != nil {
			return 0, err
		}
	}
	f.Park()
	return total, first
}
