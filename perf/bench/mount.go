package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"basalt"
	"basalt/perf/bar"
	"basalt/perf/fio"
	"basalt/perf/fsload"
)

// mountPart: fio with O_DIRECT on a file in the mount (node, mount and fio are three processes), against the store in
// this process. Writes are applied on both sides, not committed.
func mountPart(b *bench) ([]bar.Bar, func() error, error) {
	o, done, err := b.storeBeside()
	if err != nil {
		return nil, nil, err
	}
	n, err := b.startNode()
	if err != nil {
		return nil, nil, errors.Join(err, done())
	}
	path := filepath.Join(n.mnt(), "random")
	if err = n.mount("auto"); err == nil {
		err = b.writeFile(path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, n.close(), done())
	}
	var bars []bar.Bar
	for _, k := range []struct {
		rw      string
		against work
	}{{"randread", o.reads}, {"randwrite", each(objectBytes, o.applied)}} {
		for _, depth := range []int{1, 32} {
			job := fio.Job{File: path, RW: k.rw, Block: blockBytes, Depth: depth, Size: fileBytes, Seconds: b.seconds}
			bars = append(bars, bar.Bar{
				Names:   []string{fmt.Sprintf("mount-%s-4k-qd%d", k.rw, depth)},
				Unit:    "op/s",
				Ours:    bar.One(func() (float64, error) { f, err := fio.Run(job); return f.IOPS, err }),
				Against: bar.One(func() (float64, error) { return o.rate(b, depth, k.against) }),
			})
		}
	}
	return bars, func() error { return errors.Join(n.close(), done()) }, nil
}

func (b *bench) writeFile(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err = fill(f, fileBytes); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// threadCounts of the small-file workload.
var threadCounts = []int{1, 8}

// phases runs the workload in root and returns its figures.
func (b *bench) phases(on fsload.FS, root string, threads int) bar.Side {
	return func() ([]float64, error) {
		return fsload.Run(on, fsload.Load{Root: root, Threads: threads, Files: b.files, Bytes: blockBytes})
	}
}

func phaseNames(prefix string, threads int) []string {
	names := make([]string, len(fsload.Phases))
	for i, p := range fsload.Phases {
		names[i] = fmt.Sprintf("%s-t%d-%s", prefix, threads, p)
	}
	return names
}

// filesPart: small files through the mount, against the null file system behind the same FUSE transport, which is
// mounted by another process too. Before the phases that read, the kernel's caches are dropped on both sides.
func filesPart(transport string) part {
	return func(b *bench) ([]bar.Bar, func() error, error) {
		n, ceiling, err := b.mountAndNull(transport)
		if err != nil {
			return nil, nil, err
		}
		var bars []bar.Bar
		for _, threads := range threadCounts {
			bars = append(bars, bar.Bar{
				Names: phaseNames("files-"+transport, threads), Unit: "op/s",
				Ours:    b.phases(fsload.Mounted{}, n.mnt(), threads),
				Against: b.phases(fsload.Mounted{}, ceiling.dir, threads),
			})
		}
		return bars, func() error { return errors.Join(ceiling.close(), n.close()) }, nil
	}
}

func (b *bench) mountAndNull(transport string) (*node, *null, error) {
	n, err := b.startNode()
	if err != nil {
		return nil, nil, err
	}
	if err := n.mount(transport); err != nil {
		return nil, nil, errors.Join(err, n.close())
	}
	ceiling, err := b.startNull(transport)
	if err != nil {
		return nil, nil, errors.Join(err, n.close())
	}
	return n, ceiling, nil
}

// libraryPart: small files through the client library, without a mount, against the null file system mounted.
func libraryPart(b *bench) ([]bar.Bar, func() error, error) {
	n, err := b.startNode()
	if err != nil {
		return nil, nil, err
	}
	fsys, err := basalt.Dial("unix:"+n.socket(), basalt.Config{Client: "bench"})
	if err != nil {
		return nil, nil, errors.Join(err, n.close())
	}
	const root = "small"
	ceiling, err := b.startNull("auto")
	if err == nil {
		err = fsys.Mkdir(root, 0o755)
	}
	if err != nil {
		return nil, nil, errors.Join(err, fsys.Close(), n.close())
	}
	var bars []bar.Bar
	for _, threads := range threadCounts {
		bars = append(bars, bar.Bar{
			Names: phaseNames("library", threads), Unit: "op/s",
			Ours:    b.phases(library{fsys}, root, threads),
			Against: b.phases(fsload.Mounted{}, ceiling.dir, threads),
		})
	}
	return bars, func() error { return errors.Join(fsys.Close(), ceiling.close(), n.close()) }, nil
}

// library drives the client library. It keeps nothing, so there is nothing to make cold.
type library struct{ fsys *basalt.FS }

func (l library) Mkdir(path string) error      { return l.fsys.Mkdir(path, 0o755) }
func (l library) Rename(from, to string) error { return l.fsys.Rename(from, to) }
func (l library) Unlink(path string) error     { return l.fsys.Remove(path) }
func (l library) Rmdir(path string) error      { return l.fsys.Remove(path) }
func (l library) Stat(path string) error       { _, err := l.fsys.Lstat(path); return err }
func (l library) Cold() error                  { return nil }

func (l library) Create(path string, data []byte) error {
	f, err := l.fsys.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

func (l library) Read(path string, buf []byte) (int, error) {
	f, err := l.fsys.Open(path)
	if err != nil {
		return 0, err
	}
	n, err := f.Read(buf)
	return n, errors.Join(err, f.Close())
}

func (l library) List(dir string) ([]string, error) {
	list, err := l.fsys.ReadDir(dir)
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = e.Name()
	}
	return names, err
}
