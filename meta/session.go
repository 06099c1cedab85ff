package meta

import (
	"bytes"
	"cmp"
	"slices"

	"basalt/engine"
	"basalt/meta/record"
	"basalt/netio"
)

// Session is one connection's worth of a mount, and outlives the connection by one lease. Owned by the shard.
type Session struct {
	id     uint64 // key of the durable records: a hash of the mount and of what the client calls its session
	mount  *mount
	client string

	conn     *netio.Conn              // nil: down, or in this process
	recall   func(f *engine.Fiber)    // in this process: drops the caches, returns when they are gone
	volatile [record.IdemSlots]uint64 // requests that counted opens: id by slot, so that a repetition does not count again
	asserted []openCount              // opens said again during the replay window
	replays  []replay                 // requests of the last life, in the order they came
	replayed int                      // bytes of them
	fresh    bool                     // nothing has come from it yet: it may not have heard that it is new
	done     bool                     // it has said all: REPLAYDONE
	known    bool                     // durable since an earlier life of the server
	local    bool                     // in this process
	ended    bool                     // gone for good
	ending   bool                     // being ended
	downNs   int64                    // when the connection was lost, monotonic
	downs    uint64                   // how often: an expiry timer of an earlier time is stale
}

// mount is one client machine's mount of the file system: its sessions share opens and the grant.
type mount struct {
	number   uint64 // order of arrival; key of the open table
	id       [16]byte
	sessions int
	opens    int // inodes
	handles  []*dirHandle
}

// sessionTable knows all sessions and mounts. The maps are only looked up in; list is in the order of arrival.
type sessionTable struct {
	byID    map[uint64]*Session
	mounts  map[[16]byte]*mount
	list    []*Session
	last    uint64          // number of the last mount
	changed engine.WaitList // a session came, went, finished its replays or answered a recall
}

func newSessionTable() sessionTable {
	return sessionTable{byID: map[uint64]*Session{}, mounts: map[[16]byte]*mount{}}
}

// sessionID makes the key of a session's records.
func sessionID(mountID *[16]byte, session uint64) uint64 { return record.Hash(session, mountID[:]) }

func (t *sessionTable) add(id uint64, mountID [16]byte, client []byte) *Session {
	m := t.mounts[mountID]
	if m == nil {
		t.last++
		m = &mount{number: t.last, id: mountID}
		t.mounts[mountID] = m
	}
	m.sessions++
	sess := &Session{id: id, mount: m, client: string(bytes.ToValidUTF8(client, []byte("?")))}
	t.byID[id] = sess
	t.list = append(t.list, sess)
	return sess
}

// remove forgets a session; last tells that its mount went with it.
func (t *sessionTable) remove(sess *Session) (last bool) {
	delete(t.byID, sess.id)
	t.list = slices.DeleteFunc(t.list, func(s *Session) bool { return s == sess })
	sess.ended = true
	if sess.mount.sessions--; sess.mount.sessions > 0 {
		return false
	}
	delete(t.mounts, sess.mount.id)
	return true
}

// first tells whether this request is seen for the first time since the server started, and remembers it.
func (s *Session) first(reqid uint64) bool {
	if reqid == 0 {
		return true
	}
	slot := &s.volatile[reqid%record.IdemSlots]
	if *slot == reqid {
		return false
	}
	*slot = reqid
	return true
}

// forget undoes first.
func (s *Session) forget(reqid uint64) {
	if slot := &s.volatile[reqid%record.IdemSlots]; *slot == reqid {
		*slot = 0
	}
}

// save makes a session durable: from now on a restarted server waits for it.
func (s *Shard) save(f *engine.Fiber, sess *Session) error {
	o := s.own(func(o *operation) error {
		v := record.Session{Mount: sess.mount.id, Attached: f.Turn().Wall(), Client: []byte(sess.client)}
		o.put(record.ShardGroup, record.AppendSessionKey(o.key[:0], sess.id), v.Append(nil))
		o.essential()
		return nil
	})
	seq, err := o.update(f)
	s.give(o)
	if err == nil {
		err = s.store.Commit(f, seq)
	}
	return err
}

