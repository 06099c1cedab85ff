package engine

// Stats of a reactor. Counters only grow; for what is bounded there is the value, its peak and its bound.
type Stats struct {
	Name  string
	Shard ShardID

	Turns, LongTurns, Enters, Sleeps, Wakes   uint64
	EntersEarly                               uint64 // in the midst of a turn, for an entry marked Soon
	Completions, Delivered, Resumes, Spawned  uint64
	SubmitFull, InboxBusy, FibersBusy         uint64
	LongestTurnNs                             int64
	LongTurn                                  LongTurn // the last one
	Inbox, InboxPeak, InboxMax                int
	Ops, OpsPeak, OpsMax                      int
	Backlog, BacklogPeak                      int
	Fibers, FibersPeak, FibersMax, FibersIdle int
	Timers, TimersPeak                        int
	Files, FilesMax                           int
	ArenaUsed, ArenaPeak, ArenaCap            int64
	BuffersRegistered, FilesRegistered        bool
	BuffersReason                             string // why they are not registered
	Ring                                      string // its capabilities
}

// Stats is a copy made at the end of the last turn; any goroutine may ask.
func (r *Reactor) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.published
	s.Inbox, s.InboxBusy = r.inbox.length(), r.inboxBusy.Load()
	return s
}

// publish makes this turn's figures visible. If a reader holds the lock just now it is left to the next
// turn: the loop does not wait for anybody.
func (r *Reactor) publish() {
	s := &r.stats
	s.Ops, s.OpsPeak = r.ops.inFlight, r.ops.peak
	s.Backlog, s.BacklogPeak = r.ops.backlogLen, r.ops.backlogPeak
	s.Fibers = len(r.active)
	s.FibersPeak = max(s.FibersPeak, s.Fibers)
	s.FibersIdle = len(r.idle)
	s.Timers, s.TimersPeak = len(r.timers.heap), r.timers.peak
	s.Files = r.files.used
	s.ArenaUsed, s.ArenaPeak = r.arena.Used(), r.arena.Peak()
	if r.mu.TryLock() {
		r.published = *s
		r.mu.Unlock()
	}
}
