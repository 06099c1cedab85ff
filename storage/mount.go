package storage

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/engine/device"
	"basalt/storage/alloc"
	"basalt/storage/btree"
	"basalt/storage/format"
	"basalt/storage/journal"
)

// MountReport is what a mount found.
type MountReport struct {
	Epoch        uint64   // of the superblock that it started from
	Clean        bool     // it was unmounted
	Bad          []string // copies of the label and of superblocks that cannot be read
	Records      uint64   // replayed
	Transactions uint64
	Cut          string // the record that a crash has cut off the end of the log, and what is wrong with it; empty: the log just ends
	MapRebuilt   string // why the space map was rebuilt from the tree; empty: it was not
	Unused       uint64 // bytes of the device behind its end as the label has it: it has grown since mkfs, and nobody uses them
}

// Mount opens a slice: it finds the newest valid superblock, replays the journal, and makes a superblock of its own durable before it
// returns, so that no record of another life is ever replayed. With Options.ReadOnly it writes nothing.
func Mount(f *engine.Fiber, h *device.Handle, slice int, opt Options) (*Store, *MountReport, error) {
	return mount(f, h, slice, opt, nil)
}

func mount(f *engine.Fiber, h *device.Handle, slice int, opt Options, sv *salvage) (*Store, *MountReport, error) {
	opt = opt.withDefaults()
	if err := opt.validate(); err != nil {
		return nil, nil, err
	}
	rep := &MountReport{}
	s, err := open(f, h, slice, opt, rep)
	if err != nil {
		return nil, nil, err
	}
	if !opt.ReadOnly {
		if err := h.Watch(fmt.Sprintf("slice %d", slice), s.deviceFailed); err != nil {
			s.discard(f.Turn())
			return nil, nil, fmt.Errorf("storage: %w", err)
		}
	}
	s.salvage = sv
	s.progress.begin(f.Turn(), opt.Progress)
	if err = sv.lookThrough(f, s); err == nil {
		err = s.recover(f, rep)
	}
	if err == nil {
		err = sv.agreed(s)
	}
	if err != nil {
		s.discard(f.Turn())
		return nil, rep, err
	}
	if opt.ReadOnly {
		s.shrinkCache(f)
		return s, rep, nil
	}
	s.super.Mount = mountID(&s.super, f.Turn().Wall())
	s.super.JournalRecord = uint32(opt.GroupRecordMax)
	s.check.free = s.alloc.FreeMap() // without what the journal has taken: no record will name it any more
	s.check.awaited++
	if err = s.mendLoneSupers(f, s.lone); err == nil {
		err = s.makeCheckpoint(f)
	}
	s.check.awaited--
	if err != nil {
		s.fail(f.Turn(), err)
		s.discard(f.Turn())
		return nil, rep, err
	}
	s.shrinkCache(f)
	err = s.startDiscards(f)
	if err == nil {
		err = f.Turn().Go("checkpoint", s.runCheckpoints)
	}
	if err != nil {
		s.closing = true
		s.endDiscards(f)
		s.discard(f.Turn())
		return nil, rep, err
	}
	if opt.ScrubIntervalNs > 0 {
		if err := s.wakeScrub(f.Turn()); err != nil {
			return nil, rep, errors.Join(err, s.Unmount(f))
		}
	}
	return s, rep, nil
}

// shrinkCache ends what is only for the mount.
func (s *Store) shrinkCache(f *engine.Fiber) {
	s.progress = progress{}
	for s.tree.SetCacheBytes(int64(s.opt.CacheBytes), s.opt.TurnSteps) {
		f.Yield()
	}
}

// open reads label and superblock and makes a store of them that knows nothing yet of the journal.
func open(f *engine.Fiber, h *device.Handle, slice int, opt Options, rep *MountReport) (*Store, error) {
	a := f.Reactor().Arena()
	label, err := readLabel(f, h, rep)
	if err != nil {
		return nil, err
	}
	if slice < 0 || slice >= int(label.Slices) {
		return nil, fmt.Errorf("storage: %s has %d slices, none is number %d", h.Name(), label.Slices, slice)
	}
	super, lone, err := newestSuper(f, h, label, slice, rep)
	if err != nil {
		return nil, err
	}
	if err := opt.fits(super); err != nil {
		return nil, err
	}
	s := &Store{opt: opt, dev: h, name: h.Name(), arena: a, super: *super, lone: lone, colls: &collSet{}}
	s.labels = format.LabelPlaces(label.Blocks)
	s.supers = format.SuperPlaces(label.Slice(slice)[0])
	s.space = format.DataExtents(label.Slice(slice), super.DataStart)
	s.limbo.pool.space = s.space
	s.pool = int(super.NodeBytes) / format.BlockBytes
	s.tx.s = s
	s.tree = btree.New(btree.Config{
		Device: h, Name: s.name, Arena: a, Store: super.Store, NodeBytes: int(super.NodeBytes), Space: s.space,
		CacheBytes: int64(opt.CacheBytes),
	})
	s.active = newLayer(a, opt.SlabChunkBytes, &s.nodes)
	if err := s.takeMemory(); err != nil {
		s.discard(f.Turn())
		return nil, err
	}
	rep.Epoch, rep.Clean = super.Epoch, super.Flags&format.SuperClean != 0
	return s, nil
}

