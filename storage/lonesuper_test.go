package storage

import (
	"bytes"
	"testing"

	"basalt/engine"
	"basalt/storage/format"
)

// A copy of a superblock that cannot be read is written anew before the other copy of its slot is replaced: if the power goes at any write or flush of a mount, the
// next one still knows which slot is the newer one. (It was refused: one copy was torn, the other unreadable.)
func TestPowerCutBesideAnUnreadableSuperblock(t *testing.T) {
	for slot := range 2 {
		for copied := range 2 {
			cut, whole := uint64(1), false
			for ; !whole; cut++ {
				a := newBench(t, 700, nil, 4<<20)
				a.format()
				a.mount()
				a.update(func(tx *Tx) error { return tx.CreateCollection(1) })
				a.do(a.s.Checkpoint)
				a.commit(a.update(func(tx *Tx) error { return tx.Put(1, []byte("key"), bytes.Repeat([]byte("v"), 500)) }))
				at := offsetOf(a.s.supers[slot][copied])
				b := newBench(t, 701+cut, a.disk.AfterPowerLoss(), 0)
				b.disk.Damage(at, format.SuperBytes)
				b.disk.CutPowerAt(b.disk.Ops() + cut)
				err := b.w.Do(b.r, func(f *engine.Fiber) (err error) {
					b.s, _, err = Mount(f, b.h, 0, b.opt)
					return err
				})
				whole = err == nil
				b.disk.CutPowerAt(0)
				c := newBench(t, 801+cut, b.disk.AfterPowerLoss(), 0)
				c.mount()
				if d := differences(c.contents(), a.contents()); len(d) > 0 {
					t.Fatalf("slot %d, copy %d, power cut at %d: %v", slot, copied, cut, d)
				}
			}
			if cut < 6 {
				t.Errorf("slot %d, copy %d: the mount was over at operation %d", slot, copied, cut)
			}
		}
	}
}
