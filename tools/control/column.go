package control

import "basalt/engine"

// Column is the part of a reactor.
func Column(kind, id string, s engine.Stats) Part {
	registered := 0.0
	if s.BuffersRegistered {
		registered = 1
	}
	return Part{Kind: kind, ID: id, Values: map[string]float64{
		"turns_total": float64(s.Turns), "long_turns_total": float64(s.LongTurns), "enters_total": float64(s.Enters), "enters_early_total": float64(s.EntersEarly),
		"sleeps_total": float64(s.Sleeps), "wakes_total": float64(s.Wakes), "completions_total": float64(s.Completions),
		"resumes_total": float64(s.Resumes), "spawned_total": float64(s.Spawned), "longest_turn_ns": float64(s.LongestTurnNs),
		"inbox": float64(s.Inbox), "inbox_peak": float64(s.InboxPeak), "inbox_max": float64(s.InboxMax), "inbox_busy_total": float64(s.InboxBusy),
		"operations": float64(s.Ops), "operations_peak": float64(s.OpsPeak), "operations_max": float64(s.OpsMax), "backlog_peak": float64(s.BacklogPeak),
		"fibers": float64(s.Fibers), "fibers_peak": float64(s.FibersPeak), "fibers_max": float64(s.FibersMax), "fibers_busy_total": float64(s.FibersBusy),
		"arena_used_bytes": float64(s.ArenaUsed), "arena_peak_bytes": float64(s.ArenaPeak), "arena_bytes": float64(s.ArenaCap),
		"buffers_registered": registered,
	}}
}
