package storage

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"basalt/engine/arena"
)

// Random puts, deletes and range deletions against a map, each either kept or undone, with clones that must not change.
func TestLayerAgainstMap(t *testing.T) {
	for seed := uint64(0); seed < 60; seed++ {
		a, err := arena.New(8 << 20)
		if err != nil {
			t.Fatal(err)
		}
		m := layerModel{t: t, rng: rand.New(rand.NewPCG(seed, 1)), l: newLayer(a, 64<<10, &nodePool{}), keys: map[string]string{}}
		var frozen *layer
		var frozenKeys map[string]string
		for op := 0; op < 600; op++ {
			switch m.rng.IntN(8) {
			case 0:
				m.deleteRange()
			case 1:
				m.change(itemDel)
			case 2:
				if frozen == nil {
					frozen, frozenKeys = m.l.clone(), maps.Clone(m.keys)
				}
			default:
				m.change(itemPut)
			}
			requireLayer(t, seed, m.l, m.keys)
		}
		if frozen != nil {
			requireLayer(t, seed, frozen, frozenKeys)
			drain(frozen)
		}
		drain(m.l)
		if a.Used() != 0 {
			t.Fatalf("seed %d: %d bytes of the arena are still taken", seed, a.Used())
		}
	}
}

// layerModel is a layer and the map that it must be like.
type layerModel struct {
	t    *testing.T
	rng  *rand.Rand
	l    *layer
	keys map[string]string
	draw func() []byte // a key, if not one of 200
}

func (m *layerModel) key() []byte {
	if m.draw != nil {
		return m.draw()
	}
	return []byte(fmt.Sprintf("k%03d", m.rng.IntN(200)))
}

// undo takes a change back in one of four cases.
func (m *layerModel) undo(mark int, back func()) bool {
	if m.rng.IntN(4) > 0 {
		return false
	}
	back()
	m.l.slab.reset(mark)
	return true
}

func (m *layerModel) deleteRange() {
	lo, hi := m.key(), m.key()
	if bytes.Compare(lo, hi) >= 0 {
		return
	}
	mark := m.l.slab.mark()
	log, err := m.l.tombs.add(lo, hi, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	if m.undo(mark, func() { m.l.tombs.undo(log) }) {
		return
	}
	maps.DeleteFunc(m.keys, func(k, _ string) bool { return k >= string(lo) && k < string(hi) })
}

func (m *layerModel) change(what uint8) {
	k, v := m.key(), []byte(nil)
	if what == itemPut {
		v = []byte(fmt.Sprintf("v%d", m.rng.IntN(1e6)))
	}
	mark := m.l.slab.mark()
	now, old, had, err := m.l.put(k, v, what, 0, true, false)
	if err != nil {
		m.t.Fatal(err)
	}
	if m.undo(mark, func() { m.l.unput(now, old, had) }) {
		return
	}
	if delete(m.keys, string(k)); what == itemPut {
		m.keys[string(k)] = string(v)
	}
}

func requireLayer(t *testing.T, seed uint64, l *layer, model map[string]string) {
	t.Helper()
	keys := slices.Sorted(maps.Keys(model))
	for _, k := range keys {
		it, ok := l.get([]byte(k))
		if !ok || it.is.what() != itemPut || string(l.valOf(&it)) != model[k] {
			t.Fatalf("seed %d: %s: found %v, wanted %q", seed, k, ok, model[k])
		}
	}
	var c layerCursor
	i := 0
	for c.seek(l, []byte("k")); ; c.next() {
		it, ok := c.at()
		if !ok {
			break
		}
		k := l.keyOf(it)
		if seen, _ := l.get(k); seen.is.what() != itemPut {
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

// drain ends one use of a layer and gives back what that leaves.
func drain(l *layer) {
	if l.letGo() {
		for l.giveBack() {
		}
	}
}
