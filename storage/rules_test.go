package storage

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/storage/format"
)

// blockOf reads a block of the disk, as the store left it.
func (b *bench) blockOf(at int64) []byte {
	p := make([]byte, blockSize)
	b.disk.ReadAt(p, at)
	return p
}

// header decodes the record of one block that stands at a place of the device.
func (b *bench) header(at int64) (format.JournalHeader, []byte) {
	b.t.Helper()
	p := b.blockOf(at)
	h, err := format.DecodeJournalHeader(format.Place{}, p, b.s.super.Journal.Len, uint32(b.opt.GroupRecordMax))
	b.must(err)
	payload, err := format.VerifyJournal(format.Place{}, &h, p)
	b.must(err)
	return h, payload
}

// A record names its store, mount, sequence, place, the crc of the record before it, what was durable when it was sealed, and for each of its
// transactions the collection and its version.
func TestRecordSaysWhatReplayNeeds(t *testing.T) {
	b, durable, _ := inFlightTogether(t, 241)
	preceding := b.s.super.Start.PrecedingCrc
	for seq := b.s.super.Start.Sequence; seq <= durable+2; seq++ {
		h, payload := b.header(b.recordAt(seq))
		flushed := seq - 1
		if seq == durable+2 { // the one before was in flight
			flushed = durable
		}
		position := uint64(b.recordAt(seq)/blockSize) - uint64(b.s.super.Journal.Start)
		want := format.JournalHeader{Store: b.s.super.Store, Mount: b.s.super.Mount, Sequence: seq, Position: position, FlushedThrough: flushed,
			Epoch: b.s.super.Epoch, FirstTxn: seq - b.s.super.Start.Sequence + b.s.super.NextTxn, Bytes: h.Bytes, Txns: 1, PrecedingCrc: preceding, Crc: h.Crc}
		if h != want {
			t.Fatalf("record %d is\n%+v, want\n%+v", seq, h, want)
		}
		preceding = h.Crc
		x, _, rest, err := format.NextTxn(format.Place{}, payload)
		if err != nil || len(rest) != 0 || x.Txn != h.FirstTxn || x.Version != h.FirstTxn || x.Collection != 1 {
			t.Fatalf("record %d: %+v, %d bytes behind it, %v", seq, x, len(rest), err)
		}
	}
}

// Replay takes a record only where all that it says of its place in the log is right, however whole it is.
func TestReplayTakesOnlyTheNextRecord(t *testing.T) {
	for name, change := range map[string]func(h *format.JournalHeader){
		"store":         func(h *format.JournalHeader) { h.Store[3]++ },
		"mount":         func(h *format.JournalHeader) { h.Mount[3]++ },
		"sequence":      func(h *format.JournalHeader) { h.Sequence++ },
		"position":      func(h *format.JournalHeader) { h.Position++ },
		"preceding crc": func(h *format.JournalHeader) { h.PrecedingCrc++ },
	} {
		b := grown(t, 243, 4)
		c := b.reboot(244)
		last := b.s.pipe.Durable()
		at := b.recordAt(last)
		h, payload := b.header(at)
		change(&h)
		record := append(make([]byte, format.JournalHeaderBytes, 2*blockSize), payload...)
		c.disk.WriteAt(format.SealJournal(record[:2*blockSize], len(payload), &h), at)
		if rep, err := c.try(); err != nil || rep.Records != last-b.s.super.Start.Sequence {
			t.Errorf("another %s: %+v, %v", name, rep, err)
		}
	}
}

// supersOf are the superblocks that a disk holds, by slot and copy; a zero one is invalid.
func (b *bench) supersOf(d *sim.Disk) (out [2][2]format.Superblock) {
	for slot, copies := range b.s.supers {
		for i, at := range copies {
			p := make([]byte, blockSize)
			d.ReadAt(p, int64(at)*blockSize)
			if sb, err := format.DecodeSuperblock(format.Place{Extent: Extent{Start: at, Len: 1}}, p); err == nil {
				out[slot][i] = *sb
			}
		}
	}
	return out
}

