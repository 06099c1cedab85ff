package storage

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"basalt/engine"
)

// newShelf is a mounted store with collection 1.
func newShelf(t *testing.T, seed uint64) *bench {
	t.Helper()
	b := newBench(t, seed, nil, 8<<20)
	b.format()
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	return b
}

// fails runs fn as a transaction and returns what it failed with.
func (b *bench) fails(fn func(tx *Tx) error) error {
	b.t.Helper()
	before := b.s.Applied()
	err := b.w.Do(b.r, func(f *engine.Fiber) error { _, err := b.s.Update(f, fn); return err })
	if err == nil || b.s.Applied() != before {
		b.t.Fatalf("a transaction that must fail: %v, transaction %d after %d", err, b.s.Applied(), before)
	}
	return err
}

// attrs are an object's attributes, in the order in which the store has them.
func (b *bench) attrs(obj string) (out []string) {
	b.t.Helper()
	b.do(func(f *engine.Fiber) error {
		return b.s.View(f, func(tx *Tx) error {
			out = nil
			return tx.EachAttr(1, []byte(obj), func(name, val []byte) bool {
				out = append(out, fmt.Sprintf("%s=%s", name, val))
				return true
			})
		})
	})
	return out
}

func TestAttributes(t *testing.T) {
	b := newShelf(t, 1)
	b.update(func(tx *Tx) error {
		for _, n := range []string{"c", "a", "b", "d"} {
			if err := tx.SetAttr(1, []byte("o"), []byte(n), []byte("of "+n)); err != nil {
				return err
			}
		}
		return tx.SetAttr(1, []byte("o"), []byte("b"), nil) // empty, not removed
	})
	b.update(func(tx *Tx) error { return tx.RemoveAttr(1, []byte("o"), []byte("c")) })
	want := "[a=of a b= d=of d]"
	if got := fmt.Sprint(b.attrs("o")); got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	for what, err := range map[string]error{
		"no attribute": b.fails(func(tx *Tx) error { return tx.RemoveAttr(1, []byte("o"), []byte("c")) }),
		"no object":    b.fails(func(tx *Tx) error { return tx.RemoveAttr(1, []byte("p"), []byte("a")) }),
		"no such list": b.w.Do(b.r, func(f *engine.Fiber) error {
			return b.s.View(f, func(tx *Tx) error { return tx.EachAttr(1, []byte("p"), nil) })
		}),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	b.commit(b.s.Applied())
	c := newBench(t, 2, b.disk.AfterPowerLoss(), 0)
	c.mount()
	if got := fmt.Sprint(c.attrs("o")); got != want {
		t.Fatalf("after a replay: %s, want %s", got, want)
	}
}

// A value that is too long is refused, as one key's is. (It was a panic of the encoder.)
func TestAttributeTooLong(t *testing.T) {
	b := newBench(t, 3, nil, 8<<20)
	b.opt = Options{DeltaBytesMax: 2 << 20, GroupRecordMax: 512 << 10, TxnRecordMax: 256 << 10}
	b.do(func(f *engine.Fiber) error {
		return Format(f, b.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 1 << 20, NodeBytes: 8 << 10})
	})
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	err := b.fails(func(tx *Tx) error {
		return tx.SetAttr(1, []byte("o"), []byte("a"), bytes.Repeat([]byte("x"), ValueMax+1))
	})
	if !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	half := bytes.Repeat([]byte("x"), ValueMax/2)
	b.update(func(tx *Tx) error { return tx.SetAttr(1, []byte("o"), []byte("a"), half) })
	err = b.fails(func(tx *Tx) error { return tx.SetAttr(1, []byte("o"), []byte("b"), half) }) // both together
	if !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	if got := b.attrs("o"); len(got) != 1 {
		t.Fatalf("%d attributes", len(got))
	}
}

func (b *bench) stat(obj string) (info ObjectInfo, err error) {
	err = b.w.Do(b.r, func(f *engine.Fiber) error {
		return b.s.View(f, func(tx *Tx) (err error) {
			info, err = tx.Stat(1, []byte(obj))
			return err
		})
	})
	return info, err
}

// read is up to n bytes of an object.
func (b *bench) read(obj string, off uint64, n int) []byte {
	b.t.Helper()
	p := bytes.Repeat([]byte{0xaa}, n)
	b.do(func(f *engine.Fiber) (err error) {
		n, err = b.s.Read(f, 1, []byte(obj), off, p)
		return err
	})
	return p[:n]
}

