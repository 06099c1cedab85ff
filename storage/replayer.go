package storage

import (
	"fmt"

	"basalt/engine"
	"basalt/storage/format"
	"basalt/storage/journal"
)

// replayer goes through the log once. A record that some other one says was durable is applied when its turn comes: nothing that stands behind it
// can change that but a proof that the disk has rotted, and then the mount fails, and what was applied, in memory, goes with it. The last ones, which
// no other says were durable, wait until the end of the log has been looked at. As a rule there are no more of them than may be in flight. A log that has more is
// gone through twice, and so is one that is repaired: what of it is lost must be known first.
type replayer struct {
	s      *Store
	rep    *MountReport
	scan   *journal.Scan
	verify []byte
	w      replayWindow

	known bool // the end of the log has been looked at
	total int  // records of the log, if known
	read  int  // of them
	done  int  // and replayed

	// Of the last record that was applied.
	last uint64
	crc  uint32
	next uint64 // behind it
}

// lookAhead is how many records behind the first of the window are read to learn whether that one was durable: those that may have been in flight
// with it, and one that was sealed when it was not any more.
const lookAhead = groupsInFlightMax

func (r *replayer) run(f *engine.Fiber) error {
	s, w := r.s, &r.w
	if s.salvage != nil {
		if err := r.lookThrough(f); err != nil {
			return err
		}
	}
	for {
		if err := r.fill(f); err != nil {
			return err
		}
		n := r.ready()
		if n == 0 && r.known {
			return nil
		}
		if n == 0 {
			if err := r.lookThrough(f); err != nil {
				return err
			}
			continue
		}
		s.tree.SetCacheBytes(s.replayCache(), len(w.lens))
		w.readAhead(f, s)
		if cut, err := r.apply(f, n); cut || err != nil {
			return err
		}
		w.drop(s, n)
		s.progress.tell(f.Turn(), DoingReplay, uint64(r.done), uint64(r.total))
		f.Yield()
	}
}

// apply replays the first n records of the window. cut: the log ends before one of them.
func (r *replayer) apply(f *engine.Fiber, n int) (cut bool, err error) {
	for i := range n {
		rec := r.w.record(i)
		if cut, err = r.s.endsHere(f, r.scan, &rec, r.verify, r.rep); cut || err != nil {
			return cut, err
		}
		if err = r.record(f, &rec, i, n); err != nil {
			err = fmt.Errorf("storage: replay of journal record %d: %w", rec.Header.Sequence, err)
			if !r.known { // if the disk has rotted, that is what is wrong
				if rot := r.lookThrough(f); rot != nil {
					return false, rot
				}
			}
			return false, err
		}
		r.done++
		r.last, r.crc, r.next = rec.Header.Sequence, rec.Header.Crc, rec.Header.Position+uint64(rec.Header.Blocks())
	}
	return false, nil
}

