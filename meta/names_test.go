package meta

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"basalt/meta/record"
)

const root = record.RootIno

func lookup(dir record.Ino, s string) record.Request {
	return record.Request{Op: record.OpLookup, Dir: dir, Name: name(s)}
}

func unlink(dir record.Ino, s string) record.Request {
	return record.Request{Op: record.OpUnlink, Dir: dir, Name: name(s)}
}

func rmdir(dir record.Ino, s string) record.Request {
	return record.Request{Op: record.OpRmdir, Dir: dir, Name: name(s)}
}

func rename(dir record.Ino, s string, to record.Ino, n string, flags uint32) record.Request {
	return record.Request{Op: record.OpRename, Dir: dir, Name: name(s), NewDir: to, NewName: name(n), Flags: flags}
}

func create(dir record.Ino, s string, flags uint32) record.Request {
	return record.Request{Op: record.OpCreate, Dir: dir, Name: name(s), Mode: 0o640, UID: 5, GID: 6, Flags: flags}
}

func TestLookup(t *testing.T) {
	h := newHouse(t, 1)
	d := h.mkdir(root, "d")
	f := h.file(d, "f", []byte("hello"))
	for _, c := range []struct {
		dir  record.Ino
		name string
		want record.Ino
	}{{root, "d", d}, {d, "f", f}, {d, ".", d}, {d, "..", root}, {root, "..", root}} {
		if got := h.must(lookup(c.dir, c.name), nil).Attr.Ino; got != c.want {
			t.Errorf("%v/%s is %v, want %v", c.dir, c.name, got, c.want)
		}
	}
	h.want(record.NotFound, lookup(d, "g"), nil)
	h.want(record.NotDir, lookup(f, "g"), nil)
	h.want(record.Invalid, lookup(d, ""), nil)
	h.want(record.Invalid, lookup(d, "a/b"), nil)
	h.want(record.Invalid, lookup(d, "a\x00b"), nil)
	h.want(record.TooLong, lookup(d, strings.Repeat("x", 256)), nil)
	h.want(record.NotFound, lookup(d, strings.Repeat("x", 255)), nil)
	h.want(record.NotFound, lookup(record.MakeIno(3, 99), "x"), nil)
	h.want(record.NotFound, lookup(record.MakeIno(200, 1), "x"), nil)
	h.want(record.NotFound, lookup(0, "x"), nil)
	h.check()
}

func TestCreate(t *testing.T) {
	h := newHouse(t, 2)
	p := h.must(create(root, "f", record.FlagExcl), nil)
	a := p.Attr
	if p.Flags&record.ReplyCreated == 0 || a.Mode != record.ModeRegular|0o640 || a.UID != 5 || a.GID != 6 || a.Nlink != 1 || a.Size != 0 {
		t.Errorf("created %+v", p)
	}
	if a.Ctime != h.clock || a.Mtime != h.clock || a.Atime != h.clock || a.Btime != h.clock {
		t.Errorf("times %+v, want %d", a, h.clock)
	}
	if r := h.stat(root); r.Mtime != a.Mtime || r.Ctime != a.Mtime || r.Size != 1 || r.Nlink != 2 {
		t.Errorf("root %+v", r)
	}
	h.want(record.Exists, create(root, "f", record.FlagExcl), nil)
	h.write(a.Ino, 0, []byte("abc"))
	if p := h.must(create(root, "f", 0), nil); p.Flags&record.ReplyCreated != 0 || p.Attr.Ino != a.Ino || p.Attr.Size != 3 {
		t.Errorf("create of an existing file: %+v", p)
	}
	if p := h.must(create(root, "f", record.FlagTrunc), nil); p.Attr.Size != 0 {
		t.Errorf("create with truncation: %+v", p.Attr)
	}
	d := h.mkdir(root, "d")
	h.want(record.IsDir, create(root, "d", 0), nil)
	h.want(record.Exists, create(d, ".", 0), nil)
	h.want(record.NotDir, create(a.Ino, "x", 0), nil)
	h.want(record.TooLong, create(d, strings.Repeat("x", 256), 0), nil)
	h.must(create(d, strings.Repeat("x", 255), 0), nil)
	h.want(record.Invalid, record.Request{Op: record.OpCreate, Dir: d, Name: name("w"), WantIno: record.MakeIno(0, 77)}, nil)
	h.check()
}

