package client

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/meta/record"
	"basalt/netio"
)

// standIn is a server that knows just enough to hold a session to its promises: one file to which numbers are appended, names that get inode
// numbers, opens that are counted. What is not committed is lost when it is killed.
type standIn struct {
	w    *sim.World
	r    *engine.Reactor
	port *netio.Port
	conn *netio.Conn

	durable, live state
	txn           uint64
	incarnation   uint64
	committed     uint64
	opens         map[record.Ino]int
	cache         bool
	known         bool // the session is durable
	forget        bool // as if its lease had passed
	recovering    bool
	replays       []standInReplay
	dropReplies   int // so many answers get lost, with the connection
	recalled      int
	left          bool
	stale         int   // requests that arrived twice
	attachNs      int64 // how long it lets a session wait for its WELCOME
	stall         bool  // holds REPLAYDONE back and loses the connection instead
	closeUnsaid   bool  // but closes the window meanwhile
	doneSeen      bool
}

type state struct {
	file  []uint64 // numbers written, in order
	names map[string]record.Ino
	next  record.Ino
	idem  map[uint64][]byte // encoded reply by request id
}

type standInReplay struct {
	txn, id uint64
	q       record.Request
	data    []byte
}

func (s *state) clone() state {
	c := state{file: slices.Clone(s.file), names: map[string]record.Ino{}, next: s.next, idem: map[uint64][]byte{}}
	for k, v := range s.names {
		c.names[k] = v
	}
	for k, v := range s.idem {
		c.idem[k] = v
	}
	return c
}

func newStandIn(t testing.TB, w *sim.World) *standIn {
	s := &standIn{w: w, opens: map[record.Ino]int{}}
	s.durable = state{names: map[string]record.Ino{}, next: 2, idem: map[uint64][]byte{}}
	s.start(t)
	return s
}

