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
	live, puts, values, bytes, spots := l.dirtyLive, l.puts, l.valueBlocks, l.bytes(), l.spots
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
	if l.dirtyLive != live || l.puts != puts || l.valueBlocks != values || l.bytes() != bytes || l.spots != spots {
		t.Fatalf("%d dirty blocks, %d bytes, %d blocks of values, %d spots, before %d, %d, %d, %d", l.dirtyLive, l.puts, l.valueBlocks, l.spots, live, puts, values, spots)
	}
	b.unmount()
}

// A record that follows all others of the log in every way, and names a newer superblock than the one found, proves that this one has rotted: the
// log is not replayed on a tree whose blocks others may have.
func TestRecordOfTheLogThatNamesANewerSuperblockIsRot(t *testing.T) {
	b := newBench(t, 261, nil, 8<<20)
	b.do(func(f *engine.Fiber) error {
		return Format(f, b.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 512 << 10, NodeBytes: 8 << 10})
	})
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	put := func(n int) {
		for i := range n {
			b.commit(b.update(func(tx *Tx) error { return tx.Put(1, []byte{byte(i)}, []byte("v")) }))
		}
	}
	put(40) // so that what is looked at behind the end of the log is not the log again
	b.do(b.s.Checkpoint)
	put(2)
	older := b.s.super
	b.do(b.s.Checkpoint)
	put(1)
	last := b.s.pipe.Durable()
	if older.Start.Position < 36 || b.s.super.Epoch != older.Epoch+1 {
		t.Fatalf("the log begins at block %d, superblocks are %d and %d", older.Start.Position, older.Epoch, b.s.super.Epoch)
	}
	c := b.reboot(262)
	for _, at := range b.s.supers[b.s.super.Epoch&1] {
		c.disk.Flip(int64(at)*blockSize+100, 1)
	}
	_, err := c.try()
	var rot *RotError
	if !errors.As(err, &rot) || rot.Record != last || rot.Proof != last {
		t.Fatalf("%v, want a refusal because of record %d", err, last)
	}
}

// A record that nobody says was durable may have reached the device before its data: replay ends before it, and says so.
func TestRecordBeforeItsDataEndsTheLog(t *testing.T) {
	b := grown(t, 263, 3)
	data := bytes.Repeat([]byte{0xD7}, blockSize)
	b.commit(b.update(func(tx *Tx) error { return tx.Write(1, []byte("o"), 0, data) }))
	last := b.s.pipe.Durable()
	c := b.reboot(264)
	for at := int64(0); at < c.disk.Bytes(); at += blockSize {
		if bytes.Equal(c.blockOf(at), data) {
			c.disk.WriteAt(make([]byte, blockSize), at)
		}
	}
	rep, err := c.try()
	if err != nil || rep.Records != last-b.s.super.Start.Sequence || rep.Cut == "" {
		t.Fatalf("%+v, %v", rep, err)
	}
	c.do(func(f *engine.Fiber) error {
		return c.s.View(f, func(tx *Tx) error {
			if _, err := tx.Stat(1, []byte("o")); !errors.Is(err, ErrNotFound) {
				return fmt.Errorf("the object of the record that was cut: %v", err)
			}
			return nil
		})
	})
	c.unmount()
	c.fsck()
}