func TestMknodSymlink(t *testing.T) {
	h := newHouse(t, 3)
	for i, mode := range []uint32{record.ModeFifo, record.ModeSocket, record.ModeChar, record.ModeBlock, record.ModeRegular} {
		a := h.must(record.Request{Op: record.OpMknod, Dir: root, Name: name(fmt.Sprint("n", i)), Mode: mode | 0o600, Rdev: 0x103}, nil).Attr
		dev := mode == record.ModeChar || mode == record.ModeBlock
		if a.Mode != mode|0o600 || dev != (a.Rdev == 0x103) {
			t.Errorf("mknod %#o: %+v", mode, a)
		}
	}
	h.want(record.Permission, record.Request{Op: record.OpMknod, Dir: root, Name: name("x"), Mode: record.ModeDir}, nil)
	h.want(record.Invalid, record.Request{Op: record.OpMknod, Dir: root, Name: name("x"), Mode: 0o600}, nil)
	link := func(target string) record.Request {
		return record.Request{Op: record.OpSymlink, Dir: root, Name: name("l"), Value: []byte(target)}
	}
	h.want(record.NotFound, link(""), nil)
	h.want(record.TooLong, link(strings.Repeat("y", 4096)), nil)
	target := strings.Repeat("y", 4095)
	a := h.must(link(target), nil).Attr
	if a.Size != 4095 || a.Mode != record.ModeSymlink|0o777 {
		t.Errorf("symlink %+v", a)
	}
	if got := h.must(record.Request{Op: record.OpReadlink, Ino: a.Ino}, nil).Value; string(got) != target {
		t.Errorf("readlink: %d bytes", len(got))
	}
	h.want(record.Invalid, record.Request{Op: record.OpReadlink, Ino: root}, nil)
	h.check()
	h.must(unlink(root, "l"), nil)
	h.check()
}

func TestSetgidIsInherited(t *testing.T) {
	h := newHouse(t, 4)
	d := h.must(record.Request{Op: record.OpMkdir, Dir: root, Name: name("d"), Mode: 0o2775, GID: 77}, nil).Attr.Ino
	if a := h.must(create(d, "f", 0), nil).Attr; a.GID != 77 || a.Mode&record.ModeSetGID != 0 {
		t.Errorf("file: %+v", a)
	}
	if a := h.must(record.Request{Op: record.OpMkdir, Dir: d, Name: name("s"), Mode: 0o755, GID: 3}, nil).Attr; a.GID != 77 || a.Mode&record.ModeSetGID == 0 {
		t.Errorf("directory: %+v", a)
	}
	h.check()
}

func TestLink(t *testing.T) {
	h := newHouse(t, 5)
	f := h.file(root, "f", []byte("x"))
	d := h.mkdir(root, "d")
	ln := func(ino, dir record.Ino, s string) record.Request {
		return record.Request{Op: record.OpLink, Ino: ino, Dir: dir, Name: name(s)}
	}
	if a := h.must(ln(f, d, "g"), nil).Attr; a.Nlink != 2 || a.Ctime != h.clock {
		t.Errorf("link: %+v", a)
	}
	h.want(record.Exists, ln(f, d, "g"), nil)
	h.want(record.Permission, ln(d, root, "dd"), nil)
	h.want(record.NotFound, ln(record.MakeIno(0, 500), root, "dd"), nil)
	h.check()
	if a := h.must(unlink(root, "f"), nil).Attr; a.Nlink != 1 {
		t.Errorf("unlink: %+v", a)
	}
	if got := h.read(f, 0, 10); string(got) != "x" {
		t.Errorf("read %q", got)
	}
	h.must(unlink(d, "g"), nil)
	h.want(record.NotFound, record.Request{Op: record.OpGetAttr, Ino: f}, nil)
	h.check()
}

func TestLinkMax(t *testing.T) {
	h := newHouse(t, 5)
	f := h.file(root, "f", nil)
	h.poke(f, func(i *record.Inode) { i.Nlink = record.LinkMax })
	h.want(record.TooManyLinks, record.Request{Op: record.OpLink, Ino: f, Dir: root, Name: name("g")}, nil)
}

