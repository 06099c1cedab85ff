package storage

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"basalt/engine"

	"pgregory.net/rapid"
)

// cloneModel is what objects must have; the names begin with the collection.
type cloneModel map[string][]byte

// cloneStore is a store of objects that are cloned all the time, and what must be in them.
type cloneStore struct {
	b    *bench
	want cloneModel
	seed uint64
}

const (
	cloneColls   = 2
	cloneObjects = 4
	cloneBlocks  = 24 // of an object, at most
)

func cloneName(t *rapid.T, what string) string {
	return string(rune('a' + rapid.IntRange(0, cloneObjects-1).Draw(t, what)))
}

// cloneStep is one operation of a transaction: on the store, and on the model.
type cloneStep struct {
	name string
	real func(tx *Tx) error
	fake func(m cloneModel)
}

func resized(o []byte, n int) []byte {
	if n <= len(o) {
		return o[:n:n]
	}
	return append(bytes.Clone(o), make([]byte, n-len(o))...)
}

// draw draws an operation that the model, as it is now, knows the outcome of.
func (r *cloneStore) draw(t *rapid.T, m cloneModel) cloneStep {
	c := Coll(rapid.IntRange(1, cloneColls).Draw(t, "collection"))
	name := cloneName(t, "object")
	obj, key := []byte(name), modelKey(c, name)
	was, there := m[key]
	off := rapid.IntRange(0, cloneBlocks-1).Draw(t, "block") * blockSize
	if rapid.IntRange(0, 2).Draw(t, "unaligned") == 0 {
		off += rapid.IntRange(1, blockSize-1).Draw(t, "byte")
	}
	n := rapid.SampledFrom([]int{blockSize, 3, 100, 1500, blockSize, 2 * blockSize, 5*blockSize + 9, 12 * blockSize}).Draw(t, "length")
	kind := rapid.SampledFrom([]string{"write", "write", "patch", "clone", "clone", "clone", "replace", "truncate", "punch", "punch", "remove", "recreate"}).Draw(t, "kind")
	s := cloneStep{name: fmt.Sprintf("%s %s %d+%d", kind, key, off, n)}
	switch {
	case kind == "recreate" && n == 3:
		s.real = func(tx *Tx) error { return errors.Join(tx.DeleteCollection(c), tx.CreateCollection(c)) }
		s.fake = func(m cloneModel) {
			maps.DeleteFunc(m, func(k string, _ []byte) bool { return k[0] == key[0] })
		}
	case kind == "patch" || kind == "write" || !there:
		if kind == "patch" {
			n = rapid.IntRange(1, 200).Draw(t, "few")
		}
		data, fill := make([]byte, n), byte(rapid.IntRange(1, 255).Draw(t, "fill"))
		for i := range data {
			data[i] = fill + byte((off+i)/blockSize)
		}
		s.real = func(tx *Tx) error { return tx.Write(c, obj, uint64(off), data) }
		s.fake = func(m cloneModel) {
			m[key] = bytes.Clone(resized(was, max(len(was), off+n)))
			copy(m[key][off:], data)
		}
	case kind == "clone" || kind == "replace":
		cloneTo(t, &s, m, c, name, kind == "replace")
	case kind == "truncate":
		s.real = func(tx *Tx) error { return tx.Truncate(c, obj, uint64(off)) }
		s.fake = func(m cloneModel) { m[key] = resized(was, off) }
	case kind == "punch":
		s.real = func(tx *Tx) error { return tx.Punch(c, obj, uint64(off), uint64(n)) }
		s.fake = func(m cloneModel) {
			m[key] = bytes.Clone(was)
			clear(m[key][min(off, len(was)):min(off+n, len(was))])
		}
	default:
		s.real = func(tx *Tx) error { return tx.Remove(c, obj) }
		s.fake = func(m cloneModel) { delete(m, key) }
	}
	return s
}

func modelKey(c Coll, name string) string { return fmt.Sprintf("%d%s", c, name) }

// cloneTo makes s a clone. What has the name already goes first, or the clone is refused.
func cloneTo(t *rapid.T, s *cloneStep, m cloneModel, c Coll, name string, replace bool) {
	to := cloneName(t, "to")
	_, inTheWay := m[modelKey(c, to)]
	s.name += " to " + to
	s.fake = func(m cloneModel) { m[modelKey(c, to)] = m[modelKey(c, name)] }
	switch {
	case !inTheWay:
		s.real = func(tx *Tx) error { return tx.Clone(c, []byte(name), []byte(to)) }
	case replace && to != name:
		s.real = func(tx *Tx) error {
			if err := tx.Remove(c, []byte(to)); err != nil {
				return err
			}
			return tx.Clone(c, []byte(name), []byte(to))
		}
	default:
		s.fake = func(cloneModel) {}
		s.real = func(tx *Tx) error {
			err := tx.Clone(c, []byte(name), []byte(to))
			switch {
			case err == nil:
				return errors.New("a clone to what is there")
			case errors.Is(err, ErrExists):
				return nil
			}
			return err
		}
	}
}

var errOnPurpose = errors.New("on purpose")

