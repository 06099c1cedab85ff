package netio

import (
	"runtime"
	"testing"

	"basalt/engine"
	"basalt/engine/invariant"
)

// nullHandler answers at once with an empty body.
type nullHandler struct{ scripted }

func (h *nullHandler) Serve(_ *engine.Fiber, _ *Conn, _ *Request, p *Reply) {
	p.Body = append(p.Body, 'n')
}

// A null request allocates nothing, on either end, once the pools are warm. The whole process is counted: both reactors, nothing else runs.
func TestNullRequestAllocatesNothing(t *testing.T) {
	h := &nullHandler{}
	s := realSceneOf(t, "unix", TransportRing, testLimits(), &h.scripted, h)
	err := s.cr.Call(func(f *engine.Fiber) error {
		l, err := s.dial(f, LinkConfig{})
		if err != nil {
			return err
		}
		rep := Reply{Body: make([]byte, 0, 64)}
		body := []byte("null")
		call := func(n int) error {
			for range n {
				h := Header{DeadlineMs: 10000}
				if err := l.Call(f, &h, body, nil, &rep); err != nil {
					return err
				}
			}
			return nil
		}
		if err := call(2000); err != nil {
			return err
		}
		var before, after runtime.MemStats
		const n = 5000
		runtime.ReadMemStats(&before)
		if err := call(n); err != nil {
			return err
		}
		runtime.ReadMemStats(&after)
		most := 0.02 // the runtime's own, now and then
		if invariant.Enabled {
			most = 6 // checked builds make a Turn per iteration, to find stale ones
		}
		if per := float64(after.Mallocs-before.Mallocs) / n; per > most {
			t.Errorf("%.3f allocations per null request", per)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
