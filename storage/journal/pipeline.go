package journal

import "fmt"

// State of a group.
type State uint8

const (
	Open     State = iota // transactions are being applied to it
	Writing               // sealed: its data and its record are in flight
	Written               // the device has both, perhaps only in its cache
	Flushing              // a flush that was issued after that is in flight
	Committed
)

// Group is the part of a group commit that the order depends on. The caller embeds it.
type Group struct {
	First, Last uint64 // transaction numbers; First > Last: none yet
	Record      uint64 // sequence of its journal record
	Bytes       int    // of data and record
	SinceNs     int64  // when the first transaction was applied
	state       State
}

// State of the group.
func (g *Group) State() State { return g.state }

// Empty tells whether no transaction is in the group.
func (g *Group) Empty() bool { return g.First > g.Last }

// Rules say when a group starts.
type Rules struct {
	InFlightMax int
	StartBytes  int
	DelayNs     int64
}

// Pipeline is the order of the groups: one open, at most InFlightMax behind it, oldest first.
type Pipeline struct {
	rules     Rules
	open      *Group
	flight    []*Group // sealed, not yet committed
	applied   uint64   // last transaction
	wanted    uint64   // last transaction whose commit somebody awaits
	committed uint64
	record    uint64 // sequence of the last record that was sealed
	durable   uint64 // sequence of the last record known durable
	flushing  int    // how many of flight the flush in flight covers
}

// NewPipeline begins after transaction txn and record.
func NewPipeline(rules Rules, txn, record uint64, open *Group) *Pipeline {
	p := &Pipeline{rules: rules, applied: txn, wanted: txn, committed: txn, record: record, durable: record}
	p.reopen(open)
	return p
}

func (p *Pipeline) reopen(g *Group) {
	*g = Group{First: p.applied + 1, Last: p.applied}
	p.open = g
}

// Apply adds the next transaction to the open group.
func (p *Pipeline) Apply(bytes int, nowNs int64) uint64 {
	if p.open.Empty() {
		p.open.SinceNs = nowNs
	}
	p.applied++
	p.open.Last = p.applied
	p.open.Bytes += bytes
	return p.applied
}

// Want says that somebody awaits the commit of txn.
func (p *Pipeline) Want(txn uint64) {
	if txn > p.applied {
		panic(fmt.Sprintf("journal: commit of %d awaited, %d applied", txn, p.applied))
	}
	p.wanted = max(p.wanted, txn)
}

// Ready tells whether the open group should be sealed now: it may, and somebody waits for it, or enough or for long enough.
func (p *Pipeline) Ready(nowNs int64) bool {
	if !p.MaySeal() {
		return false
	}
	return p.wanted >= p.open.First || p.open.Bytes >= p.rules.StartBytes || nowNs-p.open.SinceNs >= p.rules.DelayNs
}

// MaySeal tells whether there is something to seal and room for it in flight.
func (p *Pipeline) MaySeal() bool { return !p.open.Empty() && len(p.flight) < p.rules.InFlightMax }

// Seal ends the open group, which gets the next record sequence; next becomes the open one.
func (p *Pipeline) Seal(next *Group) *Group {
	if !p.MaySeal() {
		panic("journal: seal of an empty group, or too many in flight")
	}
	g := p.open
	p.record++
	g.Record = p.record
	g.state = Writing
	p.flight = append(p.flight, g)
	p.reopen(next)
	return g
}

// Wrote notes that data and record of g have been written.
func (p *Pipeline) Wrote(g *Group) {
	if g.state != Writing {
		panic(fmt.Sprintf("journal: record %d written in state %d", g.Record, g.state))
	}
	g.state = Written
}

// MayFlush tells whether a flush would make something durable, and none is in flight: it would cover the groups that were written before
// it, as far as no unwritten one stands between.
func (p *Pipeline) MayFlush() bool {
	return p.flushing == 0 && len(p.flight) > 0 && p.flight[0].state == Written
}

// Flush notes that a flush was issued.
func (p *Pipeline) Flush() {
	if !p.MayFlush() {
		panic("journal: nothing to flush")
	}
	for _, g := range p.flight {
		if g.state != Written {
			break
		}
		g.state = Flushing
		p.flushing++
	}
}

// Flushed notes that the flush has completed, and tells how many of the oldest groups it committed; Retire takes them.
func (p *Pipeline) Flushed() int {
	n := p.flushing
	if n == 0 {
		panic("journal: no flush in flight")
	}
	p.flushing = 0
	last := p.flight[n-1]
	p.committed, p.durable = last.Last, last.Record
	for _, g := range p.flight[:n] {
		g.state = Committed
	}
	return n
}

// Retire takes the oldest group, which has been committed.
func (p *Pipeline) Retire() *Group {
	g := p.flight[0]
	if g.state != Committed {
		panic("journal: retired before it was committed")
	}
	copy(p.flight, p.flight[1:])
	p.flight = p.flight[:len(p.flight)-1]
	return g
}

// Applied is the number of the last transaction that was applied, Committed the last one that survives power loss.
func (p *Pipeline) Applied() uint64   { return p.applied }
func (p *Pipeline) Committed() uint64 { return p.committed }

// Record is the sequence of the last record sealed, Durable the last one known durable: what the next record says as flushedThrough.
func (p *Pipeline) Record() uint64  { return p.record }
func (p *Pipeline) Durable() uint64 { return p.durable }

// InFlight is the number of groups that are sealed and not committed.
func (p *Pipeline) InFlight() int { return len(p.flight) }

// Wanted tells whether somebody awaits the commit of something in the open group.
func (p *Pipeline) Wanted() bool { return !p.open.Empty() && p.wanted >= p.open.First }
