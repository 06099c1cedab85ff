package storage

import (
	"bytes"
	"errors"
	"fmt"
	"sort"

	"basalt/engine"
	"basalt/storage/format"
	"basalt/storage/journal"
)

// salvage is how a repair mounts a store: it goes on where every other mount refuses, and notes what that gives up. A nil one gives up nothing.
type salvage struct {
	rebuild  bool    // the space map is made anew, whatever stands there
	named    *Losses // what may be given up, because the operator was told; nil: nothing is written, all may
	wish     RepairWish
	holes    bool      // data blocks will be given up
	losses   Losses    // what is given up
	colls    []Coll    // that have keys and no record
	done     []string  // what was done about objects of which a part was lost
	shares   bool      // objects of the tree share blocks
	ring     []BlockNo // blocks of the journal that cannot be read
	wrongMap bool      // the space map calls blocks free that the tree names
	fitting  bool      // mapFits is looking
	blocks   []BlockNo // data blocks whose content replay could do without
}

// Losses are what a repair cannot bring back.
type Losses struct {
	Tail    *LostTail
	Patches []LostPatch
	Blocks  []Finding   // data blocks of objects
	Ranges  []LostRange // of the tree

	// Unmapped is how many blocks may be named by what is lost of the tree and look like free ones, because there is no space map: the new tree may be
	// written over them before it is durable.
	Unmapped uint64
}

// None tells whether nothing is lost.
func (l *Losses) None() bool {
	return l.Tail == nil && len(l.Patches) == 0 && len(l.Blocks) == 0 && len(l.Ranges) == 0
}

// LostTail is the end of a log whose first record was durable and cannot be read any more. What came after it cannot be applied without it.
type LostTail struct {
	Rot         *RotError
	First, Last uint64 // transactions: all from First on; Last is the last one that any record tells of, below First if none does
	Records     int    // whole ones that are lost with it
	Collections []Coll // that these change; what the bad record changed nobody knows
}

func (l *LostTail) String() string {
	if l.Last < l.First {
		return fmt.Sprintf("transactions from %d on, if there are any: journal record %d: %s", l.First, l.Rot.Record, l.Rot.Why)
	}
	return fmt.Sprintf("transactions %d to %d, %d of them, which may all have been committed: journal record %d is gone, and %d records from there on, which change collections %v, cannot be applied without it (%s)",
		l.First, l.Last, l.Last-l.First+1, l.Rot.Record, l.Records, l.Collections, l.Rot.Why)
}

// LostPatch is a change of a part of a block which cannot be read: the journal has the part, and nobody the rest.
type LostPatch struct {
	Txn    Seq
	Coll   Coll
	Object []byte
	Off    uint64
	Len    int
}

func (p *LostPatch) String() string {
	return fmt.Sprintf("the %d bytes at %d that transaction %d wrote into object %x of collection %d: the rest of their block cannot be read",
		p.Len, p.Off, p.Txn, p.Object, p.Coll)
}

var (
	errLost    = errors.New("storage: the block that a change belongs to is lost")
	errRebuild = errors.New("a repair makes it anew")
)

func (sv *salvage) rebuilds() bool { return sv != nil && sv.rebuild }

// journalDevice is the device as the journal is read from it. A salvage takes blocks that cannot be read for empty ones, and remembers which.
func (s *Store) journalDevice() journal.Device {
	if s.salvage == nil {
		return s.dev
	}
	return &patchyRing{s: s}
}

type patchyRing struct{ s *Store }

func (p *patchyRing) Read(f *engine.Fiber, b []byte, off int64) error {
	dev := p.s.dev
	err := dev.Read(f, b, off)
	if err == nil || !isDamage(err) {
		return err
	}
	for at := 0; at < len(b); at += format.BlockBytes {
		part := b[at : at+format.BlockBytes : at+format.BlockBytes]
		if err := dev.Read(f, part, off+int64(at)); err != nil {
			if !isDamage(err) {
				return err
			}
			clear(part)
			p.s.salvage.unreadable(BlockNo((off + int64(at)) / format.BlockBytes))
		}
	}
	return nil
}

func (sv *salvage) unreadable(no BlockNo) {
	for _, b := range sv.ring {
		if b == no {
			return
		}
	}
	sv.ring = append(sv.ring, no)
}

// endsUnread: where the log ends at a block that cannot be read, nobody knows whether it ends there.
func (sv *salvage) endsUnread(f *engine.Fiber, s *Store, scan *journal.Scan) error {
	if sv == nil || s.super.Flags&format.SuperClean != 0 {
		return nil
	}
	next := s.super.Journal.Start + BlockNo(scan.Block())
	record := Extent{Start: next, Len: format.BlocksFor(int64(s.super.JournalRecord))} // the longest that could stand there
	for _, no := range sv.ring {
		if record.Contains(Extent{Start: no, Len: 1}) || no == s.super.Journal.Start {
			return sv.cutAt(f, s, scan, &RotError{
				Device: s.name, Record: scan.Sequence(), Why: fmt.Sprintf("block %d, where it would stand, cannot be read", no),
			})
		}
	}
	return nil
}

