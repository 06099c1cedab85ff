package netio

import (
	"errors"
	"fmt"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
)

// simScene connects the two in a simulated world.
type simScene struct {
	scene
	w     *sim.World
	ends  []int32 // client descriptors, in order
	fault sim.NetFaults
}

func newSimScene(seed uint64, lim Limits, fault sim.NetFaults) (*simScene, error) {
	w := sim.NewWorld(seed)
	s := &simScene{w: w, fault: fault}
	s.h, s.lim = &scripted{}, lim
	s.sr = w.Reactor(engine.Config{Name: "server", ArenaBytes: 64 << 20})
	s.cr = w.Reactor(engine.Config{Name: "client", ArenaBytes: 64 << 20})
	var err error
	if s.port, err = NewPort(3, s.sr, s.h, lim); err != nil {
		return nil, err
	}
	for _, r := range []*engine.Reactor{s.sr, s.cr} {
		if err := w.Boot(r, func(*engine.Fiber) error { return nil }); err != nil {
			return nil, err
		}
	}
	s.dial = func(f *engine.Fiber, cfg LinkConfig) (*Link, error) {
		cfg.Shard = 3
		if cfg.Limits == (Limits{}) {
			cfg.Limits = lim
		}
		a, b := w.Pipe(s.cr, s.sr)
		w.Conn(a).SetFaults(s.fault)
		s.ends = append(s.ends, a)
		if err := s.onServer(f, func(g *engine.Fiber) { s.port.Adopt(g.Turn(), b, "sim", nil) }); err != nil {
			return nil, err
		}
		return Adopt(f, a, "sim", cfg)
	}
	s.drain = func(f *engine.Fiber) error {
		return s.onServer(f, s.port.Drain)
	}
	s.cut = func(f *engine.Fiber) {
		s.w.Conn(s.ends[len(s.ends)-1]).Reset()
	}
	return s, nil
}

// finish drains the server and proves that nothing is left on either side.
func (s *simScene) finish() error {
	err := s.w.Do(s.cr, func(f *engine.Fiber) error {
		if err := s.openGate(f); err != nil {
			return err
		}
		if err := s.drain(f); err != nil {
			return err
		}
		// The server is gone; what the client still has ends by itself.
		return until(f, "the client's memory", func() bool { return s.cr.Arena().Used() <= 4096 })
	})
	if err != nil {
		return err
	}
	p := s.port
	if len(p.conns) != 0 || p.requests != 0 || p.bytes != 0 || len(p.starved) != 0 || s.h.detached != len(s.h.conns) {
		return fmt.Errorf("after drain: %d connections, %d requests, %d bytes, %d starved, %d of %d detached",
			len(p.conns), p.requests, p.bytes, len(p.starved), s.h.detached, len(s.h.conns))
	}
	if used := s.sr.Arena().Used(); used > 4096 {
		return fmt.Errorf("after drain: %d bytes of the server's arena are still taken", used)
	}
	return nil
}

// Every case of the suite, in worlds where time, splits and delays come from a seed.
func TestConformanceSimulated(t *testing.T) {
	for _, c := range conformance {
		t.Run(c.name, func(t *testing.T) {
			for seed := uint64(1); seed <= 6; seed++ {
				lim := testLimits()
				if c.lim != nil {
					c.lim(&lim)
				}
				s, err := newSimScene(seed, lim, sim.NetFaults{})
				if err != nil {
					t.Fatal(err)
				}
				err = s.w.Do(s.cr, func(f *engine.Fiber) error { return c.run(f, &s.scene) })
				if err == nil {
					err = s.finish()
				}
				s.w.Close()
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		})
	}
}

// runHurt lets a mixed load run over connections that stall and break, and dials again whenever one is lost. What must hold: every call
// ends, once, with a reply that is right or an error of the link; nothing leaks.
func runHurt(seed uint64) (hash uint64, downs int, err error) {
	lim := testLimits()
	lim.CreditRequests, lim.CreditBytes, lim.ShardBytes, lim.OutBytes = 16, 1<<20, 4<<20, 256<<10
	s, err := newSimScene(seed, lim, sim.NetFaults{DelayNsMin: 1000, DelayNsMax: 3_000_000, Reset: 0.004, Hiccup: 0.02})
	if err != nil {
		return 0, 0, err
	}
	defer s.w.Close()
	answered := 0
	err = s.w.Do(s.cr, func(f *engine.Fiber) error {
		return together(f, 8, func(f *engine.Fiber, i int) error {
			var l *Link
			rng := s.w.Rand()
			for n := 0; n < 40; n++ {
				if l == nil || !l.Up() {
					var err error
					if l, err = s.dial(f, LinkConfig{OnDown: func(*engine.Turn, *Link, error) { downs++ }}); err != nil {
						l = nil
						continue
					}
				}
				kind := []byte{'e', 'e', 'n', 's'}[rng.IntN(4)]
				body := op(kind, rng.IntN(2_000_000))
				link := l
				err := together(f, 1+rng.IntN(4), func(f *engine.Fiber, _ int) error {
					return echo(f, link, body, pattern(rng.IntN(4)*rng.IntN(60_000)))
				})
				switch {
				case err == nil:
					answered++
				case !onlyErrors(err, ErrLinkDown):
					return err
				}
			}
			return nil
		})
	})
	if err == nil {
		s.fault.Reset = 0
		err = s.finish()
	}
	if err == nil && answered == 0 {
		err = errors.New("nothing was ever answered")
	}
	return s.w.TraceHash(), downs, err
}

// onlyErrors: every error joined in err is of this kind.
func onlyErrors(err, kind error) bool {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range j.Unwrap() {
			if !onlyErrors(e, kind) {
				return false
			}
		}
		return true
	}
	return errors.Is(err, kind)
}

func TestHurtConnections(t *testing.T) {
	downs := 0
	for seed := uint64(100); seed < 112; seed++ {
		hash, n, err := runHurt(seed)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		downs += n
		if seed%10 == 0 {
			if again, _, err := runHurt(seed); err != nil || again != hash {
				t.Fatalf("seed %d run twice: traces %016x and %016x (%v)", seed, hash, again, err)
			}
		}
	}
	if downs < 20 {
		t.Fatalf("only %d connections were lost: this test does not test what it says", downs)
	}
}
