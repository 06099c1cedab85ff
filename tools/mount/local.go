package mount

import (
	"crypto/rand"
	"errors"

	"basalt/engine"
	"basalt/meta"
	"basalt/meta/client"
	"basalt/meta/record"
)

// Shard is a shard in this process.
type Shard struct {
	Reactor *engine.Reactor // its ring was opened by Ring
	CPU     int
	Meta    *meta.Shard
	LeaseNs int64
}

// Local mounts a shard of this process. The first column is the shard's own: its FUSE queue finds the shard on its own
// thread; the other columns cross.
func Local(cfg Config, shard Shard) (*Mount, error) {
	cfg.setDefaults()
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	m := &Mount{cfg: cfg, mount: client.NewMount(id)}
	caller := &local{shard: shard}
	m.columns = append(m.columns, &column{reactor: shard.Reactor, cpu: shard.CPU, fs: m.mount.NewFS(shard.Reactor, caller)})
	for n := 1; n < cfg.Columns; n++ {
		err := m.newColumn(n, func(f *engine.Fiber, c *column) error {
			c.fs = m.mount.NewFS(f.Reactor(), caller)
			return nil
		})
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	if err := shard.Reactor.Call(func(f *engine.Fiber) error { return m.enter(f, caller, id) }); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	if err := m.serve(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// enter opens the session that all columns share; it runs on the shard's column.
func (m *Mount) enter(f *engine.Fiber, caller *local, id [16]byte) error {
	recall := func(f *engine.Fiber) {
		if err := m.mount.Recall(f); err != nil {
			m.cfg.Log.Error("the kernel's cache could not be dropped", "error", err)
		}
	}
	session, cache, err := caller.shard.Meta.Local(f, id, true, recall)
	if err != nil {
		return err
	}
	caller.session = session
	m.leave = func(f *engine.Fiber) { caller.shard.Meta.Leave(f, session) }
	if !cache {
		return nil
	}
	for _, c := range m.columns {
		var granting error
		err := engine.CallOn(f, c.reactor, func(f2 *engine.Fiber) { granting = c.fs.Grant(f2, caller.shard.LeaseNs) })
		if err = errors.Join(err, granting); err != nil {
			return err
		}
	}
	return nil
}

// local is the caller of a mount in the node's process: a call instead of a connection.
type local struct {
	shard   Shard
	session *meta.Session // set before the mount serves
}

// Call runs the request on the shard's column; from that column it is a function call.
func (l *local) Call(f *engine.Fiber, q *record.Request, data []byte, p *record.Reply, dst []byte) error {
	return engine.CallOn(f, l.shard.Reactor, func(on *engine.Fiber) {
		if on != f && f.Canceled() {
			on.SetCanceled()
		}
		l.shard.Meta.Do(on, l.session, q, data, p, dst)
	})
}
