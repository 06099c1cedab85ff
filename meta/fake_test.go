package meta

import (
	"bytes"
	"cmp"
	"math/rand/v2"

	"basalt/engine"
	"basalt/storage"

	"github.com/google/btree"
)

// fakeStore is the store of unit tests: one ordered map in memory, with the contract of the real one and worse manners. It misses at random, so
// that decisions run several times; it refuses at will; and crash gives back what was committed.
type fakeStore struct {
	now       *btree.BTreeG[fakeItem]
	durable   *btree.BTreeG[fakeItem]
	applied   storage.Seq
	committed storage.Seq
	rng       *rand.Rand
	missOneIn int   // 0: never
	refuse    error // what Update answers
	refuseIf  func(o *operation) error
	full      bool   // takes only transactions that remove something
	fold      func() // what a checkpoint does
	removes   int    // objects that one transaction may remove, as on a full store; 0: any
	space     *storage.Space
	pins      int
	commits   int
}

const fakeBlock = 4096

type fakeItem struct {
	coll storage.Coll
	obj  bool
	key  string
	val  []byte      // of a key
	data *fakeObject // of an object; never changed
}

type fakeObject struct {
	bytes []byte
	have  map[int]bool // blocks that are allocated
}

func fakeLess(a, b fakeItem) bool {
	if a.coll != b.coll {
		return a.coll < b.coll
	}
	if a.obj != b.obj {
		return !a.obj
	}
	return cmp.Less(a.key, b.key)
}

func newFakeStore(seed uint64) *fakeStore {
	t := btree.NewG(16, fakeLess)
	return &fakeStore{now: t, durable: t.Clone(), rng: rand.New(rand.NewPCG(seed, 7))}
}

// crash forgets what was not committed.
func (s *fakeStore) crash() *fakeStore {
	n := *s
	n.now, n.applied, n.pins = s.durable.Clone(), s.committed, 0
	return &n
}

func (s *fakeStore) run(f *engine.Fiber, fn func(tx *fakeTx) error) (*fakeTx, error) {
	for try := 0; ; try++ {
		tx := &fakeTx{s: s, t: s.now.Clone(), mayMiss: s.missOneIn > 0 && try < 20}
		err := fn(tx)
		if tx.missed && err == nil {
			panic("fake: a closure swallowed ErrMiss")
		}
		if err != storage.ErrMiss {
			return tx, err
		}
		f.Yield()
	}
}

func (s *fakeStore) Update(f *engine.Fiber, o *operation) (storage.Seq, error) {
	if s.refuse != nil {
		return 0, s.refuse
	}
	if s.refuseIf != nil {
		if err := s.refuseIf(o); err != nil {
			return 0, err
		}
	}
	tx, err := s.run(f, func(tx *fakeTx) error { return o.run(tx) })
	if err == nil && s.missOneIn > 0 && s.rng.IntN(4) == 0 { // it did not fit and has to be decided again, later
		f.Yield()
		tx, err = s.run(f, func(tx *fakeTx) error { return o.run(tx) })
	}
	if err == nil && (s.removes > 0 && tx.removed > s.removes || s.full && !tx.shrank) {
		err = storage.ErrFull
	}
	if err != nil {
		return 0, err
	}
	s.now = tx.t
	s.applied++
	return s.applied, nil
}

func (s *fakeStore) View(f *engine.Fiber, o *operation) error {
	_, err := s.run(f, func(tx *fakeTx) error { return o.look(tx) })
	return err
}

func (s *fakeStore) Commit(f *engine.Fiber, seq storage.Seq) error {
	if s.committed >= seq {
		return nil
	}
	at := s.applied
	state := s.now.Clone()
	f.Yield()
	if s.committed < at {
		s.committed, s.durable = at, state
		s.commits++
	}
	return nil
}

func (s *fakeStore) Checkpoint(f *engine.Fiber) error {
	f.Yield()
	if s.fold != nil {
		s.fold()
	}
	return nil
}

