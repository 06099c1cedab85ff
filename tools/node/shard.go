package node

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/uring"
	"basalt/meta"
	"basalt/netio"
	"basalt/storage"
	"basalt/storage/format"
	"basalt/tools/control"
	"basalt/tools/mount"
)

// shard is the column with everything of it: device handle, store, namespace, connections.
type shard struct {
	cfg     *Config
	disk    *disk
	slice   int // of it
	number  int // of the shard, in the node and on the wire
	log     *slog.Logger
	cpu     int
	reactor *engine.Reactor
	up      bool           // it has started
	handle  *device.Handle // the rest is used on the reactor only
	store   *storage.Store
	meta    *meta.Shard
	port    *netio.Port
	failed  string // why the store is read-only; empty: it is not
	discard string // how the device is told what is free; immutable once booted
}

// The shard's memory holds the store's caches and deltas, what is being written, and what connections may have in flight.
const (
	cacheDefault = 64 << 20
	deltaDefault = 256 << 20
	flightBytes  = 192 << 20
	ringEntries  = 512
	operations   = 4096
	statusWait   = time.Second
)

func newShard(cfg *Config, d *disk, slice, number int) *shard {
	s := &shard{cfg: cfg, disk: d, slice: slice, number: number, cpu: -1}
	s.log = cfg.Log.With("shard", number, "device", d.path, "slice", slice)
	if cfg.Pin {
		cpus := mount.CPUs()
		s.cpu = cpus[number%len(cpus)]
	}
	return s
}

func (s *shard) start() (err error) {
	if s.reactor, err = engine.New(s.config()); err != nil {
		return err
	}
	if err := s.reactor.Start(s.boot); err != nil {
		return err
	}
	s.up = true
	return nil
}

func (s *shard) config() engine.Config {
	or := func(v, def int) int {
		if v == 0 {
			return def
		}
		return v
	}
	bytes := or(s.cfg.Storage.CacheBytes, cacheDefault) + or(s.cfg.Storage.DeltaBytesMax, deltaDefault) + flightBytes + int(s.cfg.ArenaBytes)
	c := engine.Config{Name: fmt.Sprintf("shard %d", s.number), Shard: engine.ShardID(s.number), CPU: s.cpu, OpsMax: operations, ArenaBytes: bytes}
	c.Ring = func() (uring.Ring, error) {
		return uring.Open(uring.Config{Entries: ringEntries, CQEntries: operations})
	}
	if s.cfg.Mount != nil && s.cfg.MountShard == s.number {
		c.Ring = mount.Ring(operations)
		c.ArenaBytes += s.cfg.Mount.ArenaBytes()
	}
	return c
}

// boot runs on the column: from the device up.
func (s *shard) boot(f *engine.Fiber) (err error) {
	if s.handle, err = s.disk.dev.Attach(f.Turn()); err != nil {
		return err
	}
	var report *storage.MountReport
	opt := s.cfg.Storage
	opt.Discard = s.disk.discard
	opt.Progress = func(p storage.MountProgress) {
		of := []any{"doing", p.Doing, "done", p.Done}
		if p.Total > 0 {
			of = append(of, "of", p.Total)
		}
		s.log.Info("mounting the store", of...)
	}
	if s.store, report, err = storage.Mount(f, s.handle, s.slice, opt); err != nil {
		return explainStore(s.disk.path, err)
	}
	s.log.Info("store mounted", tell(report)...)
	s.store.OnFail(func(_ *engine.Turn, err error) {
		s.failed = err.Error()
		s.log.Error("READ-ONLY from now on: a write or flush of the device failed, and what was not committed before is not promised", "error", err)
	})
	s.discard = s.watchDiscards()
	s.store.OnQuarantine(s.tellQuarantine)
	s.meta = meta.NewShard(s.store, s.cfg.Meta)
	if err := s.meta.Start(f); err != nil {
		return explainStore(s.disk.path, err)
	}
	s.port, err = netio.NewPort(uint16(s.number), s.reactor, s.meta, s.cfg.Wire)
	return err
}

// tell says how the store was found, as fields of a log line: of a clean one nothing but that.
func tell(r *storage.MountReport) []any {
	fields := []any{"clean", r.Clean, "superblock", r.Epoch}
	if !r.Clean || r.Records > 0 {
		fields = append(fields, "records_replayed", r.Records, "transactions_replayed", r.Transactions)
	}
	if r.Cut != "" {
		fields = append(fields, "cut_off_the_end", r.Cut)
	}
	if r.MapRebuilt != "" {
		fields = append(fields, "space_map_rebuilt", r.MapRebuilt)
	}
	if len(r.Bad) > 0 {
		fields = append(fields, "copies_unreadable", strings.Join(r.Bad, "; "))
	}
	return fields
}

