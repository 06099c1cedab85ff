package format

import (
	"encoding/binary"
	"fmt"
)

// Kind is the third byte of every tree key, after the collection: what the entry is.
type Kind uint8

// The kinds in key order.
const (
	KindCollection Kind = 1 // the collection's record
	KindOnode      Kind = 2 // length and name of the object
	KindExtent     Kind = 3 // length and name of the object, offset of the first block
	KindUser       Kind = 4 // a key of the collection's ordered key/value range
	KindShare      Kind = 5 // first block, on the device, of a run that extents of several objects may name
)

const keyHead = 3

func appendHead(dst []byte, coll uint16, kind Kind) []byte {
	return append(binary.BigEndian.AppendUint16(dst, coll), byte(kind))
}

// AppendCollectionKey appends the key of a collection's record.
func AppendCollectionKey(dst []byte, coll uint16) []byte {
	return appendHead(dst, coll, KindCollection)
}

// AppendKindEnd appends the first key after all keys of that kind of the collection.
func AppendKindEnd(dst []byte, coll uint16, kind Kind) []byte { return appendHead(dst, coll, kind+1) }

// AppendOnodeKey appends the key of an object. The length before the name makes keys of one object a range that no
// other object's name falls into.
func AppendOnodeKey(dst []byte, coll uint16, name []byte) []byte {
	mustName(name)
	return append(append(appendHead(dst, coll, KindOnode), byte(len(name))), name...)
}

// AppendExtentKey appends the key of the extent record whose first block is the object's block blockOff.
func AppendExtentKey(dst []byte, coll uint16, name []byte, blockOff uint64) []byte {
	mustName(name)
	dst = append(append(appendHead(dst, coll, KindExtent), byte(len(name))), name...)
	return binary.BigEndian.AppendUint64(dst, blockOff)
}

// AppendUserKey appends the tree key of a user key.
func AppendUserKey(dst []byte, coll uint16, key []byte) []byte {
	return append(appendHead(dst, coll, KindUser), key...)
}

// AppendShareKey appends the key of the share record of the blocks from start on.
func AppendShareKey(dst []byte, coll uint16, start BlockNo) []byte {
	return binary.BigEndian.AppendUint64(appendHead(dst, coll, KindShare), uint64(start))
}

// AppendCollectionEnd appends the first key after all keys of the collection.
func AppendCollectionEnd(dst []byte, coll uint16) []byte { return AppendKindEnd(dst, coll, KindShare) }

// OwnsBlocks tells whether entries of that kind name blocks that the tree does not use for itself: an extent record those of its object, unless
// they are shared, and a share record those that are.
func (k Kind) OwnsBlocks() bool { return k == KindExtent || k == KindShare }

func mustName(name []byte) {
	if len(name) == 0 || len(name) > NameBytesMax {
		panic(fmt.Sprintf("format: object name of %d bytes", len(name)))
	}
}

// Key is a tree key taken apart. Rest aliases it: object name, or user key.
type Key struct {
	Coll     uint16
	Kind     Kind
	Rest     []byte
	BlockOff uint64  // of an extent key
	Start    BlockNo // of a share key
}

// ExtentBlockOff is the first block that a key names if it is a whole key of an extent; false: DecodeKey says what it is.
func ExtentBlockOff(b []byte) (off uint64, ok bool) {
	n := len(b) - 8
	if n <= keyHead+1 || n > KeyBytesMax-8 || Kind(b[2]) != KindExtent || int(b[keyHead]) != n-keyHead-1 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[n:]), true
}

// DecodeKey takes a tree key apart.
func DecodeKey(p Place, b []byte) (Key, error) {
	if len(b) < keyHead || len(b) > KeyBytesMax {
		return Key{}, corruptValue(p, "key length", fmt.Sprintf("%d…%d", keyHead, KeyBytesMax), len(b))
	}
	k := Key{Coll: binary.BigEndian.Uint16(b), Kind: Kind(b[2]), Rest: b[keyHead:]}
	tail := 0
	switch k.Kind {
	case KindCollection:
		if len(k.Rest) != 0 {
			return Key{}, corruptValue(p, "collection key length", keyHead, len(b))
		}
		return k, nil
	case KindUser:
		return k, nil
	case KindShare:
		if len(k.Rest) != 8 {
			return Key{}, corruptValue(p, "share key length", keyHead+8, len(b))
		}
		k.Start, k.Rest = BlockNo(binary.BigEndian.Uint64(k.Rest)), nil
		return k, nil
	case KindOnode:
	case KindExtent:
		tail = 8
	default:
		return Key{}, corruptValue(p, "key kind", "1…5", uint8(k.Kind))
	}
	if len(k.Rest) < 2+tail || int(k.Rest[0]) != len(k.Rest)-1-tail {
		return Key{}, corruptValue(p, "object key length", "length of the name", len(k.Rest))
	}
	if tail != 0 {
		k.BlockOff = binary.BigEndian.Uint64(k.Rest[len(k.Rest)-8:])
	}
	k.Rest = k.Rest[1 : len(k.Rest)-tail]
	return k, nil
}
