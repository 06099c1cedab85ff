package storage

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"basalt/engine"
	"basalt/storage/format"
)

var src, dst = []byte("src"), []byte("dst")

// pattern is n blocks, no two alike.
func pattern(seed byte, n int) []byte {
	p := make([]byte, n*blockSize)
	for i := range p {
		p[i] = seed + byte(i/blockSize)
	}
	return p
}

// cloneBench is a store with a collection; set may change its limits.
func cloneBench(t *testing.T, seed uint64, set func(o *Options)) *bench {
	b := newBench(t, seed, nil, 8<<20)
	b.opt.GroupDelayNs = 1e12 // groups start when somebody waits for them
	if set != nil {
		set(&b.opt)
	}
	b.format()
	b.mount()
	b.commit(b.update(func(tx *Tx) error { return tx.CreateCollection(1) }))
	return b
}

// wants compares objects with what they must be.
func (b *bench) wants(name string, want []byte) {
	b.t.Helper()
	if got := b.read(name, 0, len(want)+100); !bytes.Equal(got, want) {
		b.t.Fatalf("%s has %d bytes that are not the %d wanted", name, len(got), len(want))
	}
}

// put writes an object in transactions that are not too long.
func (b *bench) put(c Coll, name string, data []byte) {
	b.t.Helper()
	const step = 32 * blockSize
	for at := 0; at < len(data); at += step {
		b.update(func(tx *Tx) error { return tx.Write(c, []byte(name), uint64(at), data[at:min(len(data), at+step)]) })
	}
}

// crash cuts the power when all is committed, checks what is left, and mounts it.
func (b *bench) crash(seed uint64) *bench {
	b.t.Helper()
	b.commit(b.s.Applied())
	c := newBench(b.t, seed, b.disk.AfterPowerLoss(), 0)
	c.opt = b.opt
	c.fsck()
	c.mount()
	return c
}

// A clone has what its source had, takes no blocks, and from then on neither sees what happens to the other: now, from the tree, and after a
// replay.
func TestClone(t *testing.T) {
	for _, folded := range []bool{false, true} {
		b := cloneBench(t, 601, nil)
		data := append(pattern(1, 100), []byte("the end")...)
		b.put(1, "src", data)
		b.update(func(tx *Tx) error { return tx.SetAttr(1, src, []byte("colour"), []byte("red")) })
		if folded {
			b.do(b.s.Checkpoint)
		}
		was, _ := b.stat("src")
		free, cost := b.s.alloc.FreeBlocks(), b.s.open.n
		seq := b.update(func(tx *Tx) error { return tx.Clone(1, src, dst) })
		if got := b.s.alloc.FreeBlocks(); got != free {
			t.Fatalf("the clone took %d blocks", free-got)
		}
		if cost = b.s.open.n - cost; cost > 100 {
			t.Fatalf("the clone of %d blocks takes %d bytes of the journal", len(data)/blockSize, cost)
		}
		if now, err := b.stat("src"); err != nil || now != was {
			t.Fatalf("the source is %+v, was %+v, %v", now, was, err)
		}
		if now, err := b.stat("dst"); err != nil || now.Size != was.Size || now.Blocks != was.Blocks || now.Version != uint64(seq) {
			t.Fatalf("the clone is %+v, its source %+v, %v", now, was, err)
		}
		b.wants("dst", data)
		first, second := bytes.Clone(data), bytes.Clone(data)
		copy(first[10*blockSize:], pattern(200, 5))
		copy(second[50*blockSize+17:], "written to the clone")
		second = second[:70*blockSize+3]
		b.update(func(tx *Tx) error {
			return errors.Join(tx.Write(1, src, 10*blockSize, pattern(200, 5)), tx.Write(1, dst, 50*blockSize+17, []byte("written to the clone")),
				tx.Truncate(1, dst, 70*blockSize+3), tx.SetAttr(1, dst, []byte("colour"), []byte("blue")))
		})
		b.wants("src", first)
		b.wants("dst", second)
		b = b.crash(602)
		b.wants("src", first)
		b.wants("dst", second)
		b.update(func(tx *Tx) error {
			v, err := tx.GetAttr(1, src, []byte("colour"))
			if err == nil && string(v) != "red" {
				err = fmt.Errorf("the source is %s", v)
			}
			return errors.Join(err, tx.Remove(1, src))
		})
		b.wants("dst", second)
		b.unmount()
		if rep := b.fsck(); rep.DataBlocks != 71 {
			t.Fatalf("%d blocks are left", rep.DataBlocks)
		}
	}
}

