package storage

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"basalt/engine"

	"pgregory.net/rapid"
)

const shelfColls = 3

// shelfOptions are limits under which a store must give the same answers.
var shelfOptions = []func(o *Options){
	func(o *Options) { o.ExactBlocksMax = 1 },
	func(o *Options) {
		o.ExactBlocksMax, o.RunBlocks, o.GroupStartBytes, o.DeltaBytesMax = 3, 1, 4096, 256<<10
		o.GroupDelayNs, o.TurnBudgetNs, o.LimboShare = 200_000, 1000, 64
	},
	func(o *Options) { o.CacheBytes, o.DeltaBytesMax, o.RunBlocks, o.GroupDelayNs = 1<<20, 4<<20, 256, 20e6 },
}

// exactBlocks: the options that count every object's blocks exactly. Objects stay far below 1024 blocks.
const exactBlocks = 1024

// shelves are stores with different limits that live the same life, and the model.
type shelves struct {
	t      *testing.T
	stores []*bench
	m      *shelf
	log    []logged // of all transactions: number 1 is the first
	snaps  []shelfSnapshot
	seed   uint64
	tally  *shelfTally
}

// shelfTally is what the lives of a test have met.
type shelfTally struct{ done, failed, lost, snapshots int }

// logged is a transaction that was applied, its results and the state after it.
type logged struct {
	steps   []*step
	results []string
	after   *shelf
}

type shelfSnapshot struct {
	m  *shelf
	of []*Snapshot // of each store
}

func newShelves(t *testing.T, tally *shelfTally) *shelves {
	x := &shelves{t: t, m: &shelf{colls: map[Coll]*shelfColl{}}, seed: 500, tally: tally}
	for i, set := range shelfOptions {
		b := newBench(t, x.seed+uint64(i), nil, 8<<20)
		b.opt.ExactBlocksMax = exactBlocks
		b.opt.TxnRecordMax, b.opt.GroupRecordMax, b.opt.SlabChunkBytes = 64<<10, 128<<10, 128<<10 // any six steps fit
		set(&b.opt)
		b.do(func(f *engine.Fiber) error {
			return Format(f, b.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 256 << 10, NodeBytes: 8 << 10})
		})
		b.mount()
		x.stores = append(x.stores, b)
	}
	return x
}

// begin makes all collections but the last one.
func (x *shelves) begin(t *rapid.T) {
	var steps []*step
	for c := Coll(1); c < shelfColls; c++ {
		steps = append(steps, &step{call: &keyCalls[collectionCall], c: c})
	}
	x.apply(t, steps)
}

// class is what a caller can tell errors by.
func class(err error) string {
	if bad := (*VersionError)(nil); errors.As(err, &bad) {
		return bad.Error()
	}
	for _, e := range []error{ErrNotFound, ErrExists, ErrTooLarge, ErrInvalid} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return fmt.Sprint(err)
}

// run is a transaction of one store: its results, and its number.
func (b *bench) run(steps []*step) (results []string, seq Seq, err error) {
	err = b.w.Do(b.r, func(f *engine.Fiber) (err error) {
		seq, err = b.s.Update(f, func(tx *Tx) error {
			results = results[:0]
			for _, s := range steps {
				out, err := s.onTx(s, tx)
				if results = append(results, out+" "+class(err)); err != nil {
					return err
				}
			}
			return nil
		})
		return err
	})
	return results, seq, err
}

// transact runs a few random transactions.
func (x *shelves) transact(t *rapid.T) {
	for range rapid.IntRange(1, 4).Draw(t, "transactions") {
		daring := rapid.IntRange(0, 5).Draw(t, "daring") == 0
		m := x.m.copy()
		var steps []*step
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			s := &step{call: &calls[rapid.IntRange(0, len(calls)-1).Draw(t, "call")], c: Coll(rapid.IntRange(1, shelfColls).Draw(t, "collection"))}
			s.draw(t, s)
			if _, err := s.onModel(s, m); err == nil || daring { // most transactions do only what is possible
				steps = append(steps, s)
			}
		}
		x.apply(t, steps)
	}
}

