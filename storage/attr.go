package storage

import (
	"bytes"
	"sort"

	"basalt/storage/format"
)

// GetAttr is an attribute of an object, lent until the closure returns.
func (tx *Tx) GetAttr(c Coll, obj, name []byte) ([]byte, error) {
	o, err := tx.onodeOf(c, obj)
	if err != nil {
		return nil, err
	}
	if i, ok := findAttr(o.Attrs, name); ok {
		return o.Attrs[i].Val, nil
	}
	return nil, ErrNotFound
}

// EachAttr calls fn for the attributes of an object, in the order of their names, until fn says false. Name and value are lent until fn
// returns. fn may change the store: it still sees the attributes of the moment of the call.
func (tx *Tx) EachAttr(c Coll, obj []byte, fn func(name, val []byte) bool) error {
	o, err := tx.onodeOf(c, obj)
	if err != nil {
		return err
	}
	for i := range o.Attrs {
		if !fn(o.Attrs[i].Name, o.Attrs[i].Val) {
			break
		}
	}
	return nil
}

// SetAttr sets an attribute of an object, which comes into being as needed.
func (tx *Tx) SetAttr(c Coll, obj, name, val []byte) error {
	if err := tx.writable(c); err != nil {
		return err
	}
	if len(name) == 0 || len(name) > format.AttrNameBytesMax {
		return ErrInvalid
	}
	if len(val) > ValueMax {
		return ErrTooLarge
	}
	o, err := tx.onodeFor(c, obj)
	if err != nil {
		return err
	}
	i, ok := findAttr(o.Attrs, name)
	switch {
	case ok:
		o.Attrs[i].Val = val
	case len(o.Attrs) == format.AttrsMax:
		return ErrTooLarge
	default:
		o.Attrs = append(o.Attrs[:i:i], append([]format.Attr{{Name: name, Val: val}}, o.Attrs[i:]...)...)
	}
	if err := tx.log(&format.Op{Kind: format.OpSetAttr, Coll: uint16(c), Name: obj, Key: name, Val: val}); err != nil {
		return err
	}
	return tx.setOnode(c, obj, &o)
}

// RemoveAttr removes an attribute of an object. ErrNotFound: there is none of that name.
func (tx *Tx) RemoveAttr(c Coll, obj, name []byte) error {
	if err := tx.writable(c); err != nil {
		return err
	}
	o, err := tx.onodeOf(c, obj)
	if err != nil {
		return err
	}
	i, ok := findAttr(o.Attrs, name)
	if !ok {
		return ErrNotFound
	}
	o.Attrs = append(o.Attrs[:i:i], o.Attrs[i+1:]...)
	if err := tx.log(&format.Op{Kind: format.OpDeleteAttr, Coll: uint16(c), Name: obj, Key: name}); err != nil {
		return err
	}
	err = tx.setOnode(c, obj, &o)
	tx.shrank, tx.putBytes = true, tx.putBytes+len(tx.node)
	return err
}

func findAttr(attrs []format.Attr, name []byte) (int, bool) {
	i := sort.Search(len(attrs), func(i int) bool { return bytes.Compare(attrs[i].Name, name) >= 0 })
	return i, i < len(attrs) && bytes.Equal(attrs[i].Name, name)
}
