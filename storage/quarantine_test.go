package storage

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"basalt/engine"
	"basalt/storage/btree"
	"basalt/storage/format"
)

// blockAt is where block n of an object stands.
func (b *bench) blockAt(c Coll, name string, n uint64) (at Extent) {
	b.t.Helper()
	b.do(func(f *engine.Fiber) error {
		list, err := b.s.onDevice(f, c, []byte(name), n, n+1)
		if err == nil && len(list) != 1 {
			err = fmt.Errorf("block %d of %s: %v", n, name, list)
		}
		if err == nil {
			at = Extent{Start: list[0].ref.no, Len: 1}
		}
		return err
	})
	return at
}

// spoiled is a bench with an object of n blocks, of which one is rotten and was read.
func spoiled(t *testing.T, seed uint64, n int, bad uint64) (*bench, Extent) {
	b := newBench(t, seed, nil, 16<<20)
	b.opt.ExactBlocksMax = 8
	b.format()
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	for i := range n {
		b.update(func(tx *Tx) error {
			return tx.Write(1, []byte("o"), uint64(i)*blockSize, bytes.Repeat([]byte{byte(i + 1)}, blockSize))
		})
	}
	b.commit(b.s.Applied())
	at := b.blockAt(1, "o", bad)
	b.disk.Flip(at.Offset()+7, 2)
	if err := b.readBlock("o", bad); !isObject(err, "o") || !format.IsCorrupt(err) {
		t.Fatalf("read of a rotten block: %v", err)
	}
	return b, at
}

func isObject(err error, name string) bool {
	var o *ObjectError
	return errors.As(err, &o) && o.Coll == 1 && string(o.Name) == name
}

func (b *bench) readBlock(name string, n uint64) (err error) {
	b.do(func(f *engine.Fiber) error {
		_, err = b.s.Read(f, 1, []byte(name), n*blockSize, make([]byte, blockSize))
		return nil
	})
	return err
}

// listed demands that exactly these blocks of an object are in quarantine.
func (b *bench) listed(name string, want ...uint64) {
	b.t.Helper()
	list := b.s.Quarantine()
	ok := len(list) == len(want) && b.s.Stats().InQuarantine == len(want)
	for i := range want {
		ok = ok && list[i].What == WhatData && list[i].Coll == 1 && string(list[i].Object) == name && list[i].Block == want[i] && list[i].Err != nil
	}
	if !ok {
		b.t.Fatalf("in quarantine: %v, want blocks %v of %s", list, want, name)
	}
}

// A bad block is listed with its object, once, and told of once; its neighbours are read as ever.
func TestQuarantineNamesTheBlock(t *testing.T) {
	b, at := spoiled(t, 301, 4, 2)
	var told []Quarantined
	b.s.OnQuarantine(func(_ *engine.Turn, q Quarantined, healed bool) { told = append(told, q) })
	b.listed("o", 2)
	if q := b.s.Quarantine()[0]; q.At != at || q.WallNs == 0 {
		t.Errorf("%v", &q)
	}
	for range 3 {
		if err := b.readBlock("o", 2); !isObject(err, "o") {
			t.Errorf("%v", err)
		}
	}
	for _, n := range []uint64{0, 1, 3} {
		if err := b.readBlock("o", n); err != nil {
			t.Errorf("block %d: %v", n, err)
		}
	}
	if st := b.s.Stats(); st.Quarantined != 1 || len(told) != 0 {
		t.Errorf("%d found, %d told", st.Quarantined, len(told))
	}
	other := b.blockAt(1, "o", 3)
	b.disk.Damage(other.Offset(), blockSize)
	b.do(func(f *engine.Fiber) error {
		if n, err := b.s.Read(f, 1, []byte("o"), 3*blockSize, make([]byte, blockSize)); err == nil {
			return fmt.Errorf("%d bytes of a block that cannot be read", n)
		}
		return nil
	})
	b.listed("o", 2, 3)
	if len(told) != 1 || told[0].At != other {
		t.Errorf("told of %v", told)
	}
	b.unmount()
}

