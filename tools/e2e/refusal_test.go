package e2e

import (
	"strings"
	"testing"

	"basalt/tools/outcome"
	"basalt/tools/rig"
)

// checkRefusal: the code, and beside the log (lines that begin with a time) one line with what is wrong.
func checkRefusal(t *testing.T, res rig.Result, want outcome.Code, words []string) {
	t.Helper()
	if outcome.Code(res.Code) != want {
		t.Errorf("exit code %d, want %d: %s", res.Code, want, res.Stderr)
	}
	var said []string
	for line := range strings.Lines(res.Stderr) {
		if !strings.HasPrefix(line, "time=") {
			said = append(said, line)
		}
	}
	line := strings.TrimSuffix(strings.Join(said, ""), "\n")
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
