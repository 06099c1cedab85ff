package client

import (
	"errors"
	"fmt"
	"time"

	"basalt/engine"
	"basalt/meta/record"
	"basalt/netio"
)

// How a session comes up, and comes back: connect, greet, and if the server has restarted, tell it what it has lost.
//
//	HELLO → WELCOME                 who I am; which life the server is in, and what it still knows of me
//	OPEN with Reassert, per file    what I hold open
//	REPLAY, per kept request        what was answered and is not on its media
//	REPLAYDONE                      it applies the replays of all sessions in their first order, and answers when they are durable
//
// and then requests flow again: first those that had no answer, with their old ids.

// CheckAddress refuses where nobody may connect to: the node is not authenticated yet, so it must be on this machine.
func CheckAddress(network, address string) error {
	if network != "tcp" {
		return nil
	}
	return netio.Loopback(address)
}

// Connect makes a column's FS over the wire. It returns once the server has welcomed the session, or with the reason why not. The columns
// of a mount are connected one after the other.
func (m *Mount) Connect(f *engine.Fiber, cfg SessionConfig) (*FS, *Session, error) {
	if err := CheckAddress(cfg.Network, cfg.Address); err != nil {
		return nil, nil, err
	}
	s := &Session{reactor: f.Reactor(), cfg: cfg.withDefaults(), mount: m, ids: window{low: 1, next: 1}}
	s.kept.max = s.cfg.ReplayMax
	s.fs = m.NewFS(s.reactor, s)
	s.id = m.sessionID(s.fs.index)
	backoff := s.cfg.firstBackoffs
	var err error
	for range s.cfg.FirstTries {
		if err = s.connect(f); err == nil {
			return s.fs, s, nil
		}
		f.Sleep(backoff)
		backoff = min(2*backoff, s.cfg.BackoffMaxNs)
	}
	s.closed = true
	m.drop(s.fs)
	return nil, nil, err
}

// Close ends the session: the server is told, if it is there, that nobody will come back. Whoever still waits is told that there is no
// server.
func (s *Session) Close(f *engine.Fiber) {
	s.closed = true
	if s.serving {
		q := record.Request{Op: record.OpLeave}
		h := netio.Header{DeadlineMs: leaveMs}
		var rep netio.Reply
		if err := s.link.Call(f, &h, q.Append(nil), nil, &rep); err != nil {
			s.cfg.Report("the server was not told that the mount ends: it will wait for the lease", "reason", err)
		}
	}
	s.serving = false
	if s.link != nil {
		s.link.Close(f.Turn())
		s.link = nil
	}
	s.up.WakeAll(f.Turn())
}

// patience is how long WELCOME may take. A server that has restarted first waits a lease for the mounts it knew, before it lets in others: so the
// first time, when nobody waits for us, ours is longer than two leases.
func (s *Session) patience() time.Duration {
	if !s.everUp {
		return firstPatience
	}
	return 0 // netio's
}

const firstPatience = 75 * time.Second

const leaveMs = 2000 // an unmount does not wait longer for a server that does not answer

// connect makes one attempt.
func (s *Session) connect(f *engine.Fiber) error {
	hello := record.Hello{Version: record.Version, WantCache: !s.cfg.NoCache, Mount: s.mount.id, Session: s.id, LastTxn: s.lastTxn, Client: []byte(s.cfg.Client)}
	link, err := s.cfg.Dial(f, netio.LinkConfig{
		Network: s.cfg.Network, Address: s.cfg.Address, Shard: s.cfg.Shard, Hello: hello.Append(nil), Limits: s.cfg.Limits, Timeout: s.patience(),
		OnNotice: s.notice, OnDown: s.down,
	})
	if err != nil {
		return err
	}
	s.link = link
	if err := s.greeted(f, link); err != nil {
		if s.link == link {
			s.link = nil
		}
		link.Close(f.Turn())
		return err
	}
	if s.closed {
		link.Close(f.Turn())
	}
	if s.link != link || !link.Up() {
		s.link = nil
		return netio.ErrLinkDown // lost, or no longer wanted, while it was being greeted
	}
	s.everUp, s.serving, s.lastErr = true, true, ""
	s.stats.Connects++
	s.up.WakeAll(f.Turn())
	return nil
}

