package format

import (
	"bytes"
	"math/rand"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

var place = Place{Device: "test", Extent: Extent{Start: 8, Len: 1}}

// mustCorrupt requires a CorruptError that names the place.
func mustCorrupt(t interface {
	Helper()
	Fatalf(string, ...any)
}, what string, err error) {
	t.Helper()
	c, ok := err.(*CorruptError)
	if !ok || c.Device != "test" || c.What == "" || c.Want == "" || c.Got == "" {
		t.Fatalf("%s: got %v, want a CorruptError with the place", what, err)
	}
}

func sampleSuperblock() *Superblock {
	return &Superblock{
		Version: Version, Slice: 3, Copy: 1, Device: UUID{1}, Store: UUID{2}, Mount: UUID{3}, Epoch: 77, Self: 8,
		Tree:    TreeRoot{ChildPtr{Block: 900, Epoch: 77, Entries: 5, Crc: 6, Flags: 1}, 3},
		Start:   JournalStart{Position: 5, Sequence: 99, PrecedingCrc: 0xabcdef01},
		NextTxn: 1234, Journal: Extent{16, 64}, SpaceMap: [2]Extent{{80, 2}, {82, 2}}, Map: MapRef{Region: 1, Bytes: 500, Crc: 9},
		DataStart: 84, Blocks: 10_000, FreeBlocks: 9000, WallNs: -5, NodeBytes: 16384, BlockBytes: BlockBytes,
		KeyBytesMax: KeyBytesMax, ValueBytesMax: ValueBytesMax, ExtentBlocks: ExtentBlocksMax, JournalRecord: 8 << 20, Flags: SuperClean,
	}
}

func TestSuperblock(t *testing.T) {
	s, b := sampleSuperblock(), make([]byte, SuperBytes)
	s.Encode(b)
	got, err := DecodeSuperblock(place, b)
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Fatalf("%+v became %+v, %v", s, got, err)
	}
	everyFlip(t, b, func(b []byte) error { _, err := DecodeSuperblock(place, b); return err })
	for name, spoil := range map[string]func(s *Superblock){
		"version": func(s *Superblock) { s.Version++ }, "self": func(s *Superblock) { s.Self++ }, "copy": func(s *Superblock) { s.Copy = 2 },
		"store": func(s *Superblock) { s.Store = UUID{} }, "mount": func(s *Superblock) { s.Mount = UUID{} },
		"block": func(s *Superblock) { s.BlockBytes = 512 }, "node": func(s *Superblock) { s.NodeBytes = 5000 },
		"keys": func(s *Superblock) { s.KeyBytesMax++ }, "record": func(s *Superblock) { s.JournalRecord = JournalRecordMax + 1 },
		"start":       func(s *Superblock) { s.Start.Position = 64 },
		"root":        func(s *Superblock) { s.Tree.Height = 0 },
		"no root":     func(s *Superblock) { s.Tree.ChildPtr = ChildPtr{} },
		"high":        func(s *Superblock) { s.Tree.Height = NodeHeightMax + 1 },
		"region":      func(s *Superblock) { s.Map.Region = 2 },
		"map too big": func(s *Superblock) { s.Map.Bytes = 2*BlockBytes + 1 },
	} {
		bad := sampleSuperblock()
		spoil(bad)
		bad.Encode(b)
		_, err := DecodeSuperblock(place, b)
		mustCorrupt(t, name, err)
	}
}

// everyFlip flips each byte of b once: none may go unseen.
func everyFlip(t *testing.T, b []byte, decode func(b []byte) error) {
	t.Helper()
	for i := range b {
		b[i] ^= 0x40
		mustCorrupt(t, "flip", decode(b))
		b[i] ^= 0x40
	}
	for n := range min(len(b), 200) {
		mustCorrupt(t, "short", decode(b[:n]))
	}
	if err := decode(b); err != nil {
		t.Fatalf("the untouched bytes: %v", err)
	}
}

