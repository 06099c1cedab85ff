package fuse

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"basalt/engine"
	"basalt/meta/client"
)

// Mounted is a mounted Basalt: a connection to the kernel whose columns serve a client's mount.
type Mounted struct {
	*Connection
	mount   *client.Mount
	columns []*files    // immutable once mounted
	names   bool        // the kernel may keep names, because they can all be taken back
	capable atomic.Bool // a file capability was set through this mount
	log     *slog.Logger
}

// MountColumn is one column of a mount: where it runs, and its view of the files.
type MountColumn struct {
	CPU int // the CPU its reactor is pinned to, -1 if it is not
	FS  *client.FS
}

// Mount serves the file system at opt.Dir. The columns are all those of one client.Mount, in their order.
func Mount(opt Options, mount *client.Mount, list []MountColumn) (*Mounted, error) {
	opt.setDefaults()
	opt.KernelChecks, opt.CacheSymlinks = true, true
	m := &Mounted{mount: mount, log: opt.Log}
	var columns []Column
	for i, c := range list {
		v := &files{RawFileSystem: fuse.NewDefaultRawFileSystem(), reactor: c.FS.Reactor(), fs: c.FS, mounted: m, index: i}
		m.columns = append(m.columns, v)
		columns = append(columns, Column{Reactor: v.reactor, CPU: c.CPU, Raw: v})
	}
	if _, err := Serve(opt, columns); err != nil { // it makes itself known to every column (attached)
		return nil, err
	}
	return m, nil
}

// attached is called once the kernel's protocol is known, before the first request.
func (v *files) attached(c *Connection) {
	m := v.mounted
	m.Connection, m.names = c, c.CachesNames()
	if v.index == 0 {
		m.mount.SetCache(m)
	}
}

// Drop takes back everything that the kernel may keep: it is what a recall of the grant waits for. f may be of any column. The caller has
// made sure that nothing new is handed out.
func (m *Mounted) Drop(f *engine.Fiber) error {
	var nodes []uint64
	for _, v := range m.columns {
		if err := engine.CallOn(f, v.reactor, func(*engine.Fiber) { nodes = v.known.drop(nodes) }); err != nil {
			return err
		}
	}
	d := &dropping{fiber: f}
	m.Invalidate(true, nodes, func(err error) {
		d.err = err
		for f.Reactor().Post(d) == engine.ErrBusy { // any other error: its reactor has ended, and the fiber with it
			time.Sleep(time.Millisecond)
		}
	})
	for !d.done {
		f.Park()
	}
	if d.err == ErrEnded {
		return nil
	}
	return d.err
}

// dropping brings the end of an invalidation home to the fiber that waits for it.
type dropping struct {
	fiber *engine.Fiber
	err   error // written before it is posted
	done  bool  // owned by the fiber's loop
}

// Deliver wakes the fiber.
func (d *dropping) Deliver(t *engine.Turn) {
	d.done = true
	t.Ready(d.fiber)
}
