package record

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"
)

func drawBytes(t *rapid.T, max int, label string) []byte {
	b := rapid.SliceOfN(rapid.Byte(), 0, max).Draw(t, label)
	if len(b) == 0 {
		return nil
	}
	return b
}

func drawAttr(t *rapid.T) Attr {
	u64, i64, u32 := rapid.Uint64(), rapid.Int64(), rapid.Uint32()
	types := []uint32{ModeRegular, ModeDir, ModeSymlink, ModeFifo, ModeSocket, ModeChar, ModeBlock}
	return Attr{
		Ino: Ino(rapid.Uint64Min(1).Draw(t, "ino")), Parent: Ino(u64.Draw(t, "parent")), Size: rapid.Uint64Max(SizeMax).Draw(t, "size"),
		Blocks: u64.Draw(t, "blocks"), Atime: i64.Draw(t, "atime"), Mtime: i64.Draw(t, "mtime"), Ctime: i64.Draw(t, "ctime"),
		Btime: i64.Draw(t, "btime"), Version: u64.Draw(t, "version"),
		Mode:  rapid.SampledFrom(types).Draw(t, "type") | rapid.Uint32Max(ModePerm).Draw(t, "perm"),
		Nlink: u32.Draw(t, "nlink"), UID: u32.Draw(t, "uid"), GID: u32.Draw(t, "gid"), Rdev: u32.Draw(t, "rdev"),
		Flags: rapid.Uint32Max(attrFlags).Draw(t, "flags"),
	}
}

func drawRequest(t *rapid.T) Request {
	u64, u32 := rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64()), rapid.OneOf(rapid.Just(uint32(0)), rapid.Uint32())
	return Request{
		Op: Op(rapid.IntRange(1, Ops-1).Draw(t, "op")), Flags: rapid.Uint32Max(requestFlags).Draw(t, "flags"),
		Ino: Ino(u64.Draw(t, "ino")), Dir: Ino(u64.Draw(t, "dir")), NewDir: Ino(u64.Draw(t, "newdir")), WantIno: Ino(u64.Draw(t, "want")),
		Name: drawBytes(t, 300, "name"), NewName: drawBytes(t, 300, "newname"), Value: drawBytes(t, 500, "value"),
		Mode: u32.Draw(t, "mode"), Rdev: u32.Draw(t, "rdev"), UID: u32.Draw(t, "uid"), GID: u32.Draw(t, "gid"),
		Valid: rapid.Uint32Max(setBits).Draw(t, "valid"), Off: u64.Draw(t, "off"), Size: u64.Draw(t, "size"), Count: u32.Draw(t, "count"),
		Atime: rapid.Int64().Draw(t, "atime"), Mtime: rapid.Int64().Draw(t, "mtime"), NowNs: rapid.Int64().Draw(t, "now"),
		Cookie: u64.Draw(t, "cookie"), Handle: u64.Draw(t, "handle"),
	}
}

func TestRequestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := drawRequest(t)
		b := q.Append([]byte("head"))
		var got Request
		if err := got.Decode(b[4:]); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(q, got) {
			t.Fatalf("want %+v\ngot  %+v", q, got)
		}
		for n := range b[4:] {
			if err := got.Decode(b[4 : 4+n]); err == nil {
				t.Fatalf("%d of %d bytes decode", n, len(b)-4)
			}
		}
	})
}

func TestReplyRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Reply{Status: Status(rapid.IntRange(0, Statuses-1).Draw(t, "status")), Flags: rapid.Uint32Max(replyFlags).Draw(t, "flags"),
			Ino: Ino(rapid.Uint64().Draw(t, "ino")), Handle: rapid.Uint64().Draw(t, "handle"), Count: rapid.Uint32().Draw(t, "count"),
			Off: rapid.Uint64().Draw(t, "off"), Value: drawBytes(t, 500, "value")}
		if rapid.Bool().Draw(t, "attr") {
			p.Attr = drawAttr(t)
		}
		b := p.Append(nil)
		var got Reply
		if err := got.Decode(b); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(p, got) {
			t.Fatalf("want %+v\ngot  %+v", p, got)
		}
		for n := range b {
			if err := got.Decode(b[:n]); err == nil {
				t.Fatalf("%d of %d bytes decode", n, len(b))
			}
		}
	})
}

