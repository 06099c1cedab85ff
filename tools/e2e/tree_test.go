package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// content makes n bytes that a seed names.
func content(seed uint64, n int) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data) // never fails
	return data
}

// writeSynced makes a file and returns when it is on media.
func writeSynced(t *testing.T, name string, data []byte) {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	_, err = f.Write(data)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
}

// grow makes a tree with one of everything: inline and striped files, holes, links, attributes, renames.
func grow(t *testing.T, dir string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.MkdirAll(at("a/b/c"), 0o755))
	for i, n := range []int{0, 1, 4096, 4097, 100_000, 1 << 20, 3<<20 + 17} {
		writeSynced(t, at(fmt.Sprintf("a/file%d", i)), content(uint64(i), n))
	}
	for i := range 200 {
		must(t, os.WriteFile(at(fmt.Sprintf("a/b/small%03d", i)), content(uint64(1000+i), i*7), 0o640))
	}
	must(t, os.Rename(at("a/b/small000"), at("a/b/c/moved")))
	must(t, os.Rename(at("a/b/small001"), at("a/b/small002")))
	must(t, os.Remove(at("a/b/small003")))
	must(t, os.Symlink("../a/file1", at("a/b/link")))
	must(t, os.Link(at("a/file2"), at("a/b/c/hard")))
	must(t, unix.Setxattr(at("a/file1"), "user.colour", []byte("grey"), 0))
	must(t, os.Chmod(at("a/file1"), 0o600))
	must(t, os.Truncate(at("a/file4"), 50_001))
	sparse, err := os.Create(at("a/sparse"))
	must(t, err)
	_, err = sparse.WriteAt([]byte("end"), 5<<20)
	must(t, err)
	must(t, sparse.Close())
}

// digest describes a tree, a line for every name.
func digest(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s mode %o links %d", rel, st.Mode, st.Nlink)
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " -> %s", target)
		case d.Type().IsRegular():
			sum, err := sum(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " size %d sha256 %x mtime %d.%09d", st.Size, sum, st.Mtim.Sec, st.Mtim.Nsec)
			value := make([]byte, 64)
			if n, err := unix.Getxattr(path, "user.colour", value); err == nil {
				fmt.Fprintf(&b, " colour %s", value[:n])
			}
		}
		b.WriteByte('\n')
		return nil
	}))
	return b.String()
}

func sum(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return h.Sum(nil), err
}

func sameDigest(t *testing.T, have, want string) {
	t.Helper()
	if have == want {
		return
	}
	h, w := strings.Split(have, "\n"), strings.Split(want, "\n")
	for i := range min(len(h), len(w)) {
		if h[i] != w[i] {
			t.Fatalf("the tree differs\nhave %s\nwant %s", h[i], w[i])
		}
	}
	t.Fatalf("the tree has %d names, want %d", len(h), len(w))
}

func sameFile(t *testing.T, name string, want []byte) {
	t.Helper()
	have, err := os.ReadFile(name)
	must(t, err)
	if !bytes.Equal(have, want) {
		t.Fatalf("%s has other content than was written (%d bytes, want %d)", name, len(have), len(want))
	}
}
