package storage

import (
	"basalt/engine"
	"basalt/engine/arena"
	"basalt/storage/format"
	"basalt/storage/journal"
)

// group is a commit group: the transactions since the last one was sealed, the payload of their journal record and the blocks that the
// record will name.
type group struct {
	journal.Group
	table   runTable
	record  arena.Buf // owned by the group for its whole life: room for the header and the payload
	mem     []byte
	n       int    // bytes of mem in use, header included
	txns    int    // in it
	dropped int    // superseded blocks
	split   int    // bytes by which the record may grow, because a piece with superseded blocks in it is cut
	data    int    // bytes of whole blocks handed out
	at, end uint64 // positions in the ring
	pending int    // writes in flight
	crc     uint32 // of the record

	awaited engine.WaitList // who waits for its commit: that of another group is nothing to them
}

// bytes bounds the length of the record if it were sealed now.
func (g *group) bytes() int { return g.n + g.split }

func recordBlocks(n int) uint64 { return uint64(format.BlocksFor(int64(n))) }

func (g *group) reset() {
	g.table.clear()
	g.n, g.txns, g.dropped, g.split, g.data = format.JournalHeaderBytes, 0, 0, 0, 0
}

// cut brings the payload into its final form: pieces whose blocks were superseded inside the group are left out, or cut. spare is memory
// as long as the group's own, which the group takes in exchange if it needed it.
func (g *group) cut(spare arena.Buf, spareMem []byte) (arena.Buf, []byte) {
	if g.dropped == 0 {
		return spare, spareMem
	}
	w := cutter{g: g, out: spareMem[:format.JournalHeaderBytes]}
	for rest := g.mem[format.JournalHeaderBytes:g.n]; len(rest) > 0; {
		rest = w.txn(rest)
	}
	if len(w.out) > len(spareMem) {
		panic("storage: journal record outgrew its bound")
	}
	g.record, spare = spare, g.record
	g.mem, spareMem = spareMem, g.mem
	g.n, g.split = len(w.out), 0
	return spare, spareMem
}

// cutter copies the payload of a group and leaves the superseded blocks out.
type cutter struct {
	g      *group
	out    []byte
	pieces []byte
}

func (w *cutter) txn(b []byte) (rest []byte) {
	h, ops, rest, err := format.NextTxn(format.Place{}, b)
	if err != nil {
		panic("storage: own transaction does not decode: " + err.Error())
	}
	at := len(w.out)
	w.out = append(w.out, b[:format.TxnHeaderBytes]...)
	for len(ops) > 0 {
		var op format.Op
		next, err := format.NextOp(format.Place{}, ops, &op)
		if err != nil {
			panic("storage: own operation does not decode: " + err.Error())
		}
		if op.Kind == format.OpWrite {
			op.Pieces = w.live(op.Pieces)
			w.out = format.AppendOp(w.out, &op)
		} else {
			w.out = append(w.out, ops[:len(ops)-len(next)]...)
		}
		ops = next
	}
	h.Bytes = uint32(len(w.out) - at)
	h.Encode(w.out[at:])
	return rest
}

// live is the pieces without their superseded blocks.
func (w *cutter) live(pieces []byte) []byte {
	w.pieces = w.pieces[:0]
	for len(pieces) > 0 {
		var q format.Piece
		q, pieces = format.FirstPiece(pieces)
		for i := BlockCount(0); i < q.Extent.Len; {
			if w.dead(q.Extent.Start + BlockNo(i)) {
				i++
				continue
			}
			n := i + 1
			for n < q.Extent.Len && !w.dead(q.Extent.Start+BlockNo(n)) {
				n++
			}
			w.pieces = format.AppendPiece(w.pieces, &format.Piece{
				BlockOff: q.BlockOff + uint64(i),
				Extent:   Extent{Start: q.Extent.Start + BlockNo(i), Len: n - i},
				Crcs:     q.Crcs[4*i : 4*n],
			})
			i = n
		}
	}
	return w.pieces
}

func (w *cutter) dead(b BlockNo) bool {
	r, i, ok := w.g.table.find(b)
	if !ok {
		panic("storage: a piece names a block that its group does not own")
	}
	return r.isDead(i)
}
