package storage

import (
	"bytes"

	"basalt/storage/format"
)

// ObjectInfo is what Stat says of an object.
type ObjectInfo struct {
	Size    uint64
	Blocks  uint64 // allocated; for an object that was punched lazily (Options.ExactBlocksMax) an upper bound
	Version uint64 // of the last transaction that changed it
}

// onodeOf finds an object. The attributes alias memory that is lent like a value.
func (tx *Tx) onodeOf(c Coll, obj []byte) (format.Onode, error) {
	if len(obj) == 0 || len(obj) > ObjectNameMax {
		return format.Onode{}, ErrInvalid
	}
	tx.key = format.AppendOnodeKey(tx.key[:0], uint16(c), obj)
	val, ok, miss := tx.v.get(tx.key)
	if !miss.None() {
		return format.Onode{}, tx.missing(miss)
	}
	if !ok {
		return format.Onode{}, ErrNotFound
	}
	return format.DecodeOnode(tx.s.place("onode"), val, len(val) > format.OnodeHeaderBytes)
}

// onodeFor finds an object, or starts a new one.
func (tx *Tx) onodeFor(c Coll, obj []byte) (format.Onode, error) {
	o, err := tx.onodeOf(c, obj)
	if err == ErrNotFound {
		return format.Onode{}, nil
	}
	return o, err
}

func (tx *Tx) setOnode(c Coll, obj []byte, o *format.Onode) error {
	o.Version = uint64(tx.seq)
	return tx.putOnode(c, obj, o)
}

// putOnode is setOnode for what does not change the object.
func (tx *Tx) putOnode(c Coll, obj []byte, o *format.Onode) error {
	tx.node = o.Append(tx.node[:0])
	if len(tx.node) > ValueMax {
		return tx.breaks(ErrTooLarge)
	}
	tx.key = format.AppendOnodeKey(tx.key[:0], uint16(c), obj)
	return tx.put(tx.key, tx.node, itemPut, 0)
}

// Stat describes an object.
func (tx *Tx) Stat(c Coll, obj []byte) (ObjectInfo, error) {
	o, err := tx.onodeOf(c, obj)
	return ObjectInfo{Size: o.Size, Blocks: o.Blocks, Version: o.Version}, err
}

// Create makes an empty object, and fails with ErrExists if there is one of that name.
func (tx *Tx) Create(c Coll, obj []byte) error {
	if err := tx.writable(c); err != nil {
		return err
	}
	switch _, err := tx.onodeOf(c, obj); err {
	case ErrNotFound:
		return tx.Truncate(c, obj, 0)
	case nil:
		return ErrExists
	default:
		return err
	}
}

// Expect fails with a *VersionError unless the object has that version now, after what this transaction has done to it; 0: unless there is no
// such object. A version that was read before its transaction was committed may be another one's after a power loss.
func (tx *Tx) Expect(c Coll, obj []byte, version uint64) error {
	o, err := tx.onodeFor(c, obj)
	if err == nil && o.Version != version {
		err = &VersionError{Coll: c, Object: bytes.Clone(obj), Want: version, Got: o.Version}
	}
	return err
}

// wholeFrom: a partial block whose other bytes are known to be zero is written as a whole block from this length on; below it rides in the
// journal, where a record of a few hundred bytes costs less than a block.
const wholeFrom = 1024

// Write puts data at off. The object comes into being, and grows, as needed; no data changes nothing. data is borrowed until Update returns.
func (tx *Tx) Write(c Coll, obj []byte, off uint64, data []byte) error {
	if err := tx.writable(c); err != nil {
		return err
	}
	if len(data) > tx.s.opt.TxnDataMax || off > ObjectBytesMax-uint64(len(data)) {
		return ErrTooLarge
	}
	if len(data) == 0 {
		return nil
	}
	o, err := tx.onodeFor(c, obj)
	if err != nil {
		return err
	}
	end := off + uint64(len(data))
	head := 0 // bytes before the first whole block
	if in := int(off % format.BlockBytes); in != 0 || len(data) < format.BlockBytes {
		head = min(format.BlockBytes-in, len(data))
	}
	tail := (len(data) - head) % format.BlockBytes // bytes behind the last one
	if head > 0 {
		whole, err := tx.writeWhole(c, obj, &o, off, head)
		if err != nil {
			return err
		}
		if !whole {
			if err := tx.writePatch(c, obj, &o, off, data[:head]); err != nil {
				return err
			}
			off, data = off+uint64(head), data[head:]
		}
	}
	var rest []byte
	if tail > 0 {
		whole, err := tx.writeWhole(c, obj, &o, end-uint64(tail), tail)
		if err != nil {
			return err
		}
		if !whole {
			data, rest = data[:len(data)-tail], data[len(data)-tail:]
		}
	}
	if len(data) > 0 {
		if err := tx.writeBlocks(c, obj, &o, off, data); err != nil {
			return err
		}
	}
	if len(rest) > 0 {
		if err := tx.writePatch(c, obj, &o, end-uint64(tail), rest); err != nil {
			return err
		}
	}
	o.Size = max(o.Size, end)
	return tx.setOnode(c, obj, &o)
}

// Append writes data behind the end of the object, which comes into being as needed, and tells where that was.
func (tx *Tx) Append(c Coll, obj, data []byte) (off uint64, err error) {
	if err := tx.writable(c); err != nil {
		return 0, err
	}
	o, err := tx.onodeFor(c, obj)
	if err != nil {
		return 0, err
	}
	return o.Size, tx.Write(c, obj, o.Size, data)
}

