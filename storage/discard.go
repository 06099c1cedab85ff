package storage

import (
	"math/bits"
	"sort"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/storage/format"
)

// discarder tells the device which free blocks hold nothing that anybody needs. The slice is cut into chunks of whole units of the device. A chunk
// is marked when one of its blocks is freed, and discarded, with its neighbours, when all of it is free: what is freed in fragments waits until
// they have merged. What waits takes a bit for each chunk, however much is freed: 1 TiB / 1 MiB / 8 bits = 128 KiB.
//
// Only what the allocator calls free is ever discarded: the superblock that released it is durable, and nobody holds it. While the device works on
// it, it is taken out of the allocator, so that nobody writes there before the device is done; whoever mounts finds it free.
//
// A mount does not know what the ones before have discarded: it begins with every chunk marked.
type discarder struct {
	// Immutable after Mount.
	by    device.DiscardBy
	chunk BlockCount
	most  BlockCount    // of one discard, whole chunks
	parts []discardPart // ascending

	// Owned by the loop.
	marks   []uint64 // a bit for each chunk
	marked  int
	fresh   bool   // something has been marked since the last pass began
	held    Extent // what the device works on; empty: nothing
	dueNs   int64  // when the next discard may begin
	running bool   // the fiber
	off     error  // why no more is discarded
	share   turnShare
	wake    engine.WaitList // the fiber
	onFail  func(t *engine.Turn, err error)
}

// discardPart is the chunks of one extent of the space.
type discardPart struct {
	start BlockNo // of the first chunk
	first int     // its number
	n     int
}

const (
	discardBlocksMax = 64 << 20 / blockSize // of one discard: how long it keeps free blocks from others
	discardsPerSec   = 8                    // at least, when the rate is what holds them back

	discardDelayMinNs = 10_000 // whoever waits so long again and again takes no CPU to speak of
)

// cut makes the chunks and marks them all. The first one begins where a unit of the device does; what is left over at the ends of the space is
// never discarded.
func (d *discarder) cut(space []Extent, g device.Geometry, opt *Options) {
	unit := BlockCount(max(1, g.DiscardBytes/blockSize))
	align := BlockNo(g.DiscardAlign / blockSize)
	d.chunk = (BlockCount(opt.DiscardMinBytes/blockSize) + unit - 1) / unit * unit
	rate := BlockCount(min(opt.DiscardBytesPerSec/discardsPerSec/blockSize, discardBlocksMax))
	d.most = max(rate/d.chunk, 1) * d.chunk
	n := 0
	for _, e := range space {
		start := align
		if e.Start > align {
			start += (e.Start - align + BlockNo(d.chunk) - 1) / BlockNo(d.chunk) * BlockNo(d.chunk)
		}
		if start+BlockNo(d.chunk) > e.End() {
			continue
		}
		p := discardPart{start: start, first: n, n: int((e.End() - start) / BlockNo(d.chunk))}
		d.parts = append(d.parts, p)
		n += p.n
	}
	d.marks = make([]uint64, (n+63)/64)
	for i := range n {
		d.set(i)
	}
	d.fresh = true
}

func (d *discarder) isMarked(i int) bool { return d.marks[i/64]&(1<<(i%64)) != 0 }

func (d *discarder) set(i int) {
	if !d.isMarked(i) {
		d.marks[i/64] |= 1 << (i % 64)
		d.marked++
	}
}

func (d *discarder) clear(i int) {
	d.marks[i/64] &^= 1 << (i % 64)
	d.marked--
}

// next is the first marked chunk from i on, -1 if there is none, and how many words it has looked at.
func (d *discarder) next(i int) (chunk, looked int) {
	for w := i / 64; w < len(d.marks); w++ {
		word := d.marks[w]
		if w == i/64 {
			word &= ^uint64(0) << (i % 64)
		}
		looked++
		if word != 0 {
			return w*64 + bits.TrailingZeros64(word), looked
		}
	}
	return -1, looked
}

