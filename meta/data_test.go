package meta

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"basalt/engine"
	"basalt/meta/record"
	"basalt/storage"
)

func pattern(n int, salt byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7+i>>8) ^ salt | 1
	}
	return b
}

func truncate(ino record.Ino, size uint64) record.Request {
	return record.Request{Op: record.OpSetAttr, Ino: ino, Valid: record.SetSize, Size: size}
}

func fallocate(ino record.Ino, off, n uint64, flags uint32) record.Request {
	return record.Request{Op: record.OpFallocate, Ino: ino, Off: off, Size: n, Flags: flags}
}

// content is a file and what it should hold.
type content struct {
	h    *house
	ino  record.Ino
	want []byte
}

func (c *content) write(off int, data []byte) {
	if n := off + len(data); n > len(c.want) {
		c.want = append(c.want, make([]byte, n-len(c.want))...)
	}
	copy(c.want[off:], data)
	c.h.write(c.ino, uint64(off), data)
}

func (c *content) truncate(n int) {
	if n <= len(c.want) {
		c.want = c.want[:n:n]
	} else {
		c.want = append(c.want, make([]byte, n-len(c.want))...)
	}
	c.h.must(truncate(c.ino, uint64(n)), nil)
}

func (c *content) zero(off, n int) {
	if off < len(c.want) {
		clear(c.want[off:min(len(c.want), off+n)])
	}
}

func (c *content) verify() {
	c.h.t.Helper()
	if a := c.h.stat(c.ino); a.Size != uint64(len(c.want)) {
		c.h.t.Fatalf("size %d, want %d", a.Size, len(c.want))
	}
	if got := c.h.read(c.ino, 0, len(c.want)+100); !bytes.Equal(got, c.want) {
		at := 0
		for at < min(len(got), len(c.want)) && got[at] == c.want[at] {
			at++
		}
		c.h.t.Fatalf("%d bytes, want %d; they differ at %d", len(got), len(c.want), at)
	}
	c.h.check()
}

func TestFileGrowsOutOfItsInode(t *testing.T) {
	for _, first := range []int{0, 1, 100, 4095, 4096} {
		for _, off := range []int{0, 50, 4000, 4096, 5000, testStripe - 10, testStripe, 3*testStripe + 17} {
			for _, n := range []int{1, 4096, 4097, 9000} {
				h := newHouse(t, 20)
				c := content{h: h, ino: h.file(root, "f", nil)}
				c.write(0, pattern(first, 1))
				c.verify()
				c.write(off, pattern(n, 2))
				c.verify()
				inline := h.stat(c.ino).Flags&record.AttrInline != 0
				if inline != (off+n <= record.InlineMax) {
					t.Errorf("first %d, then %d at %d: inline %v", first, n, off, inline)
				}
			}
		}
	}
}

func TestTruncate(t *testing.T) {
	sizes := []int{0, 1, 4096, 4097, testStripe - 1, testStripe, testStripe + 1, 5*testStripe + 123}
	for _, size := range sizes {
		for _, to := range sizes {
			for _, again := range []int{0, 5000, 3 * testStripe} {
				h := newHouse(t, 21)
				c := content{h: h, ino: h.file(root, "f", nil)}
				c.write(0, pattern(size, 3))
				c.truncate(to)
				c.verify()
				c.truncate(again)
				c.verify()
			}
		}
	}
}

func TestTruncateErrors(t *testing.T) {
	h := newHouse(t, 22)
	h.want(record.IsDir, truncate(root, 0), nil)
	f := h.file(root, "f", nil)
	h.want(record.TooBig, truncate(f, record.SizeMax+1), nil)
	h.want(record.TooBig, truncate(f, 1<<63), nil)
	h.must(truncate(f, record.SizeMax), nil)
	h.want(record.TooBig, record.Request{Op: record.OpWrite, Ino: f, Off: record.SizeMax}, []byte("x"))
	h.must(record.Request{Op: record.OpWrite, Ino: f, Off: 1 << 26}, []byte("x"))
	h.check()
	h.must(unlink(root, "f"), nil)
	h.want(record.IsDir, record.Request{Op: record.OpWrite, Ino: root}, []byte("x"))
	h.want(record.IsDir, record.Request{Op: record.OpRead, Ino: root}, nil)
	l := h.must(record.Request{Op: record.OpMknod, Dir: root, Name: name("p"), Mode: record.ModeFifo}, nil).Attr.Ino
	h.want(record.Invalid, truncate(l, 0), nil)
	h.want(record.Invalid, record.Request{Op: record.OpWrite, Ino: l}, []byte("x"))
}

