package meta

import (
	"slices"

	"basalt/engine"
	"basalt/meta/record"
	"basalt/netio"
)

// grant is the right to cache. A mount that is alone may have it; before a second mount is let in, the first has dropped its caches, or was
// out of touch for a lease, after which it has stopped to use them by itself. With two mounts nobody caches. What is cached belongs to the mount:
// one of its sessions answers for all.
type grant struct {
	holder    *mount // nil: nobody
	number    uint64 // of this grant: an answer to an older recall means nothing
	recalling bool
	answered  bool // the holder has dropped its caches
}

// mayCache is asked by a session that attaches; it may suspend while another mount drops its caches.
func (s *Shard) mayCache(f *engine.Fiber, sess *Session, want bool) bool {
	g := &s.grant
	for g.holder != nil && g.holder != sess.mount {
		if g.recalling {
			s.table.changed.Wait(f)
			continue
		}
		s.takeGrant(f)
	}
	switch {
	case sess.ended:
		return false
	case g.holder == sess.mount && g.recalling:
		// It comes back in the middle of a recall that it has missed: it still has the grant, and will be asked again.
		f.Turn().After(0, &recallAgain{s: s, sess: sess})
		return true
	case g.holder == sess.mount:
		return want
	case !want || len(s.table.mounts) > 1:
		return false
	}
	g.holder = sess.mount
	g.number++
	return true
}

// takeGrant recalls the grant and returns when no cache of the holder can be in use any more.
func (s *Shard) takeGrant(f *engine.Fiber) {
	g := &s.grant
	m := g.holder
	g.recalling, g.answered = true, false
	s.stats.Recalls++
	for _, sess := range s.table.list {
		if sess.mount == m {
			s.sendRecall(f.Turn(), sess)
		}
	}
	deadline := f.Turn().Now() + s.opt.RecallNs
	for !s.stopping && !g.answered && m.sessions > 0 {
		if now := f.Turn().Now(); now < deadline {
			s.table.changed.WaitFor(f, deadline-now)
			continue
		}
		s.endMount(f, m) // it had its lease; what it still caches it may no longer use, and losing its sessions tells it so
	}
	g.holder, g.recalling = nil, false
	s.table.changed.WakeAll(f.Turn())
}

// endMount ends all sessions of a mount.
func (s *Shard) endMount(f *engine.Fiber, m *mount) {
	for _, sess := range slices.Clone(s.table.list) {
		if sess.mount != m {
			continue
		}
		if sess.conn != nil {
			sess.conn.Close(f.Turn())
		}
		s.stats.Expired++
		s.end(f, sess)
	}
}

func (s *Shard) sendRecall(t *engine.Turn, sess *Session) {
	number := s.grant.number
	switch {
	case sess.local && sess.recall == nil:
		s.recalled(t, sess, number)
	case sess.local:
		err := t.Go("recall", func(f *engine.Fiber) {
			sess.recall(f)
			s.recalled(f.Turn(), sess, number)
		})
		if err != nil {
			t.After(reapPauseNs, &recallAgain{s: s, sess: sess})
		}
	case sess.conn != nil:
		r := record.Recall{Grant: number}
		var body [8]byte
		_ = sess.conn.Notify(t, netio.KindRecall, r.Append(body[:0])) // one that is not there answers when it comes back, or by staying away
	}
}

// recallAgain asks a session that could not be asked.
type recallAgain struct {
	s    *Shard
	sess *Session
}

// Fire asks, if the recall is still going on.
func (r *recallAgain) Fire(t *engine.Turn) {
	if r.s.grant.recalling && !r.s.grant.answered && r.s.grant.holder == r.sess.mount && !r.sess.ended {
		r.s.sendRecall(t, r.sess)
	}
}

// recalled notes that a mount has dropped its caches.
func (s *Shard) recalled(t *engine.Turn, sess *Session, number uint64) {
	if g := &s.grant; g.recalling && number == g.number && sess.mount == g.holder {
		g.answered = true
		s.table.changed.WakeAll(t)
	}
}
