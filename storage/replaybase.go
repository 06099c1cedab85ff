package storage

import (
	"cmp"
	"slices"

	"basalt/engine"
	"basalt/storage/format"
)

const (
	basesMax   = 256 // blocks: 1 MiB
	basesDepth = 64  // reads at once
)

// replayBases are blocks of which the journal changes a part. They are read before their turn comes, many at once, as the state before those changes names
// them. A nil one reads none. It is only a matter of speed: a block that another change gives the object meanwhile, or that cannot be read, is loaded when it is wanted.
type replayBases struct {
	gather engine.Gather
	mem    []byte // arena memory of basesMax blocks
	refs   []blockRef
	res    []int32
	upto   uint64 // the last transaction that was looked at
}

// find lends the content of a block, if it was read.
func (b *replayBases) find(ref blockRef) ([]byte, bool) {
	if b == nil {
		return nil, false
	}
	i, ok := slices.BinarySearchFunc(b.refs, ref.no, func(r blockRef, no BlockNo) int { return cmp.Compare(r.no, no) })
	if !ok || b.refs[i] != ref || !b.whole(i) {
		return nil, false
	}
	return b.block(i), true
}

// whole tells whether all of the i-th was read.
func (b *replayBases) whole(i int) bool { return b.res[i] == format.BlockBytes }

func (b *replayBases) block(i int) []byte {
	return b.mem[i*format.BlockBytes : (i+1)*format.BlockBytes : (i+1)*format.BlockBytes]
}

// before is called before a transaction of record i of the window is replayed: it looks at as many from there on as it has room for.
func (b *replayBases) before(f *engine.Fiber, s *Store, w *replayWindow, i, n int, txn uint64) {
	if b == nil || w.parts == 0 || txn <= b.upto {
		return
	}
	b.refs = b.refs[:0]
	for ; i < n && len(b.refs) < basesMax; i++ {
		r := w.record(i)
		for rest := r.Payload; len(rest) > 0 && len(b.refs) < basesMax; {
			h, ops, tail, err := format.NextTxn(r.Place, rest)
			if err != nil {
				break // it is found when it is replayed
			}
			if rest = tail; h.Txn < txn {
				continue
			}
			b.upto = h.Txn
			for op := (format.Op{}); len(ops) > 0 && err == nil; {
				if ops, err = format.NextOp(r.Place, ops, &op); err == nil {
					b.note(s, &op)
				}
			}
		}
	}
	slices.SortFunc(b.refs, func(x, y blockRef) int { return cmp.Compare(x.no, y.no) })
	b.refs = slices.CompactFunc(b.refs, func(x, y blockRef) bool { return x.no == y.no })
	b.read(f, s)
}

// note collects the blocks that an operation changes a part of.
func (b *replayBases) note(s *Store, op *format.Op) {
	part := func(off uint64) {
		if off%format.BlockBytes != 0 {
			b.add(s, op, off/format.BlockBytes)
		}
	}
	switch op.Kind {
	case format.OpPatch:
		b.add(s, op, op.Off/format.BlockBytes)
	case format.OpTruncate:
		part(op.Size)
	case format.OpPunch:
		part(op.Off)
		part(op.Off + op.Len)
	}
}

// add notes one block of the object, if the state of this moment has it on the device.
func (b *replayBases) add(s *Store, op *format.Op, block uint64) {
	if len(b.refs) == basesMax || len(op.Name) == 0 {
		return
	}
	tx := &s.tx
	tx.begin(false, nil)
	if tx.collect(Coll(op.Coll), op.Name, block, block+1) != nil || len(tx.recs) == 0 || tx.recs[0].isDirty {
		return
	}
	p := &tx.recs[0]
	i := int(block - p.off)
	b.refs = append(b.refs, blockRef{no: p.rec.Start + BlockNo(i), crc: p.rec.Crc(i), ok: true})
}

func (b *replayBases) read(f *engine.Fiber, s *Store) {
	b.res = append(b.res[:0], make([]int32, len(b.refs))...)
	for from := 0; from < len(b.refs); from += basesDepth {
		to := min(from+basesDepth, len(b.refs))
		for i := from; i < to; i++ {
			b.gather.Submit(f, s.dev.ReadOp(b.block(i), offsetOf(b.refs[i].no)), &b.res[i])
		}
		b.gather.Wait(f)
	}
	for i := range b.refs {
		if b.whole(i) && format.Crc(b.block(i)) != b.refs[i].crc {
			b.res[i] = 0
		}
	}
}
