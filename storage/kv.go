package storage

import (
	"bytes"

	"basalt/storage/format"
)

// Get is the value of a user key, lent until the closure returns.
func (tx *Tx) Get(c Coll, key []byte) ([]byte, error) {
	if len(key) > KeyMax {
		return nil, ErrTooLarge
	}
	tx.key = format.AppendUserKey(tx.key[:0], uint16(c), key)
	val, ok, miss := tx.v.get(tx.key)
	if !miss.None() {
		return nil, tx.missing(miss)
	}
	if !ok {
		return nil, ErrNotFound
	}
	return val, nil
}

// Put sets a user key. Both slices are copied.
func (tx *Tx) Put(c Coll, key, val []byte) error {
	if err := tx.writable(c); err != nil {
		return err
	}
	if len(key) > KeyMax || len(val) > ValueMax {
		return ErrTooLarge
	}
	if err := tx.log(&format.Op{Kind: format.OpPut, Coll: uint16(c), Key: key, Val: val}); err != nil {
		return err
	}
	tx.key = format.AppendUserKey(tx.key[:0], uint16(c), key)
	tx.putBytes += len(key) + len(val)
	return tx.put(tx.key, val, itemPut, 0)
}

// Delete removes a user key, which need not exist.
func (tx *Tx) Delete(c Coll, key []byte) error {
	if err := tx.writable(c); err != nil {
		return err
	}
	if len(key) > KeyMax {
		return ErrTooLarge
	}
	if err := tx.log(&format.Op{Kind: format.OpDelete, Coll: uint16(c), Key: key}); err != nil {
		return err
	}
	tx.shrank = true
	tx.key = format.AppendUserKey(tx.key[:0], uint16(c), key)
	return tx.put(tx.key, nil, itemDel, 0)
}

// DeleteRange removes the user keys in [lo, hi); an empty hi is the end of the collection. It costs the same for any number of keys.
func (tx *Tx) DeleteRange(c Coll, lo, hi []byte) error {
	if err := tx.writable(c); err != nil {
		return err
	}
	if len(lo) > KeyMax || len(hi) > KeyMax {
		return ErrTooLarge
	}
	if err := tx.log(&format.Op{Kind: format.OpDeleteRange, Coll: uint16(c), Key: lo, Hi: hi}); err != nil {
		return err
	}
	tx.shrank = true
	tx.key, tx.key2 = userRange(tx.key[:0], tx.key2[:0], c, lo, hi)
	if bytes.Compare(tx.key, tx.key2) >= 0 {
		return nil
	}
	return tx.bury(tx.key, tx.key2)
}

// userRange makes the tree keys of a range of user keys.
func userRange(dstLo, dstHi []byte, c Coll, lo, hi []byte) (tlo, thi []byte) {
	tlo = format.AppendUserKey(dstLo, uint16(c), lo)
	if len(hi) == 0 {
		return tlo, format.AppendKindEnd(dstHi, uint16(c), format.KindUser)
	}
	return tlo, format.AppendUserKey(dstHi, uint16(c), hi)
}

// Scan calls fn for the user keys in [lo, hi), in order, until fn says false or limit keys were met (limit ≤ 0: all). An empty hi is the end
// of the collection. Key and value are lent until fn returns. fn may change the store.
func (tx *Tx) Scan(c Coll, lo, hi []byte, limit int, fn func(key, val []byte) bool) error {
	cur := tx.pushCursor()
	defer tx.popCursor()
	cur.lo, cur.end = userRange(cur.lo[:0], cur.end[:0], c, lo, hi)
	miss := cur.open(tx.v, cur.lo, cur.end)
	for n := 0; miss.None() && cur.valid; miss = cur.next() {
		if !fn(cur.cur.key[userKeyAt:], cur.cur.val) {
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

// CreateCollection makes an empty collection.
func (tx *Tx) CreateCollection(c Coll) error {
	if !tx.write {
		return ErrReadOnly
	}
	if tx.s.colls.has(c) {
		return ErrExists
	}
	if err := tx.log(&format.Op{Kind: format.OpCreateCollection, Coll: uint16(c)}); err != nil {
		return err
	}
	tx.flipColl(c)
	rec := format.CollectionRecord{Version: uint64(tx.seq), Created: uint64(tx.seq)}
	tx.val = append(tx.val[:0], make([]byte, format.CollectionRecBytes)...)
	rec.Encode(tx.val)
	tx.key = format.AppendCollectionKey(tx.key[:0], uint16(c))
	return tx.put(tx.key, tx.val, itemPut, 0)
}

// DeleteCollection removes a collection with everything in it. It costs the same for any number of keys and objects.
func (tx *Tx) DeleteCollection(c Coll) error {
	if err := tx.writable(c); err != nil {
		return err
	}
	if err := tx.log(&format.Op{Kind: format.OpDeleteCollection, Coll: uint16(c)}); err != nil {
		return err
	}
	tx.shrank, tx.room = true, true
	tx.flipColl(c)
	tx.cuts(c, nil, 0, blockOffMax)
	tx.key = format.AppendCollectionKey(tx.key[:0], uint16(c))
	tx.key2 = format.AppendCollectionEnd(tx.key2[:0], uint16(c))
	return tx.bury(tx.key, tx.key2)
}

// HasCollection tells whether the collection exists.
func (tx *Tx) HasCollection(c Coll) bool { return tx.s.colls.has(c) }

func (tx *Tx) flipColl(c Coll) {
	tx.s.colls.flip(c)
	tx.undo = append(tx.undo, undoStep{what: undoColl, n: uint32(c)})
}

func (tx *Tx) writable(c Coll) error {
	if !tx.write {
		return ErrReadOnly
	}
	if !tx.s.colls.has(c) {
		return ErrNotFound
	}
	return nil
}

// collSet is the set of collections that exist. 65536 / 8 = 8 KiB.
type collSet [1 << 16 / 64]uint64

func (s *collSet) has(c Coll) bool { return s[c/64]>>(c%64)&1 != 0 }
func (s *collSet) flip(c Coll)     { s[c/64] ^= 1 << (c % 64) }

// userKeyAt is where the user key starts in a tree key.
const userKeyAt = 3
