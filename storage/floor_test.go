package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"basalt/engine"
	"basalt/storage/btree"
)

// The last visible entry at or before a key, over a tree, a frozen layer and an active one that were made at random, against a map. Some layers have
// nothing, and some only tombstones. The tree's cache is small: many lookups miss, and some of the misses are asked for again only after others have taken their place.
func TestFloorAgainstMap(t *testing.T) {
	missed := 0
	for seed := uint64(0); seed < 20; seed++ {
		b := newBench(t, 300+seed, nil, 8<<20)
		b.format()
		b.mount()
		f := floorModel{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), b: b, keys: map[string]string{}}
		f.fillTree()
		f.v = view{active: f.layer(floorLayers[seed%4]), tree: b.s.tree, root: b.s.super.Tree}
		if seed >= 4 {
			f.v.frozen, f.v.active = f.v.active, f.layer(floorLayers[seed/4-1])
		}
		for range 400 {
			f.look()
		}
		drain(f.v.active)
		if f.v.frozen != nil {
			drain(f.v.frozen)
		}
		b.unmount()
		missed += f.missed
	}
	if missed == 0 {
		t.Fatal("everything was in the cache all the time")
	}
}

type floorModel struct {
	t      *testing.T
	seed   uint64
	rng    *rand.Rand
	b      *bench
	v      view
	cur    viewCursor
	keys   map[string]string
	drawn  [][]byte // every key that some source may have a word about
	missed int
}

func (f *floorModel) key() []byte {
	if n := len(f.drawn); n > 0 && f.rng.IntN(3) == 0 {
		return f.drawn[f.rng.IntN(n)]
	}
	k, _ := userRange(nil, nil, 1, fmt.Appendf(nil, "k%04d", f.rng.IntN(1500)), nil)
	f.drawn = append(f.drawn, k)
	return k
}

// fillTree gives the tree long values, so that it has many leaves.
func (f *floorModel) fillTree() {
	f.b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	for range 1000 {
		k, v := f.key(), make([]byte, f.rng.IntN(900))
		f.b.update(func(tx *Tx) error { return tx.Put(1, k[userKeyAt:], v) })
		f.keys[string(k)] = string(v)
	}
	f.b.settledFree()
}

// floorLayers are what layers are made of: how many changes, and of a dozen how many are tombstones.
var floorLayers = [4]struct{ changes, tombs int }{{300, 1}, {0, 0}, {20, 12}, {300, 1}}

// layer is one more layer over what there is.
func (f *floorModel) layer(of struct{ changes, tombs int }) *layer {
	m := layerModel{t: f.t, rng: f.rng, l: newLayer(f.b.r.Arena(), 32<<10, &nodePool{}), keys: f.keys, draw: f.key}
	for range of.changes {
		switch i := f.rng.IntN(12); max(i-of.tombs+1, 0) {
		case 0:
			m.deleteRange()
		case 1, 2, 3, 4:
			m.change(itemDel)
		default:
			m.change(itemPut)
		}
	}
	return m.l
}

// look compares one lookup of a key and of what is before it, and that what the cursor stands on is the entry of that key.
func (f *floorModel) look() {
	f.t.Helper()
	lo, key := f.drawn[f.rng.IntN(len(f.drawn))], f.drawn[f.rng.IntN(len(f.drawn))]
	if bytes.Compare(lo, key) > 0 {
		lo, key = key, lo
	}
	switch f.rng.IntN(5) {
	case 0:
		lo = key[:f.rng.IntN(len(key)+1)]
	case 1:
		lo, key = append(key[:len(key):len(key)], 'w'), append(key[:len(key):len(key)], 'x') // nothing is between them
	case 2:
		key = append(key[:len(key):len(key)], 'x') // no source has it
	}
	f.b.do(func(fb *engine.Fiber) error {
		var pins btree.Pins
		defer f.b.s.tree.Release(&pins)
		for m := f.cur.floor(f.v, lo, key); !m.None(); m = f.cur.floor(f.v, lo, key) {
			f.missed++
			if err := f.b.s.tree.Load(fb, m, &pins); err != nil {
				return err
			}
		}
		val, found, m := f.v.get(key)
		for ; !m.None(); val, found, m = f.v.get(key) {
			if err := f.b.s.tree.Load(fb, m, &pins); err != nil {
				return err
			}
		}
		if put, ok := f.keys[string(key)]; found != ok || string(val) != put {
			return fmt.Errorf("seed %d: get of %q found %v, %d bytes; want %v, %d", f.seed, key, found, len(val), ok, len(put))
		}
		want := ""
		for k := range f.keys {
			if k >= string(lo) && k <= string(key) {
				want = max(want, k)
			}
		}
		switch c := &f.cur; {
		case c.valid != (want != ""):
			return fmt.Errorf("seed %d: floor of %q from %q on: found %v, want %q", f.seed, key, lo, c.valid, want)
		case c.valid && (string(c.cur.key) != want || string(c.cur.val) != f.keys[want]):
			return fmt.Errorf("seed %d: floor of %q from %q on is %q with %d bytes, want %q with %d", f.seed, key, lo, c.cur.key, len(c.cur.val), want, len(f.keys[want]))
		}
		return nil
	})
}

// Blocks that are written one after the other, each in a transaction of its own and with others that fail in between, become extents as long
// as there may be, in an object that is new and in one that has all of them already.
func TestBlocksInARowAreOneExtent(t *testing.T) {
	b := newBench(t, 330, nil, 8<<20)
	b.format()
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	for round := range 2 {
		for i := range uint64(100) {
			if i == 50 {
				b.do(func(f *engine.Fiber) error {
					undone := errors.New("undone")
					_, err := b.s.Update(f, func(tx *Tx) error {
						return errors.Join(tx.Write(1, []byte("other"), 0, make([]byte, 3*blockSize)), undone)
					})
					if !errors.Is(err, undone) {
						return fmt.Errorf("undone with %v", err)
					}
					return nil
				})
			}
			b.update(func(tx *Tx) error { return tx.Write(1, []byte("o"), i*blockSize, make([]byte, blockSize)) })
		}
		var got []BlockCount
		b.do(func(f *engine.Fiber) error {
			return b.s.View(f, func(tx *Tx) error {
				got = got[:0]
				err := tx.collect(1, []byte("o"), 0, 100)
				for i := range tx.recs {
					got = append(got, tx.recs[i].rec.Len)
				}
				return err
			})
		})
		if want := []BlockCount{64, 36}; !slices.Equal(got, want) {
			t.Fatalf("round %d: extents of %d blocks, want %d", round, got, want)
		}
	}
	b.unmount()
	b.fsck()
}
