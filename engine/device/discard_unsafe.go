package device

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// discardIoctl discards n bytes from off on, and waits for it.
func discardIoctl(fd int32, off, n uint64) unix.Errno {
	span := [2]uint64{off, n}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.BLKDISCARD, uintptr(unsafe.Pointer(&span)))
	return errno
}