func TestCloneRefuses(t *testing.T) {
	b := cloneBench(t, 603, nil)
	b.update(func(tx *Tx) error { return errors.Join(tx.Create(1, src), tx.Create(1, []byte("other"))) })
	for want, fn := range map[error]func(tx *Tx) error{
		ErrExists:   func(tx *Tx) error { return tx.Clone(1, src, []byte("other")) },
		ErrNotFound: func(tx *Tx) error { return tx.Clone(1, dst, []byte("new")) },
		ErrInvalid:  func(tx *Tx) error { return tx.Clone(1, src, nil) },
	} {
		if err := b.fails(fn); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	if err := b.fails(func(tx *Tx) error { return tx.Clone(1, src, src) }); !errors.Is(err, ErrExists) {
		t.Errorf("of itself: %v", err)
	}
	if err := b.fails(func(tx *Tx) error { return tx.Clone(2, src, dst) }); !errors.Is(err, ErrNotFound) {
		t.Errorf("in no collection: %v", err)
	}
	b.unmount()
}

// A block that a patch of the clone was made from stays in the record of its group, although the last object that had it gives it up before
// the group is written.
func TestSharedBlockOfTheOpenGroupIsNotDropped(t *testing.T) {
	b := cloneBench(t, 604, nil)
	data := pattern(1, 3)
	b.update(func(tx *Tx) error { return tx.Write(1, src, 0, data) })
	b.update(func(tx *Tx) error { return tx.Clone(1, src, dst) })
	b.update(func(tx *Tx) error { return tx.Write(1, dst, blockSize+5, []byte("patch")) })
	b.update(func(tx *Tx) error { return tx.Write(1, src, blockSize, pattern(9, 1)) })
	if b.s.open.txns != 4 {
		t.Fatalf("%d transactions in the group", b.s.open.txns)
	}
	b = b.crash(605)
	want := bytes.Clone(data)
	copy(want[blockSize+5:], "patch")
	b.wants("dst", want)
	copy(data[blockSize:], pattern(9, 1))
	b.wants("src", data)
	b.unmount()
	b.fsck()
}

// Blocks in memory only are copied: of the active delta, and of one that is being folded. The same transaction, replayed, finds the latter at home.
func TestCloneOfBlocksInMemory(t *testing.T) {
	b := cloneBench(t, 606, func(o *Options) { o.FoldBytesPerSec = blockSize })
	base := pattern(1, 6)
	b.update(func(tx *Tx) error { return tx.Write(1, src, 0, base) })
	patch := func(name []byte, block int, text string) {
		b.update(func(tx *Tx) error { return tx.Write(1, name, uint64(block*blockSize+100), []byte(text)) })
	}
	patch(src, 1, "before")
	want := bytes.Clone(base)
	copy(want[blockSize+100:], "before")
	b.do(func(f *engine.Fiber) error { // until the delta is frozen
		b.s.wantCheckpoint(f.Turn())
		for b.s.frozen == nil {
			f.Sleep(1000)
		}
		return nil
	})
	patch(src, 2, "after")
	copy(want[2*blockSize+100:], "after")
	b.update(func(tx *Tx) error {
		if err := tx.collect(1, src, 0, blockOffMax); err != nil {
			return err
		}
		if p := tx.recs; len(p) != 4 || !p[1].isDirty || !p[1].frozen || !p[2].isDirty || p[2].frozen {
			return fmt.Errorf("not the extents that this test is about: %+v", p)
		}
		return tx.Clone(1, src, dst)
	})
	patch(dst, 1, "clone!")
	patch(dst, 2, "clone!")
	patch(src, 1, "source")
	patch(src, 2, "source")
	first, second := bytes.Clone(want), bytes.Clone(want)
	for _, at := range []int{1, 2} {
		copy(first[at*blockSize+100:], "source")
		copy(second[at*blockSize+100:], "clone!")
	}
	b.wants("src", first)
	b.wants("dst", second)
	b.do(b.s.Checkpoint)
	b.wants("dst", second)
	b = b.crash(607)
	b.wants("src", first)
	b.wants("dst", second)
	b.unmount()
	b.fsck()
}

// A shared extent is never made longer: what is written behind it, in the object and on the device, gets a record of its own.
func TestSharedExtentIsNotExtended(t *testing.T) {
	b := cloneBench(t, 608, nil)
	b.update(func(tx *Tx) error { return tx.Write(1, src, 0, pattern(1, 2)) })
	b.update(func(tx *Tx) error { return tx.Clone(1, src, dst) })
	b.update(func(tx *Tx) error { return tx.Write(1, src, 2*blockSize, pattern(3, 2)) })
	b.update(func(tx *Tx) error {
		if err := tx.collect(1, src, 0, blockOffMax); err != nil {
			return err
		}
		if p := tx.recs; len(p) != 2 || !p[0].rec.IsShared() || p[1].rec.IsShared() || p[0].rec.Extent().End() != p[1].rec.Start {
			return fmt.Errorf("the extents are %+v", p)
		}
		return tx.Truncate(1, src, 0)
	})
	b.wants("dst", pattern(1, 2))
	b.unmount()
	if rep := b.fsck(); rep.DataBlocks != 2 || rep.Shares != 1 {
		t.Fatalf("%+v", rep)
	}
}

// A collection with clones goes as a whole, wherever its records stand, and frees each block once.
func TestDeleteCollectionWithClones(t *testing.T) {
	for _, folds := range []string{"", "w", "c", "wc", "wcx", "x"} {
		b := cloneBench(t, 609, nil)
		b.do(b.s.Checkpoint)
		fold := func(at string) {
			if strings.Contains(folds, at) {
				b.do(b.s.Checkpoint)
			}
		}
		free := b.settledFree()
		b.update(func(tx *Tx) error { return tx.CreateCollection(2) })
		b.put(2, "src", pattern(1, 200))
		fold("w")
		b.update(func(tx *Tx) error { return tx.Clone(2, src, dst) })
		fold("c")
		b.update(func(tx *Tx) error {
			return errors.Join(tx.Clone(2, dst, []byte("third")), tx.Write(2, dst, 5*blockSize, pattern(9, 3)), tx.Truncate(2, src, 30*blockSize))
		})
		fold("x")
		b.update(func(tx *Tx) error {
			return errors.Join(tx.DeleteCollection(2), tx.CreateCollection(2), tx.Write(2, src, 0, pattern(7, 60)), tx.Clone(2, src, dst))
		})
		b = b.crash(610)
		b.wants2(2, "dst", pattern(7, 60))
		b.update(func(tx *Tx) error { return tx.DeleteCollection(2) })
		if got := b.settledFree(); got < free {
			t.Errorf("folds %q: %d blocks are free, at the beginning there were %d", folds, got, free)
		}
		b.unmount()
		if rep := b.fsck(); rep.DataBlocks != 0 || rep.Shares != 0 {
			t.Errorf("folds %q: %+v", folds, rep)
		}
	}
}

func (b *bench) wants2(c Coll, name string, want []byte) {
	b.t.Helper()
	b.do(func(f *engine.Fiber) error {
		p := make([]byte, len(want)+1)
		n, err := b.s.Read(f, c, []byte(name), 0, p)
		if err == nil && !bytes.Equal(p[:n], want) {
			err = fmt.Errorf("%s has %d bytes that are not the %d wanted", name, n, len(want))
		}
		return err
	})
}

// What would touch too many records is refused as a whole, and goes in steps from the end; what only writes never is.
func TestSharedMax(t *testing.T) {
	b := cloneBench(t, 611, func(o *Options) { o.SharedMax, o.ExactBlocksMax = 24, 4 })
	scattered := func(name string, n int) []byte { // every other block
		for i := range n {
			b.update(func(tx *Tx) error { return tx.Write(1, []byte(name), uint64(2*i*blockSize), pattern(byte(i+1), 1)) })
		}
		return b.read(name, 0, 2*n*blockSize)
	}
	scattered("wide", 13)
	if err := b.fails(func(tx *Tx) error { return tx.Clone(1, []byte("wide"), dst) }); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("a clone of 13 extents: %v", err)
	}
	data := scattered("src", 12)
	b.update(func(tx *Tx) error { return tx.Clone(1, src, dst) })
	if err := b.fails(func(tx *Tx) error { return errors.Join(tx.Remove(1, dst), tx.Remove(1, src)) }); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("two in one transaction: %v", err)
	}
	b.wants("dst", data)
	b.update(func(tx *Tx) error { return tx.Write(1, dst, 0, pattern(100, 30)) }) // over all of them
	for i := range 24 {
		b.update(func(tx *Tx) error { return tx.Write(1, dst, uint64(40+2*i)*blockSize, pattern(byte(i), 1)) })
	}
	if err := b.fails(func(tx *Tx) error { return tx.Remove(1, dst) }); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("a removal: %v", err)
	}
	b = b.crash(612)
	for at := uint64(88); at > 0; at -= min(at, 12) {
		b.update(func(tx *Tx) error { return tx.Truncate(1, dst, (at-min(at, 12))*blockSize) })
	}
	b.update(func(tx *Tx) error { return tx.Remove(1, dst) })
	b.wants("src", data)
	b.unmount()
	b.fsck()
}

