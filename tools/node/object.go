package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"basalt/engine"
	"basalt/meta/record"
	"basalt/storage"
	"basalt/storage/dump"
	"basalt/storage/format"
	"basalt/tools/outcome"
)

// Objects are the objects of one collection of a device that no node uses.
type Objects struct {
	Device     string
	Slice      int
	Collection uint16
	Force      bool // change what the namespace owns, or read what was not put whole
	Create     bool // Put: make the collection if there is none
	Replace    bool // Put: an object of that name goes

	OnSize func(bytes int64) // Get: told before the first byte; may be nil
}

const (
	putFirst = 4 << 20 // bytes that are put in one transaction: the store's TxnDataMax
	putStep  = 1 << 20 // bytes of each further one
	getStep  = 1 << 20
	listStep = 256 // objects listed as of one moment
)

// unfinished is an attribute that an object has while a put of several transactions goes on: a power cut must not leave one that looks whole.
var unfinished = []byte("basalt.put-unfinished")

// Object is what is known of one.
type Object struct {
	Name       []byte
	Info       storage.ObjectInfo
	Attrs      []Attr // of Stat
	Unfinished bool   // of Stat
}

// Attr is an attribute of an object.
type Attr struct{ Name, Val []byte }

// with runs fn on the store, mounted: journal and all.
func (o *Objects) with(readOnly bool, fn func(f *engine.Fiber, s *storage.Store) error) error {
	dev, err := openDevice(o.Device, readOnly)
	if err != nil {
		return err
	}
	err = briefly(func(f *engine.Fiber) (err error) {
		h, err := dev.Attach(f.Turn())
		if err != nil {
			return err
		}
		defer h.Detach(f.Turn())
		s, _, err := storage.Mount(f, h, o.Slice, storage.Options{ReadOnly: readOnly})
		if err != nil {
			return explainStore(o.Device, err)
		}
		return errors.Join(fn(f, s), s.Unmount(f))
	})
	return errors.Join(err, dev.Close())
}

// change is with for what changes objects: not those of the namespace.
func (o *Objects) change(fn func(f *engine.Fiber, s *storage.Store) error) error {
	return o.with(false, func(f *engine.Fiber, s *storage.Store) error {
		if !o.Force {
			if err := o.refuseOwned(f, s); err != nil {
				return err
			}
		}
		return fn(f, s)
	})
}

// refuseOwned: the namespace keeps sizes, links, leases and remembered answers in step with the objects that it makes.
func (o *Objects) refuseOwned(f *engine.Fiber, s *storage.Store) error {
	fs, found, err := namespaceOf(f, s)
	if err != nil {
		return outcome.New(outcome.Damage, "which collections of %s the namespace owns cannot be read: %w: --force changes this one all the same", o.Device, err)
	}
	if !found || uint32(o.Collection) >= fs.Groups && o.Collection != record.ShardGroup {
		return nil
	}
	return outcome.New(outcome.Failed, "collection %d belongs to the namespace, which owns 0 to %d and %d: objects changed behind its back no longer agree with its inodes, and basalt fsck will find that; take another collection, or --force",
		o.Collection, fs.Groups-1, record.ShardGroup)
}

// namespaceOf is what mkfs decided for the namespace on a store, if there is one.
func namespaceOf(f *engine.Fiber, s *storage.Store) (fs record.FS, found bool, err error) {
	err = s.View(f, func(tx *storage.Tx) error {
		val, err := tx.Get(storage.Coll(record.ShardGroup), record.AppendFSKey(nil))
		if err != nil {
			return err
		}
		return fs.Decode(val)
	})
	if err == storage.ErrNotFound {
		return fs, false, nil
	}
	return fs, err == nil, err
}

func (o *Objects) coll() storage.Coll { return storage.Coll(o.Collection) }

// explain gives an error of the store its code, and names the object in the operator's way of writing.
func (o *Objects) explain(name []byte, err error) error {
	what := fmt.Sprintf("object %s of collection %d on %s", dump.Name(name), o.Collection, o.Device)
	var object *storage.ObjectError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrNotFound):
		return outcome.New(outcome.Failed, "%s is not there", what)
	case errors.As(err, &object) && format.IsCorrupt(err):
		return outcome.New(outcome.Damage, "%s is damaged at or behind byte %d: %w", what, object.Off, object.Err)
	case format.IsCorrupt(err):
		return outcome.New(outcome.Damage, "%s cannot be found, because the store is damaged: %w", what, err)
	case errors.Is(err, storage.ErrFull):
		return outcome.New(outcome.Failed, "%s does not fit: the store is full", what)
	}
	return outcome.New(outcome.CodeOf(err), "%s: %w", what, err)
}

