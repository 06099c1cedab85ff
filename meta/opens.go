package meta

import (
	"cmp"

	"basalt/engine"
	"basalt/meta/record"

	"github.com/google/btree"
)

// openTable counts who has which inode open: each mount for itself, and all together. It is memory only: after a restart the mounts say again
// what they have open, and what nobody has open and has no name is collected. A pure state machine, owned by the shard.
type openTable struct {
	byMount *btree.BTreeG[openCount]
	byIno   map[record.Ino]openSum
}

type openCount struct {
	mount uint64
	ino   record.Ino
	n     uint64
}

type openSum struct {
	n      uint64
	orphan bool
}

func newOpenTable() openTable {
	less := func(a, b openCount) bool {
		return cmp.Or(cmp.Compare(a.mount, b.mount), cmp.Compare(a.ino, b.ino)) < 0
	}
	return openTable{byMount: btree.NewG(32, less), byIno: map[record.Ino]openSum{}}
}

// total is how often an inode is open.
func (t *openTable) total(ino record.Ino) uint64 { return t.byIno[ino].n }

// add counts n opens of a mount more, or fewer; it never goes below none. It returns how many opens are left of all mounts, and whether
// the inode has no names.
func (t *openTable) add(m *mount, ino record.Ino, n int) (left uint64, orphan bool) {
	c, had := t.byMount.Get(openCount{mount: m.number, ino: ino})
	c.mount, c.ino = m.number, ino
	n = max(n, -int(c.n))
	c.n = uint64(int(c.n) + n)
	switch {
	case c.n == 0 && had:
		t.byMount.Delete(c)
		m.opens--
	case c.n > 0:
		t.byMount.ReplaceOrInsert(c)
		if !had {
			m.opens++
		}
	}
	sum := t.byIno[ino]
	sum.n = uint64(int(sum.n) + n)
	t.put(ino, sum)
	return sum.n, sum.orphan
}

// mark notes that an inode has no names, or has after all.
func (t *openTable) mark(ino record.Ino, orphan bool) {
	sum := t.byIno[ino]
	sum.orphan = orphan
	t.put(ino, sum)
}

func (t *openTable) put(ino record.Ino, sum openSum) {
	if sum.n == 0 {
		delete(t.byIno, ino)
	} else {
		t.byIno[ino] = sum
	}
}

// drop forgets all opens of a mount and calls fn for inodes that are gone for everybody: without names, and open no more.
func (t *openTable) drop(m *mount, fn func(record.Ino)) {
	for m.opens > 0 {
		var c openCount
		t.byMount.AscendGreaterOrEqual(openCount{mount: m.number}, func(at openCount) bool { c = at; return false })
		if c.n == 0 || c.mount != m.number {
			panic("meta: a mount has fewer opens than it counts")
		}
		if left, orphan := t.add(m, c.ino, -int(c.n)); left == 0 && orphan {
			fn(c.ino)
		}
	}
}

// open is the decision of an open, and the end of a create's: the open counts from this turn on.
func (o *operation) open(i *node) error {
	if o.sess == nil || o.replay {
		return nil
	}
	if o.sess.mount.opens >= o.s.opt.OpensMax {
		return record.TooManyOpen
	}
	o.willOpen = i.Ino
	return nil
}

// dying tells an inode that has no name and is open no more: it is gone, although the reaper may still be taking it apart.
func (o *operation) dying(i *node) bool {
	return i.Flags&record.AttrOrphan != 0 && o.s.opens.total(i.Ino) == 0 && !o.replay
}

// openInode is the decision of OpOpen and OpOpenDir.
func (o *operation) openInode() error {
	i, err := o.inode(o.q.Ino)
	if err != nil {
		return err
	}
	if o.dying(i) {
		return record.NotFound
	}
	if o.q.Op == record.OpOpenDir && !i.IsDir() {
		return record.NotDir
	}
	if o.q.Flags&record.FlagTrunc != 0 {
		if err := o.truncate(i, 0); err != nil || o.again {
			return err
		}
		o.touch(i, true)
	}
	if o.q.Flags&record.FlagKillPriv != 0 {
		if err := o.killPriv(i); err != nil {
			return err
		}
		o.touch(i, false)
	}
	o.p.Attr = i.Attr
	return o.open(i)
}

// release gives opens back; the last one of an inode without names ends it.
func (s *Shard) release(t *engine.Turn, sess *Session, reqid uint64, ino record.Ino, n uint32) {
	if !sess.first(reqid) {
		return
	}
	n = min(max(n, 1), 1<<30)
	if s.opens.total(ino) == 0 {
		return
	}
	if left, orphan := s.opens.add(sess.mount, ino, -int(n)); left == 0 && orphan {
		s.reap(t, ino)
	}
}

// reassert takes over what a mount says it has open, after a restart of the server. What a session has said counts once: when it has to say
// it again, over a new connection, the first telling is taken back (takeBack).
func (s *Shard) reassert(f *engine.Fiber, o *operation) error {
	sess, ino, n := o.sess, o.q.Ino, o.q.Count
	if !s.has(ino) {
		return record.Invalid
	}
	if !s.recovering { // else it may be a file that is yet to be created again
		o.decide = (*operation).reassertInode
		if err := o.view(f); err != nil {
			return err
		}
	}
	if sess.mount.opens >= s.opt.OpensMax || len(sess.asserted) >= s.opt.OpensMax {
		return record.TooManyOpen
	}
	c := openCount{ino: ino, n: uint64(min(max(n, 1), 1<<30))}
	s.opens.add(sess.mount, ino, int(c.n))
	if s.recovering {
		sess.asserted = append(sess.asserted, c)
	}
	return nil
}

// reassertInode is the decision of a reassertion when the window is closed.
func (o *operation) reassertInode() error {
	i, err := o.inode(o.q.Ino)
	if err != nil {
		return err
	}
	if o.dying(i) {
		return record.NotFound
	}
	o.p.Attr = i.Attr
	return nil
}

// takeBack forgets what a session has said during this replay window.
func (s *Shard) takeBack(sess *Session) {
	for _, c := range sess.asserted {
		s.opens.add(sess.mount, c.ino, -int(c.n))
	}
	sess.asserted = nil
}
