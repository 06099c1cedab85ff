package nullfs

import (
	"slices"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

var zeros [1 << 20]byte

// resize sets the size; the caller holds mu.
func (f *FS) resize(n *node, size uint64) {
	n.size = size
	if !f.keep {
		return
	}
	if uint64(len(n.data)) > size {
		n.data = n.data[:size]
	}
	if grow := size - uint64(len(n.data)); grow > 0 {
		n.data = append(n.data, make([]byte, grow)...)
	}
}

// Open always succeeds.
func (f *FS) Open(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	if in.Flags&syscall.O_TRUNC != 0 {
		f.mu.Lock()
		if n := f.nodes[in.NodeId]; n != nil {
			f.resize(n, 0)
		}
		f.mu.Unlock()
	}
	return fuse.OK
}

// Read answers with what was written, or zeros.
func (f *FS) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n := f.nodes[in.NodeId]
	if n == nil {
		return nil, fuse.Status(syscall.ESTALE)
	}
	if in.Offset >= n.size {
		return fuse.ReadResultData(nil), fuse.OK
	}
	length := min(uint64(len(buf)), n.size-in.Offset)
	if f.keep {
		return fuse.ReadResultData(buf[:copy(buf, n.data[in.Offset:in.Offset+length])]), fuse.OK
	}
	return fuse.ReadResultData(zeros[:length]), fuse.OK
}

// Write takes one piece.
func (f *FS) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	return f.Writev(cancel, in, [][]byte{data})
}

// Writev takes data in pieces.
func (f *FS) Writev(_ <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[in.NodeId]
	if n == nil {
		return 0, fuse.Status(syscall.ESTALE)
	}
	at := in.Offset
	for _, p := range data {
		end := at + uint64(len(p))
		if end > n.size {
			f.resize(n, end)
		}
		if f.keep {
			copy(n.data[at:], p)
		}
		at = end
	}
	return uint32(at - in.Offset), fuse.OK
}

// Flush is nothing; ENOSYS makes the kernel not ask again.
func (f *FS) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// Release is nothing.
func (f *FS) Release(<-chan struct{}, *fuse.ReleaseIn) {}

// Fsync is nothing.
func (f *FS) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.OK }

// FsyncDir is nothing.
func (f *FS) FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.OK }

// OpenDir always succeeds.
func (f *FS) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.OK }

// ReleaseDir is nothing.
func (f *FS) ReleaseDir(*fuse.ReleaseIn) {}

// ReadDir lists names.
func (f *FS) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.list(in, out, false)
}

// ReadDirPlus lists names with attributes.
func (f *FS) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.list(in, out, true)
}

func (f *FS) list(in *fuse.ReadIn, out *fuse.DirEntryList, plus bool) fuse.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.nodes[in.NodeId]
	if d == nil {
		return fuse.Status(syscall.ESTALE)
	}
	if in.Offset == 0 {
		d.listed = d.listed[:0]
		for name := range d.kids {
			d.listed = append(d.listed, name)
		}
		slices.Sort(d.listed)
	}
	for i := int(in.Offset); i < len(d.listed); i++ {
		k := d.kids[d.listed[i]]
		if k == nil {
			continue
		}
		e := fuse.DirEntry{Name: d.listed[i], Mode: k.mode, Ino: k.ino, Off: uint64(i + 1)}
		if !plus {
			if !out.AddDirEntry(e) {
				break
			}
			continue
		}
		o := out.AddDirLookupEntry(e)
		if o == nil {
			break
		}
		f.entry(k, o)
	}
	return fuse.OK
}
