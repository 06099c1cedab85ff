package basalt

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/meta/client"
	"basalt/meta/record"
)

// File is an open file or directory. Its methods may be called from any goroutine; Read, Write, Seek and ReadDir share
// one position.
type File struct {
	x        *FS        // immutable
	name     string     // immutable
	ino      record.Ino // immutable
	dir      bool       // immutable
	appends  bool       // immutable
	readable bool       // immutable
	writable bool       // immutable

	mu      sync.Mutex
	off     int64         // guarded by mu
	closed  bool          // guarded by mu
	entries []fs.DirEntry // guarded by mu: of a directory, what ReadDir has not given out
	listed  bool          // guarded by mu
}

// Open opens a file or directory for reading.
func (x *FS) Open(name string) (fs.File, error) {
	f, err := x.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err // not f: a nil *File in the interface would not be nil
	}
	return f, nil
}

// Create makes or empties a file and opens it.
func (x *FS) Create(name string) (*File, error) {
	return x.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
}

// OpenFile opens with the flags of package os: O_RDONLY, O_WRONLY, O_RDWR, O_APPEND, O_CREATE, O_EXCL, O_TRUNC.
func (x *FS) OpenFile(name string, flag int, perm fs.FileMode) (*File, error) {
	how := flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
	file := &File{x: x, name: name, appends: flag&os.O_APPEND != 0, readable: how != os.O_WRONLY, writable: how != os.O_RDONLY}
	err := x.do("open", name, func(f *engine.Fiber) record.Status { return file.open(f, flag, perm) })
	if err != nil {
		return nil, err
	}
	return file, nil
}

// open asks the node to create at once if it may have to: that opens what is there too, and tells what else is in the way.
func (o *File) open(f *engine.Fiber, flag int, perm fs.FileMode) record.Status {
	if flag&os.O_CREATE != 0 && o.name != "." {
		dir, base, s := o.x.parent(f, o.name)
		if s == record.OK {
			s = o.create(f, &walk{dir: dir, base: base}, flag, perm)
		}
		inTheWay := s == record.Exists && flag&os.O_EXCL == 0 // a symbolic link, or what only Open can tell about
		if !inTheWay && s != record.NoSpace && s != record.ReadOnly {
			return s
		} // a store that takes no change may still have the file
	}
	at, s := o.x.resolve(f, o.name, flag&os.O_EXCL == 0)
	switch {
	case s == record.NotFound && at.base != "" && flag&os.O_CREATE != 0:
		return o.create(f, &at, flag, perm)
	case s != record.OK:
		return s
	case flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return record.Exists
	case at.found.Attr.IsDir() && o.writable:
		return record.IsDir
	}
	o.ino, o.dir = at.found.Attr.Ino, at.found.Attr.IsDir()
	if o.dir {
		return record.OK // listed as a whole at the first ReadDir
	}
	flags := uint32(0)
	if flag&os.O_TRUNC != 0 && o.writable {
		flags = record.FlagTrunc
	}
	return o.x.fs.Open(f, o.ino, flags, &client.Found{})
}

// create makes the file where the walk ended, or opens it if it is there.
func (o *File) create(f *engine.Fiber, at *walk, flag int, perm fs.FileMode) record.Status {
	birth := o.x.birth(perm)
	if flag&os.O_EXCL != 0 {
		birth.Flags |= record.FlagExcl
	}
	if flag&os.O_TRUNC != 0 && o.writable {
		birth.Flags |= record.FlagTrunc
	}
	var found client.Found
	_, s := o.x.fs.Create(f, at.dir, at.base, birth, &found)
	o.ino = found.Attr.Ino
	return s
}

// do runs an operation on the open file.
func (o *File) do(op string, fn func(f *engine.Fiber) record.Status) error {
	o.mu.Lock()
	closed := o.closed
	o.mu.Unlock()
	if closed {
		return &fs.PathError{Op: op, Path: o.name, Err: fs.ErrClosed}
	}
	return o.x.do(op, o.name, fn)
}

func (o *File) refuse(op string, err error) error {
	return &fs.PathError{Op: op, Path: o.name, Err: err}
}

// Name is what the file was opened as.
func (o *File) Name() string { return o.name }

// Stat describes the file.
func (o *File) Stat() (fs.FileInfo, error) {
	var found client.Found
	err := o.do("stat", func(f *engine.Fiber) record.Status { return o.x.fs.GetAttr(f, o.ino, &found) })
	if err != nil {
		return nil, err
	}
	return newInfo(path.Base(o.name), &found.Attr), nil
}

