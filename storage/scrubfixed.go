package storage

import (
	"fmt"

	"basalt/engine"
	"basalt/storage/format"
)

// scrubFixed looks at what stands at fixed places: the copies of the label and of the superblocks, and the space map. What a checkpoint writes is
// written anew at once: two of them write both slots and both maps. A label copy waits for a repair. false: the pass ends.
func (s *Store) scrubFixed(f *engine.Fiber) bool {
	bad, ok := s.fixedDamage(f)
	own := false
	for _, q := range bad {
		s.scrubFound(f.Turn(), q)
		own = own || q.What != WhatLabel
	}
	if !ok || !own || s.opt.ReadOnly {
		return ok
	}
	for range 2 {
		if err := s.Checkpoint(f); err != nil {
			return !s.scrubEnds()
		}
	}
	again, ok := s.fixedDamage(f)
	for _, q := range again {
		s.quarantine(f.Turn(), q)
	}
	return ok
}

// fixedDamage reads them all and takes out of the list what is well; ok: the pass goes on.
func (s *Store) fixedDamage(f *engine.Fiber) (bad []Quarantined, ok bool) {
	buf, err := s.arena.Get(scrubReadBytes)
	for ; err != nil; buf, err = s.arena.Get(scrubReadBytes) {
		if s.scrubEnds() {
			return nil, false
		}
		s.scrubPause(f, scrubBusyNs)
	}
	defer s.arena.Put(buf)
	mem := s.arena.Bytes(buf)
	note := func(what string, at Extent, look func() error) {
		err := look()
		if err != nil && isDamage(err) { // what fails once may have been hurt on its way
			err = look()
		}
		switch {
		case err == nil:
			s.wellRead(f.Turn(), at)
		case isDamage(err):
			bad = append(bad, Quarantined{What: what, At: at, Err: err})
		default: // it could not be looked at
			s.scrub.blind = true
		}
	}
	for _, at := range s.labels {
		if s.super.Slice != 0 {
			break // one slice looks at the device's own
		}
		note(WhatLabel, at, func() error {
			err := s.dev.Read(f, mem[:format.LabelBytes], at.Offset())
			if err == nil {
				_, err = format.DecodeLabel(format.Place{Device: s.name, Extent: at}, mem)
			}
			return err
		})
	}
	for slot := range s.supers {
		for _, no := range s.supers[slot] {
			at := Extent{Start: no, Len: 1}
			note(WhatSuper, at, func() error { return s.superDamage(f, slot, at, mem) })
		}
	}
	if m := s.super.Map; m.Region != format.MapNone {
		note(WhatMap, s.super.SpaceMap[m.Region], func() error { return s.mapDamage(f, mem) })
	}
	return bad, !s.scrubEnds()
}

// superDamage looks at a copy of a superblock, unless a checkpoint may be writing that slot, or has written it meanwhile: errAgain.
func (s *Store) superDamage(f *engine.Fiber, slot int, at Extent, mem []byte) error {
	epoch := s.super.Epoch
	want := epoch
	if int(epoch&1) != slot {
		want--
		if s.opt.ReadOnly { // a crash may have left it half written
			want = 0
		}
	}
	busy := func() bool { return s.super.Epoch != epoch || want != epoch && s.check.stage == stageSuper }
	if want == 0 || busy() {
		return errAgain
	}
	sb, err := readSuper(f, s.dev, format.Place{Device: s.name, Extent: at}, mem[:format.SuperBytes])
	if err == nil && sb.Epoch != want {
		err = &format.CorruptError{Place: format.Place{Device: s.name, Extent: at}, What: "superblock epoch", Want: fmt.Sprint(want), Got: fmt.Sprint(sb.Epoch)}
	}
	if busy() {
		return errAgain
	}
	return err
}

// mapDamage sums the space map that is in force, unless a checkpoint puts another one in force meanwhile.
func (s *Store) mapDamage(f *engine.Fiber, mem []byte) error {
	m, epoch := s.super.Map, s.super.Epoch
	at := s.super.SpaceMap[m.Region]
	end := int64(format.BlocksFor(int64(m.Bytes))) * format.BlockBytes
	var head [format.SpaceMapHeaderBytes - 4]byte // what the crc covers of the header, after the payload
	crc := uint32(0)
	for off := int64(0); off < end; {
		n := min(int64(len(mem)), end-off)
		if err := s.dev.Read(f, mem[:n:n], at.Offset()+off); err != nil {
			return err
		}
		part := mem[:min(n, int64(m.Bytes)-off)]
		if off == 0 {
			copy(head[:], part)
			part = part[format.SpaceMapHeaderBytes:]
		}
		crc = format.CrcAdd(crc, part)
		off += n
		s.scrubbed(f, uint64(n))
	}
	switch got := format.CrcAdd(crc, head[:]); {
	case got == m.Crc:
		return nil
	case s.super.Epoch != epoch:
		return errAgain
	default:
		return format.CorruptCrc(format.Place{Device: s.name, Extent: at}, "space map", m.Crc, got)
	}
}
