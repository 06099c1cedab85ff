package storage

import (
	"bytes"
	"errors"
	"fmt"

	"basalt/engine"
	"basalt/storage/btree"
	"basalt/storage/format"
)

// The scrub reads everything that the store has, from the device and past the cache, and verifies it: tree nodes, long values, data blocks,
// the copies of label and superblock, the space map. It begins with a checkpoint, so that a pass covers all that was applied when it began,
// and goes on in stretches: each walks over the tree that is durable just then, from the key where the one before has stopped. Only during a stretch, an
// eighth of a second's worth of reading, are blocks held; between two of them it pauses for the rate, and holds nothing.

const (
	scrubReadBytes  = format.ExtentBlocksMax * format.BlockBytes // the longest extent, in one read
	scrubLeastBytes = 64 << 10                                   // of a stretch
	scrubBusyNs     = 100e6                                      // pause when there is no memory
)

// ScrubStats are the progress of the scrub and what it has found since the mount.
type ScrubStats struct {
	Running    bool
	BytesDone  uint64 // by this pass, or the last one
	BytesOf    uint64 // that were in use when it began
	Objects    uint64 // it has met
	Findings   uint64 // of this pass, or the last one
	Passes     uint64 // whole ones
	BytesTotal uint64 // read by all passes
	FoundTotal uint64
	BeganNs    int64 // wall clock: this pass, or the last one
	EndedNs    int64 // the last whole pass; 0: none since the mount
}

// scrub is the one that runs, or will.
type scrub struct {
	alive bool // the fiber
	want  bool
	stop  bool
	pass  uint64 // passes begun
	wake  engine.WaitList
	dueNs int64
	next  []byte // where the next stretch begins
	blind bool   // something could not be looked at in this pass: what it has not met may be as bad as ever
	st    ScrubStats
}

func (p *scrub) stats() ScrubStats {
	st := p.st
	st.Running = st.Running || p.want
	return st
}

// StartScrub begins a pass, unless one runs.
func (s *Store) StartScrub(t *engine.Turn) error {
	if s.closing {
		return ErrClosed
	}
	p := &s.scrub
	switch {
	case p.st.Running && p.stop: // the one that runs is on its way out
		p.want = true
	case !p.st.Running && !p.want:
		p.want = true
		p.st.BeganNs, p.st.BytesDone, p.st.Objects, p.st.Findings = t.Wall(), 0, 0, 0
	}
	return s.wakeScrub(t)
}

// StopScrub ends the pass that runs. The next one begins at the beginning.
func (s *Store) StopScrub(t *engine.Turn) {
	s.scrub.want = false
	if s.scrub.st.Running {
		s.scrub.stop = true
		s.scrub.wake.WakeAll(t)
	}
}

func (s *Store) wakeScrub(t *engine.Turn) error {
	p := &s.scrub
	if p.alive {
		p.wake.WakeAll(t)
		return nil
	}
	if err := t.Go("scrub", s.runScrub); err != nil {
		return err
	}
	p.alive = true
	return nil
}

// runScrub is the fiber. Nobody remembers over a restart when the last pass ended, so the first one of a mount comes after an eighth of the
// interval: a node that is restarted each day is scrubbed all the same.
func (s *Store) runScrub(f *engine.Fiber) {
	p := &s.scrub
	wait := s.opt.ScrubIntervalNs / 8
	for !s.closing && (p.want || s.opt.ScrubIntervalNs > 0) {
		if !p.want && p.wake.WaitFor(f, wait) {
			continue // somebody has a wish; the interval begins anew
		}
		p.want, p.stop = false, false
		p.pass++
		p.st.Running, p.st.BytesDone, p.st.Objects, p.st.Findings = true, 0, 0, 0
		p.st.BeganNs = f.Turn().Wall()
		if s.scrubPass(f) {
			p.st.Passes++
			p.st.EndedNs = f.Turn().Wall()
		}
		p.st.Running = false
		wait = s.opt.ScrubIntervalNs
	}
	p.alive = false
	s.waitDrain.WakeAll(f.Turn())
}

