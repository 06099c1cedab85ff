package meta

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"basalt/meta/record"

	"pgregory.net/rapid"
)

// thing is an inode of the model: what POSIX says about files, written as simply as can be.
type thing struct {
	ino    record.Ino
	mode   uint32
	data   []byte // of a file; target of a symlink
	names  map[string]*thing
	parent *thing
	nlink  int
	opens  int
	xattrs map[string]string
}

func (m *thing) dir() bool     { return m.names != nil }
func (m *thing) regular() bool { return m.mode&record.ModeType == record.ModeRegular }

// model is the file system as a tree in memory, beside the real one.
type model struct {
	t    *rapid.T
	h    *house
	root *thing
	all  []*thing // everything that was ever made
}

func newModel(t *rapid.T, h *house) *model {
	m := &model{t: t, h: h, root: &thing{ino: root, mode: record.ModeDir | 0o755, names: map[string]*thing{}, nlink: 2}}
	m.root.parent = m.root
	m.all = []*thing{m.root}
	return m
}

func (m *model) dirs() (list []*thing) {
	for _, x := range m.all {
		if x.dir() {
			list = append(list, x)
		}
	}
	return list
}

func (m *model) pickDir() *thing { return rapid.SampledFrom(m.dirs()).Draw(m.t, "dir") }
func (m *model) pickAny() *thing { return rapid.SampledFrom(m.all).Draw(m.t, "inode") }
func (m *model) pickName() string {
	return rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(m.t, "name")
}

// exists: the server still knows the inode.
func (x *thing) exists() bool { return x.nlink > 0 || x.opens > 0 }

// place says what a change under dir/name meets first.
func (m *model) place(dir *thing, name string) (record.Status, *thing) {
	switch {
	case dir.nlink == 0:
		return record.NotFound, nil
	case dir.names[name] == nil:
		return record.NotFound, nil
	}
	return record.OK, dir.names[name]
}

func (m *model) expect(want record.Status, q record.Request, data []byte) record.Reply {
	p := m.h.ask(q, data)
	if p.Status != want {
		m.t.Fatalf("%v dir %v %q, inode %v, new %v %q, flags %#x: %v, want %v", q.Op, q.Dir, q.Name, q.Ino, q.NewDir, q.NewName, q.Flags, p.Status, want)
	}
	return p
}

func (m *model) make(kind uint32) {
	dir, n := m.pickDir(), m.pickName()
	q := record.Request{Dir: dir.ino, Name: name(n), Mode: kind | 0o644}
	x := &thing{mode: kind | 0o644, nlink: 1, xattrs: map[string]string{}}
	switch kind {
	case record.ModeDir:
		q.Op, x.names, x.nlink, x.parent = record.OpMkdir, map[string]*thing{}, 2, dir
	case record.ModeSymlink:
		q.Op, q.Value, x.data = record.OpSymlink, []byte("target"), []byte("target")
		x.mode = kind | 0o777
	case record.ModeFifo:
		q.Op = record.OpMknod
	default:
		q.Op, q.Flags, x.opens = record.OpCreate, record.FlagExcl, 1
	}
	st, old := m.place(dir, n)
	switch {
	case dir.nlink == 0:
		m.expect(dirGone(dir), q, nil)
		return
	case old != nil:
		m.expect(record.Exists, q, nil)
		return
	case st != record.NotFound:
		m.t.Fatal("model")
	}
	x.ino = m.expect(record.OK, q, nil).Attr.Ino
	dir.names[n] = x
	if x.dir() {
		dir.nlink++
	}
	m.all = append(m.all, x)
}

func dirGone(*thing) record.Status { return record.NotFound }

func (m *model) remove() {
	dir, n := m.pickDir(), m.pickName()
	st, x := m.place(dir, n)
	op := record.OpUnlink
	if rapid.Bool().Draw(m.t, "rmdir") {
		op = record.OpRmdir
	}
	switch {
	case st != record.OK:
	case op == record.OpUnlink && x.dir():
		st = record.IsDir
	case op == record.OpRmdir && !x.dir():
		st = record.NotDir
	case op == record.OpRmdir && len(x.names) > 0:
		st = record.NotEmpty
	}
	m.expect(st, record.Request{Op: op, Dir: dir.ino, Name: name(n)}, nil)
	if st == record.OK {
		m.forget(dir, n)
	}
}

// forget takes a name away.
func (m *model) forget(dir *thing, n string) {
	x := dir.names[n]
	delete(dir.names, n)
	if x.dir() {
		x.nlink = 0
		dir.nlink--
	} else {
		x.nlink--
	}
}

