package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"basalt/storage/format"
	"basalt/tools/outcome"
)

// A label that another tool has overwritten: everybody refuses the device and says why, the repair names what it writes over, and then everything is there.
func TestRepairOfOverwrittenLabel(t *testing.T) {
	r := newRig(t)
	data := content(41, 64<<10)
	putObject(t, r, "kept", data, "--create")
	patch(t, r.Image(), 0, func(b []byte) { clear(b); copy(b, "XFSB") }, format.LabelBytes)
	untouched(t, r.Image(), func() {
		for _, c := range [][]string{{"fsck", r.Image()}, object(r, "ls")} {
			refused(t, r, outcome.Device, []string{"an XFS file system", "other copy", "fsck --repair"}, "basalt", c...)
		}
		refused(t, r, outcome.Device, []string{"an XFS file system", "other copy", "fsck --repair"}, "storaged", storagedArgs(r, r.Image())...)
		refused(t, r, outcome.Device, []string{"an XFS file system", "--force"}, "basalt", "mkfs", r.Image())
		// --yes alone is no consent to writing over what another tool has written.
		out := repair(t, r, "", "nothing was changed", "--lose foreign")
		says(t, out, "REPAIR the label copy at blocks 0~4", "LOSS with --lose foreign: an XFS file system")
	})
	says(t, repair(t, r, "foreign"), "LOSS: an XFS file system", "store: clean")
	sameObject(t, r, "kept", data)
	says(t, repair(t, r, ""), "nothing to repair")
	patch(t, r.Image(), 0, func(b []byte) { clear(b); copy(b[0x10040:], "_BHRfS_M") }, 1<<17) // it tells itself behind the label
	says(t, repair(t, r, "foreign"), "LOSS: a btrfs file system", "store: clean")
	sameObject(t, r, "kept", data)

	// Without a whole label at the other end it is not ours.
	patch(t, r.Image(), 0, func(b []byte) { clear(b); copy(b, "XFSB") }, format.LabelBytes)
	flip(t, r, 256<<20-format.LabelBytes+70)
	untouched(t, r.Image(), func() {
		refused(t, r, outcome.Device, []string{"an XFS file system", "left alone"}, "basalt", "fsck", "--repair", "--yes", r.Image())
	})
}

// An image that has grown is served with its former length, and everybody says so; one that was cut is refused.
func TestGrownAndShortenedImage(t *testing.T) {
	r := newRig(t)
	data := content(51, 64<<10)
	putObject(t, r, "kept", data, "--create")
	must(t, os.Truncate(r.Image(), 300<<20))
	res, err := r.Run("basalt", "fsck", r.Image())
	must(t, err)
	says(t, res.Stdout, fmt.Sprintf("%d bytes behind its end", (300-256)<<20), "store: clean")
	if strings.Contains(res.Stdout, "copy") {
		t.Errorf("a label is missed:\n%s", res.Stdout)
	}
	labels := 0
	for _, d := range dump(t, r, "super") {
		if d.What == "label" {
			labels++
		}
	}
	if labels != 2 {
		t.Errorf("the dump shows %d labels", labels)
	}
	must(t, r.StartNode())
	must(t, r.StopNode())
	if log := r.Tail("storaged"); strings.Count(log, "has grown since mkfs") != 1 {
		t.Errorf("the log:\n%s", log)
	}
	flip(t, r, 256<<20-format.LabelBytes+70)
	says(t, repair(t, r, ""), "REPAIR the label copy at blocks", "store: clean")
	sameObject(t, r, "kept", data)
	must(t, os.Truncate(r.Image(), 200<<20))
	untouched(t, r.Image(), func() {
		for _, args := range [][]string{{"fsck", r.Image()}, {"fsck", "--repair", "--yes", r.Image()}, object(r, "ls")} {
			refused(t, r, outcome.Device, []string{r.Image(), "short"}, "basalt", args...)
		}
		refused(t, r, outcome.Device, []string{r.Image(), "short"}, "storaged", storagedArgs(r, r.Image())...)
	})
}
