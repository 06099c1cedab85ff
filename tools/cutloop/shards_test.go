package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"basalt"
	"basalt/storage"
	"basalt/tools/control"
	"basalt/tools/node"
)

// writeFile makes a file and syncs it.
func writeFile(x *basalt.FS, name string) error {
	f, err := x.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(name))
	return errors.Join(err, f.Sync(), f.Close())
}

// readOnly tells which shards are.
func readOnly(n *node.Node) (state string, which [3]bool) {
	status := n.Status()
	for i, part := range status.Parts {
		which[i] = part.Values["read_only"] == 1
	}
	return status.State, which
}

// A node serves a disk of two slices and an image. The disk dies under load of one slice: both of its shards become read-only, the idle one
// too, and the third goes on. What was synced on the disk is there when it comes back.
func TestOneDeviceOfANodeDies(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(diskFile(dir), nil, 0o600), os.Truncate(diskFile(dir), 272<<20)); err != nil {
		t.Fatal(err)
	}
	d, err := plug(dir)
	if err != nil {
		t.Fatal(err)
	}
	image, log := filepath.Join(dir, "image"), slog.New(slog.NewTextHandler(io.Discard, nil))
	if err := errors.Join(node.Format(node.FormatConfig{Device: d.loop.Path(), Slices: 2}), node.Format(node.FormatConfig{Device: image, Bytes: 128 << 20})); err != nil {
		t.Fatal(err)
	}
	cfg := node.Config{
		Devices: []string{d.loop.Path(), image}, Socket: filepath.Join(dir, "s"), Transport: "ring", Log: log,
		Storage: storage.Options{CacheBytes: 8 << 20, DeltaBytesMax: 16 << 20},
	}
	n, err := node.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var clients []*basalt.FS
	for i := range 3 {
		x, err := basalt.Dial("unix:"+cfg.Socket, basalt.Config{Shard: uint16(i)})
		if err == nil {
			err = writeFile(x, "before")
		}
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, x)
	}
	if state, which := readOnly(n); state != control.Serving || which != [3]bool{} {
		t.Fatalf("the node is %s, %v", state, which)
	}
	if _, err := d.tell(order{Cut: true, Ops: 20, Seed: 3}); err != nil {
		t.Fatal(err)
	}
	synced := 0
	for err == nil {
		if err = writeFile(clients[0], fmt.Sprint("f", synced)); err == nil {
			synced++
		}
	}
	for late := time.Now().Add(patience); ; {
		if state, which := readOnly(n); state == control.PartReadOnly && which == [3]bool{true, true, false} {
			break
		} else if which[2] || time.Now().After(late) {
			t.Fatalf("the node is %s, read-only are %v", state, which)
		}
	}
	if err := writeFile(clients[2], "after"); err != nil {
		t.Errorf("the shard on the other device: %v", err)
	}
	for i, x := range clients {
		if err := x.Close(); err != nil && i == 2 {
			t.Error(err)
		}
	}
	if err := n.Stop(); !errors.Is(err, storage.ErrReadOnly) {
		t.Errorf("the stop says %v", err)
	}
	if err := d.unplug(); err != nil {
		t.Error(err)
	}
	if synced == 0 {
		t.Error("nothing was synced before the disk died")
	}
	comesBack(t, dir, image, synced)
}

// comesBack plugs the disk in again, checks all slices, and looks for what was synced.
func comesBack(t *testing.T, dir, image string, synced int) {
	t.Helper()
	d, err := plug(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.unplug(); err != nil {
			t.Error(err)
		}
	}()
	for path, slices := range map[string]int{d.loop.Path(): 2, image: 1} {
		reports, err := node.Check(path, node.EverySlice)
		if err != nil || len(reports) != slices {
			t.Fatalf("%s: %d reports, %v", path, len(reports), err)
		}
		for _, r := range reports {
			if len(r.Store.Findings) > 0 || r.Names == nil || len(r.Names.Problems) > 0 {
				t.Errorf("%s, slice %d: %v, %+v", path, r.Slice, r.Store.Findings, r.Names)
			}
		}
	}
	n, err := node.Start(node.Config{
		Devices: []string{d.loop.Path(), image}, Socket: filepath.Join(dir, "s"), Transport: "ring", Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := [3][]string{{"before"}, {"before"}, {"before", "after"}}
	for i := range synced {
		want[0] = append(want[0], fmt.Sprint("f", i))
	}
	for i := range want {
		x, err := basalt.Dial("unix:"+filepath.Join(dir, "s"), basalt.Config{Shard: uint16(i)})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range want[i] {
			if got, err := fs.ReadFile(x, name); string(got) != name {
				t.Errorf("shard %d: %s is %q, %v", i, name, got, err)
			}
		}
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := n.Stop(); err != nil {
		t.Error(err)
	}
}
