package storage

import (
	"bytes"
	"fmt"

	"basalt/engine"
	"basalt/storage/format"
)

// What is left of a torn tree is made to agree with itself before the journal is replayed over it: collections get their records, objects their
// onodes, and onodes the number of blocks that there are. So what the journal does to an object finds one, and takes away what it took away then.

// noRecord notes a collection that has keys and no record.
func (sv *salvage) noRecord(c uint16) {
	if sv.torn() {
		sv.colls = append(sv.colls, Coll(c))
	}
}

func (sv *salvage) did(what string, args ...any) {
	if len(sv.done) < findingsMax {
		sv.done = append(sv.done, fmt.Sprintf(what, args...))
	}
}

// addCollections makes records for them.
func (sv *salvage) addCollections(f *engine.Fiber, s *Store) error {
	for _, c := range sv.colls {
		if err := s.unlogged(f, func(tx *Tx) error { return tx.CreateCollection(c) }); err != nil {
			return err
		}
		sv.did("collection %d: its record was lost, it has a new one", c)
	}
	return nil
}

// replayed takes the error of an operation of the journal: one on something of which nothing is left is lost with it, and one on such a collection
// begins it anew.
func (sv *salvage) replayed(tx *Tx, op *format.Op, err error) error {
	if err != ErrNotFound || !sv.torn() {
		return err
	}
	if c := Coll(op.Coll); !tx.s.colls.has(c) && op.Kind != format.OpDeleteCollection {
		if err := tx.CreateCollection(c); err != nil {
			return err
		}
		if err = tx.replayOp(op); err != ErrNotFound {
			return err
		}
	}
	tx.idle = append(tx.idle, idleOp(tx.seq, op))
	return nil
}

// idleOp says of an operation of the journal that it found nothing to work on.
func idleOp(txn Seq, op *format.Op) string {
	said := fmt.Sprintf("lost: the %v of transaction %d in collection %d", op.Kind, txn, op.Coll)
	if len(op.Name) > 0 {
		said += fmt.Sprintf(", object %x", op.Name)
	}
	if op.Kind == format.OpClone { // the clone itself lies in no lost range
		said += fmt.Sprintf(": there is no object %x", op.Key)
	}
	return said
}

// survivor is an object of which something is left.
type survivor struct {
	coll     Coll
	name     []byte
	hasOnode bool
}

// reconcile looks at every collection and object.
func (sv *salvage) reconcile(f *engine.Fiber, s *Store) error {
	if !sv.torn() {
		return nil
	}
	s.replaying = true
	defer func() { s.replaying = false }()
	if err := sv.addCollections(f, s); err != nil {
		return err
	}
	var at []byte
	var last survivor // a long object goes over many parts of the list
	for at = []byte{0}; len(at) > 0; {
		var list []survivor
		var err error
		if list, at, err = s.someObjects(f, at); err != nil {
			return err
		}
		for i := range list {
			v := &list[i]
			if !v.hasOnode && v.coll == last.coll && bytes.Equal(v.name, last.name) {
				continue
			}
			if err := sv.reconcileObject(f, s, v); err != nil {
				return err
			}
			last = *v
		}
	}
	return nil
}

// someObjects lists objects from a tree key on, by their onodes and by their first extents, and says where to go on.
func (s *Store) someObjects(f *engine.Fiber, from []byte) (list []survivor, next []byte, err error) {
	err = s.View(f, func(tx *Tx) error {
		list, next = list[:0], nil
		cur := &tx.cur
		miss := cur.open(tx.v, from, nil)
		for n := 0; miss.None() && cur.valid; miss = cur.next() {
			if n == ListMax {
				next = bytes.Clone(cur.cur.key)
				return nil
			}
			n++
			k, err := format.DecodeKey(s.place("key"), cur.cur.key)
			if err != nil {
				return err
			}
			if k.Kind != format.KindOnode && k.Kind != format.KindExtent {
				continue
			}
			if i := len(list) - 1; i < 0 || list[i].coll != Coll(k.Coll) || !bytes.Equal(list[i].name, k.Rest) {
				list = append(list, survivor{coll: Coll(k.Coll), name: bytes.Clone(k.Rest), hasOnode: k.Kind == format.KindOnode})
			}
		}
		if !miss.None() {
			return tx.missing(miss)
		}
		return nil
	})
	return list, next, err
}

// blocksLeft counts the blocks of an object, and says where they end.
func (s *Store) blocksLeft(f *engine.Fiber, c Coll, obj []byte) (blocks, end uint64, err error) {
	for from, more := uint64(0), true; more; from = end {
		var some uint64
		err = s.View(f, func(tx *Tx) error {
			some, end, more = 0, from, false
			cur := &tx.cur
			cur.lo = format.AppendExtentKey(cur.lo[:0], uint16(c), obj, from)
			cur.end = format.AppendExtentKey(cur.end[:0], uint16(c), obj, blockOffMax)
			miss := cur.open(tx.v, cur.lo, cur.end)
			for n := 0; miss.None() && cur.valid; miss = cur.next() {
				if n++; n > ListMax {
					more = true
					return nil
				}
				p, err := s.piece(&cur.cur)
				if err != nil {
					return err
				}
				some, end = some+p.end()-p.off, p.end()
			}
			if !miss.None() {
				return tx.missing(miss)
			}
			return nil
		})
		if err != nil {
			return 0, 0, err
		}
		blocks += some
	}
	return blocks, end, nil
}

// reconcileObject gives an object without an onode a new one, and corrects the number of blocks of one that has lost some.
func (sv *salvage) reconcileObject(f *engine.Fiber, s *Store, v *survivor) error {
	blocks, end, err := s.blocksLeft(f, v.coll, v.name)
	if err != nil {
		return err
	}
	said := ""
	err = s.unlogged(f, func(tx *Tx) error {
		said = ""
		o, err := tx.onodeOf(v.coll, v.name)
		approx := o.Flags&format.OnodeApprox != 0
		switch {
		case err == ErrNotFound:
			o = format.Onode{Size: end * format.BlockBytes, Blocks: blocks}
			said = fmt.Sprintf("object %x of collection %d: its onode was lost; what was found of it, %d blocks, is kept with a size of %d bytes and without attributes", v.name, v.coll, blocks, o.Size)
		case err != nil:
			return err
		case o.Blocks == blocks || approx && blocks < o.Blocks:
			return nil
		default:
			said = fmt.Sprintf("object %x of collection %d: of its %d blocks %d are left, the others are holes now", v.name, v.coll, o.Blocks, blocks)
			o.Blocks = blocks
		}
		return tx.setOnode(v.coll, v.name, &o)
	})
	if err == nil && said != "" {
		sv.did("%s", said)
	}
	return err
}
