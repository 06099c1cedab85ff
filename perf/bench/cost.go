package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"basalt/engine"
	"basalt/perf/bar"
	"basalt/storage"

	"golang.org/x/sys/unix"
)

// allocsMax: what rounds to nothing. A checkpoint allocates some memory for itself, and the share of an operation in it is not zero.
const allocsMax = 0.005

// costPart: what an operation costs the processor and the garbage collector. Nothing else runs in the process.
func costPart(b *bench) ([]bar.Bar, func() error, error) {
	path, err := b.storeImage()
	if err != nil {
		return nil, nil, err
	}
	o, err := freshStore(path, storage.FormatOptions{}, randomObject, object{})
	if err != nil {
		return nil, nil, err
	}
	var bars []bar.Bar
	for _, k := range []struct {
		name  string
		work  work
		usMax float64
	}{{"store-randread-4k", o.reads, 3}, {"store-committed-randwrite-4k", o.overwrites, 6}} {
		bars = append(bars, bar.Bar{
			Names: []string{k.name + "-user-cpu"}, Unit: "us/op", Limit: k.usMax,
			Ours: bar.One(func() (float64, error) { return o.userCPU(b, k.work) }),
		}, bar.Bar{
			Names: []string{k.name + "-allocs"}, Unit: "allocs/op", Limit: allocsMax, Rounds: 1,
			Before: func() error { return o.repeat(b.ops/20, k.work) }, // pools fill, slices reach their length
			Ours:   bar.One(func() (float64, error) { return o.allocs(b.ops, k.work) }),
		})
	}
	return bars, o.close, nil
}

// repeat does n operations, 64 at a time.
func (o *openStore) repeat(n int, w work) error {
	return o.r.Call(func(f *engine.Fiber) error { _, err := crew(f, dataDepth, times(n), w); return err })
}

// userCPU is microseconds of user CPU of the whole process per operation: the reactor's thread, and the garbage collector.
func (o *openStore) userCPU(b *bench, w work) (us float64, err error) {
	runtime.GC()
	err = o.r.Call(func(f *engine.Fiber) error {
		var before, after unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
			return err
		}
		n, _, err := shift(f, dataDepth, b.seconds, w)
		if err != nil {
			return err
		}
		if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
			return err
		}
		spent := func(t unix.Timeval) time.Duration { return time.Duration(t.Nano()) }
		us = float64((spent(after.Utime) - spent(before.Utime)).Nanoseconds()) / 1e3 / float64(n)
		progress("%d operations: %.2f us of system CPU for each, besides", n, float64((spent(after.Stime)-spent(before.Stime)).Nanoseconds())/1e3/float64(n))
		return nil
	})
	return us, err
}

// allocs is Go allocations per operation over n of them.
func (o *openStore) allocs(n int, w work) (float64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := o.repeat(n, w); err != nil {
		return 0, err
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(n), nil
}

// bytesWritten is how many bytes this process has had the kernel write to devices, by the kernel's own count.
func bytesWritten() (uint64, error) {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, err
	}
	return ioCount(string(text), "write_bytes")
}

// ioCount finds a count in the text of /proc/self/io.
func ioCount(text, name string) (uint64, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strconv.ParseUint(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/self/io does not count %s", name)
}
