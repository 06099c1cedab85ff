package journal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/sim"
	"basalt/storage/format"
)

const aheadRecordMax = 8 * format.BlockBytes

// logOn writes a log of random records into a ring that begins at the second block, from somewhere in it around its end, and returns the
// superblock that finds it, and what the payloads are.
func logOn(d *sim.Disk, seed uint64, blocks uint64, records int) (super format.Superblock, payloads [][]byte) {
	rng := rand.New(rand.NewPCG(seed, 11))
	super = format.Superblock{Store: format.UUID{1}, Mount: format.UUID{2}, JournalRecord: aheadRecordMax, Journal: format.Extent{Start: 1, Len: format.BlockCount(blocks)}}
	ring := NewRing(blocks, rng.Uint64N(blocks))
	super.Start = format.JournalStart{Position: ring.Head(), Sequence: 100, PrecedingCrc: 77}
	crc := super.Start.PrecedingCrc
	for i := range records {
		n := 1 + rng.IntN(aheadRecordMax-format.JournalHeaderBytes)
		record := make([]byte, aheadRecordMax)
		for k := range record {
			record[k] = byte(rng.Uint32())
		}
		payload := bytes.Clone(record[format.JournalHeaderBytes:][:n])
		need := uint64(format.BlocksFor(int64(format.JournalHeaderBytes + n)))
		if !ring.Fits(need) {
			break
		}
		at, _ := ring.Place(need)
		if i == 0 {
			super.Start.Position = ring.Block(at)
		}
		h := format.JournalHeader{Store: super.Store, Mount: super.Mount, Sequence: 100 + uint64(i), Position: ring.Block(at), PrecedingCrc: crc}
		d.WriteAt(format.SealJournal(record, n, &h), int64(1+h.Position)*format.BlockBytes)
		crc = h.Crc
		payloads = append(payloads, payload)
	}
	return super, payloads
}

// A scan that reads ahead finds the same records as one that does not, around the end of the ring, and reads a window while the one before it is
// worked on.
func TestScanReadsAhead(t *testing.T) {
	for seed := range uint64(30) {
		w := sim.NewWorld(seed)
		d := w.Disk("ring", 2<<20)
		super, want := logOn(d, seed, 400, 60)
		r := w.Reactor(engine.Config{Name: "scan", ArenaBytes: 4 << 20, FibersMax: 4, InboxMax: 4, OpsMax: 16})
		err := w.Boot(r, func(f *engine.Fiber) error {
			h, err := d.Device().Attach(f.Turn())
			if err != nil {
				return err
			}
			return scanAhead(f, h, &super, want)
		})
		w.Close()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func scanAhead(f *engine.Fiber, h *device.Handle, super *format.Superblock, want [][]byte) error {
	a := f.Reactor().Arena()
	var mem [2][]byte
	for i := range mem {
		buf, err := a.Get(2 * aheadRecordMax)
		if err != nil {
			return err
		}
		defer a.Put(buf)
		mem[i] = a.Bytes(buf)
	}
	s := NewScan(h, "ring", super, mem[0])
	s.ReadAhead(mem[1])
	defer s.Close(f)
	windows, taken := 0, 0
	for i := range want {
		from, buf := s.from, &s.buf[0]
		r, ok, err := s.Next(f)
		if err != nil || !ok || !bytes.Equal(r.Payload, want[i]) {
			return fmt.Errorf("record %d of %d: %v, %w", i, len(want), ok, err)
		}
		if s.from != from {
			if windows++; &s.buf[0] != buf {
				taken++
			}
		}
	}
	if taken < windows-3 || windows < 10 { // the first one, and those at the end of the ring, nobody knows before they are wanted
		return fmt.Errorf("of %d windows, %d were read while the one before was worked on", windows, taken)
	}
	if _, ok, err := s.Next(f); ok || err != nil {
		return fmt.Errorf("behind the last record there is one: %w", err)
	}
	return nil
}
