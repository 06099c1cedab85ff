package format

import "fmt"

const (
	labelMagic    = "BASALTLB"
	labelSegments = 128
	labelCrc      = LabelBytes - 4
	labelBlocks   = LabelBytes / BlockBytes
)

// Segment is a run of device blocks given to one slice. Index orders the segments of a slice; segment 0 holds the
// slice's fixed structures.
type Segment struct {
	Start BlockNo
	Len   BlockCount
	Slice uint16
	Index uint16
}

// Extent is the run of blocks that the segment covers.
func (s Segment) Extent() Extent { return Extent{s.Start, s.Len} }

// Encode writes the segment into b.
func (s Segment) Encode(b []byte) {
	mustLen("segment", b, SegmentBytes)
	le.PutUint64(b[0:], uint64(s.Start))
	le.PutUint32(b[8:], uint32(s.Len))
	le.PutUint16(b[12:], s.Slice)
	le.PutUint16(b[14:], s.Index)
}

func decodeSegment(b []byte) Segment {
	return Segment{BlockNo(le.Uint64(b[0:])), BlockCount(le.Uint32(b[8:])), le.Uint16(b[12:]), le.Uint16(b[14:])}
}

// Label says what a device is and which blocks belong to which slice. It stands at both ends of the device.
type Label struct {
	Version    uint32
	Device     UUID
	Blocks     uint64 // the device's length
	BlockBytes uint32
	Slices     uint16
	Self       BlockNo // where this copy stands
	Generation uint64  // counts rewrites; the newest valid copy is right
	Segments   []Segment
}

// LabelPlaces are the two places of the label on a device of so many blocks.
func LabelPlaces(deviceBlocks uint64) [2]Extent {
	return [2]Extent{{0, labelBlocks}, {BlockNo(deviceBlocks - labelBlocks), labelBlocks}}
}

// LabelEnds lists where the second copy of a label may stand, the likeliest place first: where the first one, whole or not, says that the device ended
// at mkfs, and at the device's end. first is nil if the first copy cannot be read.
func LabelEnds(first []byte, deviceBlocks uint64) (list []Extent) {
	if len(first) >= LabelBytes && string(first[:len(labelMagic)]) == labelMagic {
		if n := PeekLabel(first).Blocks; n >= 2*labelBlocks && n < deviceBlocks {
			list = append(list, LabelPlaces(n)[1])
		}
	}
	return append(list, LabelPlaces(deviceBlocks)[1])
}

// Encode writes the label with its checksum into b, which has LabelBytes.
func (l *Label) Encode(b []byte) {
	mustLen("label", b, LabelBytes)
	b = b[:LabelBytes]
	clear(b)
	if len(l.Segments) > SegmentsMax {
		panic(fmt.Sprintf("format: label with %d segments", len(l.Segments)))
	}
	copy(b, labelMagic)
	le.PutUint32(b[8:], l.Version)
	copy(b[16:], l.Device[:])
	le.PutUint64(b[32:], l.Blocks)
	le.PutUint32(b[40:], l.BlockBytes)
	le.PutUint16(b[44:], l.Slices)
	le.PutUint16(b[46:], uint16(len(l.Segments)))
	le.PutUint64(b[48:], uint64(l.Self))
	le.PutUint64(b[56:], l.Generation)
	for i, s := range l.Segments {
		s.Encode(b[labelSegments+i*SegmentBytes:])
	}
	le.PutUint32(b[labelCrc:], Crc(b[:labelCrc]))
}