// Whatever does away with the whole bad block mends it; what needs its bytes is refused, with the object's name, and changes nothing.
func TestQuarantineHeals(t *testing.T) {
	whole := bytes.Repeat([]byte("n"), blockSize)
	for i, c := range []struct {
		name  string
		n     int // blocks; above 8 they are cut lazily
		heals bool
		do    func(tx *Tx) error
	}{
		{"overwrite", 4, true, func(tx *Tx) error { return tx.Write(1, []byte("o"), 2*blockSize, whole) }},
		{"overwrite with neighbours", 4, true, func(tx *Tx) error { return tx.Write(1, []byte("o"), blockSize+100, bytes.Repeat(whole, 2)) }},
		{"truncate", 4, true, func(tx *Tx) error { return tx.Truncate(1, []byte("o"), 2*blockSize) }},
		{"truncate before", 4, true, func(tx *Tx) error { return tx.Truncate(1, []byte("o"), blockSize+1) }},
		{"punch", 4, true, func(tx *Tx) error { return tx.Punch(1, []byte("o"), 2*blockSize, blockSize) }},
		{"remove", 4, true, func(tx *Tx) error { return tx.Remove(1, []byte("o")) }},
		{"remove lazily", 200, true, func(tx *Tx) error { return tx.Remove(1, []byte("o")) }},
		{"truncate lazily", 200, true, func(tx *Tx) error { return tx.Truncate(1, []byte("o"), 0) }},
		{"delete the collection", 4, true, func(tx *Tx) error { return tx.DeleteCollection(1) }},
		{"patch", 4, false, func(tx *Tx) error { return tx.Write(1, []byte("o"), 2*blockSize+10, []byte("part")) }},
		{"write into the middle", 4, false, func(tx *Tx) error { return tx.Write(1, []byte("o"), 0, append(bytes.Repeat(whole, 2), "part"...)) }},
		{"truncate inside", 4, false, func(tx *Tx) error { return tx.Truncate(1, []byte("o"), 2*blockSize+5) }},
		{"punch inside", 4, false, func(tx *Tx) error { return tx.Punch(1, []byte("o"), 2*blockSize+5, 10) }},
	} {
		n := uint64(2)
		if c.n > 64 { // what is cut lazily is cut at its ends at once
			n = 100
		}
		b, at := spoiled(t, 310+uint64(i), c.n, n)
		var err error
		b.do(func(f *engine.Fiber) error {
			_, err = b.s.Update(f, c.do)
			return nil
		})
		var bad *format.CorruptError
		switch {
		case c.heals && err != nil:
			t.Fatalf("%s: %v", c.name, err)
		case c.heals:
			b.listed("o")
			if b.s.Stats().Healed != 1 {
				t.Errorf("%s: %d healed", c.name, b.s.Stats().Healed)
			}
		case !isObject(err, "o") || !errors.As(err, &bad) || bad.Extent != at:
			t.Fatalf("%s: %v", c.name, err)
		default:
			b.listed("o", 2)
			if err := b.readBlock("o", 2); !isObject(err, "o") { // no good checksum over bad bytes
				t.Fatalf("%s: a read says %v", c.name, err)
			}
		}
		b.unmount()
		if rep := b.reboot(330 + uint64(i)).report(); (len(rep.Findings) == 0) != c.heals {
			t.Errorf("%s: the check finds %v", c.name, rep.Findings)
		}
	}
}

// report is what the check finds.
func (b *bench) report() (rep *FsckReport) {
	b.t.Helper()
	b.do(func(f *engine.Fiber) (err error) {
		rep, err = Fsck(f, b.h, 0, Options{})
		return err
	})
	return rep
}

