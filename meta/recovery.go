package meta

import (
	"bytes"

	"basalt/engine"
	"basalt/meta/record"
	"basalt/storage"
)

// Recovery. A server that restarts finds the sessions of its last life in the store. What it had answered but not committed is lost here and kept by
// the clients; so before anything else is served
//
//	stageGather   every known session comes back, says what it has open, and sends what was answered above the last commit (REPLAY) and then
//	              REPLAYDONE; one that is not back after a lease is given up
//	stageReplay   what was sent is played again, in the order of the original transaction numbers, with the inode numbers of the first time;
//	              what had survived is recognised by its remembered answer. What no longer applies is left out
//	stageCommit   all of it survives power loss; the window is closed durably
//	stageCollect  inodes without names that nobody said to have open go to the reaper; sessions that did not come back are ended
//
// The numbers that clients compare with are those of the life before the first restart: Recovery.Base keeps the boundary until the window is
// closed, however often the server restarts in between.

// replay is a request of the last life.
type replay struct {
	sess  *Session
	txn   uint64
	reqid uint64
	body  []byte // copied: netio takes its memory back
	data  []byte
}

type recovery struct {
	base     storage.Seq // what was committed when the window opened first
	over     engine.WaitList
	deadline int64
}

// startRecovery opens the window if there are sessions to wait for.
func (s *Shard) startRecovery(f *engine.Fiber) error {
	s.recovery.base = s.store.Applied()
	if err := s.knownSessions(f); err != nil {
		return err
	}
	if len(s.table.list) == 0 {
		if err := s.reserveAll(f); err != nil {
			return err
		}
		return s.findOrphans(f)
	}
	if err := s.openWindow(f); err != nil {
		return err
	}
	if err := s.reserveAll(f); err != nil {
		return err
	}
	s.recovering = true
	s.recovery.deadline = f.Turn().Now() + s.opt.LeaseNs
	return f.Turn().Go("recovery", s.recover)
}

// knownSessions loads the sessions of the last life.
func (s *Shard) knownSessions(f *engine.Fiber) error {
	type known struct {
		id    uint64
		value record.Session
	}
	var found []known
	var bad error
	o := s.own(func(o *operation) error {
		found, bad = found[:0], nil
		lo, hi := []byte{byte(record.KindSession)}, []byte{byte(record.KindSession) + 1}
		err := o.scan(record.ShardGroup, lo, hi, 0, func(key, val []byte) bool {
			var k known
			if k.id, bad = record.DecodeSessionKey(key); bad == nil {
				bad = k.value.Decode(val)
			}
			k.value.Client = bytes.Clone(k.value.Client)
			found = append(found, k)
			return bad == nil
		})
		if err == nil {
			err = bad
		}
		return err
	})
	err := o.view(f)
	s.give(o)
	for i := range found {
		sess := s.table.add(found[i].id, found[i].value.Mount, found[i].value.Client)
		sess.known = true
		sess.downNs = f.Turn().Now()
	}
	return err
}

// openWindow makes the boundary durable, or finds the one of an earlier restart.
func (s *Shard) openWindow(f *engine.Fiber) error {
	var r record.Recovery
	o := s.own(func(o *operation) error {
		r.Base = uint64(s.recovery.base)
		val, err := o.get(record.ShardGroup, record.AppendRecoveryKey(o.key[:0]))
		if err == nil {
			return r.Decode(val)
		}
		if err == record.NotFound {
			o.put(record.ShardGroup, record.AppendRecoveryKey(o.key[:0]), r.Append(nil))
			o.essential()
			return nil
		}
		return err
	})
	seq, err := o.update(f)
	s.give(o)
	if err != nil {
		return err
	}
	s.recovery.base = storage.Seq(r.Base)
	return s.store.Commit(f, seq)
}

