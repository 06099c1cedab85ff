package storage

import (
	"bytes"
	"fmt"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/storage/btree"
	"basalt/storage/format"
)

// scrubNow makes a whole pass.
func (b *bench) scrubNow() ScrubStats {
	b.t.Helper()
	b.do(func(f *engine.Fiber) error {
		passes := b.s.scrub.st.Passes
		if err := b.s.StartScrub(f.Turn()); err != nil {
			return err
		}
		for b.s.scrub.st.Passes == passes || b.s.scrub.alive {
			f.Sleep(1e6)
		}
		return nil
	})
	return b.s.Stats().Scrub
}

// filledStore has objects, keys and long values, in the tree and in the delta.
func filledStore(t *testing.T, seed uint64) *bench {
	b := newBench(t, seed, nil, 16<<20)
	b.opt.ScrubBytesPerSec = 1 << 20
	b.format()
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	for i := range 60 {
		b.update(func(tx *Tx) error {
			if err := tx.Put(1, []byte(fmt.Sprintf("key%d", i)), bytes.Repeat([]byte{byte(i)}, 100+i%7*700)); err != nil {
				return err
			}
			for k := range 12 {
				if err := tx.Put(1, []byte(fmt.Sprintf("short%d-%d", i, k)), bytes.Repeat([]byte{byte(k)}, 200)); err != nil {
					return err
				}
			}
			return tx.Write(1, []byte(fmt.Sprintf("o%d", i)), 0, bytes.Repeat([]byte{byte(i + 1)}, (i%5+1)*7000))
		})
		if i == 40 {
			b.do(b.s.Checkpoint)
		}
	}
	b.commit(b.s.Applied())
	return b
}

// A pass over a sound store reads all of it, in several stretches, at the rate, and finds nothing.
func TestScrubReadsEverything(t *testing.T) {
	b := filledStore(t, 401)
	began := b.w.Now()
	st := b.scrubNow()
	took := b.w.Now() - began
	rep := b.reboot(402).fsck()
	used := (rep.DataBlocks + rep.ValueBlocks + rep.Nodes*2) * blockSize // nodes of 8 KiB
	if st.Findings != 0 || st.Objects != 60 || st.Passes != 1 || st.EndedNs == 0 || st.Running {
		t.Errorf("%+v", st)
	}
	if st.BytesDone < used || st.BytesDone > used*5/4 { // the path to its first leaf once for each stretch, and the space map
		t.Errorf("read %d bytes, in use are %d", st.BytesDone, used)
	}
	if st.BytesOf != used {
		t.Errorf("%d bytes to read, in use are %d", st.BytesOf, used)
	}
	if least := int64(st.BytesDone) * 9 / 10 * 1e9 / (1 << 20); took < least {
		t.Errorf("read %d bytes in %d ns, at the rate it takes at least %d", st.BytesDone, took, least)
	}
	if len(b.s.limbo.pins) != 0 {
		t.Errorf("blocks are still held: %v", b.s.limbo.pins)
	}
	b.unmount()
}

// Every block that the store uses is rotten once: each is found, nothing else is, and what is below a bad node is all that is passed over.
func TestScrubFindsEveryRottenBlock(t *testing.T) {
	b := filledStore(t, 403)
	b.do(b.s.Checkpoint)
	type place struct {
		at   Extent
		what string
	}
	var all []place
	b.do(func(f *engine.Fiber) error {
		return b.s.tree.Walk(f, b.s.super.Tree, btree.Visitor{
			Node:  func(e Extent, _ format.ChildPtr, _ int) error { all = append(all, place{e, WhatTree}); return nil },
			Value: func(_ []byte, v format.ValueExtent) error { all = append(all, place{v.Extent(), WhatTree}); return nil },
			Entry: func(key, val []byte, _ bool) error {
				if format.Kind(key[2]) != format.KindExtent {
					return nil
				}
				p, err := b.s.piece(&entry{key: key, val: val})
				for i := BlockNo(0); err == nil && i < BlockNo(p.rec.Len); i++ {
					all = append(all, place{Extent{Start: p.rec.Start + i, Len: 1}, WhatData})
				}
				return err
			},
		})
	})
	if len(all) < 150 {
		t.Fatalf("only %d places", len(all))
	}
	b.s.opt.ScrubBytesPerSec = 1 << 40
	for i := 0; i < len(all); i += 1 + len(all)/60 {
		p := all[i]
		at := p.at.Offset() + int64(i*97)%100 // the first bytes: those of a value's last block are padding
		b.disk.Flip(at, uint(i%8))
		st := b.scrubNow()
		list := b.s.Quarantine()
		if st.Findings != 1 || len(list) != 1 || list[0].What != p.what || !list[0].At.Contains(Extent{Start: p.at.Start, Len: 1}) {
			t.Fatalf("rot in the %s at %v: %d findings, %v", p.what, p.at, st.Findings, list)
		}
		b.disk.Flip(at, uint(i%8))
		if st = b.scrubNow(); st.Findings != 0 || b.s.Stats().InQuarantine != 0 {
			t.Fatalf("%s at %v was mended: %d findings, %v", p.what, p.at, st.Findings, b.s.Quarantine())
		}
	}
	b.unmount()
}