func TestLongCutsTakeSteps(t *testing.T) {
	h := newHouse(t, 23)
	f := h.file(root, "f", nil)
	n := stepStripesMax*2 + 7
	for i := range n {
		h.must(record.Request{Op: record.OpWrite, Ino: f, Off: uint64(i) * testStripe}, []byte{1})
	}
	before := h.fake.applied
	h.must(truncate(f, testStripe/2), nil)
	if steps := h.fake.applied - before; steps != 3 {
		t.Errorf("%d transactions", steps)
	}
	h.check()
	for i := range n {
		h.must(record.Request{Op: record.OpWrite, Ino: f, Off: uint64(i) * testStripe}, []byte{1})
	}
	before = h.fake.applied
	h.must(fallocate(f, 10, uint64(n)*testStripe-20, record.FlagPunchHole|record.FlagKeepSize), nil)
	if steps := h.fake.applied - before; steps != 3 {
		t.Errorf("%d transactions", steps)
	}
	h.check()
	h.must(unlink(root, "f"), nil)
	h.settle()
	if rep := h.check(); rep.Orphans != 0 || rep.Inodes != 1 {
		t.Errorf("%+v", rep)
	}
}

func TestAppend(t *testing.T) {
	h := newHouse(t, 24)
	c := content{h: h, ino: h.file(root, "f", nil)}
	for i := range 40 {
		data := pattern(1000+i, byte(i))
		p := h.must(record.Request{Op: record.OpWrite, Ino: c.ino, Flags: record.FlagAppend, Off: 7}, data)
		if p.Off != uint64(len(c.want)) || p.Count != uint32(len(data)) {
			t.Fatalf("append at %d, %d bytes", p.Off, p.Count)
		}
		c.want = append(c.want, data...)
		c.verify()
	}
}

func TestFallocate(t *testing.T) {
	for _, size := range []int{100, 4096, 3*testStripe + 50} {
		for _, r := range [][2]int{{0, 10}, {50, 5000}, {4096, 4096}, {testStripe - 5, 10}, {0, 4 * testStripe}, {100, 4 * testStripe}, {2 * testStripe, testStripe}} {
			for _, flags := range []uint32{record.FlagPunchHole | record.FlagKeepSize, record.FlagZeroRange, record.FlagZeroRange | record.FlagKeepSize, 0, record.FlagKeepSize} {
				h := newHouse(t, 25)
				c := content{h: h, ino: h.file(root, "f", nil)}
				c.write(0, pattern(size, 4))
				h.must(fallocate(c.ino, uint64(r[0]), uint64(r[1]), flags), nil)
				if flags&(record.FlagPunchHole|record.FlagZeroRange) != 0 {
					c.zero(r[0], r[1])
				}
				if n := r[0] + r[1]; flags&record.FlagKeepSize == 0 && n > len(c.want) {
					c.want = append(c.want, make([]byte, n-len(c.want))...)
				}
				c.verify()
			}
		}
	}
	h := newHouse(t, 26)
	f := h.file(root, "f", nil)
	h.want(record.NotSupported, fallocate(f, 0, 10, record.FlagPunchHole), nil)
	h.want(record.NotSupported, fallocate(f, 0, 10, record.FlagAppend), nil)
	h.want(record.Invalid, fallocate(f, 0, 0, 0), nil)
	h.want(record.TooBig, fallocate(f, record.SizeMax, 1, 0), nil)
	h.want(record.TooBig, fallocate(f, 1, ^uint64(0), 0), nil)
	h.want(record.IsDir, fallocate(root, 0, 1, 0), nil)
}

func TestBlocks(t *testing.T) {
	h := newHouse(t, 27)
	f := h.file(root, "f", nil)
	for _, c := range []struct {
		q    record.Request
		data int
		want uint64
	}{
		{record.Request{Op: record.OpWrite, Ino: f, Off: 0}, 10, 8},
		{record.Request{Op: record.OpWrite, Ino: f, Off: 4096}, 4096, 16},
		{record.Request{Op: record.OpWrite, Ino: f, Off: 2 * testStripe}, 1, 24},
		{fallocate(f, 4096, 4096, record.FlagPunchHole|record.FlagKeepSize), 0, 16},
		{truncate(f, testStripe), 0, 8},
		{truncate(f, 0), 0, 0},
		{truncate(f, 1<<30), 0, 0},
	} {
		h.must(c.q, pattern(c.data, 1))
		if got := h.stat(f).Blocks; got != c.want {
			t.Errorf("%v at %d: %d units, want %d", c.q.Op, c.q.Off, got, c.want)
		}
	}
}

