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
