package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"basalt/tools/outcome"
	"basalt/tools/rig"
)

// clone lays out what tools/run/run.sh needs of a clone. The rig's directory is "run" in it: the paths of what the script starts are those
// of the rig.
func clone(t *testing.T) *rig.Rig {
	t.Helper()
	top := bareRig(t).Dir
	r := &rig.Rig{Bin: bin, Dir: filepath.Join(top, "run"), Size: "256MiB"}
	script, err := os.ReadFile("../run/run.sh")
	must(t, err)
	must(t, os.MkdirAll(filepath.Join(top, "tools/run"), 0o755))
	must(t, os.WriteFile(filepath.Join(top, "tools/run/run.sh"), script, 0o755))
	must(t, os.Symlink(bin, filepath.Join(top, "bin")))
	t.Cleanup(func() {
		if said, err := makeRun(r, "down").CombinedOutput(); err != nil {
			t.Errorf("run.sh down: %v\n%s", err, said)
		}
	})
	return r
}

// makeRun is what `make run` (up), `make stop` (down) and `make status` call.
func makeRun(r *rig.Rig, what string, env ...string) *exec.Cmd {
	cmd := exec.Command(join(r, "../tools/run/run.sh"), what)
	cmd.Env = append(append(os.Environ(), "RUN=run", "SIZE="+r.Size), env...)
	return cmd
}

func up(t *testing.T, r *rig.Rig, env ...string) {
	t.Helper()
	if said, err := makeRun(r, "up", env...).CombinedOutput(); err != nil {
		t.Fatalf("run.sh up: %v\n%s", err, said)
	}
}

func pidOf(t *testing.T, r *rig.Rig, where string) int {
	t.Helper()
	status, err := r.Status(where)
	must(t, err)
	return status.PID
}

func kill(t *testing.T, pid int) {
	t.Helper()
	p, err := os.FindProcess(pid)
	must(t, err)
	must(t, p.Kill())
}

// A second `make run` starts what is gone and leaves alone what lives: a mount that has to wait for its node, which itself waits here for
// another mount that was killed, is not a dead one.
func TestRunAgain(t *testing.T) {
	r := clone(t)
	flags := "NODE_FLAGS=--lease-seconds=12 --delta-bytes=16MiB"
	up(t, r, flags)
	name := filepath.Join(r.Mnt(), "file")
	writeSynced(t, name, []byte("one"))

	mount, node := pidOf(t, r, r.Mnt()), pidOf(t, r, r.Socket())
	other := &rig.Rig{Bin: r.Bin, Dir: join(r, "other")}
	must(t, os.MkdirAll(other.Mnt(), 0o755))
	_, err := r.Run("basalt", "mount", "--node", r.Socket(), "--log", other.LogOf("mount"), other.Mnt())
	must(t, err)
	sameFile(t, filepath.Join(other.Mnt(), "file"), []byte("one"))
	kill(t, pidOf(t, other, other.Mnt()))
	kill(t, node)
	up(t, r, flags)
	if have := pidOf(t, r, r.Mnt()); have != mount {
		t.Errorf("the mount of process %d was replaced by that of %d", mount, have)
	}
	sameFile(t, name, []byte("one"))
	_, err = r.Run("basalt", "umount", "--lazy", other.Mnt())
	must(t, err)

	node = pidOf(t, r, r.Socket())
	kill(t, mount)
	up(t, r, flags)
	if have := pidOf(t, r, r.Socket()); have != node {
		t.Errorf("the node of process %d was replaced by that of %d", node, have)
	}
	sameFile(t, name, []byte("one"))
}

// Two at once make one image and start one node.
func TestRunTwiceAtOnce(t *testing.T) {
	r := clone(t)
	first := makeRun(r, "up")
	must(t, first.Start())
	up(t, r)
	must(t, first.Wait())
	writeSynced(t, filepath.Join(r.Mnt(), "file"), []byte("one"))
}

// A log that cannot be written does not stop a node.
func TestFullLog(t *testing.T) {
	r := newRig(t)
	must(t, r.StartNode("--log", "/dev/full"))
	must(t, r.StopNode())
	refused(t, r, outcome.Failed, []string{"log", "is a directory"}, "storaged", storagedArgs(r, r.Image(), "--log", r.Dir)...)
	fsckClean(t, r)
}