func TestLseek(t *testing.T) {
	h := newHouse(t, 28)
	f := h.file(root, "f", nil)
	h.write(f, 4096, pattern(4096, 1))               // block 1 of stripe 0
	h.write(f, 3*testStripe+8192, pattern(4096, 1))  // block 2 of stripe 3
	h.write(f, 4*testStripe, pattern(testStripe, 1)) // all of stripe 4
	h.must(truncate(f, 6*testStripe), nil)
	end := uint64(6 * testStripe)
	seek := func(off uint64, hole bool) (uint64, record.Status) {
		q := record.Request{Op: record.OpLseek, Ino: f, Off: off}
		if hole {
			q.Flags = record.FlagSeekHole
		}
		p := h.ask(q, nil)
		return p.Off, p.Status
	}
	for _, c := range []struct{ off, data, hole uint64 }{
		{0, 4096, 0}, {4096, 4096, 8192}, {5000, 5000, 8192}, {8192, 3*testStripe + 8192, 8192},
		{3*testStripe + 9000, 3*testStripe + 9000, 3*testStripe + 12288}, {4*testStripe - 1, 4 * testStripe, 4*testStripe - 1},
		{4*testStripe + 1, 4*testStripe + 1, 5 * testStripe}, {5 * testStripe, 0, 5 * testStripe}, {end - 1, 0, end - 1},
	} {
		if got, st := seek(c.off, false); got != c.data || (st != record.OK) != (c.data == 0) {
			t.Errorf("data from %d: %d %v, want %d", c.off, got, st, c.data)
		}
		if got, st := seek(c.off, true); got != c.hole || st != record.OK {
			t.Errorf("hole from %d: %d %v, want %d", c.off, got, st, c.hole)
		}
	}
	for _, hole := range []bool{true, false} {
		if _, st := seek(end, hole); st != record.NoSeek {
			t.Errorf("at the end: %v", st)
		}
	}
	f = h.file(root, "g", pattern(10, 1))
	h.must(truncate(f, 20), nil)
	for _, c := range []struct{ off, data, hole uint64 }{{0, 0, 10}, {9, 9, 10}, {10, 0, 10}, {15, 0, 15}} {
		if got, st := seek(c.off, false); got != c.data || (st != record.OK) != (c.off >= 10) {
			t.Errorf("inline data from %d: %d %v", c.off, got, st)
		}
		if got, _ := seek(c.off, true); got != c.hole {
			t.Errorf("inline hole from %d: %d", c.off, got)
		}
	}
}

func TestUnlinkedFileLivesWhileOpen(t *testing.T) {
	for _, size := range []int{0, 100, 5000, 40 * testStripe} {
		h := newHouse(t, 29)
		f := h.must(create(root, "f", 0), nil).Attr.Ino
		c := content{h: h, ino: f}
		c.write(0, pattern(size, 5))
		h.must(record.Request{Op: record.OpOpen, Ino: f}, nil)
		if a := h.must(unlink(root, "f"), nil).Attr; a.Nlink != 0 {
			t.Errorf("%+v", a)
		}
		c.write(3, []byte("still here"))
		c.verify()
		h.want(record.NotFound, record.Request{Op: record.OpLink, Ino: f, Dir: root, Name: name("back")}, nil)
		h.must(record.Request{Op: record.OpRelease, Ino: f}, nil)
		h.settle()
		c.verify()
		h.must(record.Request{Op: record.OpRelease, Ino: f}, nil)
		h.settle()
		h.want(record.NotFound, record.Request{Op: record.OpGetAttr, Ino: f}, nil)
		if rep := h.check(); rep.Inodes != 1 || rep.Orphans != 0 {
			t.Errorf("%+v", rep)
		}
	}
}

func TestOrphansAreCollectedAfterRestart(t *testing.T) {
	h := newHouse(t, 30)
	f := h.must(create(root, "f", 0), nil).Attr.Ino
	h.write(f, 0, pattern(40*testStripe, 5))
	h.must(unlink(root, "f"), nil)
	if rep := h.check(); rep.Orphans != 1 {
		t.Errorf("%+v", rep)
	}
	h.restart(true)
	h.settle()
	if rep := h.check(); rep.Inodes != 1 || rep.Orphans != 0 {
		t.Errorf("%+v", rep)
	}
}

