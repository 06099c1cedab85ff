package dump

import (
	"encoding/binary"
	"fmt"
	"strings"

	"basalt/engine"
	"basalt/storage/format"
	"basalt/storage/journal"
)

// JournalOptions say how much of the log is shown.
type JournalOptions struct {
	From, To uint64 // sequences, both included; 0: no bound
	Records  bool   // no transactions
	Verify   bool   // read the data that the records name
	All      bool   // whatever records stand in the ring, those of dead laps included, in the order of the ring
}

func (o *JournalOptions) wants(seq uint64) bool { return seq >= o.From && (o.To == 0 || seq <= o.To) }

// Journal shows the log as a replay would read it, where it ends, and why.
func (d *Dump) Journal(o JournalOptions) error { return d.end(d.journal(o)) }

func (d *Dump) journal(o JournalOptions) error {
	if err := d.need(); err != nil {
		return err
	}
	s := d.super
	err := d.out.print(newLine(0, "journal").at(s.Journal).add("position", s.Start.Position).add("sequence", s.Start.Sequence).
		add("preceding-crc", crc(s.Start.PrecedingCrc)).add("mount", s.Mount).add("next-txn", s.NextTxn))
	if err != nil {
		return err
	}
	if o.All {
		return d.ring(o)
	}
	scan, dev, free, err := d.scan()
	if err != nil {
		return err
	}
	defer free()
	records := 0
	for { // the first look finds the end, and what is known to be durable
		_, ok, err := scan.Next(d.f)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		records++
	}
	proof, rotten, err := scan.Rotten(d.f)
	if err != nil {
		return err
	}
	end := d.endOf(scan, proof, rotten)
	if end.bad == nil && len(dev.bad) > 0 {
		end.note("the log may go on behind a block that cannot be read")
	}
	torn := scan.Block()
	scan.Rewind()
	for range records {
		r, _, err := scan.Next(d.f)
		if err != nil {
			return err
		}
		if !o.wants(r.Header.Sequence) {
			continue
		}
		d.out.resume = fmt.Sprintf("--from %d", r.Header.Sequence)
		if err := d.record(&r, &o, scan.Durable()); err != nil {
			return err
		}
	}
	d.out.resume = ""
	if err := d.out.print(end.add("records", records).add("durable-through", scan.Durable())); err != nil {
		return err
	}
	if err := d.torn(torn, rotten); err != nil {
		return err
	}
	for _, b := range dev.bad {
		l := newLine(0, "block").at(Extent{Start: b.block, Len: 1}).add("position", b.block-s.Journal.Start)
		if err := d.out.print(l.note("a mount that reads it refuses").broken(b.err, nil)); err != nil {
			return err
		}
	}
	return nil
}

// scan begins to read the log, with a window as a replay has it: at least the longest record.
func (d *Dump) scan() (*journal.Scan, *patient, func(), error) {
	s := d.super
	n := max(int64(format.BlocksFor(int64(s.JournalRecord)))*format.BlockBytes, readStep)
	mem, free, err := d.arenaBuf(int(min(n, s.Journal.Bytes())))
	if err != nil {
		return nil, nil, nil, err
	}
	dev := &patient{d: d, seen: map[BlockNo]bool{}}
	return journal.NewScan(dev, d.dev.Name(), s, mem), dev, free, nil
}

// patient is a device on which blocks that cannot be read are zero. It remembers them.
type patient struct {
	d    *Dump
	bad  []badBlock
	seen map[BlockNo]bool
}

type badBlock struct {
	block BlockNo
	err   error
}

// Read reads into p, block by block if it cannot be read at once.
func (p *patient) Read(f *engine.Fiber, mem []byte, off int64) error {
	if p.d.dev.Read(f, mem, off) == nil {
		return nil
	}
	for at := 0; at < len(mem); at += format.BlockBytes {
		b := mem[at : at+format.BlockBytes : at+format.BlockBytes]
		err := p.d.dev.Read(f, b, off+int64(at))
		if err == nil {
			continue
		}
		clear(b)
		if block := BlockNo(uint64(off+int64(at)) / format.BlockBytes); !p.seen[block] {
			p.seen[block] = true
			p.bad = append(p.bad, badBlock{block, err})
		}
	}
	return nil
}

