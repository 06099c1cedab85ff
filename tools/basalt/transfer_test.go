package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

func TestTransfer(t *testing.T) {
	var out bytes.Buffer
	soon := &transfer{out: &out, what: "put x", size: 1 << 20, began: time.Now()}
	if n, err := soon.Write(make([]byte, 1000)); n != 1000 || err != nil || out.Len() > 0 {
		t.Errorf("a short transfer shows %q (%d, %v)", out.String(), n, err)
	}
	long := &transfer{out: &out, what: "put x", size: 1 << 20, began: time.Now().Add(-time.Minute)}
	if _, err := long.Write(make([]byte, 1<<19)); err != nil || !strings.Contains(out.String(), "put x") || !strings.Contains(out.String(), "50%") {
		t.Errorf("half of a long transfer shows %q, %v", out.String(), err)
	}
	long.end()
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if p := newTransfer(file, "put x", 5); p.out != nil {
		t.Error("a log file is taken for a terminal")
	}
}
