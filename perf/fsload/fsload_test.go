package fsload

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// warm is Mounted without dropping the machine's caches under other tests.
type warm struct{ Mounted }

func (warm) Cold() error { return nil }

func TestRunLeavesNothingBehind(t *testing.T) {
	for _, shared := range []bool{false, true} {
		dir := t.TempDir()
		rates, err := Run(warm{}, Load{Root: dir, Threads: 3, Files: 20, Bytes: 4096, Shared: shared})
		if err != nil {
			t.Fatal(err)
		}
		if len(rates) != len(Phases) {
			t.Fatalf("%d figures for %d phases", len(rates), len(Phases))
		}
		for i, r := range rates {
			if r <= 0 {
				t.Errorf("%s measured %v", Phases[i], r)
			}
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 0 {
			t.Fatalf("left behind: %v %v", left, err)
		}
	}
}

// short loses the last byte of what it writes: the workload must see it.
type short struct{ warm }

func (short) Create(path string, data []byte) error {
	return Mounted{}.Create(path, data[:len(data)-1])
}

// blind forgets a name in its listings.
type blind struct{ warm }

func (blind) List(dir string) ([]string, error) {
	names, err := Mounted{}.List(dir)
	return names[1:], err
}

type refusing struct{ warm }

var errRefused = errors.New("refused")

func (refusing) Rename(string, string) error { return errRefused }

func TestRunSeesWrongAnswers(t *testing.T) {
	l := Load{Threads: 1, Files: 3, Bytes: 100}
	for _, c := range []struct {
		fs   FS
		want string
	}{{short{}, "read: "}, {blind{}, "lists 2 names"}, {refusing{}, "rename: refused"}} {
		l.Root = t.TempDir()
		if _, err := Run(c.fs, l); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("wanted %q, got %v", c.want, err)
		}
	}
}
