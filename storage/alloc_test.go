package storage

import (
	"testing"

	"basalt/engine"
)

// The hot paths make no garbage: neither a lookup, nor a transaction, nor a read from the device, once their memory is warm.
func TestHotPathsDoNotAllocate(t *testing.T) {
	b := newBench(t, 61, nil, 64<<20)
	b.opt = Options{CacheBytes: 4 << 20, DeltaBytesMax: 8 << 20, SlabChunkBytes: 1 << 20, TxnRecordMax: 16 << 10, TxnDataMax: 64 << 10,
		GroupRecordMax: 32 << 10, GroupDataMax: 256 << 10, GroupDelayNs: 1e15}
	b.format()
	b.mount()
	key, val, name, data := []byte("some key"), make([]byte, 100), []byte("object"), make([]byte, 2*blockSize)
	b.update(func(tx *Tx) error {
		if err := tx.CreateCollection(1); err != nil {
			return err
		}
		return tx.Write(1, name, 0, data)
	})
	b.do(b.s.Checkpoint)
	b.do(func(f *engine.Fiber) error {
		put := func(tx *Tx) error { return tx.Put(1, key, val) }
		get := func(tx *Tx) error { _, err := tx.Get(1, key); return err }
		patch := func(tx *Tx) error { return tx.Write(1, name, 10, val) }
		for _, path := range []struct {
			what string
			run  func() error
		}{
			{"put", func() error { _, err := b.s.Update(f, put); return err }},
			{"get", func() error { return b.s.View(f, get) }},
			{"patch", func() error { _, err := b.s.Update(f, patch); return err }},
			{"read from memory", func() error { _, err := b.s.Read(f, 1, name, 5, val); return err }},
		} {
			for range 10 {
				if err := path.run(); err != nil {
					return err
				}
			}
			if n := testing.AllocsPerRun(100, func() {
				if err := path.run(); err != nil {
					t.Error(err)
				}
			}); n >= 1 {
				t.Errorf("%s: %.1f allocations", path.what, n)
			}
		}
		return nil
	})
	b.unmount()
}
