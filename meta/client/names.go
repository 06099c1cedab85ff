package client

import (
	"basalt/engine"
	"basalt/meta/record"
)

// Found is an inode as the server described it, and for how long that may be believed.
type Found struct {
	Attr   record.Attr
	KeepNs int64
}

// finish takes the attributes out of the answer and frees the request.
func (fs *FS) finish(f *engine.Fiber, o *op, s record.Status, out *Found) record.Status {
	if s == record.OK && o.p.Attr.Ino == 0 {
		s = record.Corrupt // the server owes them
	}
	if s == record.OK && out != nil {
		out.Attr, out.KeepNs = o.p.Attr, fs.Keep(f, o.sent)
	}
	fs.put(o)
	return s
}

// Lookup finds a name. NotFound leaves in out.KeepNs for how long its absence may be believed.
func (fs *FS) Lookup(f *engine.Fiber, dir record.Ino, name string, out *Found) record.Status {
	o := fs.take(f, record.OpLookup)
	o.q.Dir, o.q.Name = dir, []byte(name)
	s := fs.call(f, o, nil, nil)
	if s == record.NotFound {
		out.KeepNs = fs.Keep(f, o.sent)
	}
	return fs.finish(f, o, s, out)
}

// GetAttr is stat.
func (fs *FS) GetAttr(f *engine.Fiber, ino record.Ino, out *Found) record.Status {
	o := fs.take(f, record.OpGetAttr)
	o.q.Ino = ino
	return fs.finish(f, o, fs.call(f, o, nil, nil), out)
}

// Change is what SetAttr is to change; Valid and Flags as in record.Request.
type Change struct {
	Valid, Flags   uint32
	Mode, UID, GID uint32
	Size           uint64
	Atime, Mtime   int64
}

// SetAttr is chmod, chown, truncate and utimes.
func (fs *FS) SetAttr(f *engine.Fiber, ino record.Ino, c *Change, out *Found) record.Status {
	o := fs.take(f, record.OpSetAttr)
	q := &o.q
	q.Ino, q.Valid, q.Flags = ino, c.Valid, c.Flags
	q.Mode, q.UID, q.GID, q.Size, q.Atime, q.Mtime = c.Mode, c.UID, c.GID, c.Size, c.Atime, c.Mtime
	return fs.finish(f, o, fs.call(f, o, nil, nil), out)
}

// Birth is what a new inode starts with.
type Birth struct {
	Mode, UID, GID, Rdev uint32
	Flags                uint32 // for Create
}

func (fs *FS) born(f *engine.Fiber, kind record.Op, dir record.Ino, name string, b *Birth) *op {
	o := fs.take(f, kind)
	q := &o.q
	q.Dir, q.Name = dir, []byte(name)
	q.Mode, q.UID, q.GID, q.Rdev, q.Flags = b.Mode, b.UID, b.GID, b.Rdev, b.Flags
	return o
}

// Create makes a regular file, or finds one if Flags do not say Excl, and opens it.
func (fs *FS) Create(f *engine.Fiber, dir record.Ino, name string, b *Birth, out *Found) (created bool, s record.Status) {
	o := fs.born(f, record.OpCreate, dir, name, b)
	s = fs.call(f, o, nil, nil)
	created = o.p.Flags&record.ReplyCreated != 0
	if s == record.OK && b.Flags&record.FlagNoOpen == 0 {
		fs.opens.add(o.p.Attr.Ino, 1)
	}
	return created, fs.finish(f, o, s, out)
}

// Mknod makes an inode of any kind but a directory or a link.
func (fs *FS) Mknod(f *engine.Fiber, dir record.Ino, name string, b *Birth, out *Found) record.Status {
	o := fs.born(f, record.OpMknod, dir, name, b)
	return fs.finish(f, o, fs.call(f, o, nil, nil), out)
}

// Mkdir makes a directory.
func (fs *FS) Mkdir(f *engine.Fiber, dir record.Ino, name string, b *Birth, out *Found) record.Status {
	o := fs.born(f, record.OpMkdir, dir, name, b)
	return fs.finish(f, o, fs.call(f, o, nil, nil), out)
}

