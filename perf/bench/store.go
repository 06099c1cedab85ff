package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/perf/bar"
	"basalt/perf/fio"
	"basalt/storage"
)

const (
	storeImageBytes = 4 << 30
	objectBytes     = 1 << 30 // what is read and overwritten at random
	objectColl      = storage.Coll(1)
	writeBytes      = 1 << 20
)

var objectName = []byte("bench")

// openStore is a store in this process, on a reactor of its own. Owned by the bar that made it.
type openStore struct {
	dev *device.Device
	r   *engine.Reactor
	s   *storage.Store
}

// newStore formats the image anew and fills one object.
func newStore(path string) (*openStore, error) {
	dev, err := device.Open(path, device.Options{Force: true})
	if err != nil {
		return nil, err
	}
	r, err := engine.New(engine.Config{Name: "bench store", CPU: -1, ArenaBytes: 1 << 30})
	if err != nil {
		return nil, err
	}
	o := &openStore{dev: dev, r: r}
	if err := r.Start(func(f *engine.Fiber) error { return o.boot(f) }); err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return o, nil
}

func (o *openStore) boot(f *engine.Fiber) error {
	h, err := o.dev.Attach(f.Turn())
	if err != nil {
		return err
	}
	opt := storage.FormatOptions{}
	if _, err := rand.Read(opt.UUID[:]); err != nil {
		return err
	}
	if err := storage.Format(f, h, opt); err != nil {
		return err
	}
	if o.s, _, err = storage.Mount(f, h, 0, storage.Options{}); err != nil {
		return err
	}
	if _, err := o.s.Update(f, func(tx *storage.Tx) error { return tx.CreateCollection(objectColl) }); err != nil {
		return err
	}
	data := make([]byte, writeBytes)
	for i := range data {
		data[i] = byte(i * 13)
	}
	for off := uint64(0); off < objectBytes; off += writeBytes {
		if _, err := o.write(f, off, data); err != nil {
			return err
		}
	}
	return o.s.Checkpoint(f)
}

func (o *openStore) write(f *engine.Fiber, off uint64, data []byte) (storage.Seq, error) {
	return o.s.Update(f, func(tx *storage.Tx) error { return tx.Write(objectColl, objectName, off, data) })
}

func (o *openStore) close() error {
	err := o.r.Call(func(f *engine.Fiber) error { return o.s.Unmount(f) })
	o.r.Stop()
	return errors.Join(err, o.r.Wait(), o.dev.Close())
}

// rate runs depth fibers on the store's reactor.
func (o *openStore) rate(b *bench, depth int, work func(f *engine.Fiber, rng *mrand.Rand, stop func() bool) (int, error)) (rate float64, err error) {
	err = o.r.Call(func(f *engine.Fiber) error {
		rate, err = fleet(f, depth, b.seconds, work)
		return err
	})
	return rate, err
}

// reads are 4 KiB at random places, checksum verified.
func (o *openStore) reads(f *engine.Fiber, rng *mrand.Rand, stop func() bool) (n int, err error) {
	a := f.Reactor().Arena()
	buf, err := a.Get(blockBytes)
	if err != nil {
		return 0, err
	}
	defer a.Put(buf)
	p := a.Bytes(buf)[:blockBytes]
	for ; !stop(); n++ {
		off := rng.Uint64N(objectBytes/blockBytes) * blockBytes
		got, err := o.s.Read(f, objectColl, objectName, off, p)
		if err != nil {
			return n, err
		}
		if got != blockBytes {
			return n, fmt.Errorf("read %d bytes at %d", got, off)
		}
	}
	return n, nil
}

// overwrites are 4 KiB at random places, each awaited committed.
func (o *openStore) overwrites(f *engine.Fiber, rng *mrand.Rand, stop func() bool) (n int, err error) {
	data := make([]byte, blockBytes)
	for ; !stop(); n++ {
		data[0]++
		seq, err := o.write(f, rng.Uint64N(objectBytes/blockBytes)*blockBytes, data)
		if err == nil {
			err = o.s.Commit(f, seq)
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// storePart: the store in this process, every read verified and every write committed, against fio without any flush.
func storePart(b *bench) ([]bar.Bar, func() error, error) {
	ceiling, err := b.fullFile("engine.img", engineBytes)
	if err != nil {
		return nil, nil, err
	}
	path, err := b.fullFile("store.img", storeImageBytes)
	if err != nil {
		return nil, nil, err
	}
	o, err := newStore(path)
	if err != nil {
		return nil, nil, err
	}
	var bars []bar.Bar
	for _, k := range []struct {
		rw, name string
		work     func(f *engine.Fiber, rng *mrand.Rand, stop func() bool) (int, error)
	}{{"randread", "store-randread-4k", o.reads}, {"randwrite", "store-committed-randwrite-4k", o.overwrites}} {
		for _, depth := range depths {
			job := fio.Job{File: ceiling, RW: k.rw, Block: blockBytes, Depth: depth, Size: engineBytes, Seconds: b.seconds, Fixed: true}
			bars = append(bars, bar.Bar{
				Names:   []string{fmt.Sprintf("%s-qd%d", k.name, depth)},
				Unit:    "op/s",
				Ours:    bar.One(func() (float64, error) { return o.rate(b, depth, k.work) }),
				Against: bar.One(func() (float64, error) { f, err := fio.Run(job); return f.IOPS, err }),
			})
		}
	}
	return bars, o.close, nil
}
