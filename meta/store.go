package meta

import (
	"basalt/engine"
	"basalt/storage"
)

// store is what the namespace asks of the store of its shard. Update and View run o.apply or o.read.
type store interface {
	Update(f *engine.Fiber, o *operation) (storage.Seq, error)
	View(f *engine.Fiber, o *operation) error
	Commit(f *engine.Fiber, seq storage.Seq) error
	Checkpoint(f *engine.Fiber) error
	Applied() storage.Seq
	Committed() storage.Seq
	Read(f *engine.Fiber, c storage.Coll, obj []byte, off uint64, dst []byte) (int, error)
	SeekData(f *engine.Fiber, c storage.Coll, obj []byte, off uint64) (uint64, error)
	SeekHole(f *engine.Fiber, c storage.Coll, obj []byte, off uint64) (uint64, error)
	Space() storage.Space
	Pin(t *engine.Turn) (snapshot, bool)
}

// transaction is what a decision sees of the store: *storage.Tx.
type transaction interface {
	Get(c storage.Coll, key []byte) ([]byte, error)
	Put(c storage.Coll, key, val []byte) error
	Delete(c storage.Coll, key []byte) error
	DeleteRange(c storage.Coll, lo, hi []byte) error
	Scan(c storage.Coll, lo, hi []byte, limit int, fn func(key, val []byte) bool) error
	Stat(c storage.Coll, obj []byte) (storage.ObjectInfo, error)
	Write(c storage.Coll, obj []byte, off uint64, data []byte) error
	Truncate(c storage.Coll, obj []byte, size uint64) error
	Punch(c storage.Coll, obj []byte, off, n uint64) error
	Remove(c storage.Coll, obj []byte) error
	CreateCollection(c storage.Coll) error
	MakesRoom()
}

// snapshot is a pinned state of the names: *storage.Snapshot.
type snapshot interface {
	Scan(f *engine.Fiber, c storage.Coll, lo, hi []byte, fn func(key, val []byte) bool) error
	Release(t *engine.Turn)
}

// storeOf is a *storage.Store as the namespace sees it.
type storeOf struct{ *storage.Store }

func (s storeOf) Update(f *engine.Fiber, o *operation) (storage.Seq, error) {
	return s.Store.Update(f, o.apply)
}
func (s storeOf) View(f *engine.Fiber, o *operation) error { return s.Store.View(f, o.read) }
func (s storeOf) Pin(t *engine.Turn) (snapshot, bool) {
	if snap, ok := s.Store.Snapshot(t); ok {
		return snap, true
	}
	return nil, false
}
