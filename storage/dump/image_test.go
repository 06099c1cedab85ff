package dump

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/sim"
	"basalt/storage/alloc"
	"basalt/storage/format"
)

const (
	imageBlocks = 512
	nodeBytes   = 4096
)

// image is a small device made by hand, every byte of it known, so that what is printed changes only when the format does. Superblock 3 has
// one leaf; superblock 4 has two leaves under a root, and two records of the log behind it and a torn third.
type image struct {
	t     *testing.T
	world *sim.World
	disk  *sim.Disk
	r     *engine.Reactor
	h     *device.Handle

	label  *format.Label
	layout format.Layout
	clones bool    // object alpha was cloned, and the clone was cut
	next   BlockNo // where the next node or value goes
}

var (
	deviceID = format.UUID{0xde, 1}
	storeID  = format.UUID{0x57, 2}
	mountID  = format.UUID{0x30, 3}
)

func newImage(t *testing.T, clones bool) *image {
	m := &image{t: t, world: sim.NewWorld(1), clones: clones}
	t.Cleanup(m.world.Close)
	m.disk = m.world.Disk("disk", imageBlocks*format.BlockBytes)
	m.boot()
	m.build()
	return m
}

func (m *image) boot() {
	m.r = m.world.Reactor(engine.Config{Name: "dump", ArenaBytes: 16 << 20, FibersMax: 16, InboxMax: 16, OpsMax: 16})
	m.must(m.world.Boot(m.r, func(f *engine.Fiber) (err error) {
		m.h, err = m.disk.Device().Attach(f.Turn())
		return err
	}))
}

func (m *image) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *image) write(block BlockNo, b []byte) { m.disk.WriteAt(b, int64(block)*format.BlockBytes) }

// data writes a block that is full of one byte and returns its checksum.
func (m *image) data(block BlockNo, fill byte) uint32 {
	b := make([]byte, format.BlockBytes)
	for i := range b {
		b[i] = fill
	}
	m.write(block, b)
	return format.Crc(b)
}

func (m *image) node(level uint8, epoch uint64, entries []format.Entry) format.ChildPtr {
	b := make([]byte, nodeBytes)
	h := format.NodeHeader{Level: level, Epoch: epoch, Self: m.next, Store: storeID}
	format.EncodeNode(b, &h, entries)
	ptr := format.ChildPtr{Block: m.next, Epoch: epoch, Crc: format.Crc(b)}
	for _, e := range entries {
		switch {
		case level > 0:
			ptr.Entries += e.Child.Entries
			ptr.Flags |= e.Child.Flags
		default:
			ptr.Entries++
			if e.Out {
				ptr.Flags = format.PtrValues
			}
		}
	}
	m.write(m.next, b)
	m.next++
	return ptr
}

// value writes an out-of-line value and returns its cell.
func (m *image) value(val []byte) []byte {
	v := format.ValueExtent{Start: m.next, Bytes: uint32(len(val)), Crc: format.Crc(val)}
	m.write(m.next, append(val[:len(val):len(val)], make([]byte, int(v.Extent().Bytes())-len(val))...))
	m.next = v.Extent().End()
	cell := make([]byte, format.ValueExtentBytes)
	v.Encode(cell)
	return cell
}

func (m *image) extent(start BlockNo, fills ...byte) []byte {
	r := format.ExtentRecord{Start: start, Len: format.BlockCount(len(fills))}
	for i, fill := range fills {
		r.Crcs = binary.LittleEndian.AppendUint32(r.Crcs, m.data(start+BlockNo(i), fill))
	}
	return r.Append(nil)
}