func TestSetattr(t *testing.T) {
	h := newHouse(t, 31)
	f := h.file(root, "f", nil)
	set := func(q record.Request) record.Attr {
		q.Op, q.Ino = record.OpSetAttr, f
		return h.must(q, nil).Attr
	}
	if a := set(record.Request{Valid: record.SetMode, Mode: record.ModeDir | 0o6751}); a.Mode != record.ModeRegular|0o6751 || a.Ctime != h.clock {
		t.Errorf("chmod: %+v", a)
	}
	if a := set(record.Request{Valid: record.SetUID | record.SetGID, UID: 7, GID: 8}); a.UID != 7 || a.GID != 8 || a.Mode != record.ModeRegular|0o751 {
		t.Errorf("chown: %#o %+v", a.Mode, a)
	}
	set(record.Request{Valid: record.SetMode, Mode: 0o6741})
	if a := set(record.Request{Valid: record.SetSize, Size: 10, Flags: record.FlagKillPriv}); a.Mode != record.ModeRegular|0o2741 || a.Mtime != h.clock {
		t.Errorf("truncate keeps setgid without group execute: %#o %+v", a.Mode, a)
	}
	if a := set(record.Request{Valid: record.SetAtime | record.SetMtime, Atime: -5, Mtime: 77}); a.Atime != -5 || a.Mtime != 77 || a.Ctime != h.clock {
		t.Errorf("utimens: %+v", a)
	}
	if a := set(record.Request{Valid: record.SetAtimeNow | record.SetMtimeNow | record.SetAtime, Atime: 3}); a.Atime != h.clock || a.Mtime != h.clock {
		t.Errorf("utimens now: %+v", a)
	}
	set(record.Request{Valid: record.SetMode, Mode: 0o6755})
	h.must(record.Request{Op: record.OpWrite, Ino: f}, []byte("x"))
	if a := h.stat(f); a.Mode != record.ModeRegular|0o6755 {
		t.Errorf("a write without the flag: %#o", a.Mode)
	}
	if a := h.must(record.Request{Op: record.OpWrite, Ino: f, Flags: record.FlagKillPriv}, []byte("x")).Attr; a.Mode != record.ModeRegular|0o755 {
		t.Errorf("a write with the flag: %#o", a.Mode)
	}
	version := h.stat(f).Version
	h.read(f, 0, 1)
	if a := h.stat(f); a.Version != version {
		t.Error("reading changed the version")
	}
	h.check()
}

func TestXattr(t *testing.T) {
	h := newHouse(t, 32)
	f := h.file(root, "f", nil)
	set := func(n, v string, flags uint32) record.Request {
		return record.Request{Op: record.OpSetXattr, Ino: f, Name: name(n), Value: []byte(v), Flags: flags}
	}
	get := func(n string) record.Request { return record.Request{Op: record.OpGetXattr, Ino: f, Name: name(n)} }
	h.want(record.NoData, get("user.a"), nil)
	h.want(record.NoData, set("user.a", "1", record.FlagReplace), nil)
	h.must(set("user.a", "1", record.FlagCreate), nil)
	h.want(record.Exists, set("user.a", "2", record.FlagCreate), nil)
	h.must(set("user.a", "2", record.FlagReplace), nil)
	h.must(set("user.empty", "", 0), nil)
	h.must(set("trusted.t", "tt", 0), nil)
	if got := h.must(get("user.a"), nil).Value; string(got) != "2" {
		t.Errorf("%q", got)
	}
	if got := h.must(get("user.empty"), nil); len(got.Value) != 0 || got.Count != 0 {
		t.Errorf("%q", got.Value)
	}
	list := strings.Split(strings.TrimSuffix(string(h.must(record.Request{Op: record.OpListXattr, Ino: f}, nil).Value), "\x00"), "\x00")
	if fmt.Sprint(list) != "[trusted.t user.a user.empty]" {
		t.Errorf("%q", list)
	}
	h.want(record.NotSupported, set("system.posix_acl_access", "x", 0), nil)
	h.want(record.NotSupported, set("user.", "x", 0), nil)
	h.want(record.Range, set("user."+strings.Repeat("n", 251), "x", 0), nil)
	h.want(record.Invalid, set("user.a", "x", record.FlagCreate|record.FlagReplace), nil)
	h.want(record.ValueTooBig, set("user.big", strings.Repeat("b", record.XattrsMax-2), 0), nil)
	h.must(set("user.big", strings.Repeat("b", record.XattrsMax-60), 0), nil)
	h.want(record.ValueTooBig, set("user.more", strings.Repeat("b", 60), 0), nil)
	h.check()
	h.must(record.Request{Op: record.OpRemoveXattr, Ino: f, Name: name("user.big")}, nil)
	h.must(set("security.capability", "cap", 0), nil)
	h.must(record.Request{Op: record.OpWrite, Ino: f, Flags: record.FlagKillPriv}, []byte("x"))
	h.want(record.NoData, get("security.capability"), nil)
	for _, n := range []string{"user.a", "user.empty", "trusted.t"} {
		h.must(record.Request{Op: record.OpRemoveXattr, Ino: f, Name: name(n)}, nil)
		h.want(record.NoData, get(n), nil)
		h.want(record.NoData, record.Request{Op: record.OpRemoveXattr, Ino: f, Name: name(n)}, nil)
	}
	if h.stat(f).Flags&record.AttrXattr != 0 {
		t.Error("the flag stays")
	}
	h.must(set("user.again", "1", 0), nil)
	h.must(unlink(root, "f"), nil)
	h.check()
}

