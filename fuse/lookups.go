package fuse

import (
	"basalt/engine"
)

// lookups counts, for one column, the references that its replies have given the kernel. FORGET gives back the sum over all columns, to
// whichever column reads /dev/fuse: what it does not have itself it passes on. So the columns together know every node that the kernel
// may hold, without sharing a table. Owned by the loop.
type lookups struct {
	counts map[uint64]uint64
}

func (l *lookups) add(node, n uint64) {
	if l.counts == nil {
		l.counts = make(map[uint64]uint64)
	}
	l.counts[node] += n
}

// take subtracts up to n and returns what is left of n.
func (l *lookups) take(node, n uint64) uint64 {
	have := l.counts[node]
	if have > n {
		l.counts[node] = have - n
		return 0
	}
	if have > 0 {
		delete(l.counts, node)
	}
	return n - have
}

// nodes appends all that are held; their order means nothing.
func (l *lookups) nodes(list []uint64) []uint64 {
	for node := range l.counts {
		list = append(list, node)
	}
	return list
}

// Forgotten is a node and how many references the kernel gives back.
type Forgotten struct{ Node, Count uint64 }

// ForgetAll takes references back, and passes on what other columns have given.
func (v *files) ForgetAll(_ *engine.Turn, list []Forgotten) {
	v.forget(list, len(v.mounted.columns)-1)
}

// forget is one step of the way around the columns; hops are how many are still to be asked.
func (v *files) forget(list []Forgotten, hops int) {
	var rest []Forgotten
	for _, g := range list {
		if left := v.known.take(g.Node, g.Count); left > 0 {
			rest = append(rest, Forgotten{g.Node, left})
		}
	}
	if len(rest) == 0 || hops == 0 {
		return // with no column left to ask, somebody has counted wrong: a node too many is invalidated at a recall, no harm
	}
	next := v.mounted.columns[(v.index+1)%len(v.mounted.columns)]
	if err := next.reactor.Post(&forgetNote{next, rest, hops - 1}); err != nil {
		v.mounted.log.Warn("references were not passed on", "nodes", len(rest), "error", err)
	}
}

type forgetNote struct {
	to   *files
	list []Forgotten
	hops int
}

// Deliver runs on the next column.
func (n *forgetNote) Deliver(*engine.Turn) { n.to.forget(n.list, n.hops) }
