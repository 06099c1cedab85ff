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
	pool   extentPool
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
	l.fresh.add(e, &l.pool)
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
	l.frozen.add(e, &l.pool)
	l.blocks += uint64(e.Len)
}

// release says that superblock epoch is durable and does not need what was frozen.
func (l *limbo) release(epoch uint64) {
	if !l.frozen.empty() {
		l.held = append(l.held, heldBatch{epoch: epoch, extents: l.frozen})
	}
	l.frozen = extentList{}
}

// heldBlocks is how many blocks superblocks have released that are not free yet.
func (l *limbo) heldBlocks() (n uint64) {
	for i := range l.held {
		n += l.held[i].extents.blocks
	}
	return n
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
	e, _ := b.next(&l.pool)
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
