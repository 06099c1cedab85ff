package storage

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/storage/alloc"
	"basalt/storage/format"
)

// newestSuper finds the newest valid superblock of a slice. Copies that fail are discarded before epochs are compared. A slot whose copies are
// both invalid was being written when the power went; but one that cannot be read may well hold the newest, and to go on from the other one
// would undo what was committed since.
func newestSuper(f *engine.Fiber, h *device.Handle, label *format.Label, slice int, rep *MountReport) (best *format.Superblock, lone []loneSuper, err error) {
	buf, err := f.Reactor().Arena().Get(format.SuperBytes)
	if err != nil {
		return nil, nil, err
	}
	defer f.Reactor().Arena().Put(buf)
	mem := f.Reactor().Arena().Bytes(buf)
	var bad []error
	var empty []string // copies in the slot that mkfs clears
	for slot, copies := range format.SuperPlaces(label.Slice(slice)[0]) {
		var valid *format.Superblock
		unread, where := error(nil), loneSuper{}
		for i, at := range copies {
			p := format.Place{Device: h.Name(), Extent: Extent{Start: at, Len: 1}}
			sb, err := readSuper(f, h, p, mem)
			if err != nil && format.IsLaterSuperblock(mem) {
				return nil, nil, fmt.Errorf("storage: %s, slice %d, has a superblock of a later version of the format: %w", h.Name(), slice, err)
			}
			if err == nil {
				err = sb.CheckAgainst(p, label, slice)
			}
			if err == nil && int(sb.Epoch&1) != slot {
				err = &format.CorruptError{Place: format.Place{Device: h.Name(), Extent: p.Extent}, What: "superblock slot", Want: fmt.Sprint(sb.Epoch & 1), Got: fmt.Sprint(slot)}
			}
			if err != nil {
				if slot == 0 && format.IsCorrupt(err) && bytes.Count(mem, []byte{0}) == len(mem) {
					empty = append(empty, err.Error())
				} else {
					rep.Bad = append(rep.Bad, err.Error())
				}
				bad = append(bad, err)
				if !format.IsCorrupt(err) {
					unread, where = err, loneSuper{at: at, copy: uint16(i)}
				}
				continue
			}
			valid = sb
			if best == nil || sb.Epoch > best.Epoch {
				best = sb
			}
		}
		switch {
		case unread != nil && valid == nil:
			return nil, nil, fmt.Errorf("storage: %s, slice %d: superblock slot %d cannot be read, and it may be the newer one: %w", h.Name(), slice, slot, unread)
		case unread != nil:
			where.whole = *valid
			lone = append(lone, where)
		}
	}
	if best == nil {
		return nil, nil, fmt.Errorf("storage: %s, slice %d, has no valid superblock: %w", h.Name(), slice, errors.Join(bad...))
	}
	if best.Epoch > 1 { // before the second epoch nothing was ever written there
		rep.Bad = append(rep.Bad, empty...)
	}
	return best, lone, nil
}

// loneSuper is a copy of a superblock that cannot be read, beside one that can.
type loneSuper struct {
	at    BlockNo
	copy  uint16
	whole format.Superblock // what the other copy says
}

// mendLoneSupers writes anew what cannot be read, before anything else is written: if the power went while the other copy of such a slot is being replaced, one
// would be torn and one unreadable, and nobody could tell whether that slot was the newer one.
func (s *Store) mendLoneSupers(f *engine.Fiber, lone []loneSuper) error {
	mem, written := s.workMem[:format.SuperBytes], false
	for i := range lone {
		l := &lone[i]
		l.whole.Copy, l.whole.Self = l.copy, l.at
		l.whole.Encode(mem)
		if s.dev.Write(f, mem, offsetOf(l.at)) == nil { // else the checkpoint that replaces this slot will say so
			written = true
		}
	}
	if written {
		return s.flush(f)
	}
	return nil
}

func readSuper(f *engine.Fiber, h *device.Handle, p format.Place, mem []byte) (*format.Superblock, error) {
	if err := h.Read(f, mem, p.Extent.Offset()); err != nil {
		return nil, err
	}
	return format.DecodeSuperblock(p, mem)
}

