package basalt

import (
	"io/fs"
	"time"

	"basalt/meta/record"
)

// info is a fs.FileInfo and, without attributes of its own, good enough for a fs.DirEntry.
type info struct {
	name string
	attr record.Attr
}

func newInfo(name string, attr *record.Attr) *info { return &info{name: name, attr: *attr} }

func (i *info) Name() string               { return i.name }
func (i *info) Size() int64                { return int64(i.attr.Size) }
func (i *info) Mode() fs.FileMode          { return fileMode(i.attr.Mode) }
func (i *info) Type() fs.FileMode          { return i.Mode().Type() }
func (i *info) ModTime() time.Time         { return time.Unix(0, i.attr.Mtime) }
func (i *info) IsDir() bool                { return i.attr.IsDir() }
func (i *info) Info() (fs.FileInfo, error) { return i, nil }
func (i *info) String() string             { return fs.FormatFileInfo(i) }

// Sys is the *record.Attr: inode number, owner, links, all times.
func (i *info) Sys() any { return &i.attr }

// modes pairs the bits of the record with those of io/fs.
var modes = []struct {
	record uint32
	fs     fs.FileMode
}{
	{record.ModeDir, fs.ModeDir},
	{record.ModeSymlink, fs.ModeSymlink},
	{record.ModeFifo, fs.ModeNamedPipe},
	{record.ModeSocket, fs.ModeSocket},
	{record.ModeChar, fs.ModeDevice | fs.ModeCharDevice},
	{record.ModeBlock, fs.ModeDevice},
}

const (
	setuid = 0o4000
	setgid = 0o2000
	sticky = 0o1000
)

func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for _, pair := range modes {
		if mode&record.ModeType == pair.record {
			m |= pair.fs
		}
	}
	for bit, flag := range map[uint32]fs.FileMode{setuid: fs.ModeSetuid, setgid: fs.ModeSetgid, sticky: fs.ModeSticky} {
		if mode&bit != 0 {
			m |= flag
		}
	}
	return m
}

func permBits(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	for bit, flag := range map[uint32]fs.FileMode{setuid: fs.ModeSetuid, setgid: fs.ModeSetgid, sticky: fs.ModeSticky} {
		if m&flag != 0 {
			mode |= bit
		}
	}
	return mode
}