// What a run of a closure missed is read from blocks that nobody gets meanwhile, whatever is overwritten and however many checkpoints are made.
func TestBlocksThatAClosureLoadsStayUntilTheyAreRead(t *testing.T) {
	b := grown(t, 265, 1)
	name := []byte("o")
	b.update(func(tx *Tx) error { return tx.Write(1, name, 0, bytes.Repeat([]byte{1}, blockSize)) })
	b.do(b.s.Checkpoint)
	var old Extent
	b.do(func(f *engine.Fiber) error {
		return b.s.View(f, func(tx *Tx) error {
			p, ok, err := tx.extentAt(1, name, 0)
			if old = p.rec.Extent(); !ok && err == nil {
				err = errors.New("no extent")
			}
			return err
		})
	})
	b.disk.FaultAt(sim.FaultSlow, 1)
	b.disk.SetFaults(sim.Faults{SlowNs: 10e9})
	b.do(func(f *engine.Fiber) error {
		done, patched := false, error(nil)
		if err := f.Turn().Go("patches", func(f *engine.Fiber) {
			_, patched = b.s.Update(f, func(tx *Tx) error { return tx.Write(1, name, 10, []byte("patch")) })
			done = true
		}); err != nil {
			return err
		}
		f.Sleep(1e6)
		for range 3 {
			if _, err := b.s.Update(f, func(tx *Tx) error { return tx.Write(1, name, 0, bytes.Repeat([]byte{2}, blockSize)) }); err != nil {
				return err
			}
			if err := b.s.Checkpoint(f); err != nil {
				return err
			}
		}
		if done || b.s.alloc.AnyFree(old) {
			return fmt.Errorf("read %v; %v can be given out while it is being read", done, old)
		}
		f.Sleep(20e9)
		if !done || patched != nil || !b.s.alloc.IsFree(old) {
			return fmt.Errorf("read %v: %w; %v is free: %v", done, patched, old, b.s.alloc.IsFree(old))
		}
		p := make([]byte, blockSize)
		if _, err := b.s.Read(f, 1, name, 0, p); err != nil || !bytes.Equal(p[10:15], []byte("patch")) || p[0] != 2 {
			return fmt.Errorf("the object begins with %q: %w", p[:16], err)
		}
		return nil
	})
	b.unmount()
	b.fsck()
}

// A block that an open group overwrites and a sealed one has written waits in limbo: the record of the sealed group names it, and a crash may end
// the log with that one.
func TestBlockOfASealedGroupIsNotDropped(t *testing.T) {
	b := grown(t, 267, 1)
	name := []byte("o")
	b.disk.SetFaults(sim.Faults{Slow: 1, SlowNs: 20e6})
	b.do(func(f *engine.Fiber) error {
		seq, err := b.s.Update(f, func(tx *Tx) error { return tx.Write(1, name, 0, bytes.Repeat([]byte{1}, 4*blockSize)) })
		if err != nil {
			return err
		}
		b.s.pipe.Want(uint64(seq))
		b.s.kick(f.Turn())
		f.Yield()
		if len(b.s.sealed) != 1 || !b.s.open.Empty() {
			return fmt.Errorf("%d groups are sealed", len(b.s.sealed))
		}
		old := b.s.sealed[0].table.runs[0].ext
		young, superseded := b.s.limbo.young(), b.s.open.dropped
		if _, err = b.s.Update(f, func(tx *Tx) error { return tx.Write(1, name, 0, bytes.Repeat([]byte{2}, 4*blockSize)) }); err != nil {
			return err
		}
		if b.s.alloc.AnyFree(old) || b.s.limbo.young() != young+4 || b.s.open.dropped != superseded {
			return fmt.Errorf("%v: can be given out %v, %d blocks in limbo, %d dropped", old, b.s.alloc.AnyFree(old), b.s.limbo.young()-young, b.s.open.dropped)
		}
		return b.s.Commit(f, seq) // not what has overwritten it
	})
	c := b.reboot(268)
	c.mount()
	c.do(func(f *engine.Fiber) error {
		p := make([]byte, 4*blockSize)
		n, err := c.s.Read(f, 1, name, 0, p)
		if err != nil || n != len(p) || bytes.Count(p, p[:1]) != n || p[0] == 0 {
			return fmt.Errorf("%d bytes, the first %d: %w", n, p[0], err)
		}
		return nil
	})
	c.unmount()
	c.fsck()
}

