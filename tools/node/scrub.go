package node

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"basalt/engine"
	"basalt/storage"
	"basalt/storage/dump"
	"basalt/tools/control"
	"basalt/tools/outcome"
)

// Scrub obeys an order about the scrub of every shard, and tells how they stand. One that does not answer keeps no other from it.
func (n *Node) Scrub(order string) ([]control.Scrub, error) {
	var all []control.Scrub
	var errs []error
	for _, s := range n.shards {
		one, err := s.scrub(order)
		if err != nil {
			errs = append(errs, fmt.Errorf("shard %d: %w", s.number, err))
			continue
		}
		all = append(all, one)
	}
	return all, errors.Join(errs...)
}

// scrub asks the column; one that does not answer at once is not waited for.
func (s *shard) scrub(order string) (control.Scrub, error) {
	type result struct {
		scrub control.Scrub
		err   error
	}
	answer := make(chan result, 1)
	go func() {
		var r result
		if err := s.reactor.Call(func(f *engine.Fiber) error {
			r.scrub, r.err = s.obeyScrub(f.Turn(), order)
			return nil
		}); err != nil {
			r.err = err
		}
		answer <- r
	}()
	select {
	case r := <-answer:
		return r.scrub, r.err
	case <-time.After(statusWait):
		return control.Scrub{}, outcome.New(outcome.Failed, "it does not answer")
	}
}

// obeyScrub runs on the column.
func (s *shard) obeyScrub(t *engine.Turn, order string) (out control.Scrub, err error) {
	switch order {
	case control.ScrubStart:
		err = s.store.StartScrub(t)
	case control.ScrubStop:
		s.store.StopScrub(t)
	}
	st := s.store.Stats().Scrub
	out = control.Scrub{
		Shard: strconv.Itoa(s.number), Device: s.disk.path, Slice: s.slice, Running: st.Running, BytesDone: st.BytesDone, BytesOf: st.BytesOf, Objects: st.Objects, Findings: st.Findings,
		Passes: st.Passes, Began: wall(st.BeganNs), Ended: wall(st.EndedNs), Quarantine: []control.Quarantined{},
	}
	for _, q := range s.store.Quarantine() {
		out.Quarantine = append(out.Quarantine, control.Quarantined{
			What: q.What, Collection: uint16(q.Coll), Object: q.Object, Block: q.Block, Start: uint64(q.At.Start), Blocks: uint32(q.At.Len),
			Found: wall(q.WallNs), Reason: q.Err.Error(),
		})
	}
	return out, err
}

func wall(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// tellQuarantine logs what was found to be bad, and what is well again.
func (s *shard) tellQuarantine(_ *engine.Turn, q storage.Quarantined, healed bool) {
	fields := []any{"what", q.What, "blocks", q.At.String()}
	if q.What == storage.WhatData {
		fields = append(fields, "collection", uint16(q.Coll), "object", dump.Name(q.Object), "block", q.Block)
	}
	if healed {
		s.log.Info("out of quarantine: it was replaced, or can be read again", fields...)
		return
	}
	s.log.Error("DAMAGE: it cannot be read and is in quarantine; everything else is served", append(fields, "reason", q.Err.Error())...)
}

// scrubNumbers of the store.
func scrubNumbers(v map[string]float64, st *storage.Stats) {
	running := 0.0
	if st.Scrub.Running {
		running = 1
	}
	v["quarantine"], v["quarantined_total"], v["quarantine_full_total"], v["healed_total"] = float64(st.InQuarantine), float64(st.Quarantined), float64(st.QuarantineFull), float64(st.Healed)
	v["scrub_running"], v["scrub_done_bytes"], v["scrub_of_bytes"] = running, float64(st.Scrub.BytesDone), float64(st.Scrub.BytesOf)
	v["scrub_objects"], v["scrub_findings"] = float64(st.Scrub.Objects), float64(st.Scrub.Findings)
	v["scrub_read_total"], v["scrub_passes_total"], v["scrub_findings_total"] = float64(st.Scrub.BytesTotal), float64(st.Scrub.Passes), float64(st.Scrub.FoundTotal)
	v["scrub_ended_seconds"] = float64(st.Scrub.EndedNs / 1e9)
}
