package storage

import (
	"math/rand/v2"
	"testing"
	"time"

	"basalt/engine"
	"basalt/storage/format"

	"golang.org/x/sys/unix"
)

const (
	largeBytes = 1 << 30
	largeDepth = 64 // operations at a time
)

// large is a yard with an object of 1 GiB that was written in order: 4,096 extents in 70 leaves.
type large struct {
	*yard
	name []byte
	rng  *rand.Rand
}

func newLarge(b *testing.B) *large {
	l := &large{yard: newYard(b, 3<<30), name: []byte("random"), rng: rand.New(rand.NewPCG(1, 2))}
	if err := l.r.Call(func(f *engine.Fiber) error {
		data := make([]byte, 1<<20)
		for off := uint64(0); off < largeBytes; off += uint64(len(data)) {
			if _, err := l.s.Update(f, func(tx *Tx) error { return tx.Write(1, l.name, off, data) }); err != nil {
				return err
			}
		}
		return l.s.Checkpoint(f)
	}); err != nil {
		b.Fatal(err)
	}
	return l
}

func (l *large) off() uint64 { return l.rng.Uint64N(largeBytes/format.BlockBytes) * format.BlockBytes }

// crew does b.N operations, largeDepth at a time, and reports the user CPU that they took. Each worker has an operation of its own, made with its
// memory.
func (l *large) crew(b *testing.B, worker func(p []byte) func(f *engine.Fiber) error) {
	var before, after unix.Rusage
	n, left := 0, 0
	l.in(b, func(f *engine.Fiber) error {
		if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
			return err
		}
		var all engine.WaitList
		var bad error
		for range largeDepth {
			left++
			if err := f.Turn().Go("worker", func(f *engine.Fiber) {
				a := f.Reactor().Arena()
				buf, err := a.Get(format.BlockBytes)
				if err == nil {
					defer a.Put(buf)
					op := worker(a.Bytes(buf))
					for ; err == nil && n < b.N; n++ {
						err = op(f)
					}
				}
				if err != nil {
					bad = err
				}
				if left--; left == 0 {
					all.WakeAll(f.Turn())
				}
			}); err != nil {
				return err
			}
		}
		all.Wait(f)
		if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
			return err
		}
		return bad
	})
	user := time.Duration(after.Utime.Nano() - before.Utime.Nano())
	b.ReportMetric(float64(user.Nanoseconds())/float64(b.N), "user-ns/op")
}

// resolve is what a read does before it goes to the device. Between two of them the checksum of a block is made, as a read does: its data passes
// through the processor's caches.
func (l *large) resolve(b *testing.B) {
	l.in(b, func(f *engine.Fiber) error {
		a := f.Reactor().Arena()
		buf, err := a.Get(largeDepth * format.BlockBytes)
		if err != nil {
			return err
		}
		defer a.Put(buf)
		mem, op, tx := a.Bytes(buf), &readOp{}, &l.s.tx
		for i := 0; i < b.N; {
			p := mem[i%largeDepth*format.BlockBytes:][:format.BlockBytes]
			tx.begin(false, nil)
			switch _, err := tx.resolve(1, l.name, l.off(), p, op); {
			case tx.missed():
				if err := l.s.tree.Load(f, tx.miss, nil); err != nil {
					return err
				}
				continue
			case err != nil:
				return err
			}
			format.Crc(p)
			if i++; i%256 == 0 {
				f.Yield()
			}
		}
		return nil
	})
}

func (l *large) reads(b *testing.B) {
	l.crew(b, func(p []byte) func(f *engine.Fiber) error {
		return func(f *engine.Fiber) error {
			_, err := l.s.Read(f, 1, l.name, l.off(), p)
			return err
		}
	})
}

func (l *large) overwrites(b *testing.B) {
	l.crew(b, func(p []byte) func(f *engine.Fiber) error {
		off := uint64(0)
		write := func(tx *Tx) error { return tx.Write(1, l.name, off, p) }
		return func(f *engine.Fiber) error {
			off = l.off()
			seq, err := l.s.Update(f, write)
			if err != nil {
				return err
			}
			return l.s.Commit(f, seq)
		}
	})
}

// BenchmarkLarge reads an object of 1 GiB at random, overwrites it at random, and reads it again: with the overwrites in the delta, and from the
// tree, where most extents are of one block then.
func BenchmarkLarge(b *testing.B) {
	l := newLarge(b)
	b.Run("resolve", l.resolve)
	b.Run("read", l.reads)
	b.Run("overwrite", l.overwrites)
	b.Run("resolve-delta", l.resolve)
	if err := l.r.Call(l.s.Checkpoint); err != nil {
		b.Fatal(err)
	}
	b.Run("resolve-overwritten", l.resolve)
	b.Run("read-overwritten", l.reads)
}
