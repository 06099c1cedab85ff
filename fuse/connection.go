package fuse

import (
	"errors"
	"fmt"
	"log"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"basalt/engine"
)

// Connection is a mounted file system. Any goroutine may call its methods, but not the code of a column, which would wait for itself.
type Connection struct {
	// immutable after Serve
	opt       Options
	fd        int
	dev       string // the mount's device number, as the mount table writes it
	direct    bool   // mounted by mount(2), not by fusermount3
	transport Transport
	why       string // why not io_uring, where it was not asked away
	minor     uint32 // the kernel's protocol version 7.minor
	log       *slog.Logger
	columns   []*column
	note      *notifier

	ended atomic.Bool   // the kernel has ended it
	alive atomic.Int32  // columns that still have slots
	done  chan struct{} // closed when the last has none
	mu    sync.Mutex    // one unmount at a time
}

// Stats is what passed so far, by transport: a fallback is seen here.
type Stats struct {
	URing      uint64 // requests that came over io_uring
	Dev        uint64 // over /dev/fuse, FORGET and INTERRUPT included
	Forgets    uint64
	Interrupts uint64
	Refused    uint64 // answers or fetches that the kernel refused
	Starved    uint64 // requests that had to wait for a fiber
	Parked     uint64 // requests of /dev/fuse that had to wait for a slot
	Notices    uint64 // notifications sent to the kernel
}

// Serve mounts opt.Dir and serves it from the columns until it is unmounted. It returns when the kernel has accepted the connection.
func Serve(opt Options, columns []Column) (*Connection, error) {
	opt.setDefaults()
	if err := opt.check(columns); err != nil {
		return nil, err
	}
	if limit := pagesLimit() * 4096; opt.MaxWrite > limit {
		opt.MaxWrite = limit
	}
	c := &Connection{opt: opt, log: opt.Log, done: make(chan struct{})}
	why, err := c.offerURing()
	if err != nil {
		return nil, err
	}
	c.why = why
	if err := c.mount(); err != nil {
		return nil, err
	}
	if err := c.greet(columns); err != nil {
		return nil, errors.Join(err, c.abandon())
	}
	c.note = newNotifier(c)
	for _, col := range c.columns {
		if a, ok := col.raw.(interface{ attached(*Connection) }); ok {
			a.attached(c)
		}
	}
	if err := c.boot(); err != nil {
		return nil, errors.Join(err, c.Unmount(true))
	}
	c.readAhead()
	c.log.Info("mounted", "dir", opt.Dir, "fuse_transport", string(c.transport), "because", c.why, "protocol", fmt.Sprintf("7.%d", c.minor))
	return c, nil
}

// offerURing decides whether io_uring is proposed to the kernel, and why not.
func (c *Connection) offerURing() (why string, err error) {
	if c.opt.Transport == TransportDev {
		c.transport = TransportDev
		return "configured", nil
	}
	c.transport = TransportURing
	if err := enableURing(c.log); err != nil {
		if c.opt.Transport == TransportURing {
			return "", fmt.Errorf("%w: %w; use --fuse-transport=dev", ErrTransport, err)
		}
		c.transport = TransportDev
		return err.Error(), nil
	}
	return "offered by the kernel", nil
}

// greet answers INIT: every column's decoder sees it, since each keeps what was negotiated; the first one's answer is sent.
func (c *Connection) greet(columns []Column) error {
	in := make([]byte, payloadMin)
	n, err := readInit(c.fd, in)
	if err != nil {
		return err
	}
	out := make([]byte, payloadMin)
	length := 0
	for _, col := range columns {
		p := fuse.NewProtocolServer(col.Raw, c.protocolOptions())
		c.columns = append(c.columns, &column{conn: c, reactor: col.Reactor, raw: col.Raw, proto: p})
		var status fuse.Status
		if length, status = p.HandleRequest([][]byte{in[:n]}, [][]byte{out}); length == 0 || !status.Ok() {
			return fmt.Errorf("mount: the kernel's INIT can't be answered: %v", status)
		}
	}
	if e := int32(le.Uint32(out[4:])); e != 0 {
		return fmt.Errorf("mount: the kernel speaks another FUSE protocol: %w", unix.Errno(-e))
	}
	c.minor = le.Uint32(in[inHeaderSize+4:])
	flags := uint64(le.Uint32(out[outHeaderSize+12:])) | uint64(le.Uint32(out[outHeaderSize+32:]))<<32
	if c.transport == TransportURing && flags&fuse.CAP_OVER_IO_URING == 0 {
		c.why = "the kernel did not offer it"
		if c.opt.Transport == TransportURing {
			return fmt.Errorf("%w: %s; use --fuse-transport=dev", ErrTransport, c.why)
		}
		c.transport = TransportDev
	}
	if _, err := unix.Write(c.fd, out[:length]); err != nil {
		return fmt.Errorf("mount: answering INIT: %w", err)
	}
	c.assign(columns)
	return nil
}

