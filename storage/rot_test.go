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

// grown is a bench with a store of a few committed records; it was left without an unmount.
func grown(t *testing.T, seed uint64, records int) *bench {
	b := newBench(t, seed, nil, 8<<20)
	b.format()
	b.mount()
	b.commit(b.update(func(tx *Tx) error { return tx.CreateCollection(1) }))
	for i := range records {
		b.commit(b.update(func(tx *Tx) error { return tx.Put(1, []byte(fmt.Sprintf("k%d", i)), []byte("v")) }))
	}
	return b
}

// try mounts the store and returns what happened.
func (b *bench) try() (rep *MountReport, err error) {
	err = b.w.Do(b.r, func(f *engine.Fiber) error {
		b.s, rep, err = Mount(f, b.h, 0, b.opt)
		return err
	})
	return rep, err
}

func (b *bench) findings() (n int) {
	b.do(func(f *engine.Fiber) error {
		rep, err := Fsck(f, b.h, 0, Options{})
		if err == nil {
			n = len(rep.Findings)
		}
		return err
	})
	return n
}

// A record that others prove to have been durable, and that cannot be read, is rot: neither the mount nor the check takes it for the end of
// the log. The last one may be the victim of a crash, and is only cut.
func TestRottenJournalIsRefused(t *testing.T) {
	const records = 8
	for victim := range records + 1 {
		b := grown(t, 91, records)
		at := int64(b.s.super.Journal.Start)*blockSize + int64(b.s.ring.Block(b.s.super.Start.Position))*blockSize
		c := b.reboot(92)
		c.disk.Flip(at+int64(victim)*blockSize+format.JournalHeaderBytes+5, 3)
		rep, err := c.try()
		var rot *RotError
		switch {
		case victim == records: // nothing says that the last one was durable
			if err != nil || rep.Records != uint64(victim) {
				t.Fatalf("victim %d: %+v, %v", victim, rep, err)
			}
		case !errors.As(err, &rot) || rot.Record != uint64(victim)+1:
			t.Fatalf("victim %d: %v", victim, err)
		case c.findings() == 0:
			t.Fatalf("victim %d: the check finds nothing", victim)
		}
	}
}

// When both copies of the newest superblock are gone, the older one would take the store back in time: a record that names the newer one
// gives that away.
func TestLostSuperblockIsRefused(t *testing.T) {
	for _, copies := range []int{1, 2} {
		b := grown(t, 93, 3)
		b.do(b.s.Checkpoint)
		b.commit(b.update(func(tx *Tx) error { return tx.Put(1, []byte("later"), []byte("v")) }))
		c := b.reboot(94)
		for _, at := range b.s.supers[b.s.super.Epoch&1][:copies] {
			c.disk.Flip(int64(at)*blockSize+100, 1)
		}
		_, err := c.try()
		var rot *RotError
		if (copies == 2) != errors.As(err, &rot) || copies == 1 && err != nil {
			t.Fatalf("%d copies lost: %v", copies, err)
		}
	}
}

// The same, when the superblock that is gone was the first one of a later mount.
func TestLostSuperblockOfLaterMount(t *testing.T) {
	b := grown(t, 97, 3)
	c := b.reboot(98)
	c.mount()
	c.commit(c.update(func(tx *Tx) error { return tx.Put(1, []byte("later"), []byte("v")) }))
	d := c.reboot(99)
	for _, at := range c.s.supers[c.s.super.Epoch&1] {
		d.disk.Flip(int64(at)*blockSize+100, 1)
	}
	_, err := d.try()
	var rot *RotError
	if !errors.As(err, &rot) {
		t.Fatal(err)
	}
}

// A space map that cannot be read does not keep the check from looking at everything else: a rotten data block is found as well.
func TestCheckGoesOnWithoutASpaceMap(t *testing.T) {
	block := bytes.Repeat([]byte{0xE7}, blockSize)
	for _, unmounted := range []bool{true, false} {
		b := grown(t, 101, 3)
		b.commit(b.update(func(tx *Tx) error { return tx.Write(1, []byte("gone"), 0, make([]byte, 100_000)) }))
		b.do(b.s.Checkpoint)
		b.commit(b.update(func(tx *Tx) error { return tx.Write(1, []byte("o"), 0, block) }))
		b.commit(b.update(func(tx *Tx) error { return tx.Remove(1, []byte("gone")) }))
		b.commit(b.update(func(tx *Tx) error { return tx.Put(1, []byte("last"), nil) })) // proves that the data before it was durable
		if unmounted {
			b.unmount()
		}
		c := b.reboot(102)
		c.disk.Flip(b.s.super.SpaceMap[b.s.super.Map.Region].Offset()+format.SpaceMapHeaderBytes, 1)
		if n := c.findings(); n != 1 {
			t.Errorf("unmounted %v: %d findings for a damaged space map, want 1", unmounted, n)
		}
		for at := int64(0); at < c.disk.Bytes(); at += blockSize {
			if bytes.Equal(c.blockOf(at), block) {
				c.disk.Flip(at, 1)
			}
		}
		if n := c.findings(); n != 2 {
			t.Errorf("unmounted %v: %d findings for a damaged space map and a rotten block, want 2", unmounted, n)
		}
	}
}

