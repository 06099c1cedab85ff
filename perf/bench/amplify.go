package main

import (
	"basalt/engine"
	"basalt/perf/bar"
	"basalt/storage"
)

// amplifyCheckpoints must have happened by themselves before the bytes are counted.
const amplifyCheckpoints = 2

// amplifyPart: bytes that the kernel wrote to the device for each byte that a user wrote. One round: the machine's speed
// does not change the count.
func amplifyPart(b *bench) ([]bar.Bar, func() error, error) {
	path, err := b.storeImage()
	if err != nil {
		return nil, nil, err
	}
	o, err := freshStore(path, storage.FormatOptions{}, randomObject, object{})
	if err != nil {
		return nil, nil, err
	}
	serial := uint64(0)
	var bars []bar.Bar
	for _, k := range []struct {
		name  string
		work  work
		bytes int
		limit float64
	}{
		{"store-amplification-overwrite-4k", o.overwriting(4 << 10), 4 << 10, 2.5},
		{"store-amplification-overwrite-64k", o.overwriting(64 << 10), 64 << 10, 1.2},
		{"store-amplification-new-4k", o.births(&serial), 4 << 10, 3.0},
	} {
		bars = append(bars, bar.Bar{
			Names: []string{k.name}, Unit: "bytes/byte", Limit: k.limit, Rounds: 1,
			Ours: bar.One(func() (float64, error) { return o.amplification(k.name, k.work, k.bytes) }),
		})
	}
	return bars, o.close, nil
}

// amplification works until checkpoints have happened by themselves, and then makes one more: nothing that was written is owed.
func (o *openStore) amplification(name string, w work, bytes int) (ratio float64, err error) {
	progress("%s: until %d checkpoints have happened", name, amplifyCheckpoints)
	err = o.r.Call(func(f *engine.Fiber) error {
		if err := o.s.Checkpoint(f); err != nil {
			return err
		}
		goal := o.s.Stats().Checkpoints + amplifyCheckpoints
		before, err := bytesWritten()
		if err != nil {
			return err
		}
		n, err := crew(f, dataDepth, func() bool { return o.s.Stats().Checkpoints >= goal }, w)
		if err == nil {
			err = o.s.Checkpoint(f)
		}
		if err != nil {
			return err
		}
		after, err := bytesWritten()
		ratio = float64(after-before) / float64(n*bytes)
		st := o.s.Stats()
		progress("%s: %d operations, %d checkpoints; so far, of %d MiB in groups, records %d MiB; folds %d MiB", name, n,
			st.Checkpoints-goal+amplifyCheckpoints, st.GroupBytes>>20, st.RecordBytes>>20, st.FoldBytes>>20)
		return err
	})
	return ratio, err
}
