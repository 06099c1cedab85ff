package dump

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"basalt/storage/format"
)

// TreeOptions say which part of the tree is shown, and how.
type TreeOptions struct {
	Keys   bool // entries of the leaves instead of nodes
	Level  int  // of nodes: only this level; below 0: all
	Verify bool // read out-of-line values

	Coll   int         // only this collection; below 0: all
	Kind   format.Kind // only this kind; 0: all
	Prefix []byte      // only objects or user keys whose name begins so
	From   []byte      // only tree keys from here on
}

// Kinds are the names of the kinds of keys.
var Kinds = map[string]format.Kind{
	"collection": format.KindCollection, "onode": format.KindOnode, "extent": format.KindExtent, "key": format.KindUser,
	"share": format.KindShare,
}

func kindName(k format.Kind) string {
	switch k {
	case format.KindCollection:
		return "collection"
	case format.KindOnode:
		return "onode"
	case format.KindExtent:
		return "extent"
	case format.KindUser:
		return "key"
	case format.KindShare:
		return "share"
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// bounds are the tree keys [lo, hi) that can match; hi nil: no end.
func (o *TreeOptions) bounds() (lo, hi []byte) {
	if o.Coll >= 0 {
		lo = binary.BigEndian.AppendUint16(nil, uint16(o.Coll))
		if o.Kind != 0 {
			lo = append(lo, byte(o.Kind))
			if o.Kind == format.KindUser {
				lo = append(lo, o.Prefix...)
			}
		}
		hi = after(lo)
	}
	if bytes.Compare(o.From, lo) > 0 {
		lo = o.From
	}
	return lo, hi
}

// after is the first key behind all that begin with p; nil: there is none.
func after(p []byte) []byte {
	out := bytes.Clone(p)
	for i := len(out) - 1; i >= 0; i-- {
		if out[i]++; out[i] != 0 {
			return out[:i+1]
		}
	}
	return nil
}

// matches tells whether a key that lies in the bounds is wanted. A key that cannot be taken apart always is.
func (o *TreeOptions) matches(key []byte) bool {
	k, err := format.DecodeKey(format.Place{}, key)
	return err != nil || (o.Coll < 0 || int(k.Coll) == o.Coll) && (o.Kind == 0 || k.Kind == o.Kind) && bytes.HasPrefix(k.Rest, o.Prefix)
}

// Tree shows the tree of the superblock: its nodes, or the entries of its leaves. What is in the journal and not yet in the tree is not here.
func (d *Dump) Tree(o TreeOptions) error { return d.end(d.tree(o)) }

func (d *Dump) tree(o TreeOptions) error {
	if err := d.need(); err != nil {
		return err
	}
	root := d.super.Tree
	if root.Height == 0 {
		return d.out.print(newLine(0, "tree").note("empty"))
	}
	w := walk{d: d}
	w.lo, w.hi = o.bounds()
	if o.Keys {
		w.entry = func(n *nodeAt, i int, key []byte) error {
			if !o.matches(key) {
				return nil
			}
			d.out.resume = "--from hex:" + hex.EncodeToString(key)
			return d.entry(1, d.nodePlace(n.ptr.Block), n.bytes, i, key, o.Verify)
		}
	} else {
		w.node = func(nd *nodeAt) error {
			if o.Level >= 0 && nd.level != o.Level {
				return nil
			}
			return d.out.print(d.nodeLine(nd, int(root.Height)))
		}
	}
	return w.root(root)
}

// nodeAt is one node that a walk has read.
type nodeAt struct {
	ptr    format.ChildPtr
	level  int
	lo, hi []byte // what its parent says; hi nil: no end
	bytes  []byte
	header format.NodeHeader
	whole  int   // entries at the beginning that can be read
	err    error // what is wrong with it
}

// walk visits a tree, or the part of it that holds keys of [lo, hi). A node that is damaged is shown, and as many of its children as can be told
// are visited all the same: each has a checksum of its own in the pointer to it.
type walk struct {
	d      *Dump
	lo, hi []byte
	node   func(n *nodeAt) error                    // may be nil
	entry  func(n *nodeAt, i int, key []byte) error // of the leaves; may be nil
	damage int                                      // nodes that were not whole
	visits uint64
}

func (w *walk) root(r format.TreeRoot) error {
	return w.visit(r.ChildPtr, int(r.Height)-1, nil, nil)
}

func (w *walk) visit(ptr format.ChildPtr, level int, lo, hi []byte) error {
	d := w.d
	if limit := d.super.Blocks / uint64(d.super.NodeBytes/format.BlockBytes); w.visits == limit { // pointers of somebody's making
		return fmt.Errorf("dump: the walk was given up: %w", d.corrupt(d.nodePlace(ptr.Block), "tree", fmt.Sprintf("at most %d nodes", limit), "more"))
	}
	w.visits++
	n := d.node(ptr, level, lo, hi)
	if n.err != nil {
		w.damage++
	}
	switch {
	case w.node != nil:
		if err := w.node(n); err != nil {
			return err
		}
	case n.err != nil && !d.shown[ptr.Block]: // who shows keys must know where some are missing
		d.shown[ptr.Block] = true
		if err := d.out.print(d.nodeLine(n, level+2)); err != nil {
			return err
		}
	}
	if n.bytes == nil || int(n.header.Level) != level {
		return nil
	}
	if level == 0 {
		return w.leaf(n)
	}
	view := format.Node(n.bytes)
	for i := range n.whole {
		clo, chi := view.AppendKey(nil, i), hi
		if i == 0 {
			clo = lo // on the left edge smaller keys belong to it too
		}
		if i+1 < n.whole {
			chi = view.AppendKey(nil, i+1)
		}
		if chi != nil && bytes.Compare(chi, w.lo) <= 0 || w.hi != nil && bytes.Compare(clo, w.hi) >= 0 {
			continue
		}
		if err := w.visit(view.Child(i), level-1, clo, chi); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) leaf(n *nodeAt) error {
	view := format.Node(n.bytes)
	for i := range n.whole {
		key := view.AppendKey(nil, i)
		if bytes.Compare(key, w.lo) < 0 || w.hi != nil && bytes.Compare(key, w.hi) >= 0 || w.entry == nil {
			continue
		}
		if err := w.entry(n, i, key); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dump) nodePlace(block BlockNo) Extent {
	return Extent{Start: block, Len: format.BlockCount(d.super.NodeBytes / format.BlockBytes)}
}

// node reads a node and finds out how much of it is sound.
func (d *Dump) node(ptr format.ChildPtr, level int, lo, hi []byte) *nodeAt {
	n := &nodeAt{ptr: ptr, level: level, lo: lo, hi: hi}
	e := d.nodePlace(ptr.Block)
	if !d.owns(e) {
		n.err = d.corrupt(e, "node pointer", "inside the slice", e)
		return n
	}
	b, err := d.read(e)
	if b == nil {
		n.err = err
		return n
	}
	n.bytes, n.header = b, format.PeekNodeHeader(b)
	if n.err = err; err == nil {
		n.err = format.VerifyNode(d.place(e), b, ptr, level, d.super.Store)
	}
	if _, err := format.DecodeNodeHeader(d.place(e), b); err != nil {
		return n // its slots mean nothing
	}
	n.whole, err = format.CheckEntries(d.place(e), b)
	if n.err == nil {
		n.err = err
	}
	if n.err == nil {
		n.err = d.checkBounds(e, n)
	}
	return n
}

// checkBounds: a node's keys lie where its parent says.
func (d *Dump) checkBounds(e Extent, n *nodeAt) error {
	view := format.Node(n.bytes)
	if first := view.AppendKey(nil, 0); bytes.Compare(first, n.lo) < 0 {
		return d.corrupt(e, "node first key", "from "+hex.EncodeToString(n.lo), hex.EncodeToString(first))
	}
	if last := view.AppendKey(nil, n.whole-1); n.hi != nil && bytes.Compare(last, n.hi) >= 0 {
		return d.corrupt(e, "node last key", "below "+hex.EncodeToString(n.hi), hex.EncodeToString(last))
	}
	return nil
}

func (d *Dump) nodeLine(n *nodeAt, height int) *line {
	e := d.nodePlace(n.ptr.Block)
	l := newLine(max(height-n.level, 1), "node").at(e).add("level", n.level).add("epoch", n.ptr.Epoch).add("entries", n.ptr.Entries).
		add("crc", crc(n.ptr.Crc)).add("values", n.ptr.Flags&format.PtrValues != 0)
	if begins(n.bytes, format.NodeMagic) {
		l.add("count", n.header.Count).add("used", n.header.Used).add("prefix", n.header.Prefix)
	}
	if n.whole > 0 {
		view := format.Node(n.bytes)
		l.add("first", d.keyText(view.AppendKey(nil, 0))).add("last", d.keyText(view.AppendKey(nil, n.whole-1)))
	}
	if n.err == nil {
		return l
	}
	if begins(n.bytes, format.NodeMagic) {
		l.add("said-level", n.header.Level).add("said-epoch", n.header.Epoch).add("said-self", n.header.Self).add("said-store", n.header.Store).
			add("whole-entries", n.whole)
	}
	lo, hi := "the beginning", "the end"
	if len(n.lo) > 0 {
		lo = d.keyText(n.lo)
	}
	if n.hi != nil {
		hi = d.keyText(n.hi)
	}
	return l.note(fmt.Sprintf("it should hold the keys from %s to %s", lo, hi)).broken(n.err, n.bytes)
}

// keyText is a tree key, or the beginning of one (a separator), in one word.
func (d *Dump) keyText(key []byte) string {
	k, err := format.DecodeKey(format.Place{}, key)
	switch {
	case err != nil:
		return hexMark + hex.EncodeToString(key)
	case k.Kind == format.KindCollection:
		return fmt.Sprintf("%d/collection", k.Coll)
	case k.Kind == format.KindExtent:
		return fmt.Sprintf("%d/extent/%s/%d", k.Coll, Name(k.Rest), k.BlockOff)
	case k.Kind == format.KindShare:
		return fmt.Sprintf("%d/share/%d", k.Coll, k.Start)
	}
	return fmt.Sprintf("%d/%s/%s", k.Coll, kindName(k.Kind), Name(k.Rest))
}

// TreeAt shows the node that stands at a block, whoever its parent is, and its entries.
func (d *Dump) TreeAt(block BlockNo) error { return d.end(d.treeAt(block)) }

func (d *Dump) treeAt(block BlockNo) error {
	if err := d.find(); err != nil {
		return err
	}
	size := format.NodeBytesDefault
	if d.super != nil {
		size = int(d.super.NodeBytes)
	}
	e := Extent{Start: block, Len: format.BlockCount(size / format.BlockBytes)}
	b, err := d.read(e)
	if b == nil {
		return err
	}
	h, whole := format.PeekNodeHeader(b), 0
	if err == nil {
		if _, err = format.DecodeNodeHeader(d.place(e), b); err == nil {
			whole, err = format.CheckEntries(d.place(e), b)
		}
	}
	if err == nil && d.super != nil && h.Store != d.super.Store {
		err = d.corrupt(e, "node store", d.super.Store, h.Store)
	}
	l := newLine(0, "node").at(e)
	if begins(b, format.NodeMagic) {
		l.add("level", h.Level).add("count", h.Count).add("prefix", h.Prefix).add("used", h.Used).add("epoch", h.Epoch).
			add("self", h.Self).add("store", h.Store).add("crc", crc(format.Crc(b))).add("whole-entries", whole)
	}
	if err != nil {
		l.broken(err, b)
	}
	if err := d.out.print(l); err != nil {
		return err
	}
	view := format.Node(b)
	for i := range whole {
		key := view.AppendKey(nil, i)
		if h.Level == 0 {
			err = d.entry(1, e, view, i, key, false)
		} else {
			c := view.Child(i)
			err = d.out.print(newLine(1, "child").at(Extent{Start: c.Block, Len: e.Len}).add("key", d.keyText(key)).add("epoch", c.Epoch).
				add("entries", c.Entries).add("crc", crc(c.Crc)).add("values", c.Flags&format.PtrValues != 0))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// entry shows entry i of the leaf at e.
func (d *Dump) entry(depth int, e Extent, n format.Node, i int, key []byte, verify bool) error {
	val, out := n.Value(i)
	k, err := format.DecodeKey(d.place(e), key)
	if err != nil {
		return d.out.print(newLine(depth, "key").add("tree-key", hexMark+hex.EncodeToString(key)).broken(err, nil))
	}
	l := newLine(depth, kindName(k.Kind)).add("collection", k.Coll)
	if out {
		return d.longEntry(depth, l, e, k, format.ValueCell(val), verify)
	}
	d.valueFields(l, e, k, val)
	return d.out.print(l)
}

// valueFields adds what a key of the tree and its value say.
func (d *Dump) valueFields(l *line, e Extent, k format.Key, val []byte) {
	p := d.place(e)
	var err error
	switch k.Kind {
	case format.KindCollection:
		var c format.CollectionRecord
		if c, err = format.DecodeCollectionRecord(p, val); err == nil {
			l.add("version", c.Version).add("created", c.Created).add("flags", c.Flags)
		}
	case format.KindOnode:
		var o format.Onode
		d.objectName(l, k.Coll, k.Rest)
		if o, err = format.DecodeOnode(p, val, true); err == nil {
			l.add("size", o.Size).add("blocks", o.Blocks).add("version", o.Version).add("flags", o.Flags).add("attributes", attrNames(o.Attrs))
		}
	case format.KindExtent:
		var r format.ExtentRecord
		d.objectName(l, k.Coll, k.Rest).add("off", k.BlockOff)
		if r, err = format.DecodeExtentRecord(p, val); err == nil {
			l.at(r.Extent())
			extentFlags(l, &r).add("crcs", crcList(r.Crcs))
		}
	case format.KindShare:
		var r format.ShareRecord
		if r, err = format.DecodeShareRecord(p, val); err == nil {
			l.at(Extent{Start: k.Start, Len: r.Len}).add("references", r.Refs)
		}
	case format.KindUser:
		d.userKey(l, "key", k.Coll, k.Rest).add("value-bytes", len(val)).add("value", some(val))
	}
	if err != nil {
		l.broken(err, val)
	}
}

// extentFlags adds what is not said of most extents.
func extentFlags(l *line, r *format.ExtentRecord) *line {
	if r.IsShared() {
		l.add("shared", true)
	}
	return l
}

func attrNames(attrs []format.Attr) string {
	var names []string
	for i := range attrs {
		names = append(names, Name(attrs[i].Name))
	}
	return strings.Join(names, ",")
}

// longEntry shows an entry whose value stands outside of its leaf.
func (d *Dump) longEntry(depth int, l *line, e Extent, k format.Key, cell format.ValueCell, verify bool) error {
	if !verify {
		if k.Kind == format.KindUser {
			d.userKey(l, "key", k.Coll, k.Rest)
		} else {
			d.objectName(l, k.Coll, k.Rest)
		}
		l.add("value-bytes", cell.Bytes())
	} else if val, err := d.longValue(cell); err != nil {
		l.add("key", k.Rest).add("value-bytes", cell.Bytes()).broken(err, nil)
	} else {
		d.valueFields(l, e, k, val)
	}
	if err := d.out.print(l); err != nil {
		return err
	}
	for i := range cell.Pieces() {
		v := cell.Piece(i)
		if err := d.out.print(newLine(depth+1, "value").at(v.Extent()).add("bytes", v.Bytes).add("crc", crc(v.Crc))); err != nil {
			return err
		}
	}
	return nil
}

// longValue reads and verifies an out-of-line value.
func (d *Dump) longValue(cell format.ValueCell) ([]byte, error) {
	var val []byte
	for i := range cell.Pieces() {
		v := cell.Piece(i)
		if !d.owns(v.Extent()) {
			return nil, d.corrupt(v.Extent(), "value extent", "inside the slice", v.Extent())
		}
		b, err := d.read(v.Extent())
		if err == nil {
			err = format.VerifyValue(d.place(v.Extent()), b, v)
		}
		if err != nil {
			return nil, err
		}
		val = append(val, b[:v.Bytes]...)
	}
	return val, nil
}
