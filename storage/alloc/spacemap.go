package alloc

import (
	"encoding/binary"
	"fmt"

	"basalt/storage/format"
)

// MapEncoder writes the space map of a free set in steps, so that no turn is long. It begins with runs and starts over
// with the bitmap when the runs get longer than that.
type MapEncoder struct {
	set    *FreeSet
	header format.SpaceMapHeader
	buf    []byte // header and payload
	limit  int    // bytes of a bitmap
	at     blockNo
	used   uint64 // coordinate behind the last run
	crcAt  int    // bytes of buf that the crc covers
	crc    uint32
	phase  mapPhase
}

type mapPhase uint8

const (
	mapRuns mapPhase = iota
	mapBitmap
	mapCrc
	mapDone
)

// mapCrcStep is what one unit of Step adds to the checksum.
const mapCrcStep = 4096

// NewMapEncoder begins a map of s, which must not change until it is done. h names store, epoch, region and slice.
func NewMapEncoder(s *FreeSet, h format.SpaceMapHeader) *MapEncoder {
	h.Encoding, h.Blocks, h.Free, h.Runs = format.SpaceMapRuns, s.total, s.blocks, uint64(s.Runs())
	m := &MapEncoder{set: s, header: h, limit: int((s.total + 7) / 8), crcAt: format.SpaceMapHeaderBytes}
	m.buf = make([]byte, format.SpaceMapHeaderBytes, format.SpaceMapHeaderBytes+min(m.limit, 4*s.Runs()+64))
	return m
}

// Step encodes up to n free extents; true = the map is complete.
func (m *MapEncoder) Step(n int) bool {
	for n > 0 && m.phase != mapDone {
		switch m.phase {
		case mapRuns, mapBitmap:
			n = m.encode(n)
		case mapCrc:
			end := min(m.crcAt+mapCrcStep, len(m.buf))
			m.crc = format.CrcAdd(m.crc, m.buf[m.crcAt:end])
			m.crcAt, n = end, n-1
			if end == len(m.buf) {
				format.SealSpaceMap(m.buf, &m.header, m.crc)
				m.phase = mapDone
			}
		}
	}
	return m.phase == mapDone
}

// Bytes is the complete map, header included.
func (m *MapEncoder) Bytes() []byte { return m.buf }

// Header is the header of the complete map; its Crc is what the superblock names.
func (m *MapEncoder) Header() format.SpaceMapHeader { return m.header }

// encode takes up to n extents and returns what is left of n.
func (m *MapEncoder) encode(n int) int {
	long, end := false, true
	m.set.pos.AscendGreaterOrEqual(extent{Start: m.at}, func(e extent) bool {
		if n == 0 {
			end = false
			return false
		}
		n--
		m.at = e.End()
		from := m.set.coordinate(e.Start)
		if m.phase == mapBitmap {
			setBits(m.buf[format.SpaceMapHeaderBytes:], from, uint64(e.Len))
			return true
		}
		m.buf = binary.AppendUvarint(m.buf, from-m.used)
		m.buf = binary.AppendUvarint(m.buf, uint64(e.Len))
		m.used = from + uint64(e.Len)
		long = len(m.buf)-format.SpaceMapHeaderBytes > m.limit
		return !long
	})
	switch {
	case long:
		m.phase, m.at, m.header.Encoding = mapBitmap, 0, format.SpaceMapBitmap
		m.buf = make([]byte, format.SpaceMapHeaderBytes+m.limit)
	case end:
		m.phase = mapCrc
	}
	return n
}

// coordinate counts a block of the space from the start of its first extent, gaps left out.
func (s *FreeSet) coordinate(b blockNo) uint64 {
	var base uint64
	for _, e := range s.space {
		if b < e.End() {
			return base + uint64(b-e.Start)
		}
		base += uint64(e.Len)
	}
	panic(fmt.Sprintf("alloc: block %d is outside the space", b))
}

