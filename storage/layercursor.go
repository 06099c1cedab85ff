package storage

import "bytes"

const cursorBatch = 16

// layerCursor walks the items of one layer in key order, hidden ones included. It reads them in small runs, because the tree only has
// callbacks. When the layer changes it must seek again.
type layerCursor struct {
	l       *layer
	run     [cursorBatch]item
	n, i    int
	more    bool   // the layer may have items behind the run
	skip    []byte // the key that a continued run starts behind
	collect func(item) bool
}

// seek stands on the first item at or after key. It must be called before anything else, again for another layer.
func (c *layerCursor) seek(l *layer, key []byte) {
	if c.collect == nil {
		c.collect = func(it item) bool { // made once for the cursor's life
			if c.skip != nil {
				same := bytes.Equal(c.l.keyOf(&it), c.skip)
				c.skip = nil
				if same {
					return true
				}
			}
			c.run[c.n] = it
			c.n++
			return c.n < cursorBatch
		}
	}
	c.l = l
	c.skip = nil
	c.fill(key)
}

func (c *layerCursor) fill(key []byte) {
	c.n, c.i = 0, 0
	c.l.probe = key
	c.l.items.AscendGreaterOrEqual(item{key: probeRef}, c.collect)
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
	last := c.l.keyOf(&c.run[c.i]) // slab memory: stays while the layer does
	c.skip = last
	c.fill(last)
}
