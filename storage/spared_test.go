package storage

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/storage/btree"
	"basalt/storage/format"
)

// tall is a store whose tree has three levels and few nodes, because its separators are long, with records in the journal, and what it holds.
func tall(t *testing.T, seed uint64) (*bench, map[string]string) {
	b, _ := branched(t, seed, 12)
	for i := range 40 {
		b.update(func(tx *Tx) error {
			key := fmt.Sprintf("z%02d%s", i, strings.Repeat("x", 400))
			return errors.Join(tx.Put(1, []byte(key+"0"), bytes.Repeat([]byte{1}, 900)), tx.Put(1, []byte(key+"1"), bytes.Repeat([]byte{2}, 900)))
		})
	}
	b.do(b.s.Checkpoint)
	b.do(b.s.Checkpoint)
	for i := range 3 {
		b.commit(b.update(func(tx *Tx) error {
			name := []byte(fmt.Sprintf("o%02d", i))
			return errors.Join(tx.Write(1, name, 0, bytes.Repeat([]byte{210}, 2*blockSize)), tx.Put(1, []byte(fmt.Sprintf("k%03d-00", i)), []byte("newest")))
		}))
	}
	if h := b.s.super.Tree.Height; h != 3 {
		t.Fatalf("a tree of height %d", h)
	}
	return b, b.contents()
}

// tornNode is a node of a tree, and what the tree has below it.
type tornNode struct {
	at    Extent
	level int
	below uint64 // blocks that are named below it
}

// nodes lists the nodes of the tree but the root, with the blocks that only they name.
func (b *bench) nodes() (list []tornNode) {
	b.t.Helper()
	var path []int // indices of list, from the root's child down
	count := func(n uint64) {
		for _, i := range path {
			list[i].below += n
		}
	}
	b.do(func(f *engine.Fiber) error {
		top := int(b.s.super.Tree.Height) - 1
		return b.s.tree.Walk(f, b.s.super.Tree, btree.Visitor{
			Node: func(e Extent, _ format.ChildPtr, level int) error {
				if level == top {
					return nil
				}
				path = path[:top-1-level]
				count(uint64(e.Len))
				path = append(path, len(list))
				list = append(list, tornNode{at: e, level: level})
				return nil
			},
			Value: func(_ []byte, v format.ValueExtent) error { count(uint64(v.Extent().Len)); return nil },
			Entry: func(key, val []byte, _ bool) error {
				if !format.Kind(key[2]).OwnsBlocks() {
					return nil
				}
				x, err := b.s.ownedBy(key, val)
				count(uint64(x.Len))
				return err
			},
		})
	})
	return list
}

// pick is the n-th node of a level below which blocks are named, or none are.
func pick(t *testing.T, list []tornNode, level, n int, names bool) tornNode {
	t.Helper()
	for _, x := range list {
		if x.level == level && (x.below > 0) == names {
			if n--; n < 0 {
				return x
			}
		}
	}
	t.Fatalf("no such node of level %d", level)
	return tornNode{}
}

// spoilMap hurts the space map that is in force, or heals it.
func (b *bench) spoilMap(disk *sim.Disk) {
	disk.Flip(b.s.super.SpaceMap[b.s.super.Map.Region].Offset()+format.SpaceMapHeaderBytes, 1)
}

// spoilRecord hurts the n-th record from where replay begins, which is one of a block, or heals it.
func (b *bench) spoilRecord(disk *sim.Disk, n uint64) {
	disk.Flip(offsetOf(b.s.super.Journal.Start+BlockNo(b.s.super.Start.Position+n))+format.JournalHeaderBytes+5, 3)
}