// When Mount returns, both copies of a superblock with a name that no mount before had are durable, in the slot of its epoch, and it starts
// behind everything that was replayed.
func TestMountHasASuperblockOfItsOwnBeforeItServes(t *testing.T) {
	b := grown(t, 245, 3)
	seen := map[format.UUID]bool{b.s.super.Mount: true}
	for i := range 4 {
		c := b.reboot(246 + uint64(i))
		old := b.s.super
		c.mount()
		if n := c.disk.Volatile(); n != 0 {
			t.Fatalf("%d writes are not durable when the mount returns", n)
		}
		super := c.s.super
		if super.Epoch != old.Epoch+1 || seen[super.Mount] || super.Start.Sequence != b.s.pipe.Record()+1 || super.NextTxn != uint64(b.s.Applied())+1 {
			t.Fatalf("mount %d has the superblock %+v", i, super)
		}
		seen[super.Mount] = true
		for slot, copies := range c.supersOf(c.disk.AfterPowerLoss()) {
			for i, sb := range copies {
				if want := super.Epoch - (super.Epoch&1 ^ uint64(slot)); sb.Epoch != want || int(sb.Copy) != i {
					t.Fatalf("slot %d, copy %d: epoch %d, want %d", slot, i, sb.Epoch, want)
				}
			}
		}
		b = c
	}
}

// A checkpoint writes nodes and the map of the other region, then flushes, and has everything up to its boundary committed, before it writes
// both copies of the older slot; then it flushes again, and only then it lets go of anything.
func TestCheckpointOrder(t *testing.T) {
	b := grown(t, 251, 3)
	for round := range 6 {
		durable := b.s.super
		applied := b.update(func(tx *Tx) error { return tx.Put(1, []byte("k"), bytes.Repeat([]byte("v"), 3000)) })
		if round%2 == 0 {
			b.disk.FaultAt(sim.FaultSlow, 1) // the group of the boundary is on its way for longer than the fold takes
		} else {
			b.commit(applied) // its flush covers nothing of the fold
		}
		places := b.s.supers[(durable.Epoch+1)&1]
		region, kept := int64(durable.SpaceMap[1-durable.Map.Region].Start)*blockSize, int64(durable.SpaceMap[durable.Map.Region].Start)*blockSize
		was := map[int64][]byte{}
		for _, at := range []int64{int64(places[0]) * blockSize, int64(places[1]) * blockSize, region, kept} {
			was[at] = b.blockOf(at)
		}
		changed := func(at int64) bool { return !bytes.Equal(b.blockOf(at), was[at]) }
		var bad []string
		supers := 0
		b.disk.OnEvent(func(d *sim.Disk, what string) {
			n := 0
			for _, at := range places {
				if changed(int64(at) * blockSize) {
					n++
				}
			}
			if n == supers {
				return
			}
			supers = n
			if got := d.Volatile(); got != n {
				bad = append(bad, fmt.Sprintf("with %d copies of the superblock written, %d writes are not durable", n, got))
			}
			if b.s.Committed() < applied || b.s.super.Epoch != durable.Epoch || !changed(region) || changed(kept) {
				bad = append(bad, fmt.Sprintf("superblock written: committed %d of %d, epoch %d, region of the map written %v, the other %v",
					b.s.Committed(), applied, b.s.super.Epoch, changed(region), changed(kept)))
			}
		})
		b.do(b.s.Checkpoint)
		b.disk.OnEvent(nil)
		if n := b.disk.Volatile(); len(bad) > 0 || supers != 2 || n != 0 {
			t.Fatalf("%d copies of the superblock, %d writes not durable at the end: %v", supers, n, bad)
		}
	}
}

// Who asks for a checkpoint gets one, not two: while it waits for its group boundary, others who ask mean the same one.
func TestOneCheckpointForAllWhoAsk(t *testing.T) {
	b := grown(t, 259, 3)
	before := b.s.stats.Checkpoints
	b.disk.SetFaults(sim.Faults{Slow: 1, SlowNs: 10e6})
	b.do(func(f *engine.Fiber) error {
		for i := range 3 { // two groups in flight: the third, and the boundary behind it, must wait
			seq, err := b.s.Update(f, func(tx *Tx) error { return tx.Put(1, []byte{byte(i)}, []byte("v")) })
			if err != nil {
				return err
			}
			b.s.pipe.Want(uint64(seq))
			b.s.kick(f.Turn())
			f.Yield()
		}
		if err := f.Turn().Go("asks first", func(f *engine.Fiber) { _ = b.s.Checkpoint(f) }); err != nil {
			return err
		}
		f.Sleep(1e6)
		if !b.s.check.wantFreeze {
			return errors.New("the checkpoint does not wait")
		}
		return b.s.Checkpoint(f)
	})
	b.do(func(f *engine.Fiber) error { f.Sleep(1e9); return nil })
	if n := b.s.stats.Checkpoints - before; n != 1 {
		t.Fatalf("%d checkpoints", n)
	}
	b.unmount()
}

