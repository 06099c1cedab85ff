package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"basalt/engine"
	"basalt/storage/format"
)

// shares lists the share records of collection 1.
func (b *bench) shares() (list []sharePiece) {
	b.t.Helper()
	b.do(func(f *engine.Fiber) error {
		return b.s.View(f, func(tx *Tx) error {
			list = list[:0]
			cur := tx.pushCursor()
			defer tx.popCursor()
			cur.lo, cur.end = format.AppendShareKey(nil, 1, 0), format.AppendCollectionEnd(nil, 1)
			miss := cur.open(tx.v, cur.lo, cur.end)
			for ; miss.None() && cur.valid; miss = cur.next() {
				p, err := b.s.sharePiece(cur.cur.key, cur.cur.val)
				if err != nil {
					return err
				}
				list = append(list, p)
			}
			if !miss.None() {
				return tx.missing(miss)
			}
			return nil
		})
	})
	return list
}

// wantShares compares the share records, by length and references in the order of their places, with what they must be.
func (b *bench) wantShares(what string, want ...format.ShareRecord) {
	b.t.Helper()
	var got []format.ShareRecord
	for _, p := range b.shares() {
		got = append(got, p.rec)
	}
	if !slices.Equal(got, want) {
		b.t.Fatalf("%s: the share records are %+v, want %+v", what, got, want)
	}
}

// The records that a clone's overwrites have divided become one again, in whatever order the blocks were overwritten, and however the clone ends.
func TestShareRecordsAreJoinedAgain(t *testing.T) {
	b := cloneBench(t, 631, nil)
	rng := rand.New(rand.NewPCG(631, 1))
	data := pattern(1, 64)
	b.update(func(tx *Tx) error { return tx.Write(1, src, 0, data[:32*blockSize]) })
	b.update(func(tx *Tx) error { return tx.Write(1, src, 32*blockSize, data[32*blockSize:]) })
	for round := range 6 {
		b.update(func(tx *Tx) error { return tx.Clone(1, src, dst) })
		most := 0
		for _, i := range rng.Perm(64)[:[]int{64, 64, 40, 64, 20, 64}[round]] {
			b.update(func(tx *Tx) error { return tx.Write(1, dst, uint64(i)*blockSize, pattern(byte(i), 1)) })
			most = max(most, len(b.shares()))
		}
		if most < 8 {
			t.Fatalf("round %d: never more than %d records", round, most)
		}
		if round == 3 {
			b = b.crash(632)
		}
		b.update(func(tx *Tx) error { return tx.Remove(1, dst) })
		if round%2 == 1 {
			b.do(b.s.Checkpoint)
		}
		b.wantShares(fmt.Sprint("round ", round), format.ShareRecord{Len: 64, Refs: 1})
		b.wants("src", data)
	}
	b.update(func(tx *Tx) error { return tx.Remove(1, src) })
	b.wantShares("without the source")
	b.unmount()
	if rep := b.fsck(); rep.DataBlocks != 0 || rep.Shares != 0 {
		t.Fatalf("%+v", rep)
	}
}

// scatter divides the only share record into pieces, as older software left them.
func (b *bench) scatter(lens ...BlockCount) {
	b.t.Helper()
	p := b.shares()[0]
	b.update(func(tx *Tx) error {
		at := p.start
		for _, n := range lens {
			if err := tx.putShare(1, at, format.ShareRecord{Len: n, Refs: p.rec.Refs}); err != nil {
				return err
			}
			at += BlockNo(n)
		}
		if at != p.extent().End() {
			return fmt.Errorf("%v are not pieces of %v", lens, p)
		}
		return tx.Put(1, []byte("an operation"), nil)
	})
	b.do(b.s.Checkpoint)
}

