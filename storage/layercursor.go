package storage

const cursorBatch = 16

// layerCursor walks the items of one layer in key order, hidden ones included. It reads them in small runs. When the layer changes it must seek
// again.
type layerCursor struct {
	l    *layer
	run  [cursorBatch]item
	n, i int
	more bool // the layer may have items behind the run
}

// seek stands on the first item at or after key. It must be called before anything else, again for another layer.
func (c *layerCursor) seek(l *layer, key []byte) {
	c.l = l
	c.fill(key, false)
}

func (c *layerCursor) fill(key []byte, strict bool) {
	c.n, c.i = len(c.l.items.from(key, strict, c.run[:0])), 0
	c.more = c.n == cursorBatch
}

// at is the item under the cursor.
func (c *layerCursor) at() (*item, bool) {
	if c.i >= c.n {
		return nil, false
	}
	return &c.run[c.i], true
}

// next steps behind the item under the cursor.
func (c *layerCursor) next() {
	if c.i >= c.n {
		return
	}
	if c.i+1 < c.n || !c.more {
		c.i++
		return
	}
	c.fill(c.l.keyOf(&c.run[c.i]), true) // slab memory: stays while the layer does
}
