package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"basalt"
	"basalt/engine"
	"basalt/engine/device"
	"basalt/meta/record"
	"basalt/storage"
	"basalt/storage/format"
	"basalt/tools/control"
	"basalt/tools/mount"
	"basalt/tools/outcome"
)

// journal is a log that a test reads while others write it.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) lines(with ...string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, line := range strings.Split(j.text.String(), "\n") {
		all := true
		for _, w := range with {
			all = all && strings.Contains(line, w)
		}
		if all {
			n++
		}
	}
	return n
}

// images makes a device of two slices and a smaller one of one.
func images(t *testing.T) (two, one string) {
	t.Helper()
	dir := t.TempDir()
	two, one = filepath.Join(dir, "two.img"), filepath.Join(dir, "one.img")
	for _, cfg := range []FormatConfig{{Device: two, Bytes: 2*bytesMin + 32<<20, Slices: 2}, {Device: one, Bytes: bytesMin}} {
		if err := Format(cfg); err != nil {
			t.Fatal(err)
		}
	}
	return two, one
}

func nodeConfig(log io.Writer, devices ...string) Config {
	return Config{
		Devices: devices, Socket: filepath.Join(filepath.Dir(devices[0]), "s"), Transport: "ring", Pin: true,
		Storage: storage.Options{CacheBytes: 8 << 20, DeltaBytesMax: 16 << 20}, Log: slog.New(slog.NewTextHandler(log, nil)),
	}
}