// record applies all transactions of record i of the n that are applied now. Its blocks are taken first: the group had them all at once.
func (r *replayer) record(f *engine.Fiber, rec *journal.Record, i, n int) error {
	s := r.s
	err := eachPiece(rec, func(q *format.Piece) error {
		if !s.owns(q.Extent) || !s.alloc.Claim(q.Extent) {
			return &format.CorruptError{Place: format.Place{Device: s.name, Extent: q.Extent}, What: "blocks of a journal record", Want: "free blocks of the slice", Got: "blocks in use"}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for rest := rec.Payload; len(rest) > 0; {
		h, ops, tail, err := format.NextTxn(rec.Place, rest)
		if err != nil {
			return err
		}
		if h.Txn != s.pipe.Applied()+1 {
			return &format.CorruptError{Place: format.Place{Device: s.name, Extent: rec.Place.Extent}, What: "transaction number",
				Want: fmt.Sprint(s.pipe.Applied() + 1), Got: fmt.Sprint(h.Txn)}
		}
		s.bases.before(f, s, &r.w, i, n, h.Txn)
		if err := s.replayTxn(f, rec.Place, ops); err != nil {
			return fmt.Errorf("transaction %d: %w", h.Txn, err)
		}
		rest = tail
		r.rep.Transactions++
	}
	r.rep.Records++
	return nil
}

// ready is how many records of the window can be replayed now.
func (r *replayer) ready() (n int) {
	if r.known {
		return len(r.w.records)
	}
	for n < len(r.w.records) && r.w.records[n].Header.Sequence <= r.scan.Durable() {
		n++
	}
	return n
}

// fill takes records until the window is full, or the log ends; the first one whatever its size, and more until it is known to have been durable.
func (r *replayer) fill(f *engine.Fiber) error {
	w := &r.w
	for r.wants() {
		rec, ok, err := r.s.nextRecord(f, r.scan)
		if err != nil {
			return err
		}
		if ok {
			r.read++
			w.add(r.s, &rec)
			continue
		}
		if r.known {
			return &RotError{Device: r.s.name, Record: r.scan.Sequence(), Proof: r.scan.Sequence(), Why: "it was read a moment ago: " + r.scan.Why().Error()}
		}
		if err := r.s.lookBehind(f, r.scan); err != nil {
			return err
		}
		r.ended(r.read)
		return nil
	}
	return nil
}

// ended notes that the log has so many records, and what a crash has cut off its end.
func (r *replayer) ended(records int) {
	r.known, r.total = true, records
	if cut := r.scan.Cut(); cut != nil {
		r.rep.Cut = cut.Error()
	}
}

func (r *replayer) wants() bool {
	w := &r.w
	switch {
	case r.known && r.read == r.total:
		return false
	case len(w.records) == 0:
		return true
	case !r.known && w.records[0].Header.Sequence > r.scan.Durable():
		return len(w.records) <= lookAhead
	}
	return !w.full(r.s)
}

// lookThrough reads the log to its end and comes back.
func (r *replayer) lookThrough(f *engine.Fiber) error {
	at := r.scan.Mark()
	more, err := r.s.findEnd(f, r.scan)
	if err != nil {
		return err
	}
	r.ended(r.read + more)
	r.scan.Return(at)
	return nil
}

// findEnd reads the log to its end, counts its records, and refuses a disk that rotted.
func (s *Store) findEnd(f *engine.Fiber, scan *journal.Scan) (records int, err error) {
	for {
		_, ok, err := s.nextRecord(f, scan)
		if err != nil {
			return records, err
		}
		if !ok {
			return records, s.lookBehind(f, scan)
		}
		records++
		s.progress.tell(f.Turn(), DoingRead, uint64(records), 0)
	}
}

// nextRecord reads the next record of the log. It does not go on with a tree that is older than the journal's.
func (s *Store) nextRecord(f *engine.Fiber, scan *journal.Scan) (r journal.Record, ok bool, err error) {
	r, ok, err = scan.Next(f)
	if h := &r.Header; ok && err == nil && h.Epoch > s.super.Epoch {
		err = &RotError{Device: s.name, Record: h.Sequence, Proof: h.Sequence, Super: h.Epoch,
			Why: fmt.Sprintf("it names superblock %d, the newest to be found is %d", h.Epoch, s.super.Epoch)}
	}
	return r, ok, err
}

// lookBehind looks at what stands behind the end of the log, to which the scan has come: whether the disk lost what it had promised, or what a crash cut off.
func (s *Store) lookBehind(f *engine.Fiber, scan *journal.Scan) error {
	proof, rotten, err := scan.Rotten(f)
	if err != nil {
		return err
	}
	if !rotten {
		return s.salvage.endsUnread(f, s, scan)
	}
	rot := &RotError{Device: s.name, Record: scan.Sequence(), Proof: proof.Record, Super: proof.Super, Why: proof.Why + "; there stands: " + scan.Why().Error()}
	if s.salvage == nil || rot.Super != 0 { // with an older tree than the journal's, nothing fits
		return rot
	}
	return s.salvage.cutAt(f, s, scan, rot)
}
