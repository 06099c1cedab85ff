package fuse

import (
	"github.com/hanwen/go-fuse/v2/fuse"

	"basalt/engine"
	"basalt/meta/client"
	"basalt/meta/record"
)

// OpenDir opens a directory on this column.
func (v *files) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	h, s := v.fs.OpenDir(v.fiber(), record.Ino(in.NodeId))
	if s == record.OK {
		out.Fh = dirHandle(v.index, h)
	}
	return toErrno(s)
}

// ReleaseDir closes it.
func (v *files) ReleaseDir(in *fuse.ReleaseIn) {
	v.at(in.Fh, func(f *engine.Fiber, w *files) record.Status {
		return w.fs.ReleaseDir(f, client.DirHandle(uint32(in.Fh)))
	})
}

// ReadDir lists names.
func (v *files) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return v.list(in, false, func(_ *files, e *record.Entry, _ int64) bool {
		return out.AddDirEntry(fuse.DirEntry{Name: string(e.Name), Mode: e.Type, Ino: uint64(e.Ino), Off: e.Cookie})
	})
}

// ReadDirPlus lists names with attributes. An entry without (the dots, or an inode that went away meanwhile) gets no node: the kernel
// then only lists the name.
func (v *files) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return v.list(in, true, func(w *files, e *record.Entry, keepNs int64) bool {
		o := out.AddDirLookupEntry(fuse.DirEntry{Name: string(e.Name), Mode: e.Type, Ino: uint64(e.Ino), Off: e.Cookie})
		if o == nil {
			return false
		}
		if e.Attr.Ino != 0 && e.Cookie > record.CookieDotDot {
			w.entry(&client.Found{Attr: e.Attr, KeepNs: keepNs}, o)
		}
		return true
	})
}

// list runs on the handle's column, where the page is; take fills the reply, which the waiting fiber has lent.
func (v *files) list(in *fuse.ReadIn, plus bool, take func(w *files, e *record.Entry, keepNs int64) bool) fuse.Status {
	return toErrno(v.at(in.Fh, func(f *engine.Fiber, w *files) record.Status {
		return w.fs.ReadDir(f, client.DirHandle(uint32(in.Fh)), in.Offset, plus, func(e *record.Entry, keepNs int64) bool {
			return take(w, e, keepNs)
		})
	}))
}