// endOf says why no record follows.
func (d *Dump) endOf(scan *journal.Scan, proof journal.Proof, rotten bool) *line {
	at := Extent{Start: d.super.Journal.Start + BlockNo(scan.Block()), Len: 1}
	l := newLine(0, "end").at(at).add("position", scan.Block()).add("sequence", scan.Sequence()).add("preceding-crc", crc(scan.LastCrc())).
		add("found", scan.Why().Error())
	cut, tail := scan.Cut(), ""
	if cut != nil && !strings.HasSuffix(cut.Error(), scan.Why().Error()) {
		tail = ": " + cut.Error()
	}
	switch {
	case rotten:
		why := fmt.Sprintf("no whole record, although record %d proves that there was one: %s", proof.Record, proof.Why)
		return l.broken(d.corrupt(at, fmt.Sprintf("journal record %d", scan.Sequence()), "the record, which was durable", why), nil)
	case cut != nil:
		return l.note("a crash cut the log here, before anything of this was acknowledged" + tail)
	}
	return l.note("the log just ends, as every one does")
}

// torn shows what stands where the log ends, if it is the beginning of a record. It is damage only if the record had been durable.
func (d *Dump) torn(position uint64, rotten bool) error {
	e := Extent{Start: d.super.Journal.Start + BlockNo(position), Len: 1}
	b, err := d.read(e)
	if err != nil {
		return nil // journal shows what could not be read
	}
	h := format.PeekJournalHeader(b)
	if !begins(b, format.JournalMagic) || h.Mount != d.super.Mount || h.Sequence < d.super.Start.Sequence {
		return nil // nothing, or of another life
	}
	return d.showRecord(e.Start, 1, !rotten)
}

// JournalAt shows the record that stands at a block of the device, whatever the log thinks of it.
func (d *Dump) JournalAt(block BlockNo) error {
	err := d.find()
	if err == nil {
		err = d.journalAt(block, 0)
	}
	return d.end(err)
}

// ringOf is how long the ring and its records may be, as far as anything says so.
func (d *Dump) ringOf() (ring format.BlockCount, recordMax uint32) {
	if d.super == nil {
		return 1<<32 - 1, format.JournalRecordMax
	}
	return d.super.Journal.Len, d.super.JournalRecord
}

func (d *Dump) journalAt(block BlockNo, depth int) error { return d.showRecord(block, depth, false) }

// showRecord: with torn, that the record is not whole is no damage.
func (d *Dump) showRecord(block BlockNo, depth int, torn bool) error {
	e := Extent{Start: block, Len: 1}
	b, err := d.read(e)
	if b == nil {
		return err
	}
	var h format.JournalHeader
	if err == nil {
		ring, recordMax := d.ringOf()
		h, err = format.DecodeJournalHeader(d.place(e), b, ring, recordMax)
	}
	if err != nil && torn {
		return d.out.print(badRecord(depth, e, b).note("not whole: " + err.Error()))
	}
	if err != nil {
		return d.out.print(badRecord(depth, e, b).broken(err, b))
	}
	e.Len = h.Blocks()
	whole, err := d.read(e)
	if whole == nil {
		return d.out.print(recordLine(depth, Extent{Start: block, Len: 1}, &h).broken(err, b))
	}
	if err == nil {
		_, err = format.VerifyJournal(d.place(e), &h, whole)
	}
	l := recordLine(depth, e, &h)
	if err != nil && torn {
		l.note("not whole: " + err.Error())
		err = nil
	}
	if err == nil && d.super != nil && h.Store != d.super.Store {
		err = d.corrupt(e, "journal record store", d.super.Store, h.Store)
	}
	if err != nil {
		l.broken(err, whole)
	}
	if err := d.out.print(l); err != nil {
		return err
	}
	bad := d.out.bad
	err = d.transactions(depth+1, e, whole[format.JournalHeaderBytes:h.Bytes])
	if torn {
		d.out.bad = bad // what it breaks off with says the same
	}
	return err
}

// ring shows every record that stands in the ring.
func (d *Dump) ring(o JournalOptions) error {
	ring := d.super.Journal
	var window []byte
	from, blocks := uint64(0), uint64(0) // of the window
	for at := uint64(0); at < uint64(ring.Len); {
		if at >= from+blocks {
			from, blocks = at, min(readStep/format.BlockBytes, uint64(ring.Len)-at)
			var err error
			if window, err = d.read(Extent{Start: ring.Start + BlockNo(at), Len: format.BlockCount(blocks)}); window == nil {
				return err
			}
		}
		b := window[(at-from)*format.BlockBytes:][:format.BlockBytes]
		block := ring.Start + BlockNo(at)
		at++
		h := format.PeekJournalHeader(b)
		if !begins(b, format.JournalMagic) || !o.wants(h.Sequence) {
			continue
		}
		bad := d.out.bad
		show := d.journalAt
		if o.Records {
			show = d.headerAt
		}
		if err := show(block, 1); err != nil {
			return err
		}
		if d.out.bad == bad {
			at += max(1, uint64(h.Blocks())) - 1 // what it holds may look like a record
		}
	}
	return nil
}

