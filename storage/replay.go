package storage

import (
	"encoding/binary"
	"errors"
	"fmt"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/storage/format"
	"basalt/storage/journal"
)

// recordMin is the longest record that a freshly made store may hold: it holds none.
const recordMin = format.BlockBytes

// replay applies the journal to the delta.
func (s *Store) replay(f *engine.Fiber, rep *MountReport) error {
	n := min(max(int(format.BlocksFor(int64(s.super.JournalRecord)))*format.BlockBytes, 1<<20), int(s.super.Journal.Bytes()))
	more := min(max(n, arena.BlockMax), int(s.super.Journal.Bytes()))
	ahead, ok := s.spareMemory(2*more, more)
	if ok {
		defer s.arena.Put(ahead)
		n = more
	}
	buf, err := s.arena.Get(n)
	if err != nil {
		return fmt.Errorf("storage: window of %d bytes on the journal: %w", n, err)
	}
	defer s.arena.Put(buf)
	data, err := s.arena.Get(verifyBlocks * format.BlockBytes) // before the cache grows into what is free
	if err != nil {
		return fmt.Errorf("storage: memory to verify journal records, %d bytes: %w", verifyBlocks*format.BlockBytes, err)
	}
	defer s.arena.Put(data)
	scan := journal.NewScan(s.journalDevice(), s.name, &s.super, s.arena.Bytes(buf))
	if ok {
		scan.ReadAhead(s.arena.Bytes(ahead))
		defer scan.Close(f)
	}
	if bases, ok := s.spareMemory(basesMax*format.BlockBytes, basesMax*format.BlockBytes); ok {
		defer s.arena.Put(bases)
		s.bases = &replayBases{mem: s.arena.Bytes(bases)}
		defer func() { s.bases = nil }()
	}
	r := replayer{
		s: s, rep: rep, verify: s.arena.Bytes(data), scan: scan,
		last: s.super.Start.Sequence - 1, crc: s.super.Start.PrecedingCrc, next: s.super.Start.Position,
	}
	s.replaying = true
	defer func() { s.replaying = false }()
	if err := r.run(f); err != nil {
		return err
	}
	s.startPipe(s.pipe.Applied(), r.last, r.next, r.crc)
	return nil
}

// spareMemory is n bytes that make a replay faster, if the whole delta finds room beside them and what is taken with them, least in all.
func (s *Store) spareMemory(least, n int) (arena.Buf, bool) {
	if s.arena.Cap()-s.arena.Used() < int64(least)+int64(s.opt.DeltaBytesMax) {
		return arena.Buf{}, false
	}
	buf, err := s.arena.Get(n)
	return buf, err == nil
}

// endsHere tells whether a record that nobody says was durable stands before its data: the log ends before it.
func (s *Store) endsHere(f *engine.Fiber, scan *journal.Scan, r *journal.Record, mem []byte, rep *MountReport) (bool, error) {
	if r.Header.Sequence <= scan.Durable() {
		return false, nil
	}
	err := s.verifyRecord(f, r, mem)
	if err != nil && format.IsCorrupt(err) { // what fails once may have been hurt on its way
		err = s.verifyRecord(f, r, mem)
	}
	if err != nil && s.salvage != nil && isDamage(err) && !format.IsCorrupt(err) { // nobody knows whether it stands before its data
		return true, s.salvage.cutAt(f, s, scan, &RotError{Device: s.name, Record: r.Header.Sequence, Why: err.Error()})
	}
	if err == nil || !format.IsCorrupt(err) {
		return false, err
	}
	rep.Cut = fmt.Sprintf("record %d stands before its data: %v", r.Header.Sequence, err)
	return true, nil
}

// eachRecord calls fn for every record of the log, from its beginning.
func eachRecord(f *engine.Fiber, scan *journal.Scan, fn func(r *journal.Record) error) error {
	scan.Rewind()
	for {
		r, ok, err := scan.Next(f)
		if err != nil || !ok {
			return err
		}
		if err := fn(&r); err != nil {
			return err
		}
	}
}

// eachOp calls fn for every operation of a record.
func eachOp(r *journal.Record, fn func(op *format.Op) error) error {
	for rest := r.Payload; len(rest) > 0; {
		_, ops, tail, err := format.NextTxn(r.Place, rest)
		if err != nil {
			return err
		}
		for rest = tail; len(ops) > 0; {
			var op format.Op
			if ops, err = format.NextOp(r.Place, ops, &op); err != nil {
				return err
			}
			if err := fn(&op); err != nil {
				return err
			}
		}
	}
	return nil
}

// eachPiece calls fn for every piece of every write of a record.
func eachPiece(r *journal.Record, fn func(q *format.Piece) error) error {
	return eachOp(r, func(op *format.Op) error {
		for pieces := op.Pieces; len(pieces) > 0; {
			var q format.Piece
			q, pieces = format.FirstPiece(pieces)
			if err := fn(&q); err != nil {
				return err
			}
		}
		return nil
	})
}

// verifyBlocks are read at once.
const verifyBlocks = 256