func (m *image) build() {
	label, err := format.PlanLabel(deviceID, imageBlocks, 1)
	m.must(err)
	m.label = label
	for _, e := range format.LabelPlaces(imageBlocks) {
		b := make([]byte, format.LabelBytes)
		label.Self = e.Start
		label.Encode(b)
		m.write(e.Start, b)
	}
	m.layout, err = format.PlanSlice(label.Slice(0), 16)
	m.must(err)
	m.next = m.layout.Data[0].Start

	collection := make([]byte, format.CollectionRecBytes)
	(&format.CollectionRecord{Version: 9, Created: 1}).Encode(collection)
	first := []format.Entry{{Key: format.AppendCollectionKey(nil, 7), Val: collection}}
	used := alloc.NewFree(m.layout.Data, 1)
	old := m.node(0, 3, first)
	claim(used, Extent{Start: old.Block, Len: 1})
	oldMap := m.spaceMap(1, 3, used)
	m.super(3, format.TreeRoot{ChildPtr: old, Height: 1}, format.MapRef{Region: 1, Bytes: oldMap.Bytes + format.SpaceMapHeaderBytes, Crc: oldMap.Crc}, format.JournalStart{Sequence: 1}, used)
	m.epoch4(first, old)
}

func claim(a *alloc.Allocator, extents ...Extent) {
	for _, e := range extents {
		if !a.Claim(e) {
			panic(fmt.Sprintf("%v is taken", e))
		}
	}
}

var binaryName = []byte{0, 7, 0xff, 1}

func (m *image) epoch4(first []format.Entry, old format.ChildPtr) {
	const data = 100
	alpha := format.Onode{Version: 8, Size: 5*4096 + 17, Blocks: 4, Attrs: []format.Attr{{Name: []byte("colour"), Val: []byte("grey")}, {Name: []byte("raw"), Val: []byte{0, 1, 2}}}}
	bin := format.Onode{Version: 9, Size: 10 * 4096, Blocks: 10}
	many := make([]byte, 10)
	for i := range many {
		many[i] = 'a' + byte(i)
	}
	m.next++ // behind the leaf of epoch 3
	from := m.next - 1
	left := append(first,
		format.Entry{Key: format.AppendOnodeKey(nil, 7, binaryName), Val: bin.Append(nil)},
		format.Entry{Key: format.AppendOnodeKey(nil, 7, []byte("alpha")), Val: alpha.Append(nil)},
		format.Entry{Key: format.AppendExtentKey(nil, 7, binaryName, 0), Val: m.extent(data+20, many...)},
		format.Entry{Key: format.AppendExtentKey(nil, 7, []byte("alpha"), 0), Val: m.extent(data, 1, 2, 3)},
		format.Entry{Key: format.AppendExtentKey(nil, 7, []byte("alpha"), 5), Val: m.extent(data+8, 4)},
	)
	var shares []format.Entry
	if m.clones {
		left, shares = m.share(left)
	}
	long := make([]byte, 5000)
	for i := range long {
		long[i] = byte(i)
	}
	cell := m.value(long)
	right := []format.Entry{
		{Key: format.AppendUserKey(nil, 7, []byte("k/long")), Val: cell, Out: true},
		{Key: format.AppendUserKey(nil, 7, []byte("k/one")), Val: []byte("first value")},
		{Key: format.AppendUserKey(nil, 7, []byte("k/two")), Val: []byte{1, 0, 2}},
	}
	right = append(right, shares...)
	a := m.node(0, 4, left)
	b := m.node(0, 4, right)
	root := m.node(1, 4, []format.Entry{{Key: first[0].Key, Child: a}, {Key: right[0].Key, Child: b}})
	used := alloc.NewFree(m.layout.Data, 1)
	for at := from + 1; at < m.next; at++ {
		claim(used, Extent{Start: at, Len: 1})
	}
	claim(used, Extent{Start: data, Len: 3}, Extent{Start: data + 8, Len: 1}, Extent{Start: data + 20, Len: 10})
	h := m.spaceMap(0, 4, used)
	start := format.JournalStart{Position: 2, Sequence: 5, PrecedingCrc: 0xabcdef01}
	m.super(4, format.TreeRoot{ChildPtr: root, Height: 2}, format.MapRef{Region: 0, Bytes: h.Bytes + format.SpaceMapHeaderBytes, Crc: h.Crc}, start, used)
	m.journal(start)
}

