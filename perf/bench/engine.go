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
)

const (
	engineBytes = 1 << 30 // the file that the engine and fio share
	blockBytes  = 4096
)

var depths = []int{1, 16, 64}

// enginePart: 4 KiB random reads and writes by fibers on one reactor, against fio on the same file.
func enginePart(b *bench) ([]bar.Bar, func() error, error) {
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
			})
		}
	}
	return bars, func() error { return nil }, nil
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

// fleet runs depth fibers of one reactor for a time and returns what they did per second. The clock is read by an
// ordinary goroutine's timer, not by the fibers.
func fleet(f *engine.Fiber, depth int, seconds float64, work func(f *engine.Fiber, rng *rand.Rand, stop func() bool) (int, error)) (float64, error) {
	var ended atomic.Bool
	total, running := 0, depth
	var first error
	start := time.Now()
	timer := time.AfterFunc(time.Duration(seconds*float64(time.Second)), func() { ended.Store(true) })
	defer timer.Stop()
	for i := range depth {
		err := f.Turn().Go("bench", func(w *engine.Fiber) {
			n, err := work(w, rand.New(rand.NewPCG(uint64(i), 1)), ended.Load)
			total += n
			if err != nil && first == nil {
				first = err
				ended.Store(true)
			}
			if running--; running == 0 {
				w.Turn().Ready(f)
			}
		})
		if err != nil {
			return 0, err
		}
	}
	f.Park()
	return float64(total) / time.Since(start).Seconds(), first
}
