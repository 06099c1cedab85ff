package btree

import (
	"basalt/engine"
)

// Tree is the service: a device, a cache, and the operations on roots.
type Tree struct{}

// Miss names what was not in the cache. The zero Miss is none.
type Miss struct{ kind uint8 }

// None tells whether nothing was missing.
func (m Miss) None() bool { return m.kind == 0 }

// Pins keeps loaded nodes in the cache until Release.
type Pins struct{}

// Cursor walks over the entries of a root in key order.
type Cursor struct{}

// New makes a tree service with an empty cache.
func New(cfg Config) *Tree { panic("btree: on its way") }

// Get finds the value of a key. It never suspends. val is lent until the caller suspends or calls Load.
func (t *Tree) Get(root Root, key []byte) (val []byte, found bool, miss Miss) {
	panic("btree: on its way")
}

// Load reads and verifies what a Get or a Cursor missed. With pins it stays cached until t.Release(pins).
func (t *Tree) Load(f *engine.Fiber, m Miss, pins *Pins) error { panic("btree: on its way") }

// Release ends what Load pinned.
func (t *Tree) Release(pins *Pins) {}

// Cursor is at no entry until Seek.
func (t *Tree) Cursor(root Root) Cursor { panic("btree: on its way") }

// Seek goes to the first key ≥ key. After a Miss: Load, then Seek again.
func (c *Cursor) Seek(key []byte) Miss { panic("btree: on its way") }

// Next goes to the next key. After a Miss the cursor stands where it stood: Load, then Next again.
func (c *Cursor) Next() Miss { panic("btree: on its way") }

// Valid tells whether the cursor is at an entry.
func (c *Cursor) Valid() bool { panic("btree: on its way") }

// Key is the key of the entry, lent until the next Seek or Next.
func (c *Cursor) Key() []byte { panic("btree: on its way") }

// Value is the value of the entry, lent until the caller suspends.
func (c *Cursor) Value() ([]byte, Miss) { panic("btree: on its way") }

// Fold writes the tree that root becomes with the changes of src, and returns it.
func (t *Tree) Fold(f *engine.Fiber, root Root, epoch uint64, src Source, env Env) (Root, error) {
	panic("btree: on its way")
}

// Walk visits every node, entry and out-of-line value of root in key order, past the cache.
func (t *Tree) Walk(f *engine.Fiber, root Root, v Visitor) error { panic("btree: on its way") }

// Stats are the gauges and counters.
func (t *Tree) Stats() Stats { panic("btree: on its way") }
