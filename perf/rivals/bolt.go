package main

import (
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// boltStore is bbolt with its batches as large as there are writers: a batch goes out when all of them are in it.
type boltStore struct{ db *bbolt.DB }

var boltBucket = []byte("bench")

func openBolt(o *options) (putStore, error) {
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(filepath.Join(o.dir, "bolt.db"), 0o600, nil)
	if err != nil {
		return nil, err
	}
	db.MaxBatchSize = o.writers
	return boltStore{db}, db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucketIfNotExists(boltBucket); return err })
}

func (s boltStore) put(key, val []byte) error {
	return s.db.Batch(func(tx *bbolt.Tx) error { return tx.Bucket(boltBucket).Put(key, val) })
}

func (s boltStore) close() error { return s.db.Close() }
