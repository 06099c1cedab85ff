package fuse

import (
	"basalt/engine"
)

// lookups counts, for one column, the references that its replies have given the kernel. FORGET gives back the sum over all columns, to
// whichever column reads /dev/fuse: what it does not have itself it passes on. So the columns together know every node that the kernel
// may hold, without sharing a table. Owned by the loop.
type lookups struct {
	nodes map[uint64]lookup
}

type lookup struct {
	count uint64
	plain bool // it had no extended attributes when it was seen last
}

// add counts one more reference.
func (l *lookups) add(node uint64, plain bool) {
	if l.nodes == nil {
		l.nodes = make(map[uint64]lookup)
	}
	l.nodes[node] = lookup{count: l.nodes[node].count + 1, plain: plain}
}

// take subtracts up to n and returns what is left of n.
func (l *lookups) take(node, n uint64) uint64 {
	have, ok := l.nodes[node]
	if have.count > n {
		have.count -= n
		l.nodes[node] = have
		return 0
	}
	if ok {
		delete(l.nodes, node)
	}
	return n - have.count
}

// plain tells whether a node is known to have no extended attributes.
func (l *lookups) plain(node uint64) bool { return l.nodes[node].plain }

// drop appends all nodes that are held, in no order, and forgets what was known of them.
func (l *lookups) drop(list []uint64) []uint64 {
	for node, have := range l.nodes {
		list = append(list, node)
		l.nodes[node] = lookup{count: have.count}
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
