// Package mount puts a Basalt file system on a directory: it makes the columns, connects them, to a node over the wire
// or to a shard in this process, and hands them to package fuse.
//
// A Mount is owned by the goroutine that started it; Parts may be called from any. It owns the columns it made and
// their sessions; in one process with a node the shard's column is the node's and only borrowed. Invariants: columns
// are connected one after the other and all of them before the kernel is asked to mount; Close returns when everything
// that was answered is on media, however long the node is away, or says that it is not. It survives a lost node (sessions reconnect) and an unmount
// from outside (Done). Read mount.go, then remote.go and local.go.
package mount

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"basalt/engine"
	"basalt/engine/uring"
	"basalt/fuse"
	"basalt/meta/client"
	"basalt/meta/record"
	"basalt/tools/control"
	"basalt/tools/daemon"
	"basalt/tools/outcome"
)

// Config of a mount.
type Config struct {
	Dir        string
	Transport  string // "auto", "uring" or "dev"
	Source     string // first column of df
	Shard      uint16 // of the node, over the wire: each has a file system of its own
	ReadOnly   bool
	OwnerOnly  bool // without allow_other
	NonEmpty   bool
	Columns    int  // 0: one for each CPU we may run on
	QueueDepth int  // requests of one queue at a time
	Pin        bool // each column to its CPU
	Log        *slog.Logger
	MayMount   func() bool // asked when all is ready, right before the kernel is asked to mount; nil: yes
}

// Limits.
const (
	ColumnsMax        = 256
	queueDepthDefault = 32
	slotBytes         = 1 << 20          // payload of one request
	spareSlots        = 8                // of /dev/fuse, beside the queues
	columnBytes       = 64 << 20         // connection buffers and the rest
	tellEvery         = 30 * time.Second // a line in the log while Close waits for the node
)

// column is one column with what Close has to know.
type column struct {
	reactor *engine.Reactor
	cpu     int // -1: not pinned
	fs      *client.FS
	session *client.Session // nil: in this process
	own     bool            // the reactor is ours
}

// Mount is a mounted file system.
type Mount struct {
	cfg     Config
	mount   *client.Mount
	columns []*column
	served  *fuse.Mounted
	leave   func(f *engine.Fiber) // ends a session in this process; runs on the first column
}

func (c *Config) setDefaults() {
	if c.Columns == 0 {
		c.Columns = len(CPUs())
	}
	if c.QueueDepth == 0 {
		c.QueueDepth = queueDepthDefault
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
}

// Check tells what cannot be meant.
func (c Config) Check() error {
	c.setDefaults()
	if c.Columns < 1 || c.Columns > ColumnsMax {
		return outcome.New(outcome.Usage, "%d columns: want 1 to %d", c.Columns, ColumnsMax)
	}
	if c.QueueDepth < 1 || c.QueueDepth > fuse.QueueDepthMax {
		return outcome.New(outcome.Usage, "a queue depth of %d: want 1 to %d", c.QueueDepth, fuse.QueueDepthMax)
	}
	return nil
}

// CPUs are those this process may run on.
func CPUs() []int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return []int{-1}
	}
	var list []int
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			list = append(list, cpu)
		}
	}
	return list
}

// cpuOf is the CPU of the nth column.
func (c *Config) cpuOf(n int) int {
	if !c.Pin {
		return -1
	}
	cpus := CPUs()
	return cpus[n%len(cpus)]
}

// possibleCPUs is how many FUSE queues the kernel will want: "0-63" means 64.
func possibleCPUs() int {
	text, err := os.ReadFile("/sys/devices/system/cpu/possible")
	if err != nil {
		return len(CPUs())
	}
	line := strings.TrimSpace(string(text))
	last, err := strconv.Atoi(line[strings.LastIndexAny(line, "-,")+1:])
	if err != nil {
		return len(CPUs())
	}
	return last + 1
}

// ArenaBytes is the memory that FUSE takes of one column.
func (c *Config) ArenaBytes() int {
	c.setDefaults()
	queues := (possibleCPUs() + c.Columns - 1) / c.Columns
	return (queues*c.QueueDepth + spareSlots) * slotBytes
}

// Ring opens a ring that can carry FUSE over io_uring.
func Ring(operations int) func() (uring.Ring, error) {
	return func() (uring.Ring, error) {
		return uring.Open(uring.Config{Entries: ringEntries, CQEntries: uint32(max(operations, 2*ringEntries)), SQE128: true})
	}
}

const (
	ringEntries   = 512
	operationsMax = 4096
)

// newColumn starts a column of our own.
func (m *Mount) newColumn(n int, boot func(f *engine.Fiber, c *column) error) error {
	c := &column{cpu: m.cfg.cpuOf(n), own: true}
	reactor, err := engine.New(engine.Config{
		Name: fmt.Sprintf("mount %d", n), Shard: engine.ShardID(n), CPU: c.cpu, Ring: Ring(operationsMax), OpsMax: operationsMax,
		ArenaBytes: m.cfg.ArenaBytes() + columnBytes,
	})
	if err != nil {
		return err
	}
	c.reactor = reactor
	if err := reactor.Start(func(f *engine.Fiber) error { return boot(f, c) }); err != nil {
		return err
	}
	control.WatchTurns(m.cfg.Log, reactor)
	m.columns = append(m.columns, c)
	return nil
}

