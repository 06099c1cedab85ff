package storage

import (
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