// What is bad no more leaves the list when it is read.
func TestQuarantineForgetsWhatReadsWell(t *testing.T) {
	b, at := spoiled(t, 340, 4, 2)
	b.listed("o", 2)
	b.disk.Flip(at.Offset()+7, 2)
	if err := b.readBlock("o", 2); err != nil {
		t.Fatal(err)
	}
	b.listed("o")
	b.unmount()
}

// The list has a limit: what is above it is counted, and as unreadable as the rest.
func TestQuarantineIsBounded(t *testing.T) {
	const n = quarantineMax + 20
	b := newBench(t, 341, nil, 32<<20)
	b.format()
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	for i := 0; i < n; i += 16 {
		b.update(func(tx *Tx) error {
			return tx.Write(1, []byte("o"), uint64(i)*blockSize, bytes.Repeat([]byte{1}, 16*blockSize))
		})
	}
	b.commit(b.s.Applied())
	for i := range uint64(n) {
		b.disk.Flip(b.blockAt(1, "o", i).Offset(), 0)
	}
	for i := range uint64(n) {
		if err := b.readBlock("o", i); !isObject(err, "o") {
			t.Fatalf("block %d: %v", i, err)
		}
	}
	if st := b.s.Stats(); st.InQuarantine != quarantineMax || st.QuarantineFull < 1 || st.Quarantined != uint64(quarantineMax)+st.QuarantineFull {
		t.Errorf("%d of %d in quarantine, %d had no room", st.InQuarantine, st.Quarantined, st.QuarantineFull)
	}
	b.update(func(tx *Tx) error { return tx.Remove(1, []byte("o")) })
	b.listed("o")
	b.unmount()
}

// leafOf is the leaf that a user key of collection 1 belongs to.
func (b *bench) leafOf(key string) (at Extent) {
	b.t.Helper()
	want := format.AppendUserKey(nil, 1, []byte(key))
	b.do(func(f *engine.Fiber) error {
		var leaf Extent
		return b.s.tree.Walk(f, b.s.super.Tree, btree.Visitor{
			Node: func(e Extent, _ format.ChildPtr, level int) error {
				if level == 0 {
					leaf = e
				}
				return nil
			},
			Entry: func(k, _ []byte, _ bool) error {
				if bytes.Compare(k, want) <= 0 {
					at = leaf
				}
				return nil
			},
		})
	})
	return at
}

// What lies below a bad leaf cannot be read, and the rest serves on. A checkpoint that has to rewrite the leaf makes the store read-only, with the
// leaf as the reason; nothing that was committed is lost by that: it stays in the journal, where a mount that only reads still finds it, while one
// that would have to fold it refuses.
func TestBadLeaf(t *testing.T) {
	a := newBench(t, 350, nil, 16<<20)
	a.format()
	a.mount()
	a.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	key := func(i int) string { return fmt.Sprintf("key%04d", i) }
	for i := range 400 {
		a.update(func(tx *Tx) error { return tx.Put(1, []byte(key(i)), bytes.Repeat([]byte{byte(i)}, 300)) })
	}
	a.do(a.s.Checkpoint)
	leaf := a.leafOf(key(200))
	a.unmount()
	b := a.reboot(351)
	b.disk.Flip(leaf.Offset()+500, 3)
	b.mount()
	get := func(b *bench, i int) (err error) {
		b.do(func(f *engine.Fiber) error {
			err = b.s.View(f, func(tx *Tx) error { _, err := tx.Get(1, []byte(key(i))); return err })
			return nil
		})
		return err
	}
	if err := get(b, 200); damagedAt(err) != leaf || !format.IsCorrupt(err) {
		t.Fatalf("a key below the bad leaf: %v", err)
	}
	if list := b.s.Quarantine(); len(list) != 1 || list[0].What != WhatTree || list[0].At != leaf {
		t.Fatalf("in quarantine: %v", list)
	}
	b.commit(b.update(func(tx *Tx) error { return tx.Put(1, []byte(key(0)), []byte("new")) }))
	b.do(b.s.Checkpoint)
	if err := errors.Join(get(b, 0), get(b, 399)); err != nil || b.s.Stats().ReadOnly {
		t.Fatalf("the rest: %v", err)
	}
	var why error
	b.s.OnFail(func(_ *engine.Turn, err error) { why = err })
	b.commit(b.update(func(tx *Tx) error { return tx.Put(1, []byte(key(200)), []byte("anew")) }))
	b.do(func(f *engine.Fiber) error {
		if err := b.s.Checkpoint(f); !errors.Is(err, ErrReadOnly) {
			return fmt.Errorf("checkpoint through the bad leaf: %v", err)
		}
		return nil
	})
	var failed *FailedError
	if !errors.As(why, &failed) || damagedAt(failed.Cause) != leaf {
		t.Errorf("read-only because of %v", why)
	}
	if err := errors.Join(get(b, 0), get(b, 200), get(b, 399)); err != nil {
		t.Errorf("read-only: %v", err)
	}
	c := b.reboot(352)
	if _, err := c.try(); !format.IsCorrupt(err) || damagedAt(err) != leaf {
		t.Fatalf("a mount says %v", err)
	}
	c.opt.ReadOnly = true
	c.mount()
	if err := errors.Join(get(c, 0), get(c, 200), get(c, 399)); err != nil || get(c, 201) == nil {
		t.Errorf("a mount that only reads: %v", err)
	}
	c.unmount()
}

