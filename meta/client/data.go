package client

import (
	"basalt/engine"
	"basalt/meta/record"
)

// Open counts an open of the file. flags: Trunc, KillPriv. The count lives in this column: Release must come here.
func (fs *FS) Open(f *engine.Fiber, ino record.Ino, flags uint32, out *Found) record.Status {
	o := fs.take(f, record.OpOpen)
	o.q.Ino, o.q.Flags, o.q.Count = ino, flags, 1
	s := fs.call(f, o, nil, nil)
	if s == record.OK {
		fs.opens.add(ino, 1)
	}
	return fs.finish(f, o, s, out)
}

// Release gives an open back. It is not interruptible: nobody waits for it, and the server must learn of it. Until it is answered the open counts: a
// server that restarts meanwhile is told of it first, and then takes it back.
func (fs *FS) Release(f *engine.Fiber, ino record.Ino) record.Status {
	o := fs.take(f, record.OpRelease)
	o.q.Ino, o.q.Count = ino, 1
	s := fs.call(f, o, nil, nil)
	fs.opens.add(ino, -1)
	fs.put(o)
	return s
}

// Read fills dst from off on and returns how much there was: less than len(dst) only at the end of the file.
func (fs *FS) Read(f *engine.Fiber, ino record.Ino, off uint64, dst []byte) (int, record.Status) {
	return fs.split(f, ino, off, 0, dst, true)
}

// Write writes data at off and returns how much was written. flags: Append, KillPriv.
func (fs *FS) Write(f *engine.Fiber, ino record.Ino, off uint64, data []byte, flags uint32) (int, record.Status) {
	if off > record.SizeMax || uint64(len(data)) > record.SizeMax-off {
		return 0, record.TooBig
	}
	if flags&record.FlagAppend != 0 {
		return fs.appendTo(f, ino, data, flags)
	}
	return fs.split(f, ino, off, flags, data, false)
}

// appendTo writes at the end of the file, wherever the server finds that. It takes what fits into the last stripe, so the rest is
// asked for again, one after the other.
func (fs *FS) appendTo(f *engine.Fiber, ino record.Ino, data []byte, flags uint32) (int, record.Status) {
	done := 0
	for done < len(data) || len(data) == 0 {
		o := fs.take(f, record.OpWrite)
		o.q.Ino, o.q.Flags = ino, flags
		s := fs.call(f, o, data[done:min(len(data), done+record.StripeSize)], nil)
		n := int(o.p.Count)
		fs.put(o)
		if s != record.OK || n == 0 || n > len(data)-done {
			if done > 0 {
				return done, record.OK
			}
			if s == record.OK && len(data) > 0 {
				s = record.Corrupt
			}
			return 0, s
		}
		done += n
	}
	return done, record.OK
}

// part is the share of one stripe in a read or write, with a fiber of its own unless it is the first.
type part struct {
	fs     *FS
	group  *parts
	ino    record.Ino
	off    uint64
	flags  uint32
	data   []byte
	read   bool
	status record.Status
	n      int
	fiber  *engine.Fiber
}

// parts waits for the others.
type parts struct {
	list    []part
	running int
	waiting engine.WaitList
}

const cancelPollNs = 100_000_000 // how soon an interrupt is passed to parts in other fibers

// split does a read or write stripe by stripe, all at once; what it returns is what was done without a gap.
func (fs *FS) split(f *engine.Fiber, ino record.Ino, off uint64, flags uint32, data []byte, read bool) (int, record.Status) {
	stripe := uint64(record.StripeSize)
	first := min(uint64(len(data)), stripe-off%stripe)
	p := part{fs: fs, ino: ino, off: off, flags: flags, data: data[:first], read: read}
	if first == uint64(len(data)) {
		p.do(f)
		return p.n, p.status
	}
	g := &parts{list: []part{p}}
	for at := first; at < uint64(len(data)); at += stripe {
		q := p
		q.off, q.data = off+at, data[at:min(uint64(len(data)), at+stripe)]
		g.list = append(g.list, q)
	}
	g.run(f)
	done := 0
	for i := range g.list {
		q := &g.list[i]
		if q.status != record.OK {
			if done > 0 {
				break
			}
			return 0, q.status
		}
		done += q.n
		if q.n < len(q.data) {
			break
		}
	}
	return done, record.OK
}

