package arena

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapAligned maps n bytes whose address is a multiple of align. raw is what has to be unmapped. The kernel is asked for huge pages: searches touch
// memory here and there, and the processor has room for the addresses of a few thousand pages only. Where there are none, or the host's settings
// forbid them (transparent_hugepage), it stays with small ones.
func mapAligned(n, align int) (raw, mem []byte, err error) {
	raw, err = unix.Mmap(-1, 0, n+align, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, nil, err
	}
	skip := (align - int(address(raw)%uint64(align))) % align
	mem = raw[skip : skip+n : skip+n]
	_ = unix.Madvise(mem, unix.MADV_HUGEPAGE)
	return raw, mem, nil
}

func unmap(raw []byte) error { return unix.Munmap(raw) }

func address(p []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p)))) }