// protocolOptions is what the decoder tells the kernel.
func (c *Connection) protocolOptions() *fuse.MountOptions {
	o := &fuse.MountOptions{
		Name: c.opt.Subtype, FsName: c.opt.Source, MaxBackground: maxBackground, MaxWrite: c.opt.MaxWrite,
		MaxReadAhead: c.opt.MaxWrite, EnableSymlinkCaching: c.opt.CacheSymlinks,
		Logger: log.New(logWriter{c.log}, "", 0),
		// A panic is a bug of ours: it ends the process with the shard named, as on every fiber.
		PanicHandler: func(v any) fuse.Status { panic(v) },
		ExtraCapabilities: fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_HANDLE_KILLPRIV_V2 | fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_ASYNC_DIO |
			fuse.CAP_INIT_EXT,
		// The kernel applies the umask (no DONT_MASK): there are no default ACLs that would want it unapplied. Locks stay the kernel's.
	}
	if c.transport == TransportURing {
		o.ExtraCapabilities |= fuse.CAP_OVER_IO_URING
	}
	return o
}

// assign spreads the kernel's queues over the columns: a queue goes to the column pinned to its CPU, others in turn.
func (c *Connection) assign(columns []Column) {
	if c.transport == TransportDev {
		for _, col := range c.columns {
			col.dev = max(c.opt.QueueDepth, devDepthMin)
		}
		return
	}
	c.columns[0].dev = devDepthBeside
	for q := range possibleCPUs() {
		at := q % len(columns)
		for i, col := range columns {
			if col.CPU == q {
				at = i
			}
		}
		c.columns[at].queues = append(c.columns[at].queues, uint16(q))
	}
}

// boot starts the columns.
func (c *Connection) boot() error {
	c.alive.Store(1) // the boot itself, so that a column that ends early does not end the connection
	defer c.columnEnded()
	for _, col := range c.columns {
		if len(col.queues) == 0 && col.dev == 0 {
			continue
		}
		c.alive.Add(1)
		err := col.reactor.Call(func(f *engine.Fiber) error { return col.boot(f, c.opt.QueueDepth, c.opt.MaxWrite) })
		if err != nil {
			c.alive.Add(-1)
			return err
		}
	}
	return nil
}

func (c *Connection) columnEnded() {
	if c.alive.Add(-1) == 0 {
		close(c.done)
	}
}

// Transport says how requests travel, and why.
func (c *Connection) Transport() (t Transport, why string) { return c.transport, c.why }

// Done is closed when the mount is gone and the last request has been answered.
func (c *Connection) Done() <-chan struct{} { return c.done }

// Stats adds up the columns' counters.
func (c *Connection) Stats() Stats {
	var s Stats
	for _, col := range c.columns {
		s.URing += col.stats.uring.Load()
		s.Dev += col.stats.dev.Load()
		s.Forgets += col.stats.forget.Load()
		s.Interrupts += col.stats.interrupt.Load()
		s.Refused += col.stats.refused.Load()
		s.Starved += col.stats.starved.Load()
		s.Parked += col.stats.parked.Load()
	}
	s.Notices = c.note.sent.Load()
	return s
}

// logWriter passes the decoder's rare complaints on.
type logWriter struct{ log *slog.Logger }

// Write logs one line.
func (w logWriter) Write(p []byte) (int, error) {
	w.log.Warn("FUSE decoder: " + string(p))
	return len(p), nil
}