func TestRmdir(t *testing.T) {
	h := newHouse(t, 6)
	d := h.mkdir(root, "d")
	s := h.mkdir(d, "s")
	f := h.file(d, "f", nil)
	if a := h.stat(d); a.Nlink != 3 || a.Size != 2 || a.Parent != root {
		t.Errorf("d %+v", a)
	}
	h.want(record.NotEmpty, rmdir(root, "d"), nil)
	h.want(record.NotDir, rmdir(d, "f"), nil)
	h.want(record.IsDir, unlink(d, "s"), nil)
	h.want(record.Invalid, rmdir(d, "."), nil)
	h.want(record.NotEmpty, rmdir(s, ".."), nil)
	h.must(unlink(d, "f"), nil)
	h.must(rmdir(d, "s"), nil)
	h.must(rmdir(root, "d"), nil)
	h.want(record.NotFound, create(d, "x", 0), nil)
	_ = f
	h.check()
}

func TestOpenDirectoryRemoved(t *testing.T) {
	h := newHouse(t, 7)
	d := h.mkdir(root, "d")
	p := h.must(record.Request{Op: record.OpOpenDir, Ino: d}, nil)
	h.must(rmdir(root, "d"), nil)
	if a := h.stat(d); a.Nlink != 0 {
		t.Errorf("%+v", a)
	}
	h.want(record.NotFound, create(d, "x", 0), nil)
	h.want(record.NotFound, rename(root, "d", root, "e", 0), nil)
	if rep := h.check(); rep.Orphans != 1 {
		t.Errorf("%d orphans", rep.Orphans)
	}
	h.must(record.Request{Op: record.OpReleaseDir, Ino: d, Handle: p.Handle}, nil)
	h.settle()
	h.want(record.NotFound, record.Request{Op: record.OpGetAttr, Ino: d}, nil)
	if rep := h.check(); rep.Orphans != 0 {
		t.Errorf("%d orphans", rep.Orphans)
	}
}

func TestRename(t *testing.T) {
	h := newHouse(t, 8)
	a, b := h.mkdir(root, "a"), h.mkdir(root, "b")
	f := h.file(a, "f", []byte("f"))
	g := h.file(b, "g", []byte("g"))
	// over a file
	h.must(rename(a, "f", b, "g", 0), nil)
	when := h.clock
	h.want(record.NotFound, lookup(a, "f"), nil)
	h.want(record.NotFound, record.Request{Op: record.OpGetAttr, Ino: g}, nil)
	if got := h.must(lookup(b, "g"), nil).Attr; got.Ino != f || got.Ctime != when {
		t.Errorf("moved %+v at %d", got, when)
	}
	h.check()
	// noreplace, self, missing
	h.file(b, "x", nil)
	h.want(record.Exists, rename(b, "g", b, "x", record.FlagNoReplace), nil)
	h.must(rename(b, "g", b, "y", record.FlagNoReplace), nil)
	h.must(rename(b, "y", b, "y", 0), nil)
	h.want(record.Exists, rename(b, "y", b, "y", record.FlagNoReplace), nil)
	h.want(record.NotFound, rename(b, "zz", b, "y", 0), nil)
	h.want(record.Invalid, rename(b, "y", b, "x", record.FlagNoReplace|record.FlagExchange), nil)
	h.want(record.Invalid, rename(b, "y", b, ".", 0), nil)
	h.check()
	// types
	h.want(record.IsDir, rename(b, "y", root, "a", 0), nil)
	h.want(record.NotDir, rename(root, "a", b, "y", 0), nil)
	h.want(record.NotEmpty, rename(root, "a", root, "b", 0), nil)
	// a directory over an empty one, elsewhere
	c := h.mkdir(b, "c")
	h.must(rename(root, "a", b, "c", 0), nil)
	h.want(record.NotFound, record.Request{Op: record.OpGetAttr, Ino: c}, nil)
	if at := h.stat(a); at.Parent != b {
		t.Errorf("parent of a is %v", at.Parent)
	}
	if got := h.must(lookup(a, ".."), nil).Attr.Ino; got != b {
		t.Errorf("a/.. is %v", got)
	}
	if at := h.stat(root); at.Nlink != 3 {
		t.Errorf("root has %d links", at.Nlink)
	}
	h.check()
	// hard links to one inode: nothing happens
	h.must(record.Request{Op: record.OpLink, Ino: f, Dir: root, Name: name("l")}, nil)
	h.must(rename(b, "y", root, "l", 0), nil)
	h.must(lookup(b, "y"), nil)
	h.must(lookup(root, "l"), nil)
	h.check()
}