// Copies of superblocks and the space map that have rotted are found and written anew; a label copy is found.
func TestScrubLooksAtFixedPlaces(t *testing.T) {
	for i := range 7 {
		b := filledStore(t, 410+uint64(i))
		b.do(b.s.Checkpoint)
		label := format.LabelPlaces(uint64(b.disk.Bytes()) / blockSize)
		where := []struct {
			at   int64
			what string
		}{
			{offsetOf(b.s.supers[0][0]), WhatSuper}, {offsetOf(b.s.supers[0][1]), WhatSuper}, {offsetOf(b.s.supers[1][0]), WhatSuper},
			{offsetOf(b.s.supers[1][1]), WhatSuper}, {b.s.super.SpaceMap[b.s.super.Map.Region].Offset(), WhatMap},
			{label[0].Offset(), WhatLabel}, {label[1].Offset(), WhatLabel},
		}[i]
		var told []string
		b.s.OnQuarantine(func(_ *engine.Turn, q Quarantined, healed bool) {
			if !healed {
				told = append(told, q.What)
			}
		})
		b.disk.Flip(where.at+100, 3)
		st := b.scrubNow()
		if st.Findings != 1 || len(told) != 1 || told[0] != where.what {
			t.Errorf("%d: %s at %d: %d findings, told of %v", i, where.what, where.at, st.Findings, told)
		}
		if left := b.s.Stats().InQuarantine; (left == 1) != (where.what == WhatLabel) || left > 1 {
			t.Errorf("%d: %s at %d: %v", i, where.what, where.at, b.s.Quarantine())
		}
		b.unmount()
		if rep := b.reboot(420 + uint64(i)).report(); (len(rep.Mount.Bad) == 0) != (where.what != WhatLabel) || rep.Mount.MapRebuilt != "" {
			t.Errorf("%d: %s at %d: %v, %s", i, where.what, where.at, rep.Mount.Bad, rep.Mount.MapRebuilt)
		}
	}
}

// A pass can be stopped, begins anew by itself after the interval, and does not keep a store from its unmount.
func TestScrubStopsAndBeginsAgain(t *testing.T) {
	b := filledStore(t, 430)
	b.unmount()
	b.opt.ScrubBytesPerSec, b.opt.ScrubIntervalNs = 64<<10, 64e9
	b.mount()
	b.do(func(f *engine.Fiber) error {
		f.Sleep(9e9)
		if !b.s.Stats().Scrub.Running {
			return fmt.Errorf("no pass after an eighth of the interval")
		}
		b.s.StopScrub(f.Turn())
		f.Sleep(1e9)
		if st := b.s.Stats().Scrub; st.Running || st.Passes != 0 || st.EndedNs != 0 {
			return fmt.Errorf("stopped: %+v", st)
		}
		b.s.opt.ScrubBytesPerSec = 1 << 30
		f.Sleep(90e9)
		if st := b.s.Stats().Scrub; st.Running || st.Passes != 1 {
			return fmt.Errorf("after the interval: %+v", st)
		}
		b.s.opt.ScrubBytesPerSec = 64 << 10
		if err := b.s.StartScrub(f.Turn()); err != nil {
			return err
		}
		f.Sleep(1e9)
		if st := b.s.Stats().Scrub; !st.Running || st.BytesDone == 0 || st.BytesDone >= st.BytesOf {
			return fmt.Errorf("in the middle of a pass: %+v", st)
		}
		return nil
	})
	b.unmount()
	b.mount()
	b.do(func(f *engine.Fiber) error { f.Sleep(1e9); return nil })
	b.unmount()
	if b.s.scrub.alive {
		t.Error("the scrub waits for its time in a store that is unmounted")
	}
}

