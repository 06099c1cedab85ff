package meta

import (
	"fmt"
	"sort"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/meta/record"

	"github.com/google/btree"
)

// deed is a request that was answered with success, and the number of its transaction.
type deed struct {
	txn  uint64
	q    record.Request // with the inode number that it was given
	data []byte
}

// oracle plays deeds again on the fake store, in the order of their numbers, and knows what the tree looked like after each.
type oracle struct {
	w      *sim.World
	r      *engine.Reactor
	fake   *fakeStore
	s      *Shard
	txns   []uint64
	states []*btree.BTreeG[fakeItem]
	dumps  map[int]string
}

func newOracle(t testing.TB, format FormatOptions) *oracle {
	o := &oracle{fake: newFakeStore(1), dumps: map[int]string{}}
	o.w, o.r = newWorld(t, 1)
	err := o.w.Do(o.r, func(f *engine.Fiber) error {
		if err := newShard(o.fake, Options{}).format(f, format); err != nil {
			return err
		}
		o.s = newShard(o.fake, Options{})
		return o.s.Start(f)
	})
	if err != nil {
		t.Fatal(err)
	}
	for g := range o.s.counters {
		o.s.counters[g] = counter{next: 1 << 40, limit: 1 << 40} // every number was given out
	}
	o.keep(0)
	return o
}

func (o *oracle) keep(txn uint64) {
	o.txns = append(o.txns, txn)
	o.states = append(o.states, o.fake.now.Clone())
}

// learn plays all deeds.
func (o *oracle) learn(deeds []deed) error {
	sort.SliceStable(deeds, func(a, b int) bool { return deeds[a].txn < deeds[b].txn })
	return o.w.Do(o.r, func(f *engine.Fiber) error {
		for i := range deeds {
			d := &deeds[i]
			r := replay{txn: d.txn, body: d.q.Append(nil), data: d.data}
			err := o.s.replayOne(f, &r)
			if err == record.NotFound && d.q.Ino != 0 {
				err = nil // it was open without a name, and here it is gone
			}
			if err != nil {
				return fmt.Errorf("deed %d: %v %v %q %q: %w", d.txn, d.q.Op, d.q.Dir, d.q.Name, d.q.NewName, err)
			}
			o.keep(d.txn)
		}
		return nil
	})
}

// dumpAt is the tree after transaction txn.
func (o *oracle) dumpAt(txn uint64) (string, error) {
	i := sort.Search(len(o.txns), func(i int) bool { return o.txns[i] > txn }) - 1
	if d, ok := o.dumps[i]; ok {
		return d, nil
	}
	o.fake.now = o.states[i].Clone()
	var d string
	err := o.w.Do(o.r, func(f *engine.Fiber) (err error) {
		sess, _, err := o.s.Local(f, [16]byte{1}, false, nil)
		if err != nil {
			return err
		}
		defer o.s.Leave(f, sess)
		d, err = asker{f, o.s, sess}.dump()
		return err
	})
	o.dumps[i] = d
	return d, err
}

// forgetAfter goes back to the state after transaction txn.
func (o *oracle) forgetAfter(txn uint64) {
	i := sort.Search(len(o.txns), func(i int) bool { return o.txns[i] > txn })
	for n := i; n < len(o.txns); n++ {
		delete(o.dumps, n)
	}
	o.txns, o.states = o.txns[:i], o.states[:i]
	o.fake.now = o.states[i-1].Clone()
}
