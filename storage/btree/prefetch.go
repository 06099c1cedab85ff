package btree

import (
	"bytes"

	"basalt/engine"
	"basalt/engine/arena"
	"basalt/storage/format"
)

// prefetch reads the nodes that many keys need, many at once. It belongs to the tree, which keeps its memory.
type prefetch struct {
	gather engine.Gather
	bound  []byte
	want   []Miss // found missing in this round
	bufs   [prefetchDepth]arena.Buf
	res    [prefetchDepth]int32
}

// Prefetch brings the nodes that lead to keys, which are sorted, into the cache: level by level, up to prefetchDepth reads at once, and at most
// `most` nodes. It is only a matter of speed: what it cannot read or verify stays missing, and whoever loads it gets the error.
func (t *Tree) Prefetch(f *engine.Fiber, root Root, keys [][]byte, most int) {
	if t.queue == nil || root.Height == 0 || len(keys) == 0 {
		return
	}
	p := &t.fetched
	for range int(root.Height) { // each round finds what is missing one level further down
		p.want = p.want[:0]
		t.missing(root.ChildPtr, int(root.Height)-1, 0, keys)
		p.want = p.want[:min(len(p.want), most)]
		if len(p.want) == 0 {
			return
		}
		most -= len(p.want)
		for rest := p.want; len(rest) > 0; {
			n := min(len(rest), prefetchDepth)
			if !t.fetchAll(f, rest[:n]) {
				return
			}
			rest = rest[n:]
		}
	}
}

// missing notes the first node that is not cached on the way to each key.
func (t *Tree) missing(ptr format.ChildPtr, level, depth int, keys [][]byte) {
	p := &t.fetched
	if level == 0 || depth == format.NodeHeightMax {
		if t.cache.node(ptr) == nil {
			p.want = append(p.want, missNode(ptr, level))
		}
		return
	}
	n := t.cache.node(ptr)
	if n == nil {
		p.want = append(p.want, missNode(ptr, level))
		return
	}
	for len(keys) > 0 {
		i, some := n.SearchChild(keys[0]), len(keys)
		if i+1 < n.Count() {
			p.bound = n.AppendKey(p.bound[:0], i+1)
			some = 1
			for some < len(keys) && bytes.Compare(keys[some], p.bound) < 0 {
				some++
			}
		}
		t.missing(n.Child(i), level-1, depth+1, keys[:some])
		keys = keys[some:]
	}
}

// fetchAll reads nodes at once; false: there is no memory for them.
func (t *Tree) fetchAll(f *engine.Fiber, list []Miss) (ok bool) {
	p, n := &t.fetched, 0
	for i, m := range list {
		p.bufs[i] = arena.Buf{}
		e := t.nodeExtent(m.node)
		if t.inSpace("node", e) != nil {
			continue
		}
		b, err := t.cache.get(t.cfg.NodeBytes)
		if err != nil {
			break
		}
		p.bufs[i], p.res[i] = b, 0
		p.gather.Submit(f, t.queue.ReadOp(t.cfg.Arena.Bytes(b), e.Offset()), &p.res[i])
		n = i + 1
	}
	p.gather.Wait(f)
	for i, m := range list[:n] {
		b := p.bufs[i]
		if !b.Valid() {
			continue
		}
		mem := t.cfg.Arena.Bytes(b)
		if int(p.res[i]) != len(mem) || t.cached(m.node) || format.VerifyNode(t.place(t.nodeExtent(m.node)), mem, m.node, int(m.level), t.cfg.Store) != nil {
			t.cfg.Arena.Put(b)
			continue
		}
		t.loads++
		t.prefetched++
		t.cache.addNode(b, m.node, int(m.level))
	}
	return n == len(list)
}

// SetCacheBytes changes the bound of the cache and evicts up to n of the nodes that are too many; true: there are more.
func (t *Tree) SetCacheBytes(bytes int64, n int) (more bool) {
	c := &t.cache
	c.limit = max(bytes, int64(cacheNodesMin*t.cfg.NodeBytes))
	for ; n > 0 && c.used > c.limit; n-- {
		if !c.evict() {
			return false
		}
	}
	return c.used > c.limit
}

// MakeRoom empties a stretch of the cache's memory for a block of n bytes that somebody else needs; false: it has nothing to give.
func (t *Tree) MakeRoom(n int) bool { return t.cache.evictRegion(n) }