// greeted acts on the server's WELCOME.
func (s *Session) greeted(f *engine.Fiber, link *netio.Link) error {
	var w record.Welcome
	if err := w.Decode(link.Welcome()); err != nil {
		return err
	}
	switch {
	case w.Version != record.Version:
		return fmt.Errorf("client: the server speaks version %d of the requests, this mount %d: use programs of the same release", w.Version, record.Version)
	case s.everUp && w.FS != s.fsid:
		return errors.New("client: another file system answers at the server's address: unmount, or bring the old one back")
	case w.StripeSize != record.StripeSize:
		return fmt.Errorf("client: the file system has stripes of %d bytes, this mount knows only %d", w.StripeSize, record.StripeSize)
	}
	if s.everUp {
		if err := s.recover(f, link, &w); err != nil {
			return err
		}
	}
	s.fsid, s.incarnation = w.FS, w.Incarnation
	s.commits(f.Turn(), w.Committed)
	if w.Flags&record.WelcomeCache == 0 {
		return s.mount.Recall(f)
	}
	return s.fs.Grant(f, int64(w.LeaseMs)*1e6)
}

// recover brings a server up to date that may have lost something.
func (s *Session) recover(f *engine.Fiber, link *netio.Link, w *record.Welcome) error {
	restarted := w.Incarnation != s.incarnation
	unknown := w.Flags&record.WelcomeNew != 0
	if restarted {
		s.kept.trim(w.Committed)
		s.committed = w.Committed // its numbers go on from here: what was above never happened
	}
	if unknown {
		s.life++
	}
	if unknown || restarted && w.Flags&record.WelcomeReplay == 0 {
		if err := s.mount.Recall(f); err != nil { // others may have changed what we cached
			return err
		}
	}
	if restarted && w.Flags&record.WelcomeReplay == 0 { // a server that still knows us has closed its window with us: it has played all of it
		if n := s.kept.clear(w.Committed); n > 0 && unknown {
			s.forgotten(n)
		}
		s.room.WakeAll(f.Turn())
	}
	if w.Flags&record.WelcomeReplay != 0 {
		return s.replay(f, link, w.Incarnation)
	}
	if restarted || unknown {
		return s.reassert(f, link)
	}
	return nil
}

// forgotten notes that changes are lost for good: the server came back, but not within the time that it waits for us, or we not within
// the time that it keeps our session. The next fsync says so.
func (s *Session) forgotten(n int) {
	s.stats.Lost += uint64(n)
	s.lost = record.IO
	s.cfg.Report("changes that were not yet synced are lost: the server went on without us", "requests", n)
}

// reassert says again what is open.
func (s *Session) reassert(f *engine.Fiber, link *netio.Link) error {
	for _, o := range append([]openCount(nil), s.fs.opens.list...) {
		if o.n <= 0 {
			continue
		}
		q := record.Request{Op: record.OpOpen, Ino: o.ino, Flags: record.FlagReassert, Count: uint32(o.n)}
		p, err := s.tell(f, link, netio.KindRequest, q.Append(nil), nil, 0, 0)
		if err != nil {
			return err
		}
		if p.Status != record.OK {
			s.cfg.Report("an open file is gone from the server", "ino", o.ino, "status", p.Status)
		}
	}
	return nil
}

// replay says what is open and what is kept, and waits until the server has made it durable. If the last connection was lost after
// REPLAYDONE, the server may have heard all of it, and must not hear it twice.
func (s *Session) replay(f *engine.Fiber, link *netio.Link, life uint64) error {
	list := s.kept.all(0)
	heard := false
	if s.told == life {
		var err error
		if heard, err = s.heard(f, link); err != nil {
			return err
		}
	}
	if !heard {
		if err := s.reassert(f, link); err != nil {
			return err
		}
		r := &replayer{s: s, link: link, list: list}
		if err := r.run(f); err != nil {
			return err
		}
	}
	s.told = life
	p, err := s.tell(f, link, netio.KindReplayDone, nil, nil, 0, 0)
	if err != nil {
		return err
	}
	if p.Status != record.OK {
		return p.Status
	}
	s.stats.Replays += uint64(len(list))
	s.cfg.Report("recovered with the server", "replayed", len(list), "open", len(s.fs.opens.list))
	s.kept.clear(0)
	s.room.WakeAll(f.Turn())
	return nil
}

// heard asks whether the server has had our REPLAYDONE: then it takes no more replays. The question is a replay that changes nothing.
func (s *Session) heard(f *engine.Fiber, link *netio.Link) (bool, error) {
	q := record.Request{Op: record.OpSyncAll}
	p, err := s.tell(f, link, netio.KindReplay, q.Append(nil), nil, link.NewID(), 1)
	if err != nil {
		return false, err
	}
	return p.Status == record.Stale, nil
}

