// Package meta is the namespace of a shard: directories, inodes, file data, extended attributes, and the sessions of those who use them, as keys
// and objects of the shard's store.
//
// Owner: everything belongs to the shard's reactor and is touched on its thread only. An operation belongs to the fiber that runs it; a Session to the
// shard, whoever holds a pointer.
//
// Invariants:
//   - A request is one decision: it reads, decides and changes in one turn, in one transaction, so nobody sees it half done and two never cross. Only
//     a cut through very many objects takes several, each of which leaves a sound, shorter file.
//   - A decision may be run again. What it changes in the shard's memory is settled in the turn of its transaction, and taken back if that fails.
//   - An inode number is given out only when its reservation is committed; it is never used twice.
//   - What check.go checks: names, links, parents, orphans, sizes and counters agree after every transaction.
//   - A request that changed something is remembered in the transaction that changed it, for as long as its session lives.
//   - While more than one mount is attached, none caches.
//
// Locks: none.
//
// It survives: the loss of everything in memory (recovery.go brings back what clients were answered), power loss at any point, decisions that are run
// again, full and read-only stores (removals still work), clients that vanish, repeat themselves, or send anything at all. It trusts the uid of an attached
// client, and leaves permissions to the client's kernel.
//
// Read dispatch.go and operation.go first, then rename.go as an example, data.go, session.go and recovery.go.
package meta

import (
	"errors"
	"fmt"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/meta/record"
	"basalt/storage"
	"basalt/storage/format"
)

// Shard is the namespace of one shard.
type Shard struct {
	// Immutable after Start.
	store       store
	opt         Options
	fs          record.FS
	incarnation uint64

	// Owned by the loop.
	idle       []*operation
	idleServed []*served
	counters   []counter // of every group
	opens      openTable
	handles    map[uint64]*dirHandle // looked up only, never walked
	lastHandle uint64
	pins       []*dirHandle
	pinTimer   bool
	table      sessionTable
	grant      grant
	recovering bool
	stopping   bool
	recovery   recovery
	dying      []record.Ino // inodes for the reaper
	reaping    bool
	reaped     engine.WaitList // the reaper is done with an inode, or with all
	reserved   engine.WaitList // a block of inode numbers came, or failed to
	stats      Stats
}

// Stats are counts since the start, and gauges.
type Stats struct {
	Ops           [record.Ops]uint64
	Failed        [record.Statuses]uint64
	Repeated      uint64 // requests answered from memory of an earlier answer
	Reaped        uint64
	ReapFailed    uint64
	ReserveFailed uint64
	Replayed      uint64 // requests of the last life that were played again
	ReplaySkip    uint64 // of those, the ones that had survived
	ReplayFail    uint64 // of those, the ones that no longer applied
	Expired       uint64 // sessions that did not come back
	Recalls       uint64
	Sessions      int
	Mounts        int
	Pins          int
	Dying         int
	OpensKnown    int
}

// NewShard is the namespace on a store. Start it before it serves.
func NewShard(s *storage.Store, opt Options) *Shard { return newShard(storeOf{s}, opt) }

func newShard(s store, opt Options) *Shard {
	return &Shard{store: s, opt: opt.withDefaults(), opens: newOpenTable(), handles: map[uint64]*dirHandle{}, table: newSessionTable()}
}

// Format makes an empty namespace on an empty store: its collections, its constants and the root directory.
func Format(f *engine.Fiber, s *storage.Store, opt FormatOptions) error {
	return newShard(storeOf{s}, Options{}).format(f, opt)
}

