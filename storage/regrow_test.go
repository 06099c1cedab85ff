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

// branched is a store whose tree has several levels, with a journal that changes what is in it, and what it holds.
func branched(t *testing.T, seed uint64, objects int) (*bench, map[string]string) {
	b := newBench(t, seed, nil, 12<<20)
	b.do(func(f *engine.Fiber) error {
		return Format(f, b.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 128 << 10, NodeBytes: 4 << 10})
	})
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	for i := range objects {
		b.update(func(tx *Tx) error {
			for k := range 16 {
				if err := tx.Put(1, []byte(fmt.Sprintf("k%03d-%02d", i, k)), bytes.Repeat([]byte{byte(i)}, 150)); err != nil {
					return err
				}
			}
			if err := tx.Put(1, []byte(fmt.Sprintf("long%02d", i)), bytes.Repeat([]byte{byte(i)}, 3000)); err != nil {
				return err
			}
			name := []byte(fmt.Sprintf("o%02d", i))
			if err := tx.Write(1, name, 0, bytes.Repeat([]byte{byte(i + 1)}, (i%4+1)*9000)); err != nil {
				return err
			}
			return tx.SetAttr(1, name, []byte("attribute"), bytes.Repeat([]byte{1}, 200))
		})
	}
	b.do(b.s.Checkpoint)
	b.do(b.s.Checkpoint)
	for i := 0; i+6 <= min(objects, 60); i += 6 {
		name := func(n int) []byte { return []byte(fmt.Sprintf("o%02d", n)) }
		b.commit(b.update(func(tx *Tx) error {
			return errors.Join(
				tx.Put(1, []byte(fmt.Sprintf("k%03d-00", i)), []byte("new")), tx.Delete(1, []byte(fmt.Sprintf("k%03d-01", i))),
				tx.Write(1, name(i), 0, bytes.Repeat([]byte{200}, 2*blockSize)), tx.Write(1, name(i+1), 100, []byte("patch")),
				tx.Remove(1, name(i+2)), tx.Truncate(1, name(i+3), 5000), tx.Punch(1, name(i+4), 0, 100),
				tx.SetAttr(1, name(i+5), []byte("other"), []byte("a")),
			)
		}))
	}
	return b, b.contents()
}

// places are the nodes of the tree, from the root down, and the long values.
func (b *bench) places() (list []Extent) {
	b.t.Helper()
	b.do(func(f *engine.Fiber) error {
		return b.s.tree.Walk(f, b.s.super.Tree, btree.Visitor{
			Node:  func(e Extent, _ format.ChildPtr, _ int) error { list = append(list, e); return nil },
			Value: func(_ []byte, v format.ValueExtent) error { list = append(list, v.Extent()); return nil },
		})
	})
	return list
}

// within demands that everything that differs was named: its keys lie in a range; and that nothing comes back that was gone. It tells how much
// differs.
func (b *bench) within(want map[string]string, ranges []LostRange) int {
	b.t.Helper()
	meets := func(lo, hi []byte) bool { // [lo, hi]
		for i := range ranges {
			if r := &ranges[i]; bytes.Compare(r.Lo, hi) <= 0 && (len(r.Hi) == 0 || bytes.Compare(lo, r.Hi) < 0) {
				return true
			}
		}
		return false
	}
	all := differences(b.contents(), want)
	for _, d := range all {
		if _, ok := want[d]; !ok {
			b.t.Errorf("%s was gone and is back: %v", d, ranges)
		}
		var named bool
		if key, ok := strings.CutPrefix(d, "key "); ok {
			k := format.AppendUserKey(nil, 1, []byte(key))
			named = meets(k, k)
		} else {
			name := []byte(strings.Fields(d)[0])
			onode := format.AppendOnodeKey(nil, 1, name)
			named = meets(onode, onode) || meets(format.AppendExtentKey(nil, 1, name, 0), format.AppendExtentKey(nil, 1, name, blockOffMax))
		}
		if !named {
			b.t.Errorf("%s was lost and not named: %v", d, ranges)
		}
	}
	return len(all)
}

// again makes the collection if nothing of it is left.
func (b *bench) again() {
	b.update(func(tx *Tx) error {
		if tx.HasCollection(1) {
			return nil
		}
		return tx.CreateCollection(1)
	})
}

// Each node of a tree, and long values, rot in turn, or cannot be read: a repair names the keys that are lost, makes a sound store of the rest on the
// explicit wish, and loses nothing else.
func TestRepairTornTree(t *testing.T) {
	wish := RepairWish{Nodes: true}
	a, want := branched(t, 601, 130)
	places := a.places()
	if a.s.super.Tree.Height < 3 || len(places) < 60 {
		t.Fatalf("a tree of height %d with %d nodes and values", a.s.super.Tree.Height, len(places))
	}
	lost := 0
	for i := 0; i < len(places); i += 1 + i/3 {
		b := a.reboot(602)
		if i%3 == 2 {
			b.disk.Damage(places[i].Offset(), blockSize)
		} else {
			b.disk.Flip(places[i].Offset()+70, 1)
		}
		p := b.plan()
		if len(p.Losses.Ranges) != 1 || p.Losses.Tail != nil || len(p.Refused) > 0 {
			t.Fatalf("place %d: %+v", i, p)
		}
		b.refuses(p, RepairWish{Blocks: true, Journal: true}, "nodes")
		b.must(b.repair(p, wish))
		b.fsck()
		b.mount()
		if b.s.super.DamagedRepairs != 1 {
			t.Errorf("place %d: %d repairs are counted", i, b.s.super.DamagedRepairs)
		}
		b.again()
		lost += b.within(want, p.Losses.Ranges)
		b.unmount()
	}
	if lost == 0 {
		t.Error("nothing was lost: these nodes held nothing")
	}
}

