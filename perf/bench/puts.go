package main

import (
	"errors"
	"fmt"
	"os"

	"basalt/perf/bar"
	"basalt/storage"
)

// putDepths: how many committed puts are under way, and what is wanted against each rival then.
var putDepths = []struct {
	depth                    int
	wantedBolt, wantedPebble float64
}{{64, 3, 1}, {512, 3, 1.2}}

// putsPart: committed puts of keys against the stores that Go programs embed, on the same disk.
func putsPart(b *bench) ([]bar.Bar, func() error, error) {
	bolt, lsm := b.rivalDir("puts.bbolt"), b.rivalDir("puts.pebble")
	clear := func() error { return errors.Join(os.RemoveAll(bolt), os.RemoveAll(lsm)) }
	if err := clear(); err != nil {
		return nil, nil, err
	}
	path, err := b.storeImage()
	if err != nil {
		return nil, nil, err
	}
	o, err := freshStore(path, storage.FormatOptions{}, object{}, object{})
	if err != nil {
		return nil, nil, err
	}
	var bars []bar.Bar
	for _, k := range putDepths {
		for _, rival := range []struct {
			name, dir string
			wanted    float64
		}{{"bbolt", bolt, k.wantedBolt}, {"pebble", lsm, k.wantedPebble}} {
			bars = append(bars, bar.Bar{
				Names:   []string{fmt.Sprintf("store-committed-put-256-c%d-%s", k.depth, rival.name)},
				Unit:    "op/s",
				Before:  b.haveRivals,
				Ours:    bar.One(func() (float64, error) { return o.rate(b, k.depth, o.puts) }),
				Against: bar.One(func() (float64, error) { return b.rivalPuts(rival.name, rival.dir, k.depth) }),
				Wanted:  rival.wanted,
			})
		}
	}
	return bars, func() error { return errors.Join(o.close(), clear()) }, nil
}
