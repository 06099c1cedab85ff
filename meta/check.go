package meta

import (
	"errors"
	"fmt"

	"basalt/engine"
	"basalt/meta/record"
	"basalt/storage"
)

// Report is what Check found.
type Report struct {
	Inodes   int
	Dirs     int
	Names    int
	Orphans  int // inodes without names, still open or not yet collected: not a problem
	Sessions int
	Bytes    uint64 // sizes of all files together
	Problems []Problem
	More     int // problems beyond those listed
}

// Problem is one thing that is wrong.
type Problem struct {
	Ino  record.Ino // 0: not about one inode
	What string
}

func (p Problem) String() string {
	if p.Ino == 0 {
		return p.What
	}
	return fmt.Sprintf("inode %v: %s", p.Ino, p.What)
}

const (
	problemsMax = 1000
	statsPerRun = 256 // inodes whose objects one turn looks at
)

// errNoPin: something else changes the store, so that it has no room for a snapshot.
var errNoPin = errors.New("the store is being changed, and too full for a snapshot of its names: run the check again")

// Check compares everything the namespace says with everything else it says: names with inodes, link counts, parents, orphans, inline bytes and
// objects with sizes, reserved numbers, sessions with remembered answers. It changes nothing. Nothing else may change the store meanwhile.
// It needs about 150 bytes of memory for each inode.
func Check(f *engine.Fiber, s *storage.Store) (*Report, error) { return check(f, storeOf{s}) }

func check(f *engine.Fiber, st store) (*Report, error) {
	c := &checker{s: newShard(st, Options{}), seen: map[record.Ino]*seenInode{}, f: f, sessions: map[uint64]bool{}}
	if err := c.constants(); err != nil {
		return nil, err
	}
	snap, ok := st.Pin(f.Turn())
	if !ok { // the checkpoint that a mount began may need what a snapshot would hold
		if err := st.Checkpoint(f); err != nil {
			return nil, err
		}
		if snap, ok = st.Pin(f.Turn()); !ok {
			return nil, errNoPin
		}
	}
	c.snap = snap
	err := c.walk()
	c.snap.Release(f.Turn())
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(c.order); i += statsPerRun {
		if err := c.objects(c.order[i:min(i+statsPerRun, len(c.order))]); err != nil {
			return nil, err
		}
	}
	return &c.rep, nil
}

// seenInode is what is known of an inode.
type seenInode struct {
	record.Attr
	stripes uint32
	name    string // of a directory: what it says its name is
	names   uint32 // dentries that lead to it
	dirs    uint32 // of a directory: directories in it
	entries uint64
	inline  int // bytes of its DATA record, -1: none
	orphan  bool
	xattrs  int  // bytes of their values
	list    int  // and of their names
	rooted  bool // leads up to the root
}

type checker struct {
	s        *Shard
	f        *engine.Fiber
	snap     snapshot
	seen     map[record.Ino]*seenInode
	order    []*seenInode // in the order of their numbers, group by group
	sessions map[uint64]bool
	rep      Report
}

func (c *checker) problem(ino record.Ino, format string, args ...any) {
	if len(c.rep.Problems) == problemsMax {
		c.rep.More++
		return
	}
	c.rep.Problems = append(c.rep.Problems, Problem{ino, fmt.Sprintf(format, args...)})
}

func (c *checker) constants() error {
	return c.s.loadFS(c.f)
}

func (c *checker) walk() error {
	if err := c.shardRecords(); err != nil {
		return err
	}
	for g := range c.s.fs.Groups {
		if err := c.inodes(uint16(g)); err != nil {
			return err
		}
	}
	for g := range c.s.fs.Groups {
		for _, step := range []func(uint16) error{c.dentries, c.data, c.xattrs, c.orphans} {
			if err := step(uint16(g)); err != nil {
				return err
			}
		}
	}
	if c.seen[record.RootIno] == nil {
		c.problem(record.RootIno, "there is no root directory")
	}
	for _, i := range c.order {
		c.inode(i)
	}
	return nil
}

// each scans all keys of a kind in a group.
func (c *checker) each(group uint16, kind record.Kind, fn func(key, val []byte)) error {
	err := c.snap.Scan(c.f, storage.Coll(group), []byte{byte(kind)}, []byte{byte(kind) + 1}, func(key, val []byte) bool {
		fn(key, val)
		return true
	})
	if err != nil {
		return fmt.Errorf("scan of group %d, kind %#x: %w", group, byte(kind), err)
	}
	return nil
}

func (c *checker) shardRecords() error {
	g := record.ShardGroup
	err := c.each(g, record.KindSession, func(key, val []byte) {
		var v record.Session
		id, err := record.DecodeSessionKey(key)
		if err == nil {
			err = v.Decode(val)
		}
		if err != nil {
			c.problem(0, "session record: %v", err)
			return
		}
		c.sessions[id] = true
		c.rep.Sessions++
	})
	if err != nil {
		return err
	}
	return c.each(g, record.KindIdem, func(key, val []byte) {
		var v record.Idem
		var p record.Reply
		err := v.Decode(val)
		if err == nil {
			err = p.Decode(v.Reply)
		}
		session, slot, kerr := record.DecodeIdemKey(key)
		switch {
		case err != nil || kerr != nil:
			c.problem(0, "remembered answer: %v %v", kerr, err)
		case !c.sessions[session]:
			c.problem(0, "remembered answer of session %#x, which does not exist", session)
		case v.Request%record.IdemSlots != uint64(slot):
			c.problem(0, "remembered answer of request %d in slot %d", v.Request, slot)
		}
	})
}

