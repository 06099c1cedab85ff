package format

import (
	"bytes"
	"testing"
)

// Each target mends the crc first where there is one, so that what is fuzzed is the decoder behind it. Three things must
// hold: no panic; an error is a CorruptError with the place; what was accepted encodes to the bytes it came from.

func refused(t *testing.T, err error) bool {
	t.Helper()
	if err != nil {
		mustCorrupt(t, "fuzz", err)
	}
	return err != nil
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%s was accepted but encodes differently:\n% x\n% x", what, got, want)
	}
}

// sized is b cut or filled up to n bytes.
func sized(b []byte, n int) []byte {
	out := make([]byte, n)
	copy(out, b)
	return out
}

func FuzzLabel(f *testing.F) {
	l, err := PlanLabel(UUID{7}, 100_000, 2)
	if err != nil {
		f.Fatal(err)
	}
	b := make([]byte, LabelBytes)
	l.Encode(b)
	f.Add(b[:200])
	f.Fuzz(func(t *testing.T, in []byte) {
		b := sized(in, LabelBytes)
		le.PutUint32(b[labelCrc:], Crc(b[:labelCrc]))
		l, err := DecodeLabel(Place{"test", Extent{0, 4}}, b)
		if refused(t, err) {
			return
		}
		again := make([]byte, LabelBytes)
		l.Encode(again)
		same(t, "label", again, b)
		for i := range int(l.Slices) {
			if lay, err := PlanSlice(l.Slice(i), 16); err == nil && lay.Journal.Len != 16 {
				t.Fatalf("layout %+v", lay)
			}
		}
	})
}

func FuzzSuperblock(f *testing.F) {
	b := make([]byte, SuperBytes)
	sampleSuperblock().Encode(b)
	f.Add(b[:288])
	f.Fuzz(func(t *testing.T, in []byte) {
		b := sized(in, SuperBytes)
		le.PutUint32(b[superCrc:], Crc(b[:superCrc]))
		s, err := DecodeSuperblock(place, b)
		if refused(t, err) {
			return
		}
		again := make([]byte, SuperBytes)
		s.Encode(again)
		same(t, "superblock", again, b)
		if l, err := PlanLabel(s.Device, 100_000, 2); err == nil {
			refused(t, s.CheckAgainst(place, l, 0))
		}
	})
}

func FuzzNode(f *testing.F) {
	b := make([]byte, 4096)
	EncodeNode(b, &NodeHeader{Epoch: 5, Self: 8, Store: UUID{4}}, []Entry{{Key: []byte("aa1"), Val: []byte("x")}, {Key: []byte("aa2")}})
	f.Add(b[:120])
	EncodeNode(b, &NodeHeader{Level: 1, Self: 8, Store: UUID{4}}, []Entry{{Key: []byte("k"), Child: ChildPtr{1, 2, 3, 4, 0}}})
	f.Add(b[:120])
	f.Fuzz(func(t *testing.T, in []byte) {
		b := sized(in, 4096)
		h, err := DecodeNodeHeader(place, b)
		if refused(t, err) || refused(t, CheckNode(place, b)) {
			return
		}
		n, entries := Node(b), []Entry{}
		for i := range n.Count() {
			e := Entry{Key: n.AppendKey(nil, i)}
			if n.Level() == 0 {
				e.Val, e.Out = n.Value(i)
			} else {
				e.Child = n.Child(i)
			}
			if at, equal := n.Search(e.Key); at != i || !equal {
				t.Fatalf("entry %d is found at %d, %v", i, at, equal)
			}
			entries = append(entries, e)
		}
		if CommonPrefix(entries[0].Key, entries[len(entries)-1].Key) != int(h.Prefix) {
			return // readable, but not as this encoder would have written it
		}
		again := make([]byte, 4096)
		EncodeNode(again, &h, entries)
		same(t, "node", again, b)
	})
}

func FuzzJournal(f *testing.F) {
	_, b := sampleRecord(0)
	f.Add(b)
	f.Fuzz(func(t *testing.T, in []byte) {
		b := sized(in, max(len(in), BlockBytes))
		if n := int(le.Uint32(b[80:])); n >= JournalHeaderBytes && n <= len(b) {
			le.PutUint32(b[journalCrc:], CrcAdd(Crc(b[:journalCrc]), b[JournalHeaderBytes:n]))
		}
		h, err := DecodeJournalHeader(place, b, 64, JournalRecordMax)
		if refused(t, err) {
			return
		}
		again := make([]byte, JournalHeaderBytes)
		h.Encode(again)
		same(t, "journal header", again, b[:JournalHeaderBytes])
		payload, err := VerifyJournal(place, &h, b)
		if refused(t, err) {
			return
		}
		for range h.Txns {
			var ops []byte
			var th TxnHeader
			if th, ops, payload, err = NextTxn(place, payload); refused(t, err) {
				return
			}
			head := make([]byte, TxnHeaderBytes)
			th.Encode(head)
			fuzzOps(t, ops, th.Ops)
		}
	})
}

