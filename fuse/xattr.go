package fuse

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"

	"basalt/meta/record"
)

// There are no access control lists yet: programs that ask are told so without a round trip.
func isACL(name string) bool { return strings.HasPrefix(name, "system.posix_acl_") }

// The kernel asks for a file's capabilities before the first write to it, which for small files is one request in five. Under the grant only this
// mount can have set any; so a file that had no extended attributes when it was last seen has no capabilities, unless somebody set one through
// this mount since.
const capability = "security.capability"

func (v *files) incapable(node uint64) bool {
	return v.fs.Granted() && !v.mounted.capable.Load() && v.known.plain(node)
}

// GetXAttr reads an extended attribute, or its size if dest is empty.
func (v *files) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if isACL(name) {
		return 0, fuse.ENOTSUP
	}
	if name == capability && v.incapable(h.NodeId) {
		return 0, fuse.ENODATA
	}
	value, s := v.fs.GetXattr(v.fiber(), record.Ino(h.NodeId), name)
	return deliver(value, s, dest)
}

// ListXAttr lists the names, or the size of the list if dest is empty.
func (v *files) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	list, s := v.fs.ListXattr(v.fiber(), record.Ino(h.NodeId))
	return deliver(list, s, dest)
}

func deliver(value []byte, s record.Status, dest []byte) (uint32, fuse.Status) {
	switch {
	case s != record.OK:
		return 0, toErrno(s)
	case len(dest) > 0 && len(dest) < len(value):
		return uint32(len(value)), fuse.ERANGE
	}
	copy(dest, value)
	return uint32(len(value)), fuse.OK
}

// SetXAttr sets an extended attribute.
func (v *files) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, name string, value []byte) fuse.Status {
	if isACL(name) {
		return fuse.ENOTSUP
	}
	if name == capability {
		v.mounted.capable.Store(true)
	}
	var flags uint32
	switch in.Flags {
	case 0:
	case unix.XATTR_CREATE:
		flags = record.FlagCreate
	case unix.XATTR_REPLACE:
		flags = record.FlagReplace
	default:
		return fuse.EINVAL
	}
	return toErrno(v.fs.SetXattr(v.fiber(), record.Ino(in.NodeId), name, value[:min(len(value), int(in.Size))], flags))
}

// RemoveXAttr removes one.
func (v *files) RemoveXAttr(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	if isACL(name) {
		return fuse.ENOTSUP
	}
	return toErrno(v.fs.RemoveXattr(v.fiber(), record.Ino(h.NodeId), name))
}