// transact runs some operations in one transaction. One that is refused has done nothing; some give up at their end.
func (r *cloneStore) transact(t *rapid.T) {
	next := maps.Clone(r.want)
	var steps []cloneStep
	for range rapid.IntRange(1, 4).Draw(t, "steps") {
		s := r.draw(t, next)
		s.fake(next)
		steps = append(steps, s)
	}
	fails := rapid.IntRange(0, 7).Draw(t, "fails") == 0
	err := r.b.w.Do(r.b.r, func(f *engine.Fiber) error {
		_, err := r.b.s.Update(f, func(tx *Tx) error {
			for _, s := range steps {
				if err := s.real(tx); err != nil {
					return err
				}
			}
			if fails {
				return errOnPurpose
			}
			return tx.Put(1, []byte("number"), []byte{byte(len(steps))})
		})
		return err
	})
	switch {
	case err == nil:
		r.want = next
	case errors.Is(err, ErrFull), errors.Is(err, ErrTooLarge) && r.b.opt.SharedMax > 0, fails && errors.Is(err, errOnPurpose):
	default:
		t.Fatalf("%v: %v", steps, err)
	}
}

// fold starts a checkpoint, and lets it get somewhere.
func (r *cloneStore) fold(t *rapid.T) {
	ns := rapid.SampledFrom([]int64{1000, 100_000, 1_000_000, 100_000_000}).Draw(t, "for")
	r.b.do(func(f *engine.Fiber) error {
		r.b.s.wantCheckpoint(f.Turn())
		f.Sleep(ns)
		return nil
	})
}

// seal sends the open group to the device, and does not wait.
func (r *cloneStore) seal(*rapid.T) {
	r.b.do(func(f *engine.Fiber) error {
		if !r.b.s.open.Empty() && r.b.s.pipe.MaySeal() {
			r.b.s.seal(f.Turn())
		}
		return nil
	})
}

func (r *cloneStore) again(t *rapid.T) {
	how := rapid.IntRange(0, 3).Draw(t, "how")
	r.b.do(func(f *engine.Fiber) error {
		if err := r.b.s.Commit(f, r.b.s.Applied()); err != nil {
			return err
		}
		if how == 0 {
			return r.b.s.Checkpoint(f)
		}
		return nil
	})
	switch how {
	case 0:
		return
	case 1:
		r.b.unmount()
	}
	r.seed++
	old := r.b
	r.b = old.reboot(r.seed)
	old.w.Close()
	r.b.fsck()
	r.b.mount()
}

func (r *cloneStore) check(t *rapid.T) {
	err := r.b.w.Do(r.b.r, func(f *engine.Fiber) error {
		p := make([]byte, 2*cloneBlocks*blockSize)
		for c := range cloneColls {
			for o := range cloneObjects {
				name := fmt.Sprintf("%d%c", c+1, 'a'+o)
				want, ok := r.want[name]
				n, err := r.b.s.Read(f, Coll(c+1), []byte(name[1:]), 0, p)
				switch {
				case !ok && errors.Is(err, ErrNotFound):
				case err != nil:
					return fmt.Errorf("%s: %w", name, err)
				case !ok:
					return fmt.Errorf("%s is there", name)
				case !bytes.Equal(p[:n], want):
					at := 0
					for at < min(n, len(want)) && p[at] == want[at] {
						at++
					}
					return fmt.Errorf("%s: %d bytes of %d, wrong at %d", name, n, len(want), at)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// removeInSteps removes an object block by block, if it must. A step of one block is never refused, however full the store is.
func (r *cloneStore) removeInSteps(t *rapid.T, c Coll, obj []byte) {
	try := func(fn func(tx *Tx) error) error {
		return r.b.w.Do(r.b.r, func(f *engine.Fiber) error { _, err := r.b.s.Update(f, fn); return err })
	}
	for {
		err := try(func(tx *Tx) error { return tx.Remove(c, obj) })
		if err == nil {
			return
		}
		if errors.Is(err, ErrTooLarge) || errors.Is(err, ErrFull) {
			err = try(func(tx *Tx) error {
				info, err := tx.Stat(c, obj)
				if err == nil && info.Size == 0 {
					err = errors.New("an empty object cannot be removed")
				}
				if err != nil {
					return err
				}
				return tx.Truncate(c, obj, (blocksUp(info.Size)-1)*blockSize)
			})
		}
		if err != nil {
			t.Fatalf("removal of %s: %v", obj, err)
		}
	}
}

// Random transactions on objects that are cloned all the time, against maps, with checkpoints that go on meanwhile, and ends of the process at any
// stage of them.
func TestClonesAgainstMaps(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := &cloneStore{b: newBench(t, 72, nil, 8<<20), want: cloneModel{}, seed: 72}
		r.b.opt.ExactBlocksMax = rapid.SampledFrom([]int{1, 4, 1024}).Draw(rt, "exact")
		r.b.opt.SharedMax = rapid.SampledFrom([]int{0, 6, 20}).Draw(rt, "shared")
		r.b.opt.FoldBytesPerSec = rapid.SampledFrom([]int64{0, blockSize, 1 << 20}).Draw(rt, "fold")
		r.b.opt.GroupDelayNs = rapid.SampledFrom([]int64{2e6, 1e12}).Draw(rt, "delay")
		r.b.format()
		r.b.mount()
		r.b.update(func(tx *Tx) error { return errors.Join(tx.CreateCollection(1), tx.CreateCollection(2)) })
		if rapid.IntRange(0, 3).Draw(rt, "crowded") == 0 {
			for i := 0; r.b.add(i); i++ {
			}
			for i := range 3 {
				r.b.remove(7 * i)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"transact": r.transact, "transact2": r.transact, "transact3": r.transact, "transact4": r.transact, "fold": r.fold, "seal": r.seal, "again": r.again, "": r.check,
		})
		for _, name := range slices.Sorted(maps.Keys(r.want)) {
			r.removeInSteps(rt, Coll(name[0]-'0'), []byte(name[1:]))
		}
		r.b.unmount()
		if rep := r.b.fsck(); rep.Shares != 0 { // all of them were counted down to nothing
			rt.Fatalf("%+v", rep)
		}
		r.b.w.Close()
	})
}
