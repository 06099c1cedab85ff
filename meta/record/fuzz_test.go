package record

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func mustBeCorrupt(t *testing.T, err error) {
	t.Helper()
	var c *CorruptError
	if !errors.As(err, &c) {
		t.Fatalf("%T: %v", err, err)
	}
}

func FuzzRequest(f *testing.F) {
	q := Request{Op: OpRename, Dir: 1, NewDir: 2, Name: []byte("a"), NewName: []byte("b"), Flags: FlagExchange}
	f.Add(q.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var q Request
		if err := q.Decode(b); err != nil {
			mustBeCorrupt(t, err)
			return
		}
		if got := q.Append(nil); !bytes.Equal(got, b) {
			t.Fatalf("not canonical: %x becomes %x", b, got)
		}
		if len(b) > RequestSizeMax {
			t.Fatalf("%d bytes", len(b))
		}
	})
}

func FuzzReply(f *testing.F) {
	p := Reply{Status: Exists, Attr: Attr{Ino: 3, Mode: ModeDir}, Value: []byte("v")}
	f.Add(p.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Reply
		if err := p.Decode(b); err != nil {
			mustBeCorrupt(t, err)
			return
		}
		if got := p.Append(nil); !bytes.Equal(got, b) {
			t.Fatalf("not canonical: %x becomes %x", b, got)
		}
		if len(b) > ReplySizeMax {
			t.Fatalf("%d bytes", len(b))
		}
	})
}

func FuzzValues(f *testing.F) {
	seeds := []value{&Dentry{Ino: 1, Type: ModeDir}, &Inode{Attr: Attr{Ino: 1, Mode: ModeDir}, Name: []byte("x")}, &Orphan{}, &Counter{Next: 9},
		&FS{Groups: 1, StripeSize: 4096}, &Session{Client: []byte("c")}, &Idem{Reply: []byte("r")}, &Hello{Session: 1},
		&Welcome{Groups: 1, StripeSize: 1, LeaseMs: 1}, &Recall{}, &Recovery{}, &StatFs{}, &Attr{Mode: ModeDir}}
	for i, v := range seeds {
		f.Add(uint8(i), v.Append(nil))
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		v := reflect.New(reflect.TypeOf(seeds[int(which)%len(seeds)]).Elem()).Interface().(value)
		if err := v.Decode(b); err != nil {
			mustBeCorrupt(t, err)
			return
		}
		if _, whole := v.(*Attr); !whole && !bytes.Equal(v.Append(nil), b) {
			t.Fatalf("%T is not canonical: %x becomes %x", v, b, v.Append(nil))
		}
	})
}

func FuzzEntries(f *testing.F) {
	e := Entry{Cookie: 5, Ino: 6, Type: ModeRegular, Name: []byte("n"), Attr: Attr{Ino: 6, Mode: ModeRegular}}
	f.Add(e.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			var e Entry
			rest, err := NextEntry(b, &e)
			if err != nil {
				mustBeCorrupt(t, err)
				return
			}
			b = rest
		}
	})
}
