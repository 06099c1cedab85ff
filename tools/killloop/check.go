package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// check reads the worker's directory back and compares names, modes, sizes and bytes with the model.
func (w *worker) check() (files int, total int64, err error) {
	seen := 0
	err = filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(w.dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return nil
		}
		e := w.model[name]
		if e == nil {
			return fmt.Errorf("%s is there and was never made, or was removed", path)
		}
		seen++
		total += int64(len(e.content))
		return e.compare(path, d)
	})
	if err != nil {
		return 0, 0, err
	}
	if seen == len(w.model) {
		return seen, total, nil
	}
	for name := range w.model {
		if _, err := os.Lstat(w.path(name)); err != nil {
			return 0, 0, fmt.Errorf("a name is lost: %w", err)
		}
	}
	return 0, 0, fmt.Errorf("%s lists %d names and must have %d, though each can be looked up", w.dir, seen, len(w.model))
}

func (e *entry) compare(path string, d fs.DirEntry) error {
	if e.link != "" {
		if target, err := os.Readlink(path); err != nil || target != e.link {
			return fmt.Errorf("the link %s leads to %q (%v), must lead to %q", path, target, err, e.link)
		}
		return nil
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	if info.Mode() != e.mode || info.Size() != int64(len(e.content)) {
		return fmt.Errorf("%s has mode %v and %d bytes, must have %v and %d", path, info.Mode(), info.Size(), e.mode, len(e.content))
	}
	have, err := readCold(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, e.content) {
		return fmt.Errorf("%s differs from what was written, first at byte %d of %d", path, firstDifference(have, e.content), len(e.content))
	}
	return nil
}

// readCold reads a file after asking the kernel to forget its pages.
func readCold(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return nil, fmt.Errorf("forget the pages of %s: %w", path, err)
	}
	return io.ReadAll(f)
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
