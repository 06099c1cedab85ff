package meta

import (
	"testing"

	"basalt/engine"
	"basalt/meta/record"
	"basalt/netio"

	"pgregory.net/rapid"
)

// Whatever two sessions did, however much of it was committed, and however often the server dies: when all have come back and played again what
// was lost, the tree is what it was, to the last number and time.
func TestNothingAnsweredIsLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		h := newWireHouse(t, seed)
		defer h.w.Close()
		wires := []*wire{h.wire(1, 1), h.wire(1, 2)}
		h.commitAll()
		l := newLoad(h.fake.rng, testStripe)
		var at *wire
		l.serve = func(f *engine.Fiber, q *record.Request, data []byte, p *record.Reply) uint64 {
			reqid := at.next
			at.next++
			got, rep := at.frameIn(f, netio.KindRequest, reqid, 0, q.Append(nil), data)
			at.keep(reqid, rep, *q, data, got)
			*p = got
			return rep.Txn
		}
		for range rapid.IntRange(1, 4).Draw(rt, "lives") {
			for range rapid.IntRange(0, 80).Draw(rt, "requests") {
				at = wires[h.fake.rng.IntN(2)]
				h.do(l.step)
				if h.fake.rng.IntN(30) == 0 {
					h.commitAll()
				}
			}
			h.settle()
			want := h.tree()
			h.die()
			l.s = h.s
			wires[0].recover(l.opens...)
			wires[1].recover()
			if rapid.IntRange(0, 3).Draw(rt, "again") == 0 { // it dies once more before all have said all
				h.die()
				wires[1].recover()
				wires[0].recover(l.opens...)
			}
			var a, b bool
			wires[0].done(&a)
			wires[1].done(&b)
			if !a || !b {
				rt.Fatal("the window did not close")
			}
			for _, c := range wires {
				c.kept = nil
			}
			if got := h.tree(); got != want {
				rt.Fatal(differAt(want, got))
			}
			if l.bad != nil { // a replay may fail: of a change to a file that was open without a name and has been closed since
				rt.Fatal(l.bad)
			}
			h.settle()
			h.check()
		}
	})
}