// freed marks the chunks that e lies in.
func (d *discarder) freed(e Extent) {
	if d.marks == nil {
		return
	}
	i := sort.Search(len(d.parts), func(i int) bool { return d.end(&d.parts[i]) > e.Start })
	if i == len(d.parts) || d.parts[i].start >= e.End() {
		return
	}
	p := &d.parts[i]
	from := max(e.Start, p.start) - p.start
	to := min(e.End(), d.end(p)) - p.start
	for c := from / BlockNo(d.chunk); c*BlockNo(d.chunk) < to; c++ {
		d.set(p.first + int(c))
	}
	d.fresh = true
}

func (d *discarder) end(p *discardPart) BlockNo { return p.start + BlockNo(p.n)*BlockNo(d.chunk) }

// part is the one that chunk i lies in.
func (d *discarder) part(i int) *discardPart {
	k := sort.Search(len(d.parts), func(k int) bool { return d.parts[k].first+d.parts[k].n > i })
	return &d.parts[k]
}

// kick lets the fiber look at what was marked.
func (d *discarder) kick(t *engine.Turn) {
	if d.fresh {
		d.wake.WakeAll(t)
	}
}

// OnDiscardFail has fn called once, when a discard failed: nothing is discarded any more, and all else goes on.
func (s *Store) OnDiscardFail(fn func(t *engine.Turn, err error)) { s.discards.onFail = fn }

// startDiscards begins to discard, if that is wanted and the device can.
func (s *Store) startDiscards(f *engine.Fiber) error {
	d := &s.discards
	if !s.opt.Discard {
		return nil
	}
	if d.by = s.dev.DiscardBy(f); d.by == device.DiscardNone {
		return nil
	}
	d.cut(s.space, s.dev.Device().Geometry(), &s.opt)
	d.running = true
	err := f.Turn().Go("discard", s.runDiscards)
	if err != nil {
		d.running = false
	}
	return err
}

// discardsOver tells whether nothing may be discarded any more.
func (s *Store) discardsOver() bool {
	return s.closing || s.failed != nil || s.discards.off != nil
}

// runDiscards is the fiber that makes them, one at a time.
func (s *Store) runDiscards(f *engine.Fiber) {
	d := &s.discards
	for !s.discardsOver() {
		if !d.fresh {
			d.wake.Wait(f)
			continue
		}
		s.pauseDiscards(f, f.Turn().Now()+s.opt.DiscardDelayNs) // more will be freed, and merge with it
		d.fresh = false
		s.discardPass(f)
	}
	d.running = false
	s.waitDrain.WakeAll(f.Turn())
}

// endDiscards waits for the discard in flight, which has a bounded length, and lets no other begin.
func (s *Store) endDiscards(f *engine.Fiber) {
	s.discards.wake.WakeAll(f.Turn())
	for s.discards.running {
		s.waitDrain.Wait(f)
	}
}

func (s *Store) pauseDiscards(f *engine.Fiber, untilNs int64) {
	for !s.discardsOver() && f.Turn().Now() < untilNs {
		s.discards.wake.WaitFor(f, untilNs-f.Turn().Now())
	}
}

// discardPass looks at every marked chunk once, and discards those that are free.
func (s *Store) discardPass(f *engine.Fiber) {
	d := &s.discards
	d.share.begin(f.Turn())
	for i := 0; !s.discardsOver(); {
		at, looked := d.next(i)
		if at < 0 {
			return
		}
		if i = at; d.share.take(f.Turn(), 1+looked/lookSteps, s.opt.TurnSteps, s.opt.TurnBudgetNs) {
			f.Yield()
			d.share.begin(f.Turn())
			continue
		}
		if !s.alloc.IsFree(d.extent(i, 1)) {
			i++
			continue
		}
		n, ok := s.takeForDiscard(i)
		if !ok { // others need the space, or the device
			s.pauseDiscards(f, f.Turn().Now()+s.opt.DiscardDelayNs)
			continue
		}
		s.discardHeld(f)
		s.pauseDiscards(f, d.dueNs)
		i += n
	}
}

