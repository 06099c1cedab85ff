package btree

import (
	"errors"
	"fmt"

	"basalt/engine/arena"
	"basalt/storage/format"
)

const (
	evictProbesMax = 256 // frames that one eviction looks at before it takes the first unpinned one it saw
	arenaTriesMax  = 64  // evictions for one block of a shared, exhausted arena
)

type frameKind uint8

const (
	frameNone frameKind = iota
	frameNode
	frameValue
)

// frame is one verified node or out-of-line value in arena memory. No pointers: the collector never looks inside.
type frame struct {
	buf   arena.Buf
	block format.BlockNo
	epoch uint64 // of a node; 0 of a value
	bytes uint32 // what it counts for in the cache's size
	size  uint32 // length of a value
	crc   uint32
	pins  int32
	kind  frameKind
	ref   uint8 // second chances left, one a bit
	gain  uint8 // what a hit brings them back to
	stale bool  // no longer in the index; goes with its last pin
}

// cache holds frames by block within a byte limit; a clock with second chances picks victims. Owned by the loop.
type cache struct {
	arena  *arena.Arena // immutable
	limit  int64
	frames []frame
	unused []int32
	index  blockIndex
	hand   int
	used   int64
	pinned int64

	changes uint64 // frames that came or went: as long as it stays, the memory of a node does

	hits, misses, evictions uint64
}

func (c *cache) init(a *arena.Arena, limit int64) {
	c.arena, c.limit = a, limit
	c.index.init()
}

// find is the frame of that block if it holds exactly what the caller means.
func (c *cache) find(block format.BlockNo, epoch uint64, crc uint32, kind frameKind) int32 {
	i := c.index.get(block)
	if i < 0 {
		return -1
	}
	if fr := &c.frames[i]; fr.epoch != epoch || fr.crc != crc || fr.kind != kind {
		return -1
	}
	return i
}

// node is the cached node that p points at, or nil.
func (c *cache) node(p format.ChildPtr) format.Node {
	i := c.find(p.Block, p.Epoch, p.Crc, frameNode)
	if i < 0 {
		c.misses++
		return nil
	}
	c.hits++
	fr := &c.frames[i]
	if fr.ref != fr.gain { // else its line of memory need not be written
		fr.ref = fr.gain
	}
	return format.Node(c.arena.Bytes(fr.buf))
}

// findValue is the frame of an out-of-line value: named by its first piece, and as long as all of them.
func (c *cache) findValue(v format.ValueCell) int32 {
	first := v.Piece(0)
	i := c.find(first.Start, 0, first.Crc, frameValue)
	if i >= 0 && int(c.frames[i].size) != v.Bytes() {
		return -1
	}
	return i
}

// value is the cached out-of-line value, or nil.
func (c *cache) value(v format.ValueCell) []byte {
	i := c.findValue(v)
	if i < 0 {
		c.misses++
		return nil
	}
	c.hits++
	fr := &c.frames[i]
	fr.ref = fr.gain
	return c.arena.Bytes(fr.buf)[:fr.size]
}

// room evicts until n more bytes fit, as far as pins allow.
func (c *cache) room(n int64) {
	for c.used+n > c.limit && c.evict() {
	}
}

// get takes arena memory, evicting for it when the arena is exhausted.
func (c *cache) get(n int) (arena.Buf, error) {
	c.room(int64(n))
	for tries := 0; ; tries++ {
		b, err := c.arena.Get(n)
		if err == nil || !errors.Is(err, arena.ErrExhausted) {
			return b, err
		}
		if tries < arenaTriesMax && c.evict() {
			continue
		}
		if tries >= arenaTriesMax+regionsMax || !c.evictRegion(n) {
			return b, err
		}
	}
}