// Put makes an object of what in has. Up to 4 MiB are one transaction; a longer object is marked unfinished until all of it is there, and goes
// again if in fails.
func (o *Objects) Put(name []byte, in io.Reader) (n int64, err error) {
	err = o.change(func(f *engine.Fiber, s *storage.Store) error {
		if err := o.mayPut(f, s, name); err != nil {
			return err
		}
		n, err = o.put(f, s, name, in)
		return err
	})
	return n, err
}

func (o *Objects) mayPut(f *engine.Fiber, s *storage.Store, name []byte) error {
	var there, has bool
	err := s.View(f, func(tx *storage.Tx) error {
		has = tx.HasCollection(o.coll())
		_, err := tx.Stat(o.coll(), name)
		if there = err == nil; err == storage.ErrNotFound {
			return nil
		}
		return err
	})
	switch {
	case err != nil:
		return o.explain(name, err)
	case !has && !o.Create:
		return outcome.New(outcome.Failed, "there is no collection %d on %s: --create makes it", o.Collection, o.Device)
	case there && !o.Replace:
		return outcome.New(outcome.Failed, "object %s of collection %d on %s is there already: --replace replaces it", dump.Name(name), o.Collection, o.Device)
	}
	return nil
}

func (o *Objects) put(f *engine.Fiber, s *storage.Store, name []byte, in io.Reader) (int64, error) {
	mem := make([]byte, putFirst)
	fill := func(p []byte) (n int, last bool, err error) {
		f.Reactor().Offload(f, func() { n, err = io.ReadFull(in, p) })
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return n, true, nil
		}
		return n, false, err
	}
	n, last, err := fill(mem)
	if err != nil {
		return 0, outcome.New(outcome.Failed, "reading the input: %w; nothing was changed", err)
	}
	seq, err := s.Update(f, func(tx *storage.Tx) error { return o.begin(tx, name, mem[:n], last) })
	done := int64(n)
	for err == nil && !last {
		var bad error
		if n, last, bad = fill(mem[:putStep]); bad != nil {
			return 0, o.takeBack(f, s, name, fmt.Errorf("reading the input: %w", bad))
		}
		seq, err = s.Update(f, func(tx *storage.Tx) error {
			if err := tx.Write(o.coll(), name, uint64(done), mem[:n]); err != nil || !last {
				return err
			}
			return tx.RemoveAttr(o.coll(), name, unfinished)
		})
		done += int64(n)
	}
	if err == nil {
		err = s.Commit(f, seq)
	}
	if err != nil {
		return 0, o.takeBack(f, s, name, o.explain(name, err))
	}
	return done, nil
}

// begin is the first transaction of a put; with last it is the only one.
func (o *Objects) begin(tx *storage.Tx, name, data []byte, last bool) error {
	c := o.coll()
	if !tx.HasCollection(c) {
		if err := tx.CreateCollection(c); err != nil {
			return err
		}
	}
	if err := tx.Remove(c, name); err != nil && err != storage.ErrNotFound {
		return err
	}
	if err := tx.Truncate(c, name, 0); err != nil {
		return err
	}
	if err := tx.Write(c, name, 0, data); err != nil || last {
		return err
	}
	return tx.SetAttr(c, name, unfinished, []byte{1})
}

// takeBack removes what an unfinished put has left. An object that was there before and whole, because the first transaction failed, stays.
func (o *Objects) takeBack(f *engine.Fiber, s *storage.Store, name []byte, why error) error {
	seq, err := s.Update(f, func(tx *storage.Tx) error {
		_, err := tx.GetAttr(o.coll(), name, unfinished)
		if err == nil {
			return tx.Remove(o.coll(), name)
		}
		if err == storage.ErrNotFound {
			return nil
		}
		return err
	})
	if err == nil {
		err = s.Commit(f, seq)
	}
	if err != nil {
		return outcome.New(outcome.CodeOf(why), "%w; and taking back what was written of it failed: %w: stat tells after the next mount what there is", why, err)
	}
	return outcome.New(outcome.CodeOf(why), "%w; nothing of it was kept", why)
}

