package meta

import (
	"basalt/engine"
	"basalt/meta/record"
	"basalt/storage"
)

// A file's bytes are either inline (AttrInline: the DATA record, at most InlineMax bytes; what the size says beyond them is a hole) or in
// objects, one for each stripe, of which any may be absent or shorter than its stripe. A file starts inline, moves to objects in the transaction
// of the first write that does not fit, and becomes inline again when it is emptied.

// object is a stripe's object: collection and name.
func (o *operation) object(ino record.Ino, stripe uint32) (storage.Coll, []byte) {
	name := record.AppendObjectName(o.name[:0], ino, stripe)
	return storage.Coll(record.StripeGroup(o.s.fs.Seed, ino, stripe, o.s.fs.Groups)), name
}

// inlineBytes are the inline bytes of a file, lent until decide returns.
func (o *operation) inlineBytes(i *node) ([]byte, error) {
	val, err := o.get(i.Ino.Group(), record.AppendInoKey(o.key[:0], record.KindData, i.Ino))
	if err == record.NotFound {
		return nil, nil
	}
	if err == nil && (len(val) > int(o.s.fs.InlineMax) || uint64(len(val)) > i.Size) {
		return nil, &record.CorruptError{What: "inline data longer than the file", Want: i.Size, Got: uint64(len(val))}
	}
	return val, err
}

// setInline replaces the inline bytes of a file.
func (o *operation) setInline(i *node, val []byte) {
	key := record.AppendInoKey(o.key[:0], record.KindData, i.Ino)
	if i.Blocks = 0; len(val) == 0 {
		o.del(i.Ino.Group(), key)
		return
	}
	i.Blocks = inlineUnits
	o.put(i.Ino.Group(), key, val)
}

const (
	blockUnits  = 4096 / 512 // Attr.Blocks of one block of the store
	inlineUnits = blockUnits // inline bytes count as one: they are in use
)

// readData answers a read: inline bytes on this turn, the others from the objects, where the fiber may suspend.
func (o *operation) readData(f *engine.Fiber) error {
	if uint64(o.q.Count) < uint64(len(o.dst)) {
		o.dst = o.dst[:o.q.Count]
	}
	if err := o.view(f); err != nil || o.inline {
		return err
	}
	n := int(o.p.Count)
	stripe := uint64(o.s.fs.StripeSize)
	for done := 0; done < n; {
		at := o.q.Off + uint64(done)
		part := o.dst[done:min(n, done+int(stripe-at%stripe))]
		got, err := 0, error(nil)
		if number := at / stripe; number < uint64(o.stripes) {
			c, name := o.object(o.q.Ino, uint32(number))
			got, err = o.s.store.Read(f, c, name, at%stripe, part)
		}
		if err != nil && err != storage.ErrNotFound {
			return err
		}
		clear(part[got:])
		done += len(part)
	}
	return nil
}

// readInode is the decision of a read.
func (o *operation) readInode() error {
	i, err := o.regular(o.q.Ino)
	if err != nil {
		return err
	}
	o.inline, o.stripes, o.size = i.Flags&record.AttrInline != 0, i.Stripes, i.Size
	left := i.Size - min(i.Size, o.q.Off)
	dst := o.dst
	if uint64(len(dst)) >= left {
		dst = dst[:left]
		o.p.Flags |= record.ReplyEOF
	}
	o.p.Count = uint32(len(dst))
	if !o.inline {
		return nil
	}
	val, err := o.inlineBytes(i)
	if err != nil {
		return err
	}
	n := 0
	if o.q.Off < uint64(len(val)) {
		n = copy(dst, val[o.q.Off:])
	}
	clear(dst[n:])
	return nil
}

// write is the decision of a write.
func (o *operation) write() error {
	i, err := o.regular(o.q.Ino)
	if err != nil {
		return err
	}
	off := o.q.Off
	if o.q.Flags&record.FlagAppend != 0 {
		off = i.Size
	}
	n := uint64(len(o.data))
	if off > record.SizeMax || n > record.SizeMax-off {
		return record.TooBig
	}
	if n > uint64(o.s.fs.StripeSize) {
		return record.Invalid
	}
	if n > 0 {
		if err := o.writeBytes(i, off); err != nil {
			return err
		}
		i.Size = max(i.Size, off+n)
	}
	o.touch(i, true)
	if o.q.Flags&record.FlagKillPriv != 0 {
		if err := o.killPriv(i); err != nil {
			return err
		}
	}
	o.p.Attr, o.p.Off, o.p.Count = i.Attr, off, uint32(n)
	return nil
}