// A replay does what was done, in whatever pieces it finds it.
func TestSharedMaxIsNotForReplay(t *testing.T) {
	b := cloneBench(t, 613, func(o *Options) { o.SharedMax = 24 })
	for i := range 12 {
		b.update(func(tx *Tx) error { return tx.Write(1, src, uint64(2*i*blockSize), pattern(byte(i+1), 1)) })
	}
	b.update(func(tx *Tx) error { return tx.Clone(1, src, dst) })
	b.commit(b.s.Applied())
	c := newBench(t, 614, b.disk.AfterPowerLoss(), 0)
	c.opt.SharedMax = 4
	c.mount()
	c.wants("dst", b.read("src", 0, 24*blockSize))
	c.unmount()
	c.fsck()
}

// The check names what is wrong with shared blocks.
func TestFsckFindsWrongShares(t *testing.T) {
	var first BlockNo
	record := func(tx *Tx) (sharePiece, error) { return tx.shareAt(1, first) }
	for _, x := range []struct {
		what  string
		spoil func(tx *Tx) error
		want  []string
	}{
		{"count too high", func(tx *Tx) error { return tx.share(1, Extent{Start: first + 1, Len: 1}) },
			[]string{"counts 3 references, there are 2"}},
		{"count too low", func(tx *Tx) error { return tx.unshare(1, Extent{Start: first, Len: 2}) },
			[]string{"counts 1 references, there are 2", "counts 1 references, there are 2"}},
		{"one up, one down", func(tx *Tx) error {
			return errors.Join(tx.share(1, Extent{Start: first, Len: 1}), tx.unshare(1, Extent{Start: first + 2, Len: 1}))
		}, []string{"counts 3 references, there are 2", "counts 1 references, there are 2"}},
		{"record missing", func(tx *Tx) error {
			p, err := record(tx)
			if err == nil {
				err = tx.put(format.AppendShareKey(nil, 1, p.start), nil, itemDel, 0)
			}
			return err
		}, []string{"shared extent of object 647374", "shared extent of object 737263", "nothing names these blocks and they are not free"}},
		{"extents missing", func(tx *Tx) error {
			return errors.Join(tx.put(format.AppendExtentKey(nil, 1, src, 0), nil, itemDel, 0), tx.put(format.AppendExtentKey(nil, 1, dst, 0), nil, itemDel, 0))
		}, []string{"counts 2 references, there are 0", "counts 2 references, there are 0", "counts 2 references, there are 0", "counts 2 references, there are 0"}},
		{"records overlap", func(tx *Tx) error { return tx.putShare(1, first+1, format.ShareRecord{Len: 1, Refs: 1}) },
			[]string{"share record names blocks that something else names too"}},
		{"onode says nothing", func(tx *Tx) error {
			o, err := tx.onodeOf(1, dst)
			if err == nil {
				o.Flags = 0
				err = tx.putOnode(1, dst, &o)
			}
			return err
		}, []string{"object 647374 has a shared extent, its onode does not say so"}},
	} {
		t.Run(x.what, func(t *testing.T) {
			b := cloneBench(t, 615, nil)
			b.update(func(tx *Tx) error { return tx.Write(1, src, 0, pattern(1, 4)) })
			b.update(func(tx *Tx) error { return tx.Clone(1, src, dst) })
			b.update(func(tx *Tx) error {
				if err := tx.collect(1, dst, 0, 4); err != nil {
					return err
				}
				first = tx.recs[0].rec.Start
				return errors.Join(x.spoil(tx), tx.Put(1, []byte("key"), nil))
			})
			b.unmount()
			var rep *FsckReport
			b.do(func(f *engine.Fiber) (err error) { rep, err = Fsck(f, b.h, 0, Options{}); return err })
			found := fmt.Sprint(rep.Findings)
			for _, want := range x.want {
				i := strings.Index(found, want)
				if i < 0 {
					t.Fatalf("no finding %q in %v", want, rep.Findings)
				}
				found = found[:i] + found[i+len(want):]
			}
		})
	}
}