func (m *model) link() {
	x, dir, n := m.pickAny(), m.pickDir(), m.pickName()
	st := record.OK
	switch {
	case !x.exists():
		st = record.NotFound
	case x.dir():
		st = record.Permission
	case x.nlink == 0 || dir.nlink == 0:
		st = record.NotFound
	case dir.names[n] != nil:
		st = record.Exists
	}
	m.expect(st, record.Request{Op: record.OpLink, Ino: x.ino, Dir: dir.ino, Name: name(n)}, nil)
	if st == record.OK {
		dir.names[n] = x
		x.nlink++
	}
}

func (m *model) rename() {
	from, to, a, b := m.pickDir(), m.pickDir(), m.pickName(), m.pickName()
	flags := rapid.SampledFrom([]uint32{0, 0, record.FlagNoReplace, record.FlagExchange}).Draw(m.t, "flags")
	st, x := m.place(from, a)
	var y *thing
	if st == record.OK {
		var there record.Status
		there, y = m.place(to, b)
		if to.nlink == 0 || flags == record.FlagExchange {
			st = there
		}
	}
	inside := func(x, dir *thing) bool {
		for ; dir != m.root; dir = dir.parent {
			if dir == x {
				return true
			}
		}
		return false
	}
	switch {
	case st != record.OK:
	case y != nil && flags == record.FlagNoReplace:
		st = record.Exists
	case x == y:
		m.expect(record.OK, rename(from.ino, a, to.ino, b, flags), nil)
		return
	case x.dir() && from != to && inside(x, to), flags == record.FlagExchange && y.dir() && from != to && inside(y, from):
		st = record.Invalid
	case flags == record.FlagExchange || y == nil:
	case x.dir() && !y.dir():
		st = record.NotDir
	case !x.dir() && y.dir():
		st = record.IsDir
	case y.dir() && len(y.names) > 0:
		st = record.NotEmpty
	}
	m.expect(st, rename(from.ino, a, to.ino, b, flags), nil)
	if st != record.OK {
		return
	}
	if y != nil && flags != record.FlagExchange {
		m.forget(to, b)
		y = nil
	}
	delete(from.names, a)
	if y != nil {
		from.names[a] = y
		m.moved(y, to, from)
	}
	to.names[b] = x
	m.moved(x, from, to)
}

func (m *model) moved(x, from, to *thing) {
	if x.dir() {
		x.parent = to
		from.nlink--
		to.nlink++
	}
}

func (m *model) file() (*thing, record.Status) {
	x := m.pickAny()
	switch {
	case !x.exists():
		return x, record.NotFound
	case x.dir():
		return x, record.IsDir
	case !x.regular():
		return x, record.Invalid
	}
	return x, record.OK
}

var offsets = []int{0, 1, 100, 4000, 4096, 4097, 10000, testStripe - 1, testStripe, 2*testStripe + 7}

func (m *model) write() {
	x, st := m.file()
	off := rapid.SampledFrom(offsets).Draw(m.t, "off")
	data := pattern(rapid.SampledFrom([]int{1, 50, 4096, 5000}).Draw(m.t, "n"), byte(len(m.all)))
	q := record.Request{Op: record.OpWrite, Ino: x.ino, Off: uint64(off)}
	if rapid.Bool().Draw(m.t, "append") {
		q.Flags, off = record.FlagAppend, len(x.data)
	}
	m.expect(st, q, data)
	if st == record.OK {
		x.data = slices.Clone(append(x.data, make([]byte, max(0, off+len(data)-len(x.data)))...))
		copy(x.data[off:], data)
	}
}

func (m *model) truncate() {
	x, st := m.file()
	size := rapid.SampledFrom(offsets).Draw(m.t, "size")
	m.expect(st, truncate(x.ino, uint64(size)), nil)
	if st == record.OK {
		x.data = slices.Clone(append(x.data, make([]byte, max(0, size-len(x.data)))...))[:size]
	}
}

func (m *model) punch() {
	x, st := m.file()
	off, n := rapid.SampledFrom(offsets).Draw(m.t, "off"), rapid.SampledFrom(offsets[1:]).Draw(m.t, "n")
	m.expect(st, fallocate(x.ino, uint64(off), uint64(n), record.FlagPunchHole|record.FlagKeepSize), nil)
	if st == record.OK && off < len(x.data) {
		clear(x.data[off:min(len(x.data), off+n)])
	}
}

