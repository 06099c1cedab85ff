package uring

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

func (b *nativeBufRing) mmap(entries int) (err error) {
	prot, flags := unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE
	if b.ringMem, err = unix.Mmap(-1, 0, entries*int(unsafe.Sizeof(bufEntry{})), prot, flags); err != nil {
		return err
	}
	if b.mem, err = unix.Mmap(-1, 0, entries*b.size, prot, flags); err != nil {
		unix.Munmap(b.ringMem)
		return err
	}
	b.entries = unsafe.Slice((*bufEntry)(unsafe.Pointer(&b.ringMem[0])), entries)
	b.word = (*uint32)(unsafe.Pointer(&b.entries[0].bid)) // 12 bytes into a page: aligned
	return nil
}

func (b *nativeBufRing) unmap() {
	unix.Munmap(b.ringMem)
	unix.Munmap(b.mem)
	b.mem, b.ringMem = nil, nil
}

func (b *nativeBufRing) addr(id uint16) uint64 {
	return uint64(uintptr(unsafe.Pointer(&b.mem[int(id)*b.size])))
}

func (b *nativeBufRing) register(fd int) error {
	r := bufReg{ringAddr: uint64(uintptr(unsafe.Pointer(&b.entries[0]))), ringEntries: uint32(len(b.entries)), bgid: b.group}
	_, err := register(fd, registerPbufRing, unsafe.Pointer(&r), 1)
	return err
}

func (b *nativeBufRing) unregister(fd int) error {
	r := bufReg{bgid: b.group}
	_, err := register(fd, unregisterPbufRing, unsafe.Pointer(&r), 1)
	return err
}