// Held blocks are free for whoever mounts next: the snapshot that holds them dies with the process.
func TestHeldBlocksAreFreeAfterACrash(t *testing.T) {
	b := grown(t, 253, 3)
	for i := range 20 {
		b.add(i)
	}
	b.do(b.s.Checkpoint)
	b.do(func(f *engine.Fiber) error { b.s.Snapshot(f.Turn()); return nil })
	for i := range 20 {
		b.remove(i)
	}
	for range 3 {
		b.do(b.s.Checkpoint)
	}
	if b.s.limbo.blocks < 20*spaceBlocks {
		t.Fatal("the snapshot holds nothing")
	}
	c := b.reboot(254)
	if rep := c.fsck(); rep.FreeBlocks < b.s.alloc.FreeBlocks()+20*spaceBlocks {
		t.Fatalf("%+v", rep)
	}
}

// Writers are slowed down the more, the nearer the delta is to its limit, and a checkpoint starts at half of it.
func TestWritersArePacedProgressively(t *testing.T) {
	b := newBench(t, 255, nil, 16<<20)
	b.opt.DeltaBytesMax, b.opt.LimboShare, b.opt.GroupRecordMax = 1<<20, 1, 128<<10
	b.do(func(f *engine.Fiber) error {
		return Format(f, b.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 4 << 20})
	})
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	limit, steps, last := b.s.opt.DeltaBytesMax, map[int64]bool{}, 0
	b.do(func(f *engine.Fiber) error {
		b.disk.SetFaults(sim.Faults{Slow: 1, SlowNs: 200e6})
		for i := 0; b.s.stats.Checkpoints < 4; i++ {
			if _, err := b.s.Update(f, func(tx *Tx) error { return tx.Put(1, []byte(fmt.Sprintf("k%05d", i)), make([]byte, 900)) }); err != nil {
				return err
			}
			used, pace := b.s.deltaBytes(), b.s.paceNs()
			ring := b.s.ring.Used()*4 <= b.s.ring.Blocks()*3
			switch {
			case used >= limit/2 && !b.s.check.want && !b.s.check.running:
				return fmt.Errorf("delta of %d bytes of %d and no checkpoint", used, limit)
			case ring && used*4 <= limit*3 && pace != 0 || pace > 10e6 || used*8 > limit*7 && b.s.check.running && pace < 2e6:
				return fmt.Errorf("delta of %d bytes of %d: a writer waits %d ns", used, limit, pace)
			}
			steps[pace], last = true, used
		}
		return nil
	})
	b.disk.SetFaults(sim.Faults{})
	if b.s.stats.Paced == 0 || len(steps) < 20 {
		t.Fatalf("%d writers were slowed down, by %d different times; delta %d of %d", b.s.stats.Paced, len(steps), last, limit)
	}
	b.unmount()
}

// A closure that runs again, because something was missing or did not fit, leaves no trace in what the next fold is reckoned to need.
func TestRunsThatAreTakenBackLeaveNoTrace(t *testing.T) {
	b := grown(t, 257, 1)
	gone := errors.New("not this time")
	l := b.s.active
	live, puts, values, bytes := l.dirtyLive, l.puts, l.valueBlocks, l.bytes()
	for range 3 {
		b.do(func(f *engine.Fiber) error {
			_, err := b.s.Update(f, func(tx *Tx) error {
				if err := tx.Write(1, []byte("o"), 10, []byte("a patch")); err != nil {
					return err
				}
				if err := tx.Put(1, []byte("long"), make([]byte, 9000)); err != nil {
					return err
				}
				return gone
			})
			if err != gone {
				return err
			}
			return nil
		})
	}
	if l.dirtyLive != live || l.puts != puts || l.valueBlocks != values || l.bytes() != bytes {
		t.Fatalf("%d dirty blocks, %d bytes, %d blocks of values, before %d, %d, %d", l.dirtyLive, l.puts, l.valueBlocks, live, puts, values)
	}
	b.unmount()
}