func TestLabelAndLayout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		blocks := rapid.OneOf(rapid.Uint64Range(64, 5000), rapid.Uint64Range(5000, 1<<36)).Draw(t, "blocks")
		slices := rapid.IntRange(1, 9).Draw(t, "slices")
		l, err := PlanLabel(UUID{7}, blocks, slices)
		if err != nil {
			if blocks > uint64(16*slices) {
				t.Fatalf("%d blocks, %d slices: %v", blocks, slices, err)
			}
			return
		}
		b := make([]byte, LabelBytes)
		for _, p := range LabelPlaces(blocks) {
			l.Self = p.Start
			l.Encode(b)
			got, err := DecodeLabel(Place{"test", p}, b)
			if err != nil || !reflect.DeepEqual(got, l) {
				t.Fatalf("%+v became %+v, %v", l, got, err)
			}
		}
		for i := range slices {
			checkLayout(t, l, i, BlockCount(rapid.Uint32Range(4, 300).Draw(t, "journal")))
		}
	})
}

// checkLayout: the structures of a slice and its data are disjoint and together are its segments, but for the unused blocks
// of superblock places.
func checkLayout(t *rapid.T, l *Label, slice int, journal BlockCount) {
	segments := l.Slice(slice)
	lay, err := PlanSlice(segments, journal)
	if err != nil {
		return // too small
	}
	all := append([]Extent{lay.Journal, lay.SpaceMap[0], lay.SpaceMap[1]}, lay.Data...)
	for _, slot := range lay.Super {
		for _, b := range slot {
			all = append(all, Extent{b, SuperPitchBlocks})
		}
	}
	sum := uint64(0)
	for i, e := range all {
		sum += uint64(e.Len)
		inside := false
		for _, s := range segments {
			inside = inside || s.Contains(e)
		}
		for _, o := range all[:i] {
			if e.Overlaps(o) || !inside {
				t.Fatalf("layout of %v: %v and %v", segments, e, o)
			}
		}
	}
	if sum != lay.Blocks {
		t.Fatalf("layout of %v covers %d of %d blocks: %v", segments, sum, lay.Blocks, all)
	}
	s := sampleSuperblock()
	s.Device, s.Slice, s.Journal, s.SpaceMap, s.DataStart, s.Blocks = l.Device, uint16(slice), lay.Journal, lay.SpaceMap, lay.Data[0].Start, lay.Blocks
	if err := s.CheckAgainst(place, l, slice); err != nil {
		t.Fatalf("%v", err)
	}
	s.DataStart++
	mustCorrupt(t, "moved data", s.CheckAgainst(place, l, slice))
}

func TestLabelRefuses(t *testing.T) {
	l, err := PlanLabel(UUID{7}, 100_000, 2)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, LabelBytes)
	at := Place{"test", LabelPlaces(100_000)[0]}
	l.Encode(b)
	everyFlip(t, b, func(b []byte) error { _, err := DecodeLabel(at, b); return err })
	for name, spoil := range map[string]func(l *Label){
		"overlap":   func(l *Label) { l.Segments[1].Start = l.Segments[0].Start },
		"outside":   func(l *Label) { l.Segments[1].Len = 1 << 31 },
		"far":       func(l *Label) { l.Segments[1].Start = 1<<64 - 4 },
		"empty":     func(l *Label) { l.Segments[1].Len = 0 },
		"index":     func(l *Label) { l.Segments[1].Index = 1 },
		"owner":     func(l *Label) { l.Segments[1].Slice = 2 },
		"no slice":  func(l *Label) { l.Segments = l.Segments[:1] },
		"slices":    func(l *Label) { l.Slices = 0 },
		"version":   func(l *Label) { l.Version = 9 },
		"block":     func(l *Label) { l.BlockBytes = 512 },
		"self":      func(l *Label) { l.Self = 1 },
		"device":    func(l *Label) { l.Blocks = 3 },
		"too small": func(l *Label) { l.Blocks = 5000 },
		"none":      func(l *Label) { l.Segments = nil },
	} {
		bad := *l
		bad.Segments = append([]Segment(nil), l.Segments...)
		spoil(&bad)
		bad.Encode(b)
		_, err := DecodeLabel(at, b)
		mustCorrupt(t, name, err)
	}
}

func TestRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Onode{Version: rapid.Uint64().Draw(t, "v"), Size: rapid.Uint64Range(0, ObjectBytesMax).Draw(t, "s"), Blocks: 5, Flags: rapid.Uint32().Draw(t, "f")}
		for i := range rapid.IntRange(0, 5).Draw(t, "attrs") {
			o.Attrs = append(o.Attrs, Attr{[]byte{'a' + byte(i)}, rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "val")})
		}
		got, err := DecodeOnode(place, o.Append(nil), true)
		if err != nil || !reflect.DeepEqual(got, o) {
			t.Fatalf("%+v became %+v, %v", o, got, err)
		}
		n := rapid.IntRange(1, ExtentBlocksMax).Draw(t, "blocks")
		x := ExtentRecord{BlockNo(rapid.Uint64().Draw(t, "start")), BlockCount(n), rapid.SliceOfN(rapid.Byte(), 4*n, 4*n).Draw(t, "crcs"), rapid.Uint32Range(0, ExtentShared).Draw(t, "flags")}
		back, err := DecodeExtentRecord(place, x.Append(nil))
		if err != nil || !reflect.DeepEqual(back, x) {
			t.Fatalf("%+v became %+v, %v", x, back, err)
		}
		i := rapid.IntRange(0, n-1).Draw(t, "i")
		if sub := x.Sub(i, n-i); sub.Start != x.Start+BlockNo(i) || sub.Crc(0) != x.Crc(i) || int(sub.Len) != n-i || sub.IsShared() != x.IsShared() {
			t.Fatalf("sub %d of %+v: %+v", i, x, sub)
		}
		s := ShareRecord{BlockCount(n), rapid.Uint32Range(1, 1<<32-1).Draw(t, "references")}
		if got, err := DecodeShareRecord(place, s.Append(nil)); err != nil || got != s {
			t.Fatalf("%+v became %+v, %v", s, got, err)
		}
		c := CollectionRecord{rapid.Uint64().Draw(t, "cv"), rapid.Uint64().Draw(t, "cc"), rapid.Uint32().Draw(t, "cf")}
		b := make([]byte, CollectionRecBytes)
		c.Encode(b)
		if got, err := DecodeCollectionRecord(place, b); err != nil || got != c {
			t.Fatalf("%+v became %+v, %v", c, got, err)
		}
	})
}

// TestKeys: keys round-trip, and their order is that of collection, kind, object, offset.
func TestKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		coll := rapid.Uint16().Draw(t, "coll")
		name := rapid.SliceOfN(rapid.Byte(), 1, NameBytesMax).Draw(t, "name")
		off := rapid.Uint64().Draw(t, "off")
		keys := [][]byte{
			AppendCollectionKey(nil, coll), AppendOnodeKey(nil, coll, name), AppendExtentKey(nil, coll, name, off), AppendUserKey(nil, coll, name),
			AppendShareKey(nil, coll, BlockNo(off)),
		}
		for i, k := range keys {
			got, err := DecodeKey(place, k)
			want := Key{Coll: coll, Kind: Kind(i + 1), Rest: name}
			if i == 0 {
				want.Rest = []byte{}
			}
			if i == 2 {
				want.BlockOff = off
			}
			if i == 4 {
				want.Start, want.Rest = BlockNo(off), nil
			}
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("key %x is %+v, %v, want %+v", k, got, err, want)
			}
			if end := AppendKindEnd(nil, coll, Kind(i+1)); bytes.Compare(k, end) >= 0 || (i < 4 && bytes.Compare(end, keys[i+1]) > 0) {
				t.Fatalf("end %x of kind %d, keys %x", end, i+1, keys)
			}
		}
		other := append(append([]byte(nil), name...), 'x')
		if len(other) <= NameBytesMax {
			far := AppendExtentKey(nil, coll, name, ^uint64(0))
			if k := AppendExtentKey(nil, coll, other, 0); bytes.Compare(far, k) >= 0 {
				t.Fatalf("extents of %x reach into those of %x", name, other)
			}
		}
	})
	for _, bad := range [][]byte{{}, {0, 1}, {0, 1, 0}, {0, 1, 9}, {0, 1, 1, 0}, {0, 1, 2}, {0, 1, 2, 0}, {0, 1, 2, 2, 'x'}, {0, 1, 3, 1, 'x', 0, 0}, {0, 1, 5, 0, 0, 0, 0, 0, 0, 0}, {0, 1, 6}} {
		_, err := DecodeKey(place, bad)
		mustCorrupt(t, "key", err)
	}
}