func (s *fakeStore) Applied() storage.Seq   { return s.applied }
func (s *fakeStore) Committed() storage.Seq { return s.committed }
func (s *fakeStore) Space() storage.Space {
	if s.space != nil {
		return *s.space
	}
	return storage.Space{BlockBytes: fakeBlock, Total: 1000, Free: 500, Avail: 400}
}

func (s *fakeStore) object(c storage.Coll, obj []byte) (*fakeObject, error) {
	it, ok := s.now.Get(fakeItem{coll: c, obj: true, key: string(obj)})
	if !ok {
		return nil, storage.ErrNotFound
	}
	return it.data, nil
}

func (s *fakeStore) Read(f *engine.Fiber, c storage.Coll, obj []byte, off uint64, dst []byte) (int, error) {
	f.Yield()
	o, err := s.object(c, obj)
	if err != nil || off >= uint64(len(o.bytes)) {
		return 0, err
	}
	return copy(dst, o.bytes[off:]), nil
}

func (s *fakeStore) SeekData(f *engine.Fiber, c storage.Coll, obj []byte, off uint64) (uint64, error) {
	o, err := s.object(c, obj)
	if err != nil {
		return 0, err
	}
	for ; off < uint64(len(o.bytes)); off = off - off%fakeBlock + fakeBlock {
		if o.have[int(off/fakeBlock)] {
			return off, nil
		}
	}
	return 0, storage.ErrNotFound
}

func (s *fakeStore) SeekHole(f *engine.Fiber, c storage.Coll, obj []byte, off uint64) (uint64, error) {
	o, err := s.object(c, obj)
	if err != nil {
		return 0, err
	}
	if off > uint64(len(o.bytes)) {
		return 0, storage.ErrNotFound
	}
	for ; off < uint64(len(o.bytes)); off = off - off%fakeBlock + fakeBlock {
		if !o.have[int(off/fakeBlock)] {
			return off, nil
		}
	}
	return uint64(len(o.bytes)), nil
}

func (s *fakeStore) Pin(t *engine.Turn) (snapshot, bool) {
	s.pins++
	return &fakeSnapshot{s: s, t: s.now.Clone()}, true
}

type fakeSnapshot struct {
	s *fakeStore
	t *btree.BTreeG[fakeItem]
}

func (p *fakeSnapshot) Scan(f *engine.Fiber, c storage.Coll, lo, hi []byte, fn func(key, val []byte) bool) error {
	f.Yield()
	tx := &fakeTx{s: p.s, t: p.t}
	return tx.Scan(c, lo, hi, 0, fn)
}

func (p *fakeSnapshot) Release(t *engine.Turn) { p.s.pins-- }

type fakeTx struct {
	s       *fakeStore
	t       *btree.BTreeG[fakeItem]
	mayMiss bool
	missed  bool
	removed int // objects
	shrank  bool
}

func (tx *fakeTx) miss() error {
	if tx.mayMiss && tx.s.rng.IntN(tx.s.missOneIn) == 0 {
		tx.missed = true
		return storage.ErrMiss
	}
	return nil
}

func (tx *fakeTx) Get(c storage.Coll, key []byte) ([]byte, error) {
	if err := tx.miss(); err != nil {
		return nil, err
	}
	it, ok := tx.t.Get(fakeItem{coll: c, key: string(key)})
	if !ok {
		return nil, storage.ErrNotFound
	}
	return it.val, nil
}

func (tx *fakeTx) Put(c storage.Coll, key, val []byte) error {
	tx.t.ReplaceOrInsert(fakeItem{coll: c, key: string(key), val: bytes.Clone(val)})
	return nil
}

func (tx *fakeTx) Delete(c storage.Coll, key []byte) error {
	tx.shrank = true
	tx.t.Delete(fakeItem{coll: c, key: string(key)})
	return nil
}