// A mount flushes what it has replayed and written before it writes a superblock: nothing else is volatile when the first copy changes. What it
// found may never have been flushed: the process before was killed, and the device still had it.
func TestMountFlushesBeforeItsSuperblock(t *testing.T) {
	b := grown(t, 269, 3)
	seq := b.update(func(tx *Tx) error { return tx.Write(1, []byte("o"), 0, make([]byte, 3*blockSize)) })
	b.disk.SetFaults(sim.Faults{Slow: 1, SlowNs: 1e9})
	b.do(func(f *engine.Fiber) error {
		b.s.pipe.Want(uint64(seq))
		b.s.kick(f.Turn())
		f.Sleep(1.5e9) // written, and not flushed
		return nil
	})
	if b.s.Committed() >= seq || b.disk.Volatile() == 0 {
		t.Fatalf("%d writes are volatile, committed %d of %d", b.disk.Volatile(), b.s.Committed(), seq)
	}
	c := newBench(t, 270, b.disk.Fork(), 0)
	found := c.disk.Volatile()
	places := b.s.supers[(b.s.super.Epoch+1)&1]
	was := [2][]byte{c.blockOf(int64(places[0]) * blockSize), c.blockOf(int64(places[1]) * blockSize)}
	supers, bad := 0, ""
	c.disk.OnEvent(func(d *sim.Disk, what string) {
		n := 0
		for i, at := range places {
			if !bytes.Equal(c.blockOf(int64(at)*blockSize), was[i]) {
				n++
			}
		}
		if n != supers && d.Volatile() != n {
			bad = fmt.Sprintf("with %d copies of the superblock written, %d writes are volatile", n, d.Volatile())
		}
		supers = n
	})
	rep := c.mount()
	if bad != "" || supers != 2 || found == 0 || rep.Transactions != uint64(seq) || c.disk.Volatile() != 0 {
		t.Fatalf("%s; %d copies written, %d writes were volatile before the mount and %d are after it; %+v", bad, supers, found, c.disk.Volatile(), rep)
	}
	c.unmount()
	c.fsck()
}

// The bytes of a record are in the ring before anybody sees the transaction: with a checkpoint that takes long, writers wait for room, and all of
// them get it.
func TestRecordHasItsRoomInTheRingBeforeItIsApplied(t *testing.T) {
	b := grown(t, 271, 1)
	b.s.opt.DeltaBytesMax = 4 << 20 // it is the ring that is full
	b.disk.SetFaults(sim.Faults{Slow: 1, SlowNs: 50e6})
	full := 0
	b.do(func(f *engine.Fiber) error {
		left, bad := 4, error(nil)
		var all engine.WaitList
		for w := range left {
			if err := f.Turn().Go("writer", func(f *engine.Fiber) {
				for i := 0; i < 40 && bad == nil; i++ {
					_, err := b.s.Update(f, func(tx *Tx) error {
						for k := range 3 {
							if err := tx.Put(1, []byte{byte(w), byte(i), byte(k)}, make([]byte, 3500)); err != nil {
								return err
							}
						}
						return nil
					})
					if n := recordBlocks(b.s.open.bytes()); err == nil && !b.s.open.Empty() && !b.s.ring.Fits(n) {
						err = fmt.Errorf("a record of %d blocks is open, %d of %d blocks of the ring are in use", n, b.s.ring.Used(), b.s.ring.Blocks())
					}
					if b.s.ring.Used()*4 > b.s.ring.Blocks()*3 {
						full++
					}
					if err != nil && bad == nil {
						bad = err
					}
				}
				if left--; left == 0 {
					all.WakeAll(f.Turn())
				}
			}); err != nil {
				return err
			}
		}
		all.Wait(f)
		return bad
	})
	if full < 5 || b.s.stats.Stalled < 100 {
		t.Fatalf("the ring was nearly full %d times, %d writers waited", full, b.s.stats.Stalled)
	}
	b.disk.SetFaults(sim.Faults{})
	b.unmount()
	b.fsck()
}

