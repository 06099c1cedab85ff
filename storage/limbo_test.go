package storage

import (
	"math/rand/v2"
	"testing"

	"basalt/engine/arena"
	"basalt/storage/format"
)

// What superblock 5 releases waits for every reader that began before it was durable, and for nobody who began later.
func TestLimboWaitsForOlderReaders(t *testing.T) {
	var l limbo
	pop := func() int {
		n := 0
		for {
			e, ok := l.pop()
			if !ok {
				return n
			}
			n += int(e.Len)
		}
	}
	l.add(Extent{Start: 10, Len: 2})
	l.add(Extent{Start: 12, Len: 1}) // joins the one before
	if len(l.fresh.pieces[0]) != 1 || pop() != 0 {
		t.Fatalf("fresh blocks: %v", l.fresh.pieces)
	}
	l.freeze()
	l.add(Extent{Start: 50, Len: 4}) // by a transaction after the boundary: not of this checkpoint
	l.addFrozen(Extent{Start: 20, Len: 2})
	old := l.pin(4)
	l.release(5)
	young := l.pin(5)
	if pop() != 0 {
		t.Fatal("released under the feet of a reader")
	}
	l.freeze()
	l.release(6)
	l.unpin(old)
	if got := pop(); got != 5 {
		t.Fatalf("%d blocks came free, want those of superblock 5", got)
	}
	if l.blocks != 4 {
		t.Fatalf("%d blocks in limbo", l.blocks)
	}
	l.unpin(young)
	if got := pop(); got != 4 || l.blocks != 0 {
		t.Fatalf("%d blocks came free, %d stay", got, l.blocks)
	}
}

// A table finds every block that was handed out, and says how far it is to the next one.
func TestRunTable(t *testing.T) {
	a, err := arena.New(4 << 20)
	if err != nil {
		t.Fatal(err)
	}
	var table runTable
	for _, start := range []BlockNo{100, 20, 60} { // runs of eight blocks, five of them handed out
		buf, err := a.Get(8 * format.BlockBytes)
		if err != nil {
			t.Fatal(err)
		}
		table.add(run{ext: Extent{Start: start, Len: 8}, used: 5, buf: buf, mem: a.Bytes(buf)})
	}
	for b := BlockNo(0); b < 120; b++ {
		_, i, ok := table.find(b)
		off := BlockNo(0)
		want := false
		for _, start := range []BlockNo{20, 60, 100} {
			if b >= start && b < start+5 {
				off, want = b-start, true
			}
		}
		if ok != want || ok && BlockNo(i) != off {
			t.Fatalf("block %d: found %v at %d", b, ok, i)
		}
	}
	if n := table.gap(30, 64); n != 30 {
		t.Fatalf("from 30 it is %d blocks to the next run", n)
	}
	r, i, _ := table.find(61)
	r.kill(i)
	if n := table.gap(61, 64); n != 1 {
		t.Fatalf("behind a superseded block it is %d blocks to the next one", n)
	}
	if last := table.dropLast(); last.ext.Start != 60 {
		t.Fatalf("dropped %v", last.ext)
	}
	if _, _, ok := table.find(62); ok {
		t.Fatal("a dropped run is still found")
	}
}

// A list that is sorted has the same blocks, in order, and those that touch in one extent; no step of it depends on how long the list is.
func TestExtentSort(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var pool extentPool
	var m extentSort
	for _, n := range []int{0, 1, extentPieceLen - 1, extentPieceLen + 1, 20_000} {
		var l extentList
		want := map[BlockNo]bool{}
		for _, i := range rng.Perm(2 * n)[:n] {
			e := Extent{Start: BlockNo(1000 + 10*i), Len: BlockCount(1 + rng.IntN(10))}
			l.add(e, &pool)
			for b := e.Start; b < e.End(); b++ {
				want[b] = true
			}
		}
		pieces := len(l.pieces)
		m.begin(l, &pool)
		steps := 0
		for k := m.step(); k > 0; k = m.step() {
			steps += k
		}
		out := m.take()
		if out.blocks != uint64(len(want)) || steps > pieces*lookSteps+n {
			t.Fatalf("%d extents: %d blocks in %d steps, want %d blocks", n, out.blocks, steps, len(want))
		}
		last := Extent{}
		for e, ok := out.next(&pool); ok; e, ok = out.next(&pool) {
			if e.Start <= last.End() && last.Len > 0 {
				t.Fatalf("%v after %v", e, last)
			}
			for b := e.Start; b < e.End(); b++ {
				if !want[b] {
					t.Fatalf("block %d was not in the list, or twice", b)
				}
				delete(want, b)
			}
			last = e
		}
		if len(want) > 0 || len(pool.free) < pieces {
			t.Fatalf("%d blocks are lost; %d pieces of %d came back", len(want), len(pool.free), pieces)
		}
	}
}

// What lists have used up is used again: a store that is overwritten makes no garbage with them.
func TestExtentPiecesAreUsedAgain(t *testing.T) {
	var pool extentPool
	var m extentSort
	round := func() {
		var l extentList
		for i := range 50 * extentPieceLen {
			l.add(Extent{Start: BlockNo(i*7919%(1<<20)) * 2, Len: 1}, &pool)
		}
		m.begin(l, &pool)
		for m.step() > 0 {
		}
		out := m.take()
		for _, ok := out.next(&pool); ok; _, ok = out.next(&pool) {
		}
	}
	round()
	if n := testing.AllocsPerRun(10, round); n > 50 { // what lists the pieces grows, from 1 to 50 and a few times
		t.Errorf("%.0f allocations for 50 pieces", n)
	}
	for range 2 * extentPoolMax {
		pool.put(make([]Extent, 0, 1))
	}
	if len(pool.free) > extentPoolMax {
		t.Errorf("%d pieces are kept, at most %d are allowed", len(pool.free), extentPoolMax)
	}
}
