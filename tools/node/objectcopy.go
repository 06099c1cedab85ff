package node

import (
	"errors"

	"basalt/engine"
	"basalt/storage"
	"basalt/storage/dump"
	"basalt/tools/outcome"
)

// Copy clones an object inside its collection: no data is copied, the two share their blocks until one of them is changed.
func (o *Objects) Copy(from, to []byte) error {
	return o.change(func(f *engine.Fiber, s *storage.Store) error {
		seq, err := s.Update(f, func(tx *storage.Tx) error {
			if o.Replace && string(from) != string(to) {
				if err := tx.Remove(o.coll(), to); err != nil && err != storage.ErrNotFound {
					return err
				}
			}
			return tx.Clone(o.coll(), from, to)
		})
		if err == nil {
			err = s.Commit(f, seq)
		}
		switch {
		case errors.Is(err, storage.ErrExists):
			return outcome.New(outcome.Failed, "object %s of collection %d on %s is there already: --replace replaces it", dump.Name(to), o.Collection, o.Device)
		case errors.Is(err, storage.ErrTooLarge):
			return outcome.New(outcome.Failed, "object %s of collection %d on %s, or the one it would replace, lies in too many pieces for one transaction: get and put it, and remove what is in the way", dump.Name(from), o.Collection, o.Device)
		}
		return o.explain(from, err)
	})
}

// remove removes an object. What lies in too many pieces for one transaction, or for the little space that a full store keeps for removals, is marked
// as unfinished and cut from its end before it goes.
func (o *Objects) remove(f *engine.Fiber, s *storage.Store, name []byte) (storage.Seq, error) {
	for {
		seq, err := s.Update(f, func(tx *storage.Tx) error { return tx.Remove(o.coll(), name) })
		if !errors.Is(err, storage.ErrTooLarge) && !errors.Is(err, storage.ErrFull) {
			return seq, err
		}
		if err := o.cut(f, s, name); err != nil {
			return 0, err
		}
	}
}

// cutLeast bytes of an object are never too much for one transaction, whatever pieces they lie in: half of the store's SharedMax in blocks. On a full
// store the space that is kept for removals may be enough for a few blocks only.
const (
	cutLeast     = 4 << 20
	cutLeastFull = cutBlock
	cutBlock     = 4096
)

// cut takes away as much of an object's end as one transaction can.
func (o *Objects) cut(f *engine.Fiber, s *storage.Store, name []byte) error {
	n, least := uint64(0), uint64(cutLeast)
	for {
		_, err := s.Update(f, func(tx *storage.Tx) error {
			info, err := tx.Stat(o.coll(), name)
			if err != nil {
				return err
			}
			if info.Size == 0 {
				return storage.ErrFull // even the name is too much
			}
			if n == 0 {
				n = info.Size / 2
			}
			if err := tx.SetAttr(o.coll(), name, unfinished, []byte{1}); err != nil {
				return err
			}
			left := info.Size - min(info.Size, max(n, least))
			left = (left + cutBlock - 1) / cutBlock * cutBlock // a part of a block would have to be written
			return tx.Truncate(o.coll(), name, left)
		})
		switch {
		case errors.Is(err, storage.ErrFull):
			least = cutLeastFull
		case !errors.Is(err, storage.ErrTooLarge):
			return err
		}
		if n <= least {
			return err
		}
		n /= 2
	}
}
