package storage

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/sim"
	"basalt/storage/format"
)

// image is all that is on the disk.
func (b *bench) image() []byte {
	p := make([]byte, b.disk.Bytes())
	b.disk.ReadAt(p, 0)
	return p
}

func (b *bench) plan() (p *RepairPlan) {
	b.t.Helper()
	b.do(func(f *engine.Fiber) (err error) {
		p, err = PlanRepair(f, b.h, 0, b.opt)
		return err
	})
	return p
}

func (b *bench) repair(p *RepairPlan, w RepairWish) (err error) {
	b.t.Helper()
	b.do(func(f *engine.Fiber) error {
		err = Repair(f, b.h, 0, b.opt, p, w)
		return nil
	})
	if n := b.r.Arena().Used() - b.base; n != 0 {
		b.t.Fatalf("%d bytes of the arena are still taken after a repair", n)
	}
	return err
}

// refuses demands that a repair says so and writes nothing.
func (b *bench) refuses(p *RepairPlan, w RepairWish, words string) {
	b.t.Helper()
	before := b.image()
	if err := b.repair(p, w); err == nil || !strings.Contains(err.Error(), words) {
		b.t.Fatalf("a repair that must be refused says %v", err)
	}
	if !bytes.Equal(before, b.image()) {
		b.t.Fatal("a repair that was refused has written")
	}
}

// contents is every key and object of collection 1, to be compared; what cannot be read is its error's kind.
func (b *bench) contents() map[string]string {
	b.t.Helper()
	all := map[string]string{}
	b.do(func(f *engine.Fiber) error {
		var names []string
		err := b.s.View(f, func(tx *Tx) error {
			names = names[:0]
			if err := tx.Scan(1, nil, nil, 0, func(k, v []byte) bool { all["key "+string(k)] = string(v); return true }); err != nil {
				return err
			}
			_, err := tx.Objects(1, nil, 0, func(name []byte, _ ObjectInfo) bool { names = append(names, string(name)); return true })
			return err
		})
		for _, name := range names {
			for at := uint64(0); ; at += blockSize {
				p := make([]byte, blockSize)
				n, err := b.s.Read(f, 1, []byte(name), at, p)
				if err != nil && !isDamage(err) {
					return err
				}
				if err == nil && n == 0 {
					break
				}
				all[fmt.Sprintf("%s %d", name, at/blockSize)] = string(p[:n])
				if err != nil {
					all[fmt.Sprintf("%s %d", name, at/blockSize)] = "bad"
				}
			}
		}
		return err
	})
	return all
}

// differences of two contents, sorted by nothing: there are few.
func differences(have, want map[string]string) (list []string) {
	for k, v := range want {
		if have[k] != v {
			list = append(list, k)
		}
	}
	for k := range have {
		if _, ok := want[k]; !ok {
			list = append(list, k)
		}
	}
	return list
}

// stored is a store with something in the tree and something in the journal, left without an unmount, and what it holds.
func stored(t *testing.T, seed uint64) (*bench, map[string]string) {
	b := newBench(t, seed, nil, 8<<20)
	b.format()
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	write := func(i int) {
		b.commit(b.update(func(tx *Tx) error {
			if err := tx.Put(1, []byte(fmt.Sprintf("k%d", i)), []byte{byte(i)}); err != nil {
				return err
			}
			return tx.Write(1, []byte(fmt.Sprintf("o%d", i)), 0, bytes.Repeat([]byte{byte(i + 1)}, 3*blockSize+i*100))
		}))
	}
	for i := range 8 {
		write(i)
	}
	b.do(b.s.Checkpoint)
	b.do(b.s.Checkpoint)
	for i := 8; i < 12; i++ {
		write(i)
	}
	return b, b.contents()
}

