package storage

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"basalt/engine"
	"basalt/storage/format"
)

// Objects in the tree, in the delta, removed and made again are listed once, in pages, and those of other collections are not.
func TestObjectsAreListed(t *testing.T) {
	b := newBench(t, 31, nil, 8<<20)
	b.format()
	b.mount()
	want := map[string]uint64{}
	for i := range 200 {
		name := fmt.Sprintf("%0*d", 1+i%5, i)
		b.update(func(tx *Tx) error {
			for c := Coll(1); i == 0 && c <= 3; c++ {
				if err := tx.CreateCollection(c); err != nil {
					return err
				}
			}
			for c := Coll(1); c <= 3; c += 2 {
				if err := tx.Truncate(c, []byte("other"), 1); err != nil {
					return err
				}
			}
			return tx.Write(2, []byte(name), 0, bytes.Repeat([]byte{1}, 1+i))
		})
		want[name] = max(want[name], uint64(1+i))
		if i == 120 {
			b.do(func(f *engine.Fiber) error { return b.s.Checkpoint(f) })
		}
	}
	for _, gone := range []string{"00009", "00199"} { // one in the tree, one in the delta
		b.update(func(tx *Tx) error { return tx.Remove(2, []byte(gone)) })
		delete(want, gone)
	}
	var after []byte
	seen := 0
	for {
		page := 0
		var names [][]byte
		b.do(func(f *engine.Fiber) error {
			return b.s.View(f, func(tx *Tx) error {
				page, names = 0, names[:0]
				return tx.Objects(2, after, 7, func(name []byte, info ObjectInfo) bool {
					if want[string(name)] != info.Size {
						t.Fatalf("%s has %d bytes, want %d", name, info.Size, want[string(name)])
					}
					page++
					names = append(names, bytes.Clone(name))
					return true
				})
			})
		})
		for _, name := range names {
			if len(name) < len(after) || len(name) == len(after) && bytes.Compare(name, after) <= 0 {
				t.Fatalf("%s is listed behind %s", name, after)
			}
			after = name
		}
		if seen += page; page < 7 {
			break
		}
	}
	if seen != len(want) {
		t.Errorf("%d objects are listed, want %d", seen, len(want))
	}
	b.do(func(f *engine.Fiber) error {
		if err := b.s.View(f, func(tx *Tx) error { return tx.Objects(9, nil, 0, nil) }); err != ErrNotFound {
			t.Errorf("a collection that is not there: %v", err)
		}
		return nil
	})
	b.unmount()
}

func TestAttrsAreListed(t *testing.T) {
	b := newBench(t, 32, nil, 8<<20)
	b.format()
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	b.update(func(tx *Tx) error {
		for _, name := range []string{"b", "a", "c"} {
			if err := tx.SetAttr(1, []byte("o"), []byte(name), []byte(name+name)); err != nil {
				return err
			}
		}
		return nil
	})
	got := ""
	b.do(func(f *engine.Fiber) error {
		return b.s.View(f, func(tx *Tx) error {
			got = ""
			return tx.Attrs(1, []byte("o"), func(name, val []byte) bool {
				got += string(name) + "=" + string(val) + " "
				return string(name) != "b"
			})
		})
	})
	if got != "a=aa b=bb " {
		t.Errorf("%q", got)
	}
	b.unmount()
}

// A read that meets rot names the object.
func TestObjectErrorNamesTheObject(t *testing.T) {
	b := newBench(t, 33, nil, 8<<20)
	b.format()
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	b.commit(b.update(func(tx *Tx) error {
		return tx.Write(1, []byte("victim"), 0, bytes.Repeat([]byte("x"), 3*format.BlockBytes))
	}))
	at := Extent{}
	b.do(func(f *engine.Fiber) error {
		return b.s.View(f, func(tx *Tx) error {
			err := tx.collect(1, []byte("victim"), 1, 2)
			if err == nil {
				p := tx.recs[0]
				at = Extent{Start: p.rec.Start + BlockNo(1-p.off), Len: 1}
			}
			return err
		})
	})
	b.disk.Flip(at.Offset()+5, 1)
	var err error
	b.do(func(f *engine.Fiber) error {
		_, err = b.s.Read(f, 1, []byte("victim"), 0, make([]byte, 3*format.BlockBytes))
		return nil
	})
	var object *ObjectError
	var bad *format.CorruptError
	if !errors.As(err, &object) || object.Coll != 1 || string(object.Name) != "victim" || !errors.As(err, &bad) || bad.Extent != at {
		t.Errorf("%v, rot at %v", err, at)
	}
	b.unmount()
}
