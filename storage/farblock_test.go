package storage

import (
	"testing"

	"basalt/engine"
)

// A block of the ring that cannot be read, and that no record needs, does not keep a store from being mounted, although the ring is read in large pieces.
func TestUnreadableBlockBehindTheLog(t *testing.T) {
	for far := int64(1 << 20); far < 10<<20; far += 1 << 20 {
		a := newBench(t, 1500, nil, 64<<20)
		a.do(func(f *engine.Fiber) error {
			return Format(f, a.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 16 << 20, NodeBytes: 8 << 10})
		})
		a.mount()
		a.update(func(tx *Tx) error { return tx.CreateCollection(1) })
		for i := range 5 {
			a.commit(a.update(func(tx *Tx) error { return tx.Put(1, []byte{byte(i)}, []byte("v")) }))
		}
		b := newBench(t, 1501, a.disk.AfterPowerLoss(), 0)
		b.disk.Damage(a.s.super.Journal.Offset()+far, blockSize)
		b.mount()
		if d := differences(b.contents(), a.contents()); len(d) > 0 {
			t.Errorf("%d bytes behind: %v", far, d)
		}
	}
}