// endScrub waits for the scrub to end: the store does.
func (s *Store) endScrub(f *engine.Fiber) {
	s.scrub.stop = true
	s.scrub.wake.WakeAll(f.Turn())
	for s.scrub.alive {
		s.waitDrain.Wait(f)
	}
}

// scrubEnds tells whether the pass must stop.
func (s *Store) scrubEnds() bool { return s.scrub.stop || s.closing }

// scrubPause waits, but not for longer than the pass lasts.
func (s *Store) scrubPause(f *engine.Fiber, ns int64) {
	if ns > 0 && !s.scrubEnds() {
		s.scrub.wake.WaitFor(f, ns)
	}
}

// scrubbed counts what was read, and waits until the rate allows more.
func (s *Store) scrubbed(f *engine.Fiber, bytes uint64) {
	p, now := &s.scrub, f.Turn().Now()
	p.st.BytesDone += bytes
	p.st.BytesTotal += bytes
	p.dueNs = max(p.dueNs, now) + int64(bytes)*1e9/s.opt.ScrubBytesPerSec
	for !s.scrubEnds() && f.Turn().Now() < p.dueNs {
		s.scrubPause(f, p.dueNs-f.Turn().Now())
	}
}

// scrubFound counts a finding and lists it.
func (s *Store) scrubFound(t *engine.Turn, q Quarantined) {
	s.scrub.st.Findings++
	s.scrub.st.FoundTotal++
	s.quarantine(t, q)
}

// scrubPass makes one pass and tells whether it was a whole one.
func (s *Store) scrubPass(f *engine.Fiber) bool {
	p := &s.scrub
	p.blind = false
	settled := s.scrubSettle(f)
	total := s.alloc.SpaceBlocks()
	p.st.BytesOf = (total - min(total, s.freeBlocks()+s.limbo.blocks)) * format.BlockBytes
	again := false
	for p.next = p.next[:0]; ; {
		if s.scrubEnds() {
			return false
		}
		w := stretch{s: s, f: f, again: again, budget: max(uint64(s.opt.ScrubBytesPerSec/8), scrubLeastBytes)}
		done, err := w.run()
		s.scrubbed(f, w.read)
		switch {
		case err == errAgain:
			again = true
			continue
		case err != nil: // no memory
			s.scrubPause(f, scrubBusyNs)
			continue
		}
		again = false
		p.next = append(p.next[:0], w.next...)
		if done {
			break
		}
	}
	if !s.scrubFixed(f) {
		return false
	}
	if settled && !p.blind { // what this pass has not met again has been mended by itself
		s.heal(f.Turn(), func(q *Quarantined) bool { return q.pass < p.pass })
	}
	return true
}

// scrubSettle brings what is applied into the tree, and tells whether all of it is there. It waits like everybody who is in no hurry: the
// checkpoint keeps to its share of the bandwidth.
func (s *Store) scrubSettle(f *engine.Fiber) bool {
	if s.opt.ReadOnly || s.active.empty() && s.frozen == nil {
		return !s.opt.ReadOnly
	}
	for goal := s.check.started + 1; s.check.ended < goal; {
		if s.failed != nil || s.check.done || s.scrubEnds() {
			return false
		}
		s.wantCheckpoint(f.Turn())
		s.waitSlot.Wait(f)
	}
	return true
}

var (
	errAgain   = errors.New("storage: the stretch must be scrubbed once more")
	errStretch = errors.New("storage: end of a stretch")
)

// stretch is one walk over a part of the durable tree.
type stretch struct {
	s      *Store
	f      *engine.Fiber
	again  bool // it is walked for the second time
	budget uint64
	read   uint64
	mem    []byte
	path   uint64 // of read: until the first entry, what each stretch must read once more
	next   []byte // the first key that was not visited
	lost   []byte // the first key behind what could not be read, if no entry was visited since
	first  bool   // an entry was visited
	objs   uint64
	nodes  []Quarantined
	blocks []objectCut
}

