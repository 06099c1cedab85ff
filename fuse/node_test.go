package fuse_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/uring"
	"basalt/fuse"
	"basalt/meta"
	"basalt/meta/client"
	"basalt/meta/record"
	"basalt/storage"
)

// node is a whole Basalt in this process: a shard on an image file, for mounts to be made on.
type node struct {
	t     testing.TB
	r     *engine.Reactor
	store *storage.Store
	shard *meta.Shard
}

const (
	imageBytes = 512 << 20
	leaseNs    = 30e9
)

func column(t testing.TB, name string, cpu, arena int) *engine.Reactor {
	t.Helper()
	r, err := engine.New(engine.Config{Name: name, CPU: cpu, ArenaBytes: arena, OpsMax: 2048,
		Ring: func() (uring.Ring, error) {
			return uring.Open(uring.Config{Entries: 512, CQEntries: 4096, SQE128: true})
		}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(func(*engine.Fiber) error { return nil }); err != nil {
		t.Fatal(err)
	}
	return r
}

func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{t: t, r: column(t, "shard", 0, 384<<20)}
	image := filepath.Join(t.TempDir(), "image")
	if err := device.Create(image, imageBytes); err != nil {
		t.Fatal(err)
	}
	dev, err := device.Open(image, device.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var h *device.Handle
	err = n.r.Call(func(f *engine.Fiber) (err error) {
		if h, err = dev.Attach(f.Turn()); err != nil {
			return err
		}
		if err := storage.Format(f, h, storage.FormatOptions{UUID: [16]byte{1}}); err != nil {
			return err
		}
		if n.store, _, err = storage.Mount(f, h, 0, storage.Options{CacheBytes: 16 << 20, DeltaBytesMax: 64 << 20}); err != nil {
			return err
		}
		if err := meta.Format(f, n.store, meta.FormatOptions{ID: [16]byte{2}, Seed: 3, WallNs: time.Now().UnixNano()}); err != nil {
			return err
		}
		n.shard = meta.NewShard(n.store, meta.Options{})
		return n.shard.Start(f)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := n.r.Call(func(f *engine.Fiber) error {
			n.shard.Stop(f)
			if err := n.store.Unmount(f); err != nil {
				return err
			}
			report, err := storage.Fsck(f, h, 0, storage.Options{})
			if err == nil && len(report.Findings) > 0 {
				err = fmt.Errorf("the store is damaged: %+v", report.Findings)
			}
			h.Detach(f.Turn())
			return err
		})
		if err != nil {
			t.Error(err)
		}
		n.r.Stop()
		if err := n.r.Wait(); err != nil {
			t.Error(err)
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// nodeCaller calls the shard on its own column.
type nodeCaller struct {
	n       *node
	session *meta.Session
}

// Call crosses to the shard if it must.
func (c *nodeCaller) Call(f *engine.Fiber, q *record.Request, data []byte, p *record.Reply, dst []byte) error {
	return engine.CallOn(f, c.n.r, func(on *engine.Fiber) { c.n.shard.Do(on, c.session, q, data, p, dst) })
}

// mount is one mount of the node: the shard's column and one that crosses to it.
type mount struct {
	*fuse.Mounted
	dir string
	log bytes.Buffer
}

func (n *node) mount(name string, tr fuse.Transport) *mount { return n.mountOn(name, tr, 2) }

func (n *node) mountOn(name string, tr fuse.Transport, columns int) *mount {
	t := n.t
	t.Helper()
	m := &mount{dir: t.TempDir()}
	second := column(t, name, 1, 96<<20)
	id := [16]byte{9}
	copy(id[1:], name)
	cm := client.NewMount(id)
	caller := &nodeCaller{n: n}
	list := []fuse.MountColumn{{CPU: 0, FS: cm.NewFS(n.r, caller)}, {CPU: 1, FS: cm.NewFS(second, caller)}}[:columns]
	if err := n.r.Call(func(f *engine.Fiber) error { return m.enter(f, n, cm, caller, id, list) }); err != nil {
		t.Fatal(err)
	}
	var err error
	m.Mounted, err = fuse.Mount(fuse.Options{Dir: m.dir, Transport: tr, Log: slog.New(slog.NewTextHandler(&m.log, nil)), QueueDepth: 16}, cm, list)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Unmount(false); err != nil {
			t.Error(err)
			m.Unmount(true)
		}
		<-m.Done()
		if err := n.r.Call(func(f *engine.Fiber) error { n.shard.Leave(f, caller.session); return nil }); err != nil {
			t.Error(err)
		}
		second.Stop()
		if err := second.Wait(); err != nil {
			t.Error(err)
		}
		if strings.Contains(m.log.String(), "level=ERROR") {
			t.Error(m.log.String())
		}
	})
	return m
}

func (m *mount) enter(f *engine.Fiber, n *node, cm *client.Mount, caller *nodeCaller, id [16]byte, list []fuse.MountColumn) error {
	s, cache, err := n.shard.Local(f, id, true, func(f *engine.Fiber) {
		if err := cm.Recall(f); err != nil {
			n.t.Error(err)
		}
	})
	if err != nil {
		return err
	}
	caller.session = s
	for _, c := range list {
		if err := engine.CallOn(f, c.FS.Reactor(), func(f2 *engine.Fiber) {
			if cache {
				err = c.FS.Grant(f2, leaseNs)
			}
		}); err != nil {
			return err
		}
	}
	return err
}