// The power is cut at each operation of a repair that gives up nodes or records. While the old state is the one that is in force, nothing of it was overwritten: if the damage
// goes away, as that of a bad cable does, everything is there. And what is left can be repaired, with no more lost than was named.
func TestRepairSparesTheOldState(t *testing.T) {
	a, want := tall(t, 631)
	leaf := func(disk *sim.Disk, n int) { disk.Flip(pick(t, a.nodes(), 0, n, false).at.Offset()+70, 1) }
	for _, c := range []struct {
		name  string
		spoil func(disk *sim.Disk) // twice is not at all
		wish  RepairWish
		torn  int // lost ranges of the tree
		fixes int
	}{
		{"a leaf of keys, and the space map", func(disk *sim.Disk) { leaf(disk, 0); a.spoilMap(disk) }, RepairWish{Nodes: true}, 1, 1},
		{"another leaf of keys, and the space map", func(disk *sim.Disk) { leaf(disk, 3); a.spoilMap(disk) }, RepairWish{Nodes: true}, 1, 1},
		{"a leaf, and a record that others follow", func(disk *sim.Disk) { leaf(disk, 1); a.spoilRecord(disk, 0) }, RepairWish{Nodes: true, Journal: true}, 1, 0},
		{"a record that others follow", func(disk *sim.Disk) { a.spoilRecord(disk, 1) }, RepairWish{Journal: true}, 0, 0},
		{"an inner node", func(disk *sim.Disk) { disk.Flip(pick(t, a.nodes(), 1, 0, true).at.Offset()+70, 1) }, RepairWish{Nodes: true}, 1, 0},
	} {
		torn := a.reboot(632)
		c.spoil(torn.disk)
		old := 0
		left, p := torn.leavings(c.wish)
		if p.Losses.Unmapped != 0 || len(p.Losses.Ranges) != c.torn || p.Losses.None() || len(p.Fixes) != c.fixes || len(p.Refused) > 0 {
			t.Fatalf("%s: %+v", c.name, p)
		}
		for cut, disk := range left {
			b := newBench(t, 9000+uint64(cut), disk.Fork(), 0)
			b.opt = a.opt
			again := b.plan()
			if !again.Losses.None() { // the old state
				old++
				healed := newBench(t, 9500+uint64(cut), disk, 0)
				healed.opt = a.opt
				c.spoil(healed.disk)
				healed.fsck()
				healed.mount()
				if d := differences(healed.contents(), want); len(d) > 0 {
					t.Fatalf("%s, cut %d: %v", c.name, cut, d)
				}
				healed.unmount()
			}
			b.must(b.repair(again, c.wish))
			b.fsck()
			b.mount()
			if p.Losses.Tail == nil {
				b.within(want, p.Losses.Ranges)
			}
			b.unmount()
		}
		if old < 5 {
			t.Errorf("%s: the old state was left by %d cuts only", c.name, old)
		}
	}
}

// leavings repairs a copy of a disk, and gives what a power cut leaves at each of its writes and flushes, everything that was written and some of it, what is left at the end, and what the plan was.
func (b *bench) leavings(w RepairWish) (left []*sim.Disk, p *RepairPlan) {
	b.t.Helper()
	c := newBench(b.t, 700, b.disk.Fork(), 0)
	c.opt = b.opt
	p = c.plan()
	c.disk.OnEvent(func(d *sim.Disk, what string) {
		if what == "begin write" || what == "begin flush" {
			left = append(left, d.AfterPowerLossOf(sim.Loss{Keep: 1}, 1), d.AfterPowerLossSeed(uint64(len(left))))
		}
	})
	c.must(c.repair(p, w))
	c.disk.OnEvent(nil)
	return append(left, c.disk.AfterPowerLoss()), p
}

// Without a space map nobody can tell from free blocks what only lost nodes name. How many these may be is named, nothing is written unless that is wished
// away, and then nothing is lost but what the nodes had; though the power be cut at any operation.
func TestRepairNamesUnmappedBlocks(t *testing.T) {
	all := RepairWish{Blocks: true, Journal: true, Nodes: true, Unmapped: true}
	a, want := tall(t, 641)
	for _, x := range []tornNode{pick(t, a.nodes(), 1, 0, true), pick(t, a.nodes(), 0, 0, true)} {
		torn := a.reboot(642)
		torn.disk.Flip(x.at.Offset()+70, 1)
		a.spoilMap(torn.disk)
		p := torn.plan()
		if p.Losses.Unmapped != x.below || len(p.Losses.Ranges) != 1 || len(p.Refused) > 0 {
			t.Fatalf("%d blocks stand below %v, named are %d: %+v", x.below, x.at, p.Losses.Unmapped, p)
		}
		torn.refuses(p, RepairWish{Blocks: true, Journal: true, Nodes: true}, "unmapped")
		left, p := torn.leavings(all)
		if len(left) < 10 {
			t.Errorf("only %d operations were cut", len(left))
		}
		for cut, disk := range left {
			b := newBench(t, 9000+uint64(cut), disk, 0)
			b.opt = a.opt
			again := b.plan()
			if n := len(again.Losses.Ranges); n > 1 || n == 1 && !sameRanges(again.Losses.Ranges, p.Losses.Ranges) || again.Losses.Unmapped > x.below {
				t.Fatalf("cut %d: more is lost than before: %+v", cut, again)
			}
			b.must(b.repair(again, all))
			b.fsck()
			b.mount()
			b.again()
			b.within(want, p.Losses.Ranges)
			b.unmount()
		}
	}
}

