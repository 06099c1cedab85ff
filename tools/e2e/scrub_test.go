package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"basalt/tools/control"
	"basalt/tools/outcome"
	"basalt/tools/rig"
)

// rot flips a bit of the only place in the image that holds these bytes, and says where that is.
func rot(t *testing.T, r *rig.Rig, what []byte) int64 {
	t.Helper()
	image, err := os.ReadFile(r.Image())
	must(t, err)
	at := bytes.Index(image, what)
	if at < 0 || bytes.Contains(image[at+1:], what) {
		t.Fatalf("the bytes are at %d of the image, or at several places", at)
	}
	file, err := os.OpenFile(r.Image(), os.O_RDWR, 0)
	must(t, err)
	_, err = file.WriteAt([]byte{image[at] ^ 4}, int64(at))
	must(t, err)
	must(t, file.Close())
	return int64(at)
}

// A scrub of a running node finds a rotten block, names its object, block and place, in its own words and in status, metrics and log, and
// forgets it when the object is gone.
func TestScrub(t *testing.T) {
	r := newRig(t)
	data := content(3, 64<<10)
	putObject(t, r, "victim", data, "--create")
	must(t, r.StartNode())
	res, err := r.Run("basalt", "scrub", "start", "--wait", r.Socket())
	must(t, err)
	for _, want := range []string{"shard 0 (slice 0 of", "): idle", "0 findings", "(1 so far)", "(100 %)"} {
		if !strings.Contains(res.Stdout, want) {
			t.Errorf("no %q in\n%s", want, res.Stdout)
		}
	}
	at := rot(t, r, data[5*4096:5*4096+512])
	res, err = r.Run("basalt", "scrub", "start", "--wait", "--json", r.Socket())
	if err == nil {
		t.Fatalf("rot was not found:\n%s", res.Stdout)
	}
	checkRefusal(t, res, outcome.Damage, []string{"1 in quarantine"})
	var shards []control.Scrub
	must(t, json.Unmarshal([]byte(res.Stdout), &shards))
	if len(shards) != 1 || len(shards[0].Quarantine) != 1 || shards[0].Findings != 1 || shards[0].Passes != 2 {
		t.Fatalf("%s", res.Stdout)
	}
	if q := shards[0].Quarantine[0]; string(q.Object) != "victim" || q.Collection != 1000 || q.Block != 5 || int64(q.Start) != at/4096 || q.Reason == "" {
		t.Errorf("%+v", q)
	}
	res, _ = r.Run("basalt", "scrub", "status", r.Socket())
	checkRefusal(t, res, outcome.Damage, []string{"1 in quarantine"})
	if !strings.Contains(res.Stdout, "block 5 of object victim of collection 1000") {
		t.Errorf("%s", res.Stdout)
	}
	status, err := r.Status(r.Socket())
	must(t, err)
	if status.Sum("shard", "quarantine") != 1 || status.Sum("shard", "scrub_passes_total") != 2 || status.Sum("shard", "scrub_ended_seconds") == 0 {
		t.Errorf("%+v", status)
	}
	if log := r.Tail("storaged"); !strings.Contains(log, "DAMAGE") || !strings.Contains(log, "object=victim block=5") {
		t.Errorf("log:\n%s", log)
	}
	_, err = r.Run("basalt", "scrub", "stop", r.Socket())
	if err == nil {
		t.Error("what is in quarantine is no success")
	}
	must(t, r.StopNode())
	_, err = r.Run("basalt", object(r, "rm", "victim")...)
	must(t, err)
	fsckClean(t, r)
}

// Who waits for a pass that somebody else stops is told that it is not whole.
func TestScrubStopped(t *testing.T) {
	r := newRig(t)
	putObject(t, r, "large", content(5, 1<<20), "--create")
	must(t, r.StartNode("--scrub-rate", "64KiB"))
	type ending struct {
		res rig.Result
		err error
	}
	ended := make(chan ending, 1)
	go func() {
		res, err := r.Run("basalt", "scrub", "start", "--wait", r.Socket())
		ended <- ending{res, err}
	}()
	for running := false; !running; {
		shards, err := control.OrderScrub(r.Socket()+".ctl", control.ScrubStatus)
		must(t, err)
		running = shards[0].Running
	}
	_, err := r.Run("basalt", "scrub", "stop", r.Socket())
	must(t, err)
	if e := <-ended; e.err == nil {
		t.Errorf("a success:\n%s", e.res.Stdout)
	} else {
		checkRefusal(t, e.res, outcome.Failed, []string{"1 of 1", "whole"})
	}
	must(t, r.StopNode())
}

func TestScrubWrongUse(t *testing.T) {
	r := newRig(t)
	refused(t, r, outcome.Unreachable, []string{r.Socket()}, "basalt", "scrub", "start", r.Socket())
	refused(t, r, outcome.Usage, []string{"--scrub-interval"}, "storaged", "--device", r.Image(), "--socket", r.Socket(), "--scrub-interval", "-1s")
	refused(t, r, outcome.Usage, []string{"--scrub-rate"}, "storaged", "--device", r.Image(), "--socket", r.Socket(), "--scrub-rate", "0")
	refused(t, r, outcome.Usage, []string{"at most"}, "basalt", "scrub", "status", "a", "b")
}