// tell makes a request of the recovery itself.
func (s *Session) tell(f *engine.Fiber, link *netio.Link, kind netio.Kind, body, data []byte, id, txn uint64) (*record.Reply, error) {
	pause := int64(retryFirstNs)
	for {
		h := netio.Header{Kind: kind, ReqID: id, Txn: txn}
		var rep netio.Reply
		if err := link.Call(f, &h, body, data, &rep); err != nil {
			return nil, err
		}
		s.committed = max(s.committed, rep.Committed)
		p := &record.Reply{}
		if err := p.Decode(rep.Body); err != nil {
			return nil, err
		}
		if p.Status != record.Busy && p.Status != record.Retry {
			return p, nil
		}
		f.Sleep(pause)
		pause = min(2*pause, retryMaxNs)
	}
}

// replayer sends many at once; their order is in their numbers.
type replayer struct {
	s       *Session
	link    *netio.Link
	list    []keptRequest
	next    int
	running int
	err     error
	done    engine.WaitList
}

const replayFibers = 16

func (r *replayer) run(f *engine.Fiber) error {
	for range min(replayFibers, len(r.list)-1) {
		if f.Turn().Spawn(r) != nil {
			break
		}
		r.running++
	}
	r.work(f)
	for r.running > 0 {
		r.done.Wait(f)
	}
	return r.err
}

// Run is one of its fibers.
func (r *replayer) Run(f *engine.Fiber) {
	r.work(f)
	r.running--
	if r.running == 0 {
		r.done.WakeAll(f.Turn())
	}
}

func (r *replayer) work(f *engine.Fiber) {
	for r.next < len(r.list) && r.err == nil {
		q := &r.list[r.next]
		r.next++
		p, err := r.s.tell(f, r.link, netio.KindReplay, q.body, q.data, q.id, q.txn)
		switch {
		case err != nil:
			r.err = err
		case p.Status != record.OK:
			r.s.forgotten(1)
			r.s.cfg.Report("a replay was refused", "status", p.Status, "transaction", q.txn)
		}
	}
}

// down notes that the connection is gone, and starts to look for another.
func (s *Session) down(t *engine.Turn, l *netio.Link, reason error) {
	if s.link != l {
		return
	}
	s.link = nil
	if !s.serving {
		return // an attempt that failed: its loop goes on
	}
	s.serving, s.downSince = false, t.Now()
	s.stats.Losses++
	if s.closed {
		return
	}
	s.cfg.Report("lost the server", "reason", reason)
	if err := t.Go("reconnect", s.reconnect); err != nil {
		panic("client: no fiber left to reconnect with: " + err.Error())
	}
}

// reconnect tries until it succeeds or the session is closed.
func (s *Session) reconnect(f *engine.Fiber) {
	for backoff := s.cfg.firstBackoffs; !s.closed; backoff = min(2*backoff, s.cfg.BackoffMaxNs) {
		err := s.connect(f)
		if err == nil {
			s.cfg.Report("the server is back", "away_ms", (f.Turn().Now()-s.downSince)/1e6)
			return
		}
		if text := err.Error(); text != s.lastErr {
			s.lastErr = text
			s.cfg.Report("no server yet", "reason", text)
		}
		f.Sleep(backoff)
	}
}

// notice takes what the server says unasked.
func (s *Session) notice(t *engine.Turn, l *netio.Link, kind netio.Kind, body []byte) {
	if kind != netio.KindRecall {
		return
	}
	var r record.Recall
	if err := r.Decode(body); err != nil {
		s.cfg.Report("a RECALL that can't be read", "error", err)
		return
	}
	s.asker, s.asked = l, r
	if !s.recalling {
		s.recalling = true
		(*recalling)(s).Fire(t)
	}
}

// recalling is a session that owes the server an answer to its RECALL. Until it is given the server lets nobody in, and after a lease it gives the
// mount up with all it has open: so what fails for want of a fiber, or because much waits to be sent, is tried again as long as the connection lives.
type recalling Session

// Fire finds a fiber for it.
func (r *recalling) Fire(t *engine.Turn) {
	if t.Go("recall", r.answer) != nil {
		t.After(retryFirstNs, r)
	}
}

// answer drops the caches and says so, until the last question is answered.
func (r *recalling) answer(f *engine.Fiber) {
	s := (*Session)(r)
	defer func() { s.recalling = false }()
	for {
		l, recall := s.asker, s.asked
		if err := s.mount.Recall(f); err != nil {
			s.cfg.Report("the caches could not be dropped: the server will wait for the end of the lease", "error", err)
			return
		}
		for l.Post(f.Turn(), &netio.Header{Kind: netio.KindRecalled}, recall.Append(nil)) == engine.ErrBusy {
			f.Sleep(retryFirstNs)
		}
		if l == s.asker && recall == s.asked {
			return
		}
	}
}
