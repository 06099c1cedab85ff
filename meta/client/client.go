// Package client is the file client: it turns calls on files and names into requests, sends each to where it is served, splits what
// spans stripes, and knows what may be cached.
//
// State: an FS belongs to one column and is used on its thread only. The columns of one mount share a Mount, which only lists them: what
// changes (the grant to cache, open files and directories, sessions) is kept per column, and told to the others by calls that cross.
//
// Invariants: nothing is answered from a cache here; caching is what the kernel does for the timeouts that Keep allows. Keep is zero
// without the server's grant. When a grant is recalled, first every column stops to hand out timeouts, then everything handed out is
// taken back, and only then the server is told. A mutation that was answered but is not yet on the server's media is kept, and played
// again to a server that has lost it.
//
// Locks: Mount.mu, on cold paths: mount, recall.
//
// Survives: lost connections and restarted servers (see session.go): callers wait, and see each operation done exactly once.
//
// Read this file first, then data.go for striping and session.go for the wire.
package client

import (
	"errors"

	"basalt/engine"
	"basalt/meta/record"
)

// Caller sends one request to where it is served and waits for the answer. data is what a write carries, dst where a read's data goes;
// p.Count says how much. p.Value is appended to p.Value[:0]. An error says that there was no answer.
type Caller interface {
	Call(f *engine.Fiber, q *record.Request, data []byte, p *record.Reply, dst []byte) error
}

// FS is the file system as one column sees it. Every method may suspend.
type FS struct {
	// immutable after NewFS
	reactor *engine.Reactor
	caller  Caller
	mount   *Mount
	index   int

	// owned by the loop
	granted bool  // the server lets us cache
	leaseNs int64 // for how long after a request was sent
	recalls int   // how often it was taken back
	free    []*op
	opens   opens
	dirs    dirTable
}

// op is a request with its answer, pooled.
type op struct {
	q    record.Request
	p    record.Reply
	sent int64 // monotonic time
}

// NewFS makes the view of one column. It is to be called on the column's thread, or before the column serves.
func (m *Mount) NewFS(r *engine.Reactor, c Caller) *FS {
	fs := &FS{reactor: r, caller: c, mount: m}
	m.add(fs)
	return fs
}

// Reactor is the column.
func (fs *FS) Reactor() *engine.Reactor { return fs.reactor }

// Index is the column's place among those of its mount.
func (fs *FS) Index() int { return fs.index }

// Mount is what the columns share.
func (fs *FS) Mount() *Mount { return fs.mount }

func (fs *FS) take(f *engine.Fiber, kind record.Op) *op {
	var o *op
	if n := len(fs.free); n > 0 {
		o, fs.free = fs.free[n-1], fs.free[:n-1]
	} else {
		o = &op{}
	}
	t := f.Turn()
	o.q = record.Request{Op: kind, NowNs: t.Wall()}
	if !stamped(kind) {
		o.q.NowNs = 0
	}
	o.sent = t.Now()
	return o
}

// stamped tells the operations that carry the time.
func stamped(kind record.Op) bool { return kind.Mutates() || kind == record.OpOpen }

const (
	opsKept   = 1024
	valueKept = 4096 // bytes of memory for a value that a pooled request keeps
)

func (fs *FS) put(o *op) {
	if len(fs.free) < opsKept {
		if cap(o.p.Value) > valueKept {
			o.p.Value = nil
		}
		fs.free = append(fs.free, o)
	}
}

// call sends the request and returns the outcome.
func (fs *FS) call(f *engine.Fiber, o *op, data, dst []byte) record.Status {
	o.p = record.Reply{Value: o.p.Value[:0]}
	err := fs.caller.Call(f, &o.q, data, &o.p, dst)
	if o.q.Mutates() {
		fs.mount.changes.Add(1)
	}
	if err != nil {
		return StatusOf(err)
	}
	return o.p.Status
}

// StatusOf sorts the errors of a Caller.
func StatusOf(err error) record.Status {
	if s, ok := err.(record.Status); ok {
		return s
	}
	var s record.Status
	switch {
	case err == nil:
		return record.OK
	case errors.As(err, &s):
		return s
	case errors.Is(err, engine.ErrBusy):
		return record.Busy
	case errors.Is(err, engine.ErrStopped):
		return record.Disconnected
	}
	return record.IO
}

// Keep says for how long what was learned from a request sent at that time may be cached, in ns: what remains of the lease that the
// request has renewed, or nothing.
func (fs *FS) Keep(f *engine.Fiber, sentNs int64) int64 {
	if !fs.granted {
		return 0
	}
	return max(0, fs.leaseNs-(f.Turn().Now()-sentNs))
}

// Granted says whether the server lets this column cache.
func (fs *FS) Granted() bool { return fs.granted }
