package fuse

import (
	"math"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"basalt/engine"
	"basalt/meta/client"
	"basalt/meta/record"
)

// files is the file system of one column as the decoder calls it. A method runs in the fiber of its request; the fiber is the one that is
// current on the column's reactor. A node's number is its inode number, which is never used again, so generations are always 1.
type files struct {
	fuse.RawFileSystem // answers ENOSYS to what is not here

	// immutable once mounted
	reactor *engine.Reactor
	fs      *client.FS
	mounted *Mounted
	index   int

	// owned by the loop
	known     lookups
	crossings map[*engine.Fiber]*crossing // by the fiber that waits here
}

const generation = 1

// String names it for the decoder.
func (v *files) String() string { return "basalt" }

func (v *files) fiber() *engine.Fiber { return v.reactor.Current() }

// entry fills what a name's reply needs, and counts the kernel's reference. It must be the last thing before the reply: nothing may fail
// behind it, or the kernel's count would be lower than ours.
func (v *files) entry(found *client.Found, out *fuse.EntryOut) {
	a := &found.Attr
	out.NodeId, out.Generation = uint64(a.Ino), generation
	keep := time.Duration(found.KeepNs)
	out.SetAttrTimeout(keep)
	if v.mounted.names {
		out.SetEntryTimeout(keep)
	}
	attr(a, &out.Attr)
	v.known.add(uint64(a.Ino), a.Flags&record.AttrXattr == 0)
}

func attr(a *record.Attr, out *fuse.Attr) {
	out.Ino, out.Size, out.Blocks = uint64(a.Ino), a.Size, a.Blocks
	out.Mode, out.Nlink, out.Rdev, out.Blksize = a.Mode, a.Nlink, a.Rdev, blockSize
	out.Uid, out.Gid = a.UID, a.GID
	out.Atime, out.Atimensec = instant(a.Atime)
	out.Mtime, out.Mtimensec = instant(a.Mtime)
	out.Ctime, out.Ctimensec = instant(a.Ctime)
}

const blockSize = 4096

// instant splits a time; before 1970 the seconds are negative and the nanoseconds still count up.
func instant(ns int64) (sec uint64, nsec uint32) {
	s, n := ns/1e9, ns%1e9
	if n < 0 {
		s, n = s-1, n+1e9
	}
	return uint64(s), uint32(n)
}

// nanos is the inverse. What 64 bits of nanoseconds can't hold (before 1677, after 2262) becomes the nearest that they can, as other file
// systems do with what their inodes can't hold.
func nanos(sec uint64, nsec uint32) int64 {
	const most = math.MaxInt64/1_000_000_000 - 1
	return min(max(int64(sec), -most), most)*1e9 + int64(nsec)
}

// Lookup finds a name. That there is none may be remembered too, as a reply without a node.
func (v *files) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	var found client.Found
	s := v.fs.Lookup(v.fiber(), record.Ino(h.NodeId), name, &found)
	switch {
	case s == record.OK:
		v.entry(&found, out)
	case s == record.NotFound && found.KeepNs > 0 && v.mounted.names:
		out.SetEntryTimeout(time.Duration(found.KeepNs))
		return fuse.OK
	}
	return toErrno(s)
}

// GetAttr is stat.
func (v *files) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	var found client.Found
	s := v.fs.GetAttr(v.fiber(), record.Ino(in.NodeId), &found)
	return v.attrs(s, &found, out)
}

func (v *files) attrs(s record.Status, found *client.Found, out *fuse.AttrOut) fuse.Status {
	if s == record.OK {
		out.SetTimeout(time.Duration(found.KeepNs))
		attr(&found.Attr, &out.Attr)
	}
	return toErrno(s)
}

// SetAttr is chmod, chown, truncate and utimes.
func (v *files) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	c := client.Change{Mode: in.Mode & record.ModePerm, UID: in.Uid, GID: in.Gid, Size: in.Size,
		Atime: nanos(in.Atime, in.Atimensec), Mtime: nanos(in.Mtime, in.Mtimensec)}
	for _, m := range setattrBits {
		if in.Valid&m.kernel != 0 {
			c.Valid |= m.ours
		}
	}
	if c.Valid&record.SetAtimeNow != 0 {
		c.Valid, c.Atime = c.Valid&^record.SetAtime, 0
	}
	if c.Valid&record.SetMtimeNow != 0 {
		c.Valid, c.Mtime = c.Valid&^record.SetMtime, 0
	}
	if in.Valid&fuse.FATTR_KILL_SUIDGID != 0 {
		c.Flags |= record.FlagKillPriv
	}
	var found client.Found
	s := v.fs.SetAttr(v.fiber(), record.Ino(in.NodeId), &c, &found)
	return v.attrs(s, &found, out)
}

var setattrBits = []struct{ kernel, ours uint32 }{
	{fuse.FATTR_MODE, record.SetMode}, {fuse.FATTR_UID, record.SetUID}, {fuse.FATTR_GID, record.SetGID},
	{fuse.FATTR_SIZE, record.SetSize}, {fuse.FATTR_ATIME, record.SetAtime}, {fuse.FATTR_MTIME, record.SetMtime},
	{fuse.FATTR_ATIME_NOW, record.SetAtimeNow}, {fuse.FATTR_MTIME_NOW, record.SetMtimeNow},
}

// StatFs is statfs.
func (v *files) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	var st record.StatFs
	s := v.fs.StatFs(v.fiber(), &st)
	if s == record.OK {
		out.Bsize, out.Frsize, out.NameLen = st.BlockSize, st.BlockSize, st.NameMax
		out.Blocks, out.Bfree, out.Bavail = st.Blocks, st.Free, st.Avail
		out.Files, out.Ffree = st.Files, st.FilesFree
	}
	return toErrno(s)
}

// Access is the kernel's business (default_permissions).
func (v *files) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.ENOSYS }