func (tx *fakeTx) DeleteRange(c storage.Coll, lo, hi []byte) error {
	tx.shrank = true
	var keys []string
	tx.t.AscendRange(fakeItem{coll: c, key: string(lo)}, fakeItem{coll: c, key: string(hi)}, func(it fakeItem) bool {
		keys = append(keys, it.key)
		return true
	})
	for _, k := range keys {
		tx.t.Delete(fakeItem{coll: c, key: k})
	}
	return nil
}

func (tx *fakeTx) Scan(c storage.Coll, lo, hi []byte, limit int, fn func(key, val []byte) bool) error {
	n := 0
	var err error
	tx.t.AscendRange(fakeItem{coll: c, key: string(lo)}, fakeItem{coll: c, key: string(hi)}, func(it fakeItem) bool {
		if err = tx.miss(); err != nil {
			return false
		}
		n++
		return fn([]byte(it.key), bytes.Clone(it.val)) && n != limit
	})
	return err
}

func (tx *fakeTx) object(c storage.Coll, obj []byte) *fakeObject {
	it, _ := tx.t.Get(fakeItem{coll: c, obj: true, key: string(obj)})
	return it.data
}

func (tx *fakeTx) Stat(c storage.Coll, obj []byte) (storage.ObjectInfo, error) {
	if err := tx.miss(); err != nil {
		return storage.ObjectInfo{}, err
	}
	o := tx.object(c, obj)
	if o == nil {
		return storage.ObjectInfo{}, storage.ErrNotFound
	}
	return storage.ObjectInfo{Size: uint64(len(o.bytes)), Blocks: uint64(len(o.have))}, nil
}

// change replaces an object by a changed copy.
func (tx *fakeTx) change(c storage.Coll, obj []byte, size int, fn func(o *fakeObject)) {
	n := &fakeObject{have: map[int]bool{}}
	if o := tx.object(c, obj); o != nil {
		n.bytes = append(n.bytes, o.bytes...)
		for b := range o.have {
			n.have[b] = true
		}
	}
	if size > len(n.bytes) {
		n.bytes = append(n.bytes, make([]byte, size-len(n.bytes))...)
	}
	fn(n)
	tx.t.ReplaceOrInsert(fakeItem{coll: c, obj: true, key: string(obj), data: n})
}

func (tx *fakeTx) Write(c storage.Coll, obj []byte, off uint64, data []byte) error {
	if err := tx.miss(); err != nil {
		return err
	}
	tx.change(c, obj, int(off)+len(data), func(o *fakeObject) {
		copy(o.bytes[off:], data)
		for b := int(off / fakeBlock); b*fakeBlock < int(off)+len(data); b++ {
			o.have[b] = true
		}
	})
	return nil
}

func (tx *fakeTx) Truncate(c storage.Coll, obj []byte, size uint64) error {
	tx.change(c, obj, int(size), func(o *fakeObject) {
		o.bytes = o.bytes[:size]
		for b := range o.have {
			if b*fakeBlock >= int(size) {
				delete(o.have, b)
			}
		}
	})
	return nil
}

func (tx *fakeTx) Punch(c storage.Coll, obj []byte, off, n uint64) error {
	tx.change(c, obj, 0, func(o *fakeObject) {
		clear(o.bytes[off : off+n])
		for b := range o.have {
			if b*fakeBlock >= int(off) && (b+1)*fakeBlock <= int(off+n) {
				delete(o.have, b)
			}
		}
	})
	return nil
}

func (tx *fakeTx) Remove(c storage.Coll, obj []byte) error {
	if _, ok := tx.t.Delete(fakeItem{coll: c, obj: true, key: string(obj)}); !ok {
		return storage.ErrNotFound
	}
	tx.removed++
	tx.shrank = true
	return nil
}

func (tx *fakeTx) MakesRoom() { tx.shrank = true }

func (tx *fakeTx) CreateCollection(c storage.Coll) error { return nil }
