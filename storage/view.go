package storage

import (
	"bytes"

	"basalt/engine/arena"
	"basalt/storage/btree"
)

// view is a state of the store: the changes of active, over those of frozen, over a tree. Every reader merges the three in this order.
type view struct {
	active, frozen *layer // frozen may be nil
	tree           *btree.Tree
	root           btree.Root
}

// entry is what a view says about a key. Its slices are lent: the value until the tree's cache may change (the reader suspends), the key
// until the cursor moves.
type entry struct {
	key []byte
	val []byte

	// An extent of one block that is in memory only.
	isDirty, frozen bool
	index           uint32
	buf             arena.Buf
}

// bare tells whether the tree alone has all that the view shows.
func (v *view) bare() bool { return v.active.empty() && (v.frozen == nil || v.frozen.empty()) }

// get finds the visible value of a key, which is not an extent's.
func (v *view) get(key []byte) (val []byte, found bool, miss btree.Miss) {
	if v.bare() {
		return v.tree.Get(v.root, key)
	}
	for _, l := range [...]*layer{v.active, v.frozen} {
		if l == nil {
			continue
		}
		if it, ok := l.get(key); ok {
			if it.is.what() == itemDel {
				return nil, false, btree.Miss{}
			}
			return l.valOf(&it), true, btree.Miss{}
		}
	}
	return v.tree.Get(v.root, key)
}

// entry is what a visible item says.
func (l *layer) entry(key []byte, it *item) (entry, bool) {
	switch it.is.what() {
	case itemDel:
		return entry{}, false
	case itemDirty:
		return entry{key: key, isDirty: true, index: uint32(it.val), buf: l.dirty[it.val].buf}, true
	}
	return entry{key: key, val: l.valOf(it)}, true
}

// viewCursor walks over the visible entries of a view in key order.
type viewCursor struct {
	v       view
	layers  [2]layerCursor // active, frozen
	below   [2]below       // the same two, in floor
	tree    *btree.Cursor
	hi      []byte // exclusive; nil: no end
	lo, end []byte // scratch of the caller: the range's keys
	cur     entry
	muts    uint64 // of the active layer when the cursor stood
	last    []byte // the key of cur, kept to find the place again
	again   bool   // a miss left the sources apart: seek last again
	valid   bool
}

// open stands on the first visible entry in [lo, hi).
func (c *viewCursor) open(v view, lo, hi []byte) btree.Miss {
	c.v, c.hi, c.valid, c.again = v, hi, false, false
	c.last = c.last[:0] // of another walk: after a miss on the first entry, next must not step over it
	if c.tree == nil {
		c.tree = v.tree.Cursor(v.root)
	}
	c.tree.Reset(v.root)
	return c.seek(lo)
}

func (c *viewCursor) seek(key []byte) btree.Miss {
	c.muts = c.v.active.muts
	c.layers[0].seek(c.v.active, key)
	if c.v.frozen != nil {
		c.layers[1].seek(c.v.frozen, key)
	}
	if m := c.tree.Seek(key); !m.None() {
		c.last, c.again = append(c.last[:0], key...), true
		return m
	}
	return c.settle()
}

// next goes to the next visible entry. After a Miss: load, then next again.
func (c *viewCursor) next() btree.Miss {
	if c.again {
		c.again = false
		return c.seek(c.last)
	}
	if c.valid {
		if c.muts != c.v.active.muts { // the transaction that scans has changed something: find the place again
			c.last = append(append(c.last[:0], c.cur.key...), 0)
			c.valid = false
			return c.seek(c.last)
		}
		c.last = append(c.last[:0], c.cur.key...)
		c.valid = false
	}
	if m := c.passed(c.last); !m.None() {
		return m
	}
	return c.settle()
}

// passed moves each source behind key, if it stands there.
func (c *viewCursor) passed(key []byte) btree.Miss {
	for i := range c.layers {
		if l := c.layer(i); l != nil {
			if it, ok := c.layers[i].at(); ok && bytes.Equal(l.keyOf(it), key) {
				c.layers[i].next()
			}
		}
	}
	if c.tree.Valid() && bytes.Equal(c.tree.Key(), key) {
		return c.tree.Next()
	}
	return btree.Miss{}
}

func (c *viewCursor) layer(i int) *layer {
	if i == 0 {
		return c.v.active
	}
	return c.v.frozen
}

// settle moves on to the first key that is visible: the topmost source that has a word about a key decides.
func (c *viewCursor) settle() btree.Miss {
	for {
		key, from := c.least()
		if key == nil || c.hi != nil && bytes.Compare(key, c.hi) >= 0 {
			return btree.Miss{}
		}
		if skip := c.covered(key, from); skip != nil {
			if from < len(c.layers) {
				c.layers[from].seek(c.layer(from), skip)
				continue
			}
			c.last = append(c.last[:0], key...)
			if m := c.tree.Seek(skip); !m.None() {
				c.again = true
				return m
			}
			continue
		}
		if from == len(c.layers) {
			c.cur = entry{key: key}
			var m btree.Miss
			if c.cur.val, m = c.tree.Value(); !m.None() {
				return m
			}
			c.valid = true
			return m
		}
		it, _ := c.layers[from].at()
		var visible bool
		if l := c.layer(from); !l.hidden(key, it) {
			c.cur, visible = l.entry(key, it)
			c.cur.frozen = from == 1
		}
		if visible {
			c.valid = true
			return btree.Miss{}
		}
		c.last = append(c.last[:0], key...)
		if m := c.passed(c.last); !m.None() {
			return m
		}
	}
}

// least is the smallest key that any source stands on, and the topmost source that does.
func (c *viewCursor) least() (key []byte, from int) {
	for i := range c.layers {
		l := c.layer(i)
		if l == nil {
			continue
		}
		if it, ok := c.layers[i].at(); ok {
			if k := l.keyOf(it); key == nil || bytes.Compare(k, key) < 0 {
				key, from = k, i
			}
		}
	}
	if c.tree.Valid() {
		if k := c.tree.Key(); key == nil || bytes.Compare(k, key) < 0 {
			key, from = k, len(c.layers)
		}
	}
	return key, from
}

// covered tells whether a tombstone of a layer above `from` hides key, and up to where.
func (c *viewCursor) covered(key []byte, from int) []byte {
	if t, l := c.coveredBy(key, from); l != nil {
		return l.tombs.hi(&t)
	}
	return nil
}

// coveredBy is the tombstone of a layer above `from` that hides key, and the layer.
func (c *viewCursor) coveredBy(key []byte, from int) (tomb, *layer) {
	for i := 0; i < from && i < len(c.layers); i++ {
		l := c.layer(i)
		if l == nil {
			continue
		}
		if t, ok := l.tombs.at(key); ok {
			return t, l
		}
	}
	return tomb{}, nil
}

// hidden tells whether a tombstone of its own layer hides an item.
func (l *layer) hidden(key []byte, it *item) bool {
	if l.tombs.len() == 0 {
		return false
	}
	t, ok := l.tombs.at(key)
	return ok && it.order < t.order
}