// A bad block that two objects share is each one's: the scrub lists both, and what replaces it in one leaves the other as it is. A repair makes a hole
// of it in both.
func TestSharedBadBlock(t *testing.T) {
	b := newBench(t, 360, nil, 16<<20)
	b.format()
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	b.update(func(tx *Tx) error { return tx.Write(1, []byte("a"), 0, bytes.Repeat([]byte("x"), 4*blockSize)) })
	for _, name := range []string{"b", "c"} {
		b.update(func(tx *Tx) error { return tx.Clone(1, []byte("a"), []byte(name)) })
	}
	b.commit(b.s.Applied())
	at := b.blockAt(1, "a", 2)
	b.disk.Flip(at.Offset()+7, 2)
	b.scrubNow()
	names := func() (list string) {
		for _, q := range b.s.Quarantine() {
			if q.At != at || q.Block != 2 {
				t.Fatalf("in quarantine: %v", &q)
			}
			list += string(q.Object)
		}
		return list
	}
	if got := names(); got != "abc" {
		t.Fatalf("in quarantine: the block of %q", got)
	}
	b.update(func(tx *Tx) error { return tx.Write(1, []byte("b"), 2*blockSize, make([]byte, blockSize)) })
	if got := names(); got != "ac" {
		t.Fatalf("in quarantine after a write to b: the block of %q", got)
	}
	for name, bad := range map[string]bool{"a": true, "b": false, "c": true} {
		if err := b.readBlock(name, 2); (err != nil) != bad || bad && !isObject(err, name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range 200 {
		b.update(func(tx *Tx) error {
			return tx.Put(1, []byte(fmt.Sprintf("key%04d", i)), bytes.Repeat([]byte{byte(i)}, 200))
		})
	}
	b.do(b.s.Checkpoint)
	leaf := b.leafOf("key0100")
	b.unmount()
	c := b.reboot(361)
	p := c.plan()
	if len(p.Losses.Blocks) != 2 || len(p.Refused) > 0 {
		t.Fatalf("%+v", p)
	}
	c.must(c.repair(p, RepairWish{Blocks: true}))
	c.fsck()

	d := b.reboot(362)
	d.disk.Flip(leaf.Offset()+70, 1)
	p = d.plan()
	if len(p.Losses.Ranges) != 1 || len(p.Refused) != 1 {
		t.Fatalf("a torn tree with shared blocks: %+v", p)
	}
	d.refuses(p, RepairWish{Blocks: true, Journal: true, Nodes: true}, "no repair mends")
}