// writeWhole decides whether n bytes at off, which are less than a block, become a whole one: if the rest of the block is known to be zero.
func (tx *Tx) writeWhole(c Coll, obj []byte, o *format.Onode, off uint64, n int) (bool, error) {
	if n < wholeFrom {
		return false, nil
	}
	b := off / format.BlockBytes
	if err := tx.collect(c, obj, b, b+1); err != nil {
		return false, err
	}
	if len(tx.recs) == 0 {
		return true, nil
	}
	return !tx.recs[0].isDirty && off%format.BlockBytes == 0 && off+uint64(n) >= o.Size, nil
}

// writePatch changes a part of one block. Only the part rides in the journal.
func (tx *Tx) writePatch(c Coll, obj []byte, o *format.Onode, off uint64, p []byte) error {
	if err := tx.log(&format.Op{Kind: format.OpPatch, Coll: uint16(c), Name: obj, Off: off, Val: p}); err != nil {
		return err
	}
	return tx.patch(c, obj, o, off, p, len(p))
}

// Truncate sets the size of an object, which comes into being as needed. What lies behind the new size reads as zero if it grows again.
// Of an object that was cloned, or is a clone, it can be too much for one transaction, see Remove.
func (tx *Tx) Truncate(c Coll, obj []byte, size uint64) error {
	if err := tx.writable(c); err != nil {
		return err
	}
	if size > ObjectBytesMax {
		return ErrTooLarge
	}
	o, err := tx.onodeFor(c, obj)
	if err != nil {
		return err
	}
	if err := tx.log(&format.Op{Kind: format.OpTruncate, Coll: uint16(c), Name: obj, Size: size}); err != nil {
		return err
	}
	if size < o.Size {
		tx.shrank = true
		if in := int(size % format.BlockBytes); in != 0 {
			n := min(format.BlockBytes-in, int(min(o.Size-size, format.BlockBytes)))
			if err := tx.zero(c, obj, &o, size, n); err != nil {
				return err
			}
		}
		if err := tx.cutBlocks(c, obj, &o, blocksUp(size), blockOffMax); err != nil {
			return err
		}
	}
	o.Size = size
	return tx.setOnode(c, obj, &o)
}

// Punch makes n bytes at off a hole. The size stays. Of an object that was cloned it can be too much for one transaction, see Remove.
func (tx *Tx) Punch(c Coll, obj []byte, off, n uint64) error {
	if err := tx.writable(c); err != nil {
		return err
	}
	o, err := tx.onodeOf(c, obj)
	if err != nil {
		return err
	}
	if off >= o.Size || n == 0 {
		return nil
	}
	n = min(n, o.Size-off)
	if err := tx.log(&format.Op{Kind: format.OpPunch, Coll: uint16(c), Name: obj, Off: off, Len: n}); err != nil {
		return err
	}
	tx.shrank, tx.holed = true, true
	end := off + n
	if in := int(off % format.BlockBytes); in != 0 {
		k := min(format.BlockBytes-in, int(min(n, format.BlockBytes)))
		if err := tx.zero(c, obj, &o, off, k); err != nil {
			return err
		}
		off += uint64(k)
	}
	if in := int(end % format.BlockBytes); in != 0 && end > off && end < o.Size {
		if err := tx.zero(c, obj, &o, end-uint64(in), in); err != nil {
			return err
		}
		end -= uint64(in)
	} else if end == o.Size {
		end = blocksUp(end) * format.BlockBytes // nothing of the last block is left
	}
	if lo, hi := blocksUp(off), end/format.BlockBytes; lo < hi {
		if err := tx.cutBlocks(c, obj, &o, lo, hi); err != nil {
			return err
		}
	}
	return tx.setOnode(c, obj, &o)
}

// Zero makes n bytes at off read as zero, without blocks where it can. The object comes into being, and grows, as needed.
func (tx *Tx) Zero(c Coll, obj []byte, off, n uint64) error {
	if err := tx.writable(c); err != nil {
		return err
	}
	if n > ObjectBytesMax || off > ObjectBytesMax-n {
		return ErrTooLarge
	}
	if n == 0 {
		return nil
	}
	o, err := tx.onodeFor(c, obj)
	if err != nil {
		return err
	}
	if off < o.Size {
		if err := tx.Punch(c, obj, off, n); err != nil {
			return err
		}
	}
	if off+n > o.Size {
		return tx.Truncate(c, obj, off+n)
	}
	return nil
}

// Remove deletes an object with everything it has. An object that was cloned, or is a clone, goes record by record: where it and the rest of the
// transaction would touch more than Options.SharedMax of them the answer is ErrTooLarge, and who wants it to go must first cut it in steps,
// from its end. SharedMax/2 blocks are never too many for one step, but on a full store the space that is kept for removals may be enough for fewer:
// the answer is ErrFull then, and a smaller step is taken.
func (tx *Tx) Remove(c Coll, obj []byte) error {
	if err := tx.writable(c); err != nil {
		return err
	}
	o, err := tx.onodeOf(c, obj)
	if err != nil {
		return err
	}
	if err := tx.log(&format.Op{Kind: format.OpRemove, Coll: uint16(c), Name: obj}); err != nil {
		return err
	}
	tx.shrank = true
	if err := tx.cutBlocks(c, obj, &o, 0, blockOffMax); err != nil {
		return err
	}
	tx.key = format.AppendOnodeKey(tx.key[:0], uint16(c), obj)
	return tx.put(tx.key, nil, itemDel, 0)
}

// blocksUp is n bytes in blocks, rounded up.
func blocksUp(n uint64) uint64 { return (n + format.BlockBytes - 1) / format.BlockBytes }