// Get writes an object's bytes to out.
func (o *Objects) Get(name []byte, out io.Writer) (n int64, err error) {
	err = o.with(true, func(f *engine.Fiber, s *storage.Store) error {
		object, err := o.stat(f, s, name)
		if err != nil {
			return err
		}
		if object.Unfinished && !o.Force {
			return outcome.New(outcome.Failed, "object %s of collection %d on %s was not put whole: remove it and put it again, or --force to read what there is", dump.Name(name), o.Collection, o.Device)
		}
		if o.OnSize != nil {
			o.OnSize(int64(object.Info.Size))
		}
		n, err = o.get(f, s, object, out)
		return err
	})
	return n, err
}

func (o *Objects) get(f *engine.Fiber, s *storage.Store, object *Object, out io.Writer) (done int64, err error) {
	arena := f.Reactor().Arena()
	buf, err := arena.Get(getStep)
	if err != nil {
		return 0, err
	}
	defer arena.Put(buf)
	mem := arena.Bytes(buf)
	for uint64(done) < object.Info.Size {
		n, err := s.Read(f, o.coll(), object.Name, uint64(done), mem)
		if n > 0 { // what is whole before the bad bytes is of use
			var bad error
			f.Reactor().Offload(f, func() { _, bad = out.Write(mem[:n]) })
			if bad != nil {
				return done, outcome.New(outcome.Failed, "writing the output: %w", bad)
			}
		}
		if done += int64(n); err != nil {
			return done, o.explain(object.Name, err)
		}
	}
	return done, nil
}

// Stat describes an object.
func (o *Objects) Stat(name []byte) (object *Object, err error) {
	err = o.with(true, func(f *engine.Fiber, s *storage.Store) error {
		object, err = o.stat(f, s, name)
		return err
	})
	return object, err
}

func (o *Objects) stat(f *engine.Fiber, s *storage.Store, name []byte) (*Object, error) {
	object := &Object{Name: name}
	err := s.View(f, func(tx *storage.Tx) (err error) {
		object.Attrs, object.Unfinished = nil, false
		if object.Info, err = tx.Stat(o.coll(), name); err != nil {
			return err
		}
		return tx.EachAttr(o.coll(), name, func(name, val []byte) bool {
			object.Unfinished = object.Unfinished || bytes.Equal(name, unfinished)
			object.Attrs = append(object.Attrs, Attr{bytes.Clone(name), bytes.Clone(val)})
			return true
		})
	})
	return object, o.explain(name, err)
}

// Remove removes an object.
func (o *Objects) Remove(name []byte) error {
	return o.change(func(f *engine.Fiber, s *storage.Store) error {
		seq, err := o.remove(f, s, name)
		if err == nil {
			err = s.Commit(f, seq)
		}
		return o.explain(name, err)
	})
}

// List calls fn for the objects of the collection, shorter names first, until fn says false. Its memory does not depend on how many there are.
func (o *Objects) List(fn func(object *Object) bool) error {
	return o.with(true, func(f *engine.Fiber, s *storage.Store) error {
		var after []byte
		page := make([]Object, 0, listStep)
		for {
			more := false
			err := s.View(f, func(tx *storage.Tx) (err error) {
				page = page[:0]
				more, err = tx.Objects(o.coll(), after, listStep, func(name []byte, info storage.ObjectInfo) bool {
					page = append(page, Object{Name: bytes.Clone(name), Info: info})
					return true
				})
				return err
			})
			switch {
			case err == storage.ErrNotFound:
				return outcome.New(outcome.Failed, "there is no collection %d on %s", o.Collection, o.Device)
			case format.IsCorrupt(err):
				return outcome.New(outcome.Damage, "collection %d on %s cannot be listed behind %s: %w", o.Collection, o.Device, dump.Name(after), err)
			case err != nil:
				return err
			}
			for i := range page {
				if !fn(&page[i]) {
					return nil
				}
			}
			if !more {
				return nil
			}
			after = page[len(page)-1].Name
		}
	})
}

// Collection is one of a slice.
type Collection struct {
	ID    uint16
	Owned bool // by the namespace
}

// Collections lists those of the slice.
func (o *Objects) Collections() (list []Collection, err error) {
	err = o.with(true, func(f *engine.Fiber, s *storage.Store) error {
		fs, found, err := namespaceOf(f, s)
		if err != nil && !format.IsCorrupt(err) {
			found = false // a record that does not decode owns nothing that could be told
		}
		return s.View(f, func(tx *storage.Tx) error {
			list = list[:0]
			for c := range 1 << 16 {
				if tx.HasCollection(storage.Coll(c)) {
					list = append(list, Collection{ID: uint16(c), Owned: found && (uint32(c) < fs.Groups || uint16(c) == record.ShardGroup)})
				}
			}
			return nil
		})
	})
	return list, err
}