func (c *checker) inodes(group uint16) error {
	next := uint64(1)
	err := c.each(group, record.KindCounter, func(_, val []byte) {
		var v record.Counter
		if err := v.Decode(val); err != nil {
			c.problem(0, "counter of group %d: %v", group, err)
			return
		}
		next = v.Next
	})
	if err != nil {
		return err
	}
	return c.each(group, record.KindInode, func(key, val []byte) {
		var v record.Inode
		ino, err := record.DecodeInoKey(key, record.KindInode)
		if err == nil {
			err = v.Decode(val)
		}
		switch {
		case err != nil:
			c.problem(ino, "record: %v", err)
			return
		case v.Ino != ino || ino.Group() != group || ino.Counter() == 0:
			c.problem(ino, "its record stands in group %d and says %v", group, v.Ino)
			return
		case ino.Counter() >= next:
			c.problem(ino, "its number was never reserved: the group's next is %d", next)
		}
		i := &seenInode{Attr: v.Attr, stripes: v.Stripes, name: string(v.Name), inline: -1}
		c.seen[ino] = i
		c.order = append(c.order, i)
		c.rep.Inodes++
		switch {
		case i.IsDir():
			c.rep.Dirs++
		case i.IsRegular():
			c.rep.Bytes += i.Size
		}
	})
}

func (c *checker) dentries(group uint16) error {
	return c.each(group, record.KindDentry, func(key, val []byte) {
		var d record.Dentry
		dir, hash, name, err := record.DecodeDentryKey(key)
		if err == nil {
			err = d.Decode(val)
		}
		if err != nil {
			c.problem(dir, "entry %q: %v", name, err)
			return
		}
		c.rep.Names++
		parent, i := c.seen[dir], c.seen[d.Ino]
		switch {
		case dir.Group() != group:
			c.problem(dir, "entry %q stands in group %d", name, group)
		case hash != record.NameHash(c.s.fs.Seed, name):
			c.problem(dir, "entry %q has hash %#x", name, hash)
		case checkName(name) != nil || isDots(name):
			c.problem(dir, "entry %q is no name", name)
		case parent == nil || !parent.IsDir():
			c.problem(dir, "entry %q is in what is no directory", name)
		case i == nil:
			c.problem(dir, "entry %q leads to inode %v, which does not exist", name, d.Ino)
		}
		if parent != nil {
			parent.entries++
		}
		if i == nil {
			return
		}
		i.names++
		if i.Mode&record.ModeType != d.Type {
			c.problem(d.Ino, "entry %q in %v says type %#o, the inode %#o", name, dir, d.Type, i.Mode)
		}
		if !i.IsDir() {
			return
		}
		if parent != nil {
			parent.dirs++
		}
		if i.Parent != dir || i.name != string(name) {
			c.problem(d.Ino, "is %q in %v, but says it is %q in %v", name, dir, i.name, i.Parent)
		}
	})
}

func (c *checker) data(group uint16) error {
	return c.each(group, record.KindData, func(key, val []byte) {
		ino, err := record.DecodeInoKey(key, record.KindData)
		i := c.seen[ino]
		switch {
		case err != nil:
			c.problem(0, "key of inline data: %v", err)
		case i == nil:
			c.problem(ino, "has inline data but does not exist")
		case len(val) == 0:
			c.problem(ino, "has an empty record of inline data")
		default:
			i.inline = len(val)
		}
	})
}

func (c *checker) xattrs(group uint16) error {
	return c.each(group, record.KindXattr, func(key, val []byte) {
		ino, name, err := record.DecodeXattrKey(key)
		i := c.seen[ino]
		switch {
		case err != nil:
			c.problem(0, "key of an extended attribute: %v", err)
		case i == nil:
			c.problem(ino, "has the extended attribute %q but does not exist", name)
		case checkXattrName(name) != nil:
			c.problem(ino, "has an extended attribute with the name %q", name)
		default:
			i.xattrs, i.list = i.xattrs+len(val), i.list+len(name)+1
			if i.Flags&record.AttrXattr == 0 {
				c.problem(ino, "has the extended attribute %q but says it has none", name)
			}
		}
	})
}

func (c *checker) orphans(group uint16) error {
	return c.each(group, record.KindOrphan, func(key, val []byte) {
		var v record.Orphan
		ino, err := record.DecodeInoKey(key, record.KindOrphan)
		if err == nil {
			err = v.Decode(val)
		}
		i := c.seen[ino]
		switch {
		case err != nil:
			c.problem(ino, "orphan record: %v", err)
		case i == nil:
			c.problem(ino, "has an orphan record but does not exist")
		default:
			i.orphan = true
			c.rep.Orphans++
		}
	})
}

