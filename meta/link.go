package meta

import "basalt/meta/record"

func (o *operation) link() error {
	i, err := o.inode(o.q.Ino)
	switch {
	case err != nil:
		return err
	case i.IsDir():
		return record.Permission
	case i.Nlink == 0:
		return record.NotFound
	case i.Nlink >= record.LinkMax:
		return record.TooManyLinks
	}
	d, err := o.free(o.q.Dir, o.q.Name)
	if err != nil {
		return err
	}
	o.enter(d, o.q.Name, i)
	d.Size++
	o.touch(d, true)
	i.Nlink++
	o.touch(i, false)
	o.p.Attr = i.Attr
	return nil
}

func (o *operation) unlink() error {
	d, i, err := o.existing(o.q.Dir, o.q.Name)
	if err != nil {
		return err
	}
	if i.IsDir() {
		return record.IsDir
	}
	o.leave(d, o.q.Name)
	d.Size--
	o.touch(d, true)
	return o.drop(i)
}

func (o *operation) rmdir() error {
	if isDots(o.q.Name) && len(o.q.Name) == 2 {
		return record.NotEmpty
	}
	d, i, err := o.existing(o.q.Dir, o.q.Name)
	if err != nil {
		return err
	}
	if !i.IsDir() {
		return record.NotDir
	}
	if err := o.mustBeEmpty(i); err != nil {
		return err
	}
	o.leave(d, o.q.Name)
	d.Size--
	d.Nlink--
	o.touch(d, true)
	return o.drop(i)
}

func (o *operation) mustBeEmpty(i *node) error {
	found := false
	lo, hi := record.AppendInoKey(o.key[:0], record.KindDentry, i.Ino), record.AppendInoEnd(o.end[:0], record.KindDentry, i.Ino)
	err := o.scan(i.Ino.Group(), lo, hi, 1, func(_, _ []byte) bool { found = true; return false })
	if err == nil && found {
		return record.NotEmpty
	}
	return err
}

// drop takes one name from an inode (the only one from a directory), and with the last name its life, unless it is open.
func (o *operation) drop(i *node) error {
	o.tx.MakesRoom()
	o.touch(i, false)
	if i.IsDir() {
		i.Nlink = 0
	} else {
		i.Nlink--
	}
	o.p.Ino, o.p.Attr = i.Ino, i.Attr
	if i.Nlink > 0 {
		return nil
	}
	if o.s.opens.total(i.Ino) == 0 && i.Stripes <= o.stripesAtOnce(unlinkStripesMax) {
		return o.erase(i)
	}
	i.Flags |= record.AttrOrphan
	o.p.Attr = i.Attr
	v := record.Orphan{Stripes: i.Stripes}
	o.put(i.Ino.Group(), record.AppendInoKey(o.key[:0], record.KindOrphan, i.Ino), v.Append(o.scratch[:0]))
	o.willOrphan = i.Ino
	return nil
}

// erase removes everything that an inode is.
func (o *operation) erase(i *node) error {
	if _, err := o.cut(i, 0, unlinkStripesMax); err != nil {
		return err
	}
	group := i.Ino.Group()
	if i.Flags&record.AttrInline != 0 && i.Size > 0 {
		o.del(group, record.AppendInoKey(o.key[:0], record.KindData, i.Ino))
	}
	if i.Flags&record.AttrXattr != 0 {
		o.delRange(group, record.AppendInoKey(o.key[:0], record.KindXattr, i.Ino), record.AppendInoEnd(o.end[:0], record.KindXattr, i.Ino))
	}
	if i.Flags&record.AttrOrphan != 0 {
		o.del(group, record.AppendInoKey(o.key[:0], record.KindOrphan, i.Ino))
	}
	i.gone = true
	return nil
}
