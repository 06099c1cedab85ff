package outcome

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
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
	}{{nil, OK}, {errors.New("x"), Failed}, {inUse, InUse}, {fmt.Errorf("start: %w", inUse), InUse},
		{errors.Join(New(Device, "no store"), New(Damage, "rot")), Damage}, {errors.Join(New(Damage, "rot"), errors.New("x"), New(Device, "no store")), Damage},
		{fmt.Errorf("both: %w", errors.Join(errors.New("x"), nil, inUse)), InUse}, {fmt.Errorf("%w, then %w", New(Usage, "u"), New(Device, "d")), Device},
		{New(Device, "no store, because: %w", New(Damage, "rot")), Device}, {errors.Join(errors.New("x"), errors.New("y")), Failed},
	} {
		if got := CodeOf(c.err); got != c.want {
			t.Errorf("%v has code %d, want %d", c.err, got, c.want)
		}
	}
	for _, c := range Codes {
		if !slices.Contains(worst, c.Code) || len(worst) != len(Codes) {
			t.Errorf("nobody says how bad code %d is", c.Code)
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
