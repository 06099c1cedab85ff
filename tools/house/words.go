package house

import (
	"bytes"
	"fmt"
	"regexp"
)

// words are texts that no file of the repository may carry, with the reason.
var words = []struct {
	pattern *regexp.Regexp
	reason  string
}{
	{regexp.MustCompile(`/(home|Users|work)/[A-Za-z_]`), "the path of somebody's machine"},
	{regexp.MustCompile(`/tmp/(pl` + `an|bash_)`), "the path of somebody's machine"},
	{regexp.MustCompile(`\b(DESI` + `GN|HOUSE-STY` + `LE)\.md`), "a document that is not part of the repository"},
	{regexp.MustCompile(`(?i)\bissue #?\d`), "an issue number: give the reason itself"},
	{regexp.MustCompile(`<{7} |>{7} `), "a merge left unfinished"},
}

// Work left open names the condition that ends it.
var (
	openWork = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	workEnds = regexp.MustCompile(`\bTO` + `DO\b.*\b(when|once|until|after|as soon as)\b`)
)

// Words finds forbidden texts in any file, and open work without an end in Go files.
func Words(name string, text []byte, isGo bool) []Finding {
	var found []Finding
	for i, line := range bytes.Split(text, []byte("\n")) {
		where := fmt.Sprintf("%s:%d", name, i+1)
		for _, w := range words {
			if hit := w.pattern.Find(line); hit != nil {
				found = append(found, Finding{where, fmt.Sprintf("%q is %s", hit, w.reason)})
			}
		}
		if isGo && openWork.Match(line) && !workEnds.Match(line) {
			found = append(found, Finding{where, "open work names the condition that ends it (when, once, until, after)"})
		}
	}
	return found
}
