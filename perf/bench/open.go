package main

import (
	"crypto/rand"
	"errors"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/perf/keys"
	"basalt/storage"
)

// object is what a store of the bench is measured on.
type object struct {
	name  []byte
	bytes uint64
}

// openStore is a slice of a device, mounted in this process on a reactor of its own. Owned by the part that opened it.
type openStore struct {
	dev    *device.Device
	own    bool // close ends dev too
	r      *engine.Reactor
	s      *storage.Store
	rep    *storage.MountReport
	random object // read and overwritten at random
	stream object // written and read from end to end
	at     uint64 // in stream: where the next transfer begins
}

// formatImage makes an image a set of empty stores.
func formatImage(path string, opt storage.FormatOptions) error {
	dev, err := device.Open(path, device.Options{Force: true})
	if err != nil {
		return err
	}
	defer dev.Close()
	if _, err := rand.Read(opt.UUID[:]); err != nil {
		return err
	}
	r, err := engine.New(engine.Config{Name: "bench format", CPU: -1, ArenaBytes: 16 << 20})
	if err != nil {
		return err
	}
	err = r.Start(func(f *engine.Fiber) error {
		h, err := dev.Attach(f.Turn())
		if err != nil {
			return err
		}
		return storage.Format(f, h, opt)
	})
	r.Stop()
	return errors.Join(err, r.Wait())
}

// mountImage mounts the only slice of an image.
func mountImage(path string, opt storage.Options, arenaBytes int) (*openStore, error) {
	dev, err := device.Open(path, device.Options{Force: true})
	if err != nil {
		return nil, err
	}
	o, err := mountSlice(dev, 0, opt, arenaBytes)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	o.own = true
	return o, nil
}

func mountSlice(dev *device.Device, slice int, opt storage.Options, arenaBytes int) (*openStore, error) {
	r, err := engine.New(engine.Config{Name: "bench store", CPU: -1, ArenaBytes: arenaBytes})
	if err != nil {
		return nil, err
	}
	o := &openStore{dev: dev, r: r}
	err = r.Start(func(f *engine.Fiber) error {
		h, err := dev.Attach(f.Turn())
		if err != nil {
			return err
		}
		if o.s, o.rep, err = storage.Mount(f, h, slice, opt); err != nil {
			return err
		}
		_, err = o.s.Update(f, func(tx *storage.Tx) error {
			if tx.HasCollection(objectColl) {
				return nil
			}
			return tx.CreateCollection(objectColl)
		})
		return err
	})
	if err != nil {
		return nil, errors.Join(err, r.Wait())
	}
	return o, nil
}

// fill writes an object from end to end, leaves it to be worked on at random, and brings all into the tree.
func (o *openStore) fill(random, stream object) error {
	o.random, o.stream = random, stream
	return o.r.Call(func(f *engine.Fiber) error {
		for _, x := range []object{random, stream} {
			p := o.patcher(x.name, keys.Pattern(streamBytes))
			for off := uint64(0); off < x.bytes; off += streamBytes {
				if _, err := p.write(f, off); err != nil {
					return err
				}
			}
		}
		return o.s.Checkpoint(f)
	})
}

// empty removes what fill wrote, and everything else.
func (o *openStore) empty() error {
	return o.r.Call(func(f *engine.Fiber) error {
		for _, fn := range []func(tx *storage.Tx) error{
			func(tx *storage.Tx) error { return tx.DeleteCollection(objectColl) },
			func(tx *storage.Tx) error { return tx.CreateCollection(objectColl) },
		} {
			if _, err := o.s.Update(f, fn); err != nil {
				return err
			}
		}
		return o.s.Checkpoint(f)
	})
}

// dropKeys removes all keys and no object: what is measured of an aged store must not fill it further.
func (o *openStore) dropKeys() error {
	return o.r.Call(func(f *engine.Fiber) error {
		if _, err := o.s.Update(f, func(tx *storage.Tx) error { return tx.DeleteRange(objectColl, nil, nil) }); err != nil {
			return err
		}
		return o.s.Checkpoint(f)
	})
}

func (o *openStore) close() error {
	err := o.r.Call(func(f *engine.Fiber) error { return o.s.Unmount(f) })
	o.r.Stop()
	err = errors.Join(err, o.r.Wait())
	if o.own {
		err = errors.Join(err, o.dev.Close())
	}
	return err
}

// rate runs depth fibers on the store's reactor for the bench's time.
func (o *openStore) rate(b *bench, depth int, w work) (rate float64, err error) {
	err = o.r.Call(func(f *engine.Fiber) error {
		rate, err = fleet(f, depth, b.seconds, w)
		return err
	})
	return rate, err
}
