package storage

import (
	"encoding/binary"
	"path/filepath"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/uring"
)

// yard is a store on an image file through the real ring.
type yard struct {
	r *engine.Reactor
	s *Store
}

func newYard(tb testing.TB, bytes int64) *yard {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "image")
	if err := device.Create(path, bytes); err != nil {
		tb.Fatal(err)
	}
	dev, err := device.Open(path, device.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return newYardOn(tb, dev, func(*engine.Reactor) {}, nil)
}

// newYardOn is a yard on a device, perhaps behind a ring that is told its reactor.
func newYardOn(tb testing.TB, dev *device.Device, tell func(r *engine.Reactor), ring func() (uring.Ring, error)) *yard {
	tb.Helper()
	r, err := engine.New(engine.Config{Name: "bench", CPU: -1, ArenaBytes: 512 << 20, Ring: ring})
	if err != nil {
		tb.Fatal(err)
	}
	tell(r)
	y := &yard{r: r}
	if err := r.Start(func(f *engine.Fiber) error {
		h, err := dev.Attach(f.Turn())
		if err != nil {
			return err
		}
		if err := Format(f, h, FormatOptions{UUID: [16]byte{9}}); err != nil {
			return err
		}
		if y.s, _, err = Mount(f, h, 0, Options{}); err != nil {
			return err
		}
		_, err = y.s.Update(f, func(tx *Tx) error { return tx.CreateCollection(1) })
		return err
	}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Call(y.s.Unmount); err != nil {
			tb.Error(err)
		}
		r.Stop()
		if err := r.Wait(); err != nil {
			tb.Error(err)
		}
		if err := dev.Close(); err != nil {
			tb.Error(err)
		}
	})
	return y
}

// in runs fn in a fiber of the yard.
func (y *yard) in(b *testing.B, fn func(f *engine.Fiber) error) {
	b.Helper()
	b.ReportAllocs()
	b.ResetTimer()
	if err := y.r.Call(fn); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
}

func key8(n int) []byte {
	var k [16]byte
	binary.BigEndian.PutUint64(k[:], uint64(n)*0x9e3779b97f4a7c15)
	return k[:]
}

func BenchmarkPut(b *testing.B) {
	y := newYard(b, 1<<30)
	val := make([]byte, 128)
	y.in(b, func(f *engine.Fiber) error {
		for i := range b.N {
			k := key8(i)
			if _, err := y.s.Update(f, func(tx *Tx) error { return tx.Put(1, k, val) }); err != nil {
				return err
			}
			if i%64 == 0 {
				f.Yield()
			}
		}
		return y.s.Commit(f, y.s.Applied())
	})
	b.ReportMetric(float64(y.s.stats.Checkpoints), "checkpoints")
}

func BenchmarkGet(b *testing.B) {
	y := newYard(b, 1<<30)
	const keys = 100_000
	val := make([]byte, 128)
	if err := y.r.Call(func(f *engine.Fiber) error {
		for i := range keys {
			if _, err := y.s.Update(f, func(tx *Tx) error { return tx.Put(1, key8(i), val) }); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	for _, where := range []string{"delta", "tree"} {
		b.Run(where, func(b *testing.B) {
			y.in(b, func(f *engine.Fiber) error {
				for i := range b.N {
					k := key8(i % keys)
					if err := y.s.View(f, func(tx *Tx) error { _, err := tx.Get(1, k); return err }); err != nil {
						return err
					}
				}
				return nil
			})
		})
		if err := y.r.Call(y.s.Checkpoint); err != nil {
			b.Fatal(err)
		}
	}
}

// Each of 64 fibers commits a transaction and waits for it.
func BenchmarkCommit64(b *testing.B) {
	y := newYard(b, 1<<30)
	val := make([]byte, 4096)
	n, left := 0, 0
	y.in(b, func(f *engine.Fiber) error {
		var all engine.WaitList
		var bad error
		for w := range 64 {
			left++
			if err := f.Turn().Go("writer", func(f *engine.Fiber) {
				name := key8(w)
				for n < b.N && bad == nil {
					i := n
					n++
					seq, err := y.s.Update(f, func(tx *Tx) error { return tx.Write(1, name, uint64(i%256)*4096, val) })
					if err == nil {
						err = y.s.Commit(f, seq)
					}
					if err != nil {
						bad = err
					}
				}
				if left--; left == 0 {
					all.WakeAll(f.Turn())
				}
			}); err != nil {
				return err
			}
		}
		all.Wait(f)
		return bad
	})
	st := y.s.stats
	b.ReportMetric(float64(st.GroupTxns)/float64(max(st.Groups, 1)), "txns/group")
}

func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{4 << 10, 1 << 20} {
		b.Run(map[int]string{4 << 10: "4KiB", 1 << 20: "1MiB"}[n], func(b *testing.B) {
			y := newYard(b, 2<<30)
			data := make([]byte, n)
			b.SetBytes(int64(n))
			y.in(b, func(f *engine.Fiber) error {
				for i := range b.N {
					name := key8(i * n >> 20 % 256)
					if _, err := y.s.Update(f, func(tx *Tx) error { return tx.Write(1, name, uint64(i*n)%(1<<20), data) }); err != nil {
						return err
					}
					if i%16 == 0 {
						f.Yield()
					}
				}
				return y.s.Commit(f, y.s.Applied())
			})
		})
	}
}

func BenchmarkRead(b *testing.B) {
	y := newYard(b, 1<<30)
	const objects = 64
	if err := y.r.Call(func(f *engine.Fiber) error {
		data := make([]byte, 1<<20)
		for i := range objects {
			if _, err := y.s.Update(f, func(tx *Tx) error { return tx.Write(1, key8(i), 0, data) }); err != nil {
				return err
			}
		}
		return y.s.Checkpoint(f)
	}); err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{4 << 10, 1 << 20} {
		b.Run(map[int]string{4 << 10: "4KiB", 1 << 20: "1MiB"}[n], func(b *testing.B) {
			b.SetBytes(int64(n))
			y.in(b, func(f *engine.Fiber) error {
				buf, err := f.Reactor().Arena().Get(n)
				if err != nil {
					return err
				}
				defer f.Reactor().Arena().Put(buf)
				dst := f.Reactor().Arena().Bytes(buf)
				for i := range b.N {
					if _, err := y.s.Read(f, 1, key8(i%objects), uint64(i*7919*n)%(1<<20), dst); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
}