// end forgets a session: durable records first, so that one that comes back meanwhile starts anew. With the last session of a mount go its opens,
// directory handles and its grant.
func (s *Shard) end(f *engine.Fiber, sess *Session) {
	if sess.ending || sess.ended {
		return
	}
	sess.ending = true
	if !sess.local {
		s.unsave(f, sess)
	}
	t := f.Turn()
	if s.table.remove(sess) {
		s.dropMount(t, sess.mount)
	}
	s.table.changed.WakeAll(t)
}

func (s *Shard) dropMount(t *engine.Turn, m *mount) {
	s.opens.drop(m, func(ino record.Ino) { s.dying = append(s.dying, ino) })
	s.startReaper(t)
	for len(m.handles) > 0 {
		s.closeHandle(t, m.handles[len(m.handles)-1])
	}
	if s.grant.holder == m && !s.grant.recalling {
		s.grant.holder = nil
	}
}

// unsave deletes the durable records. Failing that, the next start waits for the session once more.
func (s *Shard) unsave(f *engine.Fiber, sess *Session) {
	o := s.own(func(o *operation) error {
		o.del(record.ShardGroup, record.AppendSessionKey(o.key[:0], sess.id))
		o.delRange(record.ShardGroup, record.AppendIdemKey(o.key[:0], sess.id, 0), record.AppendIdemEnd(o.end[:0], sess.id))
		return nil
	})
	if _, err := o.update(f); err != nil {
		s.stats.Failed[statusOf(err)]++
	}
	s.give(o)
}

// expiry ends a session that stayed away for a lease.
type expiry struct {
	s     *Shard
	sess  *Session
	downs uint64
}

// Fire ends the session, unless it came back.
func (e *expiry) Fire(t *engine.Turn) {
	sess := e.sess
	if sess.conn != nil || sess.downs != e.downs || sess.ended || sess.ending || e.s.stopping {
		return
	}
	if e.s.recovering || e.s.alive(sess.mount) || t.Go("expire", func(f *engine.Fiber) { e.s.expire(f, sess, e.downs) }) != nil {
		t.After(e.s.opt.LeaseNs/4, e)
	}
}

// alive tells whether a mount has a connection. As long as it has, none of its sessions expires: they share what is open, and one that came back
// as a stranger would say again what is still counted.
func (s *Shard) alive(m *mount) bool {
	return slices.ContainsFunc(s.table.list, func(sess *Session) bool { return sess.mount == m && (sess.conn != nil || sess.local) })
}

func (s *Shard) expire(f *engine.Fiber, sess *Session, downs uint64) {
	if sess.conn == nil && sess.downs == downs && !sess.ended {
		s.stats.Expired++
		s.end(f, sess)
	}
}

// down notes that a session has no connection.
func (s *Shard) down(t *engine.Turn, sess *Session) {
	sess.conn = nil
	sess.downNs = t.Now()
	sess.downs++
	t.After(s.opt.LeaseNs, &expiry{s: s, sess: sess, downs: sess.downs})
	s.table.changed.WakeAll(t)
}

// Local opens a session of a mount in this process: nothing about it is durable, and its requests are not remembered. recall is called, in a fiber
// of the shard, when another mount attaches: it drops what the kernel caches and returns when that is done; it may suspend. cache tells whether the
// mount may cache until then.
func (s *Shard) Local(f *engine.Fiber, mountID [16]byte, wantCache bool, recall func(f *engine.Fiber)) (sess *Session, cache bool, err error) {
	s.closed(f)
	if len(s.table.list) >= s.opt.SessionsMax {
		return nil, false, record.Busy
	}
	n := uint64(len(s.table.list))
	for s.table.byID[sessionID(&mountID, n)] != nil {
		n++
	}
	sess = s.table.add(sessionID(&mountID, n), mountID, []byte("local"))
	sess.local, sess.recall = true, recall
	return sess, s.mayCache(f, sess, wantCache), nil
}

// Leave ends a session of this process.
func (s *Shard) Leave(f *engine.Fiber, sess *Session) { s.end(f, sess) }

// sortedByTxn orders what several sessions have to replay.
func sortedByTxn(list []*Session) []*replay {
	var all []*replay
	for _, sess := range list {
		for i := range sess.replays {
			sess.replays[i].sess = sess
			all = append(all, &sess.replays[i])
		}
	}
	slices.SortStableFunc(all, func(a, b *replay) int { return cmp.Compare(a.txn, b.txn) })
	return all
}