// run walks, and sees to what was found. That was in a tree which may be history by now: data blocks are looked at again in the state of this
// moment. Nodes are not: no checkpoint can have replaced one that it could not read.
func (w *stretch) run() (done bool, err error) {
	s := w.s
	buf, err := s.arena.Get(scrubReadBytes)
	if err != nil {
		return false, err
	}
	w.mem = s.arena.Bytes(buf)
	pin := s.limbo.pin(s.super.Epoch)
	err = s.tree.Walk(w.f, s.super.Tree, btree.Visitor{
		From: s.scrub.next, Node: w.node, Value: w.value, Entry: w.entry, Bad: w.bad, Lost: w.passed, Budget: func(f *engine.Fiber) error { f.Yield(); return nil },
	})
	s.arena.Put(buf)
	done = err == nil
	if done || err == errStretch {
		for _, q := range w.nodes { // while they are held: what a checkpoint has done away with meanwhile leaves the list when it is free
			s.scrubFound(w.f.Turn(), q)
		}
	}
	s.unpin(w.f.Turn(), pin)
	if err != nil && err != errStretch {
		return false, err
	}
	for _, b := range w.blocks {
		n := uint64(s.examine(w.f, b.coll, b.object, b.lo, b.hi))
		s.scrub.st.Findings += n
		s.scrub.st.FoundTotal += n
	}
	s.scrub.st.Objects += w.objs
	return done, nil
}

func (w *stretch) node(e Extent, _ format.ChildPtr, _ int) error {
	w.read += uint64(e.Bytes())
	w.s.wellRead(w.f.Turn(), e)
	return nil
}

func (w *stretch) value(_ []byte, v format.ValueExtent) error {
	w.read += uint64(v.Extent().Bytes()) // one that cannot be read comes here too: nothing is known of it but that the node names it
	return nil
}

// bad notes a node, or a value, that cannot be read. What fails once may have been hurt on its way: it counts when the stretch, walked once
// more, meets it again.
func (w *stretch) bad(ptr format.ChildPtr, _ int, err error) error {
	switch {
	case !isDamage(err):
		return err
	case !w.again:
		return errAgain
	case len(w.lost) > 0 && w.over():
		w.next = append(w.next[:0], w.lost...)
		return errStretch
	}
	w.s.scrub.blind = true
	w.read += uint64(w.s.super.NodeBytes) // the device was asked for it
	w.nodes = append(w.nodes, Quarantined{What: WhatTree, At: damagedAt(err), Err: fmt.Errorf("%v: %w", ptr, err)})
	return nil
}

// passed notes where a stretch could go on behind what cannot be read: on a dying device there may be nothing else for long.
func (w *stretch) passed(_, hi []byte, _ error) { w.lost = append(w.lost[:0], hi...) }

// over tells whether the stretch has read enough.
func (w *stretch) over() bool { return w.read-w.path >= w.budget || w.s.scrubEnds() }

// entry verifies the blocks that an extent names.
func (w *stretch) entry(key, val []byte, out bool) error {
	if w.first && w.over() {
		w.next = append(w.next[:0], key...)
		return errStretch
	}
	if w.lost = w.lost[:0]; !w.first {
		w.first, w.path = true, w.read
	}
	k, err := format.DecodeKey(w.s.place("key"), key)
	switch {
	case err != nil:
		return nil // the node is as it was written
	case k.Kind == format.KindOnode:
		w.objs++
	case k.Kind == format.KindExtent && !out:
		w.extent(&entry{key: key, val: val}, &k)
	}
	return nil
}

func (w *stretch) extent(e *entry, k *format.Key) {
	p, err := w.s.piece(e)
	if err != nil {
		return
	}
	at := p.rec.Extent()
	mem := w.mem[:at.Bytes()]
	w.read += uint64(at.Bytes())
	err = w.s.dev.Read(w.f, mem, at.Offset())
	for i := 0; err == nil && i < int(p.rec.Len); i++ {
		if got := format.Crc(mem[i*format.BlockBytes : (i+1)*format.BlockBytes]); got != p.rec.Crc(i) {
			err = format.CorruptCrc(format.Place{Device: w.s.name, Extent: at}, "data block", p.rec.Crc(i), got)
		}
	}
	if err == nil {
		w.s.wellRead(w.f.Turn(), at)
		return
	}
	w.blocks = append(w.blocks, objectCut{coll: Coll(k.Coll), object: bytes.Clone(k.Rest), lo: p.off, hi: p.end()})
}
