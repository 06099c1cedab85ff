package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"

	"basalt/perf/keys"

	"github.com/cockroachdb/pebble/v2"
)

const (
	putCacheBytes = 64 << 20 // as much as the index cache of a store by default
	fillBatch     = 4096     // keys of one batch while the store is filled
)

// pebbleStore is pebble with its defaults and a cache of the size asked for.
type pebbleStore struct{ db *pebble.DB }

func newPebble(dir string, opt pebble.Options) (pebbleStore, error) {
	opt.Logger = quiet{}
	db, err := pebble.Open(dir, &opt)
	return pebbleStore{db}, err
}

func openPebble(o *options) (putStore, error) {
	return newPebble(o.dir, pebble.Options{CacheSize: putCacheBytes})
}

func (s pebbleStore) put(key, val []byte) error { return s.db.Set(key, val, pebble.Sync) }

func (s pebbleStore) close() error { return s.db.Close() }

// fillPebble makes a store of the first keys, in their order, and compacts it whole: no get looks in vain.
func fillPebble(dir string, count int) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	s, err := newPebble(dir, pebble.Options{CacheSize: putCacheBytes})
	if err != nil {
		return err
	}
	if err = s.load(count); err == nil {
		err = s.compact(count)
	}
	return errors.Join(err, s.close())
}

func (s pebbleStore) load(count int) error {
	key, val := make([]byte, keys.Bytes), make([]byte, keys.GetValueBytes)
	batch := s.db.NewBatch()
	for i := range count {
		if i%(1<<20) == 0 {
			progress("filling pebble with keys: %d of %d", i, count)
		}
		keys.Name(key, uint64(i))
		if err := batch.Set(key, keys.Randomize(val, uint64(i)), nil); err != nil {
			return errors.Join(err, batch.Close())
		}
		if i%fillBatch == fillBatch-1 || i == count-1 {
			if err := batch.Commit(pebble.NoSync); err != nil {
				return errors.Join(err, batch.Close())
			}
			batch.Reset()
		}
	}
	return errors.Join(batch.Close(), s.db.Flush())
}

// compact brings all keys into one sorted run.
func (s pebbleStore) compact(count int) error {
	end := make([]byte, keys.Bytes)
	keys.Name(end, uint64(count))
	return s.db.Compact(context.Background(), []byte{0}, end, true)
}

// openToGet refuses to make a store that is not there.
func openToGet(dir string, cacheBytes int64) (pebbleStore, error) {
	return newPebble(dir, pebble.Options{CacheSize: cacheBytes, ErrorIfNotExists: true})
}

// getting looks random keys up among the first count.
func (s pebbleStore) getting(count int) func(rng *rand.Rand, stop func() bool) (int, error) {
	return func(rng *rand.Rand, stop func() bool) (n int, err error) {
		key := make([]byte, keys.Bytes)
		for ; !stop(); n++ {
			keys.Name(key, rng.Uint64N(uint64(count)))
			val, lent, err := s.db.Get(key)
			if err != nil {
				return n, fmt.Errorf("pebble: key %x: %w", key, err)
			}
			if len(val) != keys.GetValueBytes {
				return n, errors.Join(fmt.Errorf("pebble: key %x has %d bytes", key, len(val)), lent.Close())
			}
			if err := lent.Close(); err != nil {
				return n, err
			}
		}
		return n, nil
	}
}

// quiet drops what pebble tells about its compactions; what it cannot go on from ends the process.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	progress("pebble: "+format, args...)
	os.Exit(1)
}