// start begins a life of the server with what is durable.
func (s *standIn) start(t testing.TB) {
	t.Helper()
	s.r = s.w.Reactor(engine.Config{Name: "server", ArenaBytes: 32 << 20})
	if err := s.w.Boot(s.r, func(*engine.Fiber) (err error) {
		s.port, err = netio.NewPort(0, s.r, s, netio.Limits{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s.live = s.durable.clone()
	s.txn = s.committed
	s.incarnation++
	s.recovering = s.known
	s.replays, s.conn, s.doneSeen = nil, nil, false
	s.opens = map[record.Ino]int{}
}

func (s *standIn) kill() { s.w.Crash(s.r); s.r = nil }

func (s *standIn) commit() { s.durable, s.committed = s.live.clone(), s.txn }

// Attach welcomes the one session.
func (s *standIn) Attach(f *engine.Fiber, c *netio.Conn, hello []byte) ([]byte, error) {
	var h record.Hello
	if err := h.Decode(hello); err != nil {
		return nil, err
	}
	f.Sleep(s.attachNs)
	s.conn = c
	w := record.Welcome{Version: record.Version, FS: [16]byte{1}, Incarnation: s.incarnation, Committed: s.committed, Groups: 1,
		StripeSize: record.StripeSize, InlineMax: record.InlineMax, LeaseMs: 30_000}
	if s.cache {
		w.Flags |= record.WelcomeCache
	}
	if s.recovering {
		w.Flags |= record.WelcomeReplay
		if !s.doneSeen {
			s.replays = nil
			s.opens = map[record.Ino]int{}
		}
	}
	if !s.known || s.forget {
		w.Flags |= record.WelcomeNew
		s.forget = false
		s.opens = map[record.Ino]int{}
		s.live.idem = map[uint64][]byte{}
	}
	s.known = true
	return w.Append(nil), nil
}

// Detach, Notice: what a session may say unasked.
func (s *standIn) Detach(_ *engine.Turn, c *netio.Conn) {}

func (s *standIn) Notice(_ *engine.Turn, _ *netio.Conn, kind netio.Kind, _ []byte) {
	if kind == netio.KindRecalled {
		s.recalled++
	}
}

// Serve answers, and loses answers if told to.
func (s *standIn) Serve(f *engine.Fiber, c *netio.Conn, q *netio.Request, p *netio.Reply) {
	var rep record.Reply
	var req record.Request
	switch q.Kind {
	case netio.KindReplay:
		if s.doneSeen {
			rep.Status = record.Stale
			break
		}
		if err := req.Decode(append([]byte(nil), q.Body...)); err != nil {
			panic(err)
		}
		s.replays = append(s.replays, standInReplay{q.Txn, q.ReqID, req, slices.Clone(q.Payload)})
	case netio.KindReplayDone:
		s.doneSeen = true
		if s.stall {
			s.stall = false
			if s.closeUnsaid {
				s.applyReplays()
			}
			c.Close(f.Turn())
			return
		}
		s.applyReplays()
	default:
		if s.recovering && q.Kind == netio.KindRequest {
			if err := req.Decode(q.Body); err != nil || req.Op != record.OpOpen || req.Flags&record.FlagReassert == 0 {
				rep.Status = record.Retry
				break
			}
		}
		p.Txn = s.request(f, q, p, &rep)
	}
	if s.dropReplies > 0 && q.Kind == netio.KindRequest {
		s.dropReplies--
		c.Close(f.Turn())
		return
	}
	p.Body = rep.Append(p.Body)
	p.Committed = s.committed
}

func (s *standIn) applyReplays() {
	if !s.recovering {
		return
	}
	slices.SortFunc(s.replays, func(a, b standInReplay) int { return int(a.txn) - int(b.txn) })
	for i := range s.replays {
		r := &s.replays[i]
		var rep record.Reply
		if s.live.idem[r.id] == nil && r.q.Op.Mutates() {
			s.change(&r.q, r.data, &rep)
			s.live.idem[r.id] = rep.Append(nil)
			s.txn++
		}
	}
	s.recovering = false
	s.commit()
}

func (s *standIn) request(f *engine.Fiber, q *netio.Request, p *netio.Reply, rep *record.Reply) uint64 {
	var req record.Request
	if err := req.Decode(q.Body); err != nil {
		panic(err)
	}
	if !req.Mutates() {
		s.look(f, &req, p, rep)
		return 0
	}
	if old := s.live.idem[q.ReqID]; old != nil {
		s.stale++
		if err := rep.Decode(old); err != nil {
			panic(err)
		}
		return s.txn
	}
	s.change(&req, q.Payload, rep)
	s.txn++
	s.live.idem[q.ReqID] = rep.Append(nil)
	return s.txn
}

const theFile record.Ino = 1

func (s *standIn) attr(ino record.Ino) record.Attr {
	return record.Attr{Ino: ino, Mode: record.ModeRegular | 0o644, Nlink: 1, Size: uint64(8 * len(s.live.file))}
}

func (s *standIn) change(q *record.Request, data []byte, rep *record.Reply) {
	switch q.Op {
	case record.OpWrite:
		rep.Off, rep.Count, rep.Attr = q.Off, uint32(len(data)), s.attr(theFile)
		if q.Flags&record.FlagAppend != 0 {
			rep.Off = uint64(8 * len(s.live.file))
		}
		s.live.file = append(s.live.file, binary.LittleEndian.Uint64(data))
	case record.OpMkdir:
		ino := q.WantIno
		if ino == 0 {
			ino = s.live.next
		}
		s.live.next = max(s.live.next, ino+1)
		s.live.names[string(q.Name)] = ino
		rep.Attr = s.attr(ino)
	default:
		panic(fmt.Sprint("the stand-in can't ", q.Op))
	}
}

func (s *standIn) look(f *engine.Fiber, q *record.Request, p *netio.Reply, rep *record.Reply) {
	switch q.Op {
	case record.OpFsync, record.OpSyncAll:
		s.commit()
	case record.OpOpen:
		s.opens[q.Ino] += int(q.Count)
		rep.Attr = s.attr(q.Ino)
	case record.OpOpenDir:
		s.opens[q.Ino]++
		rep.Handle = 1
	case record.OpRelease:
		s.opens[q.Ino] -= int(q.Count)
	case record.OpReleaseDir:
		s.opens[q.Ino]--
	case record.OpLookup:
		if ino, ok := s.live.names[string(q.Name)]; ok {
			rep.Attr = s.attr(ino)
		} else {
			rep.Status = record.NotFound
		}
	case record.OpLeave:
		s.left = true
	default:
		panic(fmt.Sprint("the stand-in can't ", q.Op))
	}
}
