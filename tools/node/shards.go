package node

import (
	"errors"
	"sync"

	"basalt/tools/control"
	"basalt/tools/outcome"
)

// startShards starts one for each slice of each device, in order, all at the same time: each has its own journal to replay.
func (n *Node) startShards() error {
	for _, d := range n.disks {
		for slice := range int(d.Slices) {
			n.shards = append(n.shards, newShard(&n.cfg, d, slice, len(n.shards)))
		}
	}
	if last := len(n.shards) - 1; n.cfg.Mount != nil && n.cfg.MountShard > last {
		return outcome.New(outcome.Usage, "--mount-shard %d: the devices have the shards 0 to %d", n.cfg.MountShard, last)
	}
	total := 0
	for _, s := range n.shards {
		total += s.config().ArenaBytes
	}
	n.cfg.Log.Info("starting the shards", "devices", len(n.disks), "shards", len(n.shards), "memory_bytes", total)
	var first error
	for i, err := range n.everyShard((*shard).start) {
		switch {
		case err == nil:
			control.WatchTurns(n.shards[i].log, n.shards[i].reactor)
		case first == nil:
			first = err // one reason is enough to end for; the others are in the log
		default:
			n.shards[i].log.Error("not started either", "error", err)
		}
	}
	return first
}

// stopShards stops those that have started, all at the same time: each has its own checkpoint to make.
func (n *Node) stopShards() error {
	return errors.Join(n.everyShard(func(s *shard) error {
		if !s.up {
			return nil
		}
		return s.stop()
	})...)
}

// everyShard runs fn for all shards at once, and waits for all of them.
func (n *Node) everyShard(fn func(s *shard) error) []error {
	errs := make([]error, len(n.shards))
	var all sync.WaitGroup
	for i, s := range n.shards {
		all.Add(1)
		go func() {
			defer all.Done()
			errs[i] = fn(s)
		}()
	}
	all.Wait()
	return errs
}

// shardStatus is every shard's part, and the state of the node: that of its shards if they agree, else which is worst.
func (n *Node) shardStatus() ([]control.Part, string) {
	parts, states := make([]control.Part, len(n.shards)), make([]string, len(n.shards))
	_ = n.everyShard(func(s *shard) error { // it has no error
		parts[s.number], states[s.number] = s.status()
		return nil
	})
	return parts, together(states)
}

// together is the state of a node whose shards are in these states: what a caller must know first.
func together(states []string) string {
	count := map[string]int{}
	for _, s := range states {
		count[s]++
	}
	switch {
	case count[control.Stuck] > 0:
		return control.Stuck
	case count[control.ReadOnly] == len(states):
		return control.ReadOnly
	case count[control.ReadOnly] > 0:
		return control.PartReadOnly
	case count[control.Recovering] > 0:
		return control.Recovering
	}
	return control.Serving
}