func TestOpenBounds(t *testing.T) {
	h := newHouse(t, 33)
	for i := range h.s.opt.OpensMax {
		h.must(create(root, fmt.Sprint(i), 0), nil)
	}
	h.want(record.TooManyOpen, create(root, "one more", 0), nil)
	h.want(record.NotFound, lookup(root, "one more"), nil)
	h.want(record.NotFound, record.Request{Op: record.OpOpen, Ino: record.MakeIno(1, 1)}, nil)
	h.want(record.OK, record.Request{Op: record.OpRelease, Ino: record.MakeIno(1, 1)}, nil)
	if p := h.must(create(root, "closed", record.FlagNoOpen), nil); h.s.opens.total(p.Attr.Ino) != 0 {
		t.Error("counted")
	}
	h.check()
}

func TestOpenTruncates(t *testing.T) {
	h := newHouse(t, 34)
	f := h.file(root, "f", pattern(9000, 1))
	if a := h.must(record.Request{Op: record.OpOpen, Ino: f, Flags: record.FlagTrunc}, nil).Attr; a.Size != 0 || a.Mtime != h.clock {
		t.Errorf("%+v", a)
	}
	if h.s.opens.total(f) != 1 {
		t.Errorf("%d opens", h.s.opens.total(f))
	}
	h.want(record.NotDir, record.Request{Op: record.OpOpenDir, Ino: f}, nil)
	h.check()
}

func TestFullStore(t *testing.T) {
	h := newHouse(t, 35)
	f := h.must(create(root, "f", 0), nil).Attr.Ino
	h.fake.refuse = storage.ErrFull
	h.want(record.NoSpace, create(root, "g", 0), nil)
	h.want(record.NoSpace, record.Request{Op: record.OpWrite, Ino: f}, []byte("x"))
	h.fake.refuse = storage.ErrReadOnly
	h.want(record.ReadOnly, unlink(root, "f"), nil)
	h.fake.refuse = nil
	if n := h.s.opens.total(f); n != 1 {
		t.Errorf("%d opens", n)
	}
	h.must(unlink(root, "f"), nil)
	h.check()
}

func TestRandomRequestsNeverPanic(t *testing.T) {
	h := newHouse(t, 36)
	h.fake.missOneIn = 30
	rng := rand.New(rand.NewPCG(1, 2))
	inos := []record.Ino{root, h.mkdir(root, "d"), h.file(root, "f", pattern(5000, 1)), 0, 1 << 60, record.MakeIno(7, 1)}
	names := []string{"", ".", "..", "d", "f", "g", "a/b", strings.Repeat("z", 300), "user.x", "\x00"}
	pick := func(n int) int { return rng.IntN(n) }
	num := func() uint64 { return []uint64{0, 1, 4095, testStripe, 1 << 40, record.SizeMax, ^uint64(0)}[pick(7)] }
	for range 20000 {
		q := record.Request{Op: record.Op(pick(record.Ops + 2)), Flags: uint32(rng.IntN(1 << 15)), Ino: inos[pick(6)], Dir: inos[pick(6)], NewDir: inos[pick(6)],
			Name: name(names[pick(10)]), NewName: name(names[pick(10)]), Value: pattern(pick(200), 1), Mode: rng.Uint32(), Rdev: rng.Uint32(),
			Valid: uint32(pick(256)), Off: num(), Size: num(), Count: uint32(num()), Cookie: num(), Handle: uint64(pick(5))}
		if pick(4) > 0 {
			q.Flags = 0
		}
		if q.Op == record.OpLeave {
			continue
		}
		if q.Op == record.OpWrite && q.Off > 1<<20 && q.Off < record.SizeMax {
			q.Off = 1 << 25 // not so far that cutting it off again takes long with stripes as small as here
		}
		h.askRead(q, pattern(pick(100), 2), pick(5000))
	}
	h.settle()
	h.fake.missOneIn = 0
	h.check()
}

