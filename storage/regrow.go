package storage

import (
	"bytes"
	"errors"
	"fmt"
	"sort"

	"basalt/engine"
	"basalt/storage/btree"
	"basalt/storage/format"
	"basalt/storage/journal"
)

// A tree of which nodes cannot be read is not mended but made anew: all entries that can be read are written as a new tree to free blocks, the journal
// is replayed over that, and the checkpoint of the mount makes all of it durable at once. Until then the old state is as it was: spared.go says how.

// LostRange is a run of keys of the tree that cannot be read.
type LostRange struct {
	Lo, Hi []byte // tree keys, half-open; an empty Hi has no end
	Err    error
}

func (r *LostRange) String() string {
	return fmt.Sprintf("all that the tree has from %s to before %s: %v", boundOf(r.Lo, "the beginning"), boundOf(r.Hi, "the end"), r.Err)
}

// boundOf says what a key is, as far as it is whole: keys between nodes are cut as short as they may be.
func boundOf(key []byte, none string) string {
	if len(key) == 0 {
		return none
	}
	k, err := format.DecodeKey(format.Place{}, key)
	switch {
	case err != nil:
		return fmt.Sprintf("key %x", key)
	case k.Kind == format.KindOnode:
		return fmt.Sprintf("object %x of collection %d", k.Rest, k.Coll)
	case k.Kind == format.KindExtent:
		return fmt.Sprintf("block %d of object %x of collection %d", k.BlockOff, k.Rest, k.Coll)
	case k.Kind == format.KindUser:
		return fmt.Sprintf("key %x of collection %d", k.Rest, k.Coll)
	}
	return fmt.Sprintf("collection %d", k.Coll)
}

func sameRanges(a, b []LostRange) bool {
	same := len(a) == len(b)
	for i := 0; same && i < len(a); i++ {
		same = bytes.Equal(a[i].Lo, b[i].Lo) && bytes.Equal(a[i].Hi, b[i].Hi)
	}
	return same
}

// torn tells whether a part of the tree is lost.
func (sv *salvage) torn() bool { return sv != nil && len(sv.losses.Ranges) > 0 }

// passOver has a walk go on behind what cannot be read.
func (sv *salvage) passOver(_ format.ChildPtr, _ int, err error) error {
	if sv == nil || !isDamage(err) {
		return err
	}
	return nil
}

// only has a walk go on behind what lookThrough has found, and behind nothing else. What could be read then and cannot now would be given up without
// a word, and a space map made without it would call blocks free that are named. other is set then: nothing may be made of what the walk has seen.
func (sv *salvage) only(v btree.Visitor, other *error) btree.Visitor {
	v.Bad = sv.passOver
	v.Lost = func(lo, hi []byte, err error) {
		if *other == nil && !sv.knows(lo, hi) {
			*other = err
		}
	}
	return v
}

// knows tells whether lookThrough has found that these keys are lost.
func (sv *salvage) knows(lo, hi []byte) bool {
	l := sv.losses.Ranges // ascending, as they were walked
	i := sort.Search(len(l), func(i int) bool { return bytes.Compare(l[i].Lo, lo) >= 0 })
	return i < len(l) && bytes.Equal(l[i].Lo, lo) && bytes.Equal(l[i].Hi, hi)
}

// lookThrough finds what of the tree cannot be read.
func (sv *salvage) lookThrough(f *engine.Fiber, s *Store) error {
	if sv == nil {
		return nil
	}
	err := s.tree.Walk(f, s.super.Tree, btree.Visitor{
		Bad: sv.passOver,
		Entry: func(key, val []byte, _ bool) error {
			if len(key) < 3 {
				return nil
			}
			switch format.Kind(key[2]) {
			case format.KindShare:
				sv.shares = true
			case format.KindExtent:
				p, err := s.piece(&entry{key: key, val: val})
				sv.shares = sv.shares || err == nil && p.rec.IsShared()
			}
			return nil
		},
		Lost: func(lo, hi []byte, err error) {
			sv.losses.Ranges = append(sv.losses.Ranges, LostRange{Lo: bytes.Clone(lo), Hi: bytes.Clone(hi), Err: err})
		},
		Budget: func(f *engine.Fiber) error { f.Yield(); return nil },
	})
	if err == nil && sv.named != nil && !sameRanges(sv.losses.Ranges, sv.named.Ranges) {
		err = sv.agreed(s)
	}
	return err
}

