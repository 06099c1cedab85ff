package arena

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapAligned maps n bytes whose address is a multiple of align. raw is what has to be unmapped.
func mapAligned(n, align int) (raw, mem []byte, err error) {
	raw, err = unix.Mmap(-1, 0, n+align, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, nil, err
	}
	skip := (align - int(address(raw)%uint64(align))) % align
	return raw, raw[skip : skip+n : skip+n], nil
}

func unmap(raw []byte) error { return unix.Munmap(raw) }

func address(p []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p)))) }