// Bad copies of labels and superblocks are written anew from the good ones.
func TestRepairCopies(t *testing.T) {
	a, want := stored(t, 501)
	label := format.LabelPlaces(uint64(a.disk.Bytes()) / blockSize)
	for i, at := range []int64{
		label[0].Offset(), label[1].Offset(), offsetOf(a.s.supers[0][0]), offsetOf(a.s.supers[0][1]), offsetOf(a.s.supers[1][0]), offsetOf(a.s.supers[1][1]),
	} {
		for _, unreadable := range []bool{false, true} {
			b := a.reboot(502)
			if unreadable {
				b.disk.Damage(at, blockSize)
			} else {
				b.disk.Flip(at+70, 1)
			}
			p := b.plan()
			if len(p.Fixes) != 1 || !p.Losses.None() || len(p.Refused) > 0 {
				t.Fatalf("copy %d: %+v", i, p)
			}
			b.must(b.repair(p, RepairWish{}))
			if rep := b.fsck(); len(rep.Mount.Bad) > 0 {
				t.Fatalf("copy %d: still bad: %v", i, rep.Mount.Bad)
			}
			if p := b.plan(); !p.Nothing() {
				t.Fatalf("copy %d: still to be repaired: %+v", i, p)
			}
			b.mount()
			if d := differences(b.contents(), want); len(d) > 0 {
				t.Fatalf("copy %d: the repair has changed %v", i, d)
			}
			b.unmount()
		}
	}
}

// A space map that cannot be read, that calls blocks free which an object has, or that does not know of free ones, is made anew from the tree.
func TestRepairSpaceMap(t *testing.T) {
	for name, spoil := range map[string]func(b *bench) *bench{
		"rotten": func(b *bench) *bench {
			c := b.reboot(512)
			c.disk.Flip(b.s.super.SpaceMap[b.s.super.Map.Region].Offset()+format.SpaceMapHeaderBytes, 1)
			return c
		},
		"unreadable": func(b *bench) *bench {
			c := b.reboot(512)
			c.disk.Damage(b.s.super.SpaceMap[b.s.super.Map.Region].Offset(), blockSize)
			return c
		},
		"leak": func(b *bench) *bench {
			e, ok := b.s.alloc.Alloc(7, 0)
			if !ok || !b.s.check.free.Claim(e) {
				t.Fatal("no space to lose")
			}
			b.do(b.s.Checkpoint)
			return b.reboot(512)
		},
		"used blocks are free": func(b *bench) *bench {
			e := b.blockAt(1, "o3", 1)
			b.s.alloc.Free(e)
			b.s.check.free.Free(e)
			b.do(b.s.Checkpoint)
			return b.reboot(512)
		},
	} {
		a, want := stored(t, 511)
		b := spoil(a)
		p := b.plan()
		if len(p.Fixes) != 1 || !p.Losses.None() || len(p.Refused) > 0 || len(p.Report.Findings) == 0 {
			t.Fatalf("%s: %+v", name, p)
		}
		b.must(b.repair(p, RepairWish{}))
		b.fsck()
		b.mount()
		if d := differences(b.contents(), want); len(d) > 0 {
			t.Fatalf("%s: the repair has changed %v", name, d)
		}
		b.unmount()
	}
}

