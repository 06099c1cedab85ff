package house

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// exemptionsMax bounds testdata/long.txt. Lower it whenever the list gets shorter; it is never raised.
const exemptionsMax = 0

const root = "../.."

var repository = sync.OnceValues(func() ([]*File, error) { return Load(root) })

func files(t *testing.T) []*File {
	t.Helper()
	list, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 5 {
		t.Fatalf("found only %d Go files below %s: the walk is broken", len(list), root)
	}
	return list
}

func report(t *testing.T, found []Finding) {
	t.Helper()
	for _, f := range found {
		t.Error(f)
	}
}

func module(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimPrefix(first, "module ")
}

func TestFilesAreFormatted(t *testing.T) {
	for _, f := range files(t) {
		if Unformatted(f) {
			t.Errorf("%s: gofmt would change it", f.Path)
		}
	}
}

func TestImportsPointOneWay(t *testing.T) {
	name := module(t)
	for _, f := range files(t) {
		report(t, Layers(f, name))
		report(t, Nested(f))
	}
}

func TestProductDoesNotRequireTheRivals(t *testing.T) {
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		report(t, Requirements(name, text))
	}
}

func TestRivalsRequireTheSameVersions(t *testing.T) {
	var text [2][]byte
	for i, name := range []string{"go.mod", rivals + "/go.mod"} {
		var err error
		if text[i], err = os.ReadFile(filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	report(t, Versions(text[0], text[1]))
}

func TestSizes(t *testing.T) {
	exempt, err := ReadLong("testdata/long.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(exempt) > exemptionsMax {
		t.Errorf("%d exemptions, at most %d: the list only shrinks", len(exempt), exemptionsMax)
	}
	var measured []Long
	for _, f := range files(t) {
		measured = append(measured, Measure(f)...)
	}
	report(t, CheckLong(measured, exempt))
}

func TestForbiddenCalls(t *testing.T) {
	for _, f := range files(t) {
		report(t, Calls(f))
		report(t, Tests(f))
	}
}

func TestNoRangeOverMapsWhereTheSimulatorRuns(t *testing.T) {
	abs, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	found, err := MapRanges(abs, "./...")
	if err != nil {
		t.Fatal(err)
	}
	report(t, found)
}

func TestWords(t *testing.T) {
	err := walk(root, func(name string) error {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		report(t, Words(name, text, strings.HasSuffix(name, ".go")))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDocumentsNameWhatExists(t *testing.T) {
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range append(docs, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		report(t, Named(filepath.Base(doc), text, files(t)))
	}
}

// Every fault has its test by name; that the tests exist is TestDocumentsNameWhatExists.
func TestEveryFaultHasItsTest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "FORMAT.md"))
	if err != nil {
		t.Fatal(err)
	}
	report(t, Faults("FORMAT.md", text, files(t)))
	if n := CountNamed(text); n < 12 {
		t.Errorf("FORMAT.md names only %d functions", n)
	}
}