// inode compares one inode with what the names and the other records say.
func (c *checker) inode(i *seenInode) {
	orphan := i.Flags&record.AttrOrphan != 0
	if orphan != i.orphan || orphan != (i.Nlink == 0) {
		c.problem(i.Ino, "%d links, orphan flag %v, orphan record %v", i.Nlink, orphan, i.orphan)
	}
	if i.xattrs > record.XattrsMax || i.list > record.ListMax {
		c.problem(i.Ino, "%d bytes of extended attributes, %d of their names", i.xattrs, i.list)
	}
	switch {
	case i.IsDir():
		c.directory(i, orphan)
	case i.names != i.Nlink:
		c.problem(i.Ino, "%d links, but %d names", i.Nlink, i.names)
	}
	if !i.IsDir() && i.Parent != 0 {
		c.problem(i.Ino, "is no directory but has the parent %v", i.Parent)
	}
	inline := max(i.inline, 0)
	switch {
	case i.IsSymlink() && uint64(inline) != i.Size:
		c.problem(i.Ino, "target of %d bytes, says %d", inline, i.Size)
	case i.IsRegular() && i.Flags&record.AttrInline != 0 && (uint64(inline) > i.Size || inline > int(c.s.fs.InlineMax)):
		c.problem(i.Ino, "%d inline bytes in a file of %d", inline, i.Size)
	case i.inline >= 0 && (i.Flags&record.AttrInline == 0 || !i.IsRegular() && !i.IsSymlink()):
		c.problem(i.Ino, "has inline data which it should not have")
	case i.stripes > 0 && (i.Flags&record.AttrInline != 0 || !i.IsRegular()):
		c.problem(i.Ino, "%d objects although its data is inline", i.stripes)
	case i.IsRegular() && uint64(i.stripes) > (i.Size+uint64(c.s.fs.StripeSize)-1)/uint64(c.s.fs.StripeSize):
		c.problem(i.Ino, "%d objects for %d bytes", i.stripes, i.Size)
	}
	if i.inline > 0 && i.IsRegular() && i.Blocks != inlineUnits {
		c.problem(i.Ino, "inline data counted as %d blocks", i.Blocks)
	}
}

func (c *checker) directory(i *seenInode, orphan bool) {
	links, names := 2+i.dirs, uint32(1)
	if orphan {
		links, names = 0, 0
	}
	if i.Ino == record.RootIno {
		names = 0
		if i.Parent != record.RootIno {
			c.problem(i.Ino, "the root says its parent is %v", i.Parent)
		}
	}
	if i.Nlink != links {
		c.problem(i.Ino, "%d links, but %d directories in it", i.Nlink, i.dirs)
	}
	if i.names != names {
		c.problem(i.Ino, "a directory with %d names", i.names)
	}
	if i.Size != i.entries {
		c.problem(i.Ino, "says %d entries, has %d", i.Size, i.entries)
	}
	if !orphan {
		c.leadsUp(i)
	}
}

// leadsUp follows the parents to the root, or to a directory that is known to lead there.
func (c *checker) leadsUp(i *seenInode) {
	at := i
	for range len(c.order) + 1 {
		if at.rooted || at.Ino == record.RootIno {
			for at := i; !at.rooted && at.Ino != record.RootIno; at = c.seen[at.Parent] {
				at.rooted = true
			}
			return
		}
		up := c.seen[at.Parent]
		if up == nil {
			c.problem(at.Ino, "its parent %v does not exist", at.Parent)
			return
		}
		at = up
	}
	c.problem(i.Ino, "is in a loop of directories")
}

// objects compares sizes and blocks of files with their objects.
func (c *checker) objects(part []*seenInode) error {
	at := 0
	for at < len(part) {
		o := c.s.own(func(o *operation) error {
			for n := 0; at < len(part) && n < statsPerRun; at++ {
				i := part[at]
				if !i.IsRegular() || i.stripes == 0 {
					continue
				}
				if err := c.file(o, i); err != nil {
					return err
				}
				n += int(min(i.stripes, statsPerRun))
			}
			return nil
		})
		err := o.view(c.f)
		c.s.give(o)
		if err != nil {
			return err
		}
		c.f.Yield()
	}
	return nil
}

func (c *checker) file(o *operation, i *seenInode) error {
	var blocks uint64
	stripe := uint64(c.s.fs.StripeSize)
	for n := uint32(0); n <= i.stripes; n++ {
		coll, name := o.object(i.Ino, n)
		info, err := o.stat(coll, name)
		if err != nil {
			return err
		}
		blocks += info.Blocks * blockUnits
		left := i.Size - min(i.Size, uint64(n)*stripe)
		switch {
		case n == i.stripes && info.Size > 0:
			c.problem(i.Ino, "says it has %d objects, but there is one more", i.stripes)
		case info.Size > min(left, stripe):
			c.problem(i.Ino, "object %d has %d bytes of a file of %d", n, info.Size, i.Size)
		}
	}
	if blocks != i.Blocks {
		c.problem(i.Ino, "says %d units of 512 bytes, its objects have %d", i.Blocks, blocks)
	}
	return nil
}
