package storage

import (
	"bytes"
	"slices"

	"basalt/engine"
	"basalt/storage/format"
	"basalt/storage/journal"
)

// MountProgress is how far a mount is.
type MountProgress struct {
	Doing       string // one of the constants below
	Done, Total uint64 // of records, or of changes; Total 0: nobody knows
}

// What a mount does.
const (
	DoingRead   = "reading the journal"   // records
	DoingReplay = "replaying the journal" // records
	DoingFold   = "writing the tree"      // changes
)

// progress tells whoever wants to know. It is called often.
type progress struct {
	fn   func(p MountProgress)
	next int64 // when it will be told
}

const progressNs = 1e9

func (p *progress) begin(t *engine.Turn, fn func(p MountProgress)) {
	*p = progress{fn: fn, next: t.Now() + progressNs}
}

func (p *progress) tell(t *engine.Turn, doing string, done, total uint64) {
	if p.fn == nil || t.Now() < p.next {
		return
	}
	p.next = t.Now() + progressNs
	p.fn(MountProgress{Doing: doing, Done: done, Total: total})
}

// replayWindow is some records of the journal that are replayed one after the other, after the nodes that they need have been read together.
type replayWindow struct {
	records []journal.Record
	blocks  int   // of the journal that they are
	ends    []int // of their payloads, in mem
	mem     []byte
	keys    []byte
	lens    []int
	sorted  [][]byte
	parts   int // operations that may change a part of a block
}

// add copies a record.
func (w *replayWindow) add(s *Store, r *journal.Record) {
	w.mem = append(w.mem, r.Payload...)
	w.records, w.ends = append(w.records, *r), append(w.ends, len(w.mem))
	w.blocks += int(r.Header.Blocks())
	w.note(s, r)
}

// record is the i-th, with its copied payload.
func (w *replayWindow) record(i int) journal.Record {
	r, from := w.records[i], 0
	if i > 0 {
		from = w.ends[i-1]
	}
	r.Payload = w.mem[from:w.ends[i]:w.ends[i]]
	return r
}

// drop takes the first n records out. Those that stay are few.
func (w *replayWindow) drop(s *Store, n int) {
	gone := w.ends[n-1]
	for i := range w.records[:n] {
		w.blocks -= int(w.records[i].Header.Blocks())
	}
	w.mem = w.mem[:copy(w.mem, w.mem[gone:])]
	w.records = w.records[:copy(w.records, w.records[n:])]
	w.ends = w.ends[:copy(w.ends, w.ends[n:])]
	w.keys, w.lens, w.parts = w.keys[:0], w.lens[:0], 0
	for i := range w.records {
		w.ends[i] -= gone
		r := w.record(i)
		w.note(s, &r)
	}
}

// full tells whether no more records should come. The keys are not more than nodes can be held.
func (w *replayWindow) full(s *Store) bool {
	return w.blocks*format.BlockBytes >= s.opt.ReplayAhead || len(w.lens) >= s.replayNodes()
}

// note collects the keys that a record reads before it writes. What does not decode is found when it is replayed.
func (w *replayWindow) note(s *Store, r *journal.Record) {
	for rest := r.Payload; len(rest) > 0; {
		_, ops, tail, err := format.NextTxn(r.Place, rest)
		for rest = tail; err == nil && len(ops) > 0; {
			var op format.Op
			if ops, err = format.NextOp(r.Place, ops, &op); err == nil {
				w.noteOp(s, &op)
			}
		}
		if err != nil {
			return
		}
	}
}

func (w *replayWindow) noteOp(s *Store, op *format.Op) {
	if len(op.Name) == 0 {
		return // keys are put and deleted without a look at what was there
	}
	from := len(w.keys)
	w.keys = format.AppendOnodeKey(w.keys, op.Coll, op.Name)
	if _, had := s.active.exact(w.keys[from:]); had {
		w.keys = w.keys[:from] // the tree will not be asked
	} else {
		w.lens = append(w.lens, len(w.keys)-from)
	}
	extent := func(off uint64) {
		from := len(w.keys)
		w.keys = format.AppendExtentKey(w.keys, op.Coll, op.Name, off)
		w.lens = append(w.lens, len(w.keys)-from)
	}
	switch op.Kind {
	case format.OpPatch, format.OpPunch:
		extent(op.Off / format.BlockBytes)
		w.parts++
	case format.OpTruncate:
		extent(op.Size / format.BlockBytes)
		w.parts++
	case format.OpRemove, format.OpClone:
		extent(0)
	}
	for pieces := op.Pieces; len(pieces) > 0; {
		var q format.Piece
		q, pieces = format.FirstPiece(pieces)
		extent(q.BlockOff)
	}
}

// readAhead brings the nodes that the window needs into the cache.
func (w *replayWindow) readAhead(f *engine.Fiber, s *Store) {
	w.sorted = w.sorted[:0]
	keys := w.keys
	for _, n := range w.lens {
		w.sorted = append(w.sorted, keys[:n:n])
		keys = keys[n:]
	}
	slices.SortFunc(w.sorted, bytes.Compare)
	s.tree.Prefetch(f, s.super.Tree, w.sorted, s.replayNodes())
}

// replayCache is how many bytes of nodes may be held during the replay: the memory that is the delta's is lent to the cache until it needs it.
func (s *Store) replayCache() int64 {
	left := max(s.opt.DeltaBytesMax-s.deltaBytes(), 0)
	return int64(min(s.opt.ReplayBytes, s.opt.CacheBytes+left))
}

// replayNodes bounds the nodes that one window reads: half of the cache, so that they are still there when they are wanted.
func (s *Store) replayNodes() int {
	return max(int(s.replayCache())/int(s.super.NodeBytes)/2, 1)
}
