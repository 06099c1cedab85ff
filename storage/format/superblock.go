package format

import "fmt"

const (
	superMagic = "BASALTSB"
	superCrc   = SuperBytes - 4
)

// JournalStart is where replay begins: the first record that the tree does not yet contain.
type JournalStart struct {
	Position     uint64 // block of the ring
	Sequence     uint64 // of that record
	PrecedingCrc uint32 // crc of the record before it
}

// MapRef is where the space map of this superblock stands.
type MapRef struct {
	Region uint32 // 0 or 1; -1 (all ones) = none, rebuild from the tree
	Bytes  uint64
	Crc    uint32 // of all Bytes
}

// MapNone is the region of a superblock without a space map.
const MapNone = ^uint32(0)

// Superblock is one generation of a store. Slot = Epoch & 1, each slot in two copies.
type Superblock struct {
	Version        uint32
	Slice          uint16
	Copy           uint16
	Device         UUID
	Store          UUID
	Mount          UUID
	Epoch          uint64
	Self           BlockNo // where this copy stands
	Tree           TreeRoot
	Start          JournalStart
	NextTxn        uint64 // number of the first transaction that the tree does not contain
	Journal        Extent
	SpaceMap       [2]Extent
	Map            MapRef
	DataStart      BlockNo // first block of segment 0 that the allocator owns
	Blocks         uint64  // all blocks of the slice
	FreeBlocks     uint64  // what the space map says is free
	WallNs         int64   // when it was written, for people
	NodeBytes      uint32
	BlockBytes     uint32
	KeyBytesMax    uint32
	ValueBytesMax  uint32
	ExtentBlocks   uint32 // most blocks of one extent record
	JournalRecord  uint32 // longest journal record in bytes
	Flags          uint32 // bit 0: cleanly unmounted
	DamagedRepairs uint32 // how often repair has given something up
}

// SuperClean says that the store was unmounted with an empty journal.
const SuperClean = 1

func putExtent(b []byte, e Extent) {
	le.PutUint64(b, uint64(e.Start))
	le.PutUint32(b[8:], uint32(e.Len))
}

func getExtent(b []byte) Extent { return Extent{BlockNo(le.Uint64(b)), BlockCount(le.Uint32(b[8:]))} }

// Encode writes the superblock with its checksum into b, which has SuperBytes.
func (s *Superblock) Encode(b []byte) {
	mustLen("superblock", b, SuperBytes)
	b = b[:SuperBytes]
	clear(b)
	copy(b, superMagic)
	le.PutUint32(b[8:], s.Version)
	le.PutUint16(b[12:], s.Slice)
	le.PutUint16(b[14:], s.Copy)
	copy(b[16:], s.Device[:])
	copy(b[32:], s.Store[:])
	copy(b[48:], s.Mount[:])
	le.PutUint64(b[64:], s.Epoch)
	le.PutUint64(b[72:], uint64(s.Self))
	s.Tree.encode(b[80:])
	le.PutUint64(b[128:], s.Start.Position)
	le.PutUint64(b[136:], s.Start.Sequence)
	le.PutUint32(b[144:], s.Start.PrecedingCrc)
	le.PutUint64(b[152:], s.NextTxn)
	putExtent(b[160:], s.Journal)
	putExtent(b[176:], s.SpaceMap[0])
	putExtent(b[192:], s.SpaceMap[1])
	le.PutUint32(b[208:], s.Map.Region)
	le.PutUint32(b[212:], s.Map.Crc)
	le.PutUint64(b[216:], s.Map.Bytes)
	le.PutUint64(b[224:], uint64(s.DataStart))
	le.PutUint64(b[232:], s.Blocks)
	le.PutUint64(b[240:], s.FreeBlocks)
	le.PutUint64(b[248:], uint64(s.WallNs))
	le.PutUint32(b[256:], s.NodeBytes)
	le.PutUint32(b[260:], s.BlockBytes)
	le.PutUint32(b[264:], s.KeyBytesMax)
	le.PutUint32(b[268:], s.ValueBytesMax)
	le.PutUint32(b[272:], s.ExtentBlocks)
	le.PutUint32(b[276:], s.JournalRecord)
	le.PutUint32(b[280:], s.Flags)
	le.PutUint32(b[284:], s.DamagedRepairs)
	le.PutUint32(b[superCrc:], Crc(b[:superCrc]))
}

// DecodeSuperblock reads the copy that stands at p. A mount discards the copies that fail before it compares epochs.
func DecodeSuperblock(p Place, b []byte) (*Superblock, error) {
	if err := checkLen(p, "superblock", b, SuperBytes); err != nil {
		return nil, err
	}
	b = b[:SuperBytes]
	if err := checkMagic(p, "superblock", superMagic, b); err != nil {
		return nil, err
	}
	if want, got := le.Uint32(b[superCrc:]), Crc(b[:superCrc]); want != got {
		return nil, CorruptCrc(p, "superblock", want, got)
	}
	s := PeekSuperblock(b)
	if err := s.checkPadding(p, b); err != nil {
		return nil, err
	}
	return s, s.check(p)
}

// IsLaterSuperblock tells whether b is a whole superblock of a version that this code does not know. It may be the newest of its store, so it
// must not be passed over like a damaged one.
func IsLaterSuperblock(b []byte) bool {
	return len(b) >= SuperBytes && string(b[:len(superMagic)]) == superMagic && le.Uint32(b[superCrc:]) == Crc(b[:superCrc]) && le.Uint32(b[8:]) > Version
}

