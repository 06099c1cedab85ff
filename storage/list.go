package storage

import (
	"bytes"

	"basalt/storage/format"
)

const (
	// ListMax is how many objects one page of a listing has at most.
	ListMax = 1024

	// listBytesMax ends a page earlier: attributes stand in the onodes, and all that a page has visited is in memory at once.
	listBytesMax = 1 << 20
)

// Objects calls fn for the objects of a collection that come behind the one named `after`, which need not exist (any more); nil: from the
// first. Shorter names come first, names of one length in the order of their bytes. After limit objects (0: ListMax), or fewer if they are
// large, the page ends; more says that the collection goes on, and the last name is where the next page begins. An object that exists from the
// first page to the last is listed once, whatever comes and goes meanwhile. fn ends the page by false; the name is lent until it returns, and
// it may change the store.
func (tx *Tx) Objects(c Coll, after []byte, limit int, fn func(name []byte, info ObjectInfo) bool) (more bool, err error) {
	switch {
	case limit < 0 || limit > ListMax || len(after) > ObjectNameMax:
		return false, ErrInvalid
	case !tx.s.colls.has(c):
		return false, ErrNotFound
	case limit == 0:
		limit = ListMax
	}
	cur := tx.pushCursor()
	defer tx.popCursor()
	cur.lo = format.AppendKindEnd(cur.lo[:0], uint16(c), format.KindCollection)
	if len(after) > 0 {
		cur.lo = append(format.AppendOnodeKey(cur.lo[:0], uint16(c), after), 0)
	}
	cur.end = format.AppendKindEnd(cur.end[:0], uint16(c), format.KindOnode)
	miss := cur.open(tx.v, cur.lo, cur.end)
	for n, size := 0, 0; miss.None() && cur.valid; miss = cur.next() {
		if n == limit || size > listBytesMax {
			return true, nil
		}
		k, err := format.DecodeKey(tx.s.place("onode key"), cur.cur.key)
		if err != nil {
			return false, tx.breaks(err)
		}
		o, err := format.DecodeOnode(tx.s.place("onode"), cur.cur.val, false)
		if err != nil {
			return false, tx.breaks(&ObjectError{Coll: c, Name: bytes.Clone(k.Rest), Err: err})
		}
		n, size = n+1, size+len(cur.cur.val)
		if !fn(k.Rest, ObjectInfo{Size: o.Size, Blocks: o.Blocks, Version: o.Version}) {
			return true, nil
		}
	}
	if !miss.None() {
		return false, tx.missing(miss)
	}
	return false, nil
}

// pushCursor lends a cursor to a scan, which may run inside another one.
func (tx *Tx) pushCursor() *viewCursor {
	if tx.scanning == len(tx.scans) {
		tx.scans = append(tx.scans, &viewCursor{})
	}
	tx.scanning++
	return tx.scans[tx.scanning-1]
}

func (tx *Tx) popCursor() { tx.scanning-- }