// A bit that is hurt on its way from the device, once, is no finding, whatever was being read.
func TestScrubReadsTwice(t *testing.T) {
	b := filledStore(t, 440)
	b.do(b.s.Checkpoint)
	b.s.opt.ScrubBytesPerSec = 1 << 40
	hit := 0
	for nth := 1; ; nth++ {
		before := b.disk.Hit(sim.FaultReadFlip)
		b.disk.FaultAt(sim.FaultReadFlip, nth)
		st := b.scrubNow()
		if b.disk.Hit(sim.FaultReadFlip) == before {
			break
		}
		hit++
		if st.Findings != 0 || b.s.Stats().Quarantined != 0 {
			t.Fatalf("read %d: %d findings, %v", nth, st.Findings, b.s.Quarantine())
		}
	}
	if hit < 80 {
		t.Errorf("only %d reads were hit", hit)
	}
}

// A rotten block that is replaced while the scrub, or a reader, looks at it is nobody's loss: whenever that happens, it is not in the list.
func TestReplacedMeanwhileIsNotListed(t *testing.T) {
	found := 0
	for delay := range int64(24) {
		b := newBench(t, 450, nil, 8<<20)
		b.format()
		b.mount()
		b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
		b.commit(b.update(func(tx *Tx) error { return tx.Write(1, []byte("o"), 0, bytes.Repeat([]byte("x"), 2*blockSize)) }))
		b.do(b.s.Checkpoint)
		b.disk.Flip(b.blockAt(1, "o", 1).Offset(), 1)
		b.disk.SetFaults(sim.Faults{SlowRead: 1, SlowNs: 1e9})
		b.do(func(f *engine.Fiber) error {
			b.s.OnQuarantine(func(*engine.Turn, Quarantined, bool) { found++ })
			if err := b.s.StartScrub(f.Turn()); err != nil {
				return err
			}
			f.Sleep(delay*5e8 + 1)
			if _, err := b.s.Update(f, func(tx *Tx) error { return tx.Write(1, []byte("o"), 0, make([]byte, 2*blockSize)) }); err != nil {
				return err
			}
			for b.s.scrub.alive {
				f.Sleep(1e8)
			}
			return nil
		})
		b.listed("o")
		b.unmount()
	}
	if found == 0 {
		t.Error("the rot was never found before it was replaced")
	}
}

// A rotten leaf that a checkpoint does away with while the scrub reads is not listed once its blocks are free, whenever that happens: they will be
// somebody else's.
func TestReplacedLeafIsNotListed(t *testing.T) {
	found := 0
	for delay := range int64(16) {
		b := newBench(t, 460, nil, 8<<20)
		b.format()
		b.mount()
		b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
		key := func(i int) []byte { return []byte(fmt.Sprintf("key%03d", i)) }
		for i := range 60 {
			b.update(func(tx *Tx) error { return tx.Put(1, key(i), bytes.Repeat([]byte{byte(i)}, 400)) })
		}
		b.do(b.s.Checkpoint)
		b.do(func(f *engine.Fiber) error { // the checkpoint takes the leaf from the cache
			return b.s.View(f, func(tx *Tx) error { _, err := tx.Get(1, key(0)); return err })
		})
		b.disk.Flip(b.leafOf("key000").Offset()+500, 3)
		b.disk.SetFaults(sim.Faults{SlowRead: 1, SlowNs: 1e9})
		b.do(func(f *engine.Fiber) error {
			b.s.OnQuarantine(func(_ *engine.Turn, q Quarantined, healed bool) {
				if !healed {
					found++
				}
			})
			if err := b.s.StartScrub(f.Turn()); err != nil {
				return err
			}
			f.Sleep(delay*5e8 + 1)
			if _, err := b.s.Update(f, func(tx *Tx) error { return tx.Put(1, key(0), []byte("new")) }); err != nil {
				return err
			}
			if err := b.s.Checkpoint(f); err != nil {
				return err
			}
			for b.s.scrub.alive {
				f.Sleep(1e8)
			}
			return nil
		})
		if list := b.s.Quarantine(); len(list) > 0 {
			t.Fatalf("delay %d: %v is listed; free: %v", delay, &list[0], b.s.alloc.AnyFree(list[0].At))
		}
		b.unmount()
	}
	if found == 0 {
		t.Error("the rot was never found before it was replaced")
	}
}

// leaves are those of the durable tree.
func (b *bench) leaves() (list []Extent) {
	b.t.Helper()
	b.do(func(f *engine.Fiber) error {
		return b.s.tree.Walk(f, b.s.super.Tree, btree.Visitor{Node: func(e Extent, _ format.ChildPtr, level int) error {
			if level == 0 {
				list = append(list, e)
			}
			return nil
		}})
	})
	return list
}

