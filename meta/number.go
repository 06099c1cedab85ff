package meta

import (
	"errors"

	"basalt/engine"
	"basalt/meta/record"
	"basalt/storage"
)

// Inode numbers. Each group has a durable counter: those below it may have been given out. The shard moves it a block ahead, waits until that is
// committed, and only then gives the numbers of the block out; so no number is ever used twice, whatever was lost. That wait is at the start (one
// commit for all groups) and then in the background, when half of a group's block is used up: a create does not wait, unless it is faster than that.

// counter is a group's inode numbers in memory: next … limit-1 are reserved and not given out.
type counter struct {
	next, limit uint64
	reserving   bool
}

// errNoNumbers: the group's block is used up, the next one is on its way.
var errNoNumbers = errors.New("meta: no inode numbers reserved")

// reserveGroups is how many groups one transaction reserves numbers for at the start: 64 · 17 bytes of keys and values, which the store takes for
// small even when it is full.
const reserveGroups = 64

// allocate gives a new inode number in the group.
func (o *operation) allocate(group uint16) (record.Ino, error) {
	if o.q.WantIno != 0 {
		return o.force(group)
	}
	if o.ino != 0 && o.ino.Group() == group {
		return o.ino, nil
	}
	o.group = group
	c := &o.s.counters[group]
	if c.next == c.limit {
		return 0, errNoNumbers
	}
	o.ino = record.MakeIno(group, c.next)
	c.next++
	if c.limit-c.next < counterBlock/2 && !c.reserving {
		o.s.reserveSoon(o.f.Turn(), group)
	}
	return o.ino, nil
}

// force takes the number that a replayed request was given the first time: it was reserved then, and has been given to nobody since.
func (o *operation) force(group uint16) (record.Ino, error) {
	ino := o.q.WantIno
	if !o.replay || ino.Group() != group || !o.s.has(ino) || ino.Counter() >= o.s.counters[group].next {
		return 0, record.Invalid
	}
	switch _, err := o.get(group, record.AppendInoKey(o.key[:0], record.KindInode, ino)); err {
	case record.NotFound:
		return ino, nil
	case nil:
		return 0, record.Stale
	default:
		return 0, err
	}
}

// reserveAll gives every group a fresh block.
func (s *Shard) reserveAll(f *engine.Fiber) error {
	for from := uint32(0); from < s.fs.Groups; from += reserveGroups {
		to := min(from+reserveGroups, s.fs.Groups)
		err := s.reserve(f, from, to)
		if errors.Is(err, storage.ErrFull) {
			return nil // whoever needs a number of these groups tries again
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reserve moves the durable counters of some groups a block ahead.
func (s *Shard) reserve(f *engine.Fiber, from, to uint32) error {
	first := make([]uint64, to-from)
	o := s.own(func(o *operation) error {
		o.essential()
		for g := from; g < to; g++ {
			next, err := o.counter(uint16(g))
			if err != nil {
				return err
			}
			first[g-from] = next
			if err := o.setCounter(uint16(g), next+counterBlock); err != nil {
				return err
			}
		}
		return nil
	})
	seq, err := o.update(f)
	s.give(o)
	if err == nil {
		err = s.store.Commit(f, seq)
	}
	if err != nil {
		return err
	}
	for i, n := range first {
		c := &s.counters[int(from)+i]
		if c.limit != n { // the first block of this life, or somebody else's hand: what is left of the old one is skipped
			c.next = n
		}
		c.limit = n + counterBlock
	}
	return nil
}

// reserveSoon reserves the next block in the background.
func (s *Shard) reserveSoon(t *engine.Turn, group uint16) {
	c := &s.counters[group]
	c.reserving = true
	err := t.Go("reserve", func(f *engine.Fiber) {
		if s.reserve(f, uint32(group), uint32(group)+1) != nil {
			s.stats.ReserveFailed++ // whoever needs a number will try, and hear why
		}
		c.reserving = false
		s.reserved.WakeAll(f.Turn())
	})
	if err != nil {
		c.reserving = false
	}
}

// reserveNow waits for the next block.
func (s *Shard) reserveNow(f *engine.Fiber, group uint16) error {
	c := &s.counters[group]
	if c.reserving {
		s.reserved.Wait(f)
		return nil
	}
	c.reserving = true
	err := s.reserve(f, uint32(group), uint32(group)+1)
	c.reserving = false
	s.reserved.WakeAll(f.Turn())
	return err
}

// counter reads the first number of the group that has never been reserved.
func (o *operation) counter(group uint16) (uint64, error) {
	val, err := o.get(group, record.AppendCounterKey(o.key[:0]))
	if err == record.NotFound {
		return 1, nil
	}
	if err != nil {
		return 0, err
	}
	var c record.Counter
	if err := c.Decode(val); err != nil {
		return 0, err
	}
	return c.Next, nil
}

func (o *operation) setCounter(group uint16, next uint64) error {
	if next > record.CounterMax {
		return record.NoSpace
	}
	c := record.Counter{Next: next}
	o.put(group, record.AppendCounterKey(o.key[:0]), c.Append(o.scratch[:0]))
	return nil
}
