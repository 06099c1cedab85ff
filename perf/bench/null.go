package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"basalt/engine"
	"basalt/engine/uring"
	"basalt/fuse"
	"basalt/fuse/nullfs"
)

const (
	nullArenaBytes = 256 << 20        // slots of 1 MiB, 32 for each FUSE queue, and the rest
	nullKeep       = 30 * time.Second // the kernel caches as long as with a node's lease
	nullReady      = "ready"
)

// null is the null file system, mounted by a process of its own: this program again, under another flag.
type null struct {
	cmd *exec.Cmd
	end io.Closer // its standard input: closed means unmount
	dir string
}

func (b *bench) startNull(transport string) (*null, error) {
	n := &null{dir: filepath.Join(b.dir, "null")}
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	n.cmd = exec.Command(self, "-serve-null", n.dir, "-fuse-transport", transport)
	n.cmd.Stderr = os.Stderr
	in, err := n.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	n.end = in
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != nullReady+"\n" {
		return nil, errors.Join(errors.New("the null file system did not mount"), err, n.close())
	}
	return n, nil
}

func (n *null) close() error { return errors.Join(n.end.Close(), n.cmd.Wait()) }

// serveNull is the child: it serves until its standard input ends, with its parent if not before.
func serveNull(dir, transport string) (err error) {
	if transport == "auto" {
		transport = string(fuse.TransportAuto)
	}
	shared := nullfs.New(true, nullKeep)
	var columns []fuse.Column
	for i := range runtime.NumCPU() {
		r, err := engine.New(engine.Config{
			Name: fmt.Sprintf("null %d", i), Shard: engine.ShardID(i), CPU: i, ArenaBytes: nullArenaBytes, OpsMax: 4096,
			Ring: func() (uring.Ring, error) {
				return uring.Open(uring.Config{Entries: 512, CQEntries: 4096, SQE128: true})
			},
		})
		if err != nil {
			return err
		}
		if err := r.Start(func(*engine.Fiber) error { return nil }); err != nil {
			return err
		}
		defer func() {
			r.Stop()
			err = errors.Join(err, r.Wait())
		}()
		columns = append(columns, fuse.Column{Reactor: r, CPU: i, Raw: shared})
	}
	c, err := fuse.Serve(fuse.Options{Dir: dir, Source: "null", Subtype: "null", Transport: fuse.Transport(transport), CacheSymlinks: true}, columns)
	if err != nil {
		return err
	}
	fmt.Println(nullReady)
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, c.Unmount(false))
}
