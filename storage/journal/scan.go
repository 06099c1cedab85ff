package journal

import (
	"fmt"

	"basalt/engine"
	"basalt/storage/format"
)

// Device is what the scan asks of a device handle.
type Device interface {
	Read(f *engine.Fiber, p []byte, off int64) error
}

// Scan reads a ring from where a superblock says that replay starts. It keeps a window of the ring in memory.
type Scan struct {
	dev    Device
	name   string
	super  *format.Superblock
	buf    []byte // arena memory: at least the longest record
	from   uint64 // first block of the window
	narrow bool   // a window could not be read: from then on no more is read than is asked for
	n      uint64 // blocks in it
	ahead  ahead

	next     uint64 // block where the next record should be
	seq      uint64 // and its sequence
	crc      uint32 // of the record before it
	maxFlush uint64 // highest flushedThrough seen
	end      stop   // why the last record is the last
	missing  uint64 // sequence of a record of this mount that stands behind the end, 0: none
}

// stop is why no record follows: what stands where the next one should.
type stop struct {
	why   error
	begun bool // it is the next one, and not whole
}

// NewScan starts at the superblock's first record. buf is aligned arena memory of at least super.JournalRecord bytes, in whole blocks.
func NewScan(dev Device, name string, super *format.Superblock, buf []byte) *Scan {
	s := &Scan{dev: dev, name: name, super: super, buf: buf}
	s.Rewind()
	return s
}

// Rewind goes back to the first record.
func (s *Scan) Rewind() {
	s.next, s.seq, s.crc = s.super.Start.Position, s.super.Start.Sequence, s.super.Start.PrecedingCrc
}

// Mark is a place in the log: before a record.
type Mark struct {
	next, seq uint64
	crc       uint32
}

// Mark is where the scan is, Return goes back there. What was read meanwhile still counts for Durable.
func (s *Scan) Mark() Mark    { return Mark{s.next, s.seq, s.crc} }
func (s *Scan) Return(m Mark) { s.next, s.seq, s.crc = m.next, m.seq, m.crc }

// Record is one that was read; Payload is valid until the next call of the scan.
type Record struct {
	Header  format.JournalHeader
	Payload []byte
	Place   format.Place
}

// Next reads the next record. false: there is none, and Why says what stands there instead. Where there seems to be none it looks twice: what was
// hurt on its way from the device, once, must not end the log before a record that was committed.
func (s *Scan) Next(f *engine.Fiber) (r Record, ok bool, err error) {
	r, end, err := s.look(f)
	if err == nil && end.why != nil {
		s.n = 0
		s.ahead.drop(f)
		r, end, err = s.look(f)
	}
	if err != nil {
		return r, false, err
	}
	if s.end = end; end.why != nil {
		return r, false, nil
	}
	s.next = (r.Header.Position + uint64(r.Header.Blocks())) % uint64(s.super.Journal.Len)
	s.seq, s.crc = r.Header.Sequence+1, r.Header.Crc
	s.maxFlush = max(s.maxFlush, r.Header.FlushedThrough)
	return r, true, nil
}

// look reads what stands where the next record should.
func (s *Scan) look(f *engine.Fiber) (r Record, end stop, err error) {
	r, end, err = s.at(f, s.next)
	if err == nil && end.why != nil && s.next != 0 { // it did not fit before the end of the ring
		var again stop
		if r, again, err = s.at(f, 0); again.why == nil || again.begun {
			end = again
		}
	}
	return r, end, err
}

// at reads the record at a block and checks that it is the next one.
func (s *Scan) at(f *engine.Fiber, block uint64) (r Record, end stop, err error) {
	r, why, err := s.any(f, block)
	h := &r.Header
	end = stop{why: why, begun: h.Store == s.super.Store && h.Mount == s.super.Mount && h.Sequence == s.seq}
	if why != nil || err != nil {
		return r, end, err
	}
	switch {
	case h.Mount != s.super.Mount:
		end.why = fmt.Errorf("record %d of mount %v", h.Sequence, h.Mount)
	case h.Sequence != s.seq:
		end.why = fmt.Errorf("record %d stands where %d should", h.Sequence, s.seq)
	case h.PrecedingCrc != s.crc:
		end.why = fmt.Errorf("record %d follows a record with crc %#x, the one before it has %#x", h.Sequence, h.PrecedingCrc, s.crc)
	}
	return r, end, nil
}

// any reads whatever valid record of this store stands at a block.
func (s *Scan) any(f *engine.Fiber, block uint64) (r Record, why, err error) {
	b, err := s.window(f, block, 1)
	if err != nil {
		return r, nil, err
	}
	r.Place = s.place(block, 1)
	if r.Header, why = format.DecodeJournalHeader(r.Place, b, s.super.Journal.Len, s.super.JournalRecord); why != nil {
		return r, why, nil
	}
	h := &r.Header
	if h.Store != s.super.Store || h.Position != block {
		return r, fmt.Errorf("record of store %v, position %d", h.Store, h.Position), nil
	}
	if b, err = s.window(f, block, uint64(h.Blocks())); err != nil {
		return r, nil, err
	}
	r.Place = s.place(block, uint64(h.Blocks()))
	r.Payload, why = format.VerifyJournal(r.Place, h, b)
	return r, why, nil
}

