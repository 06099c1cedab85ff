package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"

	"basalt/engine"
	"basalt/perf/bar"
	"basalt/storage"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"
)

const (
	getValueBytes = 100
	getDepth      = 64
	getWarmSecs   = 3  // before the figure is taken, times the bench's seconds: the caches are as full as they will be
	loadKeys      = 64 // of one transaction while the store is filled

	// What a process has in its group beside a tenth of the data: program, Go runtime, and what is in flight; both sides the same.
	getBaseBytes = 64 << 20

	childGets       = "gets"
	childGetsPebble = "gets-pebble"
)

// getDataBytes is a tenth of the keys and values: what both sides have to cache them in.
func (b *bench) getDataBytes() int64 { return int64(b.keys) * (keyBytes + getValueBytes) / 10 }

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
		Before: func() error { return errors.Join(b.loadKeys(path), b.loadPebble(lsm)) },
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
	v, err := b.figureOf(name, g)
	return v, errors.Join(err, g.remove())
}

// loadKeys fills a fresh store, in the order of the keys.
func (b *bench) loadKeys(path string) error {
	o, err := freshStore(path, storage.FormatOptions{}, object{}, object{})
	if err != nil {
		return err
	}
	err = o.r.Call(func(f *engine.Fiber) error {
		key, val := make([]byte, keyBytes), pattern(getValueBytes)
		for i := 0; i < b.keys; i += loadKeys {
			if i%(1<<20) < loadKeys {
				progress("filling a store with keys: %d of %d", i, b.keys)
			}
			if _, err := o.s.Update(f, func(tx *storage.Tx) error {
				for k := i; k < min(i+loadKeys, b.keys); k++ {
					nameKey(key, uint64(k))
					if err := tx.Put(objectColl, key, randomize(val, uint64(k))); err != nil {
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

// randomize fills a value with bytes that do not compress.
func randomize(val []byte, seed uint64) []byte {
	rng := rand.NewPCG(seed, 2)
	for i := range val {
		if i%8 == 0 {
			seed = rng.Uint64()
		}
		val[i] = byte(seed >> (i % 8 * 8))
	}
	return val
}

// loadPebble fills pebble with the same, and compacts it whole: no get looks in vain.
func (b *bench) loadPebble(dir string) error {
	s, err := openPebble(dir, pebbleCacheBytes)
	if err != nil {
		return err
	}
	key, val := make([]byte, keyBytes), make([]byte, getValueBytes)
	batch := s.db.NewBatch()
	for i := range b.keys {
		if i%(1<<20) == 0 {
			progress("filling pebble with keys: %d of %d", i, b.keys)
		}
		nameKey(key, uint64(i))
		if err = batch.Set(key, randomize(val, uint64(i)), nil); err != nil {
			return err
		}
		if i%4096 == 4095 || i == b.keys-1 {
			if err = batch.Commit(pebble.NoSync); err != nil {
				return err
			}
			batch.Reset()
		}
	}
	if err = s.db.Flush(); err == nil {
		nameKey(key, uint64(b.keys))
		err = s.compact(key)
	}
	return errors.Join(err, batch.Close(), s.db.Close())
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
	debug.SetMemoryLimit(getBaseBytes / 2)
	const inFlight = 12 << 20 // journal buffers of 1 MiB, the checkpoint's buffer, reads
	o, err := mountImage(filepath.Join(b.dir, "store.img"), storage.Options{CacheBytes: int(b.getDataBytes())}, int(b.getDataBytes())+inFlight)
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

// getsPebble is the other: what its own cache leaves of the group is the page cache's.
func (b *bench) getsPebble() (float64, error) {
	debug.SetMemoryLimit(getBaseBytes / 2)
	s, err := reopenPebble(b.rivalDir("gets.pebble"), b.getDataBytes())
	if err != nil {
		return 0, err
	}
	get := func(rng *rand.Rand, stop func() bool) (n int, err error) {
		key := make([]byte, keyBytes)
		for ; !stop(); n++ {
			nameKey(key, rng.Uint64N(uint64(b.keys)))
			val, lent, err := s.db.Get(key)
			if err != nil {
				return n, fmt.Errorf("pebble: key %x: %w", key, err)
			}
			if len(val) != getValueBytes {
				return n, errors.Join(fmt.Errorf("pebble: key %x has %d bytes", key, len(val)), lent.Close())
			}
			if err := lent.Close(); err != nil {
				return n, err
			}
		}
		return n, nil
	}
	if _, err := goroutineRate(b.seconds*getWarmSecs, getDepth, get); err != nil {
		return 0, err
	}
	rate, err := goroutineRate(b.seconds, getDepth, get)
	return rate, errors.Join(err, s.db.Close())
}
