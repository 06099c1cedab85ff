package storage

import (
	"bytes"
	"errors"
	"fmt"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/storage/format"
)

// quarantineMax bounds the list. What is bad beyond it is as unreadable as the rest, is counted, and comes in when others have left.
const quarantineMax = 1024

// Quarantined is something of the device that cannot be read, or is not what was written there.
type Quarantined struct {
	What   string // WhatData, WhatTree or one of the fixed structures
	Coll   Coll   // of WhatData
	Object []byte
	Block  uint64 // of the object
	At     Extent // on the device
	WallNs int64  // when it was found
	Err    error

	pass uint64 // the scrub that saw it last
}

// What can be in quarantine.
const (
	WhatData  = "data block"
	WhatTree  = "tree block" // a node, or a piece of a long value
	WhatLabel = "label copy"
	WhatSuper = "superblock copy"
	WhatMap   = "space map"
)

func (q *Quarantined) String() string {
	if q.What == WhatData {
		return fmt.Sprintf("%s %v, block %d of object %x of collection %d: %v", q.What, q.At, q.Block, q.Object, q.Coll, q.Err)
	}
	return fmt.Sprintf("%s %v: %v", q.What, q.At, q.Err)
}

// quarantine is the list of what is known to be bad. It changes nothing about who may read what: a bad block fails by itself each time. It is
// there for people, and so that a bad block is examined once and not with each read. It is not durable: the scrub and the readers find again
// what is still bad, and a list that outlived a restart would name what has been mended with the device in another machine.
type quarantine struct{ list []Quarantined }

// isDamage tells the errors that stand for bytes that cannot be had from those that stand for a busy moment.
func isDamage(err error) bool {
	var io *device.IOError
	return format.IsCorrupt(err) || errors.As(err, &io) && io.Op == device.OpRead
}

// damagedAt is the place that an error names.
func damagedAt(err error) Extent {
	var bad *format.CorruptError
	var io *device.IOError
	switch {
	case errors.As(err, &bad):
		return bad.Extent
	case errors.As(err, &io):
		return Extent{Start: BlockNo(io.Off / format.BlockBytes), Len: format.BlocksFor(int64(io.Len))}
	}
	return Extent{}
}

// meets tells whether something in e is in the list.
func (l *quarantine) meets(e Extent) bool {
	for i := range l.list {
		if l.list[i].At.Overlaps(e) {
			return true
		}
	}
	return false
}

// Quarantine lists what is known to be bad now.
func (s *Store) Quarantine() []Quarantined { return append([]Quarantined(nil), s.bad.list...) }

// OnQuarantine has fn called for everything that comes into quarantine, and when it leaves because it was replaced or can be read again.
func (s *Store) OnQuarantine(fn func(t *engine.Turn, q Quarantined, healed bool)) { s.onBad = fn }

// quarantine notes what was found to be bad.
func (s *Store) quarantine(t *engine.Turn, q Quarantined) {
	l := &s.bad
	for i := range l.list {
		if o := &l.list[i]; o.At == q.At && o.What == q.What && o.Coll == q.Coll && o.Block == q.Block && bytes.Equal(o.Object, q.Object) {
			o.pass = s.scrub.pass
			return
		}
	}
	s.stats.Quarantined++
	if len(l.list) == quarantineMax {
		s.stats.QuarantineFull++
		return
	}
	q.WallNs, q.pass = t.Wall(), s.scrub.pass
	l.list = append(l.list, q)
	if s.onBad != nil {
		s.onBad(t, q, false)
	}
}

// heal takes out of the list what healed says is well.
func (s *Store) heal(t *engine.Turn, healed func(q *Quarantined) bool) {
	l := &s.bad
	kept := 0
	for i := range l.list {
		q := l.list[i]
		if !healed(&q) {
			l.list[kept] = q
			kept++
			continue
		}
		s.stats.Healed++
		if s.onBad != nil {
			s.onBad(t, q, true)
		}
	}
	clear(l.list[kept:])
	l.list = l.list[:kept]
}

// wellRead takes out of the list what was just read well.
func (s *Store) wellRead(t *engine.Turn, e Extent) {
	if len(s.bad.list) > 0 && s.bad.meets(e) {
		s.heal(t, func(q *Quarantined) bool { return e.Contains(q.At) })
	}
}

// freedTree takes blocks out of the list that the tree has no more.
func (s *Store) freedTree(t *engine.Turn, e Extent) {
	if len(s.bad.list) > 0 {
		s.heal(t, func(q *Quarantined) bool { return q.What == WhatTree && e.Contains(q.At) })
	}
}

