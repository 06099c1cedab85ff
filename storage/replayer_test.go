package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/storage/btree"
	"basalt/storage/format"
)

// doings has a mount on a disk so slow that it tells of each of its steps, and returns what it told.
func (b *bench) doings() (told *map[string]bool) {
	b.disk.SetFaults(sim.Faults{SlowRead: 1, SlowNs: 2e9})
	told = &map[string]bool{}
	b.opt.Progress = func(p MountProgress) { (*told)[p.Doing] = true }
	return told
}

// A mount goes through the log once: what some record says was durable is replayed before the end has been found.
func TestReplayGoesThroughTheLogOnce(t *testing.T) {
	b := aheadBench(t, 281, 2000)
	for _, ahead := range []int{0, 1} { // the default; a record at a time, and those that it takes to know that it was durable
		c := b.reboot(282)
		c.opt.ReplayAhead = ahead
		told := c.doings()
		rep := c.mount()
		if (*told)[DoingRead] || !(*told)[DoingReplay] || rep.Transactions < 500 || rep.Cut != "" {
			t.Errorf("ahead by %d: told was %v, %+v", ahead, *told, rep)
		}
		c.unmount()
	}
}

// undated rewrites the log so that no record says that any other was durable, and returns how many there are.
func (b *bench) undated(c *bench) uint64 {
	b.t.Helper()
	start := b.s.super.Start
	crc := start.PrecedingCrc
	for seq := start.Sequence; seq <= b.s.pipe.Durable(); seq++ {
		h, payload := b.header(b.recordAt(seq))
		h.FlushedThrough, h.PrecedingCrc = 0, crc
		record := append(make([]byte, format.JournalHeaderBytes, blockSize), payload...)
		c.disk.WriteAt(format.SealJournal(record[:blockSize], len(payload), &h), b.recordAt(seq))
		crc = h.Crc
	}
	return b.s.pipe.Durable() - start.Sequence + 1
}

// A log of which no record says that any was durable is looked at to its end before anything of it is replayed, in a window of any size: each of its
// records may stand before its data.
func TestReplayOfALogThatNobodySaysWasDurable(t *testing.T) {
	for _, ahead := range []int{0, 1} {
		b := grown(t, 283, 5)
		data := bytes.Repeat([]byte{0xD9}, blockSize)
		b.commit(b.update(func(tx *Tx) error { return tx.Write(1, []byte("o"), 0, data) }))
		upTo := b.s.pipe.Durable() - b.s.super.Start.Sequence
		for i := range 5 {
			b.commit(b.update(func(tx *Tx) error { return tx.Put(1, []byte{byte(i)}, []byte("v")) }))
		}
		c := b.reboot(284)
		all := b.undated(c)
		d := newBench(t, 285, c.disk.Fork(), 0)
		d.opt = c.opt
		for at := int64(0); at < d.disk.Bytes(); at += blockSize {
			if bytes.Equal(d.blockOf(at), data) {
				d.disk.WriteAt(make([]byte, blockSize), at)
			}
		}
		for _, x := range []struct {
			b    *bench
			want uint64
			cut  bool
		}{{c, all, false}, {d, upTo, true}} {
			x.b.opt.ReplayAhead = ahead
			told := x.b.doings()
			if rep, err := x.b.try(); err != nil || rep.Records != x.want || (rep.Cut != "") != x.cut {
				t.Fatalf("ahead by %d: %+v, %v, want %d records of %d", ahead, rep, err, x.want, all)
			}
			if ahead == 1 && !(*told)[DoingRead] {
				t.Errorf("told was %v", *told)
			}
			x.b.disk.SetFaults(sim.Faults{})
			x.b.unmount()
			x.b.fsck()
		}
	}
}

// middleLeaf is a leaf of the tree that a mount has no need of before it replays, and an object whose onode it has.
func (b *bench) middleLeaf() (leaf Extent, object []byte) {
	b.t.Helper()
	type leafOf struct {
		at    Extent
		names [][]byte
	}
	var leaves []leafOf
	b.do(func(f *engine.Fiber) error {
		return b.s.tree.Walk(f, b.s.super.Tree, btree.Visitor{
			Node: func(e Extent, _ format.ChildPtr, level int) error {
				if level == 0 {
					leaves = append(leaves, leafOf{at: e})
				}
				return nil
			},
			Entry: func(key, _ []byte, _ bool) error {
				k, err := format.DecodeKey(format.Place{}, key)
				if err == nil && k.Kind == format.KindOnode {
					l := &leaves[len(leaves)-1]
					l.names = append(l.names, slices.Clone(k.Rest))
				}
				return err
			},
		})
	})
	if len(leaves) < 3 || len(leaves[1].names) == 0 {
		b.t.Fatalf("%d leaves", len(leaves))
	}
	return leaves[1].at, leaves[1].names[0]
}

