package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"

	"basalt/engine"
	"basalt/perf/bar"
	"basalt/perf/keys"
	"basalt/storage"

	"golang.org/x/sys/unix"
)

const (
	getDepth    = 64
	getWarmSecs = 3  // before the figure is taken, times the bench's seconds: the caches are as full as they will be
	loadKeys    = 64 // of one transaction while the store is filled

	// What a process has in its group beside a tenth of the data; both sides the same. Pebble needs some: what malloc
	// wastes is not in its cache's account.
	getBaseBytes = 96 << 20
	getHeapBytes = 32 << 20 // of that, what the Go heap stays below if it can
	getOurBytes  = 64 << 20 // of that, what is not our cache: heap, program, what is in flight. Pebble's other side of it is the page cache.

	// Pebble's blocks come from malloc, which by its default spreads them over so many arenas that the group is overrun.
	oneArena = "MALLOC_ARENA_MAX=1"

	childGets       = "gets"
	childGetsPebble = "gets-pebble"
)

// getDataBytes is a tenth of the keys and values: what both sides have to cache them in.
func (b *bench) getDataBytes() int64 { return int64(b.keys) * (keys.Bytes + keys.GetValueBytes) / 10 }

func (b *bench) getGroupBytes() int64 { return b.getDataBytes() + getBaseBytes }

// getsPart: random gets from a store ten times as large as its memory, against pebble. Each side is a process of its own in a memory
// cgroup, so that the page cache counts.
func getsPart(b *bench) ([]bar.Bar, func() error, error) {
	path, err := b.storeImage()
	if err != nil {
		return nil, nil, err
	}
	lsm := b.rivalDir("gets.pebble")
	return []bar.Bar{{
		Names: []string{"store-get-100-tenth-in-memory"}, Unit: "op/s", Wanted: 1,
		Before: func() error { return b.loadBoth(path, lsm) },
		Ours:   bar.One(func() (float64, error) { return b.inGroup(childGets) }),
		Against: bar.One(func() (float64, error) {
			if err := forget(lsm); err != nil {
				return 0, err
			}
			return b.inGroup(childGetsPebble)
		}),
	}}, func() error { return os.RemoveAll(lsm) }, nil
}

// inGroup runs one side in a group of its own.
func (b *bench) inGroup(name string) (float64, error) {
	g, err := newMemoryGroup(name, b.getGroupBytes())
	if err != nil {
		return 0, err
	}
	v, err := b.groupFigure(name, g)
	return v, errors.Join(err, g.remove())
}

// loadBoth fills both sides with the same, unless the other cannot run.
func (b *bench) loadBoth(path, lsm string) error {
	fill, err := b.rival("fill", "-store", "pebble", "-dir", lsm, "-keys", strconv.Itoa(b.keys))
	if err != nil {
		return err
	}
	if err := b.loadKeys(path); err != nil {
		return err
	}
	if err := fill.Run(); err != nil {
		return fmt.Errorf("filling pebble: %w", err)
	}
	return nil
}

// loadKeys fills a fresh store, in the order of the keys.
func (b *bench) loadKeys(path string) error {
	o, err := freshStore(path, storage.FormatOptions{}, object{}, object{})
	if err != nil {
		return err
	}
	err = o.r.Call(func(f *engine.Fiber) error {
		key, val := make([]byte, keys.Bytes), make([]byte, keys.GetValueBytes)
		for i := 0; i < b.keys; i += loadKeys {
			if i%(1<<20) < loadKeys {
				progress("filling a store with keys: %d of %d", i, b.keys)
			}
			if _, err := o.s.Update(f, func(tx *storage.Tx) error {
				for k := i; k < min(i+loadKeys, b.keys); k++ {
					keys.Name(key, uint64(k))
					if err := tx.Put(objectColl, key, keys.Randomize(val, uint64(k))); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return err
			}
			f.Yield()
		}
		return nil
	})
	return errors.Join(err, o.close())
}

// forget drops what the page cache has of the files: it would be charged to whoever read it first.
func forget(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			return err
		}
		return unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

// getsOurs is one side, in its group: the arena is pinned, so it counts whole, used or not.
func (b *bench) getsOurs() (float64, error) {
	debug.SetMemoryLimit(getHeapBytes)
	const inFlight = 12 << 20 // journal buffers of 1 MiB, the checkpoint's buffer, reads
	cache := int(b.getGroupBytes() - getOurBytes)
	o, err := mountImage(filepath.Join(b.dir, "store.img"), storage.Options{CacheBytes: cache}, cache+inFlight)
	if err != nil {
		return 0, err
	}
	warm := *b
	warm.seconds *= getWarmSecs
	if _, err := o.rate(&warm, getDepth, o.gets(uint64(b.keys))); err != nil {
		return 0, err
	}
	rate, err := o.rate(b, getDepth, o.gets(uint64(b.keys)))
	return rate, errors.Join(err, o.close())
}

// getsPebble is the other: this process, which is in the group, becomes perf/rivals. What pebble's own cache leaves of the group is the
// page cache's.
func (b *bench) getsPebble() error {
	path, err := b.rivals()
	if err != nil {
		return err
	}
	return unix.Exec(path, []string{path, "get", "-store", "pebble", "-dir", b.rivalDir("gets.pebble"), "-keys", strconv.Itoa(b.keys),
		"-readers", strconv.Itoa(getDepth), "-seconds", decimal(b.seconds), "-warm", decimal(b.seconds * getWarmSecs),
		"-cache", strconv.FormatInt(b.getDataBytes(), 10), "-heap", strconv.Itoa(getHeapBytes)}, append(os.Environ(), oneArena))
}
