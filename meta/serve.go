package meta

import (
	"errors"
	"fmt"

	"basalt/engine"
	"basalt/meta/record"
	"basalt/netio"
)

// The wire's side of a shard: *Shard is the netio.Handler.

var _ netio.Handler = (*Shard)(nil)

// Attach lets a session in: durably, and after whoever may cache has stopped.
func (s *Shard) Attach(f *engine.Fiber, c *netio.Conn, hello []byte) ([]byte, error) {
	var h record.Hello
	if err := h.Decode(hello); err != nil {
		return nil, fmt.Errorf("the greeting of the client makes no sense: %w", err)
	}
	if h.Version != record.Version {
		return nil, fmt.Errorf("this server speaks version %d of the file protocol, the client %d: use programs of the same release", record.Version, h.Version)
	}
	sess, fresh, err := s.admit(f, c, &h)
	if err != nil {
		return nil, err
	}
	cache := s.mayCache(f, sess, h.WantCache)
	if sess.conn != c || sess.ended {
		return nil, errors.New("the session was taken over by another connection")
	}
	w := record.Welcome{Version: record.Version, FS: s.fs.ID, Incarnation: s.incarnation, Committed: uint64(s.store.Committed()),
		Groups: s.fs.Groups, StripeSize: s.fs.StripeSize, InlineMax: s.fs.InlineMax, LeaseMs: uint32(s.opt.LeaseNs / 1e6)}
	if cache {
		w.Flags |= record.WelcomeCache
	}
	if fresh {
		w.Flags |= record.WelcomeNew
	}
	if s.recovering {
		w.Flags |= record.WelcomeReplay
	}
	if fresh || s.recovering { // what it may know the numbers of is of an earlier life: of that, this is what survived
		w.Committed = uint64(s.recovery.base)
	}
	return w.Append(nil), nil
}

// admit finds the session or makes a new one. While the window is open only those are let in that it waits for.
func (s *Shard) admit(f *engine.Fiber, c *netio.Conn, h *record.Hello) (sess *Session, fresh bool, err error) {
	id := sessionID(&h.Mount, h.Session)
	for {
		sess = s.table.byID[id]
		switch {
		case s.stopping:
			return nil, false, errors.New("the server is stopping")
		case sess != nil && sess.ending:
			s.table.changed.Wait(f)
			continue
		case sess == nil && s.recovering:
			s.closed(f)
			continue
		}
		break
	}
	if sess == nil {
		if len(s.table.list) >= s.opt.SessionsMax {
			return nil, false, fmt.Errorf("the server has %d sessions, as many as it may", s.opt.SessionsMax)
		}
		sess = s.table.add(id, h.Mount, h.Client)
		sess.fresh, fresh = true, true
	} else if sess.mount.id != h.Mount || sess.local {
		return nil, false, errors.New("the session belongs to another mount")
	}
	s.bind(f.Turn(), sess, c)
	if fresh {
		err = s.save(f, sess)
	} else {
		err = s.store.Commit(f, s.store.Applied()) // its record may be on its way
	}
	if err != nil && sess.conn == c {
		s.down(f.Turn(), sess)
	}
	if err != nil {
		return nil, false, fmt.Errorf("the session can't be made durable: %w", err)
	}
	return sess, sess.fresh, nil
}

// bind gives a session its connection; an older one is closed.
func (s *Shard) bind(t *engine.Turn, sess *Session, c *netio.Conn) {
	old := sess.conn
	sess.conn, c.Value = c, sess
	sess.downs++
	if s.recovering && !sess.done {
		s.takeBack(sess)
		sess.replays, sess.replayed = nil, 0
	}
	if old != nil && old != c {
		old.Close(t)
	}
	s.table.changed.WakeAll(t)
}

// Detach notes the loss of a connection; the session has a lease to come back.
func (s *Shard) Detach(t *engine.Turn, c *netio.Conn) {
	if sess, ok := c.Value.(*Session); ok && sess.conn == c && !sess.ended {
		s.down(t, sess)
	}
}

// Notice takes the answer to a recall.
func (s *Shard) Notice(t *engine.Turn, c *netio.Conn, kind netio.Kind, body []byte) {
	sess, ok := c.Value.(*Session)
	var r record.Recall
	if !ok || sess.conn != c || kind != netio.KindRecalled || r.Decode(body) != nil {
		return
	}
	s.recalled(t, sess, r.Grant)
}

// Serve answers one frame.
func (s *Shard) Serve(f *engine.Fiber, c *netio.Conn, q *netio.Request, p *netio.Reply) {
	var rep record.Reply
	sess, ok := c.Value.(*Session)
	switch {
	case !ok || sess.conn != c || sess.ended:
		rep.Status = record.Stale
	case q.Kind == netio.KindReplay:
		sess.fresh = false
		rep.Status = s.keep(sess, q.Txn, q.ReqID, q.Body, q.Payload)
	case q.Kind == netio.KindReplayDone:
		rep.Status = s.replayDone(f, sess)
	default:
		sess.fresh = false
		s.serve(f, sess, q, p)
		return
	}
	p.Body = rep.Append(p.Body)
	p.Committed = uint64(s.store.Committed())
}

func (s *Shard) replayDone(f *engine.Fiber, sess *Session) record.Status {
	if !s.recovering {
		return record.OK
	}
	sess.done = true
	s.table.changed.WakeAll(f.Turn())
	s.closed(f)
	if s.stopping {
		return record.Retry
	}
	return record.OK
}

// served is the memory of one request on the wire, pooled.
type served struct {
	q record.Request
	p record.Reply
}

func (s *Shard) serve(f *engine.Fiber, sess *Session, q *netio.Request, p *netio.Reply) {
	v := s.takeServed()
	p.Txn = s.answer(f, sess, v, q, p)
	p.Body = v.p.Append(p.Body)
	p.Committed = uint64(s.store.Committed())
	s.idleServed = append(s.idleServed, v)
}

func (s *Shard) answer(f *engine.Fiber, sess *Session, v *served, q *netio.Request, p *netio.Reply) uint64 {
	v.p = record.Reply{Value: v.p.Value[:0]}
	if err := v.q.Decode(q.Body); err != nil || q.ReqID == 0 {
		v.p.Status = record.Invalid
		return 0
	}
	s.wait(f, &v.q)
	if s.stopping {
		v.p.Status = record.Retry
		return 0
	}
	var dst []byte
	if v.q.Op == record.OpRead {
		n := min(int(v.q.Count), q.ReplyMax(), record.StripeSize)
		buf, err := f.Reactor().Arena().Get(max(n, 1))
		if err != nil {
			v.p.Status = record.Busy
			return 0
		}
		p.PayloadBuf = buf
		dst = f.Reactor().Arena().Bytes(buf)[:n]
	}
	txn := s.do(f, sess, q.ReqID, &v.q, q.Payload, &v.p, dst)
	if v.q.Op == record.OpRead && v.p.Status == record.OK {
		p.Payload = dst[:v.p.Count]
	}
	return txn
}

func (s *Shard) takeServed() *served {
	if n := len(s.idleServed); n > 0 {
		v := s.idleServed[n-1]
		s.idleServed = s.idleServed[:n-1]
		return v
	}
	return &served{}
}