// PeekSuperblock reads the fields and checks nothing: for people who look at damage. b has SuperBytes.
func PeekSuperblock(b []byte) *Superblock {
	s := &Superblock{
		Version: le.Uint32(b[8:]), Slice: le.Uint16(b[12:]), Copy: le.Uint16(b[14:]), Epoch: le.Uint64(b[64:]),
		Self: BlockNo(le.Uint64(b[72:])), Tree: decodeTreeRoot(b[80:]),
		Start:   JournalStart{le.Uint64(b[128:]), le.Uint64(b[136:]), le.Uint32(b[144:])},
		NextTxn: le.Uint64(b[152:]), Journal: getExtent(b[160:]),
		SpaceMap:  [2]Extent{getExtent(b[176:]), getExtent(b[192:])},
		Map:       MapRef{Region: le.Uint32(b[208:]), Crc: le.Uint32(b[212:]), Bytes: le.Uint64(b[216:])},
		DataStart: BlockNo(le.Uint64(b[224:])), Blocks: le.Uint64(b[232:]), FreeBlocks: le.Uint64(b[240:]),
		WallNs: int64(le.Uint64(b[248:])), NodeBytes: le.Uint32(b[256:]), BlockBytes: le.Uint32(b[260:]),
		KeyBytesMax: le.Uint32(b[264:]), ValueBytesMax: le.Uint32(b[268:]), ExtentBlocks: le.Uint32(b[272:]),
		JournalRecord: le.Uint32(b[276:]), Flags: le.Uint32(b[280:]), DamagedRepairs: le.Uint32(b[284:]),
	}
	copy(s.Device[:], b[16:])
	copy(s.Store[:], b[32:])
	copy(s.Mount[:], b[48:])
	return s
}

func (s *Superblock) checkPadding(p Place, b []byte) error {
	for _, r := range [][2]int{{113, 128}, {148, 152}, {172, 176}, {188, 192}, {204, 208}, {288, superCrc}} {
		if err := checkZero(p, "superblock", b[r[0]:r[1]], r[0]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Superblock) check(p Place) error {
	switch {
	case s.Version < VersionMin || s.Version > Version:
		return corruptValue(p, "superblock version", fmt.Sprintf("%d…%d", VersionMin, Version), s.Version)
	case s.Self != p.Extent.Start:
		return corruptValue(p, "superblock self block", p.Extent.Start, s.Self)
	case s.Copy > 1:
		return corruptValue(p, "superblock copy", "0 or 1", s.Copy)
	case s.Store.IsZero() || s.Mount.IsZero():
		return corruptValue(p, "superblock identity", "store and mount not zero", s.Store.String()+" "+s.Mount.String())
	case s.BlockBytes != BlockBytes:
		return corruptValue(p, "superblock block size", BlockBytes, s.BlockBytes)
	case !ValidNodeBytes(int(s.NodeBytes)):
		return corruptValue(p, "superblock node size", "a power of two from 4096 to 32768", s.NodeBytes)
	case s.KeyBytesMax != KeyBytesMax || s.ValueBytesMax != ValueBytesMax || s.ExtentBlocks != ExtentBlocksMax:
		return corruptValue(p, "superblock limits", fmt.Sprint(KeyBytesMax, ValueBytesMax, ExtentBlocksMax),
			fmt.Sprint(s.KeyBytesMax, s.ValueBytesMax, s.ExtentBlocks))
	case s.JournalRecord > JournalRecordMax:
		return corruptValue(p, "superblock longest journal record", JournalRecordMax, s.JournalRecord)
	case s.Journal.Len < JournalBlocksMin || s.Start.Position >= uint64(s.Journal.Len):
		return corruptValue(p, "superblock journal start", "a block of the ring "+s.Journal.String(), s.Start.Position)
	case s.Tree.Height > NodeHeightMax || (s.Tree.Height == 0) != (s.Tree.ChildPtr == ChildPtr{}):
		return corruptValue(p, "superblock tree root", "height 0 and no root, or both", s.Tree.Height)
	case s.Map.Region > 1 && s.Map.Region != MapNone:
		return corruptValue(p, "superblock space map region", "0, 1 or none", s.Map.Region)
	case s.Map.Region <= 1 && s.Map.Bytes > uint64(s.SpaceMap[s.Map.Region].Bytes()):
		return corruptValue(p, "superblock space map bytes", s.SpaceMap[s.Map.Region].Bytes(), s.Map.Bytes)
	}
	return nil
}

// CheckAgainst verifies that the superblock is the one of this slice of this device and that everything it names lies
// in the slice's first segment.
func (s *Superblock) CheckAgainst(p Place, l *Label, slice int) error {
	if s.Device != l.Device || int(s.Slice) != slice {
		return corruptValue(p, "superblock owner", fmt.Sprintf("device %v slice %d", l.Device, slice),
			fmt.Sprintf("device %v slice %d", s.Device, s.Slice))
	}
	segments := l.Slice(slice)
	want, err := PlanSlice(segments, s.Journal.Len)
	if err != nil {
		return corrupt(p, "superblock layout", "a plan that fits", err.Error())
	}
	if s.Journal != want.Journal || s.SpaceMap != want.SpaceMap || s.DataStart != want.Data[0].Start || s.Blocks != want.Blocks {
		return corrupt(p, "superblock layout", fmt.Sprint(want.Journal, want.SpaceMap, want.Data[0].Start, want.Blocks),
			fmt.Sprint(s.Journal, s.SpaceMap, s.DataStart, s.Blocks))
	}
	return nil
}

// ValidNodeBytes tells whether n is a size that tree nodes may have.
func ValidNodeBytes(n int) bool { return n >= NodeBytesMin && n <= NodeBytesMax && n&(n-1) == 0 }