func (o *operation) writeBytes(i *node, off uint64) error {
	if i.Flags&record.AttrInline == 0 {
		return o.writeObjects(i, off, o.data)
	}
	old, err := o.inlineBytes(i)
	if err != nil {
		return err
	}
	if end := off + uint64(len(o.data)); end <= uint64(o.s.fs.InlineMax) {
		if off == 0 && len(o.data) >= len(old) {
			o.setInline(i, o.data)
			return nil
		}
		n := max(end, uint64(len(old)))
		clear(o.block[copy(o.block[:], old):n])
		copy(o.block[off:], o.data)
		o.setInline(i, o.block[:n])
		return nil
	}
	return o.moveOut(i, off, old)
}

// moveOut puts a file that was inline into objects, with the write that no longer fits. The two writes never share a block.
func (o *operation) moveOut(i *node, off uint64, old []byte) error {
	data, first := o.data, uint64(len(o.block))
	n := copy(o.block[:], old)
	if off < first {
		clear(o.block[n:])
		n = copy(o.block[off:], data) + int(off)
		n = max(n, len(old))
		data = data[min(uint64(len(data)), first-off):]
		off = first
	}
	i.Flags &^= record.AttrInline
	o.setInline(i, nil)
	if n > 0 {
		if err := o.writeObjects(i, 0, o.block[:n]); err != nil {
			return err
		}
	}
	return o.writeObjects(i, off, data)
}

// writeObjects writes to the objects of all stripes that the bytes touch: one, but for an append across a border.
func (o *operation) writeObjects(i *node, off uint64, data []byte) error {
	stripe := uint64(o.s.fs.StripeSize)
	for len(data) > 0 {
		number := uint32(off / stripe)
		part := data[:min(uint64(len(data)), stripe-off%stripe)]
		c, name := o.object(i.Ino, number)
		before, err := o.stat(c, name)
		if err != nil {
			return err
		}
		if err := o.tx.Write(c, name, off%stripe, part); err != nil {
			return err
		}
		if err := o.account(i, c, name, before.Blocks); err != nil {
			return err
		}
		i.Stripes = max(i.Stripes, number+1)
		off, data = off+uint64(len(part)), data[len(part):]
	}
	return nil
}

// stat describes an object; one that is absent is empty.
func (o *operation) stat(c storage.Coll, name []byte) (storage.ObjectInfo, error) {
	info, err := o.tx.Stat(c, name)
	if err == storage.ErrNotFound {
		return storage.ObjectInfo{}, nil
	}
	return info, err
}

// account brings an inode's blocks up to date after a change of one object.
func (o *operation) account(i *node, c storage.Coll, name []byte, before uint64) error {
	after, err := o.stat(c, name)
	if err != nil {
		return err
	}
	i.Blocks += after.Blocks * blockUnits
	i.Blocks -= min(i.Blocks, before*blockUnits)
	return nil
}

// killPriv takes away what must not survive a change by somebody else: setuid, setgid of a file that its group may execute, capabilities.
func (o *operation) killPriv(i *node) error {
	i.Mode = withoutPriv(i.Mode)
	if i.Flags&record.AttrXattr == 0 {
		return nil
	}
	key := record.AppendXattrKey(o.key[:0], i.Ino, capability)
	switch _, err := o.get(i.Ino.Group(), key); err {
	case nil:
		o.del(i.Ino.Group(), record.AppendXattrKey(o.key[:0], i.Ino, capability))
		return nil
	case record.NotFound:
		return nil
	default:
		return err
	}
}

var capability = []byte("security.capability")

func withoutPriv(mode uint32) uint32 {
	mode &^= record.ModeSetUID
	if mode&0o010 != 0 {
		mode &^= record.ModeSetGID
	}
	return mode
}
