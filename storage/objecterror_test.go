package storage

import (
	"bytes"
	"errors"
	"testing"

	"basalt/engine"
	"basalt/storage/format"
)

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