func (m *model) openClose() {
	x := m.pickAny()
	if x.opens > 0 && rapid.Bool().Draw(m.t, "close") {
		m.expect(record.OK, record.Request{Op: record.OpRelease, Ino: x.ino}, nil)
		x.opens--
		m.h.settle()
		return
	}
	if !x.exists() {
		m.expect(record.NotFound, record.Request{Op: record.OpOpen, Ino: x.ino}, nil)
		return
	}
	m.expect(record.OK, record.Request{Op: record.OpOpen, Ino: x.ino}, nil)
	x.opens++
}

func (m *model) xattr() {
	x := m.pickAny()
	if !x.exists() || x == m.root {
		return
	}
	n := "user." + m.pickName()
	if _, have := x.xattrs[n]; have && rapid.Bool().Draw(m.t, "remove") {
		m.expect(record.OK, record.Request{Op: record.OpRemoveXattr, Ino: x.ino, Name: name(n)}, nil)
		delete(x.xattrs, n)
		return
	}
	m.expect(record.OK, record.Request{Op: record.OpSetXattr, Ino: x.ino, Name: name(n), Value: name(n)}, nil)
	x.xattrs[n] = n
}

// restart is a stop with everything committed: the opens of the local mount end with it.
func (m *model) restart() {
	m.h.restart(true)
	m.h.settle()
	for _, x := range m.all {
		x.opens = 0
	}
}

// compare walks everything that was ever made.
func (m *model) compare() {
	m.h.settle()
	m.h.check()
	for _, x := range m.all {
		p := m.h.ask(record.Request{Op: record.OpGetAttr, Ino: x.ino}, nil)
		if !x.exists() {
			if p.Status != record.NotFound {
				m.t.Fatalf("inode %v: %v, it should be gone", x.ino, p.Status)
			}
			continue
		}
		a := p.Attr
		if p.Status != record.OK || a.Mode != x.mode || int(a.Nlink) != x.nlink {
			m.t.Fatalf("inode %v: %v %+v, want mode %#o, %d links", x.ino, p.Status, a, x.mode, x.nlink)
		}
		switch {
		case x.dir():
			m.compareDir(x, a)
		case x.regular():
			if got := m.h.read(x.ino, 0, len(x.data)+10); !bytes.Equal(got, x.data) || a.Size != uint64(len(x.data)) {
				m.t.Fatalf("inode %v: %d bytes (size %d), want %d", x.ino, len(got), a.Size, len(x.data))
			}
		}
		if x == m.root {
			continue
		}
		for n := range x.xattrs {
			if v := m.h.must(record.Request{Op: record.OpGetXattr, Ino: x.ino, Name: name(n)}, nil).Value; string(v) != n {
				m.t.Fatalf("inode %v: attribute %q is %q", x.ino, n, v)
			}
		}
	}
}

func (m *model) compareDir(x *thing, a record.Attr) {
	_, entries := m.h.list(x.ino, 200, false)
	got := map[string]record.Ino{}
	for _, e := range entries {
		got[string(e.Name)] = e.Ino
	}
	want := map[string]record.Ino{".": x.ino, "..": a.Parent}
	for n, y := range x.names {
		want[n] = y.ino
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || a.Size != uint64(len(x.names)) || x.nlink > 0 && a.Parent != x.parent.ino {
		m.t.Fatalf("directory %v: %v, want %v; %+v", x.ino, got, want, a)
	}
}

// TestAgainstModel runs random operations on both and compares outcomes, and in the end everything.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := newHouse(t, rapid.Uint64().Draw(rt, "seed"))
		defer h.w.Close()
		h.fake.missOneIn = rapid.SampledFrom([]int{0, 20}).Draw(rt, "miss")
		m := newModel(rt, h)
		steps := map[string]func(){
			"mkdir": func() { m.make(record.ModeDir) }, "create": func() { m.make(record.ModeRegular) },
			"symlink": func() { m.make(record.ModeSymlink) }, "mknod": func() { m.make(record.ModeFifo) },
			"remove": m.remove, "link": m.link, "rename": m.rename, "write": m.write, "truncate": m.truncate, "punch": m.punch,
			"open": m.openClose, "xattr": m.xattr, "restart": m.restart,
		}
		kinds := []string{"mkdir", "mkdir", "create", "create", "symlink", "mknod", "remove", "remove", "link", "rename", "rename", "rename", "write",
			"write", "truncate", "punch", "open", "xattr", "restart"}
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			steps[rapid.SampledFrom(kinds).Draw(rt, "step")]()
		}
		m.compare()
	})
}