// Bad data blocks are named, and stay as unreadable as they are unless they are wished away: then they are holes, and nothing else has changed.
func TestRepairBlocks(t *testing.T) {
	a, want := stored(t, 521)
	inTree, tail, inJournal, inside := a.blockAt(1, "o2", 1), a.blockAt(1, "o5", 3), a.blockAt(1, "o9", 2), a.blockAt(1, "o6", 1)
	b := a.reboot(522)
	b.disk.Flip(inTree.Offset()+9, 4)
	b.disk.Damage(tail.Offset(), blockSize)
	b.disk.Damage(inside.Offset(), blockSize)
	b.disk.Flip(inJournal.Offset()+9, 4)
	p := b.plan()
	var named []string
	for _, x := range p.Losses.Blocks {
		named = append(named, fmt.Sprintf("%d %s %d at %v", x.Coll, x.Object, x.Block, x.Extent))
	}
	if got := strings.Join(named, ", "); got != fmt.Sprintf("1 o2 1 at %v, 1 o5 3 at %v, 1 o6 1 at %v, 1 o9 2 at %v", inTree, tail, inside, inJournal) || len(p.Refused) > 0 {
		t.Fatalf("losses: %s; %+v", got, p)
	}
	b.must(b.repair(p, RepairWish{}))
	b.mount()
	want["o2 1"], want["o5 3"], want["o6 1"], want["o9 2"] = "bad", "bad", "bad", "bad"
	if d := differences(b.contents(), want); len(d) > 0 {
		t.Fatalf("without the wish: %v", d)
	}
	b.unmount()
	p = b.plan()
	b.must(b.repair(p, RepairWish{Blocks: true}))
	b.fsck()
	b.mount()
	zero := string(make([]byte, blockSize))
	want["o2 1"], want["o5 3"], want["o6 1"], want["o9 2"] = zero, zero[:500], zero, zero
	if d := differences(b.contents(), want); len(d) > 0 {
		t.Fatalf("with the wish: %v", d)
	}
	if b.s.super.DamagedRepairs != 1 {
		t.Errorf("the superblock counts %d repairs that gave something up", b.s.super.DamagedRepairs)
	}
	b.unmount()
}

// A journal with a record that has rotted is cut there, on the explicit wish: what is lost is named, and what came before is all there.
func TestRepairJournal(t *testing.T) {
	const records = 8
	for victim := range records {
		a := grown(t, 531, records)
		start := a.s.super.Start
		at := int64(a.s.super.Journal.Start)*blockSize + int64(start.Position)*blockSize
		b := a.reboot(532)
		b.disk.Flip(at+int64(victim)*blockSize+format.JournalHeaderBytes+5, 3)
		p := b.plan()
		l := p.Losses.Tail
		if l == nil || len(p.Refused) > 0 || len(p.Losses.Blocks)+len(p.Losses.Patches) > 0 {
			t.Fatalf("victim %d: %+v", victim, p)
		}
		// Record n holds transaction n; the first one makes the collection.
		if l.First != uint64(victim)+1 || l.Last != records+1 || l.Records != records-victim || fmt.Sprint(l.Collections) != "[1]" {
			t.Fatalf("victim %d: %v", victim, l)
		}
		b.refuses(p, RepairWish{Blocks: true}, "journal")
		b.must(b.repair(p, RepairWish{Journal: true}))
		b.fsck()
		rep := b.mount()
		if rep.Records != 0 || uint64(b.s.Applied()) != uint64(victim) || b.s.super.DamagedRepairs != 1 {
			t.Fatalf("victim %d: %+v, applied %d, %d repairs", victim, rep, b.s.Applied(), b.s.super.DamagedRepairs)
		}
		if victim > 0 {
			if have := b.contents(); len(have) != victim-1 {
				t.Fatalf("victim %d: %v", victim, have)
			}
		}
		b.unmount()
	}
}

