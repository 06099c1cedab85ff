package storage

import (
	"bytes"
	"encoding/binary"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/storage/format"
)

const (
	readStep   = 1 << 20  // bytes of an object that are read as of one moment
	verifyStep = 64 << 10 // bytes verified between two looks at the others
)

// readOp is one step of a read: what it takes from the device, and where to. Pooled.
type readOp struct {
	segs   []readSeg
	crcs   []byte // of all blocks of all segs: what the view lends may go while we wait
	gather engine.Gather
	next   *readOp // free list
}

// readSeg is a run of blocks, in the object and on the device.
type readSeg struct {
	ext    Extent
	crcs   int // index into readOp.crcs
	at     int // where its first block begins in dst, perhaps before it
	mem    []byte
	bounce arena.Buf // memory of the segment, if dst cannot take whole blocks
	res    int32
}

// Read fills dst with what the object has from off on, and tells how much there was: less than len(dst) only at the end of the object. Holes
// read as zero. Every block that comes from the device is verified. If dst is aligned memory of the arena, whole blocks are read into it
// directly; dst must not be used before Read returns.
func (s *Store) Read(f *engine.Fiber, c Coll, obj []byte, off uint64, dst []byte) (int, error) {
	done := 0
	for done < len(dst) {
		step := min(len(dst)-done, readStep-int(off%readStep))
		n, err := s.readStepAt(f, c, obj, off, dst[done:done+step])
		done, off = done+n, off+uint64(n)
		if err != nil || n < step {
			return done, err
		}
	}
	return done, nil
}

func (s *Store) readStepAt(f *engine.Fiber, c Coll, obj []byte, off uint64, dst []byte) (n int, err error) {
	if s.closing {
		return 0, ErrClosed
	}
	op := s.getReadOp()
	defer s.putReadOp(op)
	var loaded *loadSet
	for { // as View does, without a closure
		tx := &s.tx
		tx.begin(false, loaded)
		n, err = tx.resolve(c, obj, off, dst, op)
		if !tx.missed() {
			break
		}
		miss, block := tx.miss, tx.missBlock
		if loaded == nil {
			loaded = s.getLoadSet()
		}
		if err = s.load(f, loaded, miss, block); err != nil {
			break
		}
	}
	s.putLoadSet(loaded)
	if err != nil && isDamage(err) { // of the tree: which bytes it kept from us nobody knows
		return 0, &ObjectError{Coll: c, Name: bytes.Clone(obj), Off: off, Err: err}
	}
	if err != nil || len(op.segs) == 0 {
		return n, err
	}
	pin := s.limbo.pin(s.super.Epoch)
	err = s.fetch(f, op, dst[:n])
	s.unpin(f.Turn(), pin)
	if err != nil {
		s.noteRead(f, c, obj, off/format.BlockBytes, blocksUp(off+uint64(n)), err)
		return 0, &ObjectError{Coll: c, Name: bytes.Clone(obj), Off: off, Err: err}
	}
	return n, nil
}

// resolve fills the parts of dst that need no device, and lists the others.
func (tx *Tx) resolve(c Coll, obj []byte, off uint64, dst []byte, op *readOp) (int, error) {
	op.segs, op.crcs = op.segs[:0], op.crcs[:0]
	size, err := tx.sizeOf(c, obj)
	if err != nil || off >= size {
		return 0, err
	}
	n := int(min(uint64(len(dst)), size-off))
	dst = dst[:n]
	lo, hi := off/format.BlockBytes, blocksUp(off+uint64(n))
	if err := tx.collect(c, obj, lo, hi); err != nil {
		return 0, err
	}
	at := lo // everything before this block is in dst
	for i := range tx.recs {
		p := &tx.recs[i]
		from, to := max(lo, p.off), min(hi, p.end())
		zeroBlocks(dst, off, at, from)
		at = to
		for b := from; b < to; {
			if p.isDirty {
				copyBlock(dst, off, b, tx.s.arena.Bytes(p.buf))
				b++
				continue
			}
			no := p.rec.Start + BlockNo(b-p.off)
			if mem, ok := tx.s.pendingBlock(no); ok {
				copyBlock(dst, off, b, mem)
				b++
				continue
			}
			k := tx.s.notPending(no, BlockCount(to-b))
			op.add(Extent{Start: no, Len: k}, p.rec.Crcs[4*(b-p.off):4*(b-p.off+uint64(k))], int64(b*format.BlockBytes)-int64(off))
			b += uint64(k)
		}
	}
	zeroBlocks(dst, off, at, hi)
	return n, nil
}