// takeMemory gets the record buffers: one for each group that can exist, and one to cut a record.
func (s *Store) takeMemory() error {
	for range groupsInFlightMax + 1 {
		buf, err := s.arena.Get(s.opt.GroupRecordMax)
		if err != nil {
			return fmt.Errorf("storage: journal buffers of %d bytes: %w", s.opt.GroupRecordMax, err)
		}
		g := &group{record: buf, mem: s.arena.Bytes(buf)}
		g.reset()
		s.spare = append(s.spare, g)
	}
	buf, err := s.arena.Get(s.opt.GroupRecordMax)
	if err != nil {
		return fmt.Errorf("storage: journal buffers of %d bytes: %w", s.opt.GroupRecordMax, err)
	}
	s.spareRec, s.spareMem = buf, s.arena.Bytes(buf)
	n := max(min(s.opt.DeltaBytesMax/8, 1<<20), 16*format.BlockBytes) &^ (format.BlockBytes - 1)
	if s.work, err = s.arena.Get(n); err != nil {
		return fmt.Errorf("storage: checkpoint buffer of %d bytes: %w", n, err)
	}
	s.workMem = s.arena.Bytes(s.work)
	s.open, s.spare = s.spare[0], s.spare[1:]
	s.startPipe(s.super.NextTxn-1, s.super.Start.Sequence-1, s.super.Start.Position, s.super.Start.PrecedingCrc)
	return nil
}

// startPipe begins after transaction txn and record, with an empty ring.
func (s *Store) startPipe(txn, record, block uint64, crc uint32) {
	rules := journal.Rules{InFlightMax: groupsInFlightMax, StartBytes: s.opt.GroupStartBytes, DelayNs: s.opt.GroupDelayNs}
	s.open.reset()
	s.pipe = journal.NewPipeline(rules, txn, record, &s.open.Group)
	s.ring = journal.NewRing(uint64(s.super.Journal.Len), block)
	s.lastCrc = crc
}

// recover brings the store to the state of the last committed transaction, in memory.
func (s *Store) recover(f *engine.Fiber, rep *MountReport) error {
	if err := s.readMap(f, rep); err != nil {
		return err
	}
	if err := s.salvage.regrow(f, s); err != nil {
		return err
	}
	if err := s.findCollections(f); err != nil {
		return err
	}
	if err := s.salvage.reconcile(f, s); err != nil {
		return err
	}
	if err := s.replay(f, rep); err != nil {
		return err
	}
	return s.salvage.spareTail(f, s)
}

// readMap loads the space map that the superblock names. A map that cannot be read is rebuilt: what the tree does not name is free.
func (s *Store) readMap(f *engine.Fiber, rep *MountReport) error {
	err := error(errRebuild)
	if !s.salvage.rebuilds() {
		if err = s.loadMap(f); err == nil {
			err = s.salvage.mapFits(f, s)
		}
	}
	if err != nil {
		if s.super.Map.Region == format.MapNone || err == errRebuild || isDamage(err) {
			rep.MapRebuilt = err.Error()
			err = s.rebuildMap(f)
		}
		if err != nil {
			return err
		}
	}
	var total uint64
	for _, e := range s.space {
		total += uint64(e.Len)
	}
	s.nodesAt = int64((total - s.alloc.FreeBlocks()) / uint64(s.pool))
	return nil
}

func (s *Store) loadMap(f *engine.Fiber) error {
	m := s.super.Map
	if m.Region == format.MapNone {
		return fmt.Errorf("superblock %d has no space map", s.super.Epoch)
	}
	place := s.super.SpaceMap[m.Region]
	place.Len = format.BlocksFor(int64(m.Bytes))
	all := make([]byte, 0, place.Bytes())
	buf, err := s.arena.Get(min(mapChunk, int(place.Bytes())))
	if err != nil {
		return err
	}
	defer s.arena.Put(buf)
	mem := s.arena.Bytes(buf)
	for off := int64(0); off < place.Bytes(); {
		n := min(int64(len(mem)), place.Bytes()-off)
		if err := s.dev.Read(f, mem[:n:n], place.Offset()+off); err != nil {
			return err
		}
		all, off = append(all, mem[:n]...), off+n
	}
	at := format.Place{Device: s.name, Extent: place}
	a, h, err := alloc.DecodeMap(at, all[:m.Bytes], s.space, BlockCount(s.pool))
	if err != nil {
		return err
	}
	if h.Store != s.super.Store || h.Epoch != s.super.Epoch || h.Crc != m.Crc {
		return &format.CorruptError{Place: format.Place{Device: s.name, Extent: place}, What: "space map identity",
			Want: fmt.Sprintf("epoch %d, crc %#x", s.super.Epoch, m.Crc), Got: fmt.Sprintf("epoch %d, crc %#x", h.Epoch, h.Crc)}
	}
	s.alloc = a
	return nil
}

