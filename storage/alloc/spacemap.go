package alloc

import (
	"encoding/binary"
	"fmt"

	"basalt/storage/format"
)

// MapEncoder writes the space map of a free map in steps, so that no turn is long. It begins with runs and starts over
// with the bitmap when the runs get longer than that.
type MapEncoder struct {
	set    *FreeMap
	header format.SpaceMapHeader
	buf    []byte // header and payload
	limit  int    // bytes of a bitmap
	home   int    // extent of the space that is being gone through
	end    uint64 // coordinate behind it
	at     uint64 // coordinate that has been reached
	from   uint64 // of the first block of the run at hand, if inRun
	used   uint64 // behind the last run
	inRun  bool
	crcAt  int // bytes of buf that the crc covers
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

// mapCrcStep is what one unit of Step adds to the checksum, mapWordStep what it copies of a bitmap.
const (
	mapCrcStep  = 4096
	mapWordStep = 128
)

// NewMapEncoder begins a map of s, which must not change until it is done. h names store, epoch, region and slice.
func NewMapEncoder(s *FreeMap, h format.SpaceMapHeader) *MapEncoder {
	h.Encoding, h.Blocks, h.Free, h.Runs = format.SpaceMapRuns, s.total, s.blocks, s.runs
	m := &MapEncoder{set: s, header: h, limit: int((s.total + 7) / 8), end: uint64(s.space[0].Len), crcAt: format.SpaceMapHeaderBytes}
	m.buf = make([]byte, format.SpaceMapHeaderBytes, format.SpaceMapHeaderBytes+min(m.limit, 4*int(s.runs)+64))
	return m
}

// Step takes n small steps, of which each finds at most one end of a free extent; true = the map is complete.
func (m *MapEncoder) Step(n int) bool {
	for ; n > 0 && m.phase != mapDone; n-- {
		switch m.phase {
		case mapRuns:
			m.run()
		case mapBitmap:
			m.bitmap()
		case mapCrc:
			end := min(m.crcAt+mapCrcStep, len(m.buf))
			m.crc = format.CrcAdd(m.crc, m.buf[m.crcAt:end])
			m.crcAt = end
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

// run goes on to the next beginning or end of a free extent, as far as one step goes.
func (m *MapEncoder) run() {
	at, found := m.set.seek(m.at, m.end, !m.inRun)
	m.at = at
	if !m.inRun {
		m.from, m.inRun = at, found
		if found {
			return
		}
	} else if found || at == m.end {
		m.buf = binary.AppendUvarint(m.buf, m.from-m.used)
		m.buf = binary.AppendUvarint(m.buf, at-m.from)
		m.used, m.inRun = at, false
		if len(m.buf)-format.SpaceMapHeaderBytes > m.limit {
			m.phase, m.at, m.header.Encoding = mapBitmap, 0, format.SpaceMapBitmap
			m.buf = make([]byte, format.SpaceMapHeaderBytes, format.SpaceMapHeaderBytes+m.limit+8)
			return
		}
	}
	if at < m.end {
		return
	}
	if m.home++; m.home == len(m.set.space) {
		m.phase = mapCrc
		return
	}
	m.end += uint64(m.set.space[m.home].Len)
}

// bitmap copies some of the bits, which stand in memory as they do on the device.
func (m *MapEncoder) bitmap() {
	words := m.set.words[m.at:min(m.at+mapWordStep, uint64(len(m.set.words)))]
	for _, w := range words {
		m.buf = binary.LittleEndian.AppendUint64(m.buf, w)
	}
	if m.at += uint64(len(words)); m.at == uint64(len(m.set.words)) {
		m.buf = m.buf[:format.SpaceMapHeaderBytes+m.limit]
		m.phase = mapCrc
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
