package client

import (
	"errors"
	"fmt"

	"basalt/engine"
	"basalt/meta/record"
	"basalt/netio"
)

// Session is a column's conversation with one shard, over however many connections it takes. It is the Caller of a mount over the wire.
//
// Exactly once: what changes anything carries a request id, and is asked again with the same id on the next connection if its answer did
// not arrive; the server remembers its answers. What was answered but may be lost with the server is kept (kept.go) and replayed
// (recovery.go).
//
// Owned by the column.
type Session struct {
	// immutable after Connect
	reactor *engine.Reactor
	cfg     SessionConfig
	mount   *Mount
	fs      *FS
	id      uint64

	link        *netio.Link
	serving     bool // requests may be sent on link
	closed      bool
	everUp      bool
	fsid        [16]byte
	incarnation uint64
	told        uint64 // the incarnation that was sent REPLAYDONE
	life        uint64 // grows when the server has forgotten this session: what was asked before can't be asked again
	downSince   int64
	lastErr     string
	committed   uint64
	lastTxn     uint64
	lost        error // sticky: reported by the next fsync

	recalling bool          // a RECALL is being answered
	asker     *netio.Link   // who sent the last one
	asked     record.Recall // and it

	ids     window
	kept    kept
	syncing bool
	up      engine.WaitList // for serving
	slot    engine.WaitList // for a request id
	room    engine.WaitList // for room to keep
	asking  int             // requests in Call
	free    []*asked
	stats   SessionStats
}

// SessionConfig says whom to reach and how patient to be; zero values are defaults.
type SessionConfig struct {
	Network string // "unix" or "tcp"
	Address string
	Shard   uint16
	Client  string // a name for people
	NoCache bool   // do not ask for the grant
	Limits  netio.Limits

	ReplayMax     int   // bytes kept; default record.ReplayMax
	BackoffMaxNs  int64 // between attempts to connect; default 1 s
	FirstTries    int   // attempts before Connect gives up; default 1
	Dial          func(f *engine.Fiber, cfg netio.LinkConfig) (*netio.Link, error)
	Report        func(event string, args ...any) // what people should know; called on the column, must not block
	firstBackoffs int64
}

func (c SessionConfig) withDefaults() SessionConfig {
	set := func(p *int64, v int64) {
		if *p == 0 {
			*p = v
		}
	}
	set(&c.BackoffMaxNs, 1e9)
	set(&c.firstBackoffs, 10e6)
	if c.ReplayMax == 0 {
		c.ReplayMax = record.ReplayMax
	}
	if c.FirstTries == 0 {
		c.FirstTries = 1
	}
	if c.Dial == nil {
		c.Dial = netio.Dial
	}
	if c.Report == nil {
		c.Report = func(string, ...any) {}
	}
	return c
}

// SessionStats are figures of a session. Counters only grow.
type SessionStats struct {
	Connects, Losses, Resends, Replays, Lost, Syncs uint64
	KeptBytes, KeptRequests, KeptMax, Asking        int
	Serving                                         bool
}

// asked is a request in Call, pooled: what it needs beside the request.
type asked struct {
	body []byte
	rep  netio.Reply
	cost int    // reserved in kept
	id   uint64 // 0: none
	life uint64
	sent bool
}

const (
	retryFirstNs  = 2_000_000 // pause after Busy or Retry, doubled up to
	retryMaxNs    = 100_000_000
	upPollNs      = 50_000_000 // how soon an interrupt is seen
	askedKept     = 256
	errorsPerAsk  = 8 // times a request may break the connection before it is given up
	keptSyncShare = 2 // of ReplayMax: from here on the server is asked to commit
)

// ask numbers and encodes the request, and makes sure that it can be kept.
func (s *Session) ask(f *engine.Fiber, q *record.Request, data []byte) (*asked, error) {
	a := s.takeAsked()
	a.body = q.Append(a.body[:0])
	a.life = s.life
	if !once(q) {
		return a, nil
	}
	if q.Mutates() {
		cost := keptCost(len(a.body)+16, len(data))
		for !s.kept.reserve(cost) {
			if err := s.makeRoom(f); err != nil {
				s.giveAsked(f.Turn(), a)
				return nil, err
			}
		}
		a.cost = cost
	}
	for {
		id, ok := s.ids.take()
		if ok {
			a.id = id
			return a, nil
		}
		s.slot.Wait(f)
	}
}

// once tells the requests that must not be served twice: what changes the store, and what counts opens.
func once(q *record.Request) bool {
	switch q.Op {
	case record.OpOpen, record.OpRelease, record.OpOpenDir, record.OpReleaseDir:
		return true
	}
	return q.Mutates()
}

// releases tells the requests that give an open back. It counted until now, so a server that had forgotten the session was told of it again.
func releases(op record.Op) bool { return op == record.OpRelease || op == record.OpReleaseDir }

func (s *Session) takeAsked() *asked {
	s.asking++
	if n := len(s.free); n > 0 {
		a := s.free[n-1]
		s.free = s.free[:n-1]
		return a
	}
	return &asked{}
}

func (s *Session) giveAsked(t *engine.Turn, a *asked) {
	s.asking--
	if a.cost > 0 {
		s.kept.forfeit(a.cost)
		s.room.WakeAll(t)
	}
	if a.id != 0 {
		s.ids.done(a.id)
		s.slot.WakeAll(t)
	}
	if len(s.free) < askedKept {
		*a = asked{body: a.body, rep: netio.Reply{Body: a.rep.Body}}
		s.free = append(s.free, a)
	}
}

