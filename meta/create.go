package meta

import "basalt/meta/record"

// born makes a new inode in a group; it has no name yet.
func (o *operation) born(d *node, group uint16, mode uint32) (*node, error) {
	ino, err := o.allocate(group)
	if err != nil {
		return nil, err
	}
	i := o.slot()
	i.Attr = record.Attr{Ino: ino, Mode: mode & (record.ModeType | record.ModePerm), Nlink: 1, UID: o.q.UID, GID: o.q.GID,
		Atime: o.nowNs, Btime: o.nowNs, Flags: record.AttrInline}
	// In a directory with setgid, what is new belongs to the directory's group, and a new directory passes that on.
	if d.Mode&record.ModeSetGID != 0 {
		i.GID = d.GID
		if i.IsDir() {
			i.Mode |= record.ModeSetGID
		}
	}
	o.touch(i, true)
	return i, nil
}

// named gives a new inode its first name.
func (o *operation) named(d, i *node, name []byte) {
	o.enter(d, name, i)
	d.Size++
	if i.IsDir() {
		i.Parent, i.Nlink, i.Name = d.Ino, 2, name
		d.Nlink++
	}
	o.touch(d, true)
	o.p.Attr = i.Attr
	o.p.Flags |= record.ReplyCreated
}

func (o *operation) create() error {
	d, err := o.free(o.q.Dir, o.q.Name)
	if err == record.Exists && o.q.Flags&record.FlagExcl == 0 && !isDots(o.q.Name) {
		return o.createOver()
	}
	if err != nil {
		return err
	}
	i, err := o.born(d, d.Ino.Group(), record.ModeRegular|o.q.Mode&record.ModePerm)
	if err != nil {
		return err
	}
	o.named(d, i, o.q.Name)
	return o.mayOpen(i)
}

// createOver is a create that finds the file there: it becomes an open.
func (o *operation) createOver() error {
	_, i, err := o.existing(o.q.Dir, o.q.Name)
	switch {
	case err != nil:
		return err
	case i.IsDir():
		return record.IsDir
	case !i.IsRegular():
		return record.Exists
	}
	if o.q.Flags&record.FlagTrunc != 0 {
		if err := o.resize(i, 0); err != nil {
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
	return o.mayOpen(i)
}

// mayOpen lets settle count the open that comes with a create.
func (o *operation) mayOpen(i *node) error {
	if o.q.Flags&record.FlagNoOpen != 0 || o.again {
		return nil
	}
	return o.open(i)
}

func (o *operation) mknod() error {
	switch o.q.Mode & record.ModeType {
	case record.ModeRegular, record.ModeFifo, record.ModeSocket, record.ModeChar, record.ModeBlock:
	case record.ModeDir, record.ModeSymlink:
		return record.Permission
	default:
		return record.Invalid
	}
	d, err := o.free(o.q.Dir, o.q.Name)
	if err != nil {
		return err
	}
	i, err := o.born(d, d.Ino.Group(), o.q.Mode)
	if err != nil {
		return err
	}
	if t := i.Mode & record.ModeType; t == record.ModeChar || t == record.ModeBlock {
		i.Rdev = o.q.Rdev
	}
	o.named(d, i, o.q.Name)
	return nil
}

func (o *operation) mkdir() error {
	d, err := o.free(o.q.Dir, o.q.Name)
	if err != nil {
		return err
	}
	group := record.DirGroup(o.s.fs.Seed, d.Ino, o.q.Name, o.s.fs.Groups)
	i, err := o.born(d, group, record.ModeDir|o.q.Mode&record.ModePerm)
	if err != nil {
		return err
	}
	i.Flags = 0
	o.named(d, i, o.q.Name)
	return nil
}

func (o *operation) symlink() error {
	target := o.q.Value
	switch {
	case len(target) == 0:
		return record.NotFound
	case len(target) > record.SymlinkMax:
		return record.TooLong
	}
	d, err := o.free(o.q.Dir, o.q.Name)
	if err != nil {
		return err
	}
	i, err := o.born(d, d.Ino.Group(), record.ModeSymlink|0o777)
	if err != nil {
		return err
	}
	i.Size = uint64(len(target))
	o.put(i.Ino.Group(), record.AppendInoKey(o.key[:0], record.KindData, i.Ino), target)
	o.named(d, i, o.q.Name)
	return nil
}
