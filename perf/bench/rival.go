package main

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/bbolt"
)

// pebbleCacheBytes for puts: as much as the index cache of a store by default.
const pebbleCacheBytes = 64 << 20

// putter puts one key and returns when it survives power loss. Any goroutine may call it.
type putter func(key, val []byte) error

// putRate has that many goroutines put random keys for a time.
func putRate(seconds float64, goroutines int, put putter) (float64, error) {
	return goroutineRate(seconds, goroutines, func(rng *rand.Rand, stop func() bool) (n int, err error) {
		key, val := make([]byte, keyBytes), pattern(putValueBytes)
		for ; !stop(); n++ {
			nameKey(key, scatter(rng.Uint64N(putKeys)))
			val[0]++
			if err := put(key, val); err != nil {
				return n, err
			}
		}
		return n, nil
	})
}

// goroutineRate is fleet for what is made for goroutines.
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
			n, err := w(rand.New(rand.NewPCG(uint64(i), 1)), ended.Load)
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

// boltStore is bbolt with its batches as large as there are writers: a batch goes out when all of them are in it.
type boltStore struct {
	db   *bbolt.DB
	path string
}

var boltBucket = []byte("bench")

func openBolt(dir string) (*boltStore, error) {
	s := &boltStore{path: filepath.Join(dir, "puts.bolt")}
	if err := os.RemoveAll(s.path); err != nil {
		return nil, err
	}
	var err error
	if s.db, err = bbolt.Open(s.path, 0o600, nil); err != nil {
		return nil, err
	}
	return s, s.db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket(boltBucket); return err })
}

func (s *boltStore) putter(writers int) putter {
	s.db.MaxBatchSize = writers
	return func(key, val []byte) error {
		return s.db.Batch(func(tx *bbolt.Tx) error { return tx.Bucket(boltBucket).Put(key, val) })
	}
}

func (s *boltStore) close() error {
	if err := s.db.Close(); err != nil {
		return err
	}
	return os.Remove(s.path)
}

// pebbleStore is pebble with its defaults and a cache of the size asked for.
type pebbleStore struct {
	db  *pebble.DB
	dir string
}

// rivalDir is where a rival of that name lives; what an earlier run has left is removed by whoever opens it anew.
func (b *bench) rivalDir(name string) string { return filepath.Join(b.dir, name) }

func openPebble(dir string, cacheBytes int64) (*pebbleStore, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	return reopenPebble(dir, cacheBytes)
}

func reopenPebble(dir string, cacheBytes int64) (*pebbleStore, error) {
	db, err := pebble.Open(dir, &pebble.Options{CacheSize: cacheBytes, Logger: quiet{}})
	return &pebbleStore{db: db, dir: dir}, err
}

func (s *pebbleStore) putter(int) putter {
	return func(key, val []byte) error { return s.db.Set(key, val, pebble.Sync) }
}

// compact brings everything below end into one sorted run.
func (s *pebbleStore) compact(end []byte) error {
	return s.db.Compact(context.Background(), []byte{0}, end, true)
}

func (s *pebbleStore) remove() error {
	if err := s.db.Close(); err != nil {
		return err
	}
	return os.RemoveAll(s.dir)
}

// quiet drops what pebble tells about its compactions; what it cannot go on from ends the bench.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	progress("pebble: "+format, args...)
	os.Exit(1)
}