// cutAt notes what is lost when the log ends before a record.
func (sv *salvage) cutAt(f *engine.Fiber, s *Store, scan *journal.Scan, rot *RotError) error {
	tail := &LostTail{Rot: rot, First: s.super.NextTxn}
	var met collSet
	lose := func(r *journal.Record) error {
		tail.Records++
		tail.Last = max(tail.Last, r.Header.FirstTxn+uint64(r.Header.Txns)-1)
		return eachOp(r, func(op *format.Op) error {
			if c := Coll(op.Coll); !met.has(c) {
				met.flip(c)
				tail.Collections = append(tail.Collections, c)
			}
			return nil
		})
	}
	err := eachRecord(f, scan, func(r *journal.Record) error {
		if r.Header.Sequence < rot.Record {
			tail.First = r.Header.FirstTxn + uint64(r.Header.Txns)
			return nil
		}
		return lose(r)
	})
	if err != nil {
		return err
	}
	err = scan.Behind(f, lose)
	sort.Slice(tail.Collections, func(i, j int) bool { return tail.Collections[i] < tail.Collections[j] })
	sv.losses.Tail = tail
	return err
}

// givesUp tells whether replay goes on without a block that it could not load.
func (sv *salvage) givesUp(block blockRef, err error) bool {
	if sv == nil || !block.ok || !isDamage(err) {
		return false
	}
	sv.blocks = append(sv.blocks, block.no)
	return true
}

// gaveUp tells whether the block is one of those.
func (sv *salvage) gaveUp(block blockRef) bool {
	if sv == nil {
		return false
	}
	for _, no := range sv.blocks {
		if no == block.no {
			return true
		}
	}
	return false
}

// lostPatch takes the error of a patch: where its block is given up, the patch is left out, and the block stays as unreadable as it is.
func (tx *Tx) lostPatch(c Coll, obj []byte, off uint64, n int, err error) error {
	if err == errLost {
		tx.lost = append(tx.lost, LostPatch{Txn: tx.seq, Coll: c, Object: bytes.Clone(obj), Off: off, Len: n})
		return nil
	}
	return err
}

func (sv *salvage) losePatches(tx *Tx) {
	if sv != nil {
		sv.losses.Patches = append(sv.losses.Patches, tx.lost...)
		for _, what := range tx.idle {
			sv.did("%s", what)
		}
	}
}

// agreed refuses to go on if more would be lost than the operator has been told of. Nothing has been written yet.
func (sv *salvage) agreed(s *Store) error {
	if sv == nil || sv.named == nil {
		return nil
	}
	have, named := &sv.losses, sv.named
	if sv.torn() {
		named = sv.unseen(*named)
	}
	same := sameRanges(have.Ranges, named.Ranges) && (have.Tail == nil) == (named.Tail == nil) && len(have.Patches) == len(named.Patches)
	if same && have.Tail != nil {
		same = have.Tail.String() == named.Tail.String()
	}
	for i := 0; same && i < len(have.Patches); i++ {
		same = have.Patches[i].String() == named.Patches[i].String()
	}
	if !same && sv.torn() && sameRanges(have.Ranges, named.Ranges) {
		return fmt.Errorf("storage: %s: what the journal changes cannot all be replayed, and giving that up (blocks, journal) was not wished, or is more than was named: the store was left as it is", s.name)
	}
	if !same {
		return fmt.Errorf("storage: %s shows other damage than a moment ago: the store was left as it is; look once more", s.name)
	}
	if !have.None() || sv.holes {
		s.super.DamagedRepairs++
	}
	return nil
}

// unseen: over a torn tree the journal is not replayed to make a plan. What replay gives up then is told afterwards, if it is of a kind that was wished.
func (sv *salvage) unseen(named Losses) *Losses {
	if sv.wish.Blocks {
		named.Patches = sv.losses.Patches
		for i := range named.Patches {
			sv.did("lost: %v", &named.Patches[i])
		}
	}
	if sv.wish.Journal && named.Tail == nil && sv.losses.Tail != nil {
		named.Tail = sv.losses.Tail
		sv.did("lost: %v", named.Tail)
	}
	return &named
}

// report makes findings of what was given up.
func (sv *salvage) report(rep *FsckReport, s *Store) {
	if sv == nil {
		return
	}
	if t := sv.losses.Tail; t != nil {
		rep.add(Finding{Extent: s.super.Journal, What: "the journal cannot be replayed", Err: t.Rot, Kind: FoundJournal})
	}
	for i := range sv.losses.Patches {
		rep.add(Finding{Extent: s.super.Journal, What: sv.losses.Patches[i].String(), Kind: FoundJournal})
	}
}