func TestCreateIsExclusive(t *testing.T) {
	b := newShelf(t, 11)
	obj := []byte("o")
	seq := b.update(func(tx *Tx) error { return tx.Create(1, obj) })
	if info, err := b.stat("o"); err != nil || info != (ObjectInfo{Version: uint64(seq)}) {
		t.Fatalf("%+v, %v", info, err)
	}
	err := b.fails(func(tx *Tx) error { return errors.Join(tx.Put(1, []byte("k"), obj), tx.Create(1, obj)) })
	if !errors.Is(err, ErrExists) {
		t.Fatal(err)
	}
	b.update(func(tx *Tx) error { return errors.Join(tx.Remove(1, obj), tx.Create(1, obj)) })
	b.commit(b.s.Applied())
	c := newBench(t, 12, b.disk.AfterPowerLoss(), 0)
	c.mount()
	if info, err := c.stat("o"); err != nil || info != (ObjectInfo{Version: uint64(seq) + 1}) {
		t.Fatalf("after a replay: %+v, %v", info, err)
	}
	if err := c.fails(func(tx *Tx) error { return tx.Create(2, obj) }); !errors.Is(err, ErrNotFound) {
		t.Fatalf("no collection: %v", err)
	}
}

// Two writers who read the same version: one of them is told.
func TestExpectVersion(t *testing.T) {
	b := newShelf(t, 13)
	obj := []byte("o")
	write := func(version uint64, what string) func(tx *Tx) error {
		return func(tx *Tx) error {
			if err := tx.Expect(1, obj, version); err != nil {
				return err
			}
			return tx.Write(1, obj, 0, []byte(what))
		}
	}
	first := uint64(b.update(write(0, "first")))
	var bad *VersionError
	if err := b.fails(write(0, "again")); !errors.As(err, &bad) || bad.Want != 0 || bad.Got != first || bad.Coll != 1 || string(bad.Object) != "o" {
		t.Fatalf("%v", err)
	}
	b.update(func(tx *Tx) error { return tx.Put(1, []byte("k"), obj) }) // another transaction, not on the object
	second := uint64(b.update(write(first, "second")))
	if err := b.fails(write(first, "third")); !errors.As(err, &bad) || bad.Got != second {
		t.Fatalf("%v", err)
	}
	if got := b.read("o", 0, 10); string(got) != "second" {
		t.Fatalf("%q", got)
	}
	third := uint64(b.update(func(tx *Tx) error {
		return errors.Join(tx.SetAttr(1, obj, []byte("a"), nil), tx.Expect(1, obj, uint64(tx.NextSeq())), tx.Punch(1, obj, 0, 1))
	}))
	b.commit(Seq(third))
	c := newBench(t, 14, b.disk.AfterPowerLoss(), 0)
	c.mount()
	c.update(func(tx *Tx) error {
		return errors.Join(tx.Expect(1, obj, third), tx.Remove(1, obj), tx.Expect(1, obj, 0))
	})
}

func TestAppendAndZero(t *testing.T) {
	b := newShelf(t, 15)
	obj := []byte("o")
	var want []byte
	for i, n := range []int{100, 3000, 4096, 1, 9000, 0, 5000} {
		data := bytes.Repeat([]byte{byte(i + 1)}, n)
		b.update(func(tx *Tx) error {
			off, err := tx.Append(1, obj, data)
			if err == nil && off != uint64(len(want)) {
				err = fmt.Errorf("append at %d, want %d", off, len(want))
			}
			return err
		})
		want = append(want, data...)
	}
	zero := func(off, n int) {
		b.update(func(tx *Tx) error { return tx.Zero(1, obj, uint64(off), uint64(n)) })
		want = append(want, make([]byte, max(0, off+n-len(want)))...)
		clear(want[off : off+n])
	}
	zero(50, 100)                  // inside a block
	zero(4000, 9000)               // over several
	zero(len(want)-3000, 6000)     // over the end
	zero(len(want)+5000, 3)        // behind the end
	zero(len(want)&^4095, 8192+10) // from a block's start
	for range 2 {
		if got := b.read("o", 0, len(want)+100); !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, want %d", len(got), len(want))
		}
		b.commit(b.s.Applied())
		b = newBench(t, 16, b.disk.AfterPowerLoss(), 0)
		b.fsck()
		b.mount()
	}
	b.update(func(tx *Tx) error { return tx.Zero(1, []byte("new"), 7, 1<<30) })
	if info, err := b.stat("new"); err != nil || info.Size != 1<<30+7 || info.Blocks != 0 {
		t.Fatalf("%+v, %v", info, err)
	}
}