// More damage than was named ends the repair of a torn tree before its first write: what stands behind a record that has rotted is nobody's to overwrite.
func TestRepairOfTornTreeStopsBeforeItWrites(t *testing.T) {
	a, _ := tall(t, 651)
	leaf := pick(t, a.nodes(), 0, 0, true)
	for name, more := range map[string]func(disk *sim.Disk){
		"a record": func(disk *sim.Disk) { a.spoilRecord(disk, 0) },
		"the map":  a.spoilMap,
	} {
		b := a.reboot(652)
		b.disk.Flip(leaf.at.Offset()+70, 1)
		p := b.plan()
		if p.Losses.Unmapped != 0 || p.Losses.Tail != nil || len(p.Losses.Ranges) != 1 || len(p.Refused) > 0 {
			t.Fatalf("%s: %+v", name, p)
		}
		more(b.disk)
		b.refuses(p, RepairWish{Nodes: true}, "other damage")
		if p = b.plan(); len(p.Refused) > 0 {
			t.Fatalf("%s: %+v", name, p)
		}
		b.must(b.repair(p, RepairWish{Blocks: true, Journal: true, Nodes: true, Unmapped: true}))
		b.fsck()
	}
}

// A space map that calls blocks free which a value has, over a torn tree, is not written by: the value keeps its content.
func TestRepairOfTornTreeMistrustsTheMap(t *testing.T) {
	a, want := branched(t, 655, 40)
	var taken []Extent
	a.do(func(f *engine.Fiber) error {
		return a.s.tree.Walk(f, a.s.super.Tree, btree.Visitor{Value: func(key []byte, v format.ValueExtent) error {
			if bytes.HasSuffix(key, []byte("long39")) {
				taken = append(taken, v.Extent())
			}
			return nil
		}})
	})
	for _, e := range taken { // our own bug, planted
		a.s.alloc.Free(e)
		a.s.check.free.Free(e)
	}
	a.update(func(tx *Tx) error { return tx.Put(1, []byte("z"), []byte("z")) })
	want["key z"] = "z"
	a.do(a.s.Checkpoint)
	if len(taken) != 1 {
		t.Fatalf("the value has the blocks %v", taken)
	}
	b, leaf := a.reboot(656), pick(t, a.nodes(), 0, 0, true)
	b.disk.Flip(leaf.at.Offset()+70, 1)
	p := b.plan()
	if len(p.Losses.Ranges) != 1 || p.Losses.Unmapped < leaf.below || leaf.below <= uint64(taken[0].Len) || len(p.Refused) > 0 {
		t.Fatalf("%d blocks stand below the leaf, %d are wrongly free: %+v", leaf.below, taken[0].Len, p)
	}
	b.refuses(p, RepairWish{Nodes: true}, "unmapped")
	b.must(b.repair(p, RepairWish{Nodes: true, Unmapped: true}))
	b.fsck()
	b.mount()
	b.within(want, p.Losses.Ranges)
}

// A space map that calls a leaf free which is lost, and what that names, is not trusted: the leaf may be lost because somebody wrote over it by that map.
func TestMapThatCallsALostLeafFree(t *testing.T) {
	a, _ := branched(t, 655, 40)
	for i := range 120 {
		a.update(func(tx *Tx) error {
			return tx.Put(1, fmt.Appendf(nil, "zlong%03d", i), bytes.Repeat([]byte{byte(i), 7}, 1500))
		})
	}
	a.do(a.s.Checkpoint)
	a.do(a.s.Checkpoint)
	var leaf, cur Extent
	var below []Extent
	a.do(func(f *engine.Fiber) error {
		clean := true
		var vals []Extent
		done := func() {
			if clean && len(vals) > 0 && leaf.Len == 0 {
				leaf, below = cur, append([]Extent(nil), vals...)
			}
			clean, vals = true, nil
		}
		err := a.s.tree.Walk(f, a.s.super.Tree, btree.Visitor{
			Node: func(e Extent, _ format.ChildPtr, level int) error {
				done()
				cur = e
				return nil
			},
			Entry: func(key, _ []byte, _ bool) error { clean = clean && bytes.Contains(key, []byte("long")); return nil },
			Value: func(_ []byte, v format.ValueExtent) error { vals = append(vals, v.Extent()); return nil },
		})
		done()
		return err
	})
	for _, e := range append([]Extent{leaf}, below...) {
		a.s.alloc.Free(e)
		a.s.check.free.Free(e)
	}
	a.update(func(tx *Tx) error { return tx.Put(1, []byte("a"), []byte("z")) })
	a.do(a.s.Checkpoint)
	b := a.reboot(656)
	b.disk.Flip(leaf.Offset()+70, 1)
	p := b.plan()
	if len(p.Refused) == 0 && p.Losses.Unmapped == 0 {
		t.Errorf("the map calls the lost leaf free, and what it names; nothing of it is named")
	}
	if err := b.repair(p, RepairWish{Nodes: true}); err == nil {
		t.Error("it was repaired without consent to that")
	}
}
