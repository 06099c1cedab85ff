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

// rapidStore is a store and what must be in it. rapid shrinks a failure to the few steps that matter.
type rapidStore struct {
	b     *bench
	keys  map[string]string
	bytes map[string][]byte // objects
	seed  uint64
}

func (r *rapidStore) update(t *rapid.T, fn func(tx *Tx) error) {
	err := r.b.w.Do(r.b.r, func(f *engine.Fiber) error { _, err := r.b.s.Update(f, fn); return err })
	if err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}

func drawKey(t *rapid.T) string    { return fmt.Sprintf("k%02d", rapid.IntRange(0, 30).Draw(t, "key")) }
func drawObject(t *rapid.T) string { return fmt.Sprintf("o%d", rapid.IntRange(0, 2).Draw(t, "object")) }

func (r *rapidStore) put(t *rapid.T) {
	k, n := drawKey(t), rapid.SampledFrom([]int{0, 10, 700, 1500, 6000}).Draw(t, "length")
	v := bytes.Repeat([]byte{byte(len(r.keys) + 1)}, n)
	r.update(t, func(tx *Tx) error { return tx.Put(1, []byte(k), v) })
	r.keys[k] = string(v)
}

func (r *rapidStore) del(t *rapid.T) {
	lo, hi := drawKey(t), drawKey(t)
	if lo >= hi {
		r.update(t, func(tx *Tx) error { return tx.Delete(1, []byte(lo)) })
		delete(r.keys, lo)
		return
	}
	r.update(t, func(tx *Tx) error { return tx.DeleteRange(1, []byte(lo), []byte(hi)) })
	maps.DeleteFunc(r.keys, func(k, _ string) bool { return k >= lo && k < hi })
}

func (r *rapidStore) write(t *rapid.T) {
	name, off := drawObject(t), rapid.IntRange(0, 40000).Draw(t, "offset")
	n := rapid.SampledFrom([]int{1, 100, 1024, 4096, 9000, 20000}).Draw(t, "length")
	if rapid.Bool().Draw(t, "aligned") {
		off = off / blockSize * blockSize
	}
	data := bytes.Repeat([]byte{byte(rapid.IntRange(1, 255).Draw(t, "byte"))}, n)
	r.update(t, func(tx *Tx) error { return tx.Write(1, []byte(name), uint64(off), data) })
	o := r.bytes[name]
	if len(o) < off+n {
		o = append(o, make([]byte, off+n-len(o))...)
	}
	copy(o[off:], data)
	r.bytes[name] = o
}

func (r *rapidStore) cut(t *rapid.T) {
	name, a, n := drawObject(t), rapid.IntRange(0, 50000).Draw(t, "at"), rapid.IntRange(1, 30000).Draw(t, "length")
	o, ok := r.bytes[name]
	if !ok {
		return
	}
	switch rapid.IntRange(0, 2).Draw(t, "how") {
	case 0:
		r.update(t, func(tx *Tx) error { return tx.Remove(1, []byte(name)) })
		delete(r.bytes, name)
	case 1:
		r.update(t, func(tx *Tx) error { return tx.Truncate(1, []byte(name), uint64(a)) })
		r.bytes[name] = append(o[:min(a, len(o)):min(a, len(o))], make([]byte, max(0, a-len(o)))...)
	case 2:
		r.update(t, func(tx *Tx) error { return tx.Punch(1, []byte(name), uint64(a), uint64(n)) })
		clear(o[min(a, len(o)):min(a+n, len(o))])
	}
}

// again commits, and goes on after a checkpoint, a clean unmount, or the end of the process.
func (r *rapidStore) again(t *rapid.T) {
	how := rapid.IntRange(0, 2).Draw(t, "how")
	r.b.do(func(f *engine.Fiber) error {
		if err := r.b.s.Commit(f, r.b.s.Applied()); err != nil {
			return err
		}
		if how == 0 {
			return r.b.s.Checkpoint(f)
		}
		return nil
	})
	if how == 0 {
		return
	}
	if how == 1 {
		r.b.unmount()
	}
	r.seed++
	old := r.b
	r.b = old.reboot(r.seed)
	old.w.Close()
	r.b.fsck()
	r.b.mount()
}

func (r *rapidStore) check(t *rapid.T) {
	err := r.b.w.Do(r.b.r, func(f *engine.Fiber) error {
		want := slices.Sorted(maps.Keys(r.keys))
		var bad error
		err := r.b.s.View(f, func(tx *Tx) error {
			i := 0
			err := tx.Scan(1, nil, nil, 0, func(k, v []byte) bool {
				if i == len(want) || want[i] != string(k) || r.keys[want[i]] != string(v) {
					bad = fmt.Errorf("scan: key %d is %q with %d bytes", i, k, len(v))
				}
				i++
				return bad == nil
			})
			if err == nil && bad == nil && i != len(want) {
				bad = fmt.Errorf("scan: %d keys of %d", i, len(want))
			}
			return err
		})
		for name := range 3 {
			o, ok := r.bytes[fmt.Sprintf("o%d", name)]
			p := make([]byte, 80000)
			n, rerr := r.b.s.Read(f, 1, []byte(fmt.Sprintf("o%d", name)), 0, p)
			if ok != (rerr == nil) || ok && !bytes.Equal(p[:n], o) {
				bad = fmt.Errorf("object %d: %d bytes of %d: %v", name, n, len(o), rerr)
			}
		}
		return errors.Join(err, bad)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Random operations against maps, with checkpoints, remounts and ends of the process in between, and objects that are punched exactly or
// lazily.
func TestStoreAgainstMaps(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := &rapidStore{b: newBench(t, 71, nil, 8<<20), keys: map[string]string{}, bytes: map[string][]byte{}, seed: 71}
		r.b.opt.ExactBlocksMax = rapid.SampledFrom([]int{1, 3, 1024}).Draw(rt, "exact")
		r.b.format()
		r.b.mount()
		r.b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
		rt.Repeat(map[string]func(*rapid.T){
			"put": r.put, "put2": r.put, "del": r.del, "write": r.write, "write2": r.write, "cut": r.cut, "again": r.again, "": r.check,
		})
		r.b.unmount()
		r.b.fsck()
		r.b.w.Close()
	})
}