// stop ends the namespace and the store; nobody is connected any more. The checkpoint is made here.
func (s *shard) stop() error {
	err := s.reactor.Call(func(f *engine.Fiber) error {
		s.meta.Stop(f)
		err := s.store.Unmount(f)
		s.handle.Detach(f.Turn())
		return err
	})
	s.reactor.Stop()
	return errors.Join(err, s.reactor.Wait())
}

// status asks the column; if it does not answer at once, what the engine has published must do.
func (s *shard) status() (control.Part, string) {
	part := control.Column("shard", strconv.Itoa(s.number), s.reactor.Stats())
	part.Labels = map[string]string{"device": s.disk.path, "slice": strconv.Itoa(s.slice)}
	type answer struct {
		state, note string
		values      map[string]float64
	}
	answers := make(chan answer, 1)
	go func() {
		_ = s.reactor.Call(func(f *engine.Fiber) error { // if the column has ended, nothing comes
			answers <- answer{s.state(), s.failed, s.numbers(f.Turn())}
			return nil
		})
	}()
	select {
	case a := <-answers:
		for name, v := range a.values {
			part.Values[name] = v
		}
		part.Note = a.note
		return part, a.state
	case <-time.After(statusWait):
		part.Values["answering"] = 0
		return part, control.Stuck
	}
}

func (s *shard) state() string {
	switch {
	case s.store.Stats().ReadOnly:
		return control.ReadOnly
	case s.meta.Recovering():
		return control.Recovering
	}
	return control.Serving
}

// numbers of the layers above the engine; on the column.
func (s *shard) numbers(t *engine.Turn) map[string]float64 {
	v := map[string]float64{"answering": 1, "read_only": 0}
	if s.store.Stats().ReadOnly {
		v["read_only"] = 1
	}
	port, names := s.port.Stats(t), s.meta.Stats()
	v["connections"], v["requests_total"], v["replies_total"] = float64(port.Conns), float64(port.Requests), float64(port.Replies)
	v["received_total"], v["sent_total"] = float64(port.BytesIn), float64(port.BytesOut)
	v["outstanding"], v["outstanding_bytes"], v["outstanding_peak_bytes"] = float64(port.Outstanding), float64(port.OutstandingBytes), float64(port.OutstandingBytesPeak)
	v["protocol_errors_total"], v["pauses_total"], v["starved_total"] = float64(port.ProtocolErrors), float64(port.Pauses), float64(port.Starved)
	v["sessions"], v["mounts"], v["recalls_total"], v["expired_total"] = float64(names.Sessions), float64(names.Mounts), float64(names.Recalls), float64(names.Expired)
	v["replayed_total"], v["replay_failed_total"], v["repeated_total"] = float64(names.Replayed), float64(names.ReplayFail), float64(names.Repeated)
	s.storeNumbers(v)
	v["pins"], v["dying"], v["reap_failed_total"] = float64(names.Pins), float64(names.Dying), float64(names.ReapFailed)
	return v
}

func (s *shard) storeNumbers(v map[string]float64) {
	st := s.store.Stats()
	running := 0.0
	if st.Checkpointing {
		running = 1
	}
	v["checkpoint_running"], v["checkpoints_total"], v["epoch"] = running, float64(st.Checkpoints), float64(st.Epoch)
	v["transactions_total"], v["groups_total"], v["group_transactions_total"] = float64(st.Transactions), float64(st.Groups), float64(st.GroupTxns)
	v["group_written_total"], v["flushes_total"], v["fold_written_total"] = float64(st.GroupBytes), float64(st.Flushes), float64(st.FoldBytes)
	v["superseded_total"], v["paced_total"], v["stalled_total"] = float64(st.Superseded), float64(st.Paced), float64(st.Stalled)
	v["applied"], v["committed"], v["groups_in_flight"] = float64(st.Applied), float64(st.Committed), float64(st.GroupsInFlight)
	v["journal_used_bytes"], v["journal_bytes"] = float64(st.JournalUsed*format.BlockBytes), float64(st.JournalBlocks*format.BlockBytes)
	v["delta_used_bytes"], v["delta_bytes"] = float64(st.DeltaBytes), float64(st.DeltaBytesMax)
	v["limbo_bytes"], v["free_bytes"], v["size_bytes"] = float64(st.LimboBlocks*format.BlockBytes), float64(st.FreeBlocks*format.BlockBytes), float64(st.Blocks*format.BlockBytes)
	v["snapshots"], v["free_map_bytes"], v["pooled_bytes"] = float64(st.Snapshots), float64(st.FreeMapBytes), float64(st.PooledBytes)
	discardNumbers(v, &st)
	scrubNumbers(v, &st)
}