// headerAt shows the record at a block without its transactions.
func (d *Dump) headerAt(block BlockNo, depth int) error {
	e := Extent{Start: block, Len: 1}
	b, err := d.read(e)
	if b == nil {
		return err
	}
	ring, recordMax := d.ringOf()
	h, err := format.DecodeJournalHeader(d.place(e), b, ring, recordMax)
	if err != nil {
		return d.out.print(badRecord(depth, e, b).broken(err, b))
	}
	e.Len = h.Blocks()
	return d.out.print(recordLine(depth, e, &h))
}

// badRecord is the line of a header that does not decode.
func badRecord(depth int, e Extent, b []byte) *line {
	if !begins(b, format.JournalMagic) {
		return newLine(depth, "record").at(e)
	}
	h := format.PeekJournalHeader(b)
	return recordLine(depth, e, &h)
}

func recordLine(depth int, e Extent, h *format.JournalHeader) *line {
	return newLine(depth, "record").at(e).add("sequence", h.Sequence).add("position", h.Position).add("preceding-crc", crc(h.PrecedingCrc)).
		add("crc", crc(h.Crc)).add("flushed-through", h.FlushedThrough).add("epoch", h.Epoch).add("first-txn", h.FirstTxn).add("txns", h.Txns).
		add("bytes", h.Bytes).add("mount", h.Mount)
}

// record shows one record of the log.
func (d *Dump) record(r *journal.Record, o *JournalOptions, durable uint64) error {
	l := recordLine(1, r.Place.Extent, &r.Header)
	if r.Header.Epoch > d.super.Epoch {
		l.broken(d.corrupt(r.Place.Extent, "journal record epoch", fmt.Sprintf("at most %d, the newest superblock to be found", d.super.Epoch), r.Header.Epoch), nil)
	}
	if err := d.out.print(l); err != nil {
		return err
	}
	payload := append([]byte(nil), r.Payload...) // the window belongs to the scan
	if o.Verify {
		if err := d.verifyRecord(r.Place.Extent, payload, r.Header.Sequence, durable); err != nil {
			return err
		}
	}
	if o.Records {
		return nil
	}
	return d.transactions(2, r.Place.Extent, payload)
}

// transactions shows a payload, and where it stops making sense.
func (d *Dump) transactions(depth int, e Extent, payload []byte) error {
	p := d.place(e)
	for rest := payload; len(rest) > 0; {
		h, ops, tail, err := format.NextTxn(p, rest)
		if err != nil {
			return d.out.print(newLine(depth, "transaction").broken(err, rest))
		}
		l := newLine(depth, "transaction").add("txn", h.Txn).add("collection", h.Collection).add("version", h.Version).add("ops", h.Ops).add("bytes", h.Bytes)
		if h.Flags != 0 {
			l.add("flags", fmt.Sprintf("%#x", h.Flags))
		}
		if err := d.out.print(l); err != nil {
			return err
		}
		count := uint32(0)
		for ; len(ops) > 0; count++ {
			var op format.Op
			left, err := format.NextOp(p, ops, &op)
			if err != nil {
				return d.out.print(newLine(depth+1, "operation").broken(err, ops))
			}
			if err := d.op(depth+1, &op); err != nil {
				return err
			}
			ops = left
		}
		if count != h.Ops {
			err := d.corrupt(e, "transaction operations", h.Ops, count)
			if err := d.out.print(newLine(depth+1, "transaction").broken(err, nil)); err != nil {
				return err
			}
		}
		rest = tail
	}
	return nil
}