// setBits sets n bits from the from-th on.
func setBits(b []byte, from, n uint64) {
	for ; n > 0 && from%8 != 0; from, n = from+1, n-1 {
		b[from/8] |= 1 << (from % 8)
	}
	for ; n >= 8; from, n = from+8, n-8 {
		b[from/8] = 0xff
	}
	for ; n > 0; from, n = from+1, n-1 {
		b[from/8] |= 1 << (from % 8)
	}
}

// DecodeMap makes an allocator from a map that was read from p.
func DecodeMap(p format.Place, b []byte, space []format.Extent, piece format.BlockCount) (*Allocator, format.SpaceMapHeader, error) {
	h, payload, err := format.DecodeSpaceMap(p, b)
	if err != nil {
		return nil, h, err
	}
	d := mapDecoder{place: p, a: New(space, piece)}
	if h.Blocks != d.a.free.total {
		return nil, h, d.bad("space map blocks", d.a.free.total, h.Blocks)
	}
	if h.Encoding == format.SpaceMapRuns {
		err = d.runs(payload)
	} else {
		err = d.bitmap(payload)
	}
	if err == nil && (d.a.FreeBlocks() != h.Free || uint64(d.a.Runs()) != h.Runs) {
		err = d.bad("space map counts", fmt.Sprint(h.Free, h.Runs), fmt.Sprint(d.a.FreeBlocks(), d.a.Runs()))
	}
	if err != nil {
		return nil, h, err
	}
	return d.a, h, nil
}

// mapDecoder adds runs, given in ascending coordinates, to an allocator.
type mapDecoder struct {
	place format.Place
	a     *Allocator
	next  int    // extent of the space that the next run begins in
	base  uint64 // coordinate of its first block
}

//go:noinline
func (d *mapDecoder) bad(what string, want, got any) error {
	return &format.CorruptError{Place: d.place, What: what, Want: fmt.Sprint(want), Got: fmt.Sprint(got)}
}

func (d *mapDecoder) runs(b []byte) error {
	at := uint64(0)
	for len(b) > 0 {
		gap, n := binary.Uvarint(b)
		if n <= 0 {
			return d.bad("space map run", "two uvarints", fmt.Sprintf("% x", b[:min(len(b), 10)]))
		}
		size, k := binary.Uvarint(b[n:])
		if k <= 0 {
			return d.bad("space map run", "two uvarints", fmt.Sprintf("% x", b[:min(len(b), 20)]))
		}
		b = b[n+k:]
		total := d.a.free.total
		if gap > total-at || size == 0 || size > total-at-gap {
			return d.bad("space map run", fmt.Sprintf("inside %d blocks", total), fmt.Sprintf("%d blocks after %d+%d", size, at, gap))
		}
		if err := d.add(at+gap, size); err != nil {
			return err
		}
		at += gap + size
	}
	return nil
}

func (d *mapDecoder) bitmap(b []byte) error {
	from, run := uint64(0), false
	for i := uint64(0); i < uint64(len(b))*8; i++ {
		if i%8 == 0 && (b[i/8] == 0 && !run || b[i/8] == 0xff && run) {
			i += 7
			continue
		}
		free := b[i/8]&(1<<(i%8)) != 0
		if free == run {
			continue
		}
		if run {
			if err := d.add(from, i-from); err != nil {
				return err
			}
		}
		from, run = i, free
	}
	if run {
		return d.add(from, uint64(len(b))*8-from)
	}
	return nil
}

// add frees n blocks from coordinate at on, cut at the ends of the space's extents.
func (d *mapDecoder) add(at, n uint64) error {
	if at+n > d.a.free.total {
		return d.bad("space map bits", fmt.Sprintf("zeros behind block %d", d.a.free.total), fmt.Sprintf("%d blocks at %d", n, at))
	}
	for n > 0 {
		home := d.a.free.space[d.next]
		if at >= d.base+uint64(home.Len) {
			d.base += uint64(home.Len)
			d.next++
			continue
		}
		take := min(n, d.base+uint64(home.Len)-at)
		e := extent{Start: home.Start + blockNo(at-d.base), Len: blockCount(take)}
		d.a.Free(e)
		at, n = at+take, n-take
	}
	return nil
}