func TestRenameLoop(t *testing.T) {
	h := newHouse(t, 9)
	a := h.mkdir(root, "a")
	b := h.mkdir(a, "b")
	c := h.mkdir(b, "c")
	h.want(record.Invalid, rename(root, "a", a, "x", 0), nil)
	h.want(record.Invalid, rename(root, "a", b, "x", 0), nil)
	h.want(record.Invalid, rename(root, "a", c, "x", 0), nil)
	h.want(record.Invalid, rename(root, "a", b, "c", 0), nil)
	h.want(record.Invalid, rename(root, "a", b, "c", record.FlagExchange), nil)
	h.want(record.Invalid, rename(b, "c", root, "a", record.FlagExchange), nil)
	h.want(record.NotEmpty, rename(b, "c", root, "a", 0), nil)
	h.must(rename(b, "c", root, "c", 0), nil)
	h.must(rename(root, "a", c, "a", 0), nil)
	h.want(record.Invalid, rename(root, "c", b, "c", 0), nil)
	h.check()
}

func TestRenameExchange(t *testing.T) {
	h := newHouse(t, 10)
	a, b := h.mkdir(root, "a"), h.mkdir(root, "b")
	f := h.file(a, "f", []byte("f"))
	d := h.mkdir(b, "d")
	h.file(d, "in", nil)
	h.must(rename(a, "f", b, "d", record.FlagExchange), nil)
	if got := h.must(lookup(a, "f"), nil).Attr; got.Ino != d || got.Parent != a {
		t.Errorf("a/f is %+v", got)
	}
	if got := h.must(lookup(b, "d"), nil).Attr.Ino; got != f {
		t.Errorf("b/d is %v", got)
	}
	if na, nb := h.stat(a).Nlink, h.stat(b).Nlink; na != 3 || nb != 2 {
		t.Errorf("links %d %d", na, nb)
	}
	h.want(record.NotFound, rename(a, "f", b, "none", record.FlagExchange), nil)
	h.check()
	h.must(rename(root, "a", root, "b", record.FlagExchange), nil)
	if got := h.must(lookup(root, "a"), nil).Attr.Ino; got != b {
		t.Errorf("/a is %v", got)
	}
	h.check()
}

func TestRenameOverOpenFile(t *testing.T) {
	h := newHouse(t, 11)
	f := h.file(root, "f", []byte("old"))
	h.file(root, "g", []byte("new"))
	h.must(record.Request{Op: record.OpOpen, Ino: f}, nil)
	h.must(rename(root, "g", root, "f", 0), nil)
	if got := h.read(f, 0, 9); string(got) != "old" {
		t.Errorf("%q", got)
	}
	h.check()
	h.must(record.Request{Op: record.OpRelease, Ino: f}, nil)
	h.settle()
	h.want(record.NotFound, record.Request{Op: record.OpGetAttr, Ino: f}, nil)
	h.check()
}

func TestInodeNumbersAreNeverReused(t *testing.T) {
	h := newHouse(t, 12)
	seen := map[record.Ino]bool{}
	for round := range 6 {
		for i := range 5 {
			s := fmt.Sprint("f", round, i)
			ino := h.file(root, s, nil)
			if seen[ino] {
				t.Fatalf("%v again", ino)
			}
			seen[ino] = true
			h.must(unlink(root, s), nil)
		}
		h.check()
		h.restart(round%2 == 0)
	}
}