// On a full device deletes have space of their own: they are taken at once, without a checkpoint that frees something first, although nothing
// that adds is taken any more, not even after a checkpoint.
func TestDeletesHaveTheirReserve(t *testing.T) {
	b := newBench(t, 273, nil, 16<<20)
	b.opt.DeltaBytesMax, b.opt.LimboShare = 4<<20, 1
	b.do(func(f *engine.Fiber) error {
		return Format(f, b.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 1 << 20, NodeBytes: 8 << 10})
	})
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	key := func(i int) []byte { return []byte(fmt.Sprintf("key%05d", i)) }
	for i := range 1200 { // a tree that five deletes do not touch all of
		b.update(func(tx *Tx) error { return tx.Put(1, key(i), make([]byte, 900)) })
	}
	n := 0
	for ; b.add(n); n++ {
	}
	for more := true; more; {
		b.settledFree()
		b.do(func(f *engine.Fiber) error {
			_, err := b.s.Update(f, func(tx *Tx) error { return tx.Write(1, spaceObject(n), 0, make([]byte, blockSize)) })
			if more = err == nil; errors.Is(err, ErrFull) {
				err = nil
			}
			return err
		})
		n++
	}
	b.settledFree()
	checkpoints, stalled := b.s.stats.Checkpoints, b.s.stats.Stalled
	for i := range 5 {
		b.update(func(tx *Tx) error { return tx.Delete(1, key(i*200)) })
	}
	if b.s.stats.Checkpoints != checkpoints || b.s.stats.Stalled != stalled || b.s.check.coming() {
		t.Fatalf("%d checkpoints and %d waits for five deletes", b.s.stats.Checkpoints-checkpoints, b.s.stats.Stalled-stalled)
	}
	if have, need := b.s.alloc.Pieces()*uint64(b.s.pool), b.s.foldNeed(); have < need {
		t.Fatalf("%d blocks are left, the fold may need %d", have, need)
	}
	b.unmount()
	b.fsck()
}

// What a transaction makes of the group's earlier pieces counts as well: a record that grows because blocks in the middle of them are superseded
// must still fit.
func TestRecordThatGrowsByWhatIsSupersededStillFits(t *testing.T) {
	b := newBench(t, 275, nil, 8<<20)
	b.opt.GroupDelayNs, b.opt.GroupStartBytes = 1e15, 1<<30
	b.format()
	b.mount()
	b.commit(b.update(func(tx *Tx) error { return tx.CreateCollection(1) }))
	s := b.s
	const blocks = 30
	for i := range 2 {
		b.update(func(tx *Tx) error { return tx.Write(1, []byte{'o', byte(i)}, 0, make([]byte, blocks*blockSize)) })
	}
	b.update(func(tx *Tx) error {
		return tx.Put(1, []byte("fills a block"), make([]byte, blockSize-s.open.n%blockSize-300))
	})
	s.check.running = true // nobody makes room
	room := recordBlocks(s.open.bytes() + s.opt.TxnRecordMax)
	for s.ring.Fits(room + 1) {
		s.ring.Place(1)
	}
	applied, ran := s.Applied(), false
	b.do(func(f *engine.Fiber) error {
		if err := f.Turn().Go("writer", func(f *engine.Fiber) {
			_, _ = s.Update(f, func(tx *Tx) error {
				ran = true
				for i := range 2 {
					for at := uint64(1); at < blocks; at += 2 {
						if err := tx.Punch(1, []byte{'o', byte(i)}, at*blockSize, blockSize); err != nil {
							return err
						}
					}
				}
				return tx.Put(1, []byte("long"), make([]byte, s.opt.TxnRecordMax-s.open.n+tx.markRec-200))
			})
		}); err != nil {
			return err
		}
		f.Sleep(1e8)
		return nil
	})
	if !ran || s.Applied() != applied || !s.ring.Fits(recordBlocks(s.open.bytes())) {
		t.Fatalf("applied %d, then %d; the open record has %d bytes, %d of %d blocks of the ring are in use", applied, s.Applied(), s.open.bytes(), s.ring.Used(), s.ring.Blocks())
	}
}