// An object whose onode is lost is kept with what is left of it; one whose extents are lost has holes; both are told of.
func TestRepairReconcilesObjects(t *testing.T) {
	a, _ := branched(t, 611, 40)
	a.do(a.s.Checkpoint)
	a.do(a.s.Checkpoint)
	orphans, holes, records := 0, 0, 0
	for _, at := range a.places() {
		b := a.reboot(612)
		b.disk.Flip(at.Offset()+70, 1)
		p := b.plan()
		if l := p.Losses.Ranges; len(l) != 1 || len(l[0].Lo) > 2 && l[0].Lo[2] == byte(format.KindUser) {
			continue
		}
		b.must(b.repair(p, RepairWish{Nodes: true}))
		for _, what := range p.Done {
			if strings.Contains(what, "its onode was lost") {
				orphans++
			}
			if strings.Contains(what, "are holes now") {
				holes++
			}
			if strings.Contains(what, "collection 1: its record was lost") {
				records++
			}
		}
		b.fsck()
	}
	if orphans == 0 || holes == 0 || records != 1 {
		t.Errorf("%d objects without onodes, %d with holes, %d collections without a record", orphans, holes, records)
	}
}

// What the journal does to an object of which nothing is left is lost with it, and told of: a clone of it lies in no lost range.
func TestRepairNamesWhatItReplaysInVain(t *testing.T) {
	a, _ := branched(t, 615, 1)
	name := func(i int) []byte { return []byte(fmt.Sprintf("empty%03d", i)) }
	for i := range 100 {
		a.update(func(tx *Tx) error { return tx.SetAttr(1, name(i), []byte("a"), bytes.Repeat([]byte{byte(i)}, 200)) })
	}
	a.do(a.s.Checkpoint)
	a.do(a.s.Checkpoint)
	a.commit(a.update(func(tx *Tx) error { return tx.Clone(1, name(50), []byte("copy")) }))
	var leaf Extent
	a.do(func(f *engine.Fiber) error {
		var last Extent
		want := format.AppendOnodeKey(nil, 1, name(50))
		return a.s.tree.Walk(f, a.s.super.Tree, btree.Visitor{
			Node: func(e Extent, _ format.ChildPtr, _ int) error { last = e; return nil },
			Entry: func(key, _ []byte, _ bool) error {
				if bytes.Equal(key, want) {
					leaf = last
				}
				return nil
			},
		})
	})
	b := a.reboot(616)
	b.disk.Flip(leaf.Offset()+70, 1)
	p := b.plan()
	if len(p.Losses.Ranges) != 1 || len(p.Refused) > 0 {
		t.Fatalf("%+v", p)
	}
	b.must(b.repair(p, RepairWish{Nodes: true}))
	if told := strings.Join(p.Done, "\n"); strings.Count(told, fmt.Sprintf("there is no object %x", "copy")) != 1 {
		t.Errorf("told: %s", told)
	}
	b.fsck()
}

// The power is cut at the first, second, … operation of the repair of a torn tree: what is left can be repaired, and nothing is lost but what was named.
func TestRepairOfTornTreeSurvivesPowerCuts(t *testing.T) {
	wish := RepairWish{Nodes: true}
	a, want := branched(t, 621, 12)
	places := a.places()
	torn := a.reboot(622)
	torn.disk.Flip(places[len(places)/2].Offset()+70, 1)
	ranges := torn.plan().Losses.Ranges
	cuts := 0
	for cut, done := uint64(1), false; !done; cut += 4 {
		b := newBench(t, 623+cut, torn.disk.Fork(), 0)
		b.opt = a.opt
		p := b.plan()
		b.disk.CutPowerAt(b.disk.Ops() + cut)
		err := b.w.Do(b.r, func(f *engine.Fiber) error { return Repair(f, b.h, 0, b.opt, p, wish) })
		if done = err == nil; !done && !errors.Is(err, sim.ErrPowerCut) {
			t.Fatalf("cut %d: %v", cut, err)
		}
		c := newBench(t, 9000+cut, b.disk.AfterPowerLoss(), 0)
		c.opt = a.opt
		if !done {
			cuts++
			again := c.plan()
			if len(again.Refused) > 0 {
				t.Fatalf("cut %d: %v", cut, again.Refused)
			}
			c.must(c.repair(again, wish))
		}
		c.fsck()
		c.mount()
		c.within(want, ranges)
		c.unmount()
	}
	if cuts < 10 {
		t.Errorf("only %d operations were cut", cuts)
	}
}