func TestCounterBlocks(t *testing.T) {
	h := newHouse(t, 13)
	last := record.Ino(0)
	for i := range counterBlock + 5 {
		ino := h.file(root, fmt.Sprint(i), nil)
		if ino <= last {
			t.Fatalf("%v after %v", ino, last)
		}
		last = ino
	}
	h.check()
}

func TestReaddir(t *testing.T) {
	for _, miss := range []int{0, 50} {
		h := newHouse(t, 14)
		d := h.mkdir(root, "d")
		want := []string{".", ".."}
		for i := range 300 {
			s := fmt.Sprintf("file-%d", i)
			h.file(d, s, []byte(s))
			want = append(want, s)
		}
		slices.Sort(want)
		h.fake.missOneIn = miss
		for _, count := range []uint32{150, 4096, 1 << 20} {
			for _, plus := range []bool{false, true} {
				names, entries := h.list(d, count, plus)
				slices.Sort(names)
				if !slices.Equal(names, want) {
					t.Fatalf("count %d: %d names, want %d", count, len(names), len(want))
				}
				for _, e := range entries {
					dots := e.Cookie <= record.CookieDotDot
					if plus && !dots && (e.Attr.Ino != e.Ino || e.Attr.Size != uint64(len(e.Name))) {
						t.Fatalf("%+v", e)
					}
				}
			}
		}
		h.want(record.Range, record.Request{Op: record.OpReadDir, Ino: d, Count: 10}, nil)
		h.want(record.NotDir, record.Request{Op: record.OpReadDir, Ino: entriesFile(h, d), Count: 1000}, nil)
		if h.fake.pins != 0 {
			t.Errorf("%d pins left", h.fake.pins)
		}
	}
}

func entriesFile(h *house, d record.Ino) record.Ino { return h.must(lookup(d, "file-7"), nil).Attr.Ino }

func TestReaddirIsASnapshot(t *testing.T) {
	h := newHouse(t, 15)
	d := h.mkdir(root, "d")
	for i := range 50 {
		h.file(d, fmt.Sprint("f", i), nil)
	}
	open := h.must(record.Request{Op: record.OpOpenDir, Ino: d}, nil)
	q := record.Request{Op: record.OpReadDir, Ino: d, Handle: open.Handle, Count: 400, Flags: record.FlagPlus}
	seen := map[string]int{}
	gone := 0
	for page := 0; ; page++ {
		p := h.must(q, nil)
		for rest := p.Value; len(rest) > 0; {
			var e record.Entry
			rest, _ = record.NextEntry(rest, &e)
			seen[string(e.Name)]++
			if e.Attr.Ino == 0 && e.Cookie > record.CookieDotDot {
				gone++
			}
			q.Cookie, q.Name = e.Cookie, bytes.Clone(e.Name)
		}
		if p.Flags&record.ReplyEOF != 0 {
			break
		}
		if page == 0 {
			for i := range 50 {
				h.must(unlink(d, fmt.Sprint("f", i)), nil)
				h.file(d, fmt.Sprint("new", i), nil)
			}
		}
	}
	if len(seen) != 52 || gone == 0 {
		t.Errorf("%d names, %d without attributes: %v", len(seen), gone, seen)
	}
	if h.fake.pins != 0 {
		t.Errorf("%d pins left", h.fake.pins)
	}
	h.check()
}

func TestReaddirGoesOnWithoutItsPin(t *testing.T) {
	h := newHouse(t, 16)
	d := h.mkdir(root, "d")
	for i := range 200 {
		h.file(d, fmt.Sprint("f", i), nil)
	}
	var opens []record.Reply
	for range 5 { // more than there are pins
		p := h.must(record.Request{Op: record.OpOpenDir, Ino: d}, nil)
		h.must(record.Request{Op: record.OpReadDir, Ino: d, Handle: p.Handle, Count: 300}, nil)
		opens = append(opens, p)
	}
	if h.fake.pins != 3 {
		t.Errorf("%d pins", h.fake.pins)
	}
	h.sleep(3 * h.s.opt.PinNs)
	if h.fake.pins != 0 {
		t.Errorf("%d pins after they expired", h.fake.pins)
	}
	seen := map[string]int{}
	q := record.Request{Op: record.OpReadDir, Ino: d, Handle: opens[0].Handle, Count: 500}
	for {
		p := h.must(q, nil)
		for rest := p.Value; len(rest) > 0; {
			var e record.Entry
			rest, _ = record.NextEntry(rest, &e)
			seen[string(e.Name)]++
			q.Cookie, q.Name = e.Cookie, bytes.Clone(e.Name)
		}
		if p.Flags&record.ReplyEOF != 0 {
			break
		}
		h.sleep(3 * h.s.opt.PinNs)
		h.file(d, fmt.Sprint("more", len(seen)), nil)
	}
	for i := range 200 {
		if seen[fmt.Sprint("f", i)] != 1 {
			t.Errorf("f%d was listed %d times", i, seen[fmt.Sprint("f", i)])
		}
	}
}