// recover runs the window, in its own fiber.
func (s *Shard) recover(f *engine.Fiber) {
	s.gather(f)
	if !s.stopping {
		s.replayAll(f)
	}
	if s.stopping || s.closeWindow(f) != nil {
		s.recovering = false // the store no longer writes: the next start opens the window again
		s.stopping = true
		s.recovery.over.WakeAll(f.Turn())
		return
	}
	absent := []*Session{}
	for _, sess := range s.table.list {
		sess.replays, sess.replayed, sess.asserted = nil, 0, nil
		if sess.known && !sess.done {
			absent = append(absent, sess)
		}
	}
	for _, sess := range absent {
		if sess.conn != nil {
			sess.conn.Close(f.Turn())
		}
		s.stats.Expired++
		s.end(f, sess)
	}
	s.recovering = false
	if s.findOrphans(f) != nil {
		s.stats.ReapFailed++ // the next start looks again
	}
	s.recovery.over.WakeAll(f.Turn())
}

// gather waits until all known sessions have said all. One that is connected gets a second lease: it is talking.
func (s *Shard) gather(f *engine.Fiber) {
	for !s.stopping {
		now := f.Turn().Now()
		wait := int64(0)
		for _, sess := range s.table.list {
			if !sess.known || sess.done {
				continue
			}
			left := s.recovery.deadline - now
			if sess.conn != nil {
				left += s.opt.LeaseNs
			}
			wait = max(wait, left)
		}
		if wait <= 0 {
			return
		}
		s.table.changed.WaitFor(f, wait)
	}
}

func (s *Shard) replayAll(f *engine.Fiber) {
	for _, r := range sortedByTxn(s.table.list) {
		if s.stopping {
			return
		}
		switch err := s.replayOne(f, r); err {
		case nil:
			s.stats.Replayed++
		case errAnswered:
			s.stats.ReplaySkip++
		default:
			s.stats.ReplayFail++
		}
	}
}

func (s *Shard) replayOne(f *engine.Fiber, r *replay) error {
	o := s.own(nil)
	defer s.give(o)
	if err := o.q.Decode(r.body); err != nil {
		return err
	}
	o.sess, o.reqid, o.replay, o.data, o.nowNs = r.sess, r.reqid, true, r.data, o.q.NowNs
	if o.decide = updates[o.q.Op]; o.q.Op == record.OpOpen {
		o.decide = (*operation).openInode
	}
	if !o.q.Mutates() {
		return errAnswered // there is nothing to do again
	}
	_, err := o.update(f)
	return err
}

// closeWindow commits what was replayed and forgets the boundary.
func (s *Shard) closeWindow(f *engine.Fiber) error {
	o := s.own(func(o *operation) error {
		o.del(record.ShardGroup, record.AppendRecoveryKey(o.key[:0]))
		return nil
	})
	seq, err := o.update(f)
	s.give(o)
	if err != nil {
		return err
	}
	return s.store.Commit(f, seq)
}

// closed waits until the window is closed.
func (s *Shard) closed(f *engine.Fiber) {
	for s.recovering {
		s.recovery.over.Wait(f)
	}
}

// wait holds a request back while the window is open, but for what belongs to it.
func (s *Shard) wait(f *engine.Fiber, q *record.Request) {
	if q.Op == record.OpOpen && q.Flags&record.FlagReassert != 0 || q.Op == record.OpLeave {
		return
	}
	s.closed(f)
}

// keep buffers a request to be replayed.
func (s *Shard) keep(sess *Session, txn, reqid uint64, body, data []byte) record.Status {
	if !s.recovering || sess.done {
		return record.Stale
	}
	size := len(body) + len(data) + record.ReplayHead // many small ones cost memory too
	if sess.replayed+size > s.opt.ReplayBytes {
		return record.TooBig
	}
	var q record.Request
	if err := q.Decode(body); err != nil || reqid == 0 {
		return record.Invalid
	}
	if !q.Mutates() { // a question whether the window still takes replays
		return record.OK
	}
	r := replay{txn: txn, reqid: reqid, body: bytes.Clone(body), data: bytes.Clone(data)}
	sess.replayed += size
	sess.replays = append(sess.replays, r)
	return record.OK
}
