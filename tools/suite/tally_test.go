package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

const recorded = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"quiet\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"loud\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"skip","Package":"p","Test":"TestC"}
{"Action":"fail","Package":"p"}
{"Action":"build-output","ImportPath":"q","Output":"q.go:1: no\n"}
{"Action":"fail","Package":"q"}
{"Action":"skip","Package":"r"}
not json
`

func TestCount(t *testing.T) {
	var out bytes.Buffer
	got := count(strings.NewReader(recorded), &out)
	if got.passed != 1 || got.failed != 1 || got.skipped != 1 || got.broken != 1 {
		t.Fatalf("counted %+v", got)
	}
	for _, want := range []string{"loud\n", "q.go:1: no\n", "FAIL   p", "broken q", "not json"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "quiet") {
		t.Errorf("output of a passed test is shown:\n%s", out.String())
	}
	if want := "1 passed, 2 failed, 1 skipped"; got.String() != want {
		t.Errorf("%q, want %q", got.String(), want)
	}
	if got.green() {
		t.Error("green although a test failed")
	}
}

// A process that dies in the middle of a test says why; that is shown, though no end of the test is ever reported.
func TestDiedInATest(t *testing.T) {
	const died = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"fatal error: gone\n"}
{"Action":"output","Package":"p","Output":"FAIL p 0.1s\n"}
{"Action":"fail","Package":"p"}
`
	var out bytes.Buffer
	got := count(strings.NewReader(died), &out)
	if got.broken != 1 || got.green() || !strings.Contains(out.String(), "fatal error: gone") {
		t.Errorf("counted %+v, shown:\n%s", got, out.String())
	}
}

func TestSkippedIsNotGreen(t *testing.T) {
	if (tally{passed: 3, skipped: 1}).green() || (tally{}).green() || !(tally{passed: 3}).green() {
		t.Error("green means: something passed, nothing failed, nothing was skipped")
	}
}

func TestJudge(t *testing.T) {
	s := stage{name: "planted x", planted: true}
	if got := s.judge(tally{passed: 9}, io.Discard); got.failed != 1 {
		t.Errorf("an unfound bug counts as %v", got)
	}
	if got := s.judge(tally{broken: 1}, io.Discard); got.broken != 1 {
		t.Errorf("a build failure counts as %v", got)
	}
	if got := s.judge(tally{passed: 2, failed: 1, failures: []string{"TestReuse"}}, io.Discard); got.passed != 1 || got.failed != 0 {
		t.Errorf("a found bug counts as %v", got)
	}
}
