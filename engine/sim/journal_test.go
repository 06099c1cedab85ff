package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"testing"

	"basalt/engine"
	"basalt/engine/uring"
)

// A toy journal, to prove that the simulator sees what it is for: the right one survives a power cut at every device
// operation, each of the broken ones is caught.
type toy struct {
	flushes  bool // broken: reports a record committed when its write has completed
	checks   bool // broken: believes every record that it finds
	together bool // broken: flush in flight beside the write
}

const (
	toyRecord  = 4096
	toyRecords = 12
)

// run appends records and counts in *committed those that it would report as committed.
func (j toy) run(f *engine.Fiber, fd int32, committed *int) error {
	a := f.Reactor().Arena()
	buf, err := a.Get(toyRecord)
	if err != nil {
		return err
	}
	p := a.Bytes(buf)
	for n := range toyRecords {
		for i := range p {
			p[i] = byte(n + 1)
		}
		binary.LittleEndian.PutUint32(p[4:], uint32(n))
		binary.LittleEndian.PutUint32(p, crc32.Checksum(p[4:], castagnoli))
		if err := j.append(f, fd, a.Addr(buf), uint64(n*toyRecord)); err != nil {
			return err
		}
		*committed = n + 1
	}
	return nil
}

func (j toy) append(f *engine.Fiber, fd int32, addr, off uint64) error {
	w, s := uring.PrepWrite(fd, addr, toyRecord, off), uring.PrepFsync(fd, true)
	if j.together {
		var g engine.Gather
		var res [2]int32
		g.Submit(f, w, &res[0])
		g.Submit(f, s, &res[1])
		g.Wait(f)
		if res[0] != toyRecord || res[1] != 0 {
			return fmt.Errorf("write %d, flush %d", res[0], res[1])
		}
		return nil
	}
	if res := f.Do(w); res != toyRecord {
		return fmt.Errorf("write: %d", res)
	}
	if j.flushes {
		if res := f.Do(s); res != 0 {
			return fmt.Errorf("flush: %d", res)
		}
	}
	return nil
}

// check reads the records that a power cut left and says what is wrong.
func (j toy) check(d *Disk, committed int) error {
	p := make([]byte, toyRecord)
	found := 0
	for ; found < toyRecords; found++ {
		d.ReadAt(p, int64(found*toyRecord))
		good := crc32.Checksum(p[4:], castagnoli) == binary.LittleEndian.Uint32(p)
		if !good && (j.checks || binary.LittleEndian.Uint32(p) == 0) {
			break
		}
		for _, b := range p[8:] {
			if b != byte(found+1) {
				return fmt.Errorf("record %d is believed and its content is wrong", found)
			}
		}
	}
	if found < committed {
		return fmt.Errorf("%d records were reported committed, %d are there", committed, found)
	}
	return nil
}

// cutEverywhere cuts the power at the first, second, … operation until the workload runs to its end.
func (j toy) cutEverywhere(t *testing.T, seed uint64) (cuts int, broken error) {
	t.Helper()
	for cut := uint64(1); ; cut++ {
		w := NewWorld(seed)
		r, d := w.reactor(t), w.Disk("journal", 1<<20)
		d.CutPowerAt(cut)
		committed := 0
		err := w.Do(r, func(f *engine.Fiber) error { return j.run(f, d.Fd(), &committed) })
		if err != nil && !errors.Is(err, ErrPowerCut) {
			t.Fatal(err)
		}
		bad := j.check(d.AfterPowerLoss(), committed)
		w.Close()
		if bad != nil {
			return cuts, fmt.Errorf("seed %d, cut at operation %d: %w", seed, cut, bad)
		}
		if err == nil {
			return cuts, nil
		}
		cuts++
	}
}

func TestToyJournalSurvivesEveryCut(t *testing.T) {
	total := 0
	for seed := range uint64(40) {
		cuts, err := toy{flushes: true, checks: true}.cutEverywhere(t, seed)
		if err != nil {
			t.Fatal(err)
		}
		total += cuts
	}
	if total != 40*2*toyRecords {
		t.Fatalf("%d cuts, want one at each write and flush", total)
	}
}

func TestBrokenToyJournalsAreCaught(t *testing.T) {
	for _, c := range []struct {
		name string
		j    toy
	}{
		{"no flush", toy{checks: true}},
		{"no checksum", toy{flushes: true}},
		{"flush beside the write", toy{flushes: true, checks: true, together: true}},
	} {
		var caught error
		for seed := uint64(0); seed < 40 && caught == nil; seed++ {
			_, caught = c.j.cutEverywhere(t, seed)
		}
		if caught == nil {
			t.Errorf("%s: not caught in 40 seeds", c.name)
		} else {
			t.Logf("%s: %v", c.name, caught)
		}
	}
}

// A disk that lies about its flushes loses what the journal had reported: the simulator must show it.
func TestLyingFlushShows(t *testing.T) {
	lost := 0
	for seed := range uint64(20) {
		w := NewWorld(seed)
		r, d := w.reactor(t), w.Disk("journal", 1<<20)
		d.SetFaults(Faults{FlushLie: 1})
		committed := 0
		j := toy{flushes: true, checks: true}
		if err := w.Do(r, func(f *engine.Fiber) error { return j.run(f, d.Fd(), &committed) }); err != nil {
			t.Fatal(err)
		}
		if j.check(d.AfterPowerLoss(), committed) != nil {
			lost++
		}
		w.Close()
	}
	if lost == 0 {
		t.Fatal("nothing was ever lost")
	}
}