func (g *parts) run(f *engine.Fiber) {
	for i := 1; i < len(g.list); i++ {
		p := &g.list[i]
		p.group = g
		if f.Turn().Spawn(p) != nil {
			p.group = nil // no fiber is free: one after the other then
			continue
		}
		g.running++
	}
	for i := range g.list {
		if p := &g.list[i]; p.group == nil {
			p.do(f)
		}
	}
	for g.running > 0 {
		if g.waiting.WaitFor(f, cancelPollNs) || !f.Canceled() {
			continue
		}
		for i := range g.list {
			if k := g.list[i].fiber; k != nil {
				k.SetCanceled()
			}
		}
	}
}

// Run is a part's fiber.
func (p *part) Run(f *engine.Fiber) {
	p.fiber = f
	p.do(f)
	p.fiber = nil
	p.group.running--
	if p.group.running == 0 {
		p.group.waiting.WakeAll(f.Turn())
	}
}

func (p *part) do(f *engine.Fiber) {
	kind := record.OpWrite
	if p.read {
		kind = record.OpRead
	}
	o := p.fs.take(f, kind)
	o.q.Ino, o.q.Off, o.q.Flags = p.ino, p.off, p.flags
	if p.read {
		o.q.Count = uint32(len(p.data))
		p.status = p.fs.call(f, o, nil, p.data)
	} else {
		p.status = p.fs.call(f, o, p.data, nil)
	}
	p.n = int(o.p.Count)
	if p.n > len(p.data) {
		p.n, p.status = 0, record.Corrupt
	}
	p.fs.put(o)
}

// Fsync returns when everything applied to the file so far is on the server's media.
func (fs *FS) Fsync(f *engine.Fiber, ino record.Ino) record.Status {
	o := fs.take(f, record.OpFsync)
	o.q.Ino = ino
	s := fs.call(f, o, nil, nil)
	fs.put(o)
	return s
}

// SyncAll is Fsync of everything.
func (fs *FS) SyncAll(f *engine.Fiber) record.Status {
	o := fs.take(f, record.OpSyncAll)
	s := fs.call(f, o, nil, nil)
	fs.put(o)
	return s
}

// Fallocate reserves, punches or zeroes; flags as in record.
func (fs *FS) Fallocate(f *engine.Fiber, ino record.Ino, off, size uint64, flags uint32) record.Status {
	if off > record.SizeMax || size > record.SizeMax-off {
		return record.TooBig
	}
	o := fs.take(f, record.OpFallocate)
	o.q.Ino, o.q.Off, o.q.Size, o.q.Flags = ino, off, size, flags
	s := fs.call(f, o, nil, nil)
	fs.put(o)
	return s
}

// Lseek finds data, or a hole, from off on.
func (fs *FS) Lseek(f *engine.Fiber, ino record.Ino, off uint64, hole bool) (uint64, record.Status) {
	o := fs.take(f, record.OpLseek)
	o.q.Ino, o.q.Off = ino, off
	if hole {
		o.q.Flags = record.FlagSeekHole
	}
	s := fs.call(f, o, nil, nil)
	at := o.p.Off
	fs.put(o)
	return at, s
}

// opens counts what this column holds open, so that it can be said again to a restarted server. Iteration is in the order of the
// first open.
type opens struct {
	at   map[record.Ino]int // index in list
	list []openCount
}

type openCount struct {
	ino record.Ino
	n   int32
}

func (o *opens) add(ino record.Ino, n int32) {
	if o.at == nil {
		o.at = make(map[record.Ino]int)
	}
	i, ok := o.at[ino]
	if !ok {
		i = len(o.list)
		o.at[ino] = i
		o.list = append(o.list, openCount{ino: ino})
	}
	o.list[i].n += n
	if o.list[i].n != 0 {
		return
	}
	last := len(o.list) - 1
	o.list[i] = o.list[last]
	o.at[o.list[i].ino] = i
	o.list = o.list[:last]
	delete(o.at, ino)
}
