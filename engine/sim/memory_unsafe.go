package sim

import (
	"encoding/binary"
	"unsafe"
)

// memory is the n bytes at an address that a submission entry names. The entry's owner keeps them mapped until the
// completion, as it must for a kernel; World.Crash takes what is still to be read out before the mapping goes.
func memory(addr uint64, n int) []byte {
	if addr == 0 || n == 0 {
		return nil
	}
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&addr)), n)
}

const (
	msghdrBytes = 56 // struct msghdr of linux/amd64 and arm64: iov at 16, iovlen at 24
	iovecBytes  = 16
	iovecsMax   = 1024 // UIO_MAXIOV
)

// message gathers what a struct msghdr at addr names, one slice per iovec.
func message(addr uint64) [][]byte {
	h := memory(addr, msghdrBytes)
	vec, n := binary.NativeEndian.Uint64(h[16:]), binary.NativeEndian.Uint64(h[24:])
	return vectors(vec, n)
}

// vectors reads n iovecs at addr.
func vectors(addr, n uint64) [][]byte {
	if n > iovecsMax {
		panic("sim: more iovecs than the kernel takes")
	}
	out := make([][]byte, 0, n)
	for i := uint64(0); i < n; i++ {
		v := memory(addr+i*iovecBytes, iovecBytes)
		base, size := binary.NativeEndian.Uint64(v), binary.NativeEndian.Uint64(v[8:])
		if size > 0 {
			out = append(out, memory(base, int(size)))
		}
	}
	return out
}

// timespec reads a struct __kernel_timespec at addr as nanoseconds.
func timespec(addr uint64) int64 {
	b := memory(addr, 16)
	return int64(binary.NativeEndian.Uint64(b))*1e9 + int64(binary.NativeEndian.Uint64(b[8:]))
}

// addressOf is where b begins.
func addressOf(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

// putCount is what a read of an event descriptor returns.
func putCount(dst []byte, n uint64) { binary.NativeEndian.PutUint64(dst, n) }
