package e2e

import (
	"os"
	"syscall"
	"testing"
	"time"

	"basalt/tools/outcome"
)

// An image file is left alone unless --discard=on, and then what is free becomes holes in it; the status says how, and counts.
func TestDiscard(t *testing.T) {
	r := newRig(t)
	allocated := func() int64 {
		info, err := os.Stat(r.Image())
		must(t, err)
		return info.Sys().(*syscall.Stat_t).Blocks * 512
	}
	refused(t, r, outcome.Usage, []string{"discard", "auto, on, off"}, "storaged", storagedArgs(r, r.Image(), "--discard", "sometimes")...)
	full := allocated()
	must(t, r.StartNode())
	status, err := r.Status(r.Socket())
	must(t, err)
	if status.About["discard"] != "none" || status.Sum("shard", "discarding") != 0 {
		t.Errorf("an image file by default: %+v", status)
	}
	must(t, r.TermNode())
	if n := allocated(); n < full {
		t.Errorf("%d bytes of the image are allocated, %d were", n, full)
	}
	must(t, r.StartNode("--discard", "on"))
	for deadline := time.Now().Add(time.Minute); ; {
		status, err := r.Status(r.Socket())
		must(t, err)
		if status.Sum("shard", "discarded_total") > 0 && allocated() < full-1<<20 {
			if status.About["discard"] != "by hole, 1024 KiB at least" || status.Sum("shard", "discarding") != 1 || status.Sum("shard", "discards_total") == 0 {
				t.Errorf("status %+v", status)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing was discarded within a minute: %d bytes allocated; %+v", allocated(), status)
		}
		<-time.After(50 * time.Millisecond)
	}
	must(t, r.TermNode())
	fsckClean(t, r)
}
