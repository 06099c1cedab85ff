package meta

import (
	"bytes"

	"basalt/meta/record"
)

// checkName refuses what can't be a name of an entry.
func checkName(name []byte) error {
	switch {
	case len(name) == 0:
		return record.Invalid
	case len(name) > record.NameMax:
		return record.TooLong
	case bytes.IndexByte(name, '/') >= 0 || bytes.IndexByte(name, 0) >= 0:
		return record.Invalid
	}
	return nil
}

// isDots tells "." and "..", which every directory has and nobody can change.
func isDots(name []byte) bool {
	return len(name) == 1 && name[0] == '.' || len(name) == 2 && name[0] == '.' && name[1] == '.'
}

func (o *operation) dentryKey(dir record.Ino, name []byte) []byte {
	return record.AppendDentryKey(o.key[:0], dir, record.NameHash(o.s.fs.Seed, name), name)
}

// entry reads the entry of a name; record.NotFound if there is none.
func (o *operation) entry(dir record.Ino, name []byte) (d record.Dentry, err error) {
	val, err := o.get(dir.Group(), o.dentryKey(dir, name))
	if err != nil {
		return d, err
	}
	return d, d.Decode(val)
}

// free makes sure that a name can be made in a directory: it returns the directory.
func (o *operation) free(dir record.Ino, name []byte) (*node, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	d, err := o.dir(dir)
	if err != nil {
		return nil, err
	}
	if isDots(name) {
		return nil, record.Exists
	}
	switch _, err := o.entry(dir, name); err {
	case nil:
		return nil, record.Exists
	case record.NotFound:
		return d, nil
	default:
		return nil, err
	}
}

// existing finds an entry that can be changed, its directory and its inode. If only the entry is missing, it returns the directory with
// record.NotFound.
func (o *operation) existing(dir record.Ino, name []byte) (d, i *node, err error) {
	if err := checkName(name); err != nil {
		return nil, nil, err
	}
	if d, err = o.dir(dir); err != nil {
		return nil, nil, err
	}
	if isDots(name) {
		return nil, nil, record.Invalid
	}
	e, err := o.entry(dir, name)
	if err != nil {
		return d, nil, err
	}
	i, err = o.inode(e.Ino)
	if err == record.NotFound {
		err = &record.CorruptError{What: "dentry without inode", Want: uint64(e.Ino)}
	}
	return d, i, err
}

// enter writes an entry. The caller counts: entries and subdirectories of d, links of i.
func (o *operation) enter(d *node, name []byte, i *node) {
	e := record.Dentry{Ino: i.Ino, Type: i.Mode & record.ModeType}
	if o.sess != nil {
		e.Session, e.Request = o.sess.id, o.reqid
	}
	o.put(d.Ino.Group(), o.dentryKey(d.Ino, name), e.Append(o.scratch[:0]))
}

// leave deletes an entry. The caller counts.
func (o *operation) leave(d *node, name []byte) {
	o.del(d.Ino.Group(), o.dentryKey(d.Ino, name))
}

// lookup answers with the inode of a name, "." and ".." included.
func (o *operation) lookup() error {
	name := o.q.Name
	if err := checkName(name); err != nil {
		return err
	}
	d, err := o.inode(o.q.Dir)
	if err != nil {
		return err
	}
	if !d.IsDir() {
		return record.NotDir
	}
	ino := d.Ino
	switch {
	case len(name) == 2 && isDots(name):
		ino = d.Parent
	case !isDots(name):
		e, err := o.entry(d.Ino, name)
		if err != nil {
			return err
		}
		ino = e.Ino
	}
	i, err := o.inode(ino)
	if err != nil {
		return err
	}
	o.p.Attr = i.Attr
	return nil
}

func (o *operation) getattr() error {
	i, err := o.inode(o.q.Ino)
	if err != nil {
		return err
	}
	o.p.Attr = i.Attr
	return nil
}

func (o *operation) readlink() error {
	i, err := o.inode(o.q.Ino)
	if err != nil {
		return err
	}
	if !i.IsSymlink() {
		return record.Invalid
	}
	val, err := o.get(i.Ino.Group(), record.AppendInoKey(o.key[:0], record.KindData, i.Ino))
	if err == record.NotFound || err == nil && uint64(len(val)) != i.Size {
		return &record.CorruptError{What: "symlink target", Want: i.Size, Got: uint64(len(val))}
	}
	o.p.Value = append(o.p.Value, val...)
	return err
}