// DecodeLabel reads the copy of the label that stands at p.
func DecodeLabel(p Place, b []byte) (*Label, error) {
	if err := checkLen(p, "label", b, LabelBytes); err != nil {
		return nil, err
	}
	b = b[:LabelBytes]
	if err := checkMagic(p, "label", labelMagic, b); err != nil {
		return nil, err
	}
	if want, got := le.Uint32(b[labelCrc:]), Crc(b[:labelCrc]); want != got {
		return nil, CorruptCrc(p, "label", want, got)
	}
	l := PeekLabel(b)
	n := int(le.Uint16(b[46:]))
	switch {
	case l.Version != LabelVersion:
		return nil, corruptValue(p, "label version", LabelVersion, l.Version)
	case l.BlockBytes != BlockBytes:
		return nil, corruptValue(p, "label block size", BlockBytes, l.BlockBytes)
	case l.Self != p.Extent.Start:
		return nil, corruptValue(p, "label self block", p.Extent.Start, l.Self)
	case n == 0 || n > SegmentsMax:
		return nil, corruptValue(p, "label segment count", fmt.Sprintf("1…%d", SegmentsMax), n)
	}
	if err := checkZero(p, "label", b[12:16], 12); err != nil {
		return nil, err
	}
	if err := checkZero(p, "label", b[64:labelSegments], 64); err != nil {
		return nil, err
	}
	end := labelSegments + n*SegmentBytes
	if err := checkZero(p, "label", b[end:labelCrc], end); err != nil {
		return nil, err
	}
	return l, l.check(p)
}

// PeekLabel reads the fields, and as many segments as there is room for, and checks nothing: for people who look at damage. b has
// LabelBytes.
func PeekLabel(b []byte) *Label {
	l := &Label{
		Version: le.Uint32(b[8:]), Blocks: le.Uint64(b[32:]), BlockBytes: le.Uint32(b[40:]), Slices: le.Uint16(b[44:]),
		Self: BlockNo(le.Uint64(b[48:])), Generation: le.Uint64(b[56:]),
	}
	copy(l.Device[:], b[16:])
	for i := range min(int(le.Uint16(b[46:])), SegmentsMax) {
		l.Segments = append(l.Segments, decodeSegment(b[labelSegments+i*SegmentBytes:]))
	}
	return l
}

// check verifies that segments lie on the device, do not overlap, and give every slice the indices 0…n-1 in order.
func (l *Label) check(p Place) error {
	if l.Slices == 0 || l.Slices > SlicesMax {
		return corruptValue(p, "label slice count", fmt.Sprintf("1…%d", SlicesMax), l.Slices)
	}
	if l.Blocks < 2*labelBlocks || l.Blocks > 1<<52 {
		return corruptValue(p, "label device blocks", "8…2^52", l.Blocks)
	}
	var next [SlicesMax]uint16
	floor := BlockNo(labelBlocks)
	for _, s := range l.Segments {
		if s.Slice >= l.Slices || s.Index != next[s.Slice] {
			return corruptValue(p, "label segment owner", "slices in range, indices in order", s)
		}
		next[s.Slice]++
		if s.Len == 0 || s.Start < floor || uint64(s.Start) > l.Blocks || uint64(s.Extent().End()) > l.Blocks-labelBlocks {
			return corruptValue(p, "label segment", "ascending extents between the two labels", s.Extent())
		}
		floor = s.Extent().End()
	}
	for i := range int(l.Slices) {
		if next[i] == 0 {
			return corruptValue(p, "label slice", "at least one segment", fmt.Sprintf("slice %d has none", i))
		}
	}
	return nil
}

// Slice is the list of segments of one slice in the order of their indices.
func (l *Label) Slice(slice int) []Extent {
	var out []Extent
	for _, s := range l.Segments {
		if int(s.Slice) == slice {
			out = append(out, s.Extent())
		}
	}
	return out
}

// segmentAlign keeps segments at multiples of 1 MiB where the device is large enough for that to cost nothing.
func segmentAlign(perSlice uint64) uint64 {
	if perSlice >= 64*256 {
		return 256
	}
	return 4
}

