package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"basalt/engine"
	"basalt/storage"
	"basalt/tools/outcome"
)

// A copy is the same object under another name, and stays when the first one goes.
func TestCopy(t *testing.T) {
	o := objectsOf(t)
	text := strings.Repeat("0123456789abcdef", putFirst/16)
	if _, err := o.Put([]byte("a"), strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if err := o.Copy([]byte("a"), []byte("b")); err != nil {
		t.Fatal(err)
	}
	o.mustHave(t, "b", text)
	failed(t, o.Copy([]byte("a"), []byte("b")), outcome.Failed, "object b of collection 1000", "--replace")
	failed(t, o.Copy([]byte("c"), []byte("d")), outcome.Failed, "object c of collection 1000", "is not there")
	o.Replace = true
	failed(t, o.Copy([]byte("a"), []byte("a")), outcome.Failed, "is there already")
	if _, err := o.Put([]byte("a"), strings.NewReader("new")); err != nil {
		t.Fatal(err)
	}
	o.mustHave(t, "b", text)
	if err := o.Copy([]byte("a"), []byte("b")); err != nil {
		t.Fatal(err)
	}
	o.mustHave(t, "b", "new")
	failed(t, (&Objects{Device: o.Device, Collection: 0}).Copy([]byte("a"), []byte("b")), outcome.Failed, "belongs to the namespace")
	o.check(t)
}

func (o *Objects) check(t *testing.T) {
	t.Helper()
	reports, err := Check(o.Device, EverySlice)
	if err != nil || len(reports) != 1 || len(reports[0].Store.Findings) > 0 || len(reports[0].Names.Problems) > 0 {
		t.Errorf("%v %+v", err, reports)
	}
}

// A clone that lies in more pieces than one transaction can take away is removed all the same.
func TestRemoveInSteps(t *testing.T) {
	o := objectsOf(t)
	text := strings.Repeat("0123456789abcdef", putFirst/16)
	if _, err := o.Put([]byte("a"), strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	if err := o.Copy([]byte("a"), []byte("b")); err != nil {
		t.Fatal(err)
	}
	err := o.with(false, func(f *engine.Fiber, s *storage.Store) error {
		const block = 4096
		for at := 0; at < 2400; at += 100 { // every other block of 4 MiB that are shared, and of more behind them
			if _, err := s.Update(f, func(tx *storage.Tx) error {
				for i := at; i < at+100; i += 2 {
					if err := tx.Write(1000, []byte("b"), uint64(i*block), make([]byte, block)); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return err
			}
		}
		_, err := s.Update(f, func(tx *storage.Tx) error {
			return errors.Join(tx.Write(1000, []byte("b"), 1<<30, []byte("far")), tx.Remove(1000, []byte("b")))
		})
		if !errors.Is(err, storage.ErrTooLarge) {
			t.Errorf("the removal in one transaction: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Remove([]byte("b")); err != nil {
		t.Fatal(err)
	}
	_, err = o.Stat([]byte("b"))
	failed(t, err, outcome.Failed, "not there")
	o.mustHave(t, "a", text)
	o.check(t)
}

// On a full store the space that is kept for removals is too little for a clone in many pieces at once. It is removed all the same.
func TestRemoveInStepsFromAFullStore(t *testing.T) {
	o := objectsOf(t)
	const block, pieces, clones = 4096, 1000, 60
	err := o.with(false, func(f *engine.Fiber, s *storage.Store) error {
		update := func(fn func(tx *storage.Tx) error) error { _, err := s.Update(f, fn); return err }
		if err := update(func(tx *storage.Tx) error { return tx.CreateCollection(o.coll()) }); err != nil {
			return err
		}
		for i := range pieces { // every other block, and no two of them beside each other on the device
			if err := update(func(tx *storage.Tx) error {
				return errors.Join(tx.Write(o.coll(), []byte("a"), uint64(2*i*block), make([]byte, block)), tx.Write(o.coll(), []byte("between"), uint64(2*i*block), make([]byte, block)))
			}); err != nil {
				return err
			}
		}
		for i := range clones {
			if err := update(func(tx *storage.Tx) error { return tx.Clone(o.coll(), []byte("a"), fmt.Appendf(nil, "clone %d", i)) }); err != nil {
				return err
			}
		}
		for i, n := 0, putFirst; n >= block; i++ {
			err := update(func(tx *storage.Tx) error {
				return tx.Write(o.coll(), fmt.Appendf(nil, "fill %d", i), 0, make([]byte, n))
			})
			if errors.Is(err, storage.ErrFull) {
				n /= 2
			} else if err != nil {
				return err
			}
		}
		err := update(func(tx *storage.Tx) error { return tx.Remove(o.coll(), []byte("clone 7")) })
		if !errors.Is(err, storage.ErrFull) {
			t.Errorf("the removal in one transaction: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Remove([]byte("clone 7")); err != nil {
		t.Fatal(err)
	}
	o.check(t)
}
