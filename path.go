package basalt

import (
	"io/fs"
	"path"
	"strings"

	"basalt/engine"
	"basalt/meta/client"
	"basalt/meta/record"
)

// resolve walks name from the root. It follows symbolic links on the way, and the last one if follow is set. It returns
// the inode; for a last name that is missing, NotFound with the directory and the name in it.
func (x *FS) resolve(f *engine.Fiber, name string, follow bool) (at walk, s record.Status) {
	at = walk{x: x, follow: follow}
	at.stack = append(at.stack, record.RootIno)
	if s = at.run(f, name); s == record.OK && at.found.Attr.Ino == 0 {
		s = x.fs.GetAttr(f, at.here(), &at.found)
	}
	return at, s
}

// walk is a path on its way.
type walk struct {
	x      *FS
	follow bool
	stack  []record.Ino // directories from the root to where we are, so that ".." of a link's target is known
	found  client.Found // what the last name is; nothing: the directory where we are, which nobody has asked about yet
	dir    record.Ino   // the directory of the last name
	base   string       // the last name
	links  int
}

func (w *walk) run(f *engine.Fiber, name string) record.Status {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		last := i == len(parts)-1
		switch part {
		case "", ".":
			continue
		case "..":
			w.up()
			w.found = client.Found{}
			continue
		}
		if s := w.step(f, part, last); s != record.OK {
			if s == record.NotFound && !last {
				w.base = "" // a directory on the way is missing: nothing can be made there
			}
			return s
		}
	}
	return record.OK
}

func (w *walk) here() record.Ino { return w.stack[len(w.stack)-1] }

func (w *walk) up() {
	if len(w.stack) > 1 {
		w.stack = w.stack[:len(w.stack)-1]
	}
}

// step goes to one name of the directory where we are.
func (w *walk) step(f *engine.Fiber, part string, last bool) record.Status {
	w.dir, w.base = w.here(), part
	if s := w.x.fs.Lookup(f, w.dir, part, &w.found); s != record.OK {
		return s
	}
	switch attr := &w.found.Attr; {
	case attr.IsSymlink() && (!last || w.follow):
		s := w.link(f, attr.Ino)
		if s == record.OK && !last && !w.inDirectory() {
			s = record.NotDir
		}
		return s
	case attr.IsDir():
		w.stack = append(w.stack, attr.Ino)
	case !last:
		return record.NotDir
	}
	return record.OK
}

// inDirectory: what was found is the directory where we are.
func (w *walk) inDirectory() bool { return w.found.Attr.Ino == 0 || w.found.Attr.IsDir() }

func (w *walk) link(f *engine.Fiber, ino record.Ino) record.Status {
	if w.links++; w.links > linksMax {
		return record.Loop
	}
	target, s := w.x.fs.Readlink(f, ino)
	if s != record.OK {
		return s
	}
	if strings.HasPrefix(string(target), "/") {
		return record.NotFound // an absolute target means a mount's host, which is not here
	}
	follow := w.follow
	w.follow, w.found = true, client.Found{}
	s = w.run(f, string(target))
	w.follow = follow
	return s
}

// parent resolves the directory of a name that is to be made or removed.
func (x *FS) parent(f *engine.Fiber, name string) (record.Ino, string, record.Status) {
	if name == "." {
		return 0, "", record.Invalid
	}
	dir, base := path.Split(name)
	at := walk{x: x, follow: true, stack: []record.Ino{record.RootIno}}
	s := at.run(f, path.Clean("./"+dir))
	if s == record.OK && !at.inDirectory() {
		s = record.NotDir
	}
	return at.here(), base, s
}

// Stat describes what name leads to.
func (x *FS) Stat(name string) (fs.FileInfo, error) { return x.stat("stat", name, true) }

// Lstat describes name itself, be it a symbolic link.
func (x *FS) Lstat(name string) (fs.FileInfo, error) { return x.stat("lstat", name, false) }