// PlanLabel divides a device of so many blocks into equal slices of one segment each (more only where a slice is longer
// than an extent can say).
func PlanLabel(device UUID, blocks uint64, slices int) (*Label, error) {
	if slices < 1 || slices > SlicesMax {
		return nil, fmt.Errorf("plan of the label: %d slices, possible are 1…%d", slices, SlicesMax)
	}
	if blocks < 4*labelBlocks {
		return nil, fmt.Errorf("plan of the label: the device has only %d blocks", blocks)
	}
	l := &Label{Version: LabelVersion, Device: device, Blocks: blocks, BlockBytes: BlockBytes, Slices: uint16(slices), Generation: 1}
	align := segmentAlign((blocks - 2*labelBlocks) / uint64(slices))
	first := (uint64(labelBlocks) + align - 1) / align * align
	per := (blocks - labelBlocks - first) / uint64(slices) / align * align
	const lenMax = uint64(1<<32 - 256)
	for i := range slices {
		left, start, index := per, first+uint64(i)*per, uint16(0)
		for left > 0 {
			n := min(left, lenMax)
			l.Segments = append(l.Segments, Segment{BlockNo(start), BlockCount(n), uint16(i), index})
			left, start, index = left-n, start+n, index+1
		}
	}
	if per == 0 || len(l.Segments) > SegmentsMax {
		return nil, fmt.Errorf("plan of the label: %d blocks cannot be divided into %d slices", blocks, slices)
	}
	return l, nil
}

// Layout is where the fixed structures of one slice stand. It is planned once by mkfs and afterwards read from the
// superblock.
type Layout struct {
	Super    [2][2]BlockNo // [slot][copy]
	Journal  Extent
	SpaceMap [2]Extent
	Data     []Extent // what the allocator owns
	Blocks   uint64   // all blocks of the slice's segments
}

// SuperPlaces are the four superblock places of a slice whose first segment is first: both slots at its start, and the
// second copy of both at its end.
func SuperPlaces(first Extent) [2][2]BlockNo {
	var s [2][2]BlockNo
	for slot := range s {
		s[slot][0] = first.Start + BlockNo(slot*SuperPitchBlocks)
		s[slot][1] = first.End() - BlockNo((2-slot)*SuperPitchBlocks)
	}
	return s
}

// PlanSlice lays the fixed structures out in the first segment of a slice.
func PlanSlice(segments []Extent, journal BlockCount) (Layout, error) {
	if len(segments) == 0 || journal < JournalBlocksMin {
		return Layout{}, fmt.Errorf("plan of a slice: %d segments and a journal of %d blocks", len(segments), journal)
	}
	var l Layout
	for _, s := range segments {
		l.Blocks += uint64(s.Len)
	}
	first := segments[0]
	mapBlocks := SpaceMapBlocks(l.Blocks)
	fixed := uint64(4*SuperPitchBlocks) + uint64(journal) + 2*uint64(mapBlocks)
	if fixed >= uint64(first.Len) {
		return Layout{}, fmt.Errorf("plan of a slice: %d blocks of fixed structures in a segment of %d blocks", fixed, first.Len)
	}
	l.Super = SuperPlaces(first)
	l.Journal = Extent{first.Start + 2*SuperPitchBlocks, journal}
	l.SpaceMap[0] = Extent{l.Journal.End(), mapBlocks}
	l.SpaceMap[1] = Extent{l.SpaceMap[0].End(), mapBlocks}
	l.Data = DataExtents(segments, l.SpaceMap[1].End())
	return l, nil
}

// DataExtents is what remains of a slice for data and nodes: everything after dataStart, without the superblock copies
// at the end of the first segment.
func DataExtents(segments []Extent, dataStart BlockNo) []Extent {
	first := segments[0]
	tail := first.End() - 2*SuperPitchBlocks
	return append([]Extent{{dataStart, BlockCount(tail - dataStart)}}, segments[1:]...)
}

// MendLabel decodes a label as if its checksum were right: for people who look at damage. Everything else must hold.
func MendLabel(p Place, b []byte) (*Label, error) {
	if err := checkLen(p, "label", b, LabelBytes); err != nil {
		return nil, err
	}
	b = append([]byte(nil), b[:LabelBytes]...)
	le.PutUint32(b[labelCrc:], Crc(b[:labelCrc]))
	return DecodeLabel(p, b)
}