// value is any of the types that are stored or sent whole.
type value interface {
	Append([]byte) []byte
	Decode([]byte) error
}

func TestValueRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u64 := rapid.Uint64()
		var id [16]byte
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		a := drawAttr(t)
		values := []value{
			&a,
			&Dentry{Ino: 7, Type: ModeDir, Session: u64.Draw(t, "session"), Request: u64.Draw(t, "request")},
			&Inode{Attr: a, Stripes: rapid.Uint32().Draw(t, "stripes"), Name: drawBytes(t, NameMax, "name")},
			&Orphan{Stripes: rapid.Uint32().Draw(t, "stripe")},
			&Counter{Next: rapid.Uint64Range(1, CounterMax).Draw(t, "next")},
			&FS{ID: id, Seed: u64.Draw(t, "seed"), Groups: 256, StripeSize: StripeSize, InlineMax: InlineMax},
			&Session{Mount: id, Attached: rapid.Int64().Draw(t, "attached"), Client: append([]byte{}, drawBytes(t, ClientMax, "client")...)},
			&Idem{Request: u64.Draw(t, "idem"), Reply: append([]byte{}, drawBytes(t, 100, "reply")...)},
			&Hello{Version: 1, WantCache: true, Mount: id, Session: rapid.Uint64Min(1).Draw(t, "s"), LastTxn: u64.Draw(t, "txn"),
				Client: append([]byte{}, drawBytes(t, ClientMax, "c")...)},
			&Welcome{Version: 1, Flags: WelcomeCache | WelcomeReplay, FS: id, Incarnation: u64.Draw(t, "inc"), Committed: 3, Groups: 256,
				StripeSize: StripeSize, InlineMax: InlineMax, LeaseMs: 30000},
			&Recovery{Base: u64.Draw(t, "base")},
			&Recall{Grant: u64.Draw(t, "grant")},
			&StatFs{BlockSize: 4096, NameMax: NameMax, Blocks: u64.Draw(t, "blocks"), Free: 1, Avail: 2, Files: 3, FilesFree: 4},
		}
		for _, v := range values {
			b := v.Append(nil)
			got := reflect.New(reflect.TypeOf(v).Elem()).Interface().(value)
			if err := got.Decode(b); err != nil {
				t.Fatalf("%T: %v", v, err)
			}
			if !reflect.DeepEqual(v, got) {
				t.Fatalf("want %+v\ngot  %+v", v, got)
			}
			for n := range b {
				if err := got.Decode(b[:n]); err == nil {
					t.Fatalf("%T: %d of %d bytes decode", v, n, len(b))
				}
			}
		}
	})
}

func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var page []byte
		var want []Entry
		for range rapid.IntRange(0, 8).Draw(t, "n") {
			e := Entry{Cookie: rapid.Uint64Min(1).Draw(t, "cookie"), Ino: 9, Type: ModeRegular,
				Name: rapid.SliceOfN(rapid.Byte(), 1, NameMax).Draw(t, "name")}
			if rapid.Bool().Draw(t, "plus") {
				e.Attr = drawAttr(t)
			}
			n := len(page)
			page = e.Append(page)
			if len(page)-n != EntrySize(len(e.Name), e.Attr.Ino != 0) {
				t.Fatalf("EntrySize is wrong: %d", len(page)-n)
			}
			want = append(want, e)
		}
		for _, w := range want {
			var e Entry
			rest, err := NextEntry(page, &e)
			if err != nil || !reflect.DeepEqual(e, w) {
				t.Fatalf("want %+v\ngot  %+v (%v)", w, e, err)
			}
			page = rest
		}
		if len(page) != 0 {
			t.Fatalf("%d bytes left", len(page))
		}
	})
}

func TestKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ino, hash := Ino(rapid.Uint64().Draw(t, "ino")), rapid.Uint64().Draw(t, "hash")
		name := rapid.SliceOfN(rapid.Byte(), 1, NameMax).Draw(t, "name")
		k := AppendDentryKey(nil, ino, hash, name)
		d, h, n, err := DecodeDentryKey(k)
		if err != nil || d != ino || h != hash || !bytes.Equal(n, name) || len(k) > KeyMax {
			t.Fatalf("dentry key: %v %v %v %v", d, h, n, err)
		}
		for _, kind := range []Kind{KindDentry, KindXattr} {
			lo, hi := AppendInoKey(nil, kind, ino), AppendInoEnd(nil, kind, ino)
			k := AppendInoKey(nil, kind, ino)
			k = append(k, name...)
			if bytes.Compare(k, lo) < 0 || bytes.Compare(k, hi) >= 0 {
				t.Fatalf("%x is not within %x and %x", k, lo, hi)
			}
		}
		if i, err := DecodeInoKey(AppendInoKey(nil, KindOrphan, ino), KindOrphan); err != nil || i != ino {
			t.Fatal(i, err)
		}
		if i, n, err := DecodeXattrKey(AppendXattrKey(nil, ino, name)); err != nil || i != ino || !bytes.Equal(n, name) {
			t.Fatal(i, n, err)
		}
		if s, err := DecodeSessionKey(AppendSessionKey(nil, hash)); err != nil || s != hash {
			t.Fatal(s, err)
		}
		if i, s, err := DecodeObjectName(AppendObjectName(nil, ino, 77)); err != nil || i != ino || s != 77 {
			t.Fatal(i, s, err)
		}
		if MakeIno(ino.Group(), ino.Counter()) != ino {
			t.Fatal("ino does not come apart")
		}
	})
	for _, f := range []func([]byte) error{
		func(b []byte) error { _, _, _, err := DecodeDentryKey(b); return err },
		func(b []byte) error { _, err := DecodeInoKey(b, KindInode); return err },
		func(b []byte) error { _, _, err := DecodeXattrKey(b); return err },
		func(b []byte) error { _, err := DecodeSessionKey(b); return err },
		func(b []byte) error { _, _, err := DecodeObjectName(b); return err },
	} {
		var c *CorruptError
		if err := f([]byte{0x7F, 1, 2}); !errors.As(err, &c) {
			t.Fatalf("a bad key gives %v", err)
		}
	}
}

func TestHashIsXXH64(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, seed := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "b"), rapid.Uint64().Draw(t, "seed")
		d := xxhash.NewWithSeed(seed)
		d.Write(b)
		if d.Sum64() != Hash(seed, b) {
			t.Fatalf("%x with %x: want %x, got %x", b, seed, d.Sum64(), Hash(seed, b))
		}
		if h := NameHash(seed, b); h <= CookieDotDot || h>>63 != 0 {
			t.Fatalf("hash %x", h)
		}
	})
}

func TestTablesAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for s := range Statuses {
		n := Status(s).String()
		if n == "" || n == "Status?" || seen[n] {
			t.Errorf("status %d is named %q", s, n)
		}
		seen[n] = true
	}
	for o := 1; o < Ops; o++ {
		n := Op(o).String()
		if n == "" || n == "op?" || seen[n] {
			t.Errorf("op %d is named %q", o, n)
		}
		seen[n] = true
	}
	if Op(0).Valid() || Op(Ops).Valid() {
		t.Error("an op outside the table is valid")
	}
}

func TestCodecsDoNotAllocate(t *testing.T) {
	q := Request{Op: OpCreate, Dir: 1, Name: []byte("name"), Mode: 0o100644, UID: 1, GID: 1, NowNs: 5}
	p := Reply{Attr: Attr{Ino: 5, Mode: ModeRegular}}
	buf := make([]byte, 0, 4096)
	var q2 Request
	var p2 Reply
	n := testing.AllocsPerRun(100, func() {
		b := q.Append(buf)
		if err := q2.Decode(b); err != nil {
			t.Fatal(err)
		}
		b = p.Append(buf)
		if err := p2.Decode(b); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations per request", n)
	}
}
