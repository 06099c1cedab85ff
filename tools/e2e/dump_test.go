package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"basalt/tools/outcome"
)

// What a node that was killed leaves is shown by every dump, with the words of the namespace, and none of it is damaged or changed.
func TestDumpOfAKilledNode(t *testing.T) {
	r := newRig(t)
	must(t, r.StartNode())
	must(t, r.Mount())
	writeSynced(t, filepath.Join(r.Mnt(), "small"), []byte("grey"))
	writeSynced(t, filepath.Join(r.Mnt(), "large"), content(5, 3<<20))
	must(t, r.KillNode())
	defer func() { // the mount waits for its node
		must(t, r.StartNode())
		must(t, r.Umount())
	}()
	untouched(t, r.Image(), func() {
		for _, c := range []struct {
			args []string
			want []string
		}{
			{[]string{"super"}, []string{"label at 0~4", "(the newest)"}},
			{[]string{"journal", "--verify"}, []string{`name \"small\" in directory 0.1`, "stripe 0 of inode", "end at"}},
			{[]string{"journal", "--all", "--records"}, []string{"record at"}},
			{[]string{"tree"}, []string{"level=0"}},
			{[]string{"tree", "--keys", "--collection", "65535"}, []string{"file system"}},
			{[]string{"space", "--tree"}, []string{"the superblock's map", "free-and-named=0 neither=0"}},
			{[]string{"object", "--at", "0"}, []string{"label at 0~1"}},
			{[]string{"super", "--at", "0"}, []string{"label at 0~4"}},
		} {
			res, err := r.Run("basalt", append(append([]string{"dump"}, c.args...), r.Image())...)
			must(t, err)
			for _, want := range c.want {
				if !strings.Contains(res.Stdout, want) {
					t.Errorf("dump %q: no %q in\n%.3000s", c.args, want, res.Stdout)
				}
			}
			asJSON, err := r.Run("basalt", append(append([]string{"dump"}, c.args...), "--json", r.Image())...)
			must(t, err)
			for row := range strings.Lines(asJSON.Stdout) {
				if !json.Valid([]byte(row)) {
					t.Errorf("dump %q: %q is no JSON", c.args, row)
				}
			}
		}
	})
}

// A device whose label and newest superblock are gone is shown all the same.
func TestDumpOfADamagedDevice(t *testing.T) {
	r := newRig(t)
	file, err := os.OpenFile(r.Image(), os.O_RDWR, 0)
	must(t, err)
	info, err := file.Stat()
	must(t, err)
	for _, off := range []int64{0, info.Size() - 16384} {
		_, err = file.WriteAt(make([]byte, 16384), off)
		must(t, err)
	}
	must(t, file.Close())
	refused(t, r, outcome.Damage, []string{r.Image(), "2 structures are damaged"}, "basalt", "dump", "super", r.Image())
	res, err := r.Run("basalt", "dump", "tree", "--keys", r.Image())
	must(t, err)
	if !strings.Contains(res.Stdout, "neither copy is valid") || !strings.Contains(res.Stdout, "file system") {
		t.Errorf("%s", res.Stdout)
	}
	blank := join(r, "blank.img")
	must(t, os.WriteFile(blank, make([]byte, 1<<20), 0o600))
	refused(t, r, outcome.Device, []string{blank, "nothing of a Basalt store"}, "basalt", "dump", "tree", blank)
	file, err = os.OpenFile(r.Image(), os.O_RDWR, 0)
	must(t, err)
	_, err = file.WriteAt(make([]byte, 2<<20), 0) // both slots' first copies, and the beginning of the journal
	must(t, err)
	must(t, file.Close())
	res, err = r.Run("basalt", "dump", "tree", "--keys", r.Image())
	must(t, err)
	if !strings.Contains(res.Stdout, "file system") {
		t.Errorf("%s", res.Stdout)
	}
}

func TestDumpWrongUse(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		words []string
		args  []string
	}{
		{[]string{"super, journal, tree, object, space"}, []string{"dump", "inode"}},
		{[]string{"block device"}, []string{"dump", "super"}},
		{[]string{"--slice"}, []string{"dump", "super", "--slice", "256", r.Image()}},
		{[]string{"--lines"}, []string{"dump", "super", "--lines", "0", r.Image()}},
		{[]string{"--at"}, []string{"dump", "super", "--at", "-1", r.Image()}},
		{[]string{"--keys"}, []string{"dump", "tree", "--kind", "onode", r.Image()}},
		{[]string{"--level"}, []string{"dump", "tree", "--keys", "--level", "0", r.Image()}},
		{[]string{"--kind file"}, []string{"dump", "tree", "--keys", "--kind", "file", r.Image()}},
		{[]string{"--collection"}, []string{"dump", "tree", "--keys", "--collection", "65536", r.Image()}},
		{[]string{"--from"}, []string{"dump", "tree", "--keys", "--from", "hex:x", r.Image()}},
		{[]string{"--name", "--at"}, []string{"dump", "object", r.Image()}},
	} {
		refused(t, r, outcome.Usage, c.words, "basalt", c.args...)
	}
	refused(t, r, outcome.Failed, []string{"not found", "object x"}, "basalt", "dump", "object", "--collection", "0", "--name", "x", r.Image())
	refused(t, r, outcome.Failed, []string{"not found", "slices"}, "basalt", "dump", "super", "--slice", "2", r.Image())
	refused(t, r, outcome.Device, []string{"no such file"}, "basalt", "dump", "super", join(r, "none"))
}