// A step of a punch that the store throws away and asks for again, or refuses and gets in smaller ones, must not count as done.
func TestPunchStepsThatAreRunAgain(t *testing.T) {
	const stripes = stepStripesMax + 10
	for _, flags := range []uint32{record.FlagPunchHole | record.FlagKeepSize, record.FlagZeroRange} {
		for _, full := range []bool{false, true} {
			h := newHouse(t, 37)
			h.fake.space = &storage.Space{BlockBytes: fakeBlock, Total: 1 << 20, Free: 1 << 20, Avail: 1 << 20}
			f := h.file(root, "f", nil)
			for i := range stripes {
				h.write(f, uint64(i)*testStripe, []byte{1})
			}
			if full {
				h.fake.removes = 1
			} else {
				h.fake.missOneIn = 1 << 30 // never, but one transaction in four runs twice
			}
			for range 8 {
				h.must(fallocate(f, 0, stripes*testStripe, flags), nil)
				for i := range stripes {
					if got := h.read(f, uint64(i)*testStripe, 1); got[0] != 0 {
						t.Fatalf("flags %#x, full %v: stripe %d was not punched", flags, full, i)
					}
				}
				if full {
					break
				}
				for i := range stripes {
					h.write(f, uint64(i)*testStripe, []byte{1})
				}
			}
			h.check()
		}
	}
}

func TestLargestXattr(t *testing.T) {
	h := newHouse(t, 38)
	f := h.file(root, "f", nil)
	set := func(n string, size int) record.Request {
		return record.Request{Op: record.OpSetXattr, Ino: f, Name: name(n), Value: pattern(size, 9)}
	}
	h.must(set("user.large", record.ValueMax), nil)
	if p := h.must(record.Request{Op: record.OpGetXattr, Ino: f, Name: name("user.large")}, nil); !bytes.Equal(p.Value, pattern(record.ValueMax, 9)) {
		t.Errorf("%d bytes came back", len(p.Value))
	}
	h.must(set("user.large", record.ValueMax), nil)
	h.must(set("user.empty", 0), nil)
	h.want(record.ValueTooBig, set("user.more", 1), nil)
	h.must(set("user.large", record.ValueMax-1), nil)
	h.must(set("user.more", 1), nil)
	h.check()
}

// What the names of all attributes take is what listxattr(2) can return: 64 KiB.
func TestXattrNamesFitTheirList(t *testing.T) {
	h := newHouse(t, 39)
	f := h.file(root, "f", nil)
	set := func(i int) record.Request {
		return record.Request{Op: record.OpSetXattr, Ino: f, Name: fmt.Appendf(nil, "user.%0250d", i)}
	}
	const most = record.ValueMax / (record.NameMax + 1)
	for i := range most {
		h.must(set(i), nil)
	}
	h.want(record.ValueTooBig, set(most), nil)
	if p := h.must(record.Request{Op: record.OpListXattr, Ino: f}, nil); len(p.Value) != record.ValueMax {
		t.Errorf("%d bytes of names", len(p.Value))
	}
	h.must(record.Request{Op: record.OpSetXattr, Ino: f, Name: set(0).Name, Value: pattern(record.ValueMax, 1)}, nil)
	h.check()
}