// ReadAt reads len(p) bytes at off; fewer only with an error, io.EOF at the end.
func (o *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || !o.readable || o.dir {
		return 0, o.refuse("read", fs.ErrInvalid)
	}
	done := 0
	for done < len(p) {
		piece := p[done:min(len(p), done+pieceBytes)]
		n := 0
		err := o.do("read", func(f *engine.Fiber) (s record.Status) {
			n, s = o.readPiece(f, piece, uint64(off)+uint64(done))
			return s
		})
		done += n
		if err != nil {
			return done, err
		}
		if n < len(piece) {
			return done, io.EOF
		}
	}
	return done, nil
}

// readPiece reads through arena memory: the kernel writes into it, and it must not move or be looked at meanwhile.
func (o *File) readPiece(f *engine.Fiber, p []byte, off uint64) (int, record.Status) {
	return withBuffer(f, len(p), func(buf []byte) (int, record.Status) {
		n, s := o.x.fs.Read(f, o.ino, off, buf)
		return copy(p, buf[:n]), s
	})
}

// withBuffer lends memory of the column; when there is none it is Busy, and the caller's token bounds how many can ask.
func withBuffer(f *engine.Fiber, n int, use func(buf []byte) (int, record.Status)) (int, record.Status) {
	memory := f.Reactor().Arena()
	buf, err := memory.Get(n)
	for errors.Is(err, arena.ErrExhausted) {
		f.Sleep(bufferPauseNs)
		buf, err = memory.Get(n)
	}
	if err != nil {
		return 0, record.Busy
	}
	defer memory.Put(buf)
	return use(memory.Bytes(buf))
}

const bufferPauseNs = 200_000 // others give theirs back within a round trip

// Read reads from the position on.
func (o *File) Read(p []byte) (int, error) {
	o.mu.Lock()
	off := o.off
	o.mu.Unlock()
	n, err := o.ReadAt(p, off)
	if n > 0 && err == io.EOF {
		err = nil
	}
	o.mu.Lock()
	o.off = off + int64(n)
	o.mu.Unlock()
	return n, err
}

// WriteAt writes p at off.
func (o *File) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || !o.writable || o.appends {
		return 0, o.refuse("write", fs.ErrInvalid)
	}
	return o.write(p, uint64(off), 0)
}

func (o *File) write(p []byte, off uint64, flags uint32) (int, error) {
	done := 0
	for done < len(p) {
		piece := p[done:min(len(p), done+pieceBytes)]
		n := 0
		err := o.do("write", func(f *engine.Fiber) (s record.Status) {
			n, s = withBuffer(f, len(piece), func(buf []byte) (int, record.Status) {
				copy(buf, piece)
				return o.x.fs.Write(f, o.ino, off+uint64(done), buf, flags)
			})
			return s
		})
		done += n
		if err != nil {
			return done, err
		}
		if n == 0 {
			return done, o.refuse("write", io.ErrShortWrite)
		}
	}
	return done, nil
}

// Write writes at the position, or at the end of a file opened with O_APPEND.
func (o *File) Write(p []byte) (int, error) {
	if !o.writable {
		return 0, o.refuse("write", fs.ErrInvalid)
	}
	if o.appends {
		return o.write(p, 0, record.FlagAppend)
	}
	o.mu.Lock()
	off := o.off
	o.mu.Unlock()
	n, err := o.WriteAt(p, off)
	o.mu.Lock()
	o.off = off + int64(n)
	o.mu.Unlock()
	return n, err
}

// Seek moves the position.
func (o *File) Seek(offset int64, whence int) (int64, error) {
	base := int64(0)
	switch whence {
	case io.SeekStart:
	case io.SeekEnd:
		info, err := o.Stat()
		if err != nil {
			return 0, err
		}
		base = info.Size()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if whence == io.SeekCurrent {
		base = o.off
	}
	if base+offset < 0 || whence < io.SeekStart || whence > io.SeekEnd {
		return 0, o.refuse("seek", fs.ErrInvalid)
	}
	o.off = base + offset
	return o.off, nil
}

// Truncate changes the size.
func (o *File) Truncate(size int64) error {
	if size < 0 || !o.writable {
		return o.refuse("truncate", fs.ErrInvalid)
	}
	change := client.Change{Valid: record.SetSize, Size: uint64(size)}
	return o.do("truncate", func(f *engine.Fiber) record.Status { return o.x.fs.SetAttr(f, o.ino, &change, &client.Found{}) })
}

// Sync returns when the file, and its name, are on the node's media.
func (o *File) Sync() error {
	return o.do("sync", func(f *engine.Fiber) record.Status { return o.x.fs.Fsync(f, o.ino) })
}

// Close gives the file back.
func (o *File) Close() error {
	o.mu.Lock()
	closed := o.closed
	o.closed = true
	o.mu.Unlock()
	if closed {
		return o.refuse("close", fs.ErrClosed)
	}
	if o.dir {
		return nil
	}
	return o.x.do("close", o.name, func(f *engine.Fiber) record.Status { return o.x.fs.Release(f, o.ino) })
}