// A block of the journal that cannot be read keeps every mount away, wherever it is in the ring. Behind the log of a store that was unmounted nothing
// is lost with it, at the end of another log nobody knows, inside of one the transactions from there on are.
func TestRepairUnreadableJournal(t *testing.T) {
	for _, c := range []struct {
		name        string
		block       uint64 // behind the beginning of the log; record n+1 stands in block n
		unmounted   bool
		first, last uint64 // lost transactions; 0, 0: none
	}{
		{"clean", 0, true, 0, 0},
		{"behind the log", 20, false, 0, 0}, // further than the longest record reaches
		{"at its end", 9, false, 10, 9},
		{"inside", 4, false, 5, 9},
	} {
		a := grown(t, 533, 8)
		start := a.s.super.Start.Position
		if c.unmounted {
			a.unmount()
			start = a.s.super.Start.Position
		}
		b := a.reboot(534)
		b.disk.Damage(offsetOf(a.s.super.Journal.Start+BlockNo((start+c.block)%uint64(a.s.super.Journal.Len))), blockSize)
		var io *device.IOError
		if _, err := b.try(); !errors.As(err, &io) {
			t.Fatalf("%s: the mount says %v", c.name, err)
		}
		if rep := b.report(); len(rep.Findings) != 1 || !errors.As(rep.Findings[0].Err, &io) {
			t.Errorf("%s: the check finds %v", c.name, rep.Findings)
		}
		p := b.plan()
		if l := p.Losses.Tail; (l != nil) != (c.first > 0) || len(p.Refused) > 0 || len(p.Fixes) != 1 {
			t.Fatalf("%s: %+v", c.name, p)
		} else if l != nil && (l.First != c.first || l.Last != c.last && !(l.Last < l.First && c.last < c.first)) {
			t.Fatalf("%s: %v", c.name, l)
		}
		if c.first > 0 {
			b.refuses(p, RepairWish{Blocks: true}, "journal")
		}
		b.must(b.repair(p, RepairWish{Journal: true}))
		b.fsck()
		b.mount()
		want := 9
		if c.first > 0 {
			want = int(c.first) - 1
		}
		if have := b.contents(); len(have) != want-1 {
			t.Errorf("%s: %d keys, want %d", c.name, len(have), want-1)
		}
		b.unmount()
	}
}

// The data of the last record cannot be read: whether it was committed nobody knows, so it is not cut as what a crash has left, but named.
func TestRepairUnreadableDataOfTheLastRecord(t *testing.T) {
	a, want := stored(t, 535)
	last, data := uint64(a.s.Applied()), a.blockAt(1, "o11", 1)
	b := a.reboot(536)
	b.disk.Damage(data.Offset(), blockSize)
	var io *device.IOError
	if _, err := b.try(); !errors.As(err, &io) {
		t.Fatalf("the mount says %v", err)
	}
	p := b.plan()
	if l := p.Losses.Tail; l == nil || l.First != last || l.Last != last || l.Records != 1 || len(p.Refused) > 0 {
		t.Fatalf("%+v", p)
	}
	b.refuses(p, RepairWish{Blocks: true}, "journal")
	b.must(b.repair(p, RepairWish{Journal: true}))
	b.fsck()
	b.mount()
	for i := range 4 {
		delete(want, fmt.Sprintf("o11 %d", i))
	}
	delete(want, "key k11")
	if d := differences(b.contents(), want); len(d) > 0 {
		t.Errorf("%v", d)
	}
	b.unmount()
}

// rottenBase is a store whose journal changes a part of a block that has rotted since.
func rottenBase(t *testing.T, seed uint64) (*bench, map[string]string) {
	a, want := stored(t, seed)
	at := a.blockAt(1, "o2", 1)
	a.commit(a.update(func(tx *Tx) error { return tx.Write(1, []byte("o2"), blockSize+50, []byte("patch")) }))
	a.commit(a.update(func(tx *Tx) error { return tx.Put(1, []byte("after"), []byte("it")) }))
	want["key after"], want["o2 1"] = "it", "bad"
	b := a.reboot(seed + 1)
	b.disk.Flip(at.Offset()+9, 4)
	return b, want
}

// A change of a part of a block, committed, whose block has rotted before a checkpoint: a mount refuses and names the object; a repair drops the
// change, names it, and leaves the block unreadable or makes it a hole; never is there a good checksum over the rest of the block.
func TestRepairPatchOfRottenBlock(t *testing.T) {
	b, want := rottenBase(t, 541)
	if _, err := b.try(); !isObject(err, "o2") || !format.IsCorrupt(err) {
		t.Fatalf("the mount says %v", err)
	}
	p := b.plan()
	if l := p.Losses.Patches; len(l) != 1 || string(l[0].Object) != "o2" || l[0].Coll != 1 || l[0].Off != blockSize+50 || l[0].Len != 5 || len(p.Refused) > 0 {
		t.Fatalf("%+v", p)
	}
	b.refuses(p, RepairWish{Journal: true}, "blocks")
	b.must(b.repair(p, RepairWish{Blocks: true}))
	b.fsck()
	b.mount()
	want["o2 1"] = string(make([]byte, blockSize))
	if d := differences(b.contents(), want); len(d) > 0 {
		t.Fatalf("%v", d)
	}
	b.unmount()
}