// sized is the size of the object that was read last: who reads an object piece by piece needs it each time, and until the next transaction it stays.
type sized struct {
	before Seq // the transaction that comes next; 0: no object was read yet
	coll   Coll
	n      uint8
	name   [ObjectNameMax]byte
	size   uint64
}

// sizeOf is the size of an object, for a run that changes nothing.
func (tx *Tx) sizeOf(c Coll, obj []byte) (uint64, error) {
	last := &tx.s.sized
	if last.before == tx.seq && last.coll == c && string(last.name[:last.n]) == string(obj) {
		return last.size, nil
	}
	o, err := tx.onodeOf(c, obj)
	if err == nil {
		last.before, last.coll, last.size, last.n = tx.seq, c, o.Size, uint8(copy(last.name[:], obj))
	}
	return o.Size, err
}

// add appends a run of blocks, or makes the last one longer.
func (op *readOp) add(e Extent, crcs []byte, at int64) {
	if i := len(op.segs) - 1; i >= 0 {
		if l := &op.segs[i]; l.ext.End() == e.Start && l.at+int(l.ext.Bytes()) == int(at) {
			l.ext.Len += e.Len
			op.crcs = append(op.crcs, crcs...)
			return
		}
	}
	op.segs = append(op.segs, readSeg{ext: e, crcs: len(op.crcs), at: int(at)})
	op.crcs = append(op.crcs, crcs...)
}

// fetch reads the segments and verifies every block.
func (s *Store) fetch(f *engine.Fiber, op *readOp, dst []byte) error {
	direct := s.arena.Contains(dst) && s.arena.AddrOf(dst)%format.BlockBytes == 0
	for i := range op.segs {
		g := &op.segs[i]
		if n := int(g.ext.Bytes()); direct && g.at >= 0 && g.at%format.BlockBytes == 0 && g.at+n <= len(dst) {
			g.mem = dst[g.at : g.at+n : g.at+n]
			continue
		}
		buf, err := s.arena.Get(int(g.ext.Bytes()))
		if err != nil {
			return ErrBusy
		}
		g.bounce, g.mem = buf, s.arena.Bytes(buf)
	}
	for i := range op.segs {
		g := &op.segs[i]
		op.gather.Submit(f, s.dev.ReadOp(g.mem, g.ext.Offset()), &g.res)
	}
	op.gather.Wait(f)
	verified := 0
	for i := range op.segs {
		g := &op.segs[i]
		if int(g.res) != len(g.mem) { // once more, with the device's own words for what is wrong
			if err := s.dev.Read(f, g.mem, g.ext.Offset()); err != nil {
				return err
			}
		}
		for b := 0; b < int(g.ext.Len); b++ {
			mem := g.mem[b*format.BlockBytes : (b+1)*format.BlockBytes]
			want := binary.LittleEndian.Uint32(op.crcs[g.crcs+4*b:])
			if got := format.Crc(mem); got != want && !plantedNoCrc {
				return format.CorruptCrc(format.Place{Device: s.name, Extent: Extent{Start: g.ext.Start + BlockNo(b), Len: 1}}, "data block", want, got)
			}
			if g.bounce.Valid() {
				copyAt(dst, g.at+b*format.BlockBytes, mem)
			}
			if verified += format.BlockBytes; verified%verifyStep == 0 {
				f.Yield()
			}
		}
		s.wellRead(f.Turn(), g.ext)
	}
	return nil
}

