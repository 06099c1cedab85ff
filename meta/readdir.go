package meta

import (
	"encoding/binary"

	"basalt/engine"
	"basalt/meta/record"
	"basalt/storage"
)

// A listing is a snapshot of names with current attributes. The state is pinned when a first page was not the whole directory, in the turn
// that read it: so the many small directories pin nothing, and a listing that starts anew (cookie 0) sees the present. Pins hold back space
// and memory of the store, so they are few and short; a listing whose pin is gone goes on in the current state, behind (hash, name) of the last
// name that was given out: no name that was there all the time is left out or given twice.

// dirHandle is one open directory of a mount. Owned by the shard.
type dirHandle struct {
	id     uint64
	ino    record.Ino
	parent record.Ino // when the snapshot was pinned
	mount  *mount
	at     int      // place in mount.handles
	snap   snapshot // nil: none pinned
	usedNs int64    // when it was last read, monotonic
	busy   bool     // a page is being read from the snapshot
	closed bool     // to be released when that is done
}

func (s *Shard) openHandle(m *mount, ino record.Ino) uint64 {
	if len(m.handles) >= s.opt.HandlesMax {
		return 0
	}
	s.lastHandle++
	h := &dirHandle{id: s.lastHandle, ino: ino, mount: m, at: len(m.handles)}
	s.handles[h.id] = h
	m.handles = append(m.handles, h)
	return h.id
}

// handle finds an open directory; nil if it is not this mount's, or of an earlier life.
func (s *Shard) handle(m *mount, id uint64, ino record.Ino) *dirHandle {
	if h := s.handles[id]; h != nil && h.mount == m && h.ino == ino {
		return h
	}
	return nil
}

func (s *Shard) closeHandle(t *engine.Turn, h *dirHandle) {
	delete(s.handles, h.id)
	m := h.mount
	last := m.handles[len(m.handles)-1]
	m.handles[h.at], last.at = last, h.at
	m.handles = m.handles[:len(m.handles)-1]
	s.unpin(t, h)
}

// pin keeps the present state for a handle, if there is room.
func (s *Shard) pin(t *engine.Turn, h *dirHandle) {
	if h == nil || h.snap != nil || h.busy {
		return
	}
	if len(s.pins) >= s.opt.PinsMax {
		return
	}
	snap, ok := s.store.Pin(t)
	if !ok {
		return
	}
	h.snap, h.usedNs = snap, t.Now()
	s.pins = append(s.pins, h)
	if !s.pinTimer {
		s.pinTimer = true
		t.After(s.opt.PinNs, (*pinTimer)(s))
	}
}

// unpin releases a handle's snapshot: now, or when the page that is being read is done.
func (s *Shard) unpin(t *engine.Turn, h *dirHandle) {
	if h.snap == nil {
		return
	}
	if h.busy {
		h.closed = true
		return
	}
	h.snap.Release(t)
	h.snap, h.closed = nil, false
	for i, p := range s.pins {
		if p == h {
			s.pins = append(s.pins[:i], s.pins[i+1:]...)
			break
		}
	}
}

// pinTimer expires pins that nobody reads.
type pinTimer Shard

// Fire releases what is old and comes back while there are pins.
func (p *pinTimer) Fire(t *engine.Turn) {
	s := (*Shard)(p)
	for i := len(s.pins) - 1; i >= 0; i-- {
		if h := s.pins[i]; !h.busy && t.Now()-h.usedNs >= s.opt.PinNs {
			s.unpin(t, h)
		}
	}
	if s.pinTimer = len(s.pins) > 0; s.pinTimer {
		t.After(s.opt.PinNs, p)
	}
}

// page collects the entries of one answer.
type page struct {
	o       *operation
	room    int
	size    int // bytes with all attributes, which a page of a snapshot gets later
	entries int
	plus    bool
	full    bool
	skip    []byte // name at the resuming hash that was given out last; names up to it are skipped
	hash    uint64
	parent  record.Ino
	err     error
}

// readdir answers one page.
func (s *Shard) readdir(f *engine.Fiber, o *operation) error {
	q := o.q
	if len(q.Name) > record.NameMax {
		return record.TooLong
	}
	h := s.handle(o.sess.mount, q.Handle, q.Ino)
	if h != nil && q.Cookie == 0 && !h.busy {
		s.unpin(f.Turn(), h)
	}
	pg := page{o: o, room: min(int(q.Count), record.ValueMax), plus: q.Flags&record.FlagPlus != 0, hash: q.Cookie, skip: q.Name}
	if h != nil && h.snap != nil && !h.busy {
		return s.pinnedPage(f, &pg, h)
	}
	o.decide = func(o *operation) error {
		if err := pg.fill(); err != nil {
			return err
		}
		if pg.full && h != nil {
			s.pin(f.Turn(), h)
			h.parent = pg.parent
		}
		return nil
	}
	return o.view(f)
}

// fill reads a page from the current state, attributes included, on one turn.
func (p *page) fill() error {
	o := p.o
	p.full, p.entries, p.size, p.err = false, 0, 0, nil
	d, err := o.inode(o.q.Ino)
	if err != nil {
		return err
	}
	if !d.IsDir() {
		return record.NotDir
	}
	p.parent = d.Parent
	p.dots(d)
	if !p.full && p.err == nil {
		lo, hi := p.bounds()
		if err := o.scan(d.Ino.Group(), lo, hi, 0, p.add); err != nil {
			return err
		}
	}
	return p.done()
}

