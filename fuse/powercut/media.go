package powercut

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
)

// SectorBytes is the unit that a device writes whole; PageBytes is the other unit at which a write is torn.
const (
	SectorBytes = 512
	PageBytes   = 4096
)

// HeldBytesMax bounds what is held back. A cache that is full writes itself back, as a device's does at any time.
const HeldBytesMax = 128 << 20

// ErrPower is what everything answers from the cut on.
var ErrPower = errors.New("powercut: no power")

// held is a write that was answered and that no flush has covered yet.
type held struct {
	off  int64
	n    int
	data []byte // nil: zeros
}

// Counts tell what a medium has seen, and what a cut did to what it held back.
type Counts struct {
	Writes, Flushes, Zeroes uint64
	Held                    int    // held back now; after the cut: then
	HeldBytes               int64  // likewise
	Written                 uint64 // times that a full cache wrote itself back
	Cut                     bool
	CutIn                   string // the operation that the power went in
	Kept, Lost, Torn        int    // of Held, at the cut
}

// Media is a file that stands for the media of a device, and the volatile cache before it.
type Media struct {
	file    *os.File // immutable: what survives
	bytes   int64    // immutable
	heldMax int64    // immutable: bytes

	mu     sync.Mutex
	held   []held                     // in the order in which they came
	seen   map[int64]*[PageBytes]byte // pages changed since the media had them, as a reader sees them; by page number
	aim    Aim                        // what must have been written before left counts
	left   uint64                     // operations until the cut; 0: none is planned
	rng    *rand.Rand                 // of the cut
	counts Counts
	tell   func(Counts)
}

// Open uses the file as media. tell is called once, when the power has gone and the file holds what is left.
func Open(path string, tell func(Counts)) (*Media, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("powercut: %w", err)
	}
	info, err := file.Stat()
	if err == nil && (info.Size() == 0 || info.Size()%PageBytes != 0) {
		err = fmt.Errorf("%s has %d bytes, not a number of pages", path, info.Size())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("powercut: %w", err), file.Close())
	}
	return &Media{file: file, bytes: info.Size(), heldMax: HeldBytesMax, seen: make(map[int64]*[PageBytes]byte), tell: tell}, nil
}

// Close gives up the file. What is still held back is lost.
func (m *Media) Close() error { return m.file.Close() }

// Bytes is the size.
func (m *Media) Bytes() int64 { return m.bytes }

// Aim waits for a part of the disk to be written so many times; the zero value waits for nothing.
type Aim struct {
	Places []Span
	Times  uint64
}

// Span is a part of the disk.
type Span struct{ Off, Len int64 }

func (s Span) meets(off int64, n int) bool { return off < s.Off+s.Len && s.Off < off+int64(n) }

// CutAfter lets the power go in the nth write, flush or zeroing from now, or from what the aim waits for (1 = the next, or that one); the
// seed decides what is left.
func (m *Media) CutAfter(aim Aim, n, seed uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.aim, m.left, m.rng = aim, n, rand.New(rand.NewPCG(seed, 0x9c07))
}

// Counts is what was seen so far.
func (m *Media) Counts() Counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.countsLocked()
}

func (m *Media) countsLocked() Counts {
	c := m.counts
	if !c.Cut {
		c.Held = len(m.held)
	}
	return c
}

func (m *Media) inside(off int64, n int) error {
	if off < 0 || off > m.bytes || int64(n) > m.bytes-off {
		return fmt.Errorf("powercut: %d bytes at %d of %d", n, off, m.bytes)
	}
	return nil
}

// ReadAt reads what was written last, flushed or not.
func (m *Media) ReadAt(p []byte, off int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counts.Cut {
		return ErrPower
	}
	if err := m.inside(off, len(p)); err != nil {
		return err
	}
	if _, err := m.file.ReadAt(p, off); err != nil && err != io.EOF {
		return err
	}
	for done := 0; done < len(p); {
		at := off + int64(done)
		n := min(len(p)-done, int(PageBytes-at%PageBytes))
		if page := m.seen[at/PageBytes]; page != nil {
			copy(p[done:done+n], page[at%PageBytes:])
		}
		done += n
	}
	return nil
}

// WriteAt holds a write back. It takes a copy of p.
func (m *Media) WriteAt(p []byte, off int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts.Writes++
	return m.holdLocked("write", held{off: off, n: len(p), data: append(make([]byte, 0, len(p)), p...)})
}

// Zero holds back that n bytes read as zeros from now on.
func (m *Media) Zero(off int64, n int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts.Zeroes++
	return m.holdLocked("zero", held{off: off, n: n})
}

// holdLocked: a write in which the power goes is held back like the others, and not answered.
func (m *Media) holdLocked(what string, h held) error {
	if m.counts.Cut {
		return ErrPower
	}
	if err := m.inside(h.off, h.n); err != nil {
		return err
	}
	m.held = append(m.held, h)
	m.counts.HeldBytes += int64(h.n)
	for _, place := range m.aim.Places {
		if place.meets(h.off, h.n) && m.aim.Times > 0 {
			m.aim.Times--
		}
	}
	if m.goesLocked() {
		return m.cutLocked(what)
	}
	if err := m.showLocked(h); err != nil {
		return err
	}
	if m.counts.HeldBytes > m.heldMax {
		m.counts.Written++
		return m.writeBackLocked()
	}
	return nil
}

// showLocked makes a write visible to readers.
func (m *Media) showLocked(h held) error {
	for done := 0; done < h.n; {
		at := h.off + int64(done)
		n := min(h.n-done, int(PageBytes-at%PageBytes))
		page := m.seen[at/PageBytes]
		if page == nil {
			page = new([PageBytes]byte)
			if _, err := m.file.ReadAt(page[:], at/PageBytes*PageBytes); err != nil {
				return err
			}
			m.seen[at/PageBytes] = page
		}
		if h.data == nil {
			clear(page[at%PageBytes:][:n])
		} else {
			copy(page[at%PageBytes:], h.data[done:done+n])
		}
		done += n
	}
	return nil
}

// Flush makes everything durable that was answered before it came.
func (m *Media) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts.Flushes++
	switch {
	case m.counts.Cut:
		return ErrPower
	case m.goesLocked():
		return m.cutLocked("flush")
	}
	return m.writeBackLocked()
}

func (m *Media) writeBackLocked() error {
	for _, h := range m.held {
		if err := m.put(h, 0, h.n); err != nil {
			return err
		}
	}
	m.held, m.counts.HeldBytes = nil, 0
	clear(m.seen)
	return nil
}

// put writes a part of a held write to the media.
func (m *Media) put(h held, from, end int) error {
	data := h.data
	if data == nil {
		data = make([]byte, h.n)
	}
	if _, err := m.file.WriteAt(data[from:end], h.off+int64(from)); err != nil {
		return fmt.Errorf("powercut: the media: %w", err)
	}
	return nil
}

// goesLocked counts an operation and says whether the power goes in it.
func (m *Media) goesLocked() bool {
	if m.left == 0 || m.aim.Times > 0 {
		return false
	}
	m.left--
	return m.left == 0
}

// cutLocked decides what is left of every write that no flush has covered, and tells.
func (m *Media) cutLocked(what string) error {
	counts := m.countsLocked()
	counts.Cut, counts.CutIn = true, what
	f := drawFate(m.rng)
	for _, h := range m.held {
		if err := m.land(f, h, &counts); err != nil {
			return err
		}
	}
	m.held, m.seen, m.counts = nil, nil, counts
	m.tell(counts)
	return ErrPower
}
