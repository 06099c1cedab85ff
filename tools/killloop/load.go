package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// load is the workers and the gate they pass before each operation.
type load struct {
	workers []*worker // immutable
	running sync.WaitGroup

	flying atomic.Int64 // operations that have started and not ended
	done   atomic.Int64 // operations that have ended
	synced atomic.Int64 // fsyncs that returned

	mu      sync.Mutex
	moved   *sync.Cond // signalled when anything below changes
	closed  bool       // the gate: nobody starts an operation
	over    bool
	waiting int   // workers at the gate
	failed  error // the first unexpected error of a worker
}

func startLoad(o options, mnt string, acks *os.File) (*load, error) {
	l := &load{}
	l.moved = sync.NewCond(&l.mu)
	for i := range o.workers {
		w, err := newWorker(l, i, o.seed, filepath.Join(mnt, fmt.Sprintf("w%d", i)), acks)
		if err != nil {
			return nil, err
		}
		l.workers = append(l.workers, w)
	}
	for _, w := range l.workers {
		l.running.Go(w.run)
	}
	return l, nil
}

// pass is the gate: false when the load is over.
func (l *load) pass() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.closed && !l.over {
		l.waiting++
		l.moved.Broadcast()
		l.moved.Wait()
		l.waiting--
	}
	return !l.over
}

// fail ends the load with the first error.
func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
	}
	l.over = true
	l.moved.Broadcast()
}

// pause returns when all workers wait at the gate, so that each has had the answer to what it asked.
func (l *load) pause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for l.waiting < len(l.workers) && l.failed == nil {
		l.moved.Wait()
	}
	return l.failed
}

func (l *load) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = false
	l.moved.Broadcast()
}

// end returns when no worker uses the mount any more.
func (l *load) end() {
	l.mu.Lock()
	l.over = true
	l.moved.Broadcast()
	l.mu.Unlock()
	l.running.Wait()
}

func (l *load) inFlight() int     { return int(l.flying.Load()) }
func (l *load) operations() int64 { return l.done.Load() }
func (l *load) fsyncs() int64     { return l.synced.Load() }

// check compares every worker's directory with its model; the load must be paused.
func (l *load) check() (files int, bytes int64, err error) {
	for _, w := range l.workers {
		n, b, err := w.check()
		if err != nil {
			return 0, 0, err
		}
		files += n
		bytes += b
	}
	return files, bytes, nil
}

// forgetCaches makes the kernel ask the mount again; as a user only the files' pages can be forgotten (see readCold).
func forgetCaches() {
	if os.Getuid() == 0 {
		_ = os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0) // a container may forbid it
	}
}
