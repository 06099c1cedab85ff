package meta

import (
	"bytes"

	"basalt/meta/record"
)

// namespaces of extended attributes that are kept; others (ACLs among them) are refused.
var xattrSpaces = [...]string{"user.", "trusted.", "security."}

func checkXattrName(name []byte) error {
	if len(name) == 0 || bytes.IndexByte(name, 0) >= 0 {
		return record.Invalid
	}
	if len(name) > record.NameMax {
		return record.Range
	}
	for _, space := range xattrSpaces {
		if len(name) > len(space) && string(name[:len(space)]) == space {
			return nil
		}
	}
	return record.NotSupported
}

func (o *operation) xattr(i *node, name []byte) ([]byte, error) {
	if i.Flags&record.AttrXattr == 0 {
		return nil, record.NoData
	}
	val, err := o.get(i.Ino.Group(), record.AppendXattrKey(o.key[:0], i.Ino, name))
	if err == record.NotFound {
		err = record.NoData
	}
	return val, err
}

func (o *operation) setxattr() error {
	q := o.q
	if err := checkXattrName(q.Name); err != nil {
		return err
	}
	const both = record.FlagCreate | record.FlagReplace
	if q.Flags&^both != 0 || q.Flags == both {
		return record.Invalid
	}
	i, err := o.inode(q.Ino)
	if err != nil {
		return err
	}
	_, err = o.xattr(i, q.Name)
	switch {
	case err == nil && q.Flags == record.FlagCreate:
		return record.Exists
	case err == record.NoData && q.Flags == record.FlagReplace:
		return err
	case err != nil && err != record.NoData:
		return err
	}
	names := len(q.Name) + 1
	values, err := o.eachXattr(i, func(name, val []byte) int {
		if bytes.Equal(name, q.Name) {
			return 0
		}
		names += len(name) + 1
		return len(val)
	})
	if err != nil {
		return err
	}
	if names > record.ListMax || values+len(q.Value) > record.XattrsMax {
		return record.ValueTooBig
	}
	o.put(i.Ino.Group(), record.AppendXattrKey(o.key[:0], i.Ino, q.Name), q.Value)
	i.Flags |= record.AttrXattr
	o.touch(i, false)
	o.p.Attr = i.Attr
	return nil
}

// eachXattr sums what fn says of each attribute.
func (o *operation) eachXattr(i *node, fn func(name, val []byte) int) (sum int, err error) {
	if i.Flags&record.AttrXattr == 0 {
		return 0, nil
	}
	lo, hi := record.AppendInoKey(o.key[:0], record.KindXattr, i.Ino), record.AppendInoEnd(o.end[:0], record.KindXattr, i.Ino)
	var bad error
	err = o.scan(i.Ino.Group(), lo, hi, 0, func(key, val []byte) bool {
		_, name, err := record.DecodeXattrKey(key)
		if bad = err; err != nil {
			return false
		}
		sum += fn(name, val)
		return true
	})
	if err == nil {
		err = bad
	}
	return sum, err
}

func (o *operation) getxattr() error {
	if err := checkXattrName(o.q.Name); err != nil {
		return err
	}
	i, err := o.inode(o.q.Ino)
	if err != nil {
		return err
	}
	val, err := o.xattr(i, o.q.Name)
	o.p.Value = append(o.p.Value, val...)
	o.p.Count = uint32(len(val))
	return err
}

func (o *operation) listxattr() error {
	i, err := o.inode(o.q.Ino)
	if err != nil {
		return err
	}
	_, err = o.eachXattr(i, func(name, _ []byte) int {
		o.p.Value = append(append(o.p.Value, name...), 0)
		return 0
	})
	o.p.Count = uint32(len(o.p.Value))
	return err
}

func (o *operation) removexattr() error {
	q := o.q
	if err := checkXattrName(q.Name); err != nil {
		return err
	}
	i, err := o.inode(q.Ino)
	if err != nil {
		return err
	}
	if _, err := o.xattr(i, q.Name); err != nil {
		return err
	}
	others, err := o.eachXattr(i, func(name, _ []byte) int {
		if bytes.Equal(name, q.Name) {
			return 0
		}
		return 1
	})
	if err != nil {
		return err
	}
	o.del(i.Ino.Group(), record.AppendXattrKey(o.key[:0], i.Ino, q.Name))
	if others == 0 {
		i.Flags &^= record.AttrXattr
	}
	o.touch(i, false)
	o.p.Attr = i.Attr
	return nil
}