func sampleOps() []Op {
	pieces := AppendPiece(nil, &Piece{7, Extent{1000, 2}, []byte{1, 2, 3, 4, 5, 6, 7, 8}})
	pieces = AppendPiece(pieces, &Piece{9, Extent{2000, 1}, []byte{9, 9, 9, 9}})
	n, k, v := []byte("name"), []byte("key"), []byte("value")
	return []Op{
		{Kind: OpPut, Key: k, Val: v}, {Kind: OpDelete, Key: k}, {Kind: OpDeleteRange, Key: k, Hi: []byte("l")},
		{Kind: OpWrite, Name: n, Size: 12345, Pieces: pieces}, {Kind: OpPatch, Name: n, Off: 77, Val: v},
		{Kind: OpTruncate, Name: n, Size: 5}, {Kind: OpPunch, Name: n, Off: 4096, Len: 8192}, {Kind: OpRemove, Name: n},
		{Kind: OpSetAttr, Name: n, Key: k, Val: v}, {Kind: OpDeleteAttr, Name: n, Key: k},
		{Kind: OpCreateCollection}, {Kind: OpDeleteCollection}, {Kind: OpClone, Name: n, Key: []byte("clone")},
	}
}

func sampleRecord(payload int) (JournalHeader, []byte) {
	b := make([]byte, JournalHeaderBytes, 1<<20)
	for txn := range 3 {
		at := len(b)
		b = append(b, make([]byte, TxnHeaderBytes)...)
		ops := sampleOps()
		for i := range ops {
			ops[i].Coll = uint16(i)
			b = AppendOp(b, &ops[i])
		}
		h := TxnHeader{Bytes: uint32(len(b) - at), Ops: uint32(len(ops)), Txn: uint64(100 + txn), Version: 5, Collection: 3}
		h.Encode(b[at:])
	}
	b = append(b, make([]byte, payload)...)
	h := JournalHeader{Store: UUID{1}, Mount: UUID{2}, Sequence: 9, Position: 3, FlushedThrough: 7, Epoch: 2, FirstTxn: 100, Txns: 3, PrecedingCrc: 4}
	n := len(b) - JournalHeaderBytes
	return h, SealJournal(b[:cap(b)], n, &h)
}

