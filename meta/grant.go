package meta

import (
	"basalt/engine"
	"basalt/meta/record"
	"basalt/netio"
)

// grant is the right to cache. A mount that is alone may have it; before a second mount is let in, the first has dropped its caches, or was
// out of touch for a lease, after which it has stopped to use them by itself. With two mounts nobody caches.
type grant struct {
	holder    *mount // nil: nobody
	number    uint64 // of this grant: an answer to an older recall means nothing
	recalling bool
}

// mayCache is asked by a session that attaches; it may suspend while another mount drops its caches.
func (s *Shard) mayCache(f *engine.Fiber, sess *Session, want bool) bool {
	g := &s.grant
	for g.holder != nil && g.holder != sess.mount || g.recalling {
		if g.recalling {
			s.table.changed.Wait(f)
			continue
		}
		g.recalling = true
		s.takeGrant(f)
		g.holder, g.recalling = nil, false
		s.table.changed.WakeAll(f.Turn())
	}
	if sess.ended || !want || len(s.table.mounts) > 1 {
		return g.holder == sess.mount && want && !sess.ended
	}
	if g.holder == nil {
		g.holder = sess.mount
		g.number++
	}
	return true
}

// takeGrant recalls the grant and returns when no cache of the holder can be in use any more.
func (s *Shard) takeGrant(f *engine.Fiber) {
	m := s.grant.holder
	s.stats.Recalls++
	for _, sess := range s.table.list {
		if sess.mount == m {
			s.sendRecall(f.Turn(), sess)
		}
	}
	deadline := f.Turn().Now() + s.opt.RecallNs
	for !s.stopping {
		waiting := s.firstHolding(m)
		if waiting == nil {
			return
		}
		now := f.Turn().Now()
		if now < deadline {
			s.table.changed.WaitFor(f, deadline-now)
			continue
		}
		// It had its lease. What it still caches it may no longer use; so that it learns of it, its session is over.
		if waiting.conn != nil {
			waiting.conn.Close(f.Turn())
		}
		s.stats.Expired++
		s.end(f, waiting)
	}
}

// firstHolding finds a session of the mount that has not answered the recall. One without a connection answers by staying away for a lease,
// when it expires and is gone from the list.
func (s *Shard) firstHolding(m *mount) *Session {
	for _, sess := range s.table.list {
		if sess.mount == m && !sess.recalled && !sess.ended {
			return sess
		}
	}
	return nil
}

func (s *Shard) sendRecall(t *engine.Turn, sess *Session) {
	sess.recalled = false
	number := s.grant.number
	switch {
	case sess.local && sess.recall == nil:
		sess.recalled = true
	case sess.local:
		err := t.Go("recall", func(f *engine.Fiber) {
			sess.recall(f)
			s.recalled(f.Turn(), sess, number)
		})
		if err != nil {
			sess.recalled = false // it will run into the deadline
		}
	case sess.conn != nil:
		r := record.Recall{Grant: number}
		var body [8]byte
		_ = sess.conn.Notify(t, netio.KindRecall, r.Append(body[:0])) // down now: it will expire
	}
}

// recalled notes that a session has dropped its caches.
func (s *Shard) recalled(t *engine.Turn, sess *Session, number uint64) {
	if number == s.grant.number && s.grant.recalling {
		sess.recalled = true
		s.table.changed.WakeAll(t)
	}
}
