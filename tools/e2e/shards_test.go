package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"basalt/tools/control"
	"basalt/tools/outcome"
	"basalt/tools/rig"
)

// roomOf is what df shows of a mount.
func roomOf(t *testing.T, dir string) (total, free uint64) {
	t.Helper()
	var st unix.Statfs_t
	must(t, unix.Statfs(dir, &st))
	return st.Blocks * uint64(st.Bsize), st.Bfree * uint64(st.Bsize)
}

// shardMounts makes a rig for the mount of each further shard of r's node.
func shardMounts(t *testing.T, r *rig.Rig, n int) []*rig.Rig {
	t.Helper()
	all := []*rig.Rig{r}
	for i := 1; i < n; i++ {
		m := &rig.Rig{Bin: r.Bin, Dir: join(r, fmt.Sprintf("m%d", i)), NodeElsewhere: true, MountFlags: []string{"--node", r.Socket(), "--shard", fmt.Sprint(i)}}
		must(t, os.MkdirAll(m.Mnt(), 0o755))
		t.Cleanup(func() {
			if err := m.Close(); err != nil {
				t.Errorf("taking the mount of shard %d down: %v", i, err)
			}
		})
		all = append(all, m)
	}
	return all
}

// Two devices, one of them with two slices, are three shards with a file system each. All three are mounted and written; the node is killed
// and started again; everything is there, what was not synced too; every shard has its own room; the checks find nothing.
func TestThreeShards(t *testing.T) {
	r := newRig(t)
	second := join(r, "second.img")
	_, err := r.Run("basalt", "mkfs", "--slices", "2", "--size", "320MiB", second)
	must(t, err)
	r.NodeFlags = []string{"--device", second, "--delta-bytes", "16MiB"}
	must(t, r.StartNode())
	mounts := shardMounts(t, r, 3)
	for _, m := range mounts {
		must(t, m.Mount())
	}
	refused(t, r, outcome.Failed, []string{"no shard 3", "3 shards"}, "basalt", "mount", "--foreground", "--node", r.Socket(), "--shard", "3", mounts[1].Dir)

	var before [3]string
	var total [3]uint64
	for i, m := range mounts {
		must(t, os.Mkdir(filepath.Join(m.Mnt(), "tree"), 0o755))
		grow(t, filepath.Join(m.Mnt(), "tree"))
		writeSynced(t, filepath.Join(m.Mnt(), "who"), []byte(fmt.Sprint("shard ", i)))
		must(t, os.WriteFile(filepath.Join(m.Mnt(), "unsynced"), content(uint64(70+i), 300_000), 0o644))
		before[i] = digest(t, m.Mnt())
		total[i], _ = roomOf(t, m.Mnt())
	}
	if total[1] != total[2] || total[0] < total[1]+64<<20 || total[0] > 256<<20 || total[1] > 160<<20 {
		t.Errorf("the shards have %d bytes", total)
	}
	_, room := roomOf(t, mounts[1].Mnt())
	writeSynced(t, filepath.Join(mounts[2].Mnt(), "large"), content(9, 20<<20))
	if _, now := roomOf(t, mounts[1].Mnt()); now+4<<20 < room {
		t.Errorf("what shard 2 wrote took %d bytes of shard 1", room-now)
	}
	if _, now := roomOf(t, mounts[2].Mnt()); now+16<<20 > room {
		t.Errorf("shard 2 still has %d of %d bytes", now, room)
	}
	must(t, os.Remove(filepath.Join(mounts[2].Mnt(), "large")))

	must(t, r.KillNode())
	must(t, r.StartNode())
	for i, m := range mounts {
		sameDigest(t, digest(t, m.Mnt()), before[i])
		sameFile(t, filepath.Join(m.Mnt(), "who"), []byte(fmt.Sprint("shard ", i)))
		sameFile(t, filepath.Join(m.Mnt(), "unsynced"), content(uint64(70+i), 300_000))
	}
	saysShards(t, r, second)
	for _, m := range mounts {
		must(t, m.Umount())
	}
	must(t, r.StopNode())
	cleanSlices(t, r, second)

	must(t, r.StartNode())
	must(t, mounts[2].Mount())
	sameDigest(t, digest(t, mounts[2].Mnt()), before[2])
	must(t, mounts[2].Umount())
}