// Call asks the server and waits for its answer, across lost connections and restarts.
func (s *Session) Call(f *engine.Fiber, q *record.Request, data []byte, p *record.Reply, dst []byte) error {
	if s.lost != nil && (q.Op == record.OpFsync || q.Op == record.OpSyncAll) {
		err := s.lost
		s.lost = nil
		return err
	}
	a, err := s.ask(f, q, data)
	if err != nil {
		return err
	}
	err = s.pursue(f, a, q, data, p, dst)
	if err == nil && a.cost > 0 {
		s.keep(f, a, q, data, p)
	}
	s.giveAsked(f.Turn(), a)
	return err
}

// pursue sends the request until there is an answer that is final.
func (s *Session) pursue(f *engine.Fiber, a *asked, q *record.Request, data []byte, p *record.Reply, dst []byte) error {
	pause := int64(retryFirstNs)
	for broken := 0; ; {
		if err := s.await(f); err != nil {
			return err
		}
		if a.sent && a.id != 0 && a.life != s.life && !releases(q.Op) {
			return record.IO // whether it was done can't be asked any more
		}
		a.life = s.life
		err := s.send(f, a, q, data, p, dst)
		if err != nil {
			if !again(err) {
				return err
			}
			if broken++; broken > errorsPerAsk {
				return fmt.Errorf("client: %v broke %d connections: %w", q.Op, broken, err)
			}
			s.stats.Resends++
			continue
		}
		if p.Status != record.Retry && p.Status != record.Busy {
			return nil
		}
		if f.Canceled() {
			return record.Interrupted
		}
		f.Sleep(pause)
		pause = min(2*pause, retryMaxNs)
	}
}

// send asks once, on the connection there is.
func (s *Session) send(f *engine.Fiber, a *asked, q *record.Request, data []byte, p *record.Reply, dst []byte) error {
	h := netio.Header{Group: group(q), ReqID: a.id}
	a.rep.Payload = dst
	a.sent = true
	if err := s.link.Call(f, &h, a.body, data, &a.rep); err != nil {
		return err
	}
	room := p.Value
	if err := p.Decode(a.rep.Body); err != nil {
		return err
	}
	p.Value = append(room[:0], p.Value...) // the body's memory is used again for the next request
	if n := len(a.rep.Payload); q.Op == record.OpRead && p.Status == record.OK && n != int(p.Count) {
		return &record.CorruptError{What: "read reply count", Want: uint64(n), Got: uint64(p.Count)}
	}
	s.commits(f.Turn(), a.rep.Committed)
	return nil
}

// group is the placement group that serves the request.
func group(q *record.Request) uint16 {
	if q.Dir != 0 {
		return q.Dir.Group()
	}
	return q.Ino.Group()
}

// again tells the errors after which the same request may be asked on another connection.
func again(err error) bool {
	return errors.Is(err, netio.ErrLinkDown) || errors.Is(err, netio.ErrStopped)
}

// keep copies an answered change until it is committed.
func (s *Session) keep(f *engine.Fiber, a *asked, q *record.Request, data []byte, p *record.Reply) {
	s.lastTxn = max(s.lastTxn, a.rep.Txn)
	if p.Status != record.OK || a.rep.Txn == 0 || a.rep.Txn <= s.committed {
		return
	}
	fixed := *q
	if final(&fixed, p) {
		a.body = fixed.Append(a.body[:0])
	}
	if q.Op == record.OpWrite {
		data = data[:min(len(data), int(p.Count))]
	}
	s.kept.add(a.cost, a.rep.Txn, a.id, a.body, data)
	a.cost = 0
	if s.kept.bytes > s.cfg.ReplayMax/keptSyncShare {
		s.sync(f.Turn())
	}
}

// commits takes note of what the server says is on its media.
func (s *Session) commits(t *engine.Turn, committed uint64) {
	if committed <= s.committed {
		return
	}
	s.committed = committed
	before := s.kept.bytes
	s.kept.trim(committed)
	if s.kept.bytes < before {
		s.room.WakeAll(t)
	}
}

// makeRoom has the server commit, and waits for some of it.
func (s *Session) makeRoom(f *engine.Fiber) error {
	if f.Canceled() {
		return record.Interrupted
	}
	s.sync(f.Turn())
	s.room.WaitFor(f, upPollNs)
	return nil
}

// sync asks the server once to commit everything; the answer trims what is kept.
func (s *Session) sync(t *engine.Turn) {
	if s.syncing || s.closed {
		return
	}
	err := t.Go("commit what is kept", func(f *engine.Fiber) {
		defer func() { s.syncing = false }()
		s.stats.Syncs++
		q, p := record.Request{Op: record.OpSyncAll}, record.Reply{}
		a := s.takeAsked()
		a.body = q.Append(a.body[:0])
		err := s.pursue(f, a, &q, nil, &p, nil)
		s.giveAsked(f.Turn(), a)
		if err == nil && p.Status != record.OK {
			s.cfg.Report("the server can't commit", "status", p.Status)
			f.Sleep(retryMaxNs)
		}
	})
	s.syncing = err == nil
}

// await waits until requests can be sent, or the caller is interrupted. What a request that was sent before has done, such a caller does
// not learn.
func (s *Session) await(f *engine.Fiber) error {
	for !s.serving {
		switch {
		case s.closed:
			return record.Disconnected
		case f.Canceled():
			return record.Interrupted
		}
		s.up.WaitFor(f, upPollNs)
	}
	return nil
}

// Stats are the session's figures, on its column.
func (s *Session) Stats() SessionStats {
	st := s.stats
	st.KeptBytes, st.KeptRequests, st.KeptMax = s.kept.bytes, len(s.kept.list)-s.kept.head, s.kept.max
	st.Asking, st.Serving = s.asking, s.serving
	return st
}