func (x *FS) stat(op, name string, follow bool) (fs.FileInfo, error) {
	var at walk
	err := x.do(op, name, func(f *engine.Fiber) (s record.Status) {
		at, s = x.resolve(f, name, follow)
		return s
	})
	if err != nil {
		return nil, err
	}
	return newInfo(path.Base(name), &at.found.Attr), nil
}

// ReadLink reads a symbolic link.
func (x *FS) ReadLink(name string) (string, error) {
	var target []byte
	err := x.do("readlink", name, func(f *engine.Fiber) record.Status {
		at, s := x.resolve(f, name, false)
		if s != record.OK {
			return s
		}
		if !at.found.Attr.IsSymlink() {
			return record.Invalid
		}
		target, s = x.fs.Readlink(f, at.found.Attr.Ino)
		return s
	})
	return string(target), err
}

// in runs an operation on a name in its directory.
func (x *FS) in(op, name string, fn func(f *engine.Fiber, dir record.Ino, base string) record.Status) error {
	return x.do(op, name, func(f *engine.Fiber) record.Status {
		dir, base, s := x.parent(f, name)
		if s != record.OK {
			return s
		}
		return fn(f, dir, base)
	})
}

func (x *FS) birth(perm fs.FileMode) *client.Birth {
	return &client.Birth{Mode: permBits(perm), UID: x.cfg.UID, GID: x.cfg.GID}
}

// Mkdir makes a directory.
func (x *FS) Mkdir(name string, perm fs.FileMode) error {
	return x.in("mkdir", name, func(f *engine.Fiber, dir record.Ino, base string) record.Status {
		return x.fs.Mkdir(f, dir, base, x.birth(perm), &client.Found{})
	})
}

// Symlink makes a symbolic link at name that leads to target.
func (x *FS) Symlink(target, name string) error {
	return x.in("symlink", name, func(f *engine.Fiber, dir record.Ino, base string) record.Status {
		return x.fs.Symlink(f, dir, base, target, x.birth(0o777), &client.Found{})
	})
}

// Link gives the file at name another name.
func (x *FS) Link(name, newName string) error {
	return x.in("link", newName, func(f *engine.Fiber, dir record.Ino, base string) record.Status {
		at, s := x.resolve(f, name, false)
		if s != record.OK {
			return s
		}
		return x.fs.Link(f, at.found.Attr.Ino, dir, base, &client.Found{})
	})
}

// Remove removes a file, a link or an empty directory.
func (x *FS) Remove(name string) error {
	return x.in("remove", name, func(f *engine.Fiber, dir record.Ino, base string) record.Status {
		s := x.fs.Unlink(f, dir, base)
		if s == record.IsDir {
			s = x.fs.Rmdir(f, dir, base)
		}
		return s
	})
}

// Rename moves a name; a file of the new name is replaced.
func (x *FS) Rename(name, newName string) error {
	if !fs.ValidPath(newName) {
		return &fs.PathError{Op: "rename", Path: newName, Err: fs.ErrInvalid}
	}
	return x.in("rename", name, func(f *engine.Fiber, dir record.Ino, base string) record.Status {
		newDir, newBase, s := x.parent(f, newName)
		if s != record.OK {
			return s
		}
		return x.fs.Rename(f, dir, base, newDir, newBase, 0)
	})
}

// Chmod changes the permission bits.
func (x *FS) Chmod(name string, perm fs.FileMode) error {
	return x.setattr("chmod", name, client.Change{Valid: record.SetMode, Mode: permBits(perm)})
}

// Truncate changes a file's size.
func (x *FS) Truncate(name string, size int64) error {
	if size < 0 {
		return &fs.PathError{Op: "truncate", Path: name, Err: fs.ErrInvalid}
	}
	return x.setattr("truncate", name, client.Change{Valid: record.SetSize, Size: uint64(size)})
}

func (x *FS) setattr(op, name string, c client.Change) error {
	return x.do(op, name, func(f *engine.Fiber) record.Status {
		at, s := x.resolve(f, name, true)
		if s != record.OK {
			return s
		}
		return x.fs.SetAttr(f, at.found.Attr.Ino, &c, &client.Found{})
	})
}
