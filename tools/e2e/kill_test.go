package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"basalt/tools/rig"
)

// One node, one separate mount, over each pair of transports: work, kill -9 of the node in the middle of more work,
// restart; the program that works notices nothing; everything is there, warm, and again after a cold start.
func TestKillAndGoOn(t *testing.T) {
	for _, fuse := range []string{"uring", "dev"} {
		for _, wire := range []string{"ring", "gnet"} {
			t.Run(fuse+"-"+wire, func(t *testing.T) {
				r := newRig(t)
				r.NodeFlags = []string{"--wire-transport", wire, "--delta-bytes", "16MiB"}
				r.MountFlags = []string{"--fuse-transport", fuse}
				must(t, r.StartNode())
				must(t, r.Mount())
				killAndGoOn(t, r)
				transportUsed(t, r, r.Mnt(), fuse)
				must(t, r.Umount())
				must(t, r.StopNode())
				fsckClean(t, r)
			})
		}
	}
}

func killAndGoOn(t *testing.T, r *rig.Rig) {
	t.Helper()
	tree := filepath.Join(r.Mnt(), "tree")
	must(t, os.Mkdir(tree, 0o755))
	grow(t, tree)
	before := digest(t, tree)

	open, err := os.Create(filepath.Join(r.Mnt(), "open"))
	must(t, err)
	defer open.Close()
	_, err = open.Write([]byte("before"))
	must(t, err)
	orphan, err := os.Create(filepath.Join(r.Mnt(), "orphan"))
	must(t, err)
	defer orphan.Close()
	_, err = orphan.Write([]byte("nameless"))
	must(t, err)
	must(t, os.Remove(orphan.Name()))

	// The work goes on while the node dies and comes back.
	worked := make(chan error, 1)
	started := make(chan struct{})
	go func() { worked <- manyFiles(r.Mnt(), 1500, 100, started) }()
	<-started
	must(t, r.KillNode())
	fsckClean(t, r)
	must(t, r.StartNode())
	must(t, <-worked)

	_, err = open.Write([]byte(" after"))
	must(t, err)
	must(t, open.Sync())
	sameFile(t, open.Name(), []byte("before after"))
	have := make([]byte, 8)
	_, err = orphan.ReadAt(have, 0)
	must(t, err)
	if string(have) != "nameless" {
		t.Errorf("the file without a name reads %q", have)
	}
	sameDigest(t, digest(t, tree), before)
	checkManyFiles(t, r.Mnt(), 1500)

	must(t, open.Close()) // else the mount is in use
	must(t, orphan.Close())
	must(t, r.Umount())
	must(t, r.StopNode())
	must(t, r.StartNode())
	must(t, r.Mount())
	sameDigest(t, digest(t, tree), before)
	checkManyFiles(t, r.Mnt(), 1500)
	if _, err := os.Lstat(orphan.Name()); !os.IsNotExist(err) {
		t.Errorf("the removed file has come back: %v", err)
	}
}

// manyFiles writes n small files without a sync, and says when the first few are there.
func manyFiles(mnt string, n, tellAt int, started chan<- struct{}) error {
	dir := filepath.Join(mnt, "many")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for i := range n {
		if i == tellAt {
			close(started)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), content(uint64(i), i*5), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func checkManyFiles(t *testing.T, mnt string, n int) {
	t.Helper()
	names, err := os.ReadDir(filepath.Join(mnt, "many"))
	must(t, err)
	if len(names) != n {
		t.Fatalf("%d files are there, want %d", len(names), n)
	}
	for i := 0; i < n; i += 13 {
		sameFile(t, filepath.Join(mnt, "many", fmt.Sprint(i)), content(uint64(i), i*5))
	}
}

func fsckClean(t *testing.T, r *rig.Rig) {
	t.Helper()
	if said, err := r.Fsck(); err != nil {
		t.Fatalf("fsck: %v\n%s", err, said)
	}
}

// transportUsed fails on a silent fallback.
func transportUsed(t *testing.T, r *rig.Rig, where, fuse string) {
	t.Helper()
	status, err := r.Status(where)
	must(t, err)
	uring, dev := status.Sum("fuse", "requests_uring_total"), status.Sum("fuse", "requests_dev_total")
	if fuse == "uring" && uring < 100 || fuse == "dev" && (dev < 100 || uring > 0) {
		t.Errorf("asked for %s: %.0f requests came over io_uring, %.0f over /dev/fuse", fuse, uring, dev)
	}
}

// In one process a kill takes the mount with it: what was fsynced must be there afterwards.
func TestInProcess(t *testing.T) {
	for _, fuse := range []string{"uring", "dev"} {
		t.Run(fuse, func(t *testing.T) {
			r := newRig(t)
			r.NodeFlags = []string{"--mount", r.Mnt(), "--fuse-transport", fuse}
			must(t, r.StartNode())
			grow(t, r.Mnt())
			before := digest(t, r.Mnt())
			transportUsed(t, r, r.Socket(), fuse)
			must(t, r.StopNode())
			must(t, r.StartNode())
			sameDigest(t, digest(t, r.Mnt()), before)
			writeSynced(t, filepath.Join(r.Mnt(), "promised"), content(7, 300_000))
			must(t, r.KillNode())
			_, err := r.Run("basalt", "umount", "--lazy", r.Mnt())
			must(t, err)
			fsckClean(t, r)
			must(t, r.StartNode())
			sameFile(t, filepath.Join(r.Mnt(), "promised"), content(7, 300_000))
			must(t, os.Remove(filepath.Join(r.Mnt(), "promised")))
			sameDigest(t, digest(t, r.Mnt()), before)
		})
	}
}
