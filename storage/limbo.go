package storage

import "fmt"

// limbo is every block that was freed and may not be reused yet. What transactions free is fresh; a checkpoint takes it with the delta that
// freed it; when its superblock is durable, nothing durable needs the blocks any more; and when no reader that began before holds them,
// they are free.
type limbo struct {
	fresh  extentList // freed by transactions that are not in a fold yet
	frozen extentList // freed by the transactions being folded, and by the fold
	held   []heldBatch
	pins   []epochPins
	blocks uint64 // in fresh, frozen and held
}

// extentList is a list of extents in pieces: no step that makes it longer or shorter takes longer for a long one. next changes nothing that a copy
// of the list sees, so a copy of one that does not grow any more can be gone through while the list is used up.
type extentList struct {
	pieces [][]Extent
	at     int    // extents of the first piece that are gone
	blocks uint64 // of those that are left
}

const extentPieceLen = 512

func (l *extentList) empty() bool { return len(l.pieces) == 0 }

// add appends e, or makes the last extent longer.
func (l *extentList) add(e Extent) {
	l.blocks += uint64(e.Len)
	i := len(l.pieces) - 1
	if i >= 0 {
		last := l.pieces[i]
		if x := &last[len(last)-1]; x.End() == e.Start {
			x.Len += e.Len
			return
		}
		if len(last) < extentPieceLen {
			l.pieces[i] = append(last, e)
			return
		}
	}
	l.pieces = append(l.pieces, append(make([]Extent, 0, extentPieceLen), e))
}

// next takes the first extent out.
func (l *extentList) next() (e Extent, ok bool) {
	if len(l.pieces) == 0 {
		return e, false
	}
	first := l.pieces[0]
	e = first[l.at]
	if l.at++; l.at == len(first) {
		l.pieces, l.at = l.pieces[1:], 0
	}
	l.blocks -= uint64(e.Len)
	return e, true
}

// heldBatch is what superblock epoch released. Readers that began under an older one may still hold it.
type heldBatch struct {
	epoch   uint64
	extents extentList
}

type epochPins struct {
	epoch uint64
	n     int
	long  int // of n: snapshots, which last as long as their owners like; a read in flight ends by itself
}

func (l *limbo) add(e Extent) {
	l.fresh.add(e)
	l.blocks += uint64(e.Len)
}

// young is how many blocks the next checkpoint can release.
func (l *limbo) young() uint64 { return l.fresh.blocks }

// freeze gives what is fresh to the checkpoint that begins now.
func (l *limbo) freeze() {
	if !l.frozen.empty() {
		panic("storage: two checkpoints at a time")
	}
	l.frozen, l.fresh = l.fresh, extentList{}
}

// addFrozen notes a block that the fold does not need any more.
func (l *limbo) addFrozen(e Extent) {
	l.frozen.add(e)
	l.blocks += uint64(e.Len)
}

// release says that superblock epoch is durable and does not need what was frozen.
func (l *limbo) release(epoch uint64) {
	if !l.frozen.empty() {
		l.held = append(l.held, heldBatch{epoch: epoch, extents: l.frozen})
	}
	l.frozen = extentList{}
}

// released is what superblocks have released and is not free yet, as it stands now: for each batch the list of its extents.
func (l *limbo) released(dst []extentList) []extentList {
	for i := range l.held {
		dst = append(dst, l.held[i].extents)
	}
	return dst
}

// pin holds everything that the superblock of that epoch names.
func (l *limbo) pin(epoch uint64) uint64 {
	if i := len(l.pins) - 1; i >= 0 && l.pins[i].epoch == epoch {
		l.pins[i].n++
	} else {
		if i >= 0 && l.pins[i].epoch > epoch {
			panic(fmt.Sprintf("storage: pin of epoch %d after %d", epoch, l.pins[i].epoch))
		}
		l.pins = append(l.pins, epochPins{epoch: epoch, n: 1})
	}
	return epoch
}

// pinLong is a pin for a snapshot; unpinLong ends it.
func (l *limbo) pinLong(epoch uint64) uint64 {
	l.pin(epoch)
	l.pins[len(l.pins)-1].long++
	return epoch
}

func (l *limbo) unpinLong(epoch uint64) {
	for i := range l.pins {
		if l.pins[i].epoch == epoch {
			l.pins[i].long--
		}
	}
	l.unpin(epoch)
}

// unpin ends a pin.
func (l *limbo) unpin(epoch uint64) {
	for i := range l.pins {
		if p := &l.pins[i]; p.epoch == epoch {
			if p.n--; p.n == 0 {
				l.pins = append(l.pins[:i], l.pins[i+1:]...)
			}
			return
		}
	}
	panic(fmt.Sprintf("storage: epoch %d is not pinned", epoch))
}

// ready tells whether nobody holds the oldest batch any more. That stays so: who comes later began under the superblock that released it, or a
// newer one.
func (l *limbo) ready() bool {
	return len(l.held) > 0 && (len(l.pins) == 0 || l.pins[0].epoch >= l.held[0].epoch)
}

// pop takes an extent that nobody holds any more.
func (l *limbo) pop() (Extent, bool) {
	if !l.ready() {
		return Extent{}, false
	}
	b := &l.held[0].extents
	e, _ := b.next()
	l.blocks -= uint64(e.Len)
	if b.empty() {
		l.held = append(l.held[:0], l.held[1:]...)
	}
	return e, true
}

// longest is the epoch of the oldest snapshot.
func (l *limbo) longest() (epoch uint64, ok bool) {
	for i := range l.pins {
		if l.pins[i].long > 0 {
			return l.pins[i].epoch, true
		}
	}
	return 0, false
}

// coming is how many blocks become free by themselves: after the next checkpoint, and when the reads in flight have ended. The others wait
// for a snapshot, and nobody knows how long.
func (l *limbo) coming() uint64 {
	oldest, ok := l.longest()
	if !ok {
		return l.blocks
	}
	n := uint64(0)
	for i := range l.held {
		if l.held[i].epoch <= oldest {
			n += l.held[i].extents.blocks
		}
	}
	return n
}

// awaited tells whether only reads in flight hold the oldest batch that a superblock has released, and which superblock that was.
func (l *limbo) awaited() (epoch uint64, ok bool) {
	if len(l.held) == 0 {
		return 0, false
	}
	epoch = l.held[0].epoch
	oldest, long := l.longest()
	return epoch, !long || oldest >= epoch
}
