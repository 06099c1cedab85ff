package campaign

import (
	"errors"

	"basalt/storage"
)

// applyMore is those actions on objects that the store decides on by what it finds: o, or nothing.
func applyMore(tx *storage.Tx, m *model, a *action, o *object) error {
	c, name := storage.Coll(a.coll), []byte(a.name)
	switch a.kind {
	case appendTo:
		size := 0
		if o != nil {
			size = o.size
		}
		if size > farMax {
			return nil // long enough
		}
		if len(a.data) > 0 {
			m.change(a.coll, a.name, func(o *object) { o.write(o.size, a.data) })
		}
		off, err := tx.Append(c, name, a.data)
		if err == nil && off != uint64(size) {
			err = differ("object %d/%s: append at %d, want %d", a.coll, a.name, off, size)
		}
		return err
	case zeroOut:
		m.change(a.coll, a.name, func(o *object) {
			if a.off+a.n > o.size {
				o.resize(a.off + a.n)
			}
			o.zero(a.off, a.n)
		})
		return tx.Zero(c, name, uint64(a.off), uint64(a.n))
	case create:
		err := tx.Create(c, name)
		switch {
		case o == nil:
			m.change(a.coll, a.name, func(*object) {})
		case err == nil:
			err = differ("object %d/%s of %d bytes was created", a.coll, a.name, o.size)
		case errors.Is(err, storage.ErrExists):
			err = nil
		}
		return err
	case clone:
		return cloneObject(tx, m, a, o)
	}
	if err := checkList(tx, m, a.coll, a.name, a.n, m.last); err != nil {
		return err
	}
	return checkExpect(tx, m, a)
}

// cloneObject clones o, or finds nothing to clone. An object that has the clone's name is in the way; of an odd draw it goes first.
func cloneObject(tx *storage.Tx, m *model, a *action, o *object) error {
	c, src, dst := storage.Coll(a.coll), []byte(a.name), []byte(a.hi)
	_, there := m.object(a.coll, a.hi, m.last)
	if o != nil && there && a.hi != a.name && a.n%2 == 1 {
		m.remove(a.coll, a.hi)
		if err := tx.Remove(c, dst); err != nil {
			return err
		}
		there = false
	}
	err := tx.Clone(c, src, dst)
	switch {
	case o != nil && !there:
		m.change(a.coll, a.hi, func(n *object) { *n = *o })
		if err != nil || o.size == 0 || a.n%4 < 2 {
			return err
		}
		return partAgain(tx, m, a, a.off%o.size)
	case err == nil:
		return differ("object %d/%s was cloned to %s, which is there: %v", a.coll, a.name, a.hi, there)
	case errors.Is(err, storage.ErrNotFound) && o == nil, errors.Is(err, storage.ErrExists) && o != nil:
		return nil
	}
	return err
}

// partAgain patches a block of the clone that was just made, and replaces it in the source: the last reference to the block that the patch was made
// from is gone before its group has been written.
func partAgain(tx *storage.Tx, m *model, a *action, off int) error {
	few := a.data[:min(30, pageSize-off%pageSize)]
	m.change(a.coll, a.hi, func(n *object) { n.write(off, few) })
	if err := tx.Write(storage.Coll(a.coll), []byte(a.hi), uint64(off), few); err != nil {
		return err
	}
	off = off / pageSize * pageSize
	m.change(a.coll, a.name, func(n *object) { n.write(off, a.data) })
	return tx.Write(storage.Coll(a.coll), []byte(a.name), uint64(off), a.data)
}

func removeAttr(tx *storage.Tx, m *model, a *action, o *object) error {
	next := *o
	had := next.removeAttr(a.hi)
	err := tx.RemoveAttr(storage.Coll(a.coll), []byte(a.name), []byte(a.hi))
	switch {
	case had:
		m.change(a.coll, a.name, func(o *object) { o.removeAttr(a.hi) })
	case err == nil:
		err = differ("object %d/%s: attribute %s was removed, there was none", a.coll, a.name, a.hi)
	case errors.Is(err, storage.ErrNotFound):
		err = nil
	}
	return err
}

// checkExpect expects the right version of an object, and a wrong one.
func checkExpect(tx *storage.Tx, m *model, a *action) error {
	is := m.version(a.coll, a.name, m.last)
	if err := tx.Expect(storage.Coll(a.coll), []byte(a.name), is); err != nil {
		var bad *storage.VersionError
		if errors.As(err, &bad) {
			return differ("%v", err)
		}
		return err
	}
	var bad *storage.VersionError
	if err := tx.Expect(storage.Coll(a.coll), []byte(a.name), is+1); !errors.As(err, &bad) || bad.Got != is {
		return differ("object %d/%s of version %d is expected to have %d: %v", a.coll, a.name, is, is+1, err)
	}
	return nil
}

// checkList compares a page of a collection's objects with the model after transaction seq; most 0: all of them, in one page.
func checkList(tx *storage.Tx, m *model, c int, after string, most int, seq uint64) error {
	want := m.list(c, seq)
	for len(want) > 0 && after != "" && (len(want[0]) < len(after) || len(want[0]) == len(after) && want[0] <= after) {
		want = want[1:]
	}
	goesOn := most > 0 && len(want) > most
	if goesOn {
		want = want[:most]
	}
	var bad error
	n := 0
	more, err := tx.Objects(storage.Coll(c), []byte(after), most, func(name []byte, info storage.ObjectInfo) bool {
		switch {
		case n >= len(want) || want[n] != string(name):
			bad = differ("collection %d lists %q as object %d behind %q, want %q", c, name, n, after, want)
		case info.Version != m.version(c, want[n], seq):
			bad = differ("collection %d lists %q with version %d, want %d", c, name, info.Version, m.version(c, want[n], seq))
		}
		n++
		return bad == nil
	})
	switch {
	case err != nil:
		return err
	case bad == nil && (n != len(want) || more != goesOn):
		return differ("collection %d lists %d objects behind %q, and more: %v; want %d, %v", c, n, after, more, len(want), goesOn)
	}
	return bad
}

// sameAttrs compares the list of an object's attributes with the model's.
func sameAttrs(tx *storage.Tx, c int, name string, o *object) error {
	var bad error
	n := 0
	err := tx.EachAttr(storage.Coll(c), []byte(name), func(attr, _ []byte) bool {
		if n >= len(o.attrs) || o.attrs[n].name != string(attr) {
			bad = differ("object %d/%s has attribute %s as number %d, want %v", c, name, attr, n, o.attrs)
		}
		n++
		return bad == nil
	})
	switch {
	case err != nil:
		return err
	case bad == nil && n != len(o.attrs):
		return differ("object %d/%s has %d attributes, want %d", c, name, n, len(o.attrs))
	}
	return bad
}