// Pieces that were left apart are right too, for the check and for all that is done to them; the second clone of what they own joins them.
func TestShareRecordsApartAreRight(t *testing.T) {
	b := cloneBench(t, 633, nil)
	data := pattern(1, 60)
	b.update(func(tx *Tx) error { return tx.Write(1, src, 0, data) })
	b.update(func(tx *Tx) error { return tx.Clone(1, src, dst) })
	b.update(func(tx *Tx) error { return tx.Remove(1, dst) })
	b.scatter(1, 1, 7, 30, 1, 20)
	one, two := func(n BlockCount) format.ShareRecord { return format.ShareRecord{Len: n, Refs: 1} }, func(n BlockCount) format.ShareRecord { return format.ShareRecord{Len: n, Refs: 2} }
	b.wantShares("scattered", one(1), one(1), one(7), one(30), one(1), one(20))
	b.unmount()
	b.fsck()
	b.mount()
	b.update(func(tx *Tx) error { return tx.Clone(1, src, dst) })
	b.wantShares("cloned again", two(60))
	b.update(func(tx *Tx) error { return tx.Truncate(1, dst, 30*blockSize) })
	b.wantShares("a clone of the first half", two(30), one(30))
	b.do(b.s.Checkpoint)
	b.scatterTwo()
	b.update(func(tx *Tx) error { return tx.Remove(1, dst) })
	b.wantShares("one reference", one(60))
	b.wants("src", data)
	b = b.crash(634)
	b.update(func(tx *Tx) error { return tx.Truncate(1, src, 10*blockSize) })
	b.wantShares("cut", one(10))
	b.unmount()
	if rep := b.fsck(); rep.DataBlocks != 10 {
		t.Fatalf("%+v", rep)
	}
}

// scatterTwo divides the first of two share records in its middle.
func (b *bench) scatterTwo() {
	b.t.Helper()
	p := b.shares()[0]
	b.update(func(tx *Tx) error {
		half := p.rec.Len / 2
		return errors.Join(tx.putShare(1, p.start, format.ShareRecord{Len: half, Refs: p.rec.Refs}),
			tx.putShare(1, p.start+BlockNo(half), format.ShareRecord{Len: p.rec.Len - half, Refs: p.rec.Refs}), tx.Put(1, []byte("an operation"), nil))
	})
	b.do(b.s.Checkpoint)
}

// Where an extent ends a record with two references ends too, so that the removal of one reference never makes a record of them two; with one it may
// reach over the border, as far as a record can, and the removal of an extent divides it and frees blocks.
func TestShareRecordsReachOverBordersWithOneReferenceOnly(t *testing.T) {
	b := cloneBench(t, 635, nil)
	data := pattern(1, 80)
	b.update(func(tx *Tx) error { // one run on the device, in two objects
		return errors.Join(tx.Write(1, src, 0, data[:20*blockSize]), tx.Write(1, []byte("other"), 0, data[20*blockSize:40*blockSize]), tx.Write(1, src, 20*blockSize, data[40*blockSize:]))
	})
	b.update(func(tx *Tx) error {
		return errors.Join(tx.Clone(1, src, dst), tx.Clone(1, []byte("other"), []byte("another")))
	})
	one, two := func(n BlockCount) format.ShareRecord { return format.ShareRecord{Len: n, Refs: 1} }, func(n BlockCount) format.ShareRecord { return format.ShareRecord{Len: n, Refs: 2} }
	b.wantShares("cloned", two(20), two(20), two(40))
	b.update(func(tx *Tx) error { return tx.Remove(1, dst) })
	b.wantShares("one of the clones gone", one(20), two(20), one(40))
	b.update(func(tx *Tx) error { return tx.Remove(1, []byte("another")) })
	b.wantShares("both gone", one(40), one(40))
	b.update(func(tx *Tx) error { return tx.Clone(1, src, dst) })
	b.wantShares("cloned again", two(20), one(20), two(40))
	b.update(func(tx *Tx) error { return tx.Clone(1, []byte("other"), []byte("another")) })
	b.wantShares("both cloned again", two(20), two(20), two(40))
	b.update(func(tx *Tx) error { return errors.Join(tx.Remove(1, dst), tx.Remove(1, []byte("another"))) })
	b.do(b.s.Checkpoint)
	free := b.settledFree()
	b.update(func(tx *Tx) error {
		if err := tx.Remove(1, []byte("other")); err != nil || tx.grew {
			return fmt.Errorf("a removal that only makes room: grew %v, %w", tx.grew, err)
		}
		return nil
	})
	b.wantShares("the middle gone", one(20), one(40))
	if got := b.settledFree(); got < free+20 {
		t.Fatalf("%d blocks are free, before the removal of 20 there were %d", got, free)
	}
	b.wants("src", append(data[:20*blockSize:20*blockSize], data[40*blockSize:]...))
	b.unmount()
	if rep := b.fsck(); rep.DataBlocks != 60 {
		t.Fatalf("%+v", rep)
	}
}