// Symlink makes a symbolic link.
func (fs *FS) Symlink(f *engine.Fiber, dir record.Ino, name, target string, b *Birth, out *Found) record.Status {
	o := fs.born(f, record.OpSymlink, dir, name, b)
	o.q.Value = []byte(target)
	return fs.finish(f, o, fs.call(f, o, nil, nil), out)
}

// Readlink reads one.
func (fs *FS) Readlink(f *engine.Fiber, ino record.Ino) ([]byte, record.Status) {
	o := fs.take(f, record.OpReadlink)
	o.q.Ino = ino
	return fs.value(o, fs.call(f, o, nil, nil))
}

// value copies the answer's value and frees the request.
func (fs *FS) value(o *op, s record.Status) ([]byte, record.Status) {
	var v []byte
	if s == record.OK {
		v = append(make([]byte, 0, len(o.p.Value)), o.p.Value...)
	}
	fs.put(o)
	return v, s
}

// Link gives an inode another name.
func (fs *FS) Link(f *engine.Fiber, ino, dir record.Ino, name string, out *Found) record.Status {
	o := fs.take(f, record.OpLink)
	o.q.Ino, o.q.Dir, o.q.Name = ino, dir, []byte(name)
	return fs.finish(f, o, fs.call(f, o, nil, nil), out)
}

// Unlink removes a name of anything but a directory.
func (fs *FS) Unlink(f *engine.Fiber, dir record.Ino, name string) record.Status {
	return fs.remove(f, record.OpUnlink, dir, name)
}

// Rmdir removes an empty directory.
func (fs *FS) Rmdir(f *engine.Fiber, dir record.Ino, name string) record.Status {
	return fs.remove(f, record.OpRmdir, dir, name)
}

func (fs *FS) remove(f *engine.Fiber, kind record.Op, dir record.Ino, name string) record.Status {
	o := fs.take(f, kind)
	o.q.Dir, o.q.Name = dir, []byte(name)
	s := fs.call(f, o, nil, nil)
	fs.put(o)
	return s
}

// Rename moves a name; flags are NoReplace or Exchange.
func (fs *FS) Rename(f *engine.Fiber, dir record.Ino, name string, newDir record.Ino, newName string, flags uint32) record.Status {
	o := fs.take(f, record.OpRename)
	o.q.Dir, o.q.Name, o.q.NewDir, o.q.NewName, o.q.Flags = dir, []byte(name), newDir, []byte(newName), flags
	s := fs.call(f, o, nil, nil)
	fs.put(o)
	return s
}

// StatFs describes the file system.
func (fs *FS) StatFs(f *engine.Fiber, out *record.StatFs) record.Status {
	o := fs.take(f, record.OpStatFs)
	s := fs.call(f, o, nil, nil)
	if s == record.OK && out.Decode(o.p.Value) != nil {
		s = record.Corrupt
	}
	fs.put(o)
	return s
}

// SetXattr sets an extended attribute; flags are Create or Replace.
func (fs *FS) SetXattr(f *engine.Fiber, ino record.Ino, name string, value []byte, flags uint32) record.Status {
	if len(value) > record.ValueMax {
		return record.ValueTooBig
	}
	o := fs.take(f, record.OpSetXattr)
	o.q.Ino, o.q.Name, o.q.Value, o.q.Flags = ino, []byte(name), value, flags
	s := fs.call(f, o, nil, nil)
	fs.put(o)
	return s
}

// GetXattr reads one; the value is the caller's.
func (fs *FS) GetXattr(f *engine.Fiber, ino record.Ino, name string) ([]byte, record.Status) {
	o := fs.take(f, record.OpGetXattr)
	o.q.Ino, o.q.Name = ino, []byte(name)
	return fs.value(o, fs.call(f, o, nil, nil))
}

// ListXattr lists the names, each ended by NUL.
func (fs *FS) ListXattr(f *engine.Fiber, ino record.Ino) ([]byte, record.Status) {
	o := fs.take(f, record.OpListXattr)
	o.q.Ino = ino
	return fs.value(o, fs.call(f, o, nil, nil))
}

// RemoveXattr removes one.
func (fs *FS) RemoveXattr(f *engine.Fiber, ino record.Ino, name string) record.Status {
	o := fs.take(f, record.OpRemoveXattr)
	o.q.Ino, o.q.Name = ino, []byte(name)
	s := fs.call(f, o, nil, nil)
	fs.put(o)
	return s
}
