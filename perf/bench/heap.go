package main

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"basalt/engine"
	"basalt/perf/bar"
	"basalt/perf/keys"
	"basalt/storage"
)

const (
	heapLimitMiB  = 256
	heapEvery     = 50 * time.Millisecond // between two looks at the heap
	bornTogether  = 64                    // objects of one transaction while the store is filled
	attrBytes     = 64
	objectsReport = 1 << 20
)

var attrName = []byte("a")

// heapPart: the Go heap while a store with many objects is read and written. Its caches, its delta and its buffers are not in the
// heap, so nothing is subtracted.
func heapPart(b *bench) ([]bar.Bar, func() error, error) {
	path, err := b.storeImage()
	if err != nil {
		return nil, nil, err
	}
	o, err := freshStore(path, storage.FormatOptions{}, object{}, object{})
	if err != nil {
		return nil, nil, err
	}
	return []bar.Bar{{
		Names: []string{"store-go-heap"}, Unit: "MiB", Limit: heapLimitMiB,
		Before: func() error { return o.smallObjects(b.objects) },
		Ours:   bar.One(func() (float64, error) { return o.heap(b) }),
	}}, o.close, nil
}

// smallObjects makes objects that have an attribute and no data, in the order of their names.
func (o *openStore) smallObjects(n int) error {
	name, val := make([]byte, keys.Bytes), keys.Pattern(attrBytes)
	return o.r.Call(func(f *engine.Fiber) error {
		for i := 0; i < n; i += bornTogether {
			if i%objectsReport < bornTogether {
				progress("making small objects: %d of %d", i, n)
			}
			if _, err := o.s.Update(f, func(tx *storage.Tx) error {
				for k := i; k < min(i+bornTogether, n); k++ {
					keys.Name(name, uint64(k))
					if err := tx.SetAttr(objectColl, name, attrName, val); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return err
			}
			f.Yield()
		}
		return o.s.Checkpoint(f)
	})
}

// attrs is half reads of an attribute, half committed changes of it, of random objects among the first n.
func (o *openStore) attrs(objects uint64) work {
	return func(f *engine.Fiber, rng *rand.Rand, stop func() bool) (n int, err error) {
		name, val := make([]byte, keys.Bytes), keys.Pattern(attrBytes)
		get := func(tx *storage.Tx) error { _, err := tx.GetAttr(objectColl, name, attrName); return err }
		set := func(tx *storage.Tx) error { return tx.SetAttr(objectColl, name, attrName, val) }
		for ; !stop(); n++ {
			keys.Name(name, rng.Uint64N(objects))
			if n%2 == 0 {
				err = o.s.View(f, get)
			} else {
				binary.LittleEndian.PutUint64(val, rng.Uint64())
				var seq storage.Seq
				if seq, err = o.s.Update(f, set); err == nil {
					err = o.s.Commit(f, seq)
				}
			}
			if err != nil {
				return n, err
			}
		}
		return n, nil
	}
}

// heap is the most that the spans of the Go heap had in use, in MiB, garbage included.
func (o *openStore) heap(b *bench) (mib float64, err error) {
	runtime.GC()
	most, end := uint64(0), make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for tick := time.NewTicker(heapEvery); ; {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			select {
			case <-end:
				tick.Stop()
				return
			case <-tick.C:
			}
		}
	})
	rate, err := o.rate(b, dataDepth, o.attrs(uint64(b.objects)))
	close(end)
	watch.Wait()
	if err == nil && rate == 0 {
		err = errors.New("nothing was served")
	}
	return float64(most) / (1 << 20), err
}
