package storage

import (
	"fmt"

	"basalt/engine/arena"
	"basalt/storage/format"
)

// What an item of the delta says about its key.
const (
	itemPut   uint8 = iota // the value stands in the slab
	itemDel                // the key is gone
	itemDirty              // an extent of one block that is in memory only: val is its index in layer.dirty
)

// item is one key of a delta, without a pointer: 32 bytes in the nodes of the tree, where the head of its key stands beside it.
type item struct {
	tail   uint64 // of the key, see probe
	order  uint64 // when it was written, counted in changes of this layer; a tombstone hides what is older than itself
	family uint32
	key    slabRef
	val    slabRef // or the index of the dirty block
	is     itemBits
}

// itemBits are the small things of an item in one word: what it says, whether it is settled, and the lengths of its key and value.
//
// Settled: whoever wrote this item has taken care of what the layers below said about the key. It matters for extents: the blocks of
// an entry below were freed then, so the fold must not free them again when a tombstone covers the key. An item that was first
// written under a tombstone is not settled: the tombstone did away with the entry below, and the fold frees what that named.
//
// Inside: layer.spots does not count it.
type itemBits uint32

const (
	itemWhatBits = 2
	itemSettled  = 1 << itemWhatBits
	itemInside   = 2 << itemWhatBits
	itemKeyShift = itemWhatBits + 2
	itemKeyBits  = 10
	itemValShift = itemKeyShift + itemKeyBits
)

// Every length has room.
const (
	_ = uint(1<<itemKeyBits - 1 - maxTreeKey)
	_ = uint(1<<(32-itemValShift) - 1 - ValueMax)
	_ = uint(1<<itemWhatBits - 1 - itemDirty)
)

// bitsOf packs what was checked: key and value are not too long.
func bitsOf(what uint8, settled, inside bool, klen, vlen int) itemBits {
	b := itemBits(what) | itemBits(klen)<<itemKeyShift | itemBits(vlen)<<itemValShift
	if settled {
		b |= itemSettled
	}
	if inside {
		b |= itemInside
	}
	return b
}

func (b itemBits) what() uint8   { return uint8(b & (1<<itemWhatBits - 1)) }
func (b itemBits) settled() bool { return b&itemSettled != 0 }
func (b itemBits) inside() bool  { return b&itemInside != 0 }
func (b itemBits) klen() int     { return int(b >> itemKeyShift & (1<<itemKeyBits - 1)) }
func (b itemBits) vlen() int     { return int(b >> itemValShift) }

// putBytes is what the item adds to the tree, 0 for a deletion and for the item that was not there.
func (it *item) putBytes() int {
	switch it.is.what() {
	case itemDel:
		return 0
	case itemDirty:
		return it.is.klen() + format.ExtentRecordHeader + 4
	}
	return it.is.klen() + it.is.vlen()
}

// probeRef marks the tombstone end that stands for layer.probe. No slab is so long that this would be a place in it.
const probeRef = ^slabRef(0)

// dirtyBlock is a block of an object that was written in part: its whole content, which fold writes out.
type dirtyBlock struct {
	buf    arena.Buf
	dead   bool // the transaction that made it was undone
	home   BlockNo
	crc    uint32 // of the content as fold wrote it to home
	done   bool   // fold has given it a home
	orphan bool   // a transaction after the freeze did away with it
}

const (
	layerDegree   = 32 // of the tree of tombstones
	itemHeapBytes = 64 // what an item costs in tree nodes that are two thirds full, on average
)

// memory is what the keys and values of a layer and of its clones stand in. It dies with the last of them.
type memory struct {
	slab  *slab
	probe []byte // the key that probeRef stands for
	dirty []dirtyBlock
	nodes nodes
	refs  int
	live  int // dirty blocks to be given back, after letGo
}

func (m *memory) key(ref slabRef, n uint16) []byte {
	if ref == probeRef {
		return m.probe
	}
	return m.slab.bytes(ref, int(n))
}

// letGo ends one use of a layer; true: it was the last one of its memory, which can be given back.
func (l *layer) letGo() (last bool) {
	l.live = max(l.live, l.dirtyLive) // a clone does not count its dirty blocks
	l.refs--
	return l.refs == 0
}

// held is how many bytes are still to be given back, after letGo.
func (m *memory) held() int { return m.slab.held() + m.live*format.BlockBytes }

// giveBack takes one step of giving the memory back, so that no turn does more of it than it has time for. false: that was the last.
func (m *memory) giveBack() (more bool) {
	i := len(m.dirty) - 1
	if i < 0 {
		m.nodes.release()
		return m.slab.giveBack()
	}
	if d := &m.dirty[i]; !d.dead {
		m.slab.arena.Put(d.buf)
		m.live--
	}
	m.dirty = m.dirty[:i]
	return true
}

