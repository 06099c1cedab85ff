package e2e

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"basalt/tools/control"
	"basalt/tools/mountpoint"
	"basalt/tools/rig"
)

func TestStatusMetricsAndSigterm(t *testing.T) {
	r := newRig(t)
	must(t, r.StartNode("--metrics", "127.0.0.1:0"))
	status, err := r.Status(r.Socket())
	must(t, err)
	if status.Role != "node" || status.State != control.Serving || status.About["device"] != r.Image() {
		t.Errorf("status %+v", status)
	}
	if status.About["ring"] == "" {
		t.Error("the status does not tell what the ring can do")
	}
	reply, err := http.Get("http://" + status.About["metrics"] + "/metrics")
	must(t, err)
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	must(t, err)
	if !strings.Contains(string(text), `basalt_up{role="node",state="serving"} 1`) || !strings.Contains(string(text), "basalt_shard_turns_total") {
		t.Errorf("metrics:\n%s", text)
	}
	human, err := r.Run("basalt", "status", r.Socket())
	must(t, err)
	if !strings.Contains(human.Stdout, "shard 0") {
		t.Errorf("status for people:\n%s", human.Stdout)
	}
	must(t, r.TermNode())
	log := r.Tail("storaged")
	for _, want := range []string{"io_uring", "kernel", "stopped"} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in the log:\n%s", want, log)
		}
	}
	fsckClean(t, r)
}

func TestShowConfigIsAConfig(t *testing.T) {
	r := newRig(t)
	shown, err := r.Run("storaged", "--device", r.Image(), "--socket", r.Socket(), "--delta-bytes", "32MiB", "--show-config")
	must(t, err)
	file := join(r, "node.toml")
	must(t, os.WriteFile(file, []byte(shown.Stdout), 0o600))
	r.NodeFlags = []string{"--config", file}
	must(t, r.StartNode())
	again, err := r.Run("storaged", "--config", file, "--show-config")
	must(t, err)
	if again.Stdout != shown.Stdout {
		t.Errorf("read back:\n%s\nwritten:\n%s", again.Stdout, shown.Stdout)
	}
}

func TestVersion(t *testing.T) {
	r := bareRig(t)
	for _, args := range [][]string{{"basalt", "version"}, {"storaged", "--version"}} {
		res, err := r.Run(args[0], args[1])
		must(t, err)
		if !regexp.MustCompile(`^basalt \d+\.\d+\.\d+`).MatchString(res.Stdout) {
			t.Errorf("%q says %q", args, res.Stdout)
		}
	}
}

// mount(8) calls /sbin/mount.basalt; here the same call by hand, and umount(8)'s way of ending it.
func TestMountHelper(t *testing.T) {
	r := newRig(t)
	must(t, r.StartNode())
	helper := join(r, "mount.basalt")
	must(t, os.Symlink(filepath.Join(bin, "basalt"), helper))
	text, err := exec.Command(helper, "unix:"+r.Socket(), r.Mnt(), "-o", "rw,_netdev,fuse-transport=dev").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	writeSynced(t, filepath.Join(r.Mnt(), "x"), []byte("x"))
	transportUsedAtAll(t, r)
	must(t, mountpoint.Unmount(r.Mnt(), false))
	failed := exec.Command(helper, "unix:"+join(r, "none"), r.Mnt())
	if err := failed.Run(); err == nil || failed.ProcessState.ExitCode() != 32 {
		t.Errorf("a failed mount ends with %v, mount(8) wants 32", err)
	}
}

func transportUsedAtAll(t *testing.T, r *rig.Rig) {
	t.Helper()
	status, err := r.Status(r.Mnt())
	must(t, err)
	if status.Role != "mount" || status.Sum("fuse", "requests_dev_total") == 0 || status.Sum("fuse", "requests_uring_total") != 0 {
		t.Errorf("status of the mount: %+v", status)
	}
}

// Two mounts of one node: what one wrote, the other reads, at once, although the first was allowed to cache.
func TestTwoMountsAgree(t *testing.T) {
	r := newRig(t)
	must(t, r.StartNode())
	must(t, r.Mount())
	name := filepath.Join(r.Mnt(), "shared")
	must(t, os.WriteFile(name, []byte("one"), 0o644))
	sameFile(t, name, []byte("one")) // now cached by the first kernel mount

	second := &rig.Rig{Bin: r.Bin, Dir: join(r, "second"), NodeElsewhere: true, MountFlags: []string{"--node", r.Socket()}}
	must(t, os.MkdirAll(second.Mnt(), 0o755))
	defer func() { must(t, second.Close()) }()
	must(t, second.Mount())
	other := filepath.Join(second.Mnt(), "shared")
	for i, text := range []string{"two", "three, longer", "4", ""} {
		writer, reader := name, other
		if i%2 == 0 {
			writer, reader = other, name
		}
		must(t, os.WriteFile(writer, []byte(text), 0o644))
		sameFile(t, reader, []byte(text))
	}
	must(t, os.Rename(name, name+"-renamed"))
	if _, err := os.Stat(other); !os.IsNotExist(err) {
		t.Errorf("the old name is still there through the other mount: %v", err)
	}
	sameFile(t, other+"-renamed", nil)
}

// A mount whose node is gone waits for it; a second signal ends it all the same, and nobody hangs in what it leaves.
func TestMountWithoutNodeCanBeEnded(t *testing.T) {
	r := newRig(t)
	must(t, r.StartNode())
	must(t, r.Mount())
	must(t, os.WriteFile(filepath.Join(r.Mnt(), "x"), []byte("x"), 0o644))
	status, err := r.Status(r.Mnt())
	must(t, err)
	must(t, r.KillNode())
	mount, err := os.FindProcess(status.PID)
	must(t, err)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		// A signal that comes before the first was seen counts as the first; so until the process is gone.
		if mount.Signal(syscall.SIGTERM) != nil {
			break
		}
		<-time.After(50 * time.Millisecond)
	}
	if err := mount.Signal(syscall.Signal(0)); err == nil {
		t.Fatal("the mount's process is still there after many signals")
	}
	if kind, err := mountpoint.Mounted(r.Mnt()); err != nil || kind != "" {
		t.Errorf("%s is still a mount (%q, %v)", r.Mnt(), kind, err)
	}
	fsckClean(t, r)
}