// apply runs a transaction on the model and on every store, and awaits that it is committed, or only applied.
func (x *shelves) apply(t *rapid.T, steps []*step) {
	next, fails := x.m.copy(), error(nil)
	var want []string
	for _, s := range steps {
		out, err := s.onModel(s, next)
		if want = append(want, out+" "+class(err)); err != nil {
			fails = err
			break
		}
	}
	if fails != nil || !next.changed {
		next = x.m
		x.tally.failed++
	} else {
		x.tally.done++
		next.seq, next.changed = next.seq+1, false
		x.log = append(x.log, logged{steps, want, next})
	}
	x.m = next
	awaits := rapid.IntRange(0, 3).Draw(t, "awaits committed") == 0
	for i, b := range x.stores {
		got, seq, err := b.run(steps)
		if class(err) != class(fails) || strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("store %d: %v\ngave  %q, %v\nwant  %q, %v", i, steps, got, err, want, fails)
		}
		if err == nil && uint64(seq) != next.seq {
			t.Fatalf("store %d: transaction %d, want %d", i, seq, next.seq)
		}
		if awaits {
			b.commit(Seq(next.seq))
			if b.s.Committed() < Seq(next.seq) {
				t.Fatalf("store %d: committed is %d, awaited was %d", i, b.s.Committed(), next.seq)
			}
		}
	}
}

// pause lets groups start and checkpoints proceed: what comes next meets them half way.
func (x *shelves) pause(t *rapid.T) {
	ns := int64(rapid.IntRange(1, 3_000_000).Draw(t, "ns"))
	for _, b := range x.stores {
		b.do(func(f *engine.Fiber) error { f.Sleep(ns); return nil })
	}
}

func (x *shelves) checkpoint(*rapid.T) {
	for _, b := range x.stores {
		b.do(b.s.Checkpoint)
	}
}

func (x *shelves) snapshot(*rapid.T) {
	if len(x.snaps) == 2 {
		x.release(0)
	}
	p := shelfSnapshot{m: x.m}
	for _, b := range x.stores {
		b.do(func(f *engine.Fiber) error {
			snap, _ := b.s.Snapshot(f.Turn())
			p.of = append(p.of, snap)
			return nil
		})
	}
	x.snaps = append(x.snaps, p)
}

func (x *shelves) release(i int) {
	x.tally.snapshots++
	for k, b := range x.stores {
		b.do(func(f *engine.Fiber) error { x.snaps[i].of[k].Release(f.Turn()); return nil })
	}
	x.snaps = append(x.snaps[:i], x.snaps[i+1:]...)
}

// remount ends every store in peace and mounts it again.
func (x *shelves) remount(t *rapid.T) {
	for len(x.snaps) > 0 {
		x.release(0)
	}
	for i, b := range x.stores {
		b.unmount()
		x.reboot(t, i)
		if now := uint64(x.stores[i].s.Applied()); now != x.m.seq {
			t.Fatalf("store %d: mounted at transaction %d, unmounted at %d", i, now, x.m.seq)
		}
	}
}

// powerCut takes the power from every store. Each keeps what it had reported as committed and perhaps more; what it lost it is told again, as
// clients do, and must get the same answers.
func (x *shelves) powerCut(t *rapid.T) {
	x.snaps = nil // they die with the process
	for i, b := range x.stores {
		committed := uint64(b.s.Committed())
		x.reboot(t, i)
		b = x.stores[i]
		at := uint64(b.s.Applied())
		if at < committed || at > x.m.seq {
			t.Fatalf("store %d: recovered to %d, committed was %d, applied %d", i, at, committed, x.m.seq)
		}
		state := &shelf{colls: map[Coll]*shelfColl{}}
		if at > 0 {
			state = x.log[at-1].after
		}
		x.compare(t, i, state)
		x.tally.lost += len(x.log[at:])
		for _, l := range x.log[at:] {
			got, seq, err := b.run(l.steps)
			if err != nil || uint64(seq) != l.after.seq || strings.Join(got, "\n") != strings.Join(l.results, "\n") {
				t.Fatalf("store %d: transaction %d again: %q, number %d, %v", i, l.after.seq, got, seq, err)
			}
		}
	}
}

func (x *shelves) reboot(t *rapid.T, i int) {
	x.seed++
	old := x.stores[i]
	b := old.reboot(x.seed)
	old.w.Close()
	b.fsck()
	b.mount()
	x.stores[i] = b
}

func (x *shelves) check(t *rapid.T) {
	for i := range x.stores {
		x.compare(t, i, x.m)
		for _, p := range x.snaps {
			b := x.stores[i]
			if err := b.w.Do(b.r, func(f *engine.Fiber) error { return compareSnapshot(f, p.of[i], p.m) }); err != nil {
				t.Fatalf("store %d: snapshot of %d at %d: %v", i, p.m.seq, x.m.seq, err)
			}
		}
	}
}

