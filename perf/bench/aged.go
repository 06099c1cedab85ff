package main

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/perf/bar"
	"basalt/perf/keys"
	"basalt/storage"
)

const (
	agedFill    = 80 // hundredths of the capacity
	agedWriters = 16
	agedWanted  = 0.8
	agedArena   = 768 << 20
)

var (
	agedRandom = object{[]byte("random"), 256 << 20}
	agedStream = object{[]byte("stream"), 256 << 20}
)

// agedSizes of the objects that age a store, each as likely as the others.
var agedSizes = []int{4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20}

// agedPart: a store that has been filled and rewritten against one that is fresh, on the two slices of one image. The fresh one is
// emptied and filled anew before each bar, so that it does not age with what measures it.
func agedPart(b *bench) ([]bar.Bar, func() error, error) {
	path, err := b.storeImage()
	if err != nil {
		return nil, nil, err
	}
	if err := formatImage(path, storage.FormatOptions{Slices: 2}); err != nil {
		return nil, nil, err
	}
	dev, err := device.Open(path, device.Options{Force: true})
	if err != nil {
		return nil, nil, err
	}
	aged, err := mountSlice(dev, 0, storage.Options{}, agedArena)
	if err != nil {
		return nil, nil, errors.Join(err, dev.Close())
	}
	fresh, err := mountSlice(dev, 1, storage.Options{}, agedArena)
	if err != nil {
		return nil, nil, errors.Join(err, aged.close(), dev.Close())
	}
	done := func() error { return errors.Join(aged.close(), fresh.close(), dev.Close()) }
	if err := aged.age(b.churn); err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return agedBars(b, aged, fresh), done, nil
}

func agedBars(b *bench, aged, fresh *openStore) []bar.Bar {
	works := append([]dataWork(nil), dataWorks...)
	for _, p := range putDepths {
		works = append(works, dataWork{
			name: fmt.Sprintf("store-committed-put-256-c%d", p.depth), unit: "op/s", depth: p.depth, wanted: agedWanted,
			work: func(o *openStore) work { return o.puts }, fills: true,
		})
	}
	var bars []bar.Bar
	for _, k := range works {
		wanted := agedWanted
		if k.rw == "read" { // stated only: free space in pieces is what an old store has
			wanted = 0
		}
		bars = append(bars, bar.Bar{
			Names: []string{"aged-" + k.name}, Unit: k.unit, Wanted: wanted,
			Before:  func() error { return errors.Join(fresh.empty(), fresh.fill(agedRandom, agedStream)) },
			Ours:    bar.One(func() (float64, error) { return aged.rateOf(b, &k) }),
			Against: bar.One(func() (float64, error) { return fresh.rateOf(b, &k) }),
		})
	}
	return bars
}

// rateOf is rate. What fills the store begins each round as full as the aged one is to be: five rounds of puts make it a fuller one.
func (o *openStore) rateOf(b *bench, k *dataWork) (float64, error) {
	if k.fills {
		if err := o.dropKeys(); err != nil {
			return 0, err
		}
	}
	return o.rate(b, k.depth, k.work(o))
}

// ageing is what the writers of age share: they are fibers of one reactor.
type ageing struct {
	o       *openStore
	serial  uint64
	filled  bool   // for the first time; what is written from then on counts
	written uint64 // bytes
	goal    uint64 // bytes
	told    uint64 // hundredths of goal, in the last report
}

// herd is the objects that one writer owns, by the number in their names.
type herd []uint64

// age fills the store, and then removes random objects and writes others until the capacity has been written so many times. At the end
// objects are removed for those that will be measured, which fill the store again, into the space that is left between the others.
func (o *openStore) age(churn float64) error {
	err := o.r.Call(func(f *engine.Fiber) error {
		capacity := o.s.Space().Total * blockBytes
		progress("ageing a store: filling %d%% of %d MiB", agedFill, capacity>>20)
		a := &ageing{o: o, goal: max(uint64(churn*float64(capacity)), 1)}
		herds := make([]herd, 0, agedWriters)
		_, err := crew(f, agedWriters, func() bool { return a.written >= a.goal && a.full(0) }, func(f *engine.Fiber, rng *rand.Rand, stop func() bool) (int, error) {
			h, err := a.rewrite(f, rng, stop)
			herds = append(herds, h)
			return len(h), err
		})
		if err != nil {
			return err
		}
		rng := rand.New(rand.NewPCG(1, 3))
		for i := 0; a.full(agedRandom.bytes + agedStream.bytes); i++ {
			h := &herds[i%len(herds)]
			if len(*h) == 0 {
				return errors.New("nothing is left to remove")
			}
			if err := a.remove(f, rng, h); err != nil {
				return err
			}
		}
		return o.s.Checkpoint(f)
	})
	if err != nil {
		return err
	}
	return o.fill(agedRandom, agedStream)
}

// full tells whether the store would be as full as it is to be with so many bytes more in it.
func (a *ageing) full(more uint64) bool {
	s := a.o.s.Space()
	return (s.Total-s.Free+more/blockBytes)*100 >= s.Total*agedFill
}

// rewrite is one writer: it adds objects while the store is not full, and removes one of its own when it is.
func (a *ageing) rewrite(f *engine.Fiber, rng *rand.Rand, stop func() bool) (h herd, err error) {
	data := keys.Pattern(agedSizes[len(agedSizes)-1])
	p := a.o.patcher(make([]byte, keys.Bytes), data)
	for !stop() {
		full := a.full(0)
		a.filled = a.filled || full
		if full && len(h) > 0 {
			if err := a.remove(f, rng, &h); err != nil {
				return h, err
			}
			continue
		}
		a.serial++
		h = append(h, keys.Scatter(a.serial))
		keys.Name(p.name, keys.Scatter(a.serial))
		p.data = data[:agedSizes[rng.IntN(len(agedSizes))]]
		if err := p.commit(f, 0); err != nil {
			return h, err
		}
		if !a.filled {
			continue
		}
		a.written += uint64(len(p.data))
		if done := a.written * 100 / a.goal; done >= a.told+10 {
			a.told = done
			progress("ageing a store: %d%%", done)
		}
	}
	return h, nil
}

func (a *ageing) remove(f *engine.Fiber, rng *rand.Rand, h *herd) error {
	i, last := rng.IntN(len(*h)), len(*h)-1
	name := make([]byte, keys.Bytes)
	keys.Name(name, (*h)[i])
	(*h)[i] = (*h)[last]
	*h = (*h)[:last]
	_, err := a.o.s.Update(f, func(tx *storage.Tx) error { return tx.Remove(objectColl, name) })
	return err
}
