package outcome

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestTheManualShowsTheTable(t *testing.T) {
	text, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range Codes {
		if int(c.Code) != i {
			t.Errorf("row %d of the table has code %d", i, c.Code)
		}
		if row := fmt.Sprintf("| %d | %s |\n", c.Code, c.What); !strings.Contains(string(text), row) {
			t.Errorf("the manual lacks the row %q", row)
		}
	}
}

func TestCodeOf(t *testing.T) {
	inUse := New(InUse, "taken: %w", os.ErrExist)
	for _, c := range []struct {
		err  error
		want Code
	}{{nil, OK}, {errors.New("x"), Failed}, {inUse, InUse}, {fmt.Errorf("start: %w", inUse), InUse}} {
		if got := CodeOf(c.err); got != c.want {
			t.Errorf("%v has code %d, want %d", c.err, got, c.want)
		}
	}
	if !errors.Is(inUse, os.ErrExist) {
		t.Error("the cause is lost")
	}
	var out bytes.Buffer
	if code := Exit(&out, "basalt", inUse); code != int(InUse) || out.String() != "basalt: taken: file already exists\n" {
		t.Errorf("%d %q", code, out.String())
	}
}