// A count that can take no more refuses the clone: wrapped around it would free what is in use.
func TestReferencesDoNotWrapAround(t *testing.T) {
	b := cloneBench(t, 617, nil)
	b.update(func(tx *Tx) error { return errors.Join(tx.Write(1, src, 0, pattern(1, 4)), tx.Clone(1, src, dst)) })
	b.update(func(tx *Tx) error {
		if err := tx.collect(1, src, 0, 4); err != nil {
			return err
		}
		return errors.Join(tx.putShare(1, tx.recs[0].rec.Start, format.ShareRecord{Len: 4, Refs: 1<<32 - 1}), tx.Put(1, []byte("key"), nil))
	})
	if err := b.fails(func(tx *Tx) error { return tx.Clone(1, dst, []byte("third")) }); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	b.wants("src", pattern(1, 4))
	b.unmount()
}

// The fold reads what may own blocks, and only that: user keys stand between the extents of a collection and its share records.
func TestNeedsVisit(t *testing.T) {
	key := func(c uint16, k format.Kind) []byte { return append(format.AppendKindEnd(nil, c, k-1), 7) }
	last := uint16(1<<16 - 1)
	for _, x := range []struct {
		what   string
		lo, hi []byte
		want   bool
	}{
		{"everything", nil, nil, true},
		{"onodes", key(1, format.KindOnode), key(1, format.KindOnode), false},
		{"onodes and an extent", key(1, format.KindOnode), key(1, format.KindUser), true},
		{"extents", key(1, format.KindExtent), append(key(1, format.KindExtent), 1), true},
		{"user keys", key(1, format.KindUser), key(1, format.KindUser), false},
		{"user keys to their end", key(1, format.KindUser), format.AppendKindEnd(nil, 1, format.KindUser), false},
		{"user keys and a share record", key(1, format.KindUser), key(1, format.KindShare), true},
		{"share records", key(1, format.KindShare), append(key(1, format.KindShare), 1), true},
		{"share records to the end", key(1, format.KindShare), nil, true},
		{"the end of a collection", format.AppendCollectionEnd(nil, 1), key(2, format.KindOnode), false},
		{"from one to the next", format.AppendCollectionEnd(nil, 1), key(2, format.KindUser), true},
		{"the end of the last", format.AppendCollectionEnd(nil, last), nil, false},
		{"the last share records", key(last, format.KindShare), nil, true},
	} {
		if got := (&foldEnv{}).NeedsVisit(x.lo, x.hi); got != x.want {
			t.Errorf("%s: %v", x.what, got)
		}
	}
}