// More damage than was named is not given up: the repair looks again before it writes.
func TestRepairGivesUpOnlyWhatWasNamed(t *testing.T) {
	a := grown(t, 551, 8)
	b := a.reboot(552)
	record := func(n uint64) int64 {
		return int64(a.s.super.Journal.Start+BlockNo(a.s.super.Start.Position+n))*blockSize + format.JournalHeaderBytes + 5
	}
	b.disk.Flip(record(6), 3)
	p := b.plan()
	b.disk.Flip(record(3), 3)
	b.refuses(p, RepairWish{Blocks: true, Journal: true}, "other damage")
	b.must(b.repair(b.plan(), RepairWish{Blocks: true, Journal: true}))
	b.fsck()

	torn, _ := branched(t, 553, 12)
	places := torn.places()
	c := torn.reboot(554)
	c.disk.Flip(places[len(places)-1].Offset()+70, 1)
	p = c.plan()
	c.disk.Flip(places[len(places)/2].Offset()+70, 1)
	c.refuses(p, RepairWish{Nodes: true}, "other damage")
}

// What a repair cannot mend it says, and does nothing: two records of superblocks that are gone, blocks with two owners.
func TestRepairRefuses(t *testing.T) {
	a, _ := stored(t, 561)
	a.do(a.s.Checkpoint)
	a.commit(a.update(func(tx *Tx) error { return tx.Put(1, []byte("later"), []byte("v")) }))
	b := a.reboot(562)
	for _, at := range a.s.supers[a.s.super.Epoch&1] {
		b.disk.Flip(offsetOf(at)+100, 1)
	}
	p := b.plan()
	if len(p.Refused) == 0 {
		t.Fatalf("the newest superblock is gone: %+v", p)
	}
	b.refuses(p, RepairWish{Blocks: true, Journal: true}, "no repair mends")

	later := grown(t, 565, 3).reboot(566) // the same, when the superblock was the first one of a later mount
	later.mount()
	later.commit(later.update(func(tx *Tx) error { return tx.Put(1, []byte("later"), []byte("v")) }))
	e := later.reboot(567)
	for _, at := range later.s.supers[later.s.super.Epoch&1] {
		e.disk.Flip(offsetOf(at)+100, 1)
	}
	if p = e.plan(); len(p.Refused) == 0 {
		t.Fatalf("the newest superblock is gone: %+v", p)
	}
	e.refuses(p, RepairWish{Blocks: true, Journal: true}, "no repair mends")

	c, _ := stored(t, 563)
	twice := c.blockAt(1, "o3", 1)
	c.update(func(tx *Tx) error { // our own bug, planted
		r := format.ExtentRecord{Start: twice.Start, Len: 1, Crcs: make([]byte, 4)}
		if err := tx.putExtent(1, []byte("o4"), 9, &r); err != nil {
			return err
		}
		return tx.Put(1, []byte("x"), nil)
	})
	c.do(c.s.Checkpoint)
	d := c.reboot(564)
	p = d.plan()
	if len(p.Refused) == 0 {
		t.Fatalf("a block has two owners: %+v", p)
	}
	d.refuses(p, RepairWish{Blocks: true, Journal: true}, "no repair mends")
}