// verifyRecord reads every block that the record names, into mem. The record may have reached the device without them.
func (s *Store) verifyRecord(f *engine.Fiber, r *journal.Record, mem []byte) error {
	const step = verifyBlocks
	return eachPiece(r, func(q *format.Piece) error {
		if !s.owns(q.Extent) {
			return &format.CorruptError{Place: format.Place{Device: s.name, Extent: q.Extent}, What: "blocks of a journal record", Want: "inside the slice", Got: q.Extent.String()}
		}
		for at := 0; at < int(q.Extent.Len); at += step {
			n := min(step, int(q.Extent.Len)-at)
			start := q.Extent.Start + BlockNo(at)
			if err := s.dev.Read(f, mem[:n*format.BlockBytes], int64(start)*format.BlockBytes); err != nil {
				return err
			}
			for i := range n {
				want := binary.LittleEndian.Uint32(q.Crcs[4*(at+i):])
				if got := format.Crc(mem[i*format.BlockBytes : (i+1)*format.BlockBytes]); got != want {
					p := format.Place{Device: s.name, Extent: Extent{Start: start + BlockNo(i), Len: 1}}
					return format.CorruptCrc(p, fmt.Sprintf("data of journal record %d", r.Header.Sequence), want, got)
				}
			}
		}
		return nil
	})
}

// replayMemory is memory that the cache may have borrowed.
func (s *Store) replayMemory(n int) (arena.Buf, error) {
	for {
		buf, err := s.arena.Get(n)
		if !errors.Is(err, arena.ErrExhausted) || !s.tree.MakeRoom(n) {
			return buf, err
		}
	}
}

// replayTxn applies the operations of a transaction.
func (s *Store) replayTxn(f *engine.Fiber, p format.Place, ops []byte) error {
	err := s.unlogged(f, func(tx *Tx) error { return tx.replay(p, ops) })
	if err == nil {
		s.pipe.Apply(0, 0)
	}
	return err
}

// unlogged runs a closure as Update does, while the store replays: nothing is written to the journal.
func (s *Store) unlogged(f *engine.Fiber, fn func(tx *Tx) error) error {
	var loaded *loadSet
	defer func() { s.putLoadSet(loaded) }()
	tx := &s.tx
	for {
		tx.begin(true, loaded)
		err := fn(tx)
		if !tx.missed() && err == nil {
			s.salvage.losePatches(tx)
			tx.finish()
			s.open.n, s.open.txns = format.JournalHeaderBytes, 0
			return nil
		}
		miss, block := tx.miss, tx.missBlock
		missed := tx.missed()
		tx.takeBack()
		if !missed {
			if errors.Is(err, arena.ErrExhausted) && s.tree.MakeRoom(s.opt.SlabChunkBytes) {
				continue // the cache has lent memory of the delta
			}
			return err
		}
		if loaded == nil {
			loaded = s.getLoadSet()
		}
		err = s.load(f, loaded, miss, block)
		if err != nil && s.salvage != nil && isDamage(err) { // what fails once may have been hurt on its way, and is not given up
			err = s.load(f, loaded, miss, block)
		}
		if err != nil && !s.salvage.givesUp(block, err) {
			return err
		}
	}
}

func (tx *Tx) replay(p format.Place, ops []byte) error {
	for len(ops) > 0 {
		var op format.Op
		rest, err := format.NextOp(p, ops, &op)
		if err != nil {
			return err
		}
		if err := tx.s.salvage.replayed(tx, &op, tx.replayOp(&op)); err != nil {
			return err
		}
		ops = rest
	}
	return nil
}

func (tx *Tx) replayOp(op *format.Op) error {
	c := Coll(op.Coll)
	switch op.Kind {
	case format.OpPut:
		return tx.Put(c, op.Key, op.Val)
	case format.OpDelete:
		return tx.Delete(c, op.Key)
	case format.OpDeleteRange:
		return tx.DeleteRange(c, op.Key, op.Hi)
	case format.OpWrite, format.OpPatch:
		return tx.replayWrite(c, op)
	case format.OpTruncate:
		return tx.Truncate(c, op.Name, op.Size)
	case format.OpPunch:
		return tx.Punch(c, op.Name, op.Off, op.Len)
	case format.OpRemove:
		return tx.Remove(c, op.Name)
	case format.OpSetAttr:
		return tx.SetAttr(c, op.Name, op.Key, op.Val)
	case format.OpDeleteAttr:
		return tx.RemoveAttr(c, op.Name, op.Key)
	case format.OpClone:
		return tx.Clone(c, op.Name, op.Key)
	case format.OpCreateCollection:
		return tx.CreateCollection(c)
	case format.OpDeleteCollection:
		return tx.DeleteCollection(c)
	}
	panic("storage: decoded operation of unknown kind")
}

// replayWrite gives an object the blocks of an OpWrite, or the bytes of an OpPatch: what Write had decided then is not decided again.
func (tx *Tx) replayWrite(c Coll, op *format.Op) error {
	if err := tx.writable(c); err != nil {
		return err
	}
	o, err := tx.onodeFor(c, op.Name)
	if err != nil {
		return err
	}
	size := op.Size
	if op.Kind == format.OpWrite {
		err = tx.place(c, op.Name, &o, op.Pieces)
	} else {
		size = op.Off + uint64(len(op.Val))
		if op.Off/format.BlockBytes != (size-1)/format.BlockBytes {
			return fmt.Errorf("patch of %d bytes at %d is not inside a block", len(op.Val), op.Off)
		}
		err = tx.lostPatch(c, op.Name, op.Off, len(op.Val), tx.patch(c, op.Name, &o, op.Off, op.Val, len(op.Val)))
	}
	if err != nil {
		return err
	}
	tx.ops++
	o.Size = max(o.Size, size)
	return tx.setOnode(c, op.Name, &o)
}