// compare reads everything that a store has.
func (x *shelves) compare(t *rapid.T, i int, m *shelf) {
	b := x.stores[i]
	err := b.w.Do(b.r, func(f *engine.Fiber) error {
		for c := Coll(0); c <= shelfColls+1; c++ {
			coll := m.colls[c]
			var keys, objs []string
			err := b.s.View(f, func(tx *Tx) (err error) {
				keys, objs = nil, nil
				if tx.HasCollection(c) != (coll != nil) {
					return fmt.Errorf("collection %d is there: %v", c, coll == nil)
				}
				if coll == nil {
					return nil
				}
				if err = tx.Scan(c, nil, nil, 0, func(k, v []byte) bool { keys = append(keys, show(string(k), string(v))); return true }); err != nil {
					return err
				}
				_, err = tx.Objects(c, nil, 0, func(name []byte, info ObjectInfo) bool {
					objs = append(objs, fmt.Sprintf("%s: %d bytes, version %d", name, info.Size, info.Version))
					return true
				})
				return err
			})
			if err != nil {
				return err
			}
			if coll == nil {
				continue
			}
			list, _ := coll.list("", 1000)
			if got, want := fmt.Sprint(keys, objs), fmt.Sprint(coll.scan("", "", 0), list); got != want {
				return fmt.Errorf("collection %d:\n has %s\nwant %s", c, got, want)
			}
			for name, o := range coll.objs {
				if err := b.compareObject(f, c, name, o); err != nil {
					return fmt.Errorf("object %d/%s: %w", c, name, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("store %d at transaction %d: %v", i, m.seq, err)
	}
}

// compareObject reads an object: attributes, data and holes, and a little around them.
func (b *bench) compareObject(f *engine.Fiber, c Coll, name string, o *shelfObject) error {
	var attrs []string
	err := b.s.View(f, func(tx *Tx) error {
		attrs = nil
		info, err := tx.Stat(c, []byte(name))
		if n := uint64(len(o.pages)); err == nil && (info.Blocks < n || info.Blocks > n && b.opt.ExactBlocksMax == exactBlocks) {
			return fmt.Errorf("%d blocks, want %d", info.Blocks, n)
		}
		return errors.Join(err, tx.EachAttr(c, []byte(name), func(n, v []byte) bool {
			attrs = append(attrs, show(string(n), string(v)))
			return true
		}))
	})
	if want := o.attrList(); err != nil || fmt.Sprint(attrs) != fmt.Sprint(want) {
		return errors.Join(err, fmt.Errorf("attributes %q, want %q", attrs, want))
	}
	var runs []string
	p := make([]byte, 150<<10)
	for at := uint64(0); ; {
		data, err := b.s.SeekData(f, c, []byte(name), at)
		if errors.Is(err, ErrNotFound) {
			break
		}
		hole, err2 := b.s.SeekHole(f, c, []byte(name), data)
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		runs, at = append(runs, fmt.Sprintf("%d…%d", data, hole)), hole
		from, n := data-min(data, 5000), int(min(hole-data+10000, uint64(len(p))))
		got, err := b.s.Read(f, c, []byte(name), from, p[:n])
		if want := o.read(from, n); err != nil || string(p[:got]) != want {
			return fmt.Errorf("%d bytes at %d differ from the %d wanted: %w", got, from, len(want), err)
		}
	}
	if want := o.runs(); fmt.Sprint(runs) != fmt.Sprint(want) {
		return fmt.Errorf("data in %q, want %q", runs, want)
	}
	return nil
}

// compareSnapshot reads a snapshot in pages of three keys, each from a cursor.
func compareSnapshot(f *engine.Fiber, p *Snapshot, m *shelf) error {
	for c := Coll(1); c <= shelfColls; c++ {
		var got, want []string
		if coll := m.colls[c]; coll != nil {
			want = coll.scan("", "", 0)
		}
		for cursor, full := []byte(nil), true; full; {
			n := 0
			if err := p.Scan(f, c, cursor, nil, func(k, v []byte) bool {
				got, cursor = append(got, show(string(k), string(v))), append(append(cursor[:0], k...), 0)
				n++
				return n < 3
			}); err != nil {
				return err
			}
			full = n == 3
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("collection %d has %q, want %q", c, got, want)
		}
	}
	return nil
}

// Random transactions of the whole interface, on stores with different limits and on a model, with snapshots, checkpoints, remounts and power
// cuts in between: every answer of every store must be the model's.
func TestStoresAgainstModel(t *testing.T) {
	var tally shelfTally
	rapid.Check(t, func(rt *rapid.T) {
		x := newShelves(t, &tally)
		x.begin(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"transact": x.transact, "transact2": x.transact,
			"pause": x.pause, "checkpoint": x.checkpoint, "snapshot": x.snapshot, "remount": x.remount, "power cut": x.powerCut, "": x.check,
		})
		x.remount(rt)
		x.check(rt)
		for _, b := range x.stores {
			b.unmount()
			b.fsck()
			b.w.Close()
		}
	})
	t.Logf("%d transactions, %d that failed or changed nothing, %d lost in power cuts, %d snapshots", tally.done, tally.failed, tally.lost, tally.snapshots)
}