// What no repair mends is not hidden behind a thousand findings that one does.
func TestRepairRefusesBehindTheLimit(t *testing.T) {
	const n = findingsMax + 16
	a := newBench(t, 567, nil, 32<<20)
	a.format()
	a.mount()
	a.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	for i := 0; i < n; i += 16 {
		a.update(func(tx *Tx) error {
			return tx.Write(1, []byte("a"), uint64(i)*blockSize, bytes.Repeat([]byte{1}, 16*blockSize))
		})
	}
	a.update(func(tx *Tx) error { return tx.Write(1, []byte("x"), 0, bytes.Repeat([]byte{2}, blockSize)) })
	a.commit(a.s.Applied())
	twice := a.blockAt(1, "x", 0)
	a.update(func(tx *Tx) error { // our own bug, planted
		r := format.ExtentRecord{Start: twice.Start, Len: 1, Crcs: make([]byte, 4)}
		if err := tx.putExtent(1, []byte("y"), 0, &r); err != nil {
			return err
		}
		return tx.Put(1, []byte("x"), nil)
	})
	a.do(a.s.Checkpoint)
	b := a.reboot(568)
	a.do(func(f *engine.Fiber) error {
		list, err := a.s.onDevice(f, 1, []byte("a"), 0, n)
		for _, at := range list {
			b.disk.Flip(offsetOf(at.ref.no), 0)
		}
		return err
	})
	p := b.plan()
	if p.Report.More == 0 || len(p.Losses.Blocks) != findingsMax || len(p.Refused) != 1 {
		t.Fatalf("%d blocks, %d more, refused: %v", len(p.Losses.Blocks), p.Report.More, p.Refused)
	}
	b.refuses(p, RepairWish{Blocks: true}, "no repair mends")
}

// The power is cut at the first, second, … operation of a repair of everything at once: whatever is left can be repaired again, and then all is
// there but what was named.
func TestRepairSurvivesPowerCuts(t *testing.T) {
	all := RepairWish{Blocks: true, Journal: true}
	a, _ := stored(t, 571)
	for i := range 4 {
		a.commit(a.update(func(tx *Tx) error { return tx.Put(1, []byte(fmt.Sprintf("late%d", i)), []byte("x")) }))
	}
	want := a.contents()
	spoiled := a.reboot(572)
	label := format.LabelPlaces(uint64(a.disk.Bytes()) / blockSize)
	spoiled.disk.Flip(label[1].Offset()+70, 1)
	spoiled.disk.Flip(offsetOf(a.s.supers[a.s.super.Epoch&1][1])+70, 1)
	spoiled.disk.Flip(a.s.super.SpaceMap[a.s.super.Map.Region].Offset()+format.SpaceMapHeaderBytes, 1)
	spoiled.disk.Flip(a.blockAt(1, "o2", 1).Offset()+9, 4)
	last := a.recordAt(a.s.pipe.Record() - 1)
	spoiled.disk.Flip(last+format.JournalHeaderBytes+5, 3)
	zero := string(make([]byte, blockSize))
	delete(want, "key late2")
	delete(want, "key late3")
	want["o2 1"] = zero
	cuts := 0
	for cut := uint64(1); ; cut++ {
		b := newBench(t, 573+cut, spoiled.disk.Fork(), 0)
		b.opt = a.opt
		p := b.plan()
		if p.Losses.Tail == nil || len(p.Losses.Blocks) != 1 || len(p.Fixes) != 3 || len(p.Refused) > 0 {
			t.Fatalf("%+v", p)
		}
		b.disk.CutPowerAt(b.disk.Ops() + cut)
		err := b.w.Do(b.r, func(f *engine.Fiber) error { return Repair(f, b.h, 0, b.opt, p, all) })
		if err != nil && !errors.Is(err, sim.ErrPowerCut) {
			t.Fatalf("cut %d: %v", cut, err)
		}
		c := newBench(t, 9000+cut, b.disk.AfterPowerLoss(), 0)
		c.opt = a.opt
		if err != nil {
			cuts++
			again := c.plan()
			if len(again.Refused) > 0 {
				t.Fatalf("cut %d: %v", cut, again.Refused)
			}
			c.must(c.repair(again, all))
		}
		c.fsck()
		c.mount()
		if d := differences(c.contents(), want); len(d) > 0 {
			t.Fatalf("cut %d: %v", cut, d)
		}
		c.unmount()
		if err == nil {
			break
		}
	}
	if cuts < 20 {
		t.Errorf("only %d operations were cut", cuts)
	}
}