// freed takes out of the list what stood in blocks that nobody names or holds any more: what is written there next is something else.
func (s *Store) freed(t *engine.Turn, e Extent) {
	if len(s.bad.list) > 0 && s.bad.meets(e) {
		s.heal(t, func(q *Quarantined) bool { return q.At.Overlaps(e) })
	}
}

// objectCut is a part of an object that a transaction takes away or replaces.
type objectCut struct {
	coll   Coll
	object []byte // nil: of every object of the collection
	lo, hi uint64 // blocks
}

// cuts notes that a transaction does away with blocks [lo, hi) of an object, whatever they held.
func (tx *Tx) cuts(c Coll, obj []byte, lo, hi uint64) {
	if len(tx.s.bad.list) > 0 {
		tx.cut = append(tx.cut, objectCut{coll: c, object: bytes.Clone(obj), lo: lo, hi: hi})
	}
}

// healCut takes out of the list what an applied transaction did away with.
func (s *Store) healCut(t *engine.Turn, cut []objectCut) {
	for i := range cut {
		c := &cut[i]
		s.heal(t, func(q *Quarantined) bool {
			return q.What == WhatData && q.Coll == c.coll && q.Block >= c.lo && q.Block < c.hi && (c.object == nil || bytes.Equal(q.Object, c.object))
		})
	}
}

// noteRead lists what a read of blocks [lo, hi) of an object could not read. What is in the list already is not examined once more.
func (s *Store) noteRead(f *engine.Fiber, c Coll, obj []byte, lo, hi uint64, err error) {
	if !isDamage(err) || s.replaying || s.bad.meets(damagedAt(err)) {
		return
	}
	s.examine(f, c, bytes.Clone(obj), lo, hi)
}

// noteLoad lists what the load of a miss could not read, and names the object in the error if it was an object's block.
func (s *Store) noteLoad(f *engine.Fiber, epoch uint64, set *loadSet, block blockRef, err error) error {
	if block.ok {
		o := &set.of
		err = &ObjectError{Coll: o.coll, Name: bytes.Clone(o.object), Off: o.block * format.BlockBytes, Err: err}
		s.noteRead(f, o.coll, o.object, o.block, o.block+1, err)
		return err
	}
	if !s.replaying && s.super.Epoch == epoch { // else another tree is in force, which may not have it any more
		s.quarantine(f.Turn(), Quarantined{What: WhatTree, At: damagedAt(err), Err: err})
	}
	return err
}

// placedBlock is a block of an object with where it stands.
type placedBlock struct {
	block uint64
	ref   blockRef
}

// onDevice lists the blocks of [lo, hi) of an object that stand on the device and nowhere else.
func (s *Store) onDevice(f *engine.Fiber, c Coll, obj []byte, lo, hi uint64) (list []placedBlock, err error) {
	err = s.View(f, func(tx *Tx) error {
		list = list[:0]
		if err := tx.collect(c, obj, lo, hi); err != nil {
			return err
		}
		for i := range tx.recs {
			p := &tx.recs[i]
			if p.isDirty {
				continue
			}
			for b := max(lo, p.off); b < min(hi, p.end()); b++ {
				ref := blockRef{no: p.rec.Start + BlockNo(b-p.off), crc: p.rec.Crc(int(b - p.off)), ok: true}
				if _, pending := s.pendingBlock(ref.no); !pending {
					list = append(list, placedBlock{block: b, ref: ref})
				}
			}
		}
		return nil
	})
	return list, err
}

// examine reads blocks [lo, hi) of an object one by one, and lists those that cannot be read and are still the object's then: a block that was
// replaced meanwhile is nobody's loss. It tells how many there are.
func (s *Store) examine(f *engine.Fiber, c Coll, obj []byte, lo, hi uint64) (bad int) {
	buf, err := s.arena.Get(format.BlockBytes)
	if err != nil {
		s.scrub.blind = true
		return 0 // a busy moment; whoever reads it next looks again
	}
	defer s.arena.Put(buf)
	list, err := s.onDevice(f, c, obj, lo, hi)
	if err != nil {
		s.scrub.blind = true
		return 0
	}
	pin := s.limbo.pin(s.super.Epoch) // in the turn in which the list was made
	for _, b := range list {
		at := Extent{Start: b.ref.no, Len: 1}
		err := s.readVerified(f, s.arena.Bytes(buf), b.ref)
		if err == nil {
			s.wellRead(f.Turn(), at)
			continue
		}
		if !isDamage(err) {
			continue
		}
		now, lost := s.onDevice(f, c, obj, b.block, b.block+1)
		if lost == nil && len(now) == 1 && now[0] == b {
			s.quarantine(f.Turn(), Quarantined{What: WhatData, Coll: c, Object: obj, Block: b.block, At: at, Err: err})
			bad++
		}
	}
	s.unpin(f.Turn(), pin)
	return bad
}
