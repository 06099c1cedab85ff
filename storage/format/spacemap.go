package format

import "fmt"

const (
	spaceMapMagic = "BSPACEMP"
	spaceMapCrc   = SpaceMapHeaderBytes - 4
)

// Encodings of a space map's payload.
const (
	SpaceMapRuns   = 1 // for each free extent two uvarints: blocks in use before it, free blocks
	SpaceMapBitmap = 2 // one bit for each block, 1 = free, lowest bit first
)

// SpaceMapHeader starts a space map: the free blocks of a slice as of one superblock. The runs and the bitmap count the
// blocks that the allocator owns (Layout.Data), one extent of them after the other.
type SpaceMapHeader struct {
	Store    UUID
	Epoch    uint64  // of the superblock that names the map
	Self     BlockNo // first block of the region
	Encoding uint32
	Slice    uint32
	Blocks   uint64 // that the allocator owns
	Free     uint64
	Runs     uint64 // free extents
	Bytes    uint64 // payload
	Crc      uint32 // payload, then the header without this field
}

// SpaceMapBlocks is the length of a space-map region: the header and a bitmap of so many blocks, which no encoding that
// is chosen ever exceeds. 1 TiB / 4 KiB / 8 bits = 32 MiB of bitmap.
func SpaceMapBlocks(blocks uint64) BlockCount {
	return BlocksFor(int64(SpaceMapHeaderBytes + (blocks+7)/8))
}

// Encode writes the header into b as it is.
func (h *SpaceMapHeader) Encode(b []byte) {
	mustLen("space map header", b, SpaceMapHeaderBytes)
	clear(b[:SpaceMapHeaderBytes])
	copy(b, spaceMapMagic)
	copy(b[8:], h.Store[:])
	le.PutUint64(b[24:], h.Epoch)
	le.PutUint64(b[32:], uint64(h.Self))
	le.PutUint32(b[40:], h.Encoding)
	le.PutUint32(b[44:], h.Slice)
	le.PutUint64(b[48:], h.Blocks)
	le.PutUint64(b[56:], h.Free)
	le.PutUint64(b[64:], h.Runs)
	le.PutUint64(b[72:], h.Bytes)
	le.PutUint32(b[spaceMapCrc:], h.Crc)
}

// SealSpaceMap completes a map whose payload, with checksum payloadCrc, stands behind the room for the header. The payload
// is first under the crc so that it can be summed piece by piece before the header is known.
func SealSpaceMap(b []byte, h *SpaceMapHeader, payloadCrc uint32) {
	h.Bytes, h.Crc = uint64(len(b)-SpaceMapHeaderBytes), 0
	h.Encode(b)
	h.Crc = CrcAdd(payloadCrc, b[:spaceMapCrc])
	le.PutUint32(b[spaceMapCrc:], h.Crc)
}

// DecodeSpaceMap checks the header and the crc of a map and returns its payload, which is not yet checked.
func DecodeSpaceMap(p Place, b []byte) (h SpaceMapHeader, payload []byte, err error) {
	if err := checkLen(p, "space map", b, SpaceMapHeaderBytes); err != nil {
		return h, nil, err
	}
	if err := checkMagic(p, "space map", spaceMapMagic, b); err != nil {
		return h, nil, err
	}
	h = PeekSpaceMapHeader(b)
	if h.Bytes > uint64(len(b)-SpaceMapHeaderBytes) {
		return h, nil, corruptValue(p, "space map bytes", len(b)-SpaceMapHeaderBytes, h.Bytes)
	}
	payload = b[SpaceMapHeaderBytes : SpaceMapHeaderBytes+int(h.Bytes)]
	if got := CrcAdd(Crc(payload), b[:spaceMapCrc]); got != h.Crc {
		return h, nil, CorruptCrc(p, "space map", h.Crc, got)
	}
	switch {
	case h.Self != p.Extent.Start:
		return h, nil, corruptValue(p, "space map self block", p.Extent.Start, h.Self)
	case h.Blocks > 1<<52 || h.Bytes > (h.Blocks+7)/8:
		return h, nil, corruptValue(p, "space map bytes", fmt.Sprintf("at most a bitmap of %d blocks", h.Blocks), h.Bytes)
	case h.Free > h.Blocks || h.Runs > h.Free:
		return h, nil, corruptValue(p, "space map counts", "runs ≤ free ≤ blocks", fmt.Sprint(h.Runs, h.Free, h.Blocks))
	case h.Encoding != SpaceMapRuns && h.Encoding != SpaceMapBitmap:
		return h, nil, corruptValue(p, "space map encoding", "1 or 2", h.Encoding)
	case h.Encoding == SpaceMapBitmap && h.Bytes != (h.Blocks+7)/8:
		return h, nil, corruptValue(p, "space map bitmap bytes", (h.Blocks+7)/8, h.Bytes)
	}
	return h, payload, checkZero(p, "space map header", b[80:spaceMapCrc], 80)
}

// PeekSpaceMapHeader reads the fields and checks nothing: for people who look at damage. b has SpaceMapHeaderBytes.
func PeekSpaceMapHeader(b []byte) SpaceMapHeader {
	h := SpaceMapHeader{
		Epoch: le.Uint64(b[24:]), Self: BlockNo(le.Uint64(b[32:])), Encoding: le.Uint32(b[40:]), Slice: le.Uint32(b[44:]),
		Blocks: le.Uint64(b[48:]), Free: le.Uint64(b[56:]), Runs: le.Uint64(b[64:]), Bytes: le.Uint64(b[72:]),
		Crc: le.Uint32(b[spaceMapCrc:]),
	}
	copy(h.Store[:], b[8:])
	return h
}
