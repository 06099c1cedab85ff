package basalt

import (
	"io"
	"io/fs"
	"slices"
	"strings"

	"basalt/engine"
	"basalt/meta/record"
)

// list reads a whole directory, with attributes, sorted by name as io/fs wants it.
func (x *FS) list(f *engine.Fiber, ino record.Ino) ([]fs.DirEntry, record.Status) {
	handle, s := x.fs.OpenDir(f, ino)
	if s != record.OK {
		return nil, s
	}
	defer x.fs.ReleaseDir(f, handle)
	var entries []fs.DirEntry
	cookie := uint64(0)
	for more := true; more; {
		more = false
		s := x.fs.ReadDir(f, handle, cookie, true, func(e *record.Entry, _ int64) bool {
			more, cookie = true, e.Cookie
			if e.Attr.Ino != 0 { // "." and "..", or removed meanwhile
				entries = append(entries, newInfo(string(e.Name), &e.Attr))
			}
			return true
		})
		if s != record.OK {
			return nil, s
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, record.OK
}

// ReadDir lists a directory, sorted by name.
func (x *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	var entries []fs.DirEntry
	err := x.do("readdir", name, func(f *engine.Fiber) record.Status {
		at, s := x.resolve(f, name, true)
		if s != record.OK {
			return s
		}
		entries, s = x.list(f, at.found.Attr.Ino)
		return s
	})
	return entries, err
}

// ReadDir gives the next n entries, or all that are left if n is not positive. The names are those at the first call.
func (o *File) ReadDir(n int) ([]fs.DirEntry, error) {
	if !o.dir {
		return nil, o.refuse("readdir", &StatusError{record.NotDir})
	}
	o.mu.Lock()
	listed := o.listed
	o.mu.Unlock()
	var entries []fs.DirEntry
	if !listed {
		err := o.do("readdir", func(f *engine.Fiber) (s record.Status) {
			entries, s = o.x.list(f, o.ino)
			return s
		})
		if err != nil {
			return nil, err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.listed {
		o.entries, o.listed = entries, true
	}
	return o.next(n)
}

// next is called with mu held.
func (o *File) next(n int) ([]fs.DirEntry, error) {
	if n <= 0 || n > len(o.entries) {
		if n > 0 && len(o.entries) == 0 {
			return nil, io.EOF
		}
		n = len(o.entries)
	}
	out := slices.Clone(o.entries[:n])
	o.entries = o.entries[n:]
	return out, nil
}

// ReadFile reads a whole file. A small one is read in one go, without being opened: if it goes away meanwhile, another
// may have its name by now.
func (x *FS) ReadFile(name string) ([]byte, error) {
	var data []byte
	small := false
	err := x.do("open", name, func(f *engine.Fiber) record.Status {
		at, s := x.resolve(f, name, true)
		attr := &at.found.Attr
		if s != record.OK || !attr.IsRegular() || attr.Size > pieceBytes {
			return s
		}
		data = make([]byte, attr.Size)
		if n := len(data); n > 0 {
			n, s = (&File{x: x, ino: attr.Ino}).readPiece(f, data, 0)
			data = data[:n]
		}
		small = s == record.OK
		return record.OK
	})
	if err != nil || small {
		return data, err
	}
	f, err := x.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// WriteFile makes or replaces a file with the content.
func (x *FS) WriteFile(name string, data []byte) error {
	f, err := x.Create(name)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