// On a device of which nothing but errors comes, a pass goes on in stretches all the same: it does not hold blocks until it has tried every leaf.
func TestScrubOfADyingDeviceHoldsNothingForLong(t *testing.T) {
	b, _ := branched(t, 470, 130)
	b.do(b.s.Checkpoint)
	leaves := b.leaves()
	for _, e := range leaves {
		b.disk.Flip(e.Offset()+500, 3)
	}
	b.s.opt.ScrubBytesPerSec = 256 << 10
	var moments []int64
	b.s.OnQuarantine(func(tn *engine.Turn, q Quarantined, healed bool) {
		if n := len(moments); n == 0 || moments[n-1] != tn.Now() {
			moments = append(moments, tn.Now())
		}
	})
	st := b.scrubNow()
	const most = 64 << 10 / (4 << 10) // nodes of a stretch
	if st.Findings != uint64(len(leaves)) || len(moments) < len(leaves)/most-1 {
		t.Errorf("%d of %d leaves were found, at %d moments", st.Findings, len(leaves), len(moments))
	}
	b.unmount()
}

// However low the rate, a stretch gets further than the path to where it begins.
func TestScrubAtALowRate(t *testing.T) {
	b := newBench(t, 480, nil, 16<<20)
	b.opt.CacheBytes = 512 << 10
	b.do(func(f *engine.Fiber) error {
		return Format(f, b.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 128 << 10, NodeBytes: 32 << 10})
	})
	b.mount()
	b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	for i := range 600 {
		b.update(func(tx *Tx) error {
			return tx.Put(1, []byte(fmt.Sprintf("key%04d", i)), bytes.Repeat([]byte{byte(i)}, 300))
		})
	}
	b.do(b.s.Checkpoint)
	b.s.opt.ScrubBytesPerSec = 64 << 10
	if st := b.scrubNow(); st.BytesDone > 4*st.BytesOf || st.BytesDone < st.BytesOf {
		t.Errorf("%d bytes were read of %d", st.BytesDone, st.BytesOf)
	}
	b.unmount()
}

// A pass that is wanted when another one was just told to stop is made.
func TestScrubStoppedAndStartedAtOnce(t *testing.T) {
	b := filledStore(t, 485)
	b.s.opt.ScrubBytesPerSec = 64 << 10
	b.do(func(f *engine.Fiber) error {
		if err := b.s.StartScrub(f.Turn()); err != nil {
			return err
		}
		f.Sleep(3e9)
		if !b.s.scrub.st.Running {
			return fmt.Errorf("no pass")
		}
		b.s.StopScrub(f.Turn())
		b.s.opt.ScrubBytesPerSec = 1 << 40
		if err := b.s.StartScrub(f.Turn()); err != nil {
			return err
		}
		for b.s.scrub.alive {
			f.Sleep(1e8)
		}
		return nil
	})
	if st := b.s.Stats().Scrub; st.Passes != 1 || st.EndedNs == 0 {
		t.Errorf("%+v", st)
	}
	b.unmount()
}

// What lies below a leaf that cannot be read any more was not met by the pass: it is not said to be well.
func TestScrubDoesNotHealWhatItCannotSee(t *testing.T) {
	b := filledStore(t, 490)
	b.do(b.s.Checkpoint)
	at := b.blockAt(1, "o7", 0)
	b.disk.Flip(at.Offset()+9, 1)
	b.scrubNow()
	b.listed("o7", 0)
	var leaf Extent
	b.do(func(f *engine.Fiber) error {
		var last Extent
		return b.s.tree.Walk(f, b.s.super.Tree, btree.Visitor{
			Node: func(e Extent, _ format.ChildPtr, _ int) error { last = e; return nil },
			Entry: func(key, _ []byte, _ bool) error {
				if k, err := format.DecodeKey(format.Place{}, key); err == nil && k.Kind == format.KindExtent && string(k.Rest) == "o7" {
					leaf = last
				}
				return nil
			},
		})
	})
	b.disk.Flip(leaf.Offset()+100, 1)
	b.scrubNow()
	if list := b.s.Quarantine(); len(list) != 2 || list[0].What != WhatData || list[1].What != WhatTree || b.s.Stats().Healed != 0 {
		t.Errorf("in quarantine: %v, %d healed", list, b.s.Stats().Healed)
	}
	b.disk.Flip(leaf.Offset()+100, 1)
	b.disk.Flip(at.Offset()+9, 1)
	b.scrubNow()
	b.listed("o7")
	b.unmount()
}
