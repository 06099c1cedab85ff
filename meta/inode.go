package meta

import (
	"basalt/meta/record"
	"basalt/storage"
)

// get reads a key; what is lent is good until decide returns. record.NotFound if there is none.
func (o *operation) get(group uint16, key []byte) ([]byte, error) {
	val, err := o.tx.Get(storage.Coll(group), key)
	if err == storage.ErrNotFound {
		return nil, record.NotFound
	}
	return val, err
}

// put, del and the others below note the first error, so that decisions read straight: run returns it.
func (o *operation) put(group uint16, key, val []byte) {
	o.note(o.tx.Put(storage.Coll(group), key, val))
}

func (o *operation) del(group uint16, key []byte) {
	o.note(o.tx.Delete(storage.Coll(group), key))
}

// essential lets the transaction use all of the space that the store keeps for removals: what the server needs to start, and to let somebody in
// who can make room, must be possible on a full store. Such a transaction rewrites a few small records.
func (o *operation) essential() { o.tx.MakesRoom() }

// rewrites lets the transaction use that space but for the last of it, by removing a key that there never is. Others may do so as often as they
// like: it must not be what keeps a file from being removed.
func (o *operation) rewrites() { o.del(record.ShardGroup, []byte{byte(record.KindNothing)}) }

func (o *operation) note(err error) {
	if o.err == nil {
		o.err = err
	}
}

// inode loads an inode, once per attempt.
func (o *operation) inode(ino record.Ino) (*node, error) {
	for i := range o.inodes[:o.n] {
		if o.inodes[i].Ino == ino {
			return &o.inodes[i], nil
		}
	}
	if !o.s.has(ino) {
		return nil, record.NotFound
	}
	val, err := o.get(ino.Group(), record.AppendInoKey(o.key[:0], record.KindInode, ino))
	if err != nil {
		return nil, err
	}
	i := o.slot()
	if err := i.Decode(val); err != nil {
		return nil, err
	}
	if i.Ino != ino {
		return nil, &record.CorruptError{What: "inode under another's key", Want: uint64(ino), Got: uint64(i.Ino)}
	}
	return i, nil
}

// has reports whether the number is one that this file system gives out.
func (s *Shard) has(ino record.Ino) bool {
	return uint32(ino.Group()) < s.fs.Groups && ino.Counter() != 0
}

func (o *operation) slot() *node {
	if o.n == inodesMax {
		panic("meta: an operation touches more inodes than it may")
	}
	i := &o.inodes[o.n]
	o.n++
	*i = node{}
	return i
}

// dir loads a directory that has not been removed.
func (o *operation) dir(ino record.Ino) (*node, error) {
	i, err := o.inode(ino)
	switch {
	case err != nil:
		return nil, err
	case !i.IsDir():
		return nil, record.NotDir
	case i.Nlink == 0:
		return nil, record.NotFound
	}
	return i, nil
}

// regular loads a regular file.
func (o *operation) regular(ino record.Ino) (*node, error) {
	i, err := o.inode(ino)
	switch {
	case err != nil:
		return nil, err
	case i.IsDir():
		return nil, record.IsDir
	case !i.IsRegular():
		return nil, record.Invalid
	}
	return i, nil
}

// touch marks an inode as changed now; data also changes what it holds.
func (o *operation) touch(i *node, data bool) {
	i.Ctime = o.nowNs
	if data {
		i.Mtime = o.nowNs
	}
	if !i.dirty {
		i.Version++
		i.dirty = true
	}
}

// flush writes the changed inodes back.
func (o *operation) flush() {
	for k := range o.inodes[:o.n] {
		i := &o.inodes[k]
		key := record.AppendInoKey(o.key[:0], record.KindInode, i.Ino)
		switch {
		case i.gone:
			o.del(i.Ino.Group(), key)
		case i.dirty:
			o.put(i.Ino.Group(), key, i.Append(o.val[:0]))
		}
	}
}

func (o *operation) delRange(group uint16, lo, hi []byte) {
	o.note(o.tx.DeleteRange(storage.Coll(group), lo, hi))
}

// scan calls fn for the keys in [lo, hi) until it says false; limit 0: all.
func (o *operation) scan(group uint16, lo, hi []byte, limit int, fn func(key, val []byte) bool) error {
	return o.tx.Scan(storage.Coll(group), lo, hi, limit, fn)
}
