package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// fullFile returns the path of a file of that many bytes, every byte of it written: O_DIRECT on a file is honest only
// then, since a block that was never written costs the host file system a journal entry at its first write.
func (b *bench) fullFile(name string, bytes int64) (path string, err error) {
	path = filepath.Join(b.dir, name)
	if st, err := os.Stat(path); err == nil && st.Size() == bytes {
		return path, nil
	}
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return "", err
	}
	if err = fill(f, bytes); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return "", fmt.Errorf("writing %s: %w", path, err)
	}
	return path, os.Rename(path+".new", path)
}

// fill writes bytes that are not all zero, so that nothing below may treat them as holes.
func fill(w io.Writer, bytes int64) error {
	out := bufio.NewWriterSize(w, 4<<20)
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i*31 + i>>8)
	}
	for left := bytes; left > 0; {
		n, err := out.Write(block[:min(left, int64(len(block)))])
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	return out.Flush()
}

// describe prints what the figures were measured on.
func describe(w io.Writer) {
	var u unix.Utsname
	kernel := "unknown"
	if unix.Uname(&u) == nil {
		kernel = strings.TrimRight(string(u.Release[:]), "\x00")
	}
	fmt.Fprintf(w, "# kernel %s, %d CPUs, %s\n", kernel, runtime.NumCPU(), runtime.Version())
}
