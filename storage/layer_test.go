package storage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sort"
	"testing"

	"basalt/engine/arena"
)

// Random puts, deletes and range deletions against a map, each either kept or undone, with clones that must not change.
func TestLayerAgainstMap(t *testing.T) {
	for seed := uint64(0); seed < 60; seed++ {
		rng := rand.New(rand.NewPCG(seed, 1))
		a, err := arena.New(8 << 20)
		if err != nil {
			t.Fatal(err)
		}
		l := newLayer(a, 64<<10)
		model := map[string]string{}
		var frozen *layer
		var frozenModel map[string]string
		key := func() []byte { return []byte(fmt.Sprintf("k%03d", rng.IntN(200))) }
		for op := 0; op < 600; op++ {
			undo := rng.IntN(4) == 0
			mark := l.slab.mark()
			switch rng.IntN(8) {
			case 0:
				lo, hi := key(), key()
				if bytes.Compare(lo, hi) >= 0 {
					continue
				}
				log, err := l.tombs.add(lo, hi, nil)
				if err != nil {
					t.Fatal(err)
				}
				if undo {
					l.tombs.undo(log)
					l.slab.reset(mark)
					continue
				}
				for k := range model {
					if k >= string(lo) && k < string(hi) {
						delete(model, k)
					}
				}
			case 1:
				k := key()
				now, old, had, err := l.put(k, nil, itemDel, 0, true)
				if err != nil {
					t.Fatal(err)
				}
				if undo {
					l.unput(now, old, had)
					l.slab.reset(mark)
					continue
				}
				delete(model, string(k))
			case 2:
				if frozen == nil {
					frozen, frozenModel = l.clone(), map[string]string{}
					for k, v := range model {
						frozenModel[k] = v
					}
				}
			default:
				k, v := key(), []byte(fmt.Sprintf("v%d", rng.IntN(1e6)))
				now, old, had, err := l.put(k, v, itemPut, 0, true)
				if err != nil {
					t.Fatal(err)
				}
				if undo {
					l.unput(now, old, had)
					l.slab.reset(mark)
					continue
				}
				model[string(k)] = string(v)
			}
			requireLayer(t, seed, l, model)
		}
		if frozen != nil {
			requireLayer(t, seed, frozen, frozenModel)
			frozen.release()
		}
		l.release()
		if a.Used() != 0 {
			t.Fatalf("seed %d: %d bytes of the arena are still taken", seed, a.Used())
		}
	}
}

func requireLayer(t *testing.T, seed uint64, l *layer, model map[string]string) {
	t.Helper()
	var keys []string
	for k := range model {
		keys = append(keys, k)
		it, ok := l.get([]byte(k))
		if !ok || it.what != itemPut || string(l.valOf(&it)) != model[k] {
			t.Fatalf("seed %d: %s: found %v, wanted %q", seed, k, ok, model[k])
		}
	}
	sort.Strings(keys)
	var c layerCursor
	i := 0
	for c.seek(l, []byte("k")); ; c.next() {
		it, ok := c.at()
		if !ok {
			break
		}
		k := l.keyOf(it)
		if seen, _ := l.get(k); seen.what != itemPut {
			continue
		}
		if i >= len(keys) || keys[i] != string(k) {
			t.Fatalf("seed %d: scan met %q, wanted entry %d of %d", seed, k, i, len(keys))
		}
		i++
	}
	if i != len(keys) {
		t.Fatalf("seed %d: scan met %d keys of %d", seed, i, len(keys))
	}
}
