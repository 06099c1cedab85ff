package meta

import (
	"bytes"

	"basalt/meta/record"
)

// rename moves an entry, in one transaction whatever the directories are: over another one, or in exchange with it. Modes and the sticky bit
// have been checked by the kernel.
func (o *operation) rename() error {
	q := o.q
	exchange := q.Flags&record.FlagExchange != 0
	if exchange && q.Flags&record.FlagNoReplace != 0 || q.Flags&^(record.FlagExchange|record.FlagNoReplace) != 0 {
		return record.Invalid
	}
	from, moved, err := o.existing(q.Dir, q.Name)
	if err != nil {
		return err
	}
	to, other, err := o.existing(q.NewDir, q.NewName)
	switch {
	case err == record.NotFound && to != nil && !exchange:
	case err != nil:
		return err
	case q.Flags&record.FlagNoReplace != 0:
		return record.Exists
	}
	if other == moved || from == to && bytes.Equal(q.Name, q.NewName) {
		o.p.Attr = moved.Attr
		return nil
	}
	if err := o.mayMove(moved, from, to); err != nil {
		return err
	}
	if exchange {
		return o.exchange(from, moved, to, other)
	}
	return o.replace(from, moved, to, other)
}

// mayMove refuses to make a directory its own ancestor. All that decides is read on this turn, so two renames can't cross.
func (o *operation) mayMove(moved, from, to *node) error {
	if !moved.IsDir() || from == to {
		return nil
	}
	at := to.Ino
	parent := to.Parent
	for range walkMax {
		if at == moved.Ino {
			return record.Invalid
		}
		if at == record.RootIno || at == from.Ino {
			return nil
		}
		at = parent
		val, err := o.get(at.Group(), record.AppendInoKey(o.key[:0], record.KindInode, at))
		if err == record.NotFound {
			return &record.CorruptError{What: "directory without parent", Want: uint64(at)}
		}
		if err != nil {
			return err
		}
		var i record.Inode
		if err := i.Decode(val); err != nil {
			return err
		}
		parent = i.Parent
	}
	return record.Loop
}

// replace moves an entry to a name that is free or becomes so.
func (o *operation) replace(from, moved, to, other *node) error {
	if other != nil {
		switch {
		case moved.IsDir() && !other.IsDir():
			return record.NotDir
		case !moved.IsDir() && other.IsDir():
			return record.IsDir
		}
		if other.IsDir() {
			if err := o.mustBeEmpty(other); err != nil {
				return err
			}
			to.Nlink--
		}
		to.Size--
		if err := o.drop(other); err != nil {
			return err
		}
	}
	o.leave(from, o.q.Name)
	o.enter(to, o.q.NewName, moved)
	from.Size--
	to.Size++
	o.settleIn(moved, from, to, o.q.NewName)
	o.touch(from, true)
	o.touch(to, true)
	o.touch(moved, false)
	o.p.Attr = moved.Attr
	return nil
}

// exchange lets two entries change places.
func (o *operation) exchange(from, moved, to, other *node) error {
	if err := o.mayMove(other, to, from); err != nil {
		return err
	}
	o.enter(to, o.q.NewName, moved)
	o.enter(from, o.q.Name, other)
	o.settleIn(moved, from, to, o.q.NewName)
	o.settleIn(other, to, from, o.q.Name)
	o.touch(from, true)
	o.touch(to, true)
	o.touch(moved, false)
	o.touch(other, false)
	o.p.Attr, o.p.Ino = moved.Attr, other.Ino
	return nil
}

// settleIn tells a directory that moved its new place, and both parents that they lost and won a "..".
func (o *operation) settleIn(moved, from, to *node, name []byte) {
	if !moved.IsDir() {
		return
	}
	moved.Name, moved.Parent = name, to.Ino
	if from != to {
		from.Nlink--
		to.Nlink++
	}
}