func (d *Dump) op(depth int, op *format.Op) error {
	l := newLine(depth, op.Kind.String()).add("collection", op.Coll)
	switch op.Kind {
	case format.OpPut:
		d.userKey(l, "key", op.Coll, op.Key).add("value-bytes", len(op.Val)).add("value", some(op.Val))
	case format.OpDelete:
		d.userKey(l, "key", op.Coll, op.Key)
	case format.OpDeleteRange:
		d.userKey(l, "from", op.Coll, op.Key).add("to", op.Hi)
	case format.OpWrite:
		d.objectName(l, op.Coll, op.Name).add("size", op.Size)
	case format.OpPatch:
		d.objectName(l, op.Coll, op.Name).add("off", op.Off).add("bytes", len(op.Val)).add("value", some(op.Val))
	case format.OpTruncate:
		d.objectName(l, op.Coll, op.Name).add("size", op.Size)
	case format.OpPunch:
		d.objectName(l, op.Coll, op.Name).add("off", op.Off).add("bytes", op.Len)
	case format.OpClone:
		d.objectName(l, op.Coll, op.Name).add("clone", op.Key)
	case format.OpRemove:
		d.objectName(l, op.Coll, op.Name)
	case format.OpSetAttr:
		d.objectName(l, op.Coll, op.Name).add("name", op.Key).add("value-bytes", len(op.Val)).add("value", some(op.Val))
	case format.OpDeleteAttr:
		d.objectName(l, op.Coll, op.Name).add("name", op.Key)
	}
	if op.Flags != 0 {
		l.add("flags", fmt.Sprintf("%#x", op.Flags))
	}
	if err := d.out.print(l); err != nil {
		return err
	}
	for pieces := op.Pieces; len(pieces) > 0; {
		var q format.Piece
		q, pieces = format.FirstPiece(pieces)
		if err := d.out.print(newLine(depth+1, "piece").at(q.Extent).add("off", q.BlockOff).add("crcs", crcList(q.Crcs))); err != nil {
			return err
		}
	}
	return nil
}

// objectName adds the name of an object and, if its owner knows, what it means.
func (d *Dump) objectName(l *line, coll uint16, name []byte) *line {
	l.add("object", name)
	if d.opt.ObjectName != nil {
		if means := d.opt.ObjectName(coll, name); means != "" {
			l.add("means", means)
		}
	}
	return l
}

// userKey adds a key and, if its owner knows, what it means.
func (d *Dump) userKey(l *line, name string, coll uint16, key []byte) *line {
	l.add(name, key)
	if d.opt.UserKey != nil {
		if means := d.opt.UserKey(coll, key); means != "" {
			l.add("means", means)
		}
	}
	return l
}

const crcsShown = 4 // checksums of a run of blocks, at each end

// crcList is the checksums of a run of blocks; of a long one its ends.
func crcList(crcs []byte) string {
	n, out := len(crcs)/4, ""
	for i := range n {
		if n > 2*crcsShown && i == crcsShown {
			out += ",…"
		}
		if n > 2*crcsShown && i >= crcsShown && i < n-crcsShown {
			continue
		}
		if out != "" {
			out += ","
		}
		out += crc(binary.LittleEndian.Uint32(crcs[4*i:])).String()
	}
	return out
}

// verifyRecord reads the blocks that a record names, as a replay does with records that nothing proves durable.
func (d *Dump) verifyRecord(e Extent, payload []byte, seq, durable uint64) error {
	p := d.place(e)
	for rest := payload; len(rest) > 0; {
		_, ops, tail, err := format.NextTxn(p, rest)
		if err != nil {
			return nil // transactions shows it
		}
		for rest = tail; len(ops) > 0; {
			var op format.Op
			if ops, err = format.NextOp(p, ops, &op); err != nil {
				return nil
			}
			for pieces := op.Pieces; len(pieces) > 0; {
				var q format.Piece
				q, pieces = format.FirstPiece(pieces)
				note := "" // no superblock has released what the log names
				if seq > durable {
					note = "nothing proves this record durable: a replay would end before it"
				}
				if err := d.verifyBlocks(2, q.Extent, q.Crcs, q.BlockOff, note); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// verifyBlocks reads a run of data blocks and shows each that is not what its checksum says.
func (d *Dump) verifyBlocks(depth int, e Extent, crcs []byte, off uint64, note string) error {
	if !d.owns(e) {
		return d.out.print(newLine(depth, "blocks").at(e).add("off", off).broken(d.corrupt(e, "data blocks", "inside the slice", e), nil))
	}
	for at := format.BlockCount(0); at < e.Len; at += verifyStep {
		part := Extent{Start: e.Start + BlockNo(at), Len: min(verifyStep, e.Len-at)}
		b, err := d.read(part)
		if b == nil {
			return err
		}
		for i := range int(part.Len) {
			one, mem := Extent{Start: part.Start + BlockNo(i), Len: 1}, b[i*format.BlockBytes:][:format.BlockBytes]
			var bad error
			if err != nil { // of one of them
				_, bad = d.read(one)
			}
			if want, got := binary.LittleEndian.Uint32(crcs[4*(int(at)+i):]), format.Crc(mem); bad == nil && want != got {
				bad = format.CorruptCrc(d.place(one), "data block", want, got)
			}
			if bad == nil {
				continue
			}
			l := newLine(depth, "block").at(one).add("off", off+uint64(at)+uint64(i)).note(note).broken(bad, mem)
			if err := d.out.print(l); err != nil {
				return err
			}
		}
	}
	return nil
}

const verifyStep = 256 // blocks verified at once