func fuzzOps(t *testing.T, ops []byte, n uint32) {
	t.Helper()
	for range n {
		var op Op
		rest, err := NextOp(place, ops, &op)
		if refused(t, err) {
			return
		}
		same(t, op.Kind.String(), AppendOp(nil, &op), ops[:len(ops)-len(rest)])
		for p := op.Pieces; len(p) > 0; {
			q, tail := FirstPiece(p)
			same(t, "piece", AppendPiece(nil, &q), p[:len(p)-len(tail)])
			p = tail
		}
		ops = rest
	}
}

func FuzzOps(f *testing.F) {
	var all []byte
	for _, op := range sampleOps() {
		f.Add(AppendOp(nil, &op))
		all = AppendOp(all, &op)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, in []byte) { fuzzOps(t, in, uint32(len(in))) })
}

func FuzzRecords(f *testing.F) {
	o := Onode{Version: 1, Size: 2, Blocks: 3, Attrs: []Attr{{[]byte("a"), []byte("v")}, {[]byte("b"), nil}}}
	f.Add(o.Append(nil))
	x := ExtentRecord{5, 2, make([]byte, 8), ExtentShared}
	f.Add(x.Append(nil))
	f.Add((&ShareRecord{9, 3}).Append(nil))
	f.Add(AppendShareKey(nil, 3, 12345))
	f.Add(make([]byte, CollectionRecBytes))
	f.Add(AppendExtentKey(nil, 3, []byte("object"), 9))
	f.Fuzz(func(t *testing.T, in []byte) {
		if o, err := DecodeOnode(place, in, true); !refused(t, err) {
			same(t, "onode", o.Append(nil), in)
		}
		if x, err := DecodeExtentRecord(place, in); !refused(t, err) {
			same(t, "extent record", x.Append(nil), in)
		}
		if x, err := DecodeShareRecord(place, in); !refused(t, err) {
			same(t, "share record", x.Append(nil), in)
		}
		if err := CheckValueCell(place, in); !refused(t, err) {
			c, again, sum := ValueCell(in), []byte{}, 0
			for i := range c.Pieces() {
				b := make([]byte, ValueExtentBytes)
				c.Piece(i).Encode(b)
				again = append(again, b...)
				sum += int(c.Piece(i).Bytes)
			}
			same(t, "value cell", again, in)
			if sum != c.Bytes() || sum > ValueBytesMax {
				t.Fatalf("value of %d bytes in pieces of %d", c.Bytes(), sum)
			}
		}
		if c, err := DecodeCollectionRecord(place, in); !refused(t, err) {
			b := make([]byte, CollectionRecBytes)
			c.Encode(b)
			same(t, "collection record", b, in)
		}
		if k, err := DecodeKey(place, in); !refused(t, err) {
			again := map[Kind]func() []byte{
				KindCollection: func() []byte { return AppendCollectionKey(nil, k.Coll) },
				KindOnode:      func() []byte { return AppendOnodeKey(nil, k.Coll, k.Rest) },
				KindExtent:     func() []byte { return AppendExtentKey(nil, k.Coll, k.Rest, k.BlockOff) },
				KindUser:       func() []byte { return AppendUserKey(nil, k.Coll, k.Rest) },
				KindShare:      func() []byte { return AppendShareKey(nil, k.Coll, k.Start) },
			}[k.Kind]()
			same(t, "key", again, in)
		}
	})
}

func FuzzSpaceMap(f *testing.F) {
	b := append(make([]byte, SpaceMapHeaderBytes), 1, 2, 3)
	SealSpaceMap(b, &SpaceMapHeader{Store: UUID{1}, Self: 8, Encoding: SpaceMapRuns, Blocks: 100, Free: 5, Runs: 1}, Crc(b[SpaceMapHeaderBytes:]))
	f.Add(b)
	f.Fuzz(func(t *testing.T, in []byte) {
		b := sized(in, max(len(in), SpaceMapHeaderBytes))
		if n := le.Uint64(b[72:]); n <= uint64(len(b)-SpaceMapHeaderBytes) {
			payload := b[SpaceMapHeaderBytes : SpaceMapHeaderBytes+int(n)]
			le.PutUint32(b[spaceMapCrc:], CrcAdd(Crc(payload), b[:spaceMapCrc]))
		}
		h, payload, err := DecodeSpaceMap(place, b)
		if refused(t, err) {
			return
		}
		again := append(make([]byte, SpaceMapHeaderBytes), payload...)
		SealSpaceMap(again, &h, Crc(payload))
		same(t, "space map", again, b[:len(again)])
	})
}