// layer is one generation of the delta: every change since a group boundary that is not yet in the tree. The active layer changes; a
// frozen one never does.
type layer struct {
	*memory
	items       itemTree
	tombs       tombSet
	order       uint64 // of the last change
	dirtyLive   int    // dirty blocks that fold must write
	valueBlocks int    // what the values need that are too long for a leaf, in whole pieces; overwritten ones are counted too
	puts        int    // bytes of the keys and values that stand now, deletions left out
	spots       int    // places of the tree that the items change, at most: see foldroom.go
	muts        uint64 // changes so far, undone ones included: a cursor over the active layer looks at it
	extra       int    // bytes of dirty blocks
}

func newLayer(a *arena.Arena, chunkBytes int, pool *nodePool) *layer {
	m := &memory{slab: newSlab(a, chunkBytes), nodes: nodes{pool: pool}, refs: 1}
	l := &layer{memory: m, items: newItemTree(m)}
	l.tombs.init(l)
	return l
}

// clone is the layer as it is now, in O(1): the nodes of the trees are shared until one side changes them.
func (l *layer) clone() *layer {
	l.refs++
	c := &layer{memory: l.memory, items: l.items.clone(), order: l.order, muts: l.muts}
	c.tombs = tombSet{l: c, tree: l.tombs.tree.Clone()}
	c.tombs.bind()
	return c
}

func (l *layer) keyOf(it *item) []byte { return l.slab.bytes(it.key, it.is.klen()) }
func (l *layer) valOf(it *item) []byte { return l.slab.bytes(it.val, it.is.vlen()) }

// bytes is what the layer counts against the limit of the delta.
func (l *layer) bytes() int {
	return l.slab.next + l.extra + (l.items.n+l.tombs.len())*itemHeapBytes
}

// treeBytes is what the items need in leaves.
func (l *layer) treeBytes() int { return l.puts + l.items.n*format.LeafEntryBytes }

func (l *layer) empty() bool { return l.items.n == 0 && l.tombs.len() == 0 }

// places is the spots of all items and tombstones.
func (l *layer) places() uint64 { return uint64(min(l.spots, l.items.n) + 2*l.tombs.len()) }

// get finds the layer's own word about key: an item, or a tombstone as an itemDel, or nothing.
func (l *layer) get(key []byte) (item, bool) {
	it, ok := l.items.get(key)
	if l.tombs.len() == 0 {
		return it, ok
	}
	if t, covered := l.tombs.at(key); covered && (!ok || it.order < t.order) {
		return item{is: bitsOf(itemDel, false, false, 0, 0), order: t.order}, true
	}
	return it, ok
}

// exact finds the item with that key, hidden by a tombstone or not.
func (l *layer) exact(key []byte) (item, bool) { return l.items.get(key) }

// floor finds the last item at or before key, strictly before it on demand, hidden by a tombstone or not.
func (l *layer) floor(key []byte, strict bool) (it item, ok bool, like likeness) {
	return l.items.floor(key, strict)
}

// put makes key an item. val is copied. inside: the spots on both sides of it are counted. It returns the new item and the one it replaced.
func (l *layer) put(key, val []byte, what uint8, index uint32, settled, inside bool) (now, old item, had bool, err error) {
	if len(key) > maxTreeKey || len(val) > ValueMax {
		panic(fmt.Sprintf("storage: delta key of %d bytes, value of %d", len(key), len(val)))
	}
	if inside { // the end of a run stays one, whatever follows in the same run
		it, ok := l.items.get(key)
		inside = !ok || it.is.inside()
	}
	pad := (len(key) + slabUnit - 1) &^ (slabUnit - 1)
	ref, mem, err := l.slab.alloc(pad + len(val))
	if err != nil {
		return now, old, false, err
	}
	copy(mem, key)
	copy(mem[pad:], val)
	now = item{key: ref, val: ref + slabRef(pad/slabUnit), is: bitsOf(what, settled, inside, len(key), len(val))}
	if what == itemDirty {
		now.val = slabRef(index)
	}
	l.order++
	l.muts++
	now.order = l.order
	old, had = l.items.put(key, now)
	l.puts += now.putBytes() - old.putBytes()
	if !inside {
		l.spots++
	}
	if had && !old.is.inside() {
		l.spots--
	}
	return now, old, had, nil
}

// unput takes back a put: the last change first.
func (l *layer) unput(now, old item, had bool) {
	l.muts++
	if had {
		l.items.put(l.keyOf(&old), old)
		return
	}
	if !l.items.remove(l.keyOf(&now)) {
		panic("storage: undo of a key that is not there")
	}
}