// share makes of the left leaf one in which object beta, a clone of alpha, has been cut to its first two blocks, and the share records to it.
func (m *image) share(left []format.Entry) (with, shares []format.Entry) {
	alpha := &left[2]
	o, err := format.DecodeOnode(format.Place{}, alpha.Val, true)
	m.must(err)
	o.Flags = format.OnodeShares
	alpha.Val = o.Append(nil)
	beta := format.Onode{Version: 9, Size: 2 * 4096, Blocks: 2, Flags: format.OnodeShares}
	var named []byte
	for i := range left {
		r, err := format.DecodeExtentRecord(format.Place{}, left[i].Val)
		k, _ := format.DecodeKey(format.Place{}, left[i].Key)
		if err != nil || k.Kind != format.KindExtent || string(k.Rest) != "alpha" {
			continue
		}
		r.Flags = format.ExtentShared
		left[i].Val = r.Append(nil)
		refs := []format.ShareRecord{{Len: r.Len, Refs: 1}}
		if k.BlockOff == 0 {
			part := r.Sub(0, 2)
			named = part.Append(nil)
			refs = []format.ShareRecord{{Len: 2, Refs: 2}, {Len: 1, Refs: 1}}
		}
		for at, j := r.Start, 0; j < len(refs); j++ {
			shares = append(shares, format.Entry{Key: format.AppendShareKey(nil, 7, at), Val: refs[j].Append(nil)})
			at += BlockNo(refs[j].Len)
		}
	}
	with = append(with, left[:2]...)
	with = append(with, format.Entry{Key: format.AppendOnodeKey(nil, 7, []byte("beta")), Val: beta.Append(nil)}, left[2], left[3])
	with = append(with, format.Entry{Key: format.AppendExtentKey(nil, 7, []byte("beta"), 0), Val: named})
	return append(with, left[4:]...), shares
}

func (m *image) spaceMap(region int, epoch uint64, free *alloc.Allocator) format.SpaceMapHeader {
	e := alloc.NewMapEncoder(free.FreeMap(), format.SpaceMapHeader{Store: storeID, Epoch: epoch, Self: m.layout.SpaceMap[region].Start})
	for !e.Step(100) {
	}
	m.write(m.layout.SpaceMap[region].Start, e.Bytes())
	return e.Header()
}

func (m *image) super(epoch uint64, root format.TreeRoot, ref format.MapRef, start format.JournalStart, free *alloc.Allocator) {
	s := format.Superblock{
		Version: format.Version, Device: deviceID, Store: storeID, Mount: mountID, Epoch: epoch, Tree: root, Start: start, NextTxn: 10 * epoch,
		Journal: m.layout.Journal, SpaceMap: m.layout.SpaceMap, Map: ref, DataStart: m.layout.Data[0].Start, Blocks: m.layout.Blocks,
		FreeBlocks: free.FreeBlocks(), WallNs: 1_700_000_000_123_456_789 + int64(epoch), NodeBytes: nodeBytes, BlockBytes: format.BlockBytes,
		KeyBytesMax: format.KeyBytesMax, ValueBytesMax: format.ValueBytesMax, ExtentBlocks: format.ExtentBlocksMax, JournalRecord: 4 * format.BlockBytes,
	}
	for i, at := range m.layout.Super[epoch&1] {
		b := make([]byte, format.SuperBytes)
		s.Copy, s.Self = uint16(i), at
		s.Encode(b)
		m.write(at, b)
	}
}