// evictRegion empties the aligned stretch of memory around one victim that a block of n bytes would take: evicting by age
// frees nodes here and there, which need not become a larger block.
func (c *cache) evictRegion(n int) bool {
	size := uint64(format.BlockBytes)
	for size < uint64(n) {
		size <<= 1
	}
	for range c.frames {
		if c.hand >= len(c.frames) {
			c.hand = 0
		}
		fr := &c.frames[c.hand]
		c.hand++
		if fr.kind == frameNone || fr.pins > 0 {
			continue
		}
		region := c.arena.Addr(fr.buf) / size
		for i := range c.frames {
			fr := &c.frames[i]
			if fr.kind != frameNone && fr.pins == 0 && c.arena.Addr(fr.buf)/size == region {
				c.evictions++
				c.remove(int32(i))
			}
		}
		return true
	}
	return false
}

// addNode makes a frame of a verified node, which gets its index.
func (c *cache) addNode(buf arena.Buf, p format.ChildPtr, level int) {
	format.IndexNode(c.arena.Bytes(buf))
	c.add(frame{buf: buf, block: p.Block, kind: frameNode, crc: p.Crc, epoch: p.Epoch, ref: refOf(level)})
}

// add makes a frame of memory that get gave. A frame of the same block goes: its block was written anew.
func (c *cache) add(fr frame) int32 {
	c.drop(fr.block)
	fr.gain = fr.ref
	fr.bytes = uint32(len(c.arena.Bytes(fr.buf)))
	var i int32
	if n := len(c.unused); n > 0 {
		i = c.unused[n-1]
		c.unused = c.unused[:n-1]
	} else {
		i = int32(len(c.frames))
		c.frames = append(c.frames, frame{})
	}
	c.frames[i] = fr
	c.index.put(fr.block, i)
	c.changes++
	c.used += int64(fr.bytes)
	return i
}

// evict removes one frame; false: all are pinned.
func (c *cache) evict() bool {
	if len(c.frames) == 0 {
		return false
	}
	spare := int32(-1)
	for probes := 0; probes < 2*len(c.frames)+1; probes++ {
		if c.hand >= len(c.frames) {
			c.hand = 0
		}
		i := int32(c.hand)
		c.hand++
		fr := &c.frames[i]
		switch {
		case fr.kind == frameNone || fr.pins > 0:
			continue
		case fr.ref == 0:
			c.evictions++
			c.remove(i)
			return true
		}
		fr.ref >>= 1
		if spare < 0 {
			spare = i
		}
		if probes >= evictProbesMax {
			break
		}
	}
	if spare < 0 || c.frames[spare].kind == frameNone {
		return false
	}
	c.evictions++
	c.remove(spare)
	return true
}

// drop forgets what is cached of a block.
func (c *cache) drop(block format.BlockNo) {
	i := c.index.get(block)
	if i < 0 {
		return
	}
	if fr := &c.frames[i]; fr.pins > 0 {
		fr.stale = true
		c.index.remove(block)
		return
	}
	c.remove(i)
}

func (c *cache) remove(i int32) {
	fr := &c.frames[i]
	c.changes++
	if !fr.stale {
		c.index.remove(fr.block)
	}
	c.used -= int64(fr.bytes)
	c.arena.Put(fr.buf)
	*fr = frame{}
	c.unused = append(c.unused, i)
}

// cool makes the frame of a block the next victim: the newest root no longer needs it.
func (c *cache) cool(block format.BlockNo) {
	if i := c.index.get(block); i >= 0 {
		c.frames[i].ref = 0
	}
}

func (c *cache) pin(i int32) {
	fr := &c.frames[i]
	if fr.pins == 0 {
		c.pinned += int64(fr.bytes)
	}
	fr.pins++
}

func (c *cache) unpin(i int32) {
	fr := &c.frames[i]
	if fr.kind == frameNone || fr.pins <= 0 {
		panic(fmt.Sprintf("btree: frame %d is not pinned", i))
	}
	fr.pins--
	if fr.pins > 0 {
		return
	}
	c.pinned -= int64(fr.bytes)
	if fr.stale {
		c.remove(i)
	}
}

// close gives all memory back.
func (c *cache) close() {
	for i := range c.frames {
		if fr := &c.frames[i]; fr.kind != frameNone {
			fr.pins = 0
			c.remove(int32(i))
		}
	}
}
