package journal

import (
	"math/rand/v2"
	"testing"
)

// Random records of random lengths: none straddles the end, none overlaps one that replay still needs, and an empty ring takes any record
// of half its length wherever its head is.
func TestRingNeverOverlaps(t *testing.T) {
	for seed := uint64(0); seed < 200; seed++ {
		rng := rand.New(rand.NewPCG(seed, 7))
		blocks := uint64(4 + rng.IntN(60))
		r := NewRing(blocks, rng.Uint64N(blocks))
		type span struct{ at, end uint64 }
		var live []span
		for op := 0; op < 400; op++ {
			n := 1 + rng.Uint64N(blocks/2)
			if len(live) == 0 && !r.Fits(n) {
				t.Fatalf("seed %d: %d of %d blocks do not fit into an empty ring at %d", seed, n, blocks, r.Head()%blocks)
			}
			if r.Fits(n) && rng.IntN(3) > 0 {
				at, end := r.Place(n)
				if r.Block(at)+n > blocks {
					t.Fatalf("seed %d: record at %d straddles the end", seed, r.Block(at))
				}
				for _, o := range live {
					for b := at; b < end; b++ {
						for c := o.at; c < o.end; c++ {
							if r.Block(b) == r.Block(c) {
								t.Fatalf("seed %d: block %d given out twice", seed, r.Block(b))
							}
						}
					}
				}
				live = append(live, span{at, end})
			} else if len(live) > 0 {
				k := rng.IntN(len(live))
				r.Release(live[k].end)
				live = live[k+1:]
			}
		}
	}
}

// Every order of completions that two groups in flight allow: commits come in order, and a flush never covers what was written after it.
func TestPipelineOrder(t *testing.T) {
	for seed := uint64(0); seed < 500; seed++ {
		rng := rand.New(rand.NewPCG(seed, 3))
		p := NewPipeline(Rules{InFlightMax: 2, StartBytes: 100, DelayNs: 50}, 10, 4, &Group{})
		now, coveredMax, writtenMax := int64(0), uint64(0), uint64(0)
		written := map[uint64]bool{}
		var flight []*Group
		flushing := false
		for op := 0; op < 300; op++ {
			now += int64(rng.IntN(20))
			switch rng.IntN(6) {
			case 0, 1:
				p.Apply(rng.IntN(60), now)
			case 2:
				p.Want(p.Applied())
			case 3:
				if p.Ready(now) {
					flight = append(flight, p.Seal(&Group{}))
				}
			case 4:
				if n := len(flight); n > 0 {
					if g := flight[rng.IntN(n)]; g.State() == Writing {
						p.Wrote(g)
						written[g.Record] = true
					}
				}
			case 5:
				if !flushing && p.MayFlush() {
					p.Flush()
					flushing = true
					for written[coveredMax+1] || coveredMax < 4 {
						coveredMax++
					}
				} else if flushing {
					before := p.Committed()
					for n := p.Flushed(); n > 0; n-- {
						g := p.Retire()
						if g.First != before+1 || g.Record > coveredMax || g.Record != writtenMax+1 && writtenMax != 0 {
							t.Fatalf("seed %d: group %d..%d of record %d committed after %d", seed, g.First, g.Last, g.Record, before)
						}
						before, writtenMax = g.Last, g.Record
						flight = flight[1:]
					}
					flushing = false
				}
			}
			if p.InFlight() > 2 || p.Committed() > p.Applied() {
				t.Fatalf("seed %d: %d groups in flight", seed, p.InFlight())
			}
		}
	}
}

func TestGroupStarts(t *testing.T) {
	rules := Rules{InFlightMax: 2, StartBytes: 100, DelayNs: 50}
	p := NewPipeline(rules, 0, 0, &Group{})
	if p.Ready(1000) {
		t.Fatal("an empty group starts")
	}
	p.Apply(10, 1000)
	if p.Ready(1049) {
		t.Fatal("a small group that nobody awaits starts early")
	}
	if !p.Ready(1050) {
		t.Fatal("the delay has passed")
	}
	p.Apply(90, 1001)
	if !p.Ready(1002) {
		t.Fatal("enough bytes are pending")
	}
	p.Seal(&Group{})
	p.Apply(1, 1003)
	p.Want(3)
	if !p.Ready(1003) {
		t.Fatal("somebody waits and one group may join the one in flight")
	}
	p.Seal(&Group{})
	p.Apply(1000, 1004)
	p.Want(4)
	if p.Ready(9999) {
		t.Fatal("a third group in flight")
	}
}
