package storage

import "basalt/storage/format"

// The words of the format, which are the words of the store.
type (
	BlockNo    = format.BlockNo
	BlockCount = format.BlockCount
	Extent     = format.Extent
)

const maxTreeKey = format.KeyBytesMax

func offsetOf(b BlockNo) int64 { return int64(b) * format.BlockBytes }
