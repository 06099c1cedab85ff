package storage

import (
	"bytes"
	"encoding/binary"

	"basalt/storage/btree"
)

// floor stands on the last visible entry in [lo, key], or on none. It does not lead anywhere: next must not follow. After a Miss: load, then
// floor again. key must not be the cursor's own scratch for keys that it visits.
func (c *viewCursor) floor(v view, lo, key []byte) btree.Miss {
	c.v, c.valid, c.again = v, false, false
	if c.tree == nil {
		c.tree = v.tree.Cursor(v.root)
	}
	c.tree.Reset(v.root)
	if v.bare() {
		if m := c.tree.SeekLast(key); !m.None() || !c.tree.Valid() || bytes.Compare(c.tree.Key(), lo) < 0 {
			return m
		}
		return c.showTree()
	}
	met := false
	for i := range c.below {
		b, l := &c.below[i], c.layer(i)
		if b.ok = false; l == nil {
			continue
		}
		b.it, b.ok, b.like = l.floor(key, false)
		if met || b.like != same {
			continue
		}
		if met = true; c.covered(key, i) == nil && c.shows(i, &b.it) {
			return btree.Miss{} // whatever the sources below say about this key or earlier ones
		}
	}
	if m := c.tree.SeekLast(key); !m.None() {
		return m
	}
	return c.settleBack(lo, key)
}

// below is where a layer stands in floor.
type below struct {
	it   item
	ok   bool
	like likeness // to the key that was looked for
}

// shows makes an item of layer i the cursor's entry, if readers of this layer see it.
func (c *viewCursor) shows(i int, it *item) bool {
	l := c.layer(i)
	key := l.keyOf(it)
	if l.hidden(key, it) {
		return false
	}
	c.cur, c.valid = l.entry(key, it)
	c.cur.frozen = i == 1
	return c.valid
}

// showTree makes what the tree stands on the cursor's entry.
func (c *viewCursor) showTree() btree.Miss {
	val, m := c.tree.Value()
	c.cur, c.valid = entry{key: c.tree.Key(), val: val}, m.None()
	return m
}

// settleBack moves back to the last key that is visible: the topmost source that has a word about a key decides.
func (c *viewCursor) settleBack(lo, sought []byte) btree.Miss {
	for {
		key, from := c.greatest(sought)
		if key == nil || bytes.Compare(key, lo) < 0 {
			return btree.Miss{}
		}
		if t, l := c.coveredBy(key, from); l != nil {
			if m := c.back(from, l.tombs.lo(&t)); !m.None() {
				return m
			}
			continue
		}
		if from == len(c.layers) {
			return c.showTree()
		}
		if c.shows(from, &c.below[from].it) {
			return btree.Miss{}
		}
		c.last = append(c.last[:0], key...)
		for i := from; i <= len(c.layers); i++ {
			if m := c.back(i, c.last); !m.None() {
				return m
			}
		}
	}
}

// greatest is the greatest key that any source stands on, and the topmost source that does. Where all of them are siblings of the key that was
// sought, as the extents of an object are, their tails decide, and only the greatest key itself is looked at.
func (c *viewCursor) greatest(sought []byte) (key []byte, from int) {
	tail, from := uint64(0), -1
	for i := range c.below {
		if b := &c.below[i]; b.ok && b.like == unlike {
			return c.greatestKey()
		} else if b.ok && (from < 0 || b.it.tail > tail) {
			tail, from = b.it.tail, i
		}
	}
	if c.tree.Valid() {
		k := c.tree.Key()
		n := len(k) - tailBytes
		if n < 0 || len(k) != len(sought) || !bytes.Equal(k[:n], sought[:n]) {
			return c.greatestKey()
		}
		if t := binary.BigEndian.Uint64(k[n:]); from < 0 || t > tail {
			return k, len(c.layers)
		}
	}
	if from < 0 {
		return nil, from
	}
	return c.layer(from).keyOf(&c.below[from].it), from
}

// greatestKey is greatest for keys of any kind.
func (c *viewCursor) greatestKey() (key []byte, from int) {
	for i := range c.below {
		if b := &c.below[i]; b.ok {
			if k := c.layer(i).keyOf(&b.it); key == nil || bytes.Compare(k, key) > 0 {
				key, from = k, i
			}
		}
	}
	if c.tree.Valid() {
		if k := c.tree.Key(); key == nil || bytes.Compare(k, key) > 0 {
			key, from = k, len(c.layers)
		}
	}
	return key, from
}

// back moves source i to its last key before bound, if it stands there or behind it.
func (c *viewCursor) back(i int, bound []byte) btree.Miss {
	if i < len(c.layers) {
		if b := &c.below[i]; b.ok && bytes.Compare(c.layer(i).keyOf(&b.it), bound) >= 0 {
			b.it, b.ok, _ = c.layer(i).floor(bound, true)
			b.like = unlike // to the key that was sought first
		}
		return btree.Miss{}
	}
	if !c.tree.Valid() || bytes.Compare(c.tree.Key(), bound) < 0 {
		return btree.Miss{}
	}
	if m := c.tree.SeekLast(bound); !m.None() {
		return m
	}
	if c.tree.Valid() && bytes.Equal(c.tree.Key(), bound) {
		return c.tree.Prev()
	}
	return btree.Miss{}
}
