package client

import (
	"basalt/engine"
)

// Mount is one mounted file system: its columns, and who caches on its behalf.
type Mount struct {
	id      [16]byte
	columns []*FS // complete before the first column serves
	cache   Cache // set before the first request
}

// Cache is whoever keeps what FS methods returned with a Keep above zero: the kernel. Drop returns when nothing of it is kept any more.
type Cache interface {
	Drop(f *engine.Fiber) error
}

// NewMount makes a mount without columns. id is drawn at random by the caller; it names the mount to the server.
func NewMount(id [16]byte) *Mount { return &Mount{id: id} }

// SetCache says who caches. It is called before the mount serves.
func (m *Mount) SetCache(c Cache) { m.cache = c }

// Columns are the views, in the order they were made.
func (m *Mount) Columns() []*FS { return m.columns }

// Grant lets this column cache for leaseNs behind each request. What was cached at a time without a grant may be stale: it goes first.
// It runs on the column, in f.
func (fs *FS) Grant(f *engine.Fiber, leaseNs int64) error {
	if fs.granted {
		fs.leaseNs = leaseNs
		return nil
	}
	if fs.mount.cache != nil {
		if err := fs.mount.cache.Drop(f); err != nil {
			return err
		}
	}
	fs.granted, fs.leaseNs = true, leaseNs
	return nil
}

// Recall ends the grant: when it returns, no column hands out anything to cache, and nothing is cached. f may be of any column.
//
// An answer that a column built before it learned of the recall has left that column's turn, and so is with the kernel, before the column
// answers here: the order of its turns guarantees that Drop comes behind it.
func (m *Mount) Recall(f *engine.Fiber) error {
	for _, fs := range m.columns {
		if err := engine.CallOn(f, fs.reactor, func(*engine.Fiber) { fs.granted = false }); err != nil {
			return err
		}
	}
	if m.cache == nil {
		return nil
	}
	// One more crossing each: the turn in which a column stopped may have built an answer before, and that leaves at the turn's end.
	for _, fs := range m.columns {
		if err := engine.CallOn(f, fs.reactor, func(f2 *engine.Fiber) { f2.Yield() }); err != nil {
			return err
		}
	}
	return m.cache.Drop(f)
}
