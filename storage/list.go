package storage

import (
	"basalt/storage/format"
)

// Objects calls fn for the objects of a collection behind the one that is named after (nil: for all), shorter names first and those of one
// length in order, until fn says false or limit objects were met (limit ≤ 0: all). name is lent until fn returns, and fn must not change the
// store.
func (tx *Tx) Objects(c Coll, after []byte, limit int, fn func(name []byte, info ObjectInfo) bool) error {
	if len(after) > ObjectNameMax {
		return ErrInvalid
	}
	if !tx.s.colls.has(c) {
		return ErrNotFound
	}
	cur := &tx.cur
	cur.lo = append(cur.lo[:0], byte(c>>8), byte(c), byte(format.KindOnode))
	if len(after) > 0 {
		cur.lo = append(format.AppendOnodeKey(cur.lo[:0], uint16(c), after), 0)
	}
	cur.end = format.AppendKindEnd(cur.end[:0], uint16(c), format.KindOnode)
	miss := cur.open(tx.v, cur.lo, cur.end)
	for n := 0; miss.None() && cur.valid; miss = cur.next() {
		k, err := format.DecodeKey(tx.s.place("key"), cur.cur.key)
		if err != nil {
			return err
		}
		o, err := format.DecodeOnode(tx.s.place("onode"), cur.cur.val, false)
		if err != nil {
			return &ObjectError{Coll: c, Name: append([]byte(nil), k.Rest...), Err: err}
		}
		if !fn(k.Rest, ObjectInfo{Size: o.Size, Blocks: o.Blocks, Version: o.Version}) {
			return nil
		}
		if n++; n == limit {
			return nil
		}
	}
	if !miss.None() {
		return tx.missing(miss)
	}
	return nil
}

// Attrs calls fn for the attributes of an object in the order of their names, until fn says false. Both slices are lent until it returns.
func (tx *Tx) Attrs(c Coll, obj []byte, fn func(name, val []byte) bool) error {
	o, err := tx.onodeOf(c, obj)
	if err != nil {
		return err
	}
	for i := range o.Attrs {
		if !fn(o.Attrs[i].Name, o.Attrs[i].Val) {
			return nil
		}
	}
	return nil
}
