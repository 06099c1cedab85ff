package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSocketDirectory(t *testing.T) {
	dir := t.TempDir()
	preset := filepath.Join(dir, "run", "basalt", "node.sock")
	if err := makeSocketDir(filepath.Join(dir, "other", "node.sock"), preset); err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("the directory of a socket that somebody chose was made: %v, %v", names, err)
	}
	for range 2 {
		if err := makeSocketDir(preset, preset); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(filepath.Dir(preset))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", info, err)
	}
}
