// Package nullfs is a file system in memory that does as little as a file system can: what remains when it is mounted is the cost of the
// transport, the floor of every mount. Benchmarks compare against it, and the tests of the transports run on it.
//
// State: one FS is shared by all columns of its mount and guarded by mu, which is never held across a suspension because nothing here
// suspends. A node's number is its place in nothing: a map.
//
// Invariants: what was written is read back if Keep is set; else data is counted and zeros are read.
//
// Locks: mu only.
//
// Survives: nothing, it is memory.
//
// Read this file, then data.go.
package nullfs

import (
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

const nameMax = 255 // the kernel lets longer ones through

// FS is the file system. It implements fuse.RawFileSystem.
type FS struct {
	fuse.RawFileSystem // answers ENOSYS to the rest

	keep    bool          // immutable: store data
	timeout time.Duration // immutable: how long the kernel may keep what it learns

	mu    sync.RWMutex
	next  uint64
	nodes map[uint64]*node
}

type node struct {
	ino    uint64
	mode   uint32
	links  uint32
	uid    uint32
	gid    uint32
	size   uint64
	mtime  time.Time
	data   []byte
	target string
	kids   map[string]*node
	listed []string // names as of the last READDIR from the start
}

// New makes an empty file system. keep: store what is written. timeout: for how long the kernel may cache names and attributes.
func New(keep bool, timeout time.Duration) *FS {
	f := &FS{RawFileSystem: fuse.NewDefaultRawFileSystem(), keep: keep, timeout: timeout, next: 1, nodes: map[uint64]*node{}}
	f.nodes[1] = &node{ino: 1, mode: syscall.S_IFDIR | 0o777, links: 2, kids: map[string]*node{}, mtime: time.Unix(1, 0)}
	return f
}

// String names it for the decoder.
func (f *FS) String() string { return "nullfs" }

func (n *node) attr(a *fuse.Attr) {
	a.Ino, a.Mode, a.Size, a.Nlink, a.Uid, a.Gid = n.ino, n.mode, n.size, n.links, n.uid, n.gid
	a.Blocks, a.Blksize = (n.size+511)/512, 4096
	a.SetTimes(&n.mtime, &n.mtime, &n.mtime)
}

func (f *FS) entry(n *node, e *fuse.EntryOut) {
	e.NodeId, e.Generation = n.ino, 1
	e.SetEntryTimeout(f.timeout)
	e.SetAttrTimeout(f.timeout)
	n.attr(&e.Attr)
}

// Lookup finds a name; an absent one may be remembered by the kernel too.
func (f *FS) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	f.mu.RLock()
	defer f.mu.RUnlock()
	d := f.nodes[h.NodeId]
	switch {
	case d == nil:
		return fuse.Status(syscall.ESTALE)
	case len(name) > nameMax:
		return fuse.Status(syscall.ENAMETOOLONG)
	}
	k := d.kids[name]
	if k == nil {
		out.SetEntryTimeout(f.timeout)
		return fuse.OK
	}
	f.entry(k, out)
	return fuse.OK
}

// Forget keeps nothing to forget.
func (f *FS) Forget(uint64, uint64) {}

// GetAttr is stat.
func (f *FS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n := f.nodes[in.NodeId]
	if n == nil {
		return fuse.Status(syscall.ESTALE)
	}
	out.SetTimeout(f.timeout)
	n.attr(&out.Attr)
	return fuse.OK
}

// SetAttr changes mode, owner, size and time.
func (f *FS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[in.NodeId]
	if n == nil {
		return fuse.Status(syscall.ESTALE)
	}
	if s, ok := in.GetSize(); ok {
		f.resize(n, s)
	}
	if m, ok := in.GetMode(); ok {
		n.mode = n.mode&syscall.S_IFMT | m
	}
	if u, ok := in.GetUID(); ok {
		n.uid = u
	}
	if g, ok := in.GetGID(); ok {
		n.gid = g
	}
	if t, ok := in.GetMTime(); ok {
		n.mtime = t
	}
	out.SetTimeout(f.timeout)
	n.attr(&out.Attr)
	return fuse.OK
}

// make adds a name; the caller holds mu.
func (f *FS) makeLocked(h *fuse.InHeader, name string, mode uint32) (*node, fuse.Status) {
	d := f.nodes[h.NodeId]
	switch {
	case d == nil || d.kids == nil:
		return nil, fuse.ENOTDIR
	case d.kids[name] != nil:
		return nil, fuse.Status(syscall.EEXIST)
	}
	f.next++
	n := &node{ino: f.next, mode: mode, links: 1, uid: h.Uid, gid: h.Gid, mtime: d.mtime}
	if mode&syscall.S_IFMT == syscall.S_IFDIR {
		n.kids, n.links = map[string]*node{}, 2
	}
	f.nodes[n.ino] = n
	d.kids[name] = n
	return n, fuse.OK
}

// Mkdir makes a directory.
func (f *FS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, status := f.makeLocked(&in.InHeader, name, syscall.S_IFDIR|in.Mode)
	if status.Ok() {
		f.entry(n, out)
	}
	return status
}

// Symlink makes a symbolic link.
func (f *FS) Symlink(_ <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, status := f.makeLocked(h, name, syscall.S_IFLNK|0o777)
	if status.Ok() {
		n.target, n.size = target, uint64(len(target))
		f.entry(n, out)
	}
	return status
}

// Readlink reads it.
func (f *FS) Readlink(_ <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if n := f.nodes[h.NodeId]; n != nil {
		return []byte(n.target), fuse.OK
	}
	return nil, fuse.Status(syscall.ESTALE)
}

// Create makes and opens a file.
func (f *FS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, status := f.makeLocked(&in.InHeader, name, syscall.S_IFREG|in.Mode)
	if status.Ok() {
		f.entry(n, &out.EntryOut)
	}
	return status
}

// Unlink removes a name.
func (f *FS) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.nodes[h.NodeId]
	if d == nil || d.kids[name] == nil {
		return fuse.ENOENT
	}
	d.kids[name].links--
	delete(d.kids, name)
	return fuse.OK
}

// Rmdir removes an empty directory.
func (f *FS) Rmdir(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	f.mu.RLock()
	d := f.nodes[h.NodeId]
	full := d != nil && d.kids[name] != nil && len(d.kids[name].kids) > 0
	f.mu.RUnlock()
	if full {
		return fuse.Status(syscall.ENOTEMPTY)
	}
	return f.Unlink(cancel, h, name)
}

// Rename moves a name, over another if there is one.
func (f *FS) Rename(_ <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, b := f.nodes[in.NodeId], f.nodes[in.Newdir]
	if a == nil || b == nil || a.kids[from] == nil {
		return fuse.ENOENT
	}
	n := a.kids[from]
	delete(a.kids, from)
	b.kids[to] = n
	return fuse.OK
}

// StatFs invents numbers.
func (f *FS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.Frsize, out.NameLen = 4096, 4096, nameMax
	out.Blocks, out.Bfree, out.Bavail = 1<<30, 1<<30, 1<<30
	return fuse.OK
}

// GetXAttr says that there are none, for good.
func (f *FS) GetXAttr(<-chan struct{}, *fuse.InHeader, string, []byte) (uint32, fuse.Status) {
	return 0, fuse.ENOSYS
}
