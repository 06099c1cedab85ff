package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMissingRivalsSayHowToBuildThem(t *testing.T) {
	b := &bench{bin: t.TempDir(), seconds: 1}
	want := "go build -C perf/rivals -o " + filepath.Join(b.bin, "rivals")
	if _, err := b.rivalPuts("bbolt", b.bin, 1); err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("puts without rivals: %v, want %q in it", err, want)
	}
	if err := b.haveRivals(); err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("before a bar: %v, want %q in it", err, want)
	}
}

// The other side of a bar is one number on standard output, asked for with the flags that perf/rivals knows.
func TestRivalPutsTakesTheFigure(t *testing.T) {
	b := &bench{bin: t.TempDir(), seconds: 0.5}
	script := "#!/bin/sh\ntest \"$*\" = 'put -store bbolt -dir D -writers 64 -seconds 0.5' && echo 1234.5\n"
	if err := os.WriteFile(filepath.Join(b.bin, "rivals"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if v, err := b.rivalPuts("bbolt", "D", 64); err != nil || v != 1234.5 {
		t.Fatalf("figure %v, %v", v, err)
	}
	if _, err := b.rivalPuts("bbolt", "E", 64); err == nil {
		t.Fatal("a process that failed has a figure")
	}
}
