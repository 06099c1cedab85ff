package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"basalt/engine"
	"basalt/storage"
)

// model is what the store must hold after transaction n, done by script.
type model struct {
	seed    uint64
	n       uint64
	keys    [colls + 1]map[string][]byte
	objects [colls + 1]map[string][]byte
}

func newModel(seed uint64) *model {
	m := &model{seed: seed}
	for c := 1; c <= colls; c++ {
		m.clear(c)
	}
	return m
}

func (m *model) clear(c int) {
	m.keys[c], m.objects[c] = make(map[string][]byte), make(map[string][]byte)
}

// advance does the transactions of a life up to number n.
func (m *model) advance(life, n uint64) {
	for m.n < n {
		m.n++
		for _, a := range script(m.seed, life, m.n) {
			m.do(&a)
		}
		m.keys[1][numberKey] = number(life, m.n)
	}
}

func (m *model) do(a *action) {
	keys, objects := m.keys[a.coll], m.objects[a.coll]
	o, there := objects[a.name]
	switch a.kind {
	case putKey, putBig:
		keys[a.name] = a.data
		return
	case delKey:
		delete(keys, a.name)
		return
	case delRange:
		for k := range keys {
			if k >= a.name && k < a.hi {
				delete(keys, k)
			}
		}
		return
	case recreate:
		m.clear(a.coll)
		return
	case write, writeBlocks:
		o = resize(o, max(len(o), a.off+len(a.data)))
		copy(o[a.off:], a.data)
		objects[a.name] = o
		return
	}
	switch {
	case !there:
	case a.kind == truncate:
		objects[a.name] = resize(o, a.off)
	case a.kind == punch:
		clear(o[min(a.off, len(o)):min(a.off+a.n, len(o))])
	case a.kind == remove:
		delete(objects, a.name)
	}
}

// resize cuts, or appends zeros; what was cut off never comes back.
func resize(o []byte, n int) []byte {
	if n <= len(o) {
		return o[:n:n]
	}
	return append(o, make([]byte, n-len(o))...)
}

// recovered reads which transaction a store ends with, and of which life.
func recovered(f *engine.Fiber, s *storage.Store) (life, n uint64, err error) {
	err = s.View(f, func(tx *storage.Tx) error {
		if !tx.HasCollection(1) {
			life, n = 0, 0
			return nil
		}
		val, err := tx.Get(1, []byte(numberKey))
		if err != nil {
			return err
		}
		if len(val) != 16 {
			return fmt.Errorf("the number of the last transaction has %d bytes", len(val))
		}
		life, n = binary.LittleEndian.Uint64(val), binary.LittleEndian.Uint64(val[8:])
		return nil
	})
	return life, n, err
}

// compare finds any difference between the store and the model.
func (m *model) compare(f *engine.Fiber, s *storage.Store) error {
	if m.n == 0 {
		return nil // no collection was ever made
	}
	a := f.Reactor().Arena()
	buf, err := a.Get(512 << 10) // more than an object can have
	if err != nil {
		return err
	}
	defer a.Put(buf)
	for c := 1; c <= colls; c++ {
		if err := s.View(f, func(tx *storage.Tx) error { return m.compareKeys(tx, c) }); err != nil {
			return err
		}
		for i := range objectCount {
			if err := m.compareObject(f, s, c, fmt.Sprintf("o%d", i), a.Bytes(buf)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *model) compareKeys(tx *storage.Tx, c int) error {
	seen := 0
	var bad error
	err := tx.Scan(storage.Coll(c), nil, nil, 0, func(key, val []byte) bool {
		seen++
		want, there := m.keys[c][string(key)]
		switch {
		case !there:
			bad = fmt.Errorf("collection %d has key %q, and it must not", c, key)
		case !bytes.Equal(val, want):
			bad = fmt.Errorf("collection %d, key %q: %d bytes that differ from the %d it must have", c, key, len(val), len(want))
		}
		return bad == nil
	})
	if err == nil && bad == nil && seen != len(m.keys[c]) {
		bad = fmt.Errorf("collection %d has %d keys and must have %d", c, seen, len(m.keys[c]))
	}
	return errors.Join(err, bad)
}

func (m *model) compareObject(f *engine.Fiber, s *storage.Store, c int, name string, buf []byte) error {
	want, there := m.objects[c][name]
	n, err := s.Read(f, storage.Coll(c), []byte(name), 0, buf)
	switch {
	case errors.Is(err, storage.ErrNotFound) && !there:
		return nil
	case err != nil:
		return fmt.Errorf("object %d/%s, which must have %d bytes: %w", c, name, len(want), err)
	case !there:
		return fmt.Errorf("object %d/%s has %d bytes and must not be", c, name, n)
	case !bytes.Equal(buf[:n], want):
		return fmt.Errorf("object %d/%s has %d bytes that differ from the %d it must have", c, name, n, len(want))
	}
	return nil
}
