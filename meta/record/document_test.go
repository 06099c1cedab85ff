package record

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The tables of docs/NAMESPACE.md cover each structure without gaps, and end where the encoder ends.
func TestDocumentedSizes(t *testing.T) {
	text, err := os.ReadFile("../../docs/NAMESPACE.md")
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int{
		"Dentry": len((&Dentry{Ino: 1}).Append(nil)), "Inode": len((&Inode{}).Append(nil)), "Orphan": len((&Orphan{}).Append(nil)),
		"Counter": len((&Counter{}).Append(nil)), "FS": len((&FS{}).Append(nil)), "Session": len((&Session{}).Append(nil)),
		"Idem": len((&Idem{}).Append(nil)), "Recovery": len((&Recovery{}).Append(nil)),
	}
	head := regexp.MustCompile("(?m)^### `(\\w+)` \\((\\d+) bytes")
	row := regexp.MustCompile(`(?m)^\| (\d+) \| (\d*) \|`)
	at := head.FindAllSubmatchIndex(text, -1)
	for i, m := range at {
		name, end := string(text[m[2]:m[3]]), len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		want, _ := strconv.Atoi(string(text[m[4]:m[5]]))
		off := 0
		for _, r := range row.FindAllSubmatch(text[m[1]:end], -1) {
			if start, _ := strconv.Atoi(string(r[1])); start != off {
				t.Errorf("%s: a field at %d, want %d", name, start, off)
			}
			n, _ := strconv.Atoi(string(r[2])) // empty: of any length, the last
			off += n
		}
		if off != want || off != sizes[name] {
			t.Errorf("%s: documented %d bytes, its fields have %d, the code %d", name, want, off, sizes[name])
		}
		delete(sizes, name)
	}
	if len(sizes) > 0 {
		t.Errorf("not documented: %v", sizes)
	}
}

// The numbers of docs/PROTOCOL.md are those of the code.
func TestDocumentedNumbers(t *testing.T) {
	b, err := os.ReadFile("../../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(b), "\n# Bodies\n")
	if !found {
		t.Fatal("there is no part about bodies")
	}
	for o := 1; o < Ops; o++ {
		if !strings.Contains(text, fmt.Sprintf("\n| %d | %s |", o, Op(o))) {
			t.Errorf("operation %d %v is not documented", o, Op(o))
		}
	}
	for s := range Statuses {
		if !strings.Contains(text, fmt.Sprintf("| %d | %s |", s, Status(s).String())) {
			t.Errorf("status %d %v is not documented", s, Status(s))
		}
	}
	if welcomeSize != 52 || helloHead != 38 || AttrSize != 96 {
		t.Errorf("sizes %d %d %d", welcomeSize, helloHead, AttrSize)
	}
}
