package e2e

import (
	"os"
	"strings"
	"testing"

	"basalt/tools/outcome"
)

// A repair names everything first and changes nothing without --yes; what is lost is lost only with --lose; then the check is clean.
func TestFsckRepair(t *testing.T) {
	r := newRig(t)
	data, other := content(3, 64<<10), content(4, 32<<10)
	putObject(t, r, "victim", data, "--create")
	putObject(t, r, "other", other)
	info, err := os.Stat(r.Image())
	must(t, err)
	file, err := os.OpenFile(r.Image(), os.O_RDWR, 0)
	must(t, err)
	_, err = file.WriteAt([]byte("rot"), info.Size()-16384+40) // the second copy of the label
	must(t, err)
	must(t, file.Close())
	repair := func(more ...string) []string { return append(append([]string{"fsck", "--repair"}, more...), r.Image()) }

	untouched(t, r.Image(), func() {
		res, err := r.Run("basalt", repair()...)
		if err == nil {
			t.Error("a repair that was not confirmed is no success")
		}
		checkRefusal(t, res, outcome.Damage, []string{"nothing was changed", "--yes"})
		if !strings.Contains(res.Stdout, "REPAIR the label copy") || strings.Contains(res.Stdout, "LOSS") {
			t.Errorf("%s", res.Stdout)
		}
	})
	_, err = r.Run("basalt", repair("--yes")...)
	must(t, err)
	res, err := r.Run("basalt", repair("--yes")...)
	must(t, err)
	if !strings.Contains(res.Stdout, "nothing to repair") {
		t.Errorf("%s", res.Stdout)
	}

	rot(t, r, data[5*4096:5*4096+512])
	res, _ = r.Run("basalt", repair("--yes")...)
	checkRefusal(t, res, outcome.Damage, []string{"1 findings"})
	if !strings.Contains(res.Stdout, "LOSS with --lose blocks: block 5 of object victim of collection 1000 becomes a hole") {
		t.Errorf("%s", res.Stdout)
	}
	refused(t, r, outcome.Damage, []string{"victim"}, "basalt", object(r, "get", "victim")...)
	res, err = r.Run("basalt", repair("--yes", "--lose", "blocks")...)
	must(t, err)
	if !strings.Contains(res.Stdout, "LOSS: block 5 of object victim") || !strings.Contains(res.Stdout, "store: clean") {
		t.Errorf("%s", res.Stdout)
	}
	clear(data[5*4096 : 6*4096])
	sameObject(t, r, "victim", data)
	sameObject(t, r, "other", other)
	fsckClean(t, r)
}

func TestFsckRepairWrongUse(t *testing.T) {
	r := newRig(t)
	untouched(t, r.Image(), func() {
		refused(t, r, outcome.Usage, []string{"--repair"}, "basalt", "fsck", "--yes", r.Image())
		refused(t, r, outcome.Usage, []string{"--repair"}, "basalt", "fsck", "--lose", "blocks", r.Image())
		refused(t, r, outcome.Usage, []string{"blocks", "journal"}, "basalt", "fsck", "--repair", "--lose", "files", r.Image())
	})
	must(t, r.StartNode())
	refused(t, r, outcome.InUse, []string{r.Image()}, "basalt", "fsck", "--repair", "--yes", r.Image())
}