// reportTorn makes findings of it. More is not looked for: of what is left one finds out when it is a tree again.
func (sv *salvage) reportTorn(f *engine.Fiber, rep *FsckReport, s *Store) error {
	for i := range sv.losses.Ranges {
		r := &sv.losses.Ranges[i]
		rep.add(Finding{Extent: damagedAt(r.Err), What: r.String(), Err: r.Err, Kind: FoundNode})
	}
	if sv.shares {
		rep.find(Extent{}, nil, "a torn tree with clones in it: a repair does not count anew how many objects share a block")
	}
	switch err := s.readMap(f, &rep.Mount); {
	case err != nil && !isDamage(err):
		return err
	case err != nil:
		rep.find(Extent{}, err, "the space map cannot be used, and none can be made of what is left of the tree")
	case rep.Mount.MapRebuilt != "":
		rep.findMap(Extent{}, errors.New(rep.Mount.MapRebuilt), "the space map cannot be used")
	}
	err := s.scanJournal(f, func(scan *journal.Scan) error {
		_, err := s.findEnd(f, scan)
		return err
	})
	var rot *RotError
	if isDamage(err) || errors.As(err, &rot) {
		rep.find(s.super.Journal, err, "the journal cannot be replayed")
		err = nil
	}
	sv.report(rep, s)
	return err
}

// scanJournal lends a scan of the journal.
func (s *Store) scanJournal(f *engine.Fiber, use func(scan *journal.Scan) error) error {
	n := max(int(format.BlocksFor(int64(s.super.JournalRecord)))*format.BlockBytes, 1<<20)
	buf, err := s.replayMemory(min(n, int(s.super.Journal.Bytes())))
	if err != nil {
		return err
	}
	defer s.arena.Put(buf)
	return use(journal.NewScan(s.journalDevice(), s.name, &s.super, s.arena.Bytes(buf)))
}

// regrow makes the new tree, in memory the one that the superblock names from now on.
func (sv *salvage) regrow(f *engine.Fiber, s *Store) error {
	if !sv.torn() {
		return nil
	}
	held, err := sv.spareJournal(f, s)
	if err == nil {
		err = sv.mayWrite(s)
	}
	if err != nil {
		return err
	}
	src := &survivors{f: f, s: s, root: s.super.Tree}
	src.fill()
	root, err := s.tree.Fold(f, btree.Root{}, s.super.Epoch+1, src, &regrowEnv{s: s})
	if err == nil {
		err = src.err
	}
	if err != nil {
		return fmt.Errorf("storage: a new tree of what is left: %w", err)
	}
	for _, e := range held {
		s.alloc.Free(e)
	}
	s.super.Tree = root
	return nil
}

// survivors gives a fold the entries of a tree that can be read.
type survivors struct {
	f    *engine.Fiber
	s    *Store
	root btree.Root
	list []btree.Change
	at   int
	next []byte // where the next part begins
	done bool
	err  error
}

const survivorBytes = 64 << 10 // of one part

func (v *survivors) Change() (btree.Change, bool) {
	if v.at == len(v.list) {
		return btree.Change{}, false
	}
	return v.list[v.at], true
}

func (v *survivors) NextChange() {
	if v.at++; v.at == len(v.list) && !v.done {
		v.fill()
	}
}

func (v *survivors) Range() (btree.Range, bool) { return btree.Range{}, false }
func (v *survivors) NextRange()                 {}

// fill reads the next part.
func (v *survivors) fill() {
	v.list, v.at = v.list[:0], 0
	size := 0
	keep := func(key, val []byte) error {
		size += len(key) + len(val)
		v.list = append(v.list, btree.Change{Key: bytes.Clone(key), Val: bytes.Clone(val), Settled: true})
		return nil
	}
	var other error
	err := v.s.tree.Walk(v.f, v.root, v.s.salvage.only(btree.Visitor{
		From: v.next, Long: keep,
		Entry: func(key, val []byte, out bool) error {
			if size > survivorBytes {
				v.next = append(v.next[:0], key...)
				return errStretch
			}
			if out {
				return nil // Long has it
			}
			return keep(key, val)
		},
		Budget: func(f *engine.Fiber) error { f.Yield(); return nil },
	}, &other))
	if other != nil {
		err = other
	}
	if v.done = err == nil; err != nil && err != errStretch {
		v.list, v.err, v.done = v.list[:0], err, true
	}
}

// regrowEnv gives the fold free blocks. It replaces nothing, so it frees nothing.
type regrowEnv struct{ s *Store }

func (e *regrowEnv) Alloc(want, least BlockCount) (Extent, error) {
	x, ok := e.s.alloc.AllocRun(want, least, 0)
	if !ok {
		return x, ErrFull
	}
	return x, nil
}

func (e *regrowEnv) Return(x Extent) { e.s.alloc.Free(x) }

func (e *regrowEnv) Free(x Extent)                             { panic("storage: a tree from nothing replaces " + x.String()) }
func (e *regrowEnv) NeedsVisit(_, _ []byte) bool               { return false }
func (e *regrowEnv) Dropped(_, _ []byte) error                 { return nil }
func (e *regrowEnv) Budget(f *engine.Fiber, written int) error { f.Yield(); return nil }