// dots gives "." and "..".
func (p *page) dots(d *node) {
	if p.hash < record.CookieDot {
		p.emit(&record.Entry{Cookie: record.CookieDot, Ino: d.Ino, Type: record.ModeDir, Name: dotdot[:1]})
	}
	if p.hash < record.CookieDotDot && !p.full {
		p.emit(&record.Entry{Cookie: record.CookieDotDot, Ino: d.Parent, Type: record.ModeDir, Name: dotdot})
	}
}

var dotdot = []byte("..")

// bounds are the keys from the resuming point to the end of the directory.
func (p *page) bounds() (lo, hi []byte) {
	o := p.o
	lo = record.AppendInoKey(o.key[:0], record.KindDentry, o.q.Ino)
	if p.hash > record.CookieDotDot {
		from := p.hash
		if len(p.skip) == 0 {
			from++ // only the cookie is known: behind everything with this hash
		}
		lo = append(binary.BigEndian.AppendUint64(lo, from), p.skip...)
	}
	return lo, record.AppendInoEnd(o.end[:0], record.KindDentry, o.q.Ino)
}

// add takes one dentry; false: the page is full.
func (p *page) add(key, val []byte) bool {
	var d record.Dentry
	_, hash, name, err := record.DecodeDentryKey(key)
	if err == nil {
		err = d.Decode(val)
	}
	if err != nil {
		p.err = err
		return false
	}
	if hash == p.hash && string(name) == string(p.skip) {
		return true
	}
	e := record.Entry{Cookie: hash, Ino: d.Ino, Type: d.Type, Name: name}
	if p.plus && p.err == nil {
		if e.Attr, p.err = p.attr(d.Ino); p.err != nil {
			return false
		}
	}
	return p.emit(&e)
}

// attr is the inode behind a name, as it is now; empty if it is gone.
func (p *page) attr(ino record.Ino) (record.Attr, error) {
	var i record.Inode
	var key [9]byte
	if p.o.tx == nil { // from a snapshot: attributes are added afterwards
		return i.Attr, nil
	}
	val, err := p.o.get(ino.Group(), record.AppendInoKey(key[:0], record.KindInode, ino))
	if err == record.NotFound {
		return i.Attr, nil
	}
	if err == nil {
		err = i.Decode(val)
	}
	return i.Attr, err
}

func (p *page) emit(e *record.Entry) bool {
	size := record.EntrySize(len(e.Name), p.plus)
	if p.size+size > p.room || p.entries == pageEntriesMax {
		p.full = true
		return false
	}
	p.o.p.Value = e.Append(p.o.p.Value)
	p.entries++
	p.size += size
	return true
}

func (p *page) done() error {
	switch {
	case p.err != nil:
		return p.err
	case !p.full:
		p.o.p.Flags |= record.ReplyEOF
	case p.entries == 0:
		return record.Range // not even one fits
	}
	return nil
}

// pinnedPage reads a page of names from the handle's snapshot, then the current attributes. Both may suspend.
func (s *Shard) pinnedPage(f *engine.Fiber, p *page, h *dirHandle) error {
	o := p.o
	h.busy = true
	*o.p = record.Reply{Value: o.p.Value[:0]}
	d := node{}
	d.Ino, d.Parent = h.ino, h.parent
	p.dots(&d)
	var err error
	if !p.full {
		lo, hi := p.bounds()
		err = h.snap.Scan(f, storage.Coll(h.ino.Group()), lo, hi, p.add)
	}
	if err == nil {
		err = p.done()
	}
	h.busy, h.usedNs = false, f.Turn().Now()
	if h.closed || err != nil || !p.full {
		s.unpin(f.Turn(), h)
	}
	if err != nil || !p.plus {
		return err
	}
	return p.withAttrs(f)
}

// withAttrs makes the page anew, each entry with what its inode is now. A name that leads there no more gets no attributes: the kernel would
// believe that it is there, and show what has been removed.
func (p *page) withAttrs(f *engine.Fiber) error {
	o := p.o
	flags := o.p.Flags
	names := append([]byte(nil), o.p.Value...)
	o.decide = func(o *operation) error {
		o.p.Flags = flags
		for rest := names; len(rest) > 0; {
			var e record.Entry
			var err error
			if rest, err = record.NextEntry(rest, &e); err != nil {
				return err
			}
			if e.Attr, err = p.current(&e); err != nil {
				return err
			}
			o.p.Value = e.Append(o.p.Value)
		}
		return nil
	}
	return o.view(f)
}

// current is what an entry's inode is now, if the name still leads to it.
func (p *page) current(e *record.Entry) (record.Attr, error) {
	if e.Cookie <= record.CookieDotDot {
		return record.Attr{}, nil
	}
	d, err := p.o.entry(p.o.q.Ino, e.Name)
	if err == record.NotFound || err == nil && d.Ino != e.Ino {
		return record.Attr{}, nil
	}
	if err != nil {
		return record.Attr{}, err
	}
	return p.attr(e.Ino)
}
