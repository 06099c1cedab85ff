package meta

import (
	"basalt/engine"
	"basalt/meta/record"
	"basalt/storage"
)

// setattr is the decision of chmod, chown, truncate and utimens together.
func (o *operation) setattr() error {
	q := o.q
	i, err := o.inode(q.Ino)
	if err != nil {
		return err
	}
	if o.frugal {
		o.rewrites() // an inode, or less than that
	}
	if q.Valid&record.SetSize != 0 {
		if err := o.truncate(i, q.Size); err != nil || o.again {
			return err
		}
	}
	if q.Valid&(record.SetUID|record.SetGID) != 0 && !i.IsDir() || q.Flags&record.FlagKillPriv != 0 {
		if err := o.killPriv(i); err != nil {
			return err
		}
	}
	if q.Valid&record.SetUID != 0 {
		i.UID = q.UID
	}
	if q.Valid&record.SetGID != 0 {
		i.GID = q.GID
	}
	if q.Valid&record.SetMode != 0 {
		i.Mode = i.Mode&record.ModeType | q.Mode&record.ModePerm
	}
	o.touch(i, q.Valid&record.SetSize != 0)
	switch {
	case q.Valid&record.SetAtimeNow != 0:
		i.Atime = o.nowNs
	case q.Valid&record.SetAtime != 0:
		i.Atime = q.Atime
	}
	switch {
	case q.Valid&record.SetMtimeNow != 0:
		i.Mtime = o.nowNs
	case q.Valid&record.SetMtime != 0:
		i.Mtime = q.Mtime
	}
	o.p.Attr = i.Attr
	return nil
}

func (o *operation) truncate(i *node, size uint64) error {
	switch {
	case i.IsDir():
		return record.IsDir
	case !i.IsRegular():
		return record.Invalid
	case size > record.SizeMax:
		return record.TooBig
	}
	return o.resize(i, size)
}

// resize gives a file a new size. A cut through more objects than one transaction may remove leaves a shorter file and sets again.
func (o *operation) resize(i *node, size uint64) error {
	if i.Flags&record.AttrInline != 0 {
		old, err := o.inlineBytes(i)
		if err != nil {
			return err
		}
		if uint64(len(old)) > size {
			o.setInline(i, append(o.block[:0], old[:size]...))
		}
		i.Size = size
		return nil
	}
	if size < i.Size {
		o.tx.MakesRoom()
	}
	rest, err := o.cut(i, size, o.stripesAtOnce(stepStripesMax))
	if err != nil {
		return err
	}
	if rest {
		i.Size = min(i.Size, uint64(i.Stripes)*uint64(o.s.fs.StripeSize))
		o.goOn(i)
		return nil
	}
	if i.Size = size; size == 0 {
		i.Flags |= record.AttrInline
		i.Blocks = 0
	}
	return nil
}

// goOn ends one step of several. The version grows with the last one only: a replay may need other steps, and must end with the same.
func (o *operation) goOn(i *node) {
	i.Mtime, i.Ctime = o.nowNs, o.nowNs
	i.dirty, o.again = true, true
}

// cut removes the bytes from size on, the last ones first: at most max objects of them. rest tells that it has to go on.
func (o *operation) cut(i *node, size uint64, max uint32) (rest bool, err error) {
	stripe := uint64(o.s.fs.StripeSize)
	keep := uint32((size + stripe - 1) / stripe)
	for n, looked := uint32(0), uint32(0); i.Stripes > keep; looked++ {
		if n == max || looked == stepLooksMax {
			return true, nil
		}
		was, err := o.remove(i, i.Stripes-1)
		if err != nil {
			return false, err
		}
		if was {
			n++
		}
		i.Stripes--
	}
	if i.Stripes < keep || size%stripe == 0 {
		return false, nil
	}
	c, name := o.object(i.Ino, keep-1)
	before, err := o.stat(c, name)
	if err != nil || before.Size <= size%stripe {
		return false, err
	}
	if err := o.tx.Truncate(c, name, size%stripe); err != nil {
		return false, err
	}
	return false, o.account(i, c, name, before.Blocks)
}

// stripesAtOnce is how many objects one transaction removes: on a full store one, because the store keeps space for small removals only.
func (o *operation) stripesAtOnce(n uint32) uint32 {
	if o.frugal {
		return 1
	}
	return n
}

// remove deletes the object of one stripe, if it is there.
func (o *operation) remove(i *node, stripe uint32) (was bool, err error) {
	c, name := o.object(i.Ino, stripe)
	before, err := o.tx.Stat(c, name)
	if err == storage.ErrNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	i.Blocks -= min(i.Blocks, before.Blocks*blockUnits)
	return true, o.tx.Remove(c, name)
}

