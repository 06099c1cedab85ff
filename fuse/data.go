package fuse

import (
	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"

	"basalt/engine"
	"basalt/meta/client"
	"basalt/meta/record"
)

// Handles. An open file has no state but where its open was counted: its handle is the column's number. A directory's handle is the
// column's number and the column's own handle. Requests of one handle arrive on any column; what must be done on its own column crosses.
const handleShift = 48

func fileHandle(index int) uint64 { return uint64(index+1) << handleShift }

func dirHandle(index int, h client.DirHandle) uint64 { return fileHandle(index) | uint64(h) }

// home is the column a handle belongs to.
func (v *files) home(fh uint64) (*files, bool) {
	i := int(fh>>handleShift) - 1
	if i < 0 || i >= len(v.mounted.columns) {
		return nil, false
	}
	return v.mounted.columns[i], true
}

// crossing is a request's work on another column.
type crossing struct {
	to    *files
	fiber *engine.Fiber // there; owned by that column
}

// at runs fn on the handle's column.
func (v *files) at(fh uint64, fn func(f *engine.Fiber, w *files) record.Status) record.Status {
	w, ok := v.home(fh)
	f := v.fiber()
	switch {
	case !ok:
		return record.Stale
	case w == v:
		return fn(f, v)
	}
	x := &crossing{to: w}
	if v.crossings == nil {
		v.crossings = make(map[*engine.Fiber]*crossing)
	}
	v.crossings[f] = x
	defer delete(v.crossings, f)
	canceled, s := f.Canceled(), record.Disconnected
	err := engine.CallOn(f, w.reactor, func(f2 *engine.Fiber) {
		if canceled {
			f2.SetCanceled()
		}
		x.fiber = f2
		s = fn(f2, w)
		x.fiber = nil
	})
	if err != nil {
		return client.StatusOf(err)
	}
	return s
}

// canceled passes the word to where f's work is done.
func (v *files) canceled(f *engine.Fiber) {
	if x := v.crossings[f]; x != nil {
		if err := x.to.reactor.Post(x); err != nil {
			v.mounted.log.Warn("an interrupt was not passed on", "error", err)
		}
	}
}

// Deliver runs on the other column.
func (x *crossing) Deliver(*engine.Turn) {
	if x.fiber != nil {
		x.fiber.SetCanceled()
	}
}

// Create makes and opens a file.
func (v *files) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	b := client.Birth{Mode: in.Mode & record.ModePerm, UID: in.Uid, GID: in.Gid}
	if in.Flags&unix.O_EXCL != 0 {
		b.Flags |= record.FlagExcl
	}
	if in.Flags&unix.O_TRUNC != 0 {
		b.Flags |= record.FlagTrunc
	}
	if in.OpenFlags&fuse.OPEN_KILL_SUIDGID != 0 {
		b.Flags |= record.FlagKillPriv
	}
	var found client.Found
	created, s := v.fs.Create(v.fiber(), record.Ino(in.NodeId), name, &b, &found)
	if s == record.OK {
		v.entry(&found, &out.EntryOut)
		v.opened(&out.OpenOut, created || v.fs.Granted())
	}
	return toErrno(s)
}

// Open opens a file. Under the grant nobody else can have changed it, so the kernel keeps its pages.
func (v *files) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	var flags uint32
	if in.Flags&unix.O_TRUNC != 0 {
		flags |= record.FlagTrunc
	}
	if in.Mode&fuse.OPEN_KILL_SUIDGID != 0 {
		flags |= record.FlagKillPriv
	}
	var found client.Found
	s := v.fs.Open(v.fiber(), record.Ino(in.NodeId), flags, &found)
	if s == record.OK {
		v.opened(out, v.fs.Granted())
	}
	return toErrno(s)
}

func (v *files) opened(out *fuse.OpenOut, keep bool) {
	out.Fh = fileHandle(v.index)
	if keep {
		out.OpenFlags |= fuse.FOPEN_KEEP_CACHE
	}
}

// Release gives an open back.
func (v *files) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	if in.Fh == fileHandle(v.index) {
		v.fs.Release(v.fiber(), record.Ino(in.NodeId))
		return
	}
	v.at(in.Fh, func(f *engine.Fiber, w *files) record.Status { return w.fs.Release(f, record.Ino(in.NodeId)) })
}

// inPlace is a READ whose data already lie where the reply wants them.
type inPlace int

// Size is how much there is.
func (n inPlace) Size() int { return int(n) }

// Bytes is for transports that want the data elsewhere; none does.
func (n inPlace) Bytes(buf []byte) ([]byte, fuse.Status) { return buf[:n], fuse.OK }

// Readv is asked to copy the data to the reply, where they are.
func (n inPlace) Readv([][]byte) (int, fuse.Status) { return int(n), fuse.OK }

// Done frees nothing.
func (n inPlace) Done() {}

// Read reads straight into the memory of the reply: buf is the slot's payload, and the arguments of a READ reply are its data alone.
func (v *files) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	n, s := v.fs.Read(v.fiber(), record.Ino(in.NodeId), in.Offset, buf)
	if s != record.OK {
		return nil, toErrno(s)
	}
	return inPlace(n), fuse.OK
}

// Write writes one piece.
func (v *files) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	var flags uint32
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		flags |= record.FlagKillPriv
	}
	// The kernel has put the end of the file into the offset, which is right under the grant; without it another mount may have moved it.
	if in.Flags&unix.O_APPEND != 0 && in.WriteFlags&fuse.WRITE_CACHE == 0 && !v.fs.Granted() {
		flags |= record.FlagAppend
	}
	n, s := v.fs.Write(v.fiber(), record.Ino(in.NodeId), in.Offset, data, flags)
	return uint32(n), toErrno(s)
}

// Flush is nothing: there is nothing that waits for close(2). ENOSYS makes the kernel not ask again.
func (v *files) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// Fsync returns when the file is on media.
func (v *files) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return toErrno(v.fs.Fsync(v.fiber(), record.Ino(in.NodeId)))
}

// FsyncDir is the same for a directory.
func (v *files) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return toErrno(v.fs.Fsync(v.fiber(), record.Ino(in.NodeId)))
}

// SyncFS is syncfs(2), where the kernel passes it on.
func (v *files) SyncFS() fuse.Status { return toErrno(v.fs.SyncAll(v.fiber())) }

// Fallocate reserves, punches or zeroes.
func (v *files) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	var flags uint32
	for _, m := range []struct{ kernel, ours uint32 }{
		{unix.FALLOC_FL_KEEP_SIZE, record.FlagKeepSize}, {unix.FALLOC_FL_PUNCH_HOLE, record.FlagPunchHole}, {unix.FALLOC_FL_ZERO_RANGE, record.FlagZeroRange},
	} {
		if in.Mode&m.kernel != 0 {
			flags |= m.ours
			in.Mode &^= m.kernel
		}
	}
	if in.Mode != 0 {
		return fuse.ENOTSUP
	}
	return toErrno(v.fs.Fallocate(v.fiber(), record.Ino(in.NodeId), in.Offset, in.Length, flags))
}

// Lseek finds data or holes; the other kinds of seeking never come here.
func (v *files) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	if in.Whence != unix.SEEK_DATA && in.Whence != unix.SEEK_HOLE {
		return fuse.EINVAL
	}
	at, s := v.fs.Lseek(v.fiber(), record.Ino(in.NodeId), in.Offset, in.Whence == unix.SEEK_HOLE)
	out.Offset = at
	return toErrno(s)
}
