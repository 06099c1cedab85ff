package main

import (
	"basalt/engine"
	"basalt/perf/bar"
)

const (
	dataDepth   = 64
	streamDepth = 16 // two groups of 8 MiB
)

// dataWork is one kind of traffic on objects, with the same traffic of fio, and what is wanted of it.
type dataWork struct {
	name   string
	work   func(o *openStore) work
	depth  int
	rw     string // of fio
	block  int
	unit   string
	wanted float64
	fills  bool // it makes the store fuller
}

var dataWorks = []dataWork{
	{"store-randread-4k-qd64", func(o *openStore) work { return o.reads }, dataDepth, "randread", blockBytes, "op/s", 0.90, false},
	{"store-committed-randwrite-4k-qd64", func(o *openStore) work { return o.overwrites }, dataDepth, "randwrite", blockBytes, "op/s", 0.50, false},
	{"store-committed-seqwrite-1m", func(o *openStore) work { return o.streamWrites }, streamDepth, "write", streamBytes, "MiB/s", 0.90, false},
	{"store-seqread-1m", func(o *openStore) work { return o.streamReads(o.stream) }, streamDepth, "read", streamBytes, "MiB/s", 0.90, false},
}

// dataPart: reads verified and writes committed, against fio that verifies and flushes nothing. Sequential figures come in
// operations of 1 MiB. The last bar only states what random overwrites cost a sequential reader.
func dataPart(b *bench) ([]bar.Bar, func() error, error) {
	ceiling, o, err := b.storeAndCeiling(streamObject)
	if err != nil {
		return nil, nil, err
	}
	var bars []bar.Bar
	for _, k := range dataWorks {
		bars = append(bars, bar.Bar{
			Names:   []string{k.name},
			Unit:    k.unit,
			Ours:    bar.One(func() (float64, error) { return o.rate(b, k.depth, k.work(o)) }),
			Against: b.fioRate(ceiling, k.rw, k.block, k.depth),
			Wanted:  k.wanted,
		})
	}
	bars = append(bars, bar.Bar{
		Names:   []string{"store-seqread-1m-overwritten"},
		Unit:    "MiB/s",
		Before:  o.scramble,
		Ours:    bar.One(func() (float64, error) { return o.rate(b, streamDepth, o.streamReads(o.random)) }),
		Against: bar.One(func() (float64, error) { return o.rate(b, streamDepth, o.streamReads(o.stream)) }),
	})
	return bars, o.close, nil
}

// scramble overwrites as many random blocks as the object has, and writes the stream anew: what lies beside it in the
// object lies elsewhere on the device.
func (o *openStore) scramble() error {
	progress("overwriting %d MiB in blocks of 4 KiB", o.random.bytes>>20)
	return o.r.Call(func(f *engine.Fiber) error {
		if _, err := crew(f, dataDepth, times(int(o.random.bytes/blockBytes)), o.overwrites); err != nil {
			return err
		}
		o.at = 0
		if _, err := crew(f, streamDepth, times(int(o.stream.bytes/streamBytes)), o.streamWrites); err != nil {
			return err
		}
		return o.s.Checkpoint(f)
	})
}