// rebuildMap walks the whole tree.
func (s *Store) rebuildMap(f *engine.Fiber) error {
	s.alloc = alloc.New(s.space, BlockCount(s.pool))
	for _, e := range s.space {
		s.alloc.Free(e)
	}
	err := s.eachNamed(f, func(e Extent, what string) error {
		if !s.alloc.Claim(e) {
			return &format.CorruptError{Place: format.Place{Device: s.name, Extent: e}, What: what, Want: "blocks that nothing else names", Got: "blocks named twice"}
		}
		return nil
	})
	if err == nil {
		s.salvage.countUnmapped(s)
	}
	return err
}

// eachNamed calls fn for all blocks that the tree names.
func (s *Store) eachNamed(f *engine.Fiber, fn func(e Extent, what string) error) error {
	var other error
	err := s.tree.Walk(f, s.super.Tree, s.salvage.sparing(s, s.salvage.only(btree.Visitor{
		Node:  func(e Extent, _ format.ChildPtr, _ int) error { return fn(e, "tree node") },
		Value: func(_ []byte, v format.ValueExtent) error { return fn(v.Extent(), "value extent") },
		Entry: func(key, val []byte, _ bool) error {
			if !format.Kind(key[2]).OwnsBlocks() {
				return nil
			}
			x, err := s.ownedBy(key, val)
			if err != nil || x.Len == 0 {
				return err
			}
			return fn(x, "object extent")
		},
		Budget: func(f *engine.Fiber) error { f.Yield(); return nil },
	}, &other)))
	if err == nil {
		err = other
	}
	return err
}

// findCollections notes which collections the tree has: their records are first in their ranges.
func (s *Store) findCollections(f *engine.Fiber) error {
	var pins btree.Pins
	defer s.tree.Release(&pins)
	cur := s.tree.Cursor(s.super.Tree)
	var key []byte
	for c := 0; c < 1<<16; {
		key = format.AppendCollectionKey(key[:0], uint16(c))
		if m := cur.Seek(key); !m.None() {
			if err := s.tree.Load(f, m, &pins); err != nil {
				return err
			}
			continue
		}
		s.tree.Release(&pins)
		if !cur.Valid() {
			return nil
		}
		k, err := format.DecodeKey(s.place("key"), cur.Key())
		if err != nil {
			return err
		}
		if k.Kind == format.KindCollection {
			s.colls.flip(Coll(k.Coll))
			c = int(k.Coll) + 1
			continue
		}
		if int(k.Coll) == c {
			s.salvage.noRecord(k.Coll)
			c++ // keys without a collection: its record would have been first
		} else {
			c = int(k.Coll)
		}
	}
	return nil
}

// mountID is a name that no other mount of this store ever had: its epoch is new, and the time tells two mounts apart of which one never
// made its superblock durable.
func mountID(super *format.Superblock, wallNs int64) (id format.UUID) {
	h := sha256.New()
	h.Write(super.Store[:])
	h.Write(super.Mount[:])
	_ = binary.Write(h, binary.LittleEndian, [2]uint64{super.Epoch + 1, uint64(wallNs)})
	copy(id[:], h.Sum(nil))
	return id
}

// discard gives all memory back. Nothing is in flight.
func (s *Store) discard(t *engine.Turn) {
	s.dev.Unwatch()
	put := func(b arena.Buf) {
		if b.Valid() {
			s.arena.Put(b)
		}
	}
	for _, g := range append(append(s.spare, s.sealed...), s.open) {
		if g != nil {
			s.releaseRuns(g)
			put(g.record)
		}
	}
	s.spare, s.sealed, s.open = nil, nil, nil
	put(s.spareRec)
	put(s.work)
	s.spareRec, s.work = arena.Buf{}, arena.Buf{}
	for _, l := range []*layer{s.active, s.frozen} {
		if l != nil {
			s.releaseLayer(t, l)
		}
	}
	s.reapAll(t)
	s.tree.Close()
}

// Unmount waits for everything that is applied to be durable, folds it, and ends the store. After a failure it only ends it.
func (s *Store) Unmount(f *engine.Fiber) error {
	if s.closing {
		return ErrClosed
	}
	s.closing = true
	s.waitSlot.WakeAll(f.Turn())
	s.endDiscards(f)
	s.endScrub(f)
	var err error
	if !s.opt.ReadOnly {
		if err = s.Checkpoint(f); err == nil {
			err = s.Commit(f, s.Applied())
		}
		s.check.stop = true
		s.check.wake.WakeAll(f.Turn())
		for !s.check.done || s.inFlight > 0 {
			s.waitDrain.Wait(f)
		}
	}
	s.discard(f.Turn())
	return err
}
