package client

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"

	"basalt/engine"
)

// Mount is one mounted file system: its columns, and who caches on its behalf.
type Mount struct {
	id [16]byte // immutable

	changes atomic.Uint64 // grows when what was read before may be old: with every answered change of any column

	mu      sync.Mutex
	columns []*FS // guarded by mu: a recall may come while columns are still being added
	cache   Cache // guarded by mu
}

// Cache is whoever keeps what FS methods returned with a Keep above zero: the kernel. Drop returns when nothing of it is kept any more.
type Cache interface {
	Drop(f *engine.Fiber) error
}

// NewMount makes a mount without columns. id is drawn at random by the caller; it names the mount to the server.
func NewMount(id [16]byte) *Mount { return &Mount{id: id} }

// SetCache says who caches, before anything can be cached.
func (m *Mount) SetCache(c Cache) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cache = c
}

func (m *Mount) cached() Cache {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cache
}

// Columns are the views, in the order they were made.
func (m *Mount) Columns() []*FS {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.columns)
}

func (m *Mount) add(fs *FS) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fs.index = len(m.columns)
	m.columns = append(m.columns, fs)
}

// drop takes back the column added last.
func (m *Mount) drop(fs *FS) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.columns = slices.DeleteFunc(m.columns, func(o *FS) bool { return o == fs })
}

// sessionID is the column's name to the server: unlike that of any other mount, and never 0.
func (m *Mount) sessionID(index int) uint64 {
	return binary.LittleEndian.Uint64(m.id[:])&^0xffff | uint64(index+1)&0xffff
}

// Grant lets this column cache for leaseNs behind each request. What was cached at a time without a grant may be stale: it goes first.
// It runs on the column, in f.
func (fs *FS) Grant(f *engine.Fiber, leaseNs int64) error {
	if fs.granted {
		fs.leaseNs = leaseNs
		return nil
	}
	recalls := fs.recalls
	if c := fs.mount.cached(); c != nil {
		if err := c.Drop(f); err != nil {
			return err
		}
	}
	if fs.recalls != recalls {
		return nil // taken back meanwhile
	}
	fs.granted, fs.leaseNs = true, leaseNs
	fs.mount.changes.Add(1) // what was read without it may be old
	return nil
}

// Recall ends the grant: when it returns, no column hands out anything to cache, and nothing is cached. f may be of any column.
//
// An answer that a column built before it learned of the recall has left that column's turn, and so is with the kernel, before the column
// answers here: the order of its turns guarantees that Drop comes behind it.
func (m *Mount) Recall(f *engine.Fiber) error {
	columns, cache := m.Columns(), m.cached()
	for _, fs := range columns {
		err := engine.CallOn(f, fs.reactor, func(*engine.Fiber) { fs.granted, fs.recalls = false, fs.recalls+1 })
		if err != nil {
			return err
		}
	}
	if cache == nil {
		return nil
	}
	// One more crossing each: the turn in which a column stopped may have built an answer before, and that leaves at the turn's end.
	for _, fs := range columns {
		if err := engine.CallOn(f, fs.reactor, func(f2 *engine.Fiber) { f2.Yield() }); err != nil {
			return err
		}
	}
	return cache.Drop(f)
}
