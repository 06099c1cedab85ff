package btree

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/sim"
	"basalt/storage/alloc"
	"basalt/storage/format"
)

// simRig is a tree on a simulated disk, with one fiber that folds and others that read meanwhile.
type simRig struct {
	t     *testing.T
	w     *sim.World
	disk  *sim.Disk
	r     *engine.Reactor
	rig   rig
	space format.Extent
	old   []oldRoot // roots whose blocks are still kept
	done  int
	fails int
	held  *device.Handle
	used  int64 // arena memory before the tree
}

type oldRoot struct {
	root Root
	want map[string]string
}

func newSimRig(t *testing.T, seed uint64, blocks int) *simRig {
	t.Helper()
	s := &simRig{t: t, w: sim.NewWorld(seed)}
	s.disk = s.w.Disk("disk", int64(blocks)*format.BlockBytes)
	s.r = s.w.Reactor(engine.Config{Name: "shard", ArenaBytes: 8 << 20})
	s.space = format.Extent{Start: 2, Len: format.BlockCount(blocks - 2)}
	err := s.w.Boot(s.r, func(f *engine.Fiber) error {
		h, err := s.disk.Device().Attach(f.Turn())
		if err != nil {
			return err
		}
		s.held, s.used = h, f.Reactor().Arena().Used()
		s.rig = rig{t: t, space: s.space, want: map[string]string{}}
		s.rig.env = &memEnv{t: t, a: alloc.NewFree([]format.Extent{s.space}, 1)}
		s.rig.tree = New(Config{
			Device: h, Name: "disk", Arena: f.Reactor().Arena(), Store: format.UUID{1}, NodeBytes: 4096,
			Space: []format.Extent{s.space}, EntriesMax: 8, InlineMax: 100, BatchBytes: 128 << 10,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *simRig) do(fn func(f *engine.Fiber) error) {
	s.t.Helper()
	if err := s.w.Do(s.r, fn); err != nil {
		s.t.Fatal(err)
	}
}

// yieldEnv suspends the fold at every chance.
type yieldEnv struct{ *memEnv }

func (e yieldEnv) Budget(f *engine.Fiber, _ int) error { f.Yield(); return nil }

// touching is a listSource that can say what will come.
type touching struct{ listSource }

func (s *touching) Touches(lo, hi []byte) bool {
	for _, c := range s.changes {
		if string(c.Key) >= string(lo) && (hi == nil || string(c.Key) < string(hi)) {
			return true
		}
	}
	for _, r := range s.ranges {
		if string(r.Hi) > string(lo) && (hi == nil || string(r.Lo) < string(hi)) {
			return true
		}
	}
	return false
}

// folds runs n folds of random changes and keeps the last few roots readable.
func (s *simRig) folds(f *engine.Fiber, n int) error {
	rnd := s.w.Rand()
	for i := range n {
		want := map[string]string{}
		for k, v := range s.rig.want {
			want[k] = v
		}
		src := &touching{}
		last := -1
		for range 40 {
			last += 1 + rnd.IntN(20)
			key := fmt.Sprintf("%06d", last)
			c := Change{Key: []byte(key), Del: rnd.IntN(4) == 0}
			if c.Del {
				delete(want, key)
			} else {
				c.Val = []byte(strings.Repeat(key, 1+rnd.IntN(40)))
				want[key] = string(c.Val)
			}
			src.changes = append(src.changes, c)
		}
		root, err := s.rig.tree.Fold(f, s.rig.root, uint64(i+1), src, yieldEnv{s.rig.env})
		if err != nil {
			return err
		}
		if len(s.old) == 3 {
			s.old = s.old[:0]
			s.rig.env.release() // what the folds since the last release freed: no root that is still read needs it
		}
		s.rig.root, s.rig.want = root, want
		s.old = append(s.old, oldRoot{root, want})
	}
	return nil
}

// reader looks random keys up in random roots until the folds are over.
func (s *simRig) reader(f *engine.Fiber, seed int) {
	for i := 0; s.done == 0; i++ {
		f.Yield()
		if len(s.old) == 0 {
			continue
		}
		o := s.old[(i+seed)%len(s.old)]
		key := fmt.Sprintf("%06d", (i*37+seed*11)%700)
		var pins Pins
		for {
			val, found, miss := s.rig.tree.Get(o.root, []byte(key))
			if miss.None() {
				if want, ok := o.want[key]; ok != found || want != string(val) {
					s.t.Errorf("key %s: %q %v, want %q %v", key, val, found, want, ok)
				}
				break
			}
			if err := s.rig.tree.Load(f, miss, &pins); err != nil {
				if !s.kept(o) {
					break // the fold released its blocks meanwhile: a store would have pinned them
				}
				s.fails++
				var c *format.CorruptError
				var e *device.IOError
				if !errors.As(err, &c) && !errors.As(err, &e) {
					s.t.Errorf("key %s: %v", key, err)
				}
				break
			}
			if !s.kept(o) {
				break
			}
		}
		s.rig.tree.Release(&pins)
	}
}

func (s *simRig) kept(o oldRoot) bool {
	for _, k := range s.old {
		if k.root == o.root {
			return true
		}
	}
	return false
}

// run lets one fiber fold and four read.
func (s *simRig) run(folds int) (err error) {
	running := 5
	for i := range 4 {
		if e := s.w.Go(s.r, func(f *engine.Fiber) { s.reader(f, i); running-- }); e != nil {
			s.t.Fatal(e)
		}
	}
	if e := s.w.Go(s.r, func(f *engine.Fiber) { err = s.folds(f, folds); s.done = 1; running-- }); e != nil {
		s.t.Fatal(e)
	}
	if e := s.w.Run(func() bool { return running == 0 }); e != nil {
		s.t.Fatal(e)
	}
	return err
}

// TestSimulated: folds and readers of old roots side by side, on a disk that reorders, is slow.
func TestSimulated(t *testing.T) {
	for seed := range uint64(12) {
		s := newSimRig(t, seed, 3000)
		s.disk.SetFaults(sim.Faults{Slow: 0.02, SlowNs: 3_000_000})
		if err := s.run(25); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if s.fails != 0 {
			t.Errorf("seed %d: %d reads failed on a sound disk", seed, s.fails)
		}
		s.do(func(f *engine.Fiber) error {
			n := 0
			err := s.rig.tree.Walk(f, s.rig.root, Visitor{Entry: func(key, _ []byte, _ bool) error {
				n++
				if _, ok := s.rig.want[string(key)]; !ok {
					t.Errorf("seed %d: key %s should be gone", seed, key)
				}
				return nil
			}})
			if n != len(s.rig.want) {
				t.Errorf("seed %d: %d entries, want %d", seed, n, len(s.rig.want))
			}
			return err
		})
		s.close()
	}
}

func (s *simRig) close() {
	s.t.Helper()
	s.do(func(f *engine.Fiber) error {
		s.rig.tree.Close()
		if n := f.Reactor().Arena().Used() - s.used; n != 0 {
			return fmt.Errorf("%d bytes of arena memory are lost", n)
		}
		return nil
	})
	s.w.Close()
}

// TestSimulatedRot: whatever a disk returns, a reader gets the right value or an error.
func TestSimulatedRot(t *testing.T) {
	fails, foldErrors := 0, 0
	for seed := range uint64(12) {
		s := newSimRig(t, seed+100, 3000)
		if err := s.run(6); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		s.done = 0
		s.disk.SetFaults(sim.Faults{ReadError: 0.001, ReadFlip: 0.002, ReadMisdirect: 0.002, WriteMisdirect: 0.004, WriteLost: 0.004, WriteFlip: 0.004})
		if err := s.run(10); err != nil {
			foldErrors++
			var e *device.IOError
			if !format.IsCorrupt(err) && !errors.As(err, &e) {
				t.Errorf("seed %d: fold: %v", seed, err)
			}
		}
		fails += s.fails
		s.disk.SetFaults(sim.Faults{})
		s.close()
	}
	if fails == 0 || foldErrors == 0 || foldErrors == 12 {
		t.Errorf("%d reads and %d of 12 folds failed: the faults are not where they should be", fails, foldErrors)
	}
}

// TestCrashInFold: a reactor that dies in the middle of a fold, with reads and writes in flight, unwinds.
func TestCrashInFold(t *testing.T) {
	for seed := range uint64(20) {
		s := newSimRig(t, seed+200, 3000)
		for i := range 3 {
			if err := s.w.Go(s.r, func(f *engine.Fiber) { s.reader(f, i) }); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.w.Go(s.r, func(f *engine.Fiber) { _ = s.folds(f, 1000) }); err != nil {
			t.Fatal(err)
		}
		stop := s.disk.Ops() + 40 + seed*7
		if err := s.w.Run(func() bool { return s.disk.Ops() >= stop }); err != nil {
			t.Fatal(err)
		}
		s.w.Crash(s.r)
		s.w.Close()
	}
}

// TestSimulationRepeats: the same seed gives the same history.
func TestSimulationRepeats(t *testing.T) {
	hash := func() uint64 {
		s := newSimRig(t, 7, 3000)
		s.disk.SetFaults(sim.Faults{Slow: 0.02})
		if err := s.run(8); err != nil {
			t.Fatal(err)
		}
		defer s.close()
		return s.w.TraceHash()
	}
	if a, b := hash(), hash(); a != b {
		t.Errorf("trace hashes %x and %x", a, b)
	}
}
