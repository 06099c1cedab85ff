package storage

import (
	"encoding/binary"
	"errors"

	"basalt/engine/arena"
	"basalt/storage/format"
)

// errNoSpace: the transaction needs more than there is just now. Update makes room and runs it again, or answers ErrFull.
var errNoSpace = errors.New("storage: no space at the moment")

const runBlocksFirst = 16 // a group that holds one small write should not take a megabyte of memory

// writeBlocks gives an object new blocks with data at off. Where data does not begin or end on a block, the rest of that block is zero.
func (tx *Tx) writeBlocks(c Coll, obj []byte, o *format.Onode, off uint64, data []byte) error {
	end := off + uint64(len(data))
	first := off / format.BlockBytes
	n := BlockCount(blocksUp(end) - first)
	if err := tx.carve(n); err != nil {
		return tx.breaks(err)
	}
	tx.pieces, tx.crcs = tx.pieces[:0], tx.crcs[:0]
	at, pad := first, int(off%format.BlockBytes)
	for _, e := range tx.got {
		from := len(tx.crcs)
		for i := BlockNo(0); i < BlockNo(e.Len); i++ {
			r, k, _ := tx.s.open.table.find(e.Start + i)
			mem := r.block(k)
			m := copy(mem[pad:], data)
			clear(mem[:pad])
			clear(mem[pad+m:])
			data, pad = data[m:], 0
			tx.crcs = binary.LittleEndian.AppendUint32(tx.crcs, format.Crc(mem))
		}
		q := format.Piece{BlockOff: at, Extent: e, Crcs: tx.crcs[from:]}
		tx.pieces = format.AppendPiece(tx.pieces, &q)
		at += uint64(e.Len)
	}
	op := format.Op{Kind: format.OpWrite, Coll: uint16(c), Name: obj, Size: end, Pieces: tx.pieces}
	if err := tx.log(&op); err != nil {
		return err
	}
	tx.grew = true
	at, crcs := first, tx.crcs
	run := tx.beginRun()
	for _, e := range tx.got { // the pieces just logged, which need not be decoded for that
		q := format.Piece{BlockOff: at, Extent: e, Crcs: crcs[:4*e.Len]}
		if err := tx.placePiece(c, obj, o, &q); err != nil {
			return err
		}
		at, crcs = at+uint64(e.Len), crcs[4*e.Len:]
	}
	tx.endRun(run)
	return nil
}

// place makes the pieces of a record part of an object: a replay does.
func (tx *Tx) place(c Coll, obj []byte, o *format.Onode, pieces []byte) error {
	defer tx.endRun(tx.beginRun()) // they follow each other in the object
	for len(pieces) > 0 {
		var q format.Piece
		q, pieces = format.FirstPiece(pieces)
		if err := tx.placePiece(c, obj, o, &q); err != nil {
			return err
		}
	}
	return nil
}

// placePiece makes a written piece part of an object.
func (tx *Tx) placePiece(c Coll, obj []byte, o *format.Onode, q *format.Piece) error {
	if err := tx.findBefore(c, obj, q); err != nil {
		return err
	}
	removed, err := tx.trim(c, obj, q.BlockOff, q.BlockOff+uint64(q.Extent.Len), true, tx.before.rec.Len == 0)
	if err != nil {
		return err
	}
	o.Blocks += uint64(q.Extent.Len) - removed
	r := format.ExtentRecord{Start: q.Extent.Start, Len: q.Extent.Len, Crcs: q.Crcs}
	if err := tx.putPiece(c, obj, q.BlockOff, r); err != nil {
		return err
	}
	tx.s.placed = pieceEnd{off: q.BlockOff + uint64(q.Extent.Len), block: q.Extent.End()}
	return nil
}

// pieceEnd is where a piece ended, in its object and on the device.
type pieceEnd struct {
	off   uint64
	block BlockNo
}

// findBefore finds the extent that a piece continues, in the object and on the device, and that has room for at least one block more. Blocks
// are handed out in the order in which they are placed, so it can only be the one that was placed last; others are not even looked for.
func (tx *Tx) findBefore(c Coll, obj []byte, q *format.Piece) error {
	tx.before = extentPiece{}
	if tx.s.placed != (pieceEnd{off: q.BlockOff, block: q.Extent.Start}) {
		return nil
	}
	p, ok, err := tx.extentAt(c, obj, q.BlockOff-1)
	if ok && p.rec.Len > 0 && !p.rec.IsShared() && p.rec.Len < format.ExtentBlocksMax && p.end() == q.BlockOff && p.rec.Extent().End() == q.Extent.Start {
		tx.before = p
	}
	return err
}