func dial(t *testing.T, n *Node, shard uint16) *basalt.FS {
	t.Helper()
	x, err := basalt.Dial("unix:"+n.cfg.Socket, basalt.Config{Shard: shard})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func put(t *testing.T, x *basalt.FS, name, text string) {
	t.Helper()
	f, err := x.Create(name)
	if err == nil {
		_, err = f.Write([]byte(text))
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// Every slice of every device is a shard with a file system of its own, numbered in the order of the devices; status and log say which is
// which; all is there after a restart.
func TestSeveralDevices(t *testing.T) {
	two, one := images(t)
	log := &journal{}
	for life := range 2 {
		n, err := Start(nodeConfig(log, two, one))
		if err != nil {
			t.Fatal(err)
		}
		status := n.Status()
		if len(status.Parts) != 3 || status.State != control.Serving || status.About["device"] != two+", "+one {
			t.Fatalf("%+v", status)
		}
		var sizes [3]uint64
		for i, want := range []struct{ path, slice string }{{two, "0"}, {two, "1"}, {one, "0"}} {
			part := status.Parts[i]
			if part.ID != fmt.Sprint(i) || part.Labels["device"] != want.path || part.Labels["slice"] != want.slice || part.Values["read_only"] != 0 {
				t.Errorf("shard %d is %v, want %v", i, part, want)
			}
			if cpus := mount.CPUs(); n.shards[i].cpu != cpus[i%len(cpus)] {
				t.Errorf("shard %d is pinned to CPU %d of %v", i, n.shards[i].cpu, cpus)
			}
			if log.lines("store mounted", "shard="+fmt.Sprint(i), "device="+want.path, "slice="+want.slice) != life+1 {
				t.Errorf("the log does not say that shard %d was mounted", i)
			}
			x := dial(t, n, uint16(i))
			if life == 0 {
				put(t, x, "who", fmt.Sprintf("shard %d", i))
			}
			if got, err := fs.ReadFile(x, "who"); string(got) != fmt.Sprintf("shard %d", i) {
				t.Errorf("shard %d has %q, %v", i, got, err)
			}
			space, err := x.Space()
			if err != nil {
				t.Error(err)
			}
			sizes[i] = space.Total
			if err := x.Close(); err != nil {
				t.Error(err)
			}
		}
		if sizes[0] != sizes[1] || sizes[2] >= sizes[0] || sizes[0] > bytesMin+16<<20 {
			t.Errorf("the shards have room for %d bytes", sizes)
		}
		if _, err := basalt.Dial("unix:"+n.cfg.Socket, basalt.Config{Shard: 3}); err == nil || !strings.Contains(err.Error(), "no shard 3") || !strings.Contains(err.Error(), "3 shards") {
			t.Errorf("a shard that there is not says %v", err)
		}
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	for path, slices := range map[string]int{two: 2, one: 1} {
		reports, err := Check(path, EverySlice)
		if err != nil || len(reports) != slices {
			t.Fatalf("%d reports, %v", len(reports), err)
		}
		for i, r := range reports {
			if r.Slice != i || !r.Store.Mount.Clean || len(r.Store.Findings) > 0 || r.Names == nil || len(r.Names.Problems) > 0 || r.Names.Names != 1 {
				t.Errorf("slice %d of %s: %+v %+v", i, path, r.Store, r.Names)
			}
		}
	}
	if reports, err := Check(two, 1); err != nil || len(reports) != 1 || reports[0].Slice != 1 {
		t.Errorf("%+v, %v", reports, err)
	}
	_, err := Check(two, 2)
	failed(t, err, outcome.Failed, "2 slices", "none is number 2")
}

// A device that fails takes its own shards with it, which say why, and no other: that one serves on, and is stopped in order.
func TestOneDeviceFails(t *testing.T) {
	two, one := images(t)
	log := &journal{}
	n, err := Start(nodeConfig(log, two, one))
	if err != nil {
		t.Fatal(err)
	}
	var clients []*basalt.FS
	for i := range 3 {
		clients = append(clients, dial(t, n, uint16(i)))
		put(t, clients[i], "before", "x")
	}
	bad := n.shards[1]
	if err := bad.reactor.Call(func(f *engine.Fiber) error {
		bad.handle.Fail(f.Turn(), &device.IOError{Device: two, Op: device.OpFlush, Errno: 5})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if f, err := clients[1].Create("after"); err == nil { // its own store hears of it with the next flush
		err = errors.Join(f.Sync(), f.Close())
		var refused *basalt.StatusError
		if !errors.As(err, &refused) || refused.Status != record.ReadOnly && refused.Status != record.IO {
			t.Errorf("a sync on a failed device says %v", err)
		}
	}
	status := n.Status()
	if status.State != control.PartReadOnly {
		t.Errorf("the node is %s", status.State)
	}
	for i, part := range status.Parts {
		want := float64(1)
		if i == 2 {
			want = 0
		}
		if part.Values["read_only"] != want || (want == 1) != strings.Contains(part.Note, "in slice 1: device "+two+": flush") {
			t.Errorf("shard %d: read-only %v, %q", i, part.Values["read_only"], part.Note)
		}
		if said := log.lines("READ-ONLY", "shard="+fmt.Sprint(i), "slice 1", "flush"); said != int(want) {
			t.Errorf("the log tells %d times of shard %d", said, i)
		}
	}
	put(t, clients[2], "after", "y")
	for i, x := range clients {
		if got, err := fs.ReadFile(x, "before"); string(got) != "x" {
			t.Errorf("shard %d reads %q, %v", i, got, err)
		}
		if err := x.Close(); err != nil && i != 1 { // which has something that is not committed
			t.Errorf("the end of the client of shard %d: %v", i, err)
		}
	}
	if err := n.Stop(); !errors.Is(err, storage.ErrReadOnly) {
		t.Errorf("the stop says %v", err)
	}
	for path, clean := range map[string]bool{two: false, one: true} {
		reports, err := Check(path, EverySlice)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range reports {
			if r.Store.Mount.Clean != clean || len(r.Store.Findings) > 0 || len(r.Names.Problems) > 0 {
				t.Errorf("%s, slice %d: %+v %+v", path, r.Slice, r.Store, r.Names)
			}
		}
	}
}

// Devices that cannot be served together are refused, and given back.
func TestDevicesAreRefused(t *testing.T) {
	two, one := images(t)
	dir := filepath.Dir(two)
	link, copied, short := filepath.Join(dir, "link.img"), filepath.Join(dir, "copy.img"), filepath.Join(dir, "short.img")
	whole, err := os.ReadFile(one)
	if err == nil {
		err = errors.Join(os.Symlink(one, link), os.WriteFile(copied, whole, 0o600), os.WriteFile(short, whole[:len(whole)/2], 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		devices []string
		code    outcome.Code
		words   []string
	}{
		{[]string{two, one, two}, outcome.Usage, []string{two, "same device"}},
		{[]string{one, link}, outcome.Usage, []string{one, link, "same device"}},
		{[]string{two, one, copied}, outcome.Device, []string{one, copied, "same UUID"}},
		{[]string{two, short}, outcome.Device, []string{short, "too short"}},
		{[]string{two, filepath.Join(dir, "none")}, outcome.Device, []string{"none", "no such file"}},
		{[]string{two, ""}, outcome.Usage, []string{"--device"}},
		{nil, outcome.Usage, []string{"--device"}},
	} {
		cfg := nodeConfig(io.Discard, two)
		cfg.Devices = c.devices
		_, err := Start(cfg)
		failed(t, err, c.code, c.words...)
	}
	cfg := nodeConfig(io.Discard, two, one)
	cfg.Mount, cfg.MountShard = &mount.Config{Dir: dir}, 3
	_, err = Start(cfg)
	failed(t, err, outcome.Usage, "--mount-shard 3", "0 to 2")
	n, err := Start(nodeConfig(io.Discard, two, one)) // nothing was kept
	if err == nil {
		err = n.Stop()
	}
	if err != nil {
		t.Error(err)
	}
}

// One shard that cannot start ends the node, with the reason and the slice; the others are taken down in order and the device is given back.
func TestOneShardCannotStart(t *testing.T) {
	two, one := images(t)
	info, err := os.Stat(two)
	if err != nil {
		t.Fatal(err)
	}
	label, err := format.PlanLabel([16]byte{1}, uint64(info.Size())/format.BlockBytes, 2) // whatever its name, its slices are those
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(two, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, slot := range format.SuperPlaces(label.Slice(1)[0]) {
		for _, at := range slot {
			if _, err := file.WriteAt(make([]byte, format.SuperBytes), int64(at)*format.BlockBytes); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	log := &journal{}
	for range 2 {
		_, err = Start(nodeConfig(log, one, two))
		failed(t, err, outcome.Device, two, "slice 1", "no valid superblock", "fsck")
	}
	if log.lines("store mounted", "device="+one) != 2 || log.lines("store mounted", "slice=0", "device="+two, "clean=true") != 2 {
		t.Error("the sound shards did not start, or were not stopped in order")
	}
	reports, err := Check(two, EverySlice)
	if err != nil || len(reports) != 2 || len(reports[0].Store.Findings) != 0 || len(reports[1].Store.Findings) != 1 {
		t.Errorf("the check says %+v, %v", reports, err)
	}
}

// Slices that no store fits into are refused, and no image is left.
func TestSlicesAreRefused(t *testing.T) {
	image := filepath.Join(t.TempDir(), "disk.img")
	for _, c := range []struct {
		cfg   FormatConfig
		words []string
	}{
		{FormatConfig{Bytes: 3*bytesMin - 4096, Slices: 3}, []string{"3 slices", "128 MiB", "may have 2"}},
		{FormatConfig{Bytes: bytesMin - 4096}, []string{"at least 128 MiB"}},
		{FormatConfig{Bytes: 2 * bytesMin, Slices: 2, JournalBytes: bytesMin}, []string{"fixed structures"}},
	} {
		c.cfg.Device = image
		failed(t, Format(c.cfg), outcome.Device, c.words...)
		if _, err := os.Stat(image); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("%+v left an image: %v", c.cfg, err)
		}
	}
}