// extent is n chunks from i on.
func (d *discarder) extent(i, n int) Extent {
	p := d.part(i)
	return Extent{Start: p.start + BlockNo(i-p.first)*BlockNo(d.chunk), Len: BlockCount(n) * d.chunk}
}

// takeForDiscard takes a free chunk, and the marked and free ones behind it, out of the allocator. Nothing is taken while updates wait for space or
// are slowed down, nor what the next fold may need: admission has promised that to transactions which are applied. As much again must be left.
func (s *Store) takeForDiscard(i int) (n int, ok bool) {
	d := &s.discards
	need := s.foldNeed() + s.deleteReserve()
	have := s.alloc.Pieces() * uint64(s.pool)
	if s.hungry > 0 || s.paceNs() > 0 || have < 2*(need+uint64(d.chunk)) {
		return 0, false
	}
	most := min(uint64(d.most), have/2-need)
	p := d.part(i)
	for n = 1; i+n < p.first+p.n && uint64(n+1)*uint64(d.chunk) <= most; n++ {
		if !d.isMarked(i+n) || !s.alloc.IsFree(d.extent(i+n, 1)) {
			break
		}
	}
	e := d.extent(i, n)
	if !s.alloc.Claim(e) {
		panic("storage: a chunk to be discarded is not free: " + e.String())
	}
	if s.alloc.Pieces()*uint64(s.pool) < need { // it was what held the pieces together
		s.alloc.Free(e)
		return 0, false
	}
	for k := range n {
		d.clear(i + k)
	}
	d.held = e
	return n, true
}

// discardHeld has the device discard what was taken, and gives it back.
func (s *Store) discardHeld(f *engine.Fiber) {
	d := &s.discards
	e := d.held
	err := s.dev.Discard(f, e.Offset(), e.Bytes())
	s.alloc.Free(e)
	d.held = Extent{}
	t := f.Turn()
	s.waitSlot.WakeAll(t)
	if err == nil {
		s.stats.Discards++
		s.stats.DiscardedBytes += uint64(e.Bytes())
		d.dueNs = max(d.dueNs, t.Now()) + e.Bytes()*1e9/s.opt.DiscardBytesPerSec
		return
	}
	s.stats.DiscardErrors++
	d.off = err
	if d.onFail != nil {
		d.onFail(t, err)
	}
}

// waitForDiscard tells whether the device had free blocks just now, and waits until they are back.
func (s *Store) waitForDiscard(f *engine.Fiber) bool {
	held := s.discards.held
	for held.Len > 0 && s.discards.held == held && s.failed == nil && !s.closing {
		s.waitSlot.Wait(f)
	}
	return held.Len > 0
}

// discardEarly is the planted bug: what the superblock that is being made will release is discarded before it is durable.
func (s *Store) discardEarly(f *engine.Fiber) {
	l := s.limbo.frozen
	for e, ok := l.next(nil); ok && s.discards.running; e, ok = l.next(nil) {
		_ = s.dev.Discard(f, e.Offset(), e.Bytes())
	}
}

// DiscardStats are how the device is told what is free.
type DiscardStats struct {
	By         string // "none" if it is not
	Why        string // it was switched off
	ChunkBytes int64  // the least that is discarded at once
	Marked     int64  // bytes of chunks in which something was freed that the device has not been told of
	HeldBlocks uint64 // that the device works on
	MarkBytes  int    // memory of the marks
}

func (d *discarder) stats() DiscardStats {
	st := DiscardStats{
		By: d.by.String(), ChunkBytes: int64(d.chunk) * format.BlockBytes, Marked: int64(d.marked) * int64(d.chunk) * format.BlockBytes,
		HeldBlocks: uint64(d.held.Len), MarkBytes: 8 * len(d.marks),
	}
	if d.off != nil {
		st.Why = d.off.Error()
	}
	return st
}