// A superblock that rotted leaves one whose tree others may have overwritten: when the replay of the first records fails because of that, it is still the rot
// that is told, which a later record proves.
func TestReplayThatFailsTellsOfTheRot(t *testing.T) {
	b := aheadBench(t, 287, 400)
	b.do(b.s.Checkpoint)
	leaf, object := b.middleLeaf()
	for range 40 {
		b.commit(b.update(func(tx *Tx) error { return tx.SetAttr(1, object, []byte("c"), []byte("v")) }))
	}
	older := b.s.super
	b.do(b.s.Checkpoint)
	b.commit(b.update(func(tx *Tx) error { return tx.SetAttr(1, object, []byte("c"), []byte("w")) }))
	if b.s.super.Epoch != older.Epoch+1 {
		t.Fatalf("superblocks are %d and %d", older.Epoch, b.s.super.Epoch)
	}
	last := b.s.pipe.Durable()
	for _, rotten := range []bool{false, true} {
		c := b.reboot(288)
		c.opt.ReplayAhead = 1
		if rotten {
			c.disk.Flip(leaf.Offset()+200, 1)
		}
		for _, at := range b.s.supers[b.s.super.Epoch&1] {
			c.disk.Flip(int64(at)*blockSize+100, 1)
		}
		_, err := c.try()
		var rot *RotError
		if !errors.As(err, &rot) || rot.Record != last || rot.Super != b.s.super.Epoch {
			t.Fatalf("rotten leaf %v: %v, want a refusal because of record %d", rotten, err, last)
		}
	}
}

// readsAlone counts from now on the reads that begin when no other is in flight.
func (b *bench) readsAlone() *int {
	flying, alone := 0, new(int)
	b.disk.OnEvent(func(_ *sim.Disk, what string) {
		switch what {
		case "begin read":
			if flying == 0 {
				*alone++
			}
			flying++
		case "end read":
			flying--
		}
	})
	return alone
}

// The blocks of which the journal changes a part are read many at once, and what comes out is the same, also where a change before has given
// the object other blocks, or has taken them away.
func TestReplayReadsBaseBlocksTogether(t *testing.T) {
	const objects = 3 * basesMax
	b := newBench(t, 289, nil, 64<<20)
	b.opt.DeltaBytesMax = 8 << 20
	b.do(func(f *engine.Fiber) error {
		return Format(f, b.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 8 << 20, NodeBytes: 8 << 10})
	})
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	name := func(i int) []byte { return fmt.Appendf(nil, "object %04d", i) }
	want := make([][]byte, objects)
	for i := range objects {
		want[i] = bytes.Repeat([]byte{byte(i), byte(i >> 8), 7}, 2*blockSize/3+1)[:2*blockSize]
		b.update(func(tx *Tx) error { return tx.Write(1, name(i), 0, want[i]) })
	}
	b.do(b.s.Checkpoint)
	before := b.s.stats.Checkpoints
	var last Seq
	for k := range objects {
		i := k * 7919 % objects
		part := fmt.Appendf(nil, "part of object %d", i)
		last = b.update(func(tx *Tx) error {
			switch i % 16 {
			case 3:
				copy(want[i][blockSize:], bytes.Repeat([]byte{byte(i), 9}, blockSize/2))
				if err := tx.Write(1, name(i), blockSize, want[i][blockSize:]); err != nil {
					return err
				}
			case 5:
				want[i] = want[i][:blockSize+100]
				return tx.Truncate(1, name(i), uint64(len(want[i])))
			case 7:
				clear(want[i][200 : blockSize+300])
				return tx.Punch(1, name(i), 200, blockSize+100)
			}
			copy(want[i][blockSize+500:], part)
			return tx.Write(1, name(i), blockSize+500, part)
		})
	}
	b.commit(last)
	if n := b.s.stats.Checkpoints - before; n != 0 {
		t.Fatalf("%d checkpoints have taken changes out of the journal", n)
	}
	c := b.reboot(290)
	alone := c.readsAlone()
	if rep := c.mount(); rep.Transactions != objects {
		t.Fatalf("%+v", rep)
	}
	c.disk.OnEvent(nil)
	if *alone > objects/4 {
		t.Errorf("%d reads began when no other was in flight, for %d blocks", *alone, objects)
	}
	got := make([]byte, 3*blockSize)
	for i := range objects {
		c.do(func(f *engine.Fiber) error {
			n, err := c.s.Read(f, 1, name(i), 0, got)
			if err == nil && !bytes.Equal(got[:n], want[i]) {
				err = fmt.Errorf("object %d is not what it was", i)
			}
			return err
		})
	}
	c.unmount()
	c.fsck()
}

// A record that a later one says was durable is replayed whatever has become of its data, wherever the records end that are looked at together.
func TestReplayLooksAheadForWhatWasDurable(t *testing.T) {
	for blocks := range 8 {
		b, durable, data := inFlightTogether(t, 291)
		c := b.reboot(292)
		c.opt.ReplayAhead = max(blocks*blockSize, 1)
		c.disk.Flip(data.Offset()+100, 1)
		rep, err := c.try()
		if all := durable + 2 - b.s.super.Start.Sequence + 1; err != nil || rep.Records != all || rep.Cut != "" || all > 8 {
			t.Fatalf("ahead by %d blocks: %+v, %v, want all %d records", blocks, rep, err, all)
		}
		c.do(func(f *engine.Fiber) error {
			if _, err := c.s.Read(f, 1, []byte("o"), 0, make([]byte, 2*blockSize)); !format.IsCorrupt(err) {
				return fmt.Errorf("read of rotten data: %v", err)
			}
			return nil
		})
	}
}
