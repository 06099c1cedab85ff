package node

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"basalt/engine"
	"basalt/storage"
	"basalt/tools/outcome"
)

// objectsOf makes an image and names a collection on it that is nobody's.
func objectsOf(t *testing.T) *Objects {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk.img")
	if err := Format(FormatConfig{Device: image, Bytes: bytesMin}); err != nil {
		t.Fatal(err)
	}
	return &Objects{Device: image, Collection: 1000, Create: true}
}

func (o *Objects) mustHave(t *testing.T, name, want string) {
	t.Helper()
	var got bytes.Buffer
	if n, err := o.Get([]byte(name), &got); err != nil || got.String() != want || n != int64(len(want)) {
		t.Errorf("object %s has %d bytes, want %d: %v", name, got.Len(), len(want), err)
	}
}

func failed(t *testing.T, err error, want outcome.Code, words ...string) {
	t.Helper()
	if outcome.CodeOf(err) != want {
		t.Errorf("code %d, want %d: %v", outcome.CodeOf(err), want, err)
	}
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("no %q in %v", word, err)
		}
	}
}

var errInput = errors.New("the cable came out")

// forever reads zeros.
type forever struct{}

func (forever) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// An input that fails after the first transaction, and one that does not fit, leave nothing behind, and what fails before it leaves what was there.
func TestPutIsTakenBack(t *testing.T) {
	o := objectsOf(t)
	if _, err := o.Put([]byte("kept"), strings.NewReader("kept")); err != nil {
		t.Fatal(err)
	}
	_, err := o.Put([]byte("x"), io.MultiReader(bytes.NewReader(make([]byte, putFirst+3*putStep+5)), iotest.ErrReader(errInput)))
	if !errors.Is(err, errInput) {
		t.Errorf("%v", err)
	}
	failed(t, err, outcome.Failed, "reading the input", "nothing of it was kept")
	_, err = o.Stat([]byte("x"))
	failed(t, err, outcome.Failed, "not there")

	_, err = o.Put([]byte("x"), forever{})
	failed(t, err, outcome.Failed, "does not fit", "nothing of it was kept")
	_, err = o.Stat([]byte("x"))
	failed(t, err, outcome.Failed, "not there")

	o.Replace = true
	_, err = o.Put([]byte("kept"), iotest.ErrReader(errInput))
	failed(t, err, outcome.Failed, "nothing was changed")
	o.mustHave(t, "kept", "kept")

	long := strings.Repeat("0123456789abcdef", (putFirst+putStep)/16) // ends with a step: the last one reads nothing
	if n, err := o.Put([]byte("x"), iotest.OneByteReader(strings.NewReader("short"))); n != 5 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n, err := o.Put([]byte("x"), strings.NewReader(long)); n != int64(len(long)) || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	o.mustHave(t, "x", long)
	if x, err := o.Stat([]byte("x")); err != nil || x.Unfinished || len(x.Attrs) != 0 {
		t.Errorf("%+v, %v", x, err)
	}
	reports, err := Check(o.Device, EverySlice)
	if err != nil || len(reports) != 1 || len(reports[0].Store.Findings) > 0 || len(reports[0].Names.Problems) > 0 {
		t.Errorf("%v %+v", err, reports)
	}
}

// An output that fails is an error of the output.
func TestGetWithoutOutput(t *testing.T) {
	o := objectsOf(t)
	if _, err := o.Put([]byte("x"), strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	_, err := o.Get([]byte("x"), failingWriter{})
	failed(t, err, outcome.Failed, "writing the output")
}

// An object whose put was cut off by a power failure is not taken for a whole one.
func TestGetRefusesAnUnfinishedObject(t *testing.T) {
	o := objectsOf(t)
	err := o.change(func(f *engine.Fiber, s *storage.Store) error {
		_, err := s.Update(f, func(tx *storage.Tx) error { return o.begin(tx, []byte("x"), []byte("half"), false) })
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if x, err := o.Stat([]byte("x")); err != nil || !x.Unfinished {
		t.Errorf("%+v, %v", x, err)
	}
	var out bytes.Buffer
	_, err = o.Get([]byte("x"), &out)
	failed(t, err, outcome.Failed, "not put whole", "--force")
	if out.Len() > 0 {
		t.Errorf("%q was written", out.String())
	}
	o.Force = true
	o.mustHave(t, "x", "half")
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A list that is longer than a page has every object once.
func TestListInPages(t *testing.T) {
	o := objectsOf(t)
	const n = 2*listStep + 3
	err := o.change(func(f *engine.Fiber, s *storage.Store) error {
		_, err := s.Update(f, func(tx *storage.Tx) error {
			if err := tx.CreateCollection(o.coll()); err != nil {
				return err
			}
			for i := range n {
				if err := tx.Truncate(o.coll(), []byte{'a' + byte(i%7), byte(i >> 8), byte(i)}, uint64(i)); err != nil {
					return err
				}
			}
			return nil
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	if err := o.List(func(*Object) bool { seen++; return true }); err != nil || seen != n {
		t.Errorf("%d objects, %v", seen, err)
	}
	if err := o.List(func(*Object) bool { seen++; return false }); err != nil || seen != n+1 {
		t.Errorf("asked to stop, it goes on: %d, %v", seen, err)
	}
}
