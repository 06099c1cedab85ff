package uring

import (
	"fmt"
	"math/bits"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	bufRingEntriesMax = 1 << 15
	bufRingBytesMax   = 1 << 30
)

// nativeBufRing is a provided-buffer ring: the kernel takes buffers from its head, we add at its tail.
type nativeBufRing struct {
	group   uint16
	size    int
	mask    uint16
	tail    uint16
	entries []bufEntry // shared with the kernel
	word    *uint32    // bid (low half) and tail (high half) of entry 0
	mem     []byte     // the buffers
	ringMem []byte
	owner   *native
	freed   bool
}

func checkBufRing(entries, size int) error {
	if entries < 1 || entries > bufRingEntriesMax || bits.OnesCount(uint(entries)) != 1 || size < 1 || entries*size > bufRingBytesMax {
		return fmt.Errorf("uring: buffer ring of %d × %d bytes: entries must be a power of two up to %d, at most %d bytes in all", entries, size, bufRingEntriesMax, bufRingBytesMax)
	}
	return nil
}

func (n *native) NewBufRing(group uint16, entries, size int) (BufRing, error) {
	if err := checkBufRing(entries, size); err != nil {
		return nil, err
	}
	b := &nativeBufRing{group: group, size: size, mask: uint16(entries - 1), owner: n}
	if err := b.mmap(entries); err != nil {
		return nil, fmt.Errorf("uring: memory of buffer ring %d: %w", group, err)
	}
	if err := b.register(n.fd); err != nil {
		b.unmap()
		if err == unix.EINVAL || err == unix.ENOSYS {
			return nil, fmt.Errorf("%w: buffer ring %d: %w", ErrUnsupported, group, err)
		}
		return nil, fmt.Errorf("uring: buffer ring %d: %w", group, err)
	}
	for id := range entries {
		b.Recycle(uint16(id))
	}
	n.bufs = append(n.bufs, b)
	return b, nil
}

func (b *nativeBufRing) Group() uint16 { return b.group }
func (b *nativeBufRing) Entries() int  { return len(b.entries) }
func (b *nativeBufRing) Size() int     { return b.size }

func (b *nativeBufRing) Bytes(id uint16) []byte {
	off := int(id) * b.size
	return b.mem[off : off+b.size : off+b.size]
}

// Recycle writes the entry at the tail and publishes the tail. Entry 0 shares its last word with the
// tail, so both are stored together there.
func (b *nativeBufRing) Recycle(id uint16) {
	if int(id) >= len(b.entries) || b.freed {
		panicBufID(id, len(b.entries))
	}
	place := b.tail & b.mask
	b.tail++
	e := &b.entries[place]
	e.addr, e.n = b.addr(id), uint32(b.size)
	low := uint32(id)
	if place != 0 {
		e.bid = id
		low = uint32(b.entries[0].bid)
	}
	atomic.StoreUint32(b.word, low|uint32(b.tail)<<16)
}

func (b *nativeBufRing) Close() error {
	if b.freed {
		return nil
	}
	for i, x := range b.owner.bufs {
		if x == b {
			b.owner.bufs = append(b.owner.bufs[:i], b.owner.bufs[i+1:]...)
			break
		}
	}
	return b.release(b.owner.fd)
}

func (b *nativeBufRing) release(fd int) error {
	b.freed = true
	err := b.unregister(fd)
	b.unmap()
	if err != nil {
		return fmt.Errorf("uring: unregistering buffer ring %d: %w", b.group, err)
	}
	return nil
}

//go:noinline
func panicBufID(id uint16, n int) {
	panic(fmt.Sprintf("uring: buffer %d given back to a ring of %d, or after its end", id, n))
}
