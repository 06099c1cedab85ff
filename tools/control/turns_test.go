package control

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"basalt/engine"
)

func TestLongTurnsAreLoggedOnceATick(t *testing.T) {
	var out strings.Builder
	counts := []uint64{5, 7, 7, 8} // at each tick; five were there before
	at := 0
	tick, done, ended := make(chan time.Time), make(chan struct{}), make(chan bool)
	go func() {
		defer close(ended)
		watchTurns(slog.New(slog.NewTextHandler(&out, nil)), 5, func() engine.Stats {
			s := engine.Stats{Name: "shard 0", LongTurns: counts[at]}
			s.LongTurn = engine.LongTurn{Ns: 2_000_000, StepNs: 1_900_000, Phase: "fiber", What: "scan"}
			at++
			return s
		}, tick, done)
	}()
	for range counts {
		tick <- time.Time{}
	}
	close(done)
	<-ended
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "new=2 ") || !strings.Contains(lines[1], "new=1 ") {
		t.Fatalf("the log holds\n%s", out.String())
	}
	for _, want := range []string{`reactor="shard 0"`, "turn of 2.0 ms: fiber scan took 1.9 ms"} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("the line lacks %q: %s", want, lines[0])
		}
	}
}