func TestJournal(t *testing.T) {
	want, b := sampleRecord(0)
	want.Bytes, want.Crc = le.Uint32(b[80:]), le.Uint32(b[124:])
	verify := func(b []byte) error {
		h, err := DecodeJournalHeader(place, b, 64, JournalRecordMax)
		if err != nil {
			return err
		}
		payload, err := VerifyJournal(place, &h, b)
		if err != nil {
			return err
		}
		if h != want {
			t.Fatalf("%+v became %+v", want, h)
		}
		for range h.Txns {
			var th TxnHeader
			var ops []byte
			if th, ops, payload, err = NextTxn(place, payload); err != nil {
				return err
			}
			for i, want := range sampleOps() {
				var op Op
				if ops, err = NextOp(place, ops, &op); err != nil {
					return err
				}
				want.Coll = uint16(i)
				if !reflect.DeepEqual(op, want) {
					t.Fatalf("%+v became %+v", want, op)
				}
			}
			if len(ops) != 0 || th.Version != 5 || th.Collection != 3 {
				t.Fatalf("%+v with %d bytes left", th, len(ops))
			}
		}
		return nil
	}
	everyFlip(t, b, verify)
	q, rest := FirstPiece(sampleOps()[3].Pieces)
	r, rest := FirstPiece(rest)
	if q.BlockOff != 7 || q.Extent != (Extent{1000, 2}) || r.Extent != (Extent{2000, 1}) || len(rest) != 0 {
		t.Fatalf("pieces %+v %+v", q, r)
	}
	for _, h := range []struct {
		ring BlockCount
		max  uint32
	}{{3, JournalRecordMax}, {64, 100}} {
		_, err := DecodeJournalHeader(place, b, h.ring, h.max)
		mustCorrupt(t, "bounds", err)
	}
}

func TestNode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		level := rapid.IntRange(0, 2).Draw(t, "level")
		prefix := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "prefix")
		n := rapid.IntRange(1, 20).Draw(t, "n")
		keys := map[string]bool{}
		for len(keys) < n {
			keys[string(prefix)+string(rapid.SliceOfN(rapid.Byte(), 1, 4).Draw(t, "key"))] = true
		}
		entries := []Entry{}
		for i, k := range sorted(keys) {
			e := Entry{Key: []byte(k)}
			if level == 0 {
				e.Val = rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "val")
				if rapid.Bool().Draw(t, "out") {
					e.Out, e.Val = true, make([]byte, ValueExtentBytes)
					ValueExtent{BlockNo(i), 5000, 1}.Encode(e.Val)
				}
			} else {
				e.Child = ChildPtr{BlockNo(i), 1, 2, 3, 0}
			}
			entries = append(entries, e)
		}
		b := make([]byte, 16384)
		h := NodeHeader{Level: uint8(level), Epoch: 5, Self: 8, Store: UUID{4}}
		EncodeNode(b, &h, entries)
		ptr := ChildPtr{Block: 8, Epoch: 5, Crc: Crc(b)}
		if err := VerifyNode(place, b, ptr, level, UUID{4}); err != nil {
			t.Fatalf("%v", err)
		}
		checkEntries(t, Node(b), entries)
		ptr.Epoch++
		mustCorrupt(t, "epoch", VerifyNode(place, b, ptr, level, UUID{4}))
		ptr.Epoch--
		mustCorrupt(t, "level", VerifyNode(place, b, ptr, level+1, UUID{4}))
		mustCorrupt(t, "store", VerifyNode(place, b, ptr, level, UUID{5}))
		mustCorrupt(t, "self", VerifyNode(Place{"test", Extent{9, 4}}, b, ptr, level, UUID{4}))
		b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= 1
		mustCorrupt(t, "flip", VerifyNode(place, b, ptr, level, UUID{4}))
	})
}

func sorted(m map[string]bool) (out []string) {
	for k := range m {
		i := 0
		for i < len(out) && out[i] < k {
			i++
		}
		out = append(out[:i], append([]string{k}, out[i:]...)...)
	}
	return out
}