func (s *Shard) format(f *engine.Fiber, opt FormatOptions) error {
	s.fs = record.FS{ID: opt.ID, Seed: opt.Seed, Groups: opt.Groups, StripeSize: opt.StripeSize, InlineMax: opt.InlineMax}
	def := func(p *uint32, v uint32) {
		if *p == 0 {
			*p = v
		}
	}
	def(&s.fs.Groups, 256)
	def(&s.fs.StripeSize, record.StripeSize)
	def(&s.fs.InlineMax, min(record.InlineMax, s.fs.StripeSize))
	enc := s.fs.Append(nil)
	s.counters = make([]counter, s.fs.Groups)
	if opt.ID == [16]byte{} {
		return errors.New("meta: a file system needs an identity: it is all zero")
	}
	if err := new(record.FS).Decode(enc); err != nil {
		return fmt.Errorf("meta: format: %w", err)
	}
	o := s.own(func(o *operation) error {
		for g := range s.fs.Groups {
			o.note(o.tx.CreateCollection(storage.Coll(g)))
		}
		o.note(o.tx.CreateCollection(storage.Coll(record.ShardGroup)))
		o.put(record.ShardGroup, record.AppendFSKey(o.key[:0]), enc)
		root := o.slot()
		root.Attr = record.Attr{Ino: record.RootIno, Parent: record.RootIno, Mode: record.ModeDir | 0o755, Nlink: 2, UID: opt.UID, GID: opt.GID,
			Atime: opt.WallNs, Btime: opt.WallNs}
		o.nowNs = opt.WallNs
		o.touch(root, true)
		return o.setCounter(record.RootIno.Group(), record.RootIno.Counter()+1)
	})
	defer s.give(o)
	seq, err := o.update(f)
	if err != nil {
		return fmt.Errorf("meta: format: %w", err)
	}
	return s.store.Commit(f, seq)
}

// Start reads what is durable. If mounts were attached when the server stopped, a replay window opens: they get one lease to come back, say
// what they have open and play again what was lost; nothing else is served meanwhile.
func (s *Shard) Start(f *engine.Fiber) error {
	if err := s.loadFS(f); err != nil {
		return err
	}
	s.incarnation = uint64(f.Turn().Wall())
	return s.startRecovery(f)
}

// loadFS reads what mkfs decided.
func (s *Shard) loadFS(f *engine.Fiber) error {
	o := s.own(func(o *operation) error {
		val, err := o.get(record.ShardGroup, record.AppendFSKey(o.key[:0]))
		if err == record.NotFound {
			return errors.New("meta: there is no file system on this store")
		}
		if err != nil {
			return err
		}
		return s.fs.Decode(val)
	})
	defer s.give(o)
	err := o.view(f)
	s.counters = make([]counter, s.fs.Groups)
	return err
}

// Stop ends the background work and releases what is pinned. The caller has made sure that no request runs; the store stays mounted.
func (s *Shard) Stop(f *engine.Fiber) {
	t := f.Turn()
	s.stopping = true
	for len(s.pins) > 0 {
		p := s.pins[len(s.pins)-1]
		if s.unpin(t, p); p.busy {
			f.Yield()
			t = f.Turn()
		}
	}
	s.table.changed.WakeAll(t)
	for s.reaping {
		s.reaped.Wait(f)
	}
	for s.recovering {
		s.recovery.over.Wait(f)
	}
}

// FS is what mkfs decided.
func (s *Shard) FS() record.FS { return s.fs }

// Recovering tells whether the replay window is open.
func (s *Shard) Recovering() bool { return s.recovering }

// Stats are the counts and gauges of now.
func (s *Shard) Stats() Stats {
	st := s.stats
	st.Sessions, st.Mounts, st.Pins, st.Dying = len(s.table.list), len(s.table.mounts), len(s.pins), len(s.dying)
	st.OpensKnown = len(s.opens.byIno)
	return st
}

// statusOf sorts what can go wrong.
func statusOf(err error) record.Status {
	var st record.Status
	var rot *format.CorruptError
	var bad *record.CorruptError
	var dev *device.IOError
	switch {
	case err == nil:
		return record.OK
	case errors.As(err, &st):
		return st
	case errors.Is(err, storage.ErrFull):
		return record.NoSpace
	case errors.Is(err, storage.ErrReadOnly):
		return record.ReadOnly
	case errors.Is(err, storage.ErrBusy), errors.Is(err, engine.ErrBusy):
		return record.Busy
	case errors.Is(err, storage.ErrTooLarge):
		return record.TooBig
	case errors.Is(err, storage.ErrClosed):
		return record.Retry
	case errors.As(err, &rot), errors.As(err, &bad), errors.Is(err, storage.ErrNotFound):
		return record.Corrupt
	case errors.As(err, &dev):
		return record.IO
	}
	return record.IO
}