// remap writes the map of superblock 4 anew, without some free blocks and with some others.
func (m *image) remap(take, give Extent) {
	b := make([]byte, format.BlockBytes)
	at := m.layout.SpaceMap[0]
	m.disk.ReadAt(b, at.Offset())
	free, _, err := alloc.DecodeMap(format.Place{Extent: at}, b, m.layout.Data, 1)
	m.must(err)
	claim(free, take)
	free.Free(give)
	h := m.spaceMap(0, 4, free)
	for _, at := range m.layout.Super[0] {
		m.disk.ReadAt(b, int64(at)*format.BlockBytes)
		s := format.PeekSuperblock(b)
		s.Map.Bytes, s.Map.Crc, s.FreeBlocks = h.Bytes+format.SpaceMapHeaderBytes, h.Crc, free.FreeBlocks()
		s.Encode(b)
		m.write(at, b)
	}
}

// journal writes two records and a third that was cut in the middle.
func (m *image) journal(start format.JournalStart) {
	piece := format.AppendPiece(nil, &format.Piece{BlockOff: 1, Extent: Extent{Start: 140, Len: 2},
		Crcs: binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, m.data(140, 'x')), m.data(141, 'y'))})
	name, key := []byte("alpha"), []byte("k/one")
	txns := [][][]format.Op{
		{
			{{Kind: format.OpPut, Coll: 7, Key: key, Val: []byte("second value, which is long enough to be cut")}, {Kind: format.OpDelete, Coll: 7, Key: []byte("k/two")}},
			{{Kind: format.OpWrite, Coll: 7, Name: name, Size: 12288, Pieces: piece}, {Kind: format.OpSetAttr, Coll: 7, Name: name, Key: []byte("colour"), Val: []byte("red")}},
		},
		{{{Kind: format.OpPatch, Coll: 7, Name: name, Off: 77, Val: []byte("patch")}, {Kind: format.OpTruncate, Coll: 7, Name: name, Size: 9000},
			{Kind: format.OpPunch, Coll: 7, Name: name, Off: 4096, Len: 100}, {Kind: format.OpDeleteAttr, Coll: 7, Name: name, Key: []byte("raw")},
			{Kind: format.OpDeleteRange, Coll: 7, Key: []byte("a"), Hi: []byte("b")}, {Kind: format.OpRemove, Coll: 7, Name: binaryName},
			{Kind: format.OpCreateCollection, Coll: 8}, {Kind: format.OpDeleteCollection, Coll: 8}}},
		{{{Kind: format.OpPut, Coll: 7, Key: []byte("never"), Val: bytes.Repeat([]byte("never "), 1000)}}},
	}
	if m.clones {
		txns[1][0] = append(txns[1][0], format.Op{Kind: format.OpClone, Coll: 7, Name: name, Key: []byte("gamma")})
	}
	position, preceding, txn := start.Position, start.PrecedingCrc, uint64(40)
	for i, list := range txns {
		h := format.JournalHeader{Store: storeID, Mount: mountID, Sequence: start.Sequence + uint64(i), Position: position, Epoch: 4,
			FlushedThrough: start.Sequence + uint64(i) - 1, FirstTxn: txn, Txns: uint32(len(list)), PrecedingCrc: preceding}
		if i > 0 {
			h.FlushedThrough-- // two in flight
		}
		rec := make([]byte, format.JournalHeaderBytes, 1<<16)
		for _, ops := range list {
			rec = appendTxn(rec, txn, ops)
			txn++
		}
		rec = format.SealJournal(rec[:cap(rec)], len(rec)-format.JournalHeaderBytes, &h)
		if i == 2 {
			rec = rec[:format.BlockBytes] // the second block never reached the device
		}
		m.write(m.layout.Journal.Start+BlockNo(position), rec)
		position, preceding = position+uint64(h.Blocks()), h.Crc
	}
}

func appendTxn(rec []byte, txn uint64, ops []format.Op) []byte {
	at := len(rec)
	rec = append(rec, make([]byte, format.TxnHeaderBytes)...)
	for i := range ops {
		rec = format.AppendOp(rec, &ops[i])
	}
	h := format.TxnHeader{Bytes: uint32(len(rec) - at), Ops: uint32(len(ops)), Txn: txn, Version: txn, Collection: 7}
	h.Encode(rec[at:])
	return rec
}