func checkEntries(t *rapid.T, n Node, entries []Entry) {
	if n.Count() != len(entries) {
		t.Fatalf("%d entries, want %d", n.Count(), len(entries))
	}
	for i, e := range entries {
		if k := n.AppendKey(nil, i); !bytes.Equal(k, e.Key) {
			t.Fatalf("key %d is %x, want %x", i, k, e.Key)
		}
		if n.Level() == 0 {
			if v, out := n.Value(i); !bytes.Equal(v, e.Val) || out != e.Out {
				t.Fatalf("value %d is %x %v, want %x %v", i, v, out, e.Val, e.Out)
			}
		} else if n.Child(i) != e.Child {
			t.Fatalf("child %d is %v", i, n.Child(i))
		}
		for _, probe := range [][]byte{e.Key, append(e.Key[:len(e.Key):len(e.Key)], 0), e.Key[:len(e.Key)-1], nil, {255, 255}} {
			want := 0
			for want < len(entries) && bytes.Compare(entries[want].Key, probe) < 0 {
				want++
			}
			equal := want < len(entries) && bytes.Equal(entries[want].Key, probe)
			if got, eq := n.Search(probe); got != want || eq != equal {
				t.Fatalf("search %x: %d %v, want %d %v", probe, got, eq, want, equal)
			}
		}
	}
}

// TestNodeInside: damage under a matching crc, as our own bug would leave it, is found too.
func TestNodeInside(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	entries := []Entry{{Key: []byte("aa1"), Val: []byte("x")}, {Key: []byte("aa2"), Val: []byte("yy")}, {Key: []byte("aa3")}}
	b := make([]byte, 4096)
	EncodeNode(b, &NodeHeader{Epoch: 5, Self: 8, Store: UUID{4}}, entries)
	found := 0
	for range 3000 {
		c := append([]byte(nil), b...)
		c[4+rnd.Intn(90)] ^= byte(1 + rnd.Intn(255))
		ptr := ChildPtr{Block: 8, Epoch: 5, Crc: Crc(c)}
		if err := VerifyNode(place, c, ptr, 0, UUID{4}); err != nil {
			mustCorrupt(t, "inside", err)
			found++
		}
	}
	if found < 2000 { // the rest changed a key or a value into another valid one
		t.Errorf("only %d of 3000 were found", found)
	}
}

// Nothing that a device says reaches behind the end of the largest object; up to there everything is taken.
func TestObjectLimit(t *testing.T) {
	const end = ObjectBytesMax
	n, v, crc := []byte("name"), []byte("value"), []byte{1, 2, 3, 4, 5, 6, 7, 8}
	piece := func(off uint64) []byte { return AppendPiece(nil, &Piece{off, Extent{1000, 2}, crc}) }
	for _, c := range []struct {
		good, bad Op
	}{
		{Op{Kind: OpWrite, Name: n, Size: end}, Op{Kind: OpWrite, Name: n, Size: end + 1}},
		{Op{Kind: OpWrite, Name: n, Pieces: piece(ObjectBlocksMax - 2)}, Op{Kind: OpWrite, Name: n, Pieces: piece(ObjectBlocksMax - 1)}},
		{Op{Kind: OpTruncate, Name: n, Size: end}, Op{Kind: OpTruncate, Name: n, Size: 1<<64 - 1}},
		{Op{Kind: OpPatch, Name: n, Off: end - 5, Val: v}, Op{Kind: OpPatch, Name: n, Off: end - 4, Val: v}},
		{Op{Kind: OpPunch, Name: n, Off: 1, Len: end - 1}, Op{Kind: OpPunch, Name: n, Off: 1, Len: end}},
		{Op{Kind: OpPunch, Name: n, Off: end}, Op{Kind: OpPunch, Name: n, Off: 1<<64 - 1, Len: 1}},
	} {
		var op Op
		if _, err := NextOp(place, AppendOp(nil, &c.good), &op); err != nil {
			t.Errorf("%+v: %v", c.good, err)
		}
		_, err := NextOp(place, AppendOp(nil, &c.bad), &op)
		mustCorrupt(t, c.bad.Kind.String(), err)
	}
	for _, attrs := range []bool{true, false} {
		_, err := DecodeOnode(place, (&Onode{Size: end + 1}).Append(nil), attrs)
		mustCorrupt(t, "onode", err)
	}
}
