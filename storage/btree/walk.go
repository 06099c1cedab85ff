package btree

import (
	"bytes"
	"fmt"

	"basalt/engine"
	"basalt/storage/format"
)

// Walk visits every node, entry and out-of-line value of root in key order, and verifies what only parent and child
// together show: bounds of keys, counts, flags. It reads past the cache.
func (t *Tree) Walk(f *engine.Fiber, root Root, v Visitor) error {
	if root.Height == 0 {
		return nil
	}
	w := &walker{t: t, f: f, v: v}
	w.ahead.open(t, true)
	defer w.ahead.close()
	_, err := w.node(root.ChildPtr, int(root.Height)-1, nil, nil)
	return err
}

// walker is one walk. Every level has its own memory.
type walker struct {
	t      *Tree
	f      *engine.Fiber
	v      Visitor
	nodes  [format.NodeHeightMax][]byte
	bounds [format.NodeHeightMax][2][]byte
	key    []byte
	ahead  ahead
}

// node visits a subtree and returns whether it was whole.
func (w *walker) node(ptr format.ChildPtr, level int, lo, hi []byte) (whole bool, err error) {
	e := w.t.nodeExtent(ptr)
	b, _, err := w.t.copyNode(w.f, ptr, level, w.nodes[level], &w.ahead)
	w.nodes[level] = b
	n := format.Node(b)
	if err == nil {
		err = w.checkKeys(n, e, lo, hi)
	}
	if err != nil {
		return false, w.lose(ptr, level, lo, hi, err)
	}
	if w.v.Node != nil {
		if err := w.v.Node(e, ptr, level); err != nil {
			return false, err
		}
	}
	if w.v.Budget != nil {
		if err := w.v.Budget(w.f); err != nil {
			return false, err
		}
	}
	entries, flags, whole := uint64(n.Count()), uint32(0), true
	if level == 0 {
		flags, err = w.leaf(n, ptr)
	} else {
		entries, flags, whole, err = w.children(n, level, lo, hi)
	}
	if err == nil && whole && (entries != ptr.Entries || flags != ptr.Flags) {
		err = w.bad(ptr, level, &format.CorruptError{
			Place: w.t.place(e), What: "entries and flags of " + ptr.String(),
			Want: fmt.Sprint(ptr.Entries, ptr.Flags), Got: fmt.Sprint(entries, flags),
		})
	}
	return whole, err
}

// lose is bad for what takes keys with it.
func (w *walker) lose(ptr format.ChildPtr, level int, lo, hi []byte, why error) error {
	err := w.bad(ptr, level, why)
	if err == nil && w.v.Lost != nil {
		w.v.Lost(lo, hi, why)
	}
	return err
}

// long gives a value to the visitor.
func (w *walker) long(val []byte) error {
	if w.v.Long == nil {
		return nil
	}
	return w.v.Long(w.key, val)
}

func (w *walker) bad(ptr format.ChildPtr, level int, err error) error {
	if w.v.Bad == nil {
		return err
	}
	return w.v.Bad(ptr, level, err)
}

// checkKeys verifies that the node's keys lie in its bounds. The first key of an inner node equals its lower bound, but on
// the left edge of the tree, where it may be above.
func (w *walker) checkKeys(n format.Node, e format.Extent, lo, hi []byte) error {
	w.key = n.AppendKey(w.key[:0], 0)
	if bytes.Compare(w.key, lo) < 0 || (n.Level() > 0 && len(lo) > 0 && !bytes.Equal(w.key, lo)) {
		return &format.CorruptError{
			Place: w.t.place(e), What: "node first key", Want: fmt.Sprintf("from %x", lo), Got: fmt.Sprintf("%x", w.key),
		}
	}
	w.key = n.AppendKey(w.key[:0], n.Count()-1)
	if hi != nil && bytes.Compare(w.key, hi) >= 0 {
		return &format.CorruptError{
			Place: w.t.place(e), What: "node last key", Want: fmt.Sprintf("below %x", hi), Got: fmt.Sprintf("%x", w.key),
		}
	}
	return nil
}

func (w *walker) children(n format.Node, level int, lo, hi []byte) (entries uint64, flags uint32, whole bool, err error) {
	whole = true
	for i := range n.Count() {
		if w.before(n, i, hi) {
			whole = false
			continue
		}
		b := &w.bounds[level]
		b[0] = n.AppendKey(b[0][:0], i)
		clo, chi := b[0], hi
		if i == 0 {
			clo = lo
		}
		if i+1 < n.Count() {
			b[1] = n.AppendKey(b[1][:0], i+1)
			chi = b[1]
		}
		child := n.Child(i)
		entries += child.Entries
		flags |= child.Flags & format.PtrValues
		if level == 1 {
			w.ahead.fill(w.f, n, i, func(int) bool { return true })
		}
		ok, err := w.node(child, level-1, clo, chi)
		if err != nil {
			return 0, 0, false, err
		}
		whole = whole && ok
	}
	return entries, flags, whole, nil
}

// before tells whether all of child i lies before where the walk begins.
func (w *walker) before(n format.Node, i int, hi []byte) bool {
	if len(w.v.From) == 0 {
		return false
	}
	if i+1 < n.Count() {
		w.key = n.AppendKey(w.key[:0], i+1)
		hi = w.key
	}
	return hi != nil && bytes.Compare(hi, w.v.From) <= 0
}

func (w *walker) leaf(n format.Node, ptr format.ChildPtr) (flags uint32, err error) {
	for i := range n.Count() {
		w.key = n.AppendKey(w.key[:0], i)
		val, out := n.Value(i)
		if out {
			flags |= format.PtrValues
		}
		if bytes.Compare(w.key, w.v.From) < 0 {
			continue
		}
		if w.v.Entry != nil {
			if err := w.v.Entry(w.key, val, out); err != nil {
				return 0, err
			}
		}
		if !out {
			continue
		}
		cell := format.ValueCell(val)
		if err := w.t.lendValue(w.f, cell, true, w.long); err != nil {
			behind := append(bytes.Clone(w.key), 0)
			if err = w.lose(ptr, 0, w.key, behind, fmt.Errorf("value of key %x: %w", w.key, err)); err != nil {
				return 0, err
			}
		}
		for i := range cell.Pieces() {
			if w.v.Value == nil {
				break
			}
			if err := w.v.Value(w.key, cell.Piece(i)); err != nil {
				return 0, err
			}
		}
	}
	return flags, nil
}