// serve asks the kernel to mount.
func (m *Mount) serve() (err error) {
	if m.cfg.MayMount != nil && !m.cfg.MayMount() {
		return daemon.ErrEnded
	}
	var list []fuse.MountColumn
	for _, c := range m.columns {
		list = append(list, fuse.MountColumn{CPU: c.cpu, FS: c.fs})
	}
	transport := fuse.Transport(m.cfg.Transport)
	if m.cfg.Transport == "auto" {
		transport = fuse.TransportAuto
	}
	m.served, err = fuse.Mount(fuse.Options{
		Dir: m.cfg.Dir, Source: m.cfg.Source, Transport: transport, QueueDepth: m.cfg.QueueDepth,
		OwnerOnly: m.cfg.OwnerOnly, ReadOnly: m.cfg.ReadOnly, NonEmpty: m.cfg.NonEmpty, Log: m.cfg.Log,
	}, m.mount, list)
	if err != nil {
		return outcome.New(outcome.Mount, "%w", err)
	}
	return nil
}

// Done is closed when the mount is gone, whoever took it off.
func (m *Mount) Done() <-chan struct{} { return m.served.Done() }

// Unmount takes it off; Done is closed soon after.
func (m *Mount) Unmount(lazy bool) error {
	if err := m.served.Unmount(lazy); err != nil {
		return outcome.New(outcome.Mount, "%w", err)
	}
	return nil
}

// Close ends the sessions and the columns, once the mount is gone (or was never made). What was answered is on media
// when it returns nil.
func (m *Mount) Close() error {
	var errs []error
	if len(m.columns) > 0 && m.served != nil {
		errs = append(errs, m.sync())
	}
	if m.leave != nil && len(m.columns) > 0 {
		errs = append(errs, m.columns[0].reactor.Call(func(f *engine.Fiber) error { m.leave(f); return nil }))
	}
	for _, c := range m.columns {
		if c.session != nil {
			errs = append(errs, c.reactor.Call(func(f *engine.Fiber) error { c.session.Close(f); return nil }))
		}
	}
	for _, c := range m.columns {
		if c.own {
			c.reactor.Stop()
			errs = append(errs, c.reactor.Wait())
		}
	}
	return errors.Join(errs...)
}

// sync has the node commit what each column has had answered; a column's session also reports what a restarted node had
// forgotten. A node that is away is waited for without limit: only whoever ends this process gives up what was answered.
func (m *Mount) sync() error {
	synced := make(chan error, 1)
	go func() { synced <- m.syncColumns() }()
	if m.NodeAway() {
		m.tellWaiting()
	}
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	if err := outlast(synced, tick.C, m.tellWaiting); err != nil {
		return outcome.New(outcome.Failed, "what was written last may not be on media: %w: start the node again and mount, and look", err)
	}
	return nil
}

func (m *Mount) syncColumns() error {
	var errs []error
	for _, c := range m.columns {
		errs = append(errs, c.reactor.Call(func(f *engine.Fiber) error {
			if s := c.fs.SyncAll(f); s != record.OK {
				return s
			}
			return nil
		}))
		if c.session == nil {
			break // the columns share the session in this process
		}
	}
	return errors.Join(errs...)
}

// outlast waits for the result, however long it takes, and tells so at each tick.
func outlast(done <-chan error, tick <-chan time.Time, tell func()) error {
	for {
		select {
		case err := <-done:
			return err
		case <-tick:
			tell()
		}
	}
}

func (m *Mount) tellWaiting() {
	kept := 0.0
	for _, p := range m.links() {
		kept += p.Values["kept_bytes"]
	}
	m.cfg.Log.Warn("unmounted, and waiting until the node has committed what it had answered", "node", m.cfg.Source, "away", m.NodeAway(), "kept_bytes", kept)
}

// NodeAway tells whether a column has no connection to the node just now.
func (m *Mount) NodeAway() bool {
	for _, p := range m.links() {
		if serving, known := p.Values["serving"]; known && serving == 0 {
			return true
		}
	}
	return false
}

// links are the columns' connections to the node; none in one process with it.
func (m *Mount) links() (parts []control.Part) {
	for i, c := range m.columns {
		if c.session != nil {
			parts = append(parts, linkPart(i, c))
		}
	}
	return parts
}

// Transport tells how requests travel and why.
func (m *Mount) Transport() (name, why string) {
	t, why := m.served.Transport()
	return string(t), why
}

// Parts are the numbers of the mount for a status.
func (m *Mount) Parts() []control.Part {
	s := m.served.Stats()
	parts := []control.Part{{Kind: "fuse", ID: m.cfg.Dir, Values: map[string]float64{
		"requests_uring_total": float64(s.URing), "requests_dev_total": float64(s.Dev), "forgets_total": float64(s.Forgets),
		"interrupts_total": float64(s.Interrupts), "refused_total": float64(s.Refused), "starved_total": float64(s.Starved),
		"notices_total": float64(s.Notices),
	}}}
	for i, c := range m.columns {
		if c.own {
			parts = append(parts, control.Column("column", strconv.Itoa(i), c.reactor.Stats()))
		}
	}
	return append(parts, m.links()...)
}
