package format

import "fmt"

const (
	journalMagic = "BJOURNAL"
	journalCrc   = JournalHeaderBytes - 4
)

// JournalHeader starts a record of the journal ring. The record begins on a block, is padded with zeros to whole
// blocks, and never straddles the end of the ring.
type JournalHeader struct {
	Store          UUID
	Mount          UUID
	Sequence       uint64 // of the record
	Position       uint64 // block of the ring
	FlushedThrough uint64 // last record known durable when this one was sealed
	Epoch          uint64 // durable superblock when this one was sealed
	FirstTxn       uint64 // number of the first transaction inside
	Bytes          uint32 // header and payload, without the padding
	Txns           uint32 // transactions inside
	PrecedingCrc   uint32 // crc of the record before it
	Crc            uint32 // header (without this field) and payload
}

// Blocks is how many blocks of the ring the record takes.
func (h *JournalHeader) Blocks() BlockCount { return BlocksFor(int64(h.Bytes)) }

// Encode writes the header into b as it is.
func (h *JournalHeader) Encode(b []byte) {
	mustLen("journal header", b, JournalHeaderBytes)
	clear(b[:JournalHeaderBytes])
	copy(b, journalMagic)
	copy(b[8:], h.Store[:])
	copy(b[24:], h.Mount[:])
	le.PutUint64(b[40:], h.Sequence)
	le.PutUint64(b[48:], h.Position)
	le.PutUint64(b[56:], h.FlushedThrough)
	le.PutUint64(b[64:], h.Epoch)
	le.PutUint64(b[72:], h.FirstTxn)
	le.PutUint32(b[80:], h.Bytes)
	le.PutUint32(b[84:], h.Txns)
	le.PutUint32(b[88:], h.PrecedingCrc)
	le.PutUint32(b[journalCrc:], h.Crc)
}

// SealJournal completes a record: it writes the header over the first bytes of record, whose payload stands behind
// them, sets h.Bytes and h.Crc, and zeroes the padding up to whole blocks. record needs room for that.
func SealJournal(record []byte, payload int, h *JournalHeader) []byte {
	h.Bytes, h.Crc = uint32(JournalHeaderBytes+payload), 0
	whole := int(h.Blocks()) * BlockBytes
	mustLen("journal record", record, whole)
	clear(record[h.Bytes:whole])
	h.Encode(record)
	h.Crc = CrcAdd(Crc(record[:journalCrc]), record[JournalHeaderBytes:h.Bytes])
	le.PutUint32(record[journalCrc:], h.Crc)
	return record[:whole]
}

// DecodeJournalHeader reads the header at p. ring is the length of the ring in blocks and bytesMax the superblock's
// longest record. The crc is not yet checked: that needs the whole record, see VerifyJournal.
func DecodeJournalHeader(p Place, b []byte, ring BlockCount, bytesMax uint32) (JournalHeader, error) {
	var h JournalHeader
	if err := checkLen(p, "journal header", b, JournalHeaderBytes); err != nil {
		return h, err
	}
	if err := checkMagic(p, "journal header", journalMagic, b); err != nil {
		return h, err
	}
	h = PeekJournalHeader(b)
	if err := checkZero(p, "journal header", b[92:journalCrc], 92); err != nil {
		return h, err
	}
	switch {
	case h.Bytes < JournalHeaderBytes || h.Bytes > min(bytesMax, JournalRecordMax):
		return h, corruptValue(p, "journal record bytes", fmt.Sprintf("%d…%d", JournalHeaderBytes, bytesMax), h.Bytes)
	case h.Position >= uint64(ring) || h.Position+uint64(h.Blocks()) > uint64(ring):
		return h, corruptValue(p, "journal record position", fmt.Sprintf("%d blocks inside a ring of %d", h.Blocks(), ring), h.Position)
	case uint64(h.Txns)*TxnHeaderBytes > uint64(h.Bytes):
		return h, corruptValue(p, "journal record transactions", "as many as fit", h.Txns)
	case h.FlushedThrough >= h.Sequence:
		return h, corruptValue(p, "journal record flushedThrough", fmt.Sprintf("below %d", h.Sequence), h.FlushedThrough)
	}
	return h, nil
}

// PeekJournalHeader reads the fields and checks nothing: for people who look at damage. b has JournalHeaderBytes.
func PeekJournalHeader(b []byte) JournalHeader {
	h := JournalHeader{
		Sequence: le.Uint64(b[40:]), Position: le.Uint64(b[48:]), FlushedThrough: le.Uint64(b[56:]),
		Epoch: le.Uint64(b[64:]), FirstTxn: le.Uint64(b[72:]), Bytes: le.Uint32(b[80:]), Txns: le.Uint32(b[84:]),
		PrecedingCrc: le.Uint32(b[88:]), Crc: le.Uint32(b[journalCrc:]),
	}
	copy(h.Store[:], b[8:])
	copy(h.Mount[:], b[24:])
	return h
}

// VerifyJournal checks the crc and the padding of a whole record and returns its payload.
func VerifyJournal(p Place, h *JournalHeader, record []byte) ([]byte, error) {
	whole := int(h.Blocks()) * BlockBytes
	if err := checkLen(p, "journal record", record, whole); err != nil {
		return nil, err
	}
	got := CrcAdd(Crc(record[:journalCrc]), record[JournalHeaderBytes:h.Bytes])
	if got != h.Crc {
		return nil, CorruptCrc(p, fmt.Sprintf("journal record %d", h.Sequence), h.Crc, got)
	}
	return record[JournalHeaderBytes:h.Bytes], checkZero(p, "journal record", record[h.Bytes:whole], int(h.Bytes))
}
