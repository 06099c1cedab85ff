package format

// The versions of the format stand in superblocks. A store is of the version of its newest one: it is made with Version, and one of an older
// version is served as it is until it needs what came later.
const (
	VersionMin   = 1 // the oldest that this code reads
	VersionClone = 2 // from here on blocks may be shared by objects
	Version      = 2 // of a new store, and the newest that this code reads

	LabelVersion = 1 // of labels, which have not changed
)

// Sizes and limits of the format. Those that a reader must know are also written into the superblock.
const (
	BlockBytes = 4096

	LabelBytes   = 4 * BlockBytes
	SlicesMax    = 256
	SegmentsMax  = 1008
	SegmentBytes = 16

	SuperBytes       = BlockBytes
	SuperPitchBlocks = 4 // distance between slots: a torn or retried 16 KiB flash page never holds both

	NodeBytesMin     = 4096
	NodeBytesMax     = 32768
	NodeBytesDefault = 16384
	NodeHeaderBytes  = 64
	NodeHeightMax    = 24
	ChildPtrBytes    = 32

	KeyBytesMax         = 512
	NameBytesMax        = 255 // an object's name: its length is one byte of the key
	AttrNameBytesMax    = 255
	AttrsMax            = 256
	ValueBytesMax       = 65536
	ValueInlineMax      = 1024 // longer values live out of line; a policy of the writer, readers take both
	ValueExtentBytes    = 16
	ValuePiecesMax      = ValueBytesMax / BlockBytes // one piece a block at the worst
	ObjectBytesMax      = 1 << 40
	ObjectBlocksMax     = ObjectBytesMax / BlockBytes
	ExtentBlocksMax     = 64
	ExtentRecordHeader  = 16
	ExtentRecordMax     = ExtentRecordHeader + 4*ExtentBlocksMax
	ShareRecordBytes    = 8
	OnodeHeaderBytes    = 40
	CollectionRecBytes  = 24
	JournalHeaderBytes  = 128
	JournalRecordMax    = 64 << 20
	JournalBlocksMin    = 4
	TxnHeaderBytes      = 32
	TxnBytesMax         = 16 << 20
	TxnOpsMax           = 1 << 20
	OpHeaderBytes       = 8
	WritePieceBytes     = 24
	SpaceMapHeaderBytes = 128
)

// Relations between the limits. Each fails to compile when it no longer holds.
const (
	// Three entries of the worst size fit into the smallest node, so that a split always finds two halves.
	_ = uint(NodeBytesMin - NodeHeaderBytes - KeyBytesMax - 2*(2+4+KeyBytesMax+ValueInlineMax))
	_ = uint(LabelBytes - 4 - labelSegments - SegmentsMax*SegmentBytes)
	_ = uint(65535 - NodeBytesMax)             // cell offsets are 16 bits
	_ = uint(ValueInlineMax - ExtentRecordMax) // extent records are always inline
	_ = uint(JournalRecordMax - JournalHeaderBytes - TxnBytesMax)
	// The longest key that the store makes: collection, kind, length, name, block offset.
	_ = uint(KeyBytesMax - (2 + 1 + 1 + NameBytesMax + 8))
)