// saysShards: status and metrics name device and slice of each shard.
func saysShards(t *testing.T, r *rig.Rig, second string) {
	t.Helper()
	status, err := r.Status(r.Socket())
	must(t, err)
	if status.State != control.Serving || len(status.Parts) != 3 {
		t.Fatalf("status %+v", status)
	}
	metrics, err := r.Run("basalt", "status", "--metrics", r.Socket())
	must(t, err)
	human, err := r.Run("basalt", "status", r.Socket())
	must(t, err)
	for i, want := range []struct{ device, slice string }{{r.Image(), "0"}, {second, "0"}, {second, "1"}} {
		if got := status.Parts[i].Labels; got["device"] != want.device || got["slice"] != want.slice {
			t.Errorf("shard %d is of %v", i, got)
		}
		if line := fmt.Sprintf(`basalt_shard_read_only{device="%s",id="%d",slice="%s"} 0`, want.device, i, want.slice); !strings.Contains(metrics.Stdout, line) {
			t.Errorf("no %s in\n%s", line, metrics.Stdout)
		}
		if line := fmt.Sprintf("shard %d, device %s, slice %s\n", i, want.device, want.slice); !strings.Contains(human.Stdout, line) {
			t.Errorf("no %q in\n%s", line, human.Stdout)
		}
	}
}

// cleanSlices checks the stopped node's devices, whole and slice by slice.
func cleanSlices(t *testing.T, r *rig.Rig, second string) {
	t.Helper()
	fsckClean(t, r)
	res, err := r.Run("basalt", "fsck", second)
	must(t, err)
	if !strings.HasPrefix(res.Stdout, "slice 0\n") || strings.Count(res.Stdout, "store: clean\n") != 2 || !strings.Contains(res.Stdout, "\nslice 1\n") {
		t.Errorf("fsck of two slices:\n%s", res.Stdout)
	}
	res, err = r.Run("basalt", "fsck", "--slice", "1", second)
	must(t, err)
	if strings.Count(res.Stdout, "store: clean\n") != 1 {
		t.Errorf("fsck of one slice:\n%s", res.Stdout)
	}
	for _, args := range [][]string{{"dump", "super", "--slice", "1", second}, {"object", "ls", "--device", second, "--slice", "1"}} {
		_, err := r.Run("basalt", args...)
		must(t, err)
	}
	refused(t, r, outcome.Failed, []string{"2 slices", "number 2"}, "basalt", "fsck", "--slice", "2", second)
}

// A configuration file names devices in a list, or one as before; the same one twice is refused, and so are slices that are too small.
func TestDevicesOfAConfiguration(t *testing.T) {
	r := newRig(t)
	second, file := join(r, "second.img"), join(r, "node.toml")
	refused(t, r, outcome.Device, []string{"3 slices", "128 MiB", "may have 2"}, "basalt", "mkfs", "--slices", "3", "--size", "320MiB", second)
	refused(t, r, outcome.Usage, []string{"--slices 0"}, "basalt", "mkfs", "--slices", "0", "--size", "320MiB", second)
	_, err := r.Run("basalt", "mkfs", "--size", "160MiB", second)
	must(t, err)
	refused(t, r, outcome.Usage, []string{r.Image(), "same device"}, "storaged", storagedArgs(r, r.Image(), "--device", filepath.Join(r.Dir, ".", "disk.img"))...)
	refused(t, r, outcome.Usage, []string{"--mount-shard 2", "0 to 1"}, "storaged", storagedArgs(r, r.Image(), "--device", second, "--mount", r.Mnt(), "--mount-shard", "2")...)
	for text, parts := range map[string]int{
		fmt.Sprintf("device = [%q, %q]\n", r.Image(), second): 2,
		fmt.Sprintf("device = %q\n", second):                  1,
	} {
		must(t, os.WriteFile(file, []byte(text), 0o600))
		shown, err := r.Run("storaged", "--config", file, "--show-config")
		must(t, err)
		must(t, os.WriteFile(file, []byte(shown.Stdout), 0o600))
		lone := &rig.Rig{Bin: r.Bin, Dir: r.Dir, NoDevice: true, NodeFlags: []string{"--config", file}}
		must(t, lone.StartNode())
		status, err := lone.Status(lone.Socket())
		must(t, err)
		if len(status.Parts) != parts {
			t.Errorf("%s gives %d shards", text, len(status.Parts))
		}
		must(t, lone.StopNode())
	}
}