// A space map that cannot be read is made again from the tree, and says the same.
func TestSpaceMapIsRebuilt(t *testing.T) {
	b := grown(t, 95, 3)
	b.update(func(tx *Tx) error { return tx.Write(1, []byte("o"), 0, make([]byte, 100_000)) })
	b.update(func(tx *Tx) error { return tx.Put(1, []byte("long"), make([]byte, 9000)) })
	b.unmount()
	free := b.s.super.FreeBlocks
	c := b.reboot(96)
	for _, e := range b.s.super.SpaceMap {
		c.disk.Flip(e.Offset()+format.SpaceMapHeaderBytes, 1)
	}
	if rep := c.mount(); rep.MapRebuilt == "" {
		t.Fatal("the damage was not seen")
	}
	c.settledFree()
	if got := c.s.super.FreeBlocks; got != free {
		t.Fatalf("%d blocks free, before the damage %d", got, free)
	}
	c.unmount()
	c.fsck()
}

// inFlightTogether is a bench whose disk holds, behind its committed records, two more that were in flight at the same time; the last of the
// committed ones wrote an object. It returns the sequence of that one, and the extent of its data.
func inFlightTogether(t *testing.T, seed uint64) (b *bench, durable uint64, data Extent) {
	b = grown(t, seed, 3)
	seq := b.update(func(tx *Tx) error { return tx.Write(1, []byte("o"), 0, make([]byte, 2*blockSize)) })
	b.commit(seq)
	durable = b.s.pipe.Durable()
	b.do(func(f *engine.Fiber) error {
		if err := b.s.View(f, func(tx *Tx) error {
			if err := tx.collect(1, []byte("o"), 0, 2); err != nil {
				return err
			}
			data = tx.recs[0].rec.Extent()
			return nil
		}); err != nil {
			return err
		}
		for i := range 2 {
			seq, err := b.s.Update(f, func(tx *Tx) error { return tx.Put(1, []byte{byte(i)}, []byte("in flight")) })
			if err != nil {
				return err
			}
			b.s.pipe.Want(uint64(seq))
			b.s.kick(f.Turn())
			f.Yield()
		}
		if n := b.s.pipe.InFlight(); n != 2 {
			return fmt.Errorf("%d groups in flight", n)
		}
		return b.s.Commit(f, b.s.Applied())
	})
	return b, durable, data
}

// recordAt is where a record of one block stands on the device, as many blocks behind the first one as its sequence is.
func (b *bench) recordAt(sequence uint64) int64 {
	start := b.s.super.Start
	return int64(b.s.super.Journal.Start+BlockNo(start.Position+sequence-start.Sequence)) * blockSize
}

// A record whose data has rotted was durable if a record says so that stands behind the end of the log, where a crash tore the one between:
// its transactions are not cut, and whoever reads the data is told.
func TestDurableRecordIsNotCutForItsData(t *testing.T) {
	b, durable, data := inFlightTogether(t, 231)
	c := b.reboot(232)
	c.disk.Flip(b.recordAt(durable+1)+format.JournalHeaderBytes+5, 3)
	c.disk.Flip(data.Offset()+100, 1)
	rep, err := c.try()
	if err != nil || rep.Records != durable-b.s.super.Start.Sequence+1 {
		t.Fatalf("%+v, %v", rep, err)
	}
	c.do(func(f *engine.Fiber) error {
		_, err := c.s.Read(f, 1, []byte("o"), 0, make([]byte, 2*blockSize))
		if !format.IsCorrupt(err) {
			return fmt.Errorf("read of rotten data: %v", err)
		}
		return nil
	})
}

// Every log ends. A mount calls only that a cut which a crash has cut, and nothing of a log that just ends damaged.
func TestOnlyWhatWasBegunIsReportedAsCut(t *testing.T) {
	b, durable, _ := inFlightTogether(t, 233)
	last := durable + 2
	for _, c := range []struct {
		name    string
		damage  func(c *bench)
		records uint64 // the sequence of the last one
		cut     string
	}{
		{"nothing was in flight", func(*bench) {}, last, ""},
		{"never written", func(c *bench) { c.disk.WriteAt(make([]byte, blockSize), b.recordAt(last)) }, last - 1, ""},
		{"torn", func(c *bench) { c.disk.Flip(b.recordAt(last)+format.JournalHeaderBytes+1, 1) }, last - 1, fmt.Sprintf("record %d was begun and is not whole", last)},
		{"overtaken", func(c *bench) { c.disk.WriteAt(make([]byte, blockSize), b.recordAt(last-1)) }, last - 2,
			fmt.Sprintf("record %d is missing before record %d", last-1, last)},
	} {
		d := b.reboot(234)
		c.damage(d)
		rep, err := d.try()
		if err != nil || rep.Records != c.records-b.s.super.Start.Sequence+1 {
			t.Fatalf("%s: %+v, %v", c.name, rep, err)
		}
		if !strings.HasPrefix(rep.Cut, c.cut) || (c.cut == "") != (rep.Cut == "") {
			t.Errorf("%s: the mount says %q", c.name, rep.Cut)
		}
	}
	b.unmount()
	if rep := b.reboot(235).mount(); rep.Cut != "" || !rep.Clean || rep.Records != 0 {
		t.Errorf("unmounted in peace: %+v", rep)
	}
}

// The slot that mkfs has cleared is empty until the first mount, and not damaged; later an empty copy is.
func TestClearedSlotOfAFreshStoreIsNotDamage(t *testing.T) {
	b := newBench(t, 236, nil, 8<<20)
	b.format()
	if rep := b.fsck(); len(rep.Mount.Bad) > 0 {
		t.Errorf("fresh: %q", rep.Mount.Bad)
	}
	if rep := b.mount(); len(rep.Bad) > 0 {
		t.Errorf("fresh: %q", rep.Bad)
	}
	c := b.reboot(237)
	c.disk.WriteAt(make([]byte, blockSize), int64(b.s.supers[0][1])*blockSize)
	if rep := c.mount(); len(rep.Bad) != 1 {
		t.Errorf("one copy cleared: %q", rep.Bad)
	}
}
