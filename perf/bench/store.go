package main

import (
	"fmt"

	"basalt/engine"
	"basalt/perf/bar"
	"basalt/perf/fio"
	"basalt/storage"
)

const (
	storeImageBytes = 4 << 30
	objectBytes     = 1 << 30 // what is read and overwritten at random
	storeArenaBytes = 1 << 30 // delta of 256 MiB at most, index cache of 64 MiB, and what is in flight
)

var (
	randomObject = object{[]byte("random"), objectBytes}
	streamObject = object{[]byte("stream"), 512 << 20}
)

// newStore formats the image anew and fills the object that is worked on at random.
func newStore(path string) (*openStore, error) {
	return freshStore(path, storage.FormatOptions{}, randomObject, object{})
}

// freshStore formats the image anew and fills two objects.
func freshStore(path string, opt storage.FormatOptions, random, stream object) (*openStore, error) {
	if err := formatImage(path, opt); err != nil {
		return nil, err
	}
	o, err := mountImage(path, storage.Options{}, storeArenaBytes)
	if err != nil {
		return nil, err
	}
	return o, o.fill(random, stream)
}

// storeImage is the image of the area's stores; every part formats it anew.
func (b *bench) storeImage() (string, error) { return b.fullFile("store.img", storeImageBytes) }

func (o *openStore) write(f *engine.Fiber, off uint64, data []byte) (storage.Seq, error) {
	return o.s.Update(f, func(tx *storage.Tx) error { return tx.Write(objectColl, o.random.name, off, data) })
}

// storePart: the store in this process, every read verified and every write committed, against fio without any flush.
func storePart(b *bench) ([]bar.Bar, func() error, error) {
	ceiling, o, err := b.storeAndCeiling(object{})
	if err != nil {
		return nil, nil, err
	}
	var bars []bar.Bar
	for _, k := range []struct {
		rw, name string
		work     work
	}{{"randread", "store-randread-4k", o.reads}, {"randwrite", "store-committed-randwrite-4k", o.overwrites}} {
		for _, depth := range depths {
			bars = append(bars, bar.Bar{
				Names:   []string{fmt.Sprintf("%s-qd%d", k.name, depth)},
				Unit:    "op/s",
				Ours:    bar.One(func() (float64, error) { return o.rate(b, depth, k.work) }),
				Against: b.fioRate(ceiling, k.rw, blockBytes, depth),
			})
		}
	}
	return bars, o.close, nil
}

// storeAndCeiling is a fresh store and the file that fio works on beside it.
func (b *bench) storeAndCeiling(stream object) (ceiling string, o *openStore, err error) {
	if ceiling, err = b.fullFile("engine.img", engineBytes); err != nil {
		return "", nil, err
	}
	path, err := b.storeImage()
	if err != nil {
		return "", nil, err
	}
	o, err = freshStore(path, storage.FormatOptions{}, randomObject, stream)
	return ceiling, o, err
}

func (b *bench) fioRate(file, rw string, block, depth int) bar.Side {
	job := fio.Job{File: file, RW: rw, Block: block, Depth: depth, Size: engineBytes, Seconds: b.seconds, Fixed: true}
	return bar.One(func() (float64, error) { f, err := fio.Run(job); return f.IOPS, err })
}