// An object of 1 TiB with a few blocks of data: it is written at its very end, read around it, cut, and grows no further.
func TestTebibyteSparse(t *testing.T) {
	for _, exact := range []int{1, 1024} {
		b := newBench(t, 17, nil, 8<<20)
		b.opt.ExactBlocksMax = exact
		b.format()
		b.mount()
		b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
		obj, end := []byte("o"), uint64(ObjectBytesMax)
		tail := bytes.Repeat([]byte("tail"), 2500) // 10000 bytes
		b.update(func(tx *Tx) error {
			return errors.Join(tx.Write(1, obj, 0, tail), tx.Write(1, obj, end/2+5, tail), tx.Write(1, obj, end-10000, tail))
		})
		check := func() {
			t.Helper()
			if info, err := b.stat("o"); err != nil || info.Size != end || info.Blocks != 9 {
				t.Fatalf("%+v, %v", info, err)
			}
			if got := b.read("o", end-20000, 30000); !bytes.Equal(got, append(make([]byte, 10000), tail...)) {
				t.Fatalf("%d bytes around the end", len(got))
			}
			if got := b.read("o", end/2-5, 10020); !bytes.Equal(got, append(append(make([]byte, 10), tail...), make([]byte, 10)...)) {
				t.Fatal("the middle differs")
			}
			if got := append(b.read("o", end, 10), b.read("o", 1<<63, 10)...); len(got) != 0 {
				t.Fatalf("%d bytes behind the end", len(got))
			}
			b.do(func(f *engine.Fiber) error {
				data, err := b.s.SeekData(f, 1, obj, 1<<20)
				hole, err2 := b.s.SeekHole(f, 1, obj, end-10000)
				if data != (end/2+5)&^4095 || hole != end {
					return fmt.Errorf("data at %d, hole at %d: %w", data, hole, errors.Join(err, err2))
				}
				return nil
			})
		}
		check()
		for what, fn := range map[string]func(tx *Tx) error{
			"write":       func(tx *Tx) error { return tx.Write(1, obj, end, []byte("x")) },
			"write over":  func(tx *Tx) error { return tx.Write(1, obj, end-1, []byte("xy")) },
			"write far":   func(tx *Tx) error { return tx.Write(1, obj, 1<<64-1, []byte("xy")) },
			"append":      func(tx *Tx) error { _, err := tx.Append(1, obj, []byte("x")); return err },
			"truncate":    func(tx *Tx) error { return tx.Truncate(1, obj, end+1) },
			"zero":        func(tx *Tx) error { return tx.Zero(1, obj, end-1, 2) },
			"zero far":    func(tx *Tx) error { return tx.Zero(1, obj, 1<<64-1, 1<<64-1) },
			"new":         func(tx *Tx) error { return tx.Truncate(1, []byte("p"), 1<<64-1) },
			"write a new": func(tx *Tx) error { return tx.Write(1, []byte("p"), end, []byte("x")) },
		} {
			if err := b.fails(fn); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s: %v", what, err)
			}
		}
		b.commit(b.s.Applied())
		b = newBench(t, 18, b.disk.AfterPowerLoss(), 0)
		b.opt.ExactBlocksMax = exact
		b.fsck()
		b.mount()
		check()
		b.update(func(tx *Tx) error { return tx.Punch(1, obj, 4096, 1<<64-4097) })
		if got := b.read("o", end-20000, 30000); !bytes.Equal(got, make([]byte, 20000)) {
			t.Fatalf("%d bytes after a punch, or not zero", len(got))
		}
		b.update(func(tx *Tx) error { return tx.Truncate(1, obj, 6000) })
		b.unmount()
		if rep := b.fsck(); rep.DataBlocks != 1 {
			t.Fatalf("%d blocks are left of the object", rep.DataBlocks)
		}
	}
}

// What a read remembers of the one before is of that object and that collection, and of no other state of the store.
func TestReadsOfTheSameObjectAgain(t *testing.T) {
	b := newBench(t, 340, nil, 8<<20)
	b.format()
	b.mount()
	b.update(func(tx *Tx) error { return errors.Join(tx.CreateCollection(1), tx.CreateCollection(2)) })
	size := map[string]int{} // collection and name
	reads := func() {
		t.Helper()
		for _, c := range []Coll{1, 2, 2, 1} {
			for _, name := range []string{"o", "ob", "o", "p", "p"} {
				want, there := size[fmt.Sprint(c, name)]
				b.do(func(f *engine.Fiber) error {
					n, err := b.s.Read(f, c, []byte(name), 0, make([]byte, 3*blockSize))
					if n != want || there && err != nil || !there && !errors.Is(err, ErrNotFound) {
						t.Fatalf("%d bytes of %d %s, want %d: %v", n, c, name, want, err)
					}
					return nil
				})
			}
		}
	}
	reads()
	for i, x := range []struct {
		c    Coll
		name string
		size int
	}{{1, "o", 10}, {2, "o", 20}, {1, "ob", 30}, {1, "o", 2 * blockSize}, {1, "o", 7}, {1, "p", 5}, {2, "o", -1}, {1, "o", -1}} {
		b.update(func(tx *Tx) error {
			if x.size < 0 {
				return tx.Remove(x.c, []byte(x.name))
			}
			return tx.Truncate(x.c, []byte(x.name), uint64(x.size))
		})
		if size[fmt.Sprint(x.c, x.name)] = x.size; x.size < 0 {
			delete(size, fmt.Sprint(x.c, x.name))
		}
		reads()
		if i%3 == 0 {
			b.do(b.s.Checkpoint)
			reads()
		}
	}
	b.unmount()
}
