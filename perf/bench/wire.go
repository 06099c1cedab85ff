package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"

	"basalt/engine"
	"basalt/meta/client"
	"basalt/meta/record"
	"basalt/perf/bar"
)

const fileBytes = objectBytes // as much as the store's side works on

// wireClient is a session of this process with a node in another. Owned by its part; used on its reactor.
type wireClient struct {
	r       *engine.Reactor
	fs      *client.FS
	session *client.Session
	ino     record.Ino // of the file that is read and written
}

func dialNode(n *node) (*wireClient, error) {
	r, err := engine.New(engine.Config{Name: "bench client", CPU: -1, ArenaBytes: 64 << 20})
	if err != nil {
		return nil, err
	}
	c := &wireClient{r: r}
	if err := r.Start(func(f *engine.Fiber) error { return c.boot(f, n.socket()) }); err != nil {
		return nil, err
	}
	return c, nil
}

// boot connects and writes the file.
func (c *wireClient) boot(f *engine.Fiber, socket string) (err error) {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	c.fs, c.session, err = client.NewMount(id).Connect(f, client.SessionConfig{Network: "unix", Address: socket, Client: "bench", NoCache: true})
	if err != nil {
		return err
	}
	var found client.Found
	if _, s := c.fs.Create(f, record.RootIno, "random", &client.Birth{Mode: 0o600}, &found); s != record.OK {
		return fmt.Errorf("creating the file: %w", s)
	}
	c.ino = found.Attr.Ino
	memory := f.Reactor().Arena()
	buf, err := memory.Get(streamBytes)
	if err != nil {
		return err
	}
	defer memory.Put(buf)
	p := memory.Bytes(buf)[:streamBytes]
	for i := range p {
		p[i] = byte(i * 13)
	}
	for off := uint64(0); off < fileBytes; off += streamBytes {
		if err := c.put(f, off, p); err != nil {
			return err
		}
	}
	return c.sync(f)
}

func (c *wireClient) put(f *engine.Fiber, off uint64, p []byte) error {
	n, s := c.fs.Write(f, c.ino, off, p, 0)
	if s != record.OK || n != len(p) {
		return fmt.Errorf("writing at %d: %d bytes: %w", off, n, s)
	}
	return nil
}

func (c *wireClient) sync(f *engine.Fiber) error {
	if s := c.fs.Fsync(f, c.ino); s != record.OK {
		return fmt.Errorf("committing the file: %w", s)
	}
	return nil
}

func (c *wireClient) close() error {
	err := c.r.Call(func(f *engine.Fiber) error { c.session.Close(f); return nil })
	c.r.Stop()
	return errors.Join(err, c.r.Wait())
}

// each does one 4 KiB operation after the other at random places.
func each(bytes uint64, do func(f *engine.Fiber, off uint64, p []byte) error) work {
	return func(f *engine.Fiber, rng *mrand.Rand, stop func() bool) (n int, err error) {
		memory := f.Reactor().Arena()
		buf, err := memory.Get(blockBytes)
		if err != nil {
			return 0, err
		}
		defer memory.Put(buf)
		p := memory.Bytes(buf)[:blockBytes]
		for ; !stop(); n++ {
			p[0]++
			if err := do(f, rng.Uint64N(bytes/blockBytes)*blockBytes, p); err != nil {
				return n, err
			}
		}
		return n, nil
	}
}

func (c *wireClient) read(f *engine.Fiber, off uint64, p []byte) error {
	n, s := c.fs.Read(f, c.ino, off, p)
	if s != record.OK || n != len(p) {
		return fmt.Errorf("reading at %d: %d bytes: %w", off, n, s)
	}
	return nil
}

func (c *wireClient) putCommitted(f *engine.Fiber, off uint64, p []byte) error {
	if err := c.put(f, off, p); err != nil {
		return err
	}
	return c.sync(f)
}

func (c *wireClient) rate(b *bench, depth int, w work) (rate float64, err error) {
	err = c.r.Call(func(f *engine.Fiber) error {
		rate, err = fleet(f, depth, b.seconds, w)
		return err
	})
	return rate, err
}

// applied overwrites without waiting for the commit: what a write is before anybody asks for it to be durable.
func (o *openStore) applied(f *engine.Fiber, off uint64, p []byte) error {
	_, err := o.write(f, off, p)
	return err
}

// wirePart: the client in this process and the node in another, against the store in this process.
func wirePart(b *bench) ([]bar.Bar, func() error, error) {
	o, done, err := b.storeBeside()
	if err != nil {
		return nil, nil, err
	}
	n, err := b.startNode()
	if err != nil {
		return nil, nil, errors.Join(err, done())
	}
	c, err := dialNode(n)
	if err != nil {
		return nil, nil, errors.Join(err, n.close(), done())
	}
	var bars []bar.Bar
	for _, k := range []struct {
		name          string
		ours, against work
	}{
		{"wire-randread-4k", each(fileBytes, c.read), o.reads},
		{"wire-randwrite-4k", each(fileBytes, c.put), each(objectBytes, o.applied)},
		{"wire-committed-randwrite-4k", each(fileBytes, c.putCommitted), o.overwrites},
	} {
		for _, depth := range depths {
			bars = append(bars, bar.Bar{
				Names:   []string{fmt.Sprintf("%s-qd%d", k.name, depth)},
				Unit:    "op/s",
				Ours:    bar.One(func() (float64, error) { return c.rate(b, depth, k.ours) }),
				Against: bar.One(func() (float64, error) { return o.rate(b, depth, k.against) }),
			})
		}
	}
	return bars, func() error { return errors.Join(c.close(), n.close(), done()) }, nil
}

// storeBeside is the store in this process as the ceiling of something else.
func (b *bench) storeBeside() (*openStore, func() error, error) {
	path, err := b.fullFile("store.img", storeImageBytes)
	if err != nil {
		return nil, nil, err
	}
	o, err := newStore(path)
	if err != nil {
		return nil, nil, err
	}
	return o, o.close, nil
}
