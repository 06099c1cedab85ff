package client

import (
	"basalt/engine"
	"basalt/meta/record"
)

// DirHandle names an open directory of one column.
type DirHandle uint32

const pageBytes = record.ValueMax // asked for at a time

// dirTable holds the open directories of a column. A handle is index+1, so that 0 is none.
type dirTable struct {
	list []*directory
	free []DirHandle
}

// directory is an open directory: where the reader is, and the page of entries that was fetched last.
type directory struct {
	ino    record.Ino
	handle uint64 // the server's pinned snapshot, 0 if it has none
	page   []byte // whole entries
	rest   []byte // of the page, not consumed yet
	cookie uint64 // of the entry consumed last, 0 at the start
	name   []byte // its name: two names may have one cookie
	ended  bool   // nothing follows the page
	keepNs int64  // for how long the page's attributes may be believed, from when it was asked for
	sentNs int64
	before uint64 // Mount.changes when it was asked for
	busy   bool
	queue  engine.WaitList // readers of the same handle, one after the other
}

// OpenDir opens a directory; the handle belongs to this column. It counts as an open of the inode.
func (fs *FS) OpenDir(f *engine.Fiber, ino record.Ino) (DirHandle, record.Status) {
	o := fs.take(f, record.OpOpenDir)
	o.q.Ino = ino
	s := fs.call(f, o, nil, nil)
	handle := o.p.Handle
	fs.put(o)
	if s != record.OK {
		return 0, s
	}
	fs.opens.add(ino, 1)
	d := &directory{ino: ino, handle: handle}
	if n := len(fs.dirs.free); n > 0 {
		h := fs.dirs.free[n-1]
		fs.dirs.free = fs.dirs.free[:n-1]
		fs.dirs.list[h-1] = d
		return h, record.OK
	}
	fs.dirs.list = append(fs.dirs.list, d)
	return DirHandle(len(fs.dirs.list)), record.OK
}

func (fs *FS) directory(h DirHandle) *directory {
	if h == 0 || int(h) > len(fs.dirs.list) {
		return nil
	}
	return fs.dirs.list[h-1]
}

// ReleaseDir closes it.
func (fs *FS) ReleaseDir(f *engine.Fiber, h DirHandle) record.Status {
	d := fs.directory(h)
	if d == nil {
		return record.Invalid
	}
	fs.dirs.list[h-1] = nil
	fs.dirs.free = append(fs.dirs.free, h)
	o := fs.take(f, record.OpReleaseDir)
	o.q.Ino, o.q.Handle = d.ino, d.handle
	s := fs.call(f, o, nil, nil)
	fs.opens.add(d.ino, -1) // only now, as in Release
	fs.put(o)
	return s
}

// ReadDir passes the entries behind cookie to take, in order, until it returns false (that entry will be passed again) or there are no
// more. keepNs is for how long their attributes may be believed. Cookie 0 starts anew, with the names as they are now.
func (fs *FS) ReadDir(f *engine.Fiber, h DirHandle, cookie uint64, plus bool, take func(e *record.Entry, keepNs int64) bool) record.Status {
	d := fs.directory(h)
	if d == nil {
		return record.Invalid
	}
	for d.busy {
		d.queue.Wait(f)
	}
	d.busy = true
	s := fs.list(f, d, cookie, plus, take)
	d.busy = false
	d.queue.WakeOne(f.Turn())
	return s
}

func (fs *FS) list(f *engine.Fiber, d *directory, cookie uint64, plus bool, take func(*record.Entry, int64) bool) record.Status {
	if cookie != d.cookie || cookie == 0 {
		d.seek(cookie)
	}
	if plus && len(d.rest) > 0 && !fs.current(d) {
		d.rest, d.ended = nil, false
	}
	var e record.Entry
	taken := false
	for {
		for len(d.rest) > 0 {
			rest, err := record.NextEntry(d.rest, &e)
			if err != nil {
				return record.Corrupt
			}
			if !take(&e, max(0, d.keepNs-(f.Turn().Now()-d.sentNs))) {
				return record.OK
			}
			taken = true
			d.rest, d.cookie = rest, e.Cookie
			d.name = append(d.name[:0], e.Name...)
		}
		if d.ended || taken {
			return record.OK // what there is now goes out now; the next call fetches the next page
		}
		if s := fs.fetch(f, d, plus); s != record.OK {
			return s
		}
	}
}

// current tells whether the attributes of the page are still those of the inodes: names come from the snapshot of opendir, attributes do not.
// Without the grant others may have changed them.
func (fs *FS) current(d *directory) bool { return fs.granted && d.before == fs.mount.changes.Load() }

// seek moves the reader. From the start the server lists the names as they are then, as rewinddir wants; elsewhere only the cookie is
// known, which is enough but for names of equal hash.
func (d *directory) seek(cookie uint64) {
	d.page, d.rest, d.name, d.ended = d.page[:0], nil, d.name[:0], false
	d.cookie = cookie
}

func (fs *FS) fetch(f *engine.Fiber, d *directory, plus bool) record.Status {
	o := fs.take(f, record.OpReadDir)
	o.q.Ino, o.q.Handle, o.q.Cookie, o.q.Name, o.q.Count = d.ino, d.handle, d.cookie, d.name, pageBytes
	if plus {
		o.q.Flags = record.FlagPlus
	}
	before := fs.mount.changes.Load()
	s := fs.call(f, o, nil, nil)
	if s == record.OK {
		d.before = before
		d.page = append(d.page[:0], o.p.Value...)
		d.rest = d.page
		d.ended = o.p.Flags&record.ReplyEOF != 0
		d.sentNs, d.keepNs = o.sent, fs.Keep(f, o.sent)+(f.Turn().Now()-o.sent)
		if len(d.rest) == 0 && !d.ended {
			s = record.Corrupt // an empty page that is not the last would be asked for for ever
		}
	}
	fs.put(o)
	return s
}