func (s *Scan) place(block, n uint64) format.Place {
	e := format.Extent{Start: s.super.Journal.Start + format.BlockNo(block), Len: format.BlockCount(n)}
	return format.Place{Device: s.name, Extent: e}
}

// window returns n blocks of the ring, reading ahead as far as the buffer goes.
func (s *Scan) window(f *engine.Fiber, block, n uint64) ([]byte, error) {
	if block >= s.from && block+n <= s.from+s.n {
		return s.part(block, n), nil
	}
	if !s.take(f, block) {
		most := min(uint64(len(s.buf))/format.BlockBytes, uint64(s.super.Journal.Len)-block)
		if s.narrow {
			most = min(most, n)
		}
		err := s.read(f, block, most)
		if err != nil && most > n { // what nobody asked for may be what cannot be read
			s.narrow = true
			err = s.read(f, block, n)
		}
		if err != nil {
			return nil, err
		}
	}
	if n > s.n {
		return nil, fmt.Errorf("journal: record of %d blocks, window of %d", n, s.n)
	}
	s.begin(f)
	return s.part(block, n), nil
}

// read makes n blocks the window.
func (s *Scan) read(f *engine.Fiber, block, n uint64) error {
	s.from, s.n = block, n
	err := s.dev.Read(f, s.buf[:n*format.BlockBytes], int64(s.super.Journal.Start+format.BlockNo(block))*format.BlockBytes)
	if err != nil {
		s.n = 0
	}
	return err
}

// part is n blocks of the window.
func (s *Scan) part(block, n uint64) []byte {
	at := (block - s.from) * format.BlockBytes
	return s.buf[at : at+n*format.BlockBytes]
}

// Proof is a record behind the end of the log that shows that the record which ended it had been durable.
type Proof struct {
	Record uint64
	Super  uint64 // the superblock that it names, if it is newer than the newest that was found
	Why    string
}

// Rotten looks behind the end of the log for a proof that the end is not where a crash left it. At most two records were in flight, so
// whatever proves anything begins within four of the longest ones. What a record there says of those before the end counts for Durable: they
// were durable, whatever has become of the one between.
func (s *Scan) Rotten(f *engine.Fiber) (p Proof, found bool, err error) {
	reach := min(4*uint64(format.BlocksFor(int64(s.super.JournalRecord))), uint64(s.super.Journal.Len))
	for i := uint64(0); i < reach; i++ {
		block := (s.next + i) % uint64(s.super.Journal.Len)
		if p, found, err = s.proofAt(f, block); found || err != nil {
			return p, found, err
		}
	}
	for block := uint64(0); block < reach && s.next != 0; block++ { // the log may go on at the beginning of the ring
		if p, found, err = s.proofAt(f, block); found || err != nil {
			return p, found, err
		}
	}
	return p, false, nil
}

func (s *Scan) proofAt(f *engine.Fiber, block uint64) (p Proof, found bool, err error) {
	r, why, err := s.any(f, block)
	if why != nil || err != nil {
		return p, false, err
	}
	h := &r.Header
	switch {
	case h.Epoch > s.super.Epoch: // of whatever mount: older ones name older superblocks
		return Proof{h.Sequence, h.Epoch, fmt.Sprintf("it names superblock %d, the newest to be found is %d", h.Epoch, s.super.Epoch)}, true, nil
	case h.Mount != s.super.Mount || h.Sequence <= s.seq: // of an earlier life, or lap
	case h.FlushedThrough >= s.seq:
		return Proof{h.Sequence, 0, fmt.Sprintf("it says that everything through %d was durable", h.FlushedThrough)}, true, nil
	default:
		s.missing, s.maxFlush = h.Sequence, max(s.maxFlush, h.FlushedThrough)
	}
	return p, false, nil
}

// Behind calls fn for every whole record of this mount that stands anywhere in the ring and comes after the end of the log: what is lost when the
// log is cut there. They come in the order in which they stand.
func (s *Scan) Behind(f *engine.Fiber, fn func(r *Record) error) error {
	for block := uint64(0); block < uint64(s.super.Journal.Len); block++ {
		r, why, err := s.any(f, block)
		if err != nil {
			return err
		}
		if why == nil && r.Header.Mount == s.super.Mount && r.Header.Sequence > s.seq {
			if err := fn(&r); err != nil {
				return err
			}
		}
	}
	return nil
}

// Why tells what stands where the next record should, Sequence which one that is, Block where.
func (s *Scan) Why() error       { return s.end.why }
func (s *Scan) Sequence() uint64 { return s.seq }
func (s *Scan) Block() uint64    { return s.next }

// Cut says which record a crash has cut off the end of the log, once Rotten has looked behind it; nil: the log just ends, as every one does, at
// blocks that hold nothing or what is left of an earlier lap.
func (s *Scan) Cut() error {
	switch {
	case s.end.begun:
		return fmt.Errorf("record %d was begun and is not whole: %w", s.seq, s.end.why)
	case s.missing != 0:
		return fmt.Errorf("record %d is missing before record %d, which was in flight with it", s.seq, s.missing)
	}
	return nil
}

// LastCrc is the crc of the last record, which the next one names.
func (s *Scan) LastCrc() uint32 { return s.crc }

// Durable is the last record that some other record says was durable.
func (s *Scan) Durable() uint64 { return s.maxFlush }
