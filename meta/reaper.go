package meta

import (
	"errors"

	"basalt/engine"
	"basalt/meta/record"
	"basalt/storage"
)

// The reaper ends inodes that have no name and are open no more: their objects go in bounded steps, in the background, the last ones first. The
// ORPH record keeps the work over restarts. One fiber at a time, and only while there is work.

// reapPauseNs is how long the reaper waits when the store refuses.
const reapPauseNs = 1e9

// reap queues an inode. While the replay window is open nothing is reaped: its opens may still be said again.
func (s *Shard) reap(t *engine.Turn, ino record.Ino) {
	s.dying = append(s.dying, ino)
	s.startReaper(t)
}

func (s *Shard) startReaper(t *engine.Turn) {
	if s.reaping || s.stopping || s.recovering || len(s.dying) == 0 {
		return
	}
	s.reaping = true
	if t.Go("reaper", s.reapAll) != nil {
		s.reaping = false // no fiber free: the next orphan tries again
	}
}

func (s *Shard) reapAll(f *engine.Fiber) {
	for len(s.dying) > 0 && !s.stopping {
		ino := s.dying[0]
		switch err := s.reapOne(f, ino); {
		case err == nil:
			s.stats.Reaped++
		case err == record.NotFound: // open again, or done
		case errors.Is(err, storage.ErrReadOnly), errors.Is(err, storage.ErrClosed):
			s.stats.ReapFailed++
			s.reaping = false
			s.reaped.WakeAll(f.Turn())
			return // the next mount finds them
		default: // one that can't be read must not keep the others from their end
			s.stats.ReapFailed++
			s.dying = append(s.dying, ino)
			s.reaped.WakeAll(f.Turn())
			f.Sleep(reapPauseNs)
		}
		s.dying = s.dying[1:]
		s.reaped.WakeAll(f.Turn())
	}
	s.reaping = false
	s.reaped.WakeAll(f.Turn())
}

// awaitReaper waits until the reaper has freed something; false: it does not.
func (s *Shard) awaitReaper(f *engine.Fiber) bool {
	reaped, failed := s.stats.Reaped, s.stats.ReapFailed
	for s.reaping && !s.stopping && s.stats.Reaped == reaped && s.stats.ReapFailed == failed {
		s.reaped.Wait(f)
	}
	return s.stats.Reaped > reaped
}

// reapOne ends one inode; record.NotFound: there is nothing to do.
func (s *Shard) reapOne(f *engine.Fiber, ino record.Ino) error {
	o := s.own((*operation).reapStep)
	o.q.Ino = ino
	_, err := o.update(f)
	s.give(o)
	return err
}

// reapStep is one step: some objects, or with the last ones the inode.
func (o *operation) reapStep() error {
	i, err := o.inode(o.q.Ino)
	if err != nil {
		return err
	}
	if i.Flags&record.AttrOrphan == 0 || o.s.opens.total(i.Ino) > 0 {
		return record.NotFound
	}
	o.tx.MakesRoom()
	if i.Stripes <= o.stripesAtOnce(unlinkStripesMax) {
		return o.erase(i)
	}
	if _, err := o.cut(i, 0, o.stripesAtOnce(unlinkStripesMax)); err != nil {
		return err
	}
	i.dirty = true
	v := record.Orphan{Stripes: i.Stripes}
	o.put(i.Ino.Group(), record.AppendInoKey(o.key[:0], record.KindOrphan, i.Ino), v.Append(o.scratch[:0]))
	o.again = true
	return nil
}

// findOrphans queues all inodes without names of the shard: at start, when the mounts have said what they have open.
func (s *Shard) findOrphans(f *engine.Fiber) error {
	for group := range s.fs.Groups {
		for from := record.MakeIno(uint16(group), 0); ; {
			found, next, err := s.orphansFrom(f, uint16(group), from)
			if err != nil {
				return err
			}
			for _, ino := range found {
				if s.opens.total(ino) > 0 {
					s.opens.mark(ino, true)
				} else {
					s.dying = append(s.dying, ino)
				}
			}
			if next == 0 {
				break
			}
			from = next
		}
	}
	s.startReaper(f.Turn())
	return nil
}

// orphansFrom lists some orphans of a group; next is where to go on, 0 at the end.
func (s *Shard) orphansFrom(f *engine.Fiber, group uint16, from record.Ino) (found []record.Ino, next record.Ino, err error) {
	var bad error
	o := s.own(func(o *operation) error {
		found, bad = found[:0], nil
		lo := record.AppendInoKey(o.key[:0], record.KindOrphan, from)
		hi := append(o.end[:0], byte(record.KindOrphan)+1)
		err := o.scan(group, lo, hi, pageEntriesMax, func(key, _ []byte) bool {
			ino, err := record.DecodeInoKey(key, record.KindOrphan)
			if err != nil {
				bad = err
				return false
			}
			found = append(found, ino)
			return true
		})
		if err == nil {
			err = bad
		}
		return err
	})
	err = o.view(f)
	s.give(o)
	if err == nil && len(found) == pageEntriesMax {
		next = found[len(found)-1] + 1
	}
	return found, next, err
}