// On a full store a clone is refused, and so is a cut that only makes records; clones can be removed, and all that was promised still folds.
func TestCloneOnAFullStore(t *testing.T) {
	b, n := full(t, 616, 8<<20)
	try := func(fn func(tx *Tx) error) bool {
		t.Helper()
		err := b.w.Do(b.r, func(f *engine.Fiber) error { _, err := b.s.Update(f, fn); return err })
		if err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
		return err == nil
	}
	for i := range 10 {
		b.remove(i)
	}
	name := func(i int) []byte {
		return []byte(fmt.Sprintf("clone %d of object %d, with a name that is long enough to fill the tree", i, 10+i%(n-10)))
	}
	clones := 0
	for try(func(tx *Tx) error { return tx.Clone(1, spaceObject(10+clones%(n-10)), name(clones)) }) {
		clones++
	}
	if clones < 200 {
		t.Fatalf("full after %d clones", clones)
	}
	kept := b.s.alloc.FreeBlocks()
	punched := 0
	for i := range min(clones, n-10) {
		for block := uint64(1); block < spaceBlocks; block += 2 {
			if try(func(tx *Tx) error { return tx.Punch(1, name(i), block*blockSize, blockSize) }) {
				punched++
			}
		}
	}
	b.do(b.s.Checkpoint)
	b.do(b.s.Checkpoint)
	if now := b.s.alloc.FreeBlocks(); now < kept/2 {
		t.Errorf("%d cuts that freed nothing have taken what is kept for deletes: %d blocks are free, %d were", punched, now, kept)
	}
	for i := range clones {
		b.update(func(tx *Tx) error { return tx.Remove(1, name(i)) })
	}
	for i := 10; i < n; i++ {
		b.remove(i)
	}
	b.unmount()
	if rep := b.fsck(); rep.DataBlocks != 0 || rep.Shares != 0 {
		t.Fatalf("%+v", rep)
	}
}