// Format makes a device a set of empty stores, one for each slice. Whatever was on it is lost. The label is written last: a device whose
// format was interrupted has none.
func Format(f *engine.Fiber, h *device.Handle, opt FormatOptions) error {
	opt, err := opt.withDefaults()
	if err != nil {
		return err
	}
	blocks := uint64(h.Bytes()) / format.BlockBytes
	label, err := format.PlanLabel(opt.UUID, blocks, opt.Slices)
	if err != nil {
		return err
	}
	m := maker{f: f, h: h, opt: opt, label: label}
	if m.mem, err = m.memory(); err != nil {
		return err
	}
	defer m.free()
	clear(m.mem)
	for _, e := range format.LabelPlaces(blocks) { // what was there does not count any more
		if err := h.Write(f, m.mem[:format.LabelBytes], e.Offset()); err != nil {
			return err
		}
	}
	for slice := range opt.Slices {
		if err := m.slice(slice); err != nil {
			return fmt.Errorf("storage: slice %d of %s: %w", slice, h.Name(), err)
		}
	}
	if err := h.Flush(f); err != nil {
		return err
	}
	for _, e := range format.LabelPlaces(blocks) {
		label.Self = e.Start
		label.Encode(m.mem[:format.LabelBytes])
		if err := h.Write(f, m.mem[:format.LabelBytes], e.Offset()); err != nil {
			return err
		}
	}
	return h.Flush(f)
}

// maker formats one device.
type maker struct {
	f     *engine.Fiber
	h     *device.Handle
	opt   FormatOptions
	label *format.Label
	mem   []byte
	free  func()
}

func (m *maker) memory() ([]byte, error) {
	a := m.f.Reactor().Arena()
	buf, err := a.Get(64 << 10)
	m.free = func() { a.Put(buf) }
	return a.Bytes(buf), err
}

// slice writes the first superblock of a slice, with an empty tree and a space map in which everything is free.
func (m *maker) slice(slice int) error {
	segments := m.label.Slice(slice)
	var all uint64
	for _, e := range segments {
		all += uint64(e.Len)
	}
	plan, err := format.PlanSlice(segments, m.opt.journalBlocks(all))
	if err != nil {
		return err
	}
	wallNs := m.f.Turn().Wall() // a store made again under the same name is another one: the old journal is not its own
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64(append(m.label.Device[:], byte(slice), byte(slice>>8)), uint64(wallNs)))
	sb := format.Superblock{
		Version: format.Version, Slice: uint16(slice), Device: m.label.Device, Epoch: 1,
		Start: format.JournalStart{Sequence: 1}, NextTxn: 1, Journal: plan.Journal, SpaceMap: plan.SpaceMap, DataStart: plan.Data[0].Start,
		Blocks: plan.Blocks, WallNs: wallNs, NodeBytes: uint32(m.opt.NodeBytes), BlockBytes: format.BlockBytes,
		KeyBytesMax: format.KeyBytesMax, ValueBytesMax: format.ValueBytesMax, ExtentBlocks: format.ExtentBlocksMax,
		JournalRecord: recordMin, Flags: format.SuperClean,
	}
	copy(sb.Store[:], sum[:])
	sb.Mount = mountID(&sb, sb.WallNs)
	if err := m.spaceMap(&sb, plan.Data); err != nil {
		return err
	}
	places := format.SuperPlaces(segments[0])
	for i, at := range places[1] {
		sb.Copy, sb.Self = uint16(i), at
		sb.Encode(m.mem)
		if err := m.h.Write(m.f, m.mem[:format.SuperBytes], int64(at)*format.BlockBytes); err != nil {
			return err
		}
	}
	clear(m.mem)
	for _, at := range places[0] { // a store that was here before has one there
		if err := m.h.Write(m.f, m.mem[:format.SuperBytes], int64(at)*format.BlockBytes); err != nil {
			return err
		}
	}
	return nil
}

func (m *maker) spaceMap(sb *format.Superblock, data []Extent) error {
	a := alloc.New(data, BlockCount(sb.NodeBytes/format.BlockBytes))
	for _, e := range data {
		a.Free(e)
	}
	sb.FreeBlocks = a.FreeBlocks()
	place := sb.SpaceMap[0]
	enc := alloc.NewMapEncoder(a.FreeMap(), format.SpaceMapHeader{
		Store: sb.Store, Epoch: sb.Epoch, Self: place.Start, Slice: uint32(sb.Slice), Blocks: sb.Blocks,
	})
	for !enc.Step(mapStep) {
		m.f.Yield()
	}
	b := enc.Bytes()
	sb.Map = format.MapRef{Region: 0, Bytes: uint64(len(b)), Crc: enc.Header().Crc}
	whole := int(format.BlocksFor(int64(len(b)))) * format.BlockBytes
	if whole > len(m.mem) {
		panic("storage: the map of an empty slice is not small")
	}
	clear(m.mem)
	copy(m.mem, b)
	return m.h.Write(m.f, m.mem[:whole], place.Offset())
}
