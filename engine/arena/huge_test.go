package arena

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// flagsAt are the kernel's flags of the mapping that has an address.
func flagsAt(t *testing.T, addr uint64) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	within := false
	for line := range strings.Lines(string(text)) {
		var from, to uint64
		if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n == 2 {
			within = from <= addr && addr < to
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && within {
			return strings.Fields(flags)
		}
	}
	t.Fatalf("no mapping has %#x", addr)
	return nil
}

// The kernel knows that an arena wants huge pages, from its first byte to its last.
func TestArenasAskForHugePages(t *testing.T) {
	a := newArena(t, 3*BlockMax)
	for _, at := range []uint64{a.base, a.base + uint64(len(a.mem)) - 1} {
		if flags := flagsAt(t, at); !slices.Contains(flags, "hg") {
			t.Errorf("%d bytes into the arena the mapping has the flags %v, without hg", at-a.base, flags)
		}
	}
}