// fallocate is the decision of fallocate. Space is not reserved: what is written later goes to new blocks anyhow, so there is nothing that a
// reservation could hold. Mode 0 extends the file. But what is clearly not there is not promised either.
func (o *operation) fallocate() error {
	q := o.q
	const modes = record.FlagKeepSize | record.FlagPunchHole | record.FlagZeroRange | record.FlagKillPriv
	punch, zero, keep := q.Flags&record.FlagPunchHole != 0, q.Flags&record.FlagZeroRange != 0, q.Flags&record.FlagKeepSize != 0
	if q.Flags&^modes != 0 || punch && (zero || !keep) {
		return record.NotSupported
	}
	if q.Size == 0 {
		return record.Invalid
	}
	if q.Off > record.SizeMax || q.Size > record.SizeMax-q.Off {
		return record.TooBig
	}
	i, err := o.regular(q.Ino)
	if err != nil {
		return err
	}
	end := q.Off + q.Size
	if !punch && !o.replay && o.lacks(i, q.Size) {
		return storage.ErrFull
	}
	if punch && o.frugal {
		o.rewrites()
	}
	if punch || zero {
		if err := o.punch(i, max(q.Off, o.pos), min(end, i.Size)); err != nil || o.again {
			return err
		}
	}
	if !keep {
		i.Size = max(i.Size, end)
	}
	o.touch(i, true)
	if q.Flags&record.FlagKillPriv != 0 {
		if err := o.killPriv(i); err != nil {
			return err
		}
	}
	o.p.Attr = i.Attr
	return nil
}

// lacks tells that the store has no space for so many bytes of a file, even if all that the file has lies among them.
func (o *operation) lacks(i *node, bytes uint64) bool {
	sp := o.s.store.Space()
	return bytes/uint64(sp.BlockBytes) > sp.Avail+i.Blocks/blockUnits
}

// punch makes zeros of [off, end), in steps if that touches more objects than one transaction may; o.next is where the next one starts.
func (o *operation) punch(i *node, off, end uint64) error {
	if i.Flags&record.AttrInline != 0 {
		return o.punchInline(i, off, end)
	}
	stripe := uint64(o.s.fs.StripeSize)
	end = min(end, uint64(i.Stripes)*stripe)
	removed := uint32(0)
	for n := 0; off < end; n++ {
		if n == stepLooksMax || removed == o.stripesAtOnce(stepStripesMax) {
			o.next = off
			o.goOn(i)
			return nil
		}
		next := min(end, off-off%stripe+stripe)
		if next-off == stripe {
			was, err := o.remove(i, uint32(off/stripe))
			if err != nil {
				return err
			}
			if was {
				removed++
			}
		} else if err := o.punchObject(i, off, next); err != nil {
			return err
		}
		off = next
	}
	return nil
}

func (o *operation) punchObject(i *node, off, end uint64) error {
	stripe := uint64(o.s.fs.StripeSize)
	c, name := o.object(i.Ino, uint32(off/stripe))
	before, err := o.stat(c, name)
	if err != nil || before.Size <= off%stripe {
		return err
	}
	// No further than the object reaches: a punch must not make it longer.
	if err := o.tx.Punch(c, name, off%stripe, min(end-off, before.Size-off%stripe)); err != nil {
		return err
	}
	return o.account(i, c, name, before.Blocks)
}

func (o *operation) punchInline(i *node, off, end uint64) error {
	old, err := o.inlineBytes(i)
	if err != nil || off >= uint64(len(old)) || off >= end {
		return err
	}
	n := copy(o.block[:], old)
	if end >= uint64(n) {
		n = int(off)
	} else {
		clear(o.block[off:end])
	}
	o.setInline(i, o.block[:n])
	return nil
}

// seekInode is the decision of an lseek: all of it for inline bytes.
func (o *operation) seekInode() error {
	i, err := o.regular(o.q.Ino)
	if err != nil {
		return err
	}
	if o.q.Off >= i.Size {
		return record.NoSeek
	}
	o.inline, o.stripes, o.size = i.Flags&record.AttrInline != 0, i.Stripes, i.Size
	if !o.inline {
		return nil
	}
	val, err := o.inlineBytes(i)
	if err != nil {
		return err
	}
	data := o.q.Off < uint64(len(val))
	switch hole := o.q.Flags&record.FlagSeekHole != 0; {
	case data != hole:
		o.p.Off = o.q.Off
	case hole:
		o.p.Off = uint64(len(val))
	default:
		return record.NoSeek
	}
	return nil
}

// seek answers an lseek for data or hole. The end of the file is a hole.
func (o *operation) seek(f *engine.Fiber) error {
	if err := o.view(f); err != nil || o.inline {
		return err
	}
	stripe := uint64(o.s.fs.StripeSize)
	hole := o.q.Flags&record.FlagSeekHole != 0
	for off, looked := o.q.Off, 1; off < o.size; off, looked = off-off%stripe+stripe, looked+1 {
		if looked%stepLooksMax == 0 {
			f.Yield()
		}
		if off/stripe >= uint64(o.stripes) {
			if !hole {
				return record.NoSeek
			}
			o.p.Off = off
			return nil
		}
		c, name := o.object(o.q.Ino, uint32(off/stripe))
		found, err := uint64(0), error(nil)
		if hole {
			if found, err = o.s.store.SeekHole(f, c, name, off%stripe); err == storage.ErrNotFound {
				found, err = off%stripe, nil
			}
		} else if found, err = o.s.store.SeekData(f, c, name, off%stripe); err == storage.ErrNotFound {
			continue
		}
		if err != nil {
			return err
		}
		if found = off - off%stripe + found; found < min(o.size, off-off%stripe+stripe) {
			o.p.Off = found
			return nil
		}
	}
	if hole {
		o.p.Off = o.size
		return nil
	}
	return record.NoSeek
}
