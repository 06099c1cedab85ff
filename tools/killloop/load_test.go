package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// loaded runs the load on a plain directory until it has done some operations, and pauses it.
func loaded(t *testing.T) *load {
	t.Helper()
	dir := t.TempDir()
	acks, err := os.Create(filepath.Join(t.TempDir(), "acks"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { acks.Close() })
	l, err := startLoad(options{workers: 2, seed: 1}, dir, acks)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.end)
	for l.operations() < 150 {
		l.resume()
		if err := l.pause(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := l.check(); err != nil {
		t.Fatalf("the load disagrees with its own model: %v", err)
	}
	return l
}

// anyFile finds a file with content, and its model.
func anyFile(t *testing.T, l *load) (string, *entry) {
	t.Helper()
	for _, w := range l.workers {
		for name, e := range w.model {
			if len(e.content) > 0 {
				return w.path(name), e
			}
		}
	}
	t.Fatal("the load left no file with content")
	return "", nil
}

func TestCheckSeesEveryKindOfLoss(t *testing.T) {
	l := loaded(t)
	name, e := anyFile(t, l)
	expect := func(want string) {
		t.Helper()
		if _, _, err := l.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("check says %v, want %q", err, want)
		}
	}
	if err := os.Chmod(name, 0o611); err != nil {
		t.Fatal(err)
	}
	expect("has mode")
	if err := os.Chmod(name, e.mode); err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte(nil), e.content...)
	damaged[len(damaged)/2] ^= 1
	if err := os.WriteFile(name, damaged, 0); err != nil {
		t.Fatal(err)
	}
	expect("differs from what was written")
	if err := os.WriteFile(name, e.content, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.check(); err != nil {
		t.Fatalf("repaired, and still: %v", err)
	}
	if err := os.Rename(name, name+".x"); err != nil {
		t.Fatal(err)
	}
	expect("is there and was never made")
	if err := os.Remove(name + ".x"); err != nil {
		t.Fatal(err)
	}
	expect("a name is lost")
}
