package fuse

import (
	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"

	"basalt/meta/client"
	"basalt/meta/record"
)

// made finishes an operation that returns a new or another name of an inode.
func (v *files) made(s record.Status, found *client.Found, out *fuse.EntryOut) fuse.Status {
	if s == record.OK {
		v.entry(found, out)
	}
	return toErrno(s)
}

// Mknod makes a file of any kind but a directory.
func (v *files) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	var found client.Found
	b := client.Birth{Mode: in.Mode, UID: in.Uid, GID: in.Gid, Rdev: in.Rdev}
	s := v.fs.Mknod(v.fiber(), record.Ino(in.NodeId), name, &b, &found)
	return v.made(s, &found, out)
}

// Mkdir makes a directory.
func (v *files) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	var found client.Found
	b := client.Birth{Mode: in.Mode & record.ModePerm, UID: in.Uid, GID: in.Gid}
	s := v.fs.Mkdir(v.fiber(), record.Ino(in.NodeId), name, &b, &found)
	return v.made(s, &found, out)
}

// Symlink makes a symbolic link.
func (v *files) Symlink(_ <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	var found client.Found
	b := client.Birth{UID: h.Uid, GID: h.Gid}
	s := v.fs.Symlink(v.fiber(), record.Ino(h.NodeId), name, target, &b, &found)
	return v.made(s, &found, out)
}

// Link gives an inode another name.
func (v *files) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	var found client.Found
	s := v.fs.Link(v.fiber(), record.Ino(in.Oldnodeid), record.Ino(in.NodeId), name, &found)
	return v.made(s, &found, out)
}

// Readlink reads a symbolic link.
func (v *files) Readlink(_ <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	target, s := v.fs.Readlink(v.fiber(), record.Ino(h.NodeId))
	return target, toErrno(s)
}

// Unlink removes a name.
func (v *files) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return toErrno(v.fs.Unlink(v.fiber(), record.Ino(h.NodeId), name))
}

// Rmdir removes an empty directory.
func (v *files) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return toErrno(v.fs.Rmdir(v.fiber(), record.Ino(h.NodeId), name))
}

// Rename moves a name.
func (v *files) Rename(_ <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	var flags uint32
	switch in.Flags {
	case 0:
	case unix.RENAME_NOREPLACE:
		flags = record.FlagNoReplace
	case unix.RENAME_EXCHANGE:
		flags = record.FlagExchange
	default:
		return fuse.EINVAL
	}
	return toErrno(v.fs.Rename(v.fiber(), record.Ino(in.NodeId), from, record.Ino(in.Newdir), to, flags))
}