// fallocate reserves nothing, but it must not promise what is clearly not there.
func TestFallocateKnowsTheSpace(t *testing.T) {
	h := newHouse(t, 40)
	f := h.file(root, "f", nil)
	h.write(f, 0, pattern(10*fakeBlock, 1))
	h.fake.space = &storage.Space{BlockBytes: fakeBlock, Total: 1000, Free: 110, Avail: 100}
	before := h.stat(f)
	for _, flags := range []uint32{0, record.FlagKeepSize, record.FlagZeroRange, record.FlagZeroRange | record.FlagKeepSize} {
		h.want(record.NoSpace, fallocate(f, 0, 111*fakeBlock, flags), nil)
		h.want(record.NoSpace, fallocate(f, 0, record.SizeMax, flags), nil)
	}
	if h.stat(f) != before {
		t.Errorf("a refused fallocate changed the file: %+v", h.stat(f))
	}
	h.fake.fold = func() { h.fake.space.Avail = 101 }
	h.must(fallocate(f, 0, 111*fakeBlock, 0), nil)
	h.must(truncate(f, 10*fakeBlock), nil)
	h.fake.space.Avail, h.fake.fold = 100, nil
	h.must(fallocate(f, 0, record.SizeMax, record.FlagPunchHole|record.FlagKeepSize), nil)
	h.write(f, 0, pattern(10*fakeBlock, 1))
	for _, flags := range []uint32{record.FlagKeepSize, 0} {
		h.must(fallocate(f, 0, 110*fakeBlock, flags), nil)
	}
	if a := h.stat(f); a.Size != 110*fakeBlock {
		t.Errorf("%d bytes", a.Size)
	}
	h.check()
}

// What has no name and is not open is gone, although the reaper may still have to take it apart: nobody can open it again. It would have
// seen half a file, and its objects would have stayed.
func TestDyingFileIsNotOpenedAgain(t *testing.T) {
	h := newHouse(t, 41)
	for _, flags := range []uint32{0, record.FlagTrunc, record.FlagReassert} {
		f := h.file(root, "f", nil)
		for i := range 2 * unlinkStripesMax {
			h.write(f, uint64(i)*testStripe, []byte{1})
		}
		h.do(func(f0 *engine.Fiber) {
			var p record.Reply
			q := unlink(root, "f")
			if h.s.Do(f0, h.sess, &q, nil, &p, nil); p.Status != record.OK {
				t.Fatal(p.Status)
			}
			q = record.Request{Op: record.OpOpen, Ino: f, Flags: flags, Count: 1}
			if h.s.Do(f0, h.sess, &q, nil, &p, nil); p.Status != record.NotFound {
				t.Errorf("flags %#x: open: %v", flags, p.Status)
			}
		})
		h.ask(record.Request{Op: record.OpRelease, Ino: f}, nil)
		h.settle()
		h.want(record.NotFound, record.Request{Op: record.OpGetAttr, Ino: f}, nil)
		if rep := h.check(); rep.Orphans != 0 {
			t.Errorf("%+v", rep)
		}
	}
}

// An inode that can't be read must not keep the reaper from the others.
func TestReaperGoesOnBehindADamagedInode(t *testing.T) {
	h := newHouse(t, 42)
	var inos []record.Ino
	for _, n := range []string{"a", "b"} {
		inos = append(inos, h.must(create(root, n, 0), nil).Attr.Ino)
		h.must(unlink(root, n), nil)
	}
	key := fakeItem{coll: storage.Coll(inos[0].Group()), key: string(record.AppendInoKey(nil, record.KindInode, inos[0]))}
	sound, _ := h.fake.now.Get(key)
	key.val = []byte{99}
	h.fake.now.ReplaceOrInsert(key)
	for _, ino := range inos {
		h.must(record.Request{Op: record.OpRelease, Ino: ino}, nil)
	}
	h.sleep(3 * reapPauseNs)
	h.want(record.Corrupt, record.Request{Op: record.OpGetAttr, Ino: inos[0]}, nil)
	h.want(record.NotFound, record.Request{Op: record.OpGetAttr, Ino: inos[1]}, nil)
	h.fake.now.ReplaceOrInsert(sound)
	h.sleep(3 * reapPauseNs)
	h.want(record.NotFound, record.Request{Op: record.OpGetAttr, Ino: inos[0]}, nil)
	if st := h.s.Stats(); st.Reaped != 2 || st.ReapFailed == 0 || st.Dying != 0 {
		t.Errorf("%d reaped, %d failed, %d dying", st.Reaped, st.ReapFailed, st.Dying)
	}
	h.check()
}

// A seek over a long hole lets others run in between.
func TestSeekOverALongHoleYields(t *testing.T) {
	h := newHouse(t, 43)
	f := h.file(root, "f", nil)
	const stripes = 8 * stepLooksMax
	h.write(f, stripes*testStripe, []byte{1})
	turns, over := 0, false
	h.do(func(f0 *engine.Fiber) {
		if err := f0.Turn().Go("other", func(f1 *engine.Fiber) {
			for ; !over; turns++ {
				f1.Yield()
			}
		}); err != nil {
			t.Fatal(err)
		}
		var p record.Reply
		q := record.Request{Op: record.OpLseek, Ino: f}
		h.s.Do(f0, h.sess, &q, nil, &p, nil)
		if over = true; p.Status != record.OK || p.Off != stripes*testStripe {
			t.Errorf("%v at %d", p.Status, p.Off)
		}
	})
	if turns < 6 {
		t.Errorf("others ran %d times", turns)
	}
}

