package btree

import "basalt/storage/format"

// blockIndex finds the frame of a block: a table of open addressing, at most half full, so that a lookup touches one line of memory. Owned by
// the cache; it grows with the frames and never shrinks.
type blockIndex struct {
	slots []blockSlot
	shift uint // 64 less the bits of a slot's number
	n     int
}

// blockSlot is empty where frame is 0.
type blockSlot struct {
	block format.BlockNo
	frame int32 // plus one
}

const blockIndexBits = 6 // of the first table

func (x *blockIndex) init() {
	*x = blockIndex{slots: make([]blockSlot, 1<<blockIndexBits), shift: 64 - blockIndexBits}
}

// home is where a block's slot would be if no other were there: multiplied by 2^64 over the golden ratio, neighbours are far apart.
func (x *blockIndex) home(b format.BlockNo) int {
	return int(uint64(b) * 0x9e3779b97f4a7c15 >> x.shift)
}

// find is the slot of a block, or the empty one where it would be.
func (x *blockIndex) find(b format.BlockNo) int {
	mask := len(x.slots) - 1
	i := x.home(b)
	for x.slots[i].frame != 0 && x.slots[i].block != b {
		i = (i + 1) & mask
	}
	return i
}

// get is the frame of a block, or -1.
func (x *blockIndex) get(b format.BlockNo) int32 { return x.slots[x.find(b)].frame - 1 }

func (x *blockIndex) put(b format.BlockNo, frame int32) {
	i := x.find(b)
	if x.slots[i].frame == 0 {
		if x.n++; 2*x.n > len(x.slots) {
			x.grow()
			i = x.find(b)
		}
	}
	x.slots[i] = blockSlot{block: b, frame: frame + 1}
}

func (x *blockIndex) grow() {
	old := x.slots
	x.slots = make([]blockSlot, 2*len(old))
	x.shift--
	for _, s := range old {
		if s.frame != 0 {
			x.slots[x.find(s.block)] = s
		}
	}
}

// remove empties the slot of a block, and moves those behind it up that would not be found any more.
func (x *blockIndex) remove(b format.BlockNo) {
	mask := len(x.slots) - 1
	hole := x.find(b)
	if x.slots[hole].frame == 0 {
		return
	}
	x.n--
	for i := (hole + 1) & mask; x.slots[i].frame != 0; i = (i + 1) & mask {
		if home := x.home(x.slots[i].block); (i-home)&mask >= (i-hole)&mask {
			x.slots[hole] = x.slots[i]
			hole = i
		}
	}
	x.slots[hole] = blockSlot{}
}
