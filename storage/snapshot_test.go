package storage

import (
	"fmt"
	"testing"

	"basalt/engine"
)

// A snapshot that is scanned again shows everything again, although the long value of its first key has left the cache meanwhile and must be
// waited for. (The second scan once stepped over the key that the first one had ended with.)
func TestSecondScanOfASnapshotBeginsAnew(t *testing.T) {
	b := newBench(t, 221, nil, 8<<20)
	b.format()
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	b.update(func(tx *Tx) error { return tx.CreateCollection(2) })
	b.update(func(tx *Tx) error { return tx.Put(1, []byte("only"), make([]byte, 6000)) })
	for i := range 120 {
		b.update(func(tx *Tx) error { return tx.Put(2, []byte(fmt.Sprintf("k%d", i)), make([]byte, 6000)) })
	}
	b.settledFree()
	b.do(func(f *engine.Fiber) error {
		snap, _ := b.s.Snapshot(f.Turn())
		defer func() { snap.Release(f.Turn()) }()
		for _, c := range []Coll{1, 1, 2, 1, 1} {
			want, n := map[Coll]int{1: 1, 2: 120}[c], 0
			if err := snap.Scan(f, c, nil, nil, func(_, _ []byte) bool { n++; return true }); err != nil {
				return err
			}
			if n != want {
				return fmt.Errorf("%d keys of collection %d, want %d", n, c, want)
			}
			if c == 1 { // push its value out
				for i := range 120 {
					err := b.s.View(f, func(tx *Tx) error { _, err := tx.Get(2, []byte(fmt.Sprintf("k%d", i))); return err })
					if err != nil {
						return err
					}
				}
			}
		}
		return nil
	})
	b.unmount()
}
