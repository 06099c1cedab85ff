package meta

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"basalt/engine"
	"basalt/meta/record"
)

// asker serves requests of one session in one fiber.
type asker struct {
	f    *engine.Fiber
	s    *Shard
	sess *Session
}

func (a asker) ask(q record.Request, data, dst []byte) (p record.Reply, err error) {
	a.s.Do(a.f, a.sess, &q, data, &p, dst)
	if p.Status != record.OK {
		return p, fmt.Errorf("%v %v %q: %w", q.Op, q.Ino+q.Dir, q.Name, p.Status)
	}
	return p, nil
}

// dump describes everything that has a name, a line each in the order of the paths: what a crash must not change.
func (a asker) dump() (string, error) {
	var b strings.Builder
	err := a.dumpDir(&b, root, "")
	return b.String(), err
}

func (a asker) dumpDir(b *strings.Builder, dir record.Ino, path string) error {
	p, err := a.ask(record.Request{Op: record.OpGetAttr, Ino: dir}, nil, nil)
	if err != nil {
		return err
	}
	if err := a.line(b, path+"/", &p.Attr); err != nil {
		return err
	}
	var list []record.Entry
	q := record.Request{Op: record.OpReadDir, Ino: dir, Count: 4096}
	for done := false; !done; {
		p, err := a.ask(q, nil, nil)
		if err != nil {
			return err
		}
		for rest := p.Value; len(rest) > 0; {
			var e record.Entry
			if rest, err = record.NextEntry(rest, &e); err != nil {
				return err
			}
			q.Cookie, q.Name = e.Cookie, bytes.Clone(e.Name)
			if e.Cookie > record.CookieDotDot {
				list = append(list, record.Entry{Ino: e.Ino, Type: e.Type, Name: bytes.Clone(e.Name)})
			}
		}
		done = p.Flags&record.ReplyEOF != 0
	}
	slices.SortFunc(list, func(x, y record.Entry) int { return bytes.Compare(x.Name, y.Name) })
	for _, e := range list {
		at := path + "/" + string(e.Name)
		if e.Type == record.ModeDir {
			if err := a.dumpDir(b, e.Ino, at); err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
			continue
		}
		p, err := a.ask(record.Request{Op: record.OpGetAttr, Ino: e.Ino}, nil, nil)
		if err == nil {
			err = a.line(b, at, &p.Attr)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return nil
}

// line describes one inode: attributes (but for the blocks, which depend on the store), content, extended attributes.
func (a asker) line(b *strings.Builder, path string, at *record.Attr) error {
	fmt.Fprintf(b, "%s %v %#o %d %d:%d %d %d %d %d %d v%d", path, at.Ino, at.Mode, at.Nlink, at.UID, at.GID, at.Size, at.Atime, at.Mtime, at.Ctime,
		at.Btime, at.Version)
	if at.IsSymlink() {
		p, err := a.ask(record.Request{Op: record.OpReadlink, Ino: at.Ino}, nil, nil)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, " -> %q", p.Value)
	}
	if at.IsRegular() {
		dst := make([]byte, 64<<10)
		crc := uint32(0)
		for off := uint64(0); off < at.Size; {
			p, err := a.ask(record.Request{Op: record.OpRead, Ino: at.Ino, Off: off, Count: uint32(len(dst))}, nil, dst)
			if err != nil {
				return err
			}
			crc = crc32.Update(crc, crc32.IEEETable, dst[:p.Count])
			off += uint64(p.Count)
		}
		fmt.Fprintf(b, " %08x", crc)
	}
	p, err := a.ask(record.Request{Op: record.OpListXattr, Ino: at.Ino}, nil, nil)
	if err != nil {
		return err
	}
	for _, n := range bytes.Split(p.Value, []byte{0}) {
		if len(n) == 0 {
			continue
		}
		v, err := a.ask(record.Request{Op: record.OpGetXattr, Ino: at.Ino, Name: n}, nil, nil)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, " %s=%x", n, crc32.ChecksumIEEE(v.Value))
	}
	b.WriteByte('\n')
	return nil
}

// differAt shows the first line in which two dumps differ.
func differAt(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		x, y := "(nothing)", "(nothing)"
		if i < len(w) {
			x = w[i]
		}
		if i < len(g) {
			y = g[i]
		}
		if x != y {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s", i, x, y)
		}
	}
	return ""
}
