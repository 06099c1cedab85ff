// Package fsload is the small-file workload: create+write+close, stat, open+read+close, readdir+stat, rename, unlink,
// each phase run to its end by T threads and timed alone.
//
// It drives any file system through FS: a mounted one by system calls (Mounted), or a client library. Every thread
// has a directory of its own unless Shared is set, when all work in one. Before the phases that read, Cold is called
// so that a kernel's caches do not answer in the file system's place.
//
// State: a Run owns its goroutines and ends with all of them; nothing is kept between runs.
package fsload

import (
	"fmt"
	"sync"
	"time"
)

// FS is what the workload needs of a file system. Calls come from many goroutines at once.
type FS interface {
	Mkdir(path string) error
	Create(path string, data []byte) error
	Stat(path string) error
	Read(path string, buf []byte) (int, error)
	List(dir string) (names []string, err error)
	Rename(from, to string) error
	Unlink(path string) error
	Rmdir(path string) error
	Cold() error
}

// Load is one run.
type Load struct {
	Root    string // an existing directory
	Threads int
	Files   int // in each thread's directory
	Bytes   int // of each file
	Shared  bool
}

// Phases in the order they run; Run's figures come in this order.
var Phases = []string{"create", "stat", "read", "readdir", "rename", "unlink"}

// Run executes the phases and returns operations per second of each. A readdir counts its entries.
func Run(fs FS, l Load) ([]float64, error) {
	dirs, err := l.makeDirs(fs)
	if err != nil {
		return nil, err
	}
	data := make([]byte, l.Bytes)
	for i := range data {
		data[i] = byte(i * 7)
	}
	old := func(t, i int) string { return fmt.Sprintf("%s/f%d.%d", dirs[t], t, i) }
	now := func(t, i int) string { return fmt.Sprintf("%s/r%d.%d", dirs[t], t, i) }
	each := func(op func(t, i int) error) func(t int) (int, error) {
		return func(t int) (int, error) {
			for i := range l.Files {
				if err := op(t, i); err != nil {
					return i, err
				}
			}
			return l.Files, nil
		}
	}
	phases := []struct {
		cold bool
		body func(t int) (int, error)
	}{
		{false, each(func(t, i int) error { return fs.Create(old(t, i), data) })},
		{true, each(func(t, i int) error { return fs.Stat(old(t, i)) })},
		{true, func(t int) (int, error) { return l.readAll(fs, t, old) }},
		{true, func(t int) (int, error) { return l.listAll(fs, dirs[t]) }},
		{false, each(func(t, i int) error { return fs.Rename(old(t, i), now(t, i)) })},
		{false, each(func(t, i int) error { return fs.Unlink(now(t, i)) })},
	}
	var rates []float64
	for n, p := range phases {
		if p.cold {
			if err := fs.Cold(); err != nil {
				return nil, err
			}
		}
		rate, err := l.timed(p.body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", Phases[n], err)
		}
		rates = append(rates, rate)
	}
	return rates, l.removeDirs(fs, dirs)
}

func (l Load) makeDirs(fs FS) ([]string, error) {
	dirs := make([]string, l.Threads)
	for t := range dirs {
		dirs[t] = fmt.Sprintf("%s/d%d", l.Root, t)
		if l.Shared {
			dirs[t] = l.Root + "/d"
			if t > 0 {
				continue
			}
		}
		if err := fs.Mkdir(dirs[t]); err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

func (l Load) removeDirs(fs FS, dirs []string) error {
	for t, d := range dirs {
		if l.Shared && t > 0 {
			break
		}
		if err := fs.Rmdir(d); err != nil {
			return err
		}
	}
	return nil
}

// readAll reads every file of a thread and checks its length and its last byte.
func (l Load) readAll(fs FS, t int, name func(t, i int) string) (int, error) {
	buf := make([]byte, l.Bytes+1)
	for i := range l.Files {
		n, err := fs.Read(name(t, i), buf)
		if err != nil {
			return i, err
		}
		if n != l.Bytes || (n > 0 && buf[n-1] != byte((n-1)*7)) {
			return i, fmt.Errorf("%s: read %d bytes of %d, or other bytes than were written", name(t, i), n, l.Bytes)
		}
	}
	return l.Files, nil
}

func (l Load) listAll(fs FS, dir string) (int, error) {
	names, err := fs.List(dir)
	if err != nil {
		return 0, err
	}
	want := l.Files
	if l.Shared {
		want *= l.Threads
	}
	if len(names) != want {
		return 0, fmt.Errorf("%s lists %d names, wanted %d", dir, len(names), want)
	}
	for _, n := range names {
		if err := fs.Stat(dir + "/" + n); err != nil {
			return 0, err
		}
	}
	return len(names), nil
}

// timed runs the body on every thread and returns the sum of what they did per second.
func (l Load) timed(body func(t int) (int, error)) (float64, error) {
	counts, errs := make([]int, l.Threads), make([]error, l.Threads)
	var wg sync.WaitGroup
	start := time.Now()
	for t := range l.Threads {
		wg.Go(func() { counts[t], errs[t] = body(t) })
	}
	wg.Wait()
	seconds := time.Since(start).Seconds()
	total := 0
	for t := range counts {
		if errs[t] != nil {
			return 0, errs[t]
		}
		total += counts[t]
	}
	return float64(total) / seconds, nil
}