// pages reads a directory with attributes, a page at a time; between is called after the first.
func (h *house) pages(dir record.Ino, count uint32, between func()) (entries []record.Entry) {
	h.t.Helper()
	open := h.must(record.Request{Op: record.OpOpenDir, Ino: dir}, nil)
	q := record.Request{Op: record.OpReadDir, Ino: dir, Handle: open.Handle, Count: count, Flags: record.FlagPlus}
	for page := 0; ; page++ {
		p := h.must(q, nil)
		if len(p.Value) > int(min(count, record.ValueMax)) {
			h.t.Fatalf("page %d has %d bytes, %d were asked for", page, len(p.Value), count)
		}
		for rest := p.Value; len(rest) > 0; {
			var e record.Entry
			var err error
			if rest, err = record.NextEntry(rest, &e); err != nil {
				h.t.Fatal(err)
			}
			e.Name = bytes.Clone(e.Name)
			entries = append(entries, e)
			q.Cookie, q.Name = e.Cookie, e.Name
		}
		if p.Flags&record.ReplyEOF != 0 {
			break
		}
		if page == 0 {
			between()
		}
	}
	h.must(record.Request{Op: record.OpReleaseDir, Ino: dir, Handle: open.Handle}, nil)
	return entries
}

// A page with attributes from a snapshot is as long as one from the present: what the asker has room for.
func TestPinnedPagesKeepTheirBound(t *testing.T) {
	h := newHouse(t, 17)
	d := h.mkdir(root, "d")
	for i := range 2000 {
		h.file(d, fmt.Sprintf("%0100d", i), nil)
	}
	for _, count := range []uint32{400, 4096, record.ValueMax} {
		if n := len(h.pages(d, count, func() {})); n != 2002 {
			t.Errorf("count %d: %d entries", count, n)
		}
	}
}

// A name of a snapshot comes with attributes only if it still leads there: a kernel believes such an entry and would find the name again
// that has just been removed.
func TestSnapshotDoesNotReviveNames(t *testing.T) {
	h := newHouse(t, 18)
	d := h.mkdir(root, "d")
	for i := range 40 {
		f := h.file(d, fmt.Sprint("f", i), nil)
		h.must(record.Request{Op: record.OpLink, Ino: f, Dir: root, Name: fmt.Append(nil, "g", i)}, nil)
	}
	changed := map[string]bool{}
	entries := h.pages(d, 400, func() {
		for i := range 30 {
			n := fmt.Sprint("f", i)
			changed[n] = true
			switch i % 3 {
			case 0:
				h.must(unlink(d, n), nil)
			case 1:
				h.must(rename(d, n, root, "moved"+n, 0), nil)
			default:
				h.must(rename(root, fmt.Sprint("g", i-1), d, n, 0), nil)
			}
		}
	})
	lost, kept := 0, 0
	for _, e := range entries {
		if e.Cookie <= record.CookieDotDot {
			continue
		}
		if e.Attr.Ino == 0 {
			lost++
			if !changed[string(e.Name)] {
				t.Errorf("%q has no attributes", e.Name)
			}
			continue
		}
		if kept++; kept > 2 && changed[string(e.Name)] { // the first page was read before the changes
			t.Errorf("%q leads to %v no more", e.Name, e.Attr.Ino)
		}
	}
	if len(entries) != 42 || lost < 20 {
		t.Errorf("%d entries, %d without attributes", len(entries), lost)
	}
	h.check()
}
