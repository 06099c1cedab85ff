package e2e

import (
	"strings"
	"testing"

	"basalt/tools/outcome"
	"basalt/tools/rig"
)

// checkRefusal: the code, one line, starting with the program's name, and in it what is wrong.
func checkRefusal(t *testing.T, res rig.Result, want outcome.Code, words []string) {
	t.Helper()
	if outcome.Code(res.Code) != want {
		t.Errorf("exit code %d, want %d: %s", res.Code, want, res.Stderr)
	}
	line := strings.TrimSuffix(res.Stderr, "\n")
	if line == "" || strings.Contains(line, "\n") {
		t.Errorf("want one line on standard error, have %q", res.Stderr)
	}
	for _, word := range words {
		if !strings.Contains(line, word) {
			t.Errorf("no %q in %q", word, line)
		}
	}
	if strings.Contains(line, "goroutine ") || strings.Contains(line, "panic") {
		t.Errorf("a crash is no sentence: %q", line)
	}
}