// putPiece stores a run of blocks as extent records. The first blocks make tx.before longer, if there is one.
func (tx *Tx) putPiece(c Coll, obj []byte, off uint64, r format.ExtentRecord) error {
	for done := 0; done < int(r.Len); {
		if b := &tx.before; done == 0 && b.rec.Len > 0 {
			n := min(format.ExtentBlocksMax-int(b.rec.Len), int(r.Len))
			tx.node = append(append(tx.node[:0], b.rec.Crcs...), r.Crcs[:4*n]...)
			longer := format.ExtentRecord{Start: b.rec.Start, Len: b.rec.Len + BlockCount(n), Crcs: tx.node}
			if err := tx.putExtent(c, obj, b.off, &longer); err != nil {
				return err
			}
			done = n
			continue
		}
		n := min(format.ExtentBlocksMax, int(r.Len)-done)
		part := r.Sub(done, n)
		if err := tx.putExtent(c, obj, off+uint64(done), &part); err != nil {
			return err
		}
		done += n
	}
	return nil
}

// carve takes n blocks of the open group, in as few extents as it can, and leaves them in tx.got.
func (tx *Tx) carve(n BlockCount) error {
	s := tx.s
	g := s.open
	tx.got = tx.got[:0]
	for n > 0 {
		last := len(g.table.runs) - 1
		if last < 0 || g.table.runs[last].used == g.table.runs[last].ext.Len {
			if err := s.extend(g, n); err != nil {
				return err
			}
			continue
		}
		r := &g.table.runs[last]
		k := min(n, r.ext.Len-r.used)
		e := Extent{Start: r.ext.Start + BlockNo(r.used), Len: k}
		r.used += k
		n -= k
		g.data += int(k) * format.BlockBytes
		s.hint = e.End()
		if i := len(tx.got) - 1; i >= 0 && tx.got[i].End() == e.Start {
			tx.got[i].Len += k
		} else {
			tx.got = append(tx.got, e)
		}
	}
	return nil
}

// extend gives the open group another run, for at least some of n blocks.
func (s *Store) extend(g *group, n BlockCount) error {
	want := BlockCount(s.opt.RunBlocks)
	if len(g.table.runs) == 0 {
		want = min(want, runBlocksFirst)
	}
	want = min(max(want, n), arena.BlockMax/format.BlockBytes)
	var ext Extent
	ok := false
	if s.alloc.Pieces()*uint64(s.pool) < s.foldNeed()+s.deleteReserve()+s.foldOne()+uint64(want) {
		ext, ok = s.alloc.AllocShort(n) // what is long enough for nodes is left to them
	}
	if !ok {
		ext, ok = s.alloc.Alloc(want, s.hint)
	}
	if !ok {
		return errNoSpace
	}
	buf, err := s.arena.Get(int(ext.Len) * format.BlockBytes)
	if err != nil {
		s.alloc.Free(ext)
		return err
	}
	g.table.add(run{ext: ext, buf: buf, mem: s.arena.Bytes(buf)})
	return nil
}

// supersede marks blocks of the open group that need not be written.
func (s *Store) supersede(e Extent) {
	g := s.open
	r, i, ok := g.table.find(e.Start)
	if !ok || i+e.Len > r.used {
		panic("storage: superseded blocks are not the open group's")
	}
	for k := range e.Len {
		r.kill(i + k)
	}
	g.dropped += int(e.Len)
	g.split += 2 * (format.WritePieceBytes + 4) // a cut makes at most two pieces of one more than there were
}

// pendingBlock is the content of a block that an open or a sealed group still has in memory. A block that was superseded inside a group that
// is sealed by now is not that group's any more: whoever took it since has its content.
func (s *Store) pendingBlock(b BlockNo) ([]byte, bool) {
	if r, i, ok := s.open.table.find(b); ok {
		return r.block(i), true
	}
	for _, g := range s.sealed {
		if r, i, ok := g.table.find(b); ok && !r.isDead(i) {
			return r.block(i), true
		}
	}
	return nil, false
}
