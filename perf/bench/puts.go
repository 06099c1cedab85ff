package main

import (
	"errors"
	"fmt"

	"basalt/perf/bar"
	"basalt/storage"
)

const (
	putValueBytes = 256
	putKeys       = 1 << 20 // that are put again and again
)

// putDepths: how many committed puts are under way, and what is wanted against each rival then.
var putDepths = []struct {
	depth                    int
	wantedBolt, wantedPebble float64
}{{64, 3, 1}, {512, 3, 1.2}}

// putsPart: committed puts of keys against the stores that Go programs embed, on the same disk.
func putsPart(b *bench) ([]bar.Bar, func() error, error) {
	path, err := b.storeImage()
	if err != nil {
		return nil, nil, err
	}
	o, err := freshStore(path, storage.FormatOptions{}, object{}, object{})
	if err != nil {
		return nil, nil, err
	}
	bolt, err := openBolt(b.dir)
	if err != nil {
		return nil, nil, errors.Join(err, o.close())
	}
	lsm, err := openPebble(b.rivalDir("puts.pebble"), pebbleCacheBytes)
	if err != nil {
		return nil, nil, errors.Join(err, o.close(), bolt.close())
	}
	var bars []bar.Bar
	for _, k := range putDepths {
		for _, rival := range []struct {
			name   string
			put    func(depth int) putter
			wanted float64
		}{{"bbolt", bolt.putter, k.wantedBolt}, {"pebble", lsm.putter, k.wantedPebble}} {
			bars = append(bars, bar.Bar{
				Names:   []string{fmt.Sprintf("store-committed-put-256-c%d-%s", k.depth, rival.name)},
				Unit:    "op/s",
				Ours:    bar.One(func() (float64, error) { return o.rate(b, k.depth, o.puts) }),
				Against: bar.One(func() (float64, error) { return putRate(b.seconds, k.depth, rival.put(k.depth)) }),
				Wanted:  rival.wanted,
			})
		}
	}
	return bars, func() error { return errors.Join(o.close(), bolt.close(), lsm.remove()) }, nil
}
