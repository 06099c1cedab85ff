package main

import (
	"fmt"
	"math/rand/v2"

	"basalt/engine"
	"basalt/perf/keys"
	"basalt/storage"
)

const (
	objectColl  = storage.Coll(1)
	streamBytes = 1 << 20 // of one transfer of a stream
)

// patcher writes pieces of one object. Its closure is made once, so that a write leaves no garbage of the bench's own.
type patcher struct {
	s     *storage.Store
	name  []byte
	off   uint64
	data  []byte
	apply func(tx *storage.Tx) error
}

func (o *openStore) patcher(name, data []byte) *patcher {
	p := &patcher{s: o.s, name: name, data: data}
	p.apply = func(tx *storage.Tx) error { return tx.Write(objectColl, p.name, p.off, p.data) }
	return p
}

func (p *patcher) write(f *engine.Fiber, off uint64) (storage.Seq, error) {
	p.off = off
	return p.s.Update(f, p.apply)
}

// commit writes, and waits until that survives power loss.
func (p *patcher) commit(f *engine.Fiber, off uint64) error {
	seq, err := p.write(f, off)
	if err != nil {
		return err
	}
	return p.s.Commit(f, seq)
}

// reads are 4 KiB at random places, checksum verified.
func (o *openStore) reads(f *engine.Fiber, rng *rand.Rand, stop func() bool) (n int, err error) {
	return o.reading(f, o.random, blockBytes, stop, func() uint64 { return rng.Uint64N(o.random.bytes/blockBytes) * blockBytes })
}

// streamReads go through an object from end to end, 1 MiB at a time, together with the other fibers.
func (o *openStore) streamReads(x object) work {
	return func(f *engine.Fiber, _ *rand.Rand, stop func() bool) (int, error) {
		return o.reading(f, x, streamBytes, stop, func() uint64 { return o.advance(x) })
	}
}

func (o *openStore) advance(x object) (off uint64) {
	off = o.at % x.bytes
	o.at = off + streamBytes
	return off
}

func (o *openStore) reading(f *engine.Fiber, x object, bytes int, stop func() bool, next func() uint64) (n int, err error) {
	a := f.Reactor().Arena()
	buf, err := a.Get(bytes)
	if err != nil {
		return 0, err
	}
	defer a.Put(buf)
	p := a.Bytes(buf)[:bytes]
	for ; !stop(); n++ {
		off := next()
		got, err := o.s.Read(f, objectColl, x.name, off, p)
		if err != nil {
			return n, err
		}
		if got != bytes {
			return n, fmt.Errorf("read %d bytes at %d", got, off)
		}
	}
	return n, nil
}

// overwrites are 4 KiB at random places, each awaited committed.
func (o *openStore) overwrites(f *engine.Fiber, rng *rand.Rand, stop func() bool) (n int, err error) {
	return o.overwriting(blockBytes)(f, rng, stop)
}

// overwriting is the same with aligned pieces of another size.
func (o *openStore) overwriting(bytes uint64) work {
	return func(f *engine.Fiber, rng *rand.Rand, stop func() bool) (n int, err error) {
		p := o.patcher(o.random.name, make([]byte, bytes))
		for ; !stop(); n++ {
			p.data[0]++
			if err := p.commit(f, rng.Uint64N(o.random.bytes/bytes)*bytes); err != nil {
				return n, err
			}
		}
		return n, nil
	}
}

// streamWrites overwrite an object from end to end, 1 MiB at a time, together with the other fibers; each is awaited committed.
func (o *openStore) streamWrites(f *engine.Fiber, _ *rand.Rand, stop func() bool) (n int, err error) {
	p := o.patcher(o.stream.name, keys.Pattern(streamBytes))
	for ; !stop(); n++ {
		p.data[n%streamBytes]++
		if err := p.commit(f, o.advance(o.stream)); err != nil {
			return n, err
		}
	}
	return n, nil
}

// births create objects of 4 KiB, each awaited committed. serial names the next one for all fibers.
func (o *openStore) births(serial *uint64) work {
	return func(f *engine.Fiber, _ *rand.Rand, stop func() bool) (n int, err error) {
		p := o.patcher(make([]byte, keys.Bytes), make([]byte, blockBytes))
		for ; !stop(); n++ {
			*serial++
			keys.Name(p.name, keys.Scatter(*serial))
			p.data[0]++
			if err := p.commit(f, 0); err != nil {
				return n, err
			}
		}
		return n, nil
	}
}

// keyWriter puts keys, as patcher writes objects.
type keyWriter struct {
	s        *storage.Store
	key, val []byte
	apply    func(tx *storage.Tx) error
}

func (o *openStore) keyWriter(valueBytes int) *keyWriter {
	w := &keyWriter{s: o.s, key: make([]byte, keys.Bytes), val: keys.Pattern(valueBytes)}
	w.apply = func(tx *storage.Tx) error { return tx.Put(objectColl, w.key, w.val) }
	return w
}

func (w *keyWriter) commit(f *engine.Fiber) error {
	seq, err := w.s.Update(f, w.apply)
	if err != nil {
		return err
	}
	return w.s.Commit(f, seq)
}

// puts set random keys, each awaited committed.
func (o *openStore) puts(f *engine.Fiber, rng *rand.Rand, stop func() bool) (n int, err error) {
	w := o.keyWriter(keys.PutValueBytes)
	for ; !stop(); n++ {
		keys.NamePut(w.key, rng)
		w.val[0]++
		if err := w.commit(f); err != nil {
			return n, err
		}
	}
	return n, nil
}

// gets look random keys up among the first total.
func (o *openStore) gets(total uint64) work {
	return func(f *engine.Fiber, rng *rand.Rand, stop func() bool) (n int, err error) {
		key, got := make([]byte, keys.Bytes), 0
		get := func(tx *storage.Tx) error {
			val, err := tx.Get(objectColl, key)
			got = len(val)
			return err
		}
		for ; !stop(); n++ {
			i := rng.Uint64N(total)
			keys.Name(key, i)
			if err := o.s.View(f, get); err != nil {
				return n, fmt.Errorf("key %d: %w", i, err)
			}
			if got != keys.GetValueBytes {
				return n, fmt.Errorf("key %d has %d bytes", i, got)
			}
		}
		return n, nil
	}
}