func TestCreateOverTakesPrivilegesAway(t *testing.T) {
	h := newHouse(t, 44)
	f := h.file(root, "f", []byte("x"))
	h.must(record.Request{Op: record.OpSetAttr, Ino: f, Valid: record.SetMode, Mode: 0o6755}, nil)
	if a := h.must(create(root, "f", record.FlagTrunc|record.FlagKillPriv), nil).Attr; a.Mode != record.ModeRegular|0o755 || a.Size != 0 {
		t.Errorf("%#o, %d bytes", a.Mode, a.Size)
	}
	h.check()
}

// On a full store a write waits for the space of files that have been removed and are still being taken apart; when none is left, it hears so.
func TestWriteWaitsForWhatIsBeingFreed(t *testing.T) {
	h := newHouse(t, 45)
	f := h.file(root, "f", nil)
	var old []record.Ino
	for _, n := range []string{"a", "b"} {
		ino := h.file(root, n, nil)
		for i := range 3 * unlinkStripesMax {
			h.write(ino, uint64(i)*testStripe, []byte{1})
		}
		old = append(old, ino)
	}
	never := false
	h.fake.refuseIf = func(o *operation) error {
		for _, ino := range old {
			key := string(record.AppendInoKey(nil, record.KindInode, ino))
			if o.q.Op == record.OpWrite && (never || h.fake.now.Has(fakeItem{coll: storage.Coll(ino.Group()), key: key})) {
				return storage.ErrFull
			}
		}
		return nil
	}
	h.want(record.NoSpace, record.Request{Op: record.OpWrite, Ino: f}, []byte("x"))
	for _, want := range []record.Status{record.OK, record.NoSpace} {
		h.do(func(f0 *engine.Fiber) {
			var p record.Reply
			for _, n := range []string{"a", "b"} {
				q := unlink(root, n)
				if h.s.Do(f0, h.sess, &q, nil, &p, nil); p.Status != record.OK {
					t.Fatal(p.Status)
				}
			}
			q := record.Request{Op: record.OpWrite, Ino: f}
			if h.s.Do(f0, h.sess, &q, []byte("x"), &p, nil); p.Status != want {
				t.Errorf("%v, want %v", p.Status, want)
			}
		})
		h.settle()
		h.check()
		never = true
		for _, n := range []string{"a", "b"} {
			h.must(record.Request{Op: record.OpLink, Ino: f, Dir: root, Name: name(n)}, nil)
		}
	}
}

// What makes room works on a full store, and so does what only rewrites an inode.
func TestFullStoreTakesWhatNeedsNoSpace(t *testing.T) {
	h := newHouse(t, 46)
	d := h.mkdir(root, "d")
	h.mkdir(d, "sub")
	small, large := h.file(d, "small", pattern(1000, 1)), h.file(d, "large", pattern(9*testStripe, 1))
	open := h.must(create(d, "open", 0), nil).Attr.Ino
	h.must(record.Request{Op: record.OpSetXattr, Ino: small, Name: name("user.x")}, nil)
	h.fake.full, h.fake.removes = true, 1
	h.want(record.NoSpace, create(d, "new", 0), nil)
	h.want(record.NoSpace, record.Request{Op: record.OpWrite, Ino: small, Off: 1000}, []byte("x"))
	set := record.Request{Op: record.OpSetAttr, Ino: small, Valid: record.SetMode | record.SetUID | record.SetMtime, Mode: 0o600, UID: 3, Mtime: 5}
	for _, q := range []record.Request{set, truncate(small, 100), truncate(large, 4*testStripe), {Op: record.OpRemoveXattr, Ino: small, Name: name("user.x")},
		fallocate(large, 0, 4*testStripe, record.FlagPunchHole|record.FlagKeepSize), rename(d, "large", root, "large", 0), unlink(root, "large"), unlink(d, "open"),
		rmdir(d, "sub"), unlink(d, "small"), rmdir(root, "d"), {Op: record.OpRelease, Ino: open}} {
		h.must(q, nil)
	}
	h.settle()
	if rep := h.check(); rep.Inodes != 1 {
		t.Errorf("%+v", rep)
	}
}
