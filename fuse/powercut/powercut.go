// Package powercut is a file system of one file that loses power: what was written and not fsynced is held back in memory, and at the cut
// each write that was held back is kept, lost, or torn at 512 bytes or 4 KiB, by a seed. From then on everything answers EIO. Under a loop
// device it is a disk with a volatile write cache whose power can be cut at any write or flush, on a machine that goes on running. It is
// for tests of stores on a real kernel; nothing else uses it.
//
// State: a Media belongs to its process and is guarded by its mu; the file it stands on is what survives.
//
// Invariants: the file holds what a flush has covered, and only that, until the cut; it holds what is left of the rest afterwards, before
// anybody is told of the cut. A flush that was answered is durable. A read shows what was written last.
//
// Locks: mu only.
//
// Survives: nothing; a process that ends without a cut has lost what was held back. The process that serves the mount must never use
// it, nor a loop device over it: the request would wait for its own answer.
//
// Read media.go, then this file.
package powercut

import (
	"errors"
	"fmt"
	"log"
	"os"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// FileName is the name of the one file of the mount.
const FileName = "disk"

const (
	rootIno = 1
	fileIno = 2
)

// writeBytesMax is the longest request of the kernel.
const writeBytesMax = 1 << 20

// files is the file system.
type files struct {
	fuse.RawFileSystem // answers ENOSYS to the rest

	media *Media // immutable
}

// Mount makes the file system appear at dir; Serve answers it.
func Mount(m *Media, dir string) (*fuse.Server, error) {
	server, err := fuse.NewServer(&files{fuse.NewDefaultRawFileSystem(), m}, dir, &fuse.MountOptions{
		Name: "powercut", FsName: "powercut", MaxWrite: writeBytesMax, DirectMountStrict: true, DisableXAttrs: true, DisableSplice: true,
		Logger: log.New(os.Stderr, "", 0), ExtraCapabilities: fuse.CAP_ASYNC_DIO,
		PanicHandler: func(v any) fuse.Status { panic(v) },
	})
	if err != nil {
		return nil, fmt.Errorf("powercut: mount at %s: %w", dir, err)
	}
	return server, nil
}

// String names it for the decoder.
func (f *files) String() string { return "powercut" }

func (f *files) attr(ino uint64, a *fuse.Attr) {
	a.Ino, a.Nlink, a.Blksize = ino, 1, PageBytes
	if ino == rootIno {
		a.Mode = syscall.S_IFDIR | 0o700
		return
	}
	a.Mode, a.Size, a.Blocks = syscall.S_IFREG|0o600, uint64(f.media.Bytes()), uint64(f.media.Bytes())/SectorBytes
}

// Lookup knows the one name.
func (f *files) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if h.NodeId != rootIno || name != FileName {
		return fuse.ENOENT
	}
	out.NodeId, out.Generation = fileIno, 1
	f.attr(fileIno, &out.Attr)
	return fuse.OK
}

// StatFs tells the block size: without it a loop device takes no discards.
func (f *files) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.Frsize, out.Blocks = PageBytes, PageBytes, uint64(f.media.Bytes())/PageBytes
	return fuse.OK
}

// Forget keeps nothing to forget.
func (f *files) Forget(uint64, uint64) {}

// GetAttr is stat.
func (f *files) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	f.attr(in.NodeId, &out.Attr)
	return fuse.OK
}

// Open keeps the kernel's pages out: what is written must come here.
func (f *files) Open(_ <-chan struct{}, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	return fuse.OK
}

// Read reads.
func (f *files) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	n := max(0, min(int64(len(buf)), f.media.Bytes()-int64(in.Offset)))
	if err := f.media.ReadAt(buf[:n], int64(in.Offset)); err != nil {
		return nil, status(err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Write holds back.
func (f *files) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	return uint32(len(data)), status(f.media.WriteAt(data, int64(in.Offset)))
}

// Fallocate is how a loop device discards and zeroes.
func (f *files) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	if in.Mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) == 0 {
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	return status(f.media.Zero(int64(in.Offset), int(in.Length)))
}

// Fsync is what a loop device makes of a flush.
func (f *files) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return status(f.media.Flush()) }

// Flush is a close, and makes nothing durable.
func (f *files) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

// Release is nothing.
func (f *files) Release(<-chan struct{}, *fuse.ReleaseIn) {}

func status(err error) fuse.Status {
	if err != nil && !errors.Is(err, ErrPower) {
		log.Print(err) // without power there is nothing to say; anything else breaks the test, and must be seen
	}
	if err != nil {
		return fuse.EIO
	}
	return fuse.OK
}