// copyAt copies mem to where it belongs in dst; at may be negative, and mem may be longer than what is left.
func copyAt(dst []byte, at int, mem []byte) {
	if at < 0 {
		mem, at = mem[-at:], 0
	}
	copy(dst[at:], mem)
}

func copyBlock(dst []byte, off, b uint64, mem []byte) {
	copyAt(dst, int(int64(b*format.BlockBytes)-int64(off)), mem)
}

// zeroBlocks clears blocks [lo, hi) of the object in dst, which begins at off.
func zeroBlocks(dst []byte, off, lo, hi uint64) {
	if lo >= hi {
		return
	}
	from := max(int64(lo*format.BlockBytes)-int64(off), 0)
	to := min(int64(hi*format.BlockBytes)-int64(off), int64(len(dst)))
	if from < to {
		clear(dst[from:to])
	}
}

// notPending is how many of the n blocks from no on are on the device for sure.
func (s *Store) notPending(no BlockNo, n BlockCount) BlockCount {
	n = s.open.table.gap(no, n)
	for _, g := range s.sealed {
		n = g.table.gap(no, n)
	}
	return n
}

func (s *Store) getReadOp() *readOp {
	op := s.readFree
	if op == nil {
		return &readOp{}
	}
	s.readFree = op.next
	return op
}

func (s *Store) putReadOp(op *readOp) {
	for i := range op.segs {
		if b := op.segs[i].bounce; b.Valid() {
			s.arena.Put(b)
		}
		op.segs[i] = readSeg{}
	}
	op.segs = op.segs[:0]
	op.next = s.readFree
	s.readFree = op
}

// SeekData is the first offset at or after off that is not in a hole; ErrNotFound: there is none before the end.
func (s *Store) SeekData(f *engine.Fiber, c Coll, obj []byte, off uint64) (uint64, error) {
	return s.seek(f, c, obj, off, true)
}

// SeekHole is the first offset at or after off that is in a hole; the end of the object is one. ErrNotFound: off is behind it.
func (s *Store) SeekHole(f *engine.Fiber, c Coll, obj []byte, off uint64) (uint64, error) {
	return s.seek(f, c, obj, off, false)
}

func (s *Store) seek(f *engine.Fiber, c Coll, obj []byte, off uint64, data bool) (at uint64, err error) {
	err = s.View(f, func(tx *Tx) error {
		o, err := tx.onodeOf(c, obj)
		if err != nil {
			return err
		}
		if off >= o.Size {
			return ErrNotFound
		}
		at, err = tx.edge(c, obj, off/format.BlockBytes, blocksUp(o.Size), data)
		if at = max(at*format.BlockBytes, off); err == nil && at >= o.Size {
			if at = o.Size; data {
				err = ErrNotFound
			}
		}
		return err
	})
	return at, err
}

// edge is the first block of [b, end) that has data, or none; end if there is none.
func (tx *Tx) edge(c Coll, obj []byte, b, end uint64, data bool) (uint64, error) {
	p, ok, err := tx.extentAt(c, obj, b)
	if err != nil {
		return 0, err
	}
	if ok && p.end() > b {
		if data {
			return b, nil
		}
		b = p.end()
	}
	cur := &tx.cur
	cur.lo = format.AppendExtentKey(cur.lo[:0], uint16(c), obj, b)
	cur.end = format.AppendExtentKey(cur.end[:0], uint16(c), obj, max(b, end))
	miss := cur.open(tx.v, cur.lo, cur.end)
	for ; miss.None() && cur.valid; miss = cur.next() {
		p, err := tx.s.piece(&cur.cur)
		switch {
		case err != nil:
			return 0, err
		case data:
			return p.off, nil
		case p.off > b:
			return b, nil
		}
		b = p.end()
	}
	if !miss.None() {
		return 0, tx.missing(miss)
	}
	if data {
		return end, nil
	}
	return min(b, end), nil
}
