package e2e

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"basalt"
	"basalt/storage/format"
	"basalt/tools/outcome"
	"basalt/tools/rig"
)

// dumped is a line of a dump.
type dumped struct {
	What          string
	Start, Blocks int64
	Fields        map[string]any
	text          string
}

func dump(t *testing.T, r *rig.Rig, args ...string) (list []dumped) {
	t.Helper()
	res, err := r.Run("basalt", append(append([]string{"dump"}, args...), "--json", r.Image())...)
	must(t, err)
	for row := range strings.Lines(res.Stdout) {
		d := dumped{text: row}
		must(t, json.Unmarshal([]byte(row), &d))
		list = append(list, d)
	}
	return list
}

// flip changes a bit of a byte of the image.
func flip(t *testing.T, r *rig.Rig, at int64) {
	t.Helper()
	patch(t, r.Image(), at, func(b []byte) { b[0] ^= 4 }, 1)
}

// repair runs the repair with --yes. It succeeds, or with words it is refused as damaged with them; what it says is returned.
func repair(t *testing.T, r *rig.Rig, lose string, words ...string) string {
	t.Helper()
	args := []string{"fsck", "--repair", "--yes", r.Image()}
	if lose != "" {
		args = append(args, "--lose", lose)
	}
	res, err := r.Run("basalt", args...)
	if len(words) == 0 {
		must(t, err)
		return res.Stdout
	}
	if err == nil {
		t.Fatalf("%q succeeded:\n%s", args, res.Stdout)
	}
	checkRefusal(t, res, outcome.Damage, words)
	return res.Stdout
}

func says(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in\n%s", w, text)
		}
	}
}

// A leaf of the tree has rotten: nothing is done without --lose nodes, nor, when the space map is gone too, without --lose unmapped; then the object whose extents
// it had has holes there, everything else is as it was, and the check finds nothing.
func TestRepairLosesNodes(t *testing.T) {
	r := newRig(t)
	victim, other := content(11, 40<<20), content(12, 3<<20)
	putObject(t, r, "victim", victim, "--create")
	putObject(t, r, "other", other)
	var leaf *dumped
	var from, to int
	for _, d := range dump(t, r, "tree", "--level", "0") {
		var a, b int
		if n, _ := fmt.Sscanf(fmt.Sprint(d.Fields["first"], " ", d.Fields["last"]), "1000/extent/victim/%d 1000/extent/victim/%d", &a, &b); n == 2 && leaf == nil {
			leaf, from, to = &d, a, b+format.ExtentBlocksMax
		}
	}
	if leaf == nil {
		t.Fatal("no leaf has extents of this object alone")
	}
	flip(t, r, leaf.Start*format.BlockBytes+100)
	untouched(t, r.Image(), func() {
		refused(t, r, outcome.Damage, []string{"finding"}, "basalt", "fsck", r.Image())
		says(t, repair(t, r, "", "nothing was changed", "--lose nodes"), "LOSS with --lose nodes: all that the tree has from block", "of collection 1000")
		repair(t, r, "blocks,journal", "nothing was changed", "--lose nodes")
	})

	super := newestSuper(t, r.Image())
	flip(t, r, super.SpaceMap[super.Map.Region].Offset()+format.SpaceMapHeaderBytes)
	untouched(t, r.Image(), func() {
		says(t, repair(t, r, "nodes", "nothing was changed", "--lose unmapped"), "LOSS: all that the tree has", "LOSS with --lose unmapped: up to "+fmt.Sprint(to-from)+" blocks")
	})
	says(t, repair(t, r, "nodes,unmapped"), "LOSS: up to", "DONE object ", "are holes now", "store: clean")
	clear(victim[from*format.BlockBytes : min(to*format.BlockBytes, len(victim))])
	sameObject(t, r, "victim", victim)
	sameObject(t, r, "other", other)
	fsckClean(t, r)
	says(t, repair(t, r, ""), "nothing to repair")
	must(t, r.StartNode())
	must(t, r.StopNode())
}

// newestSuper is the newest superblock of slice 0.
func newestSuper(t *testing.T, image string) (newest *format.Superblock) {
	t.Helper()
	for _, off := range superPlaces(t, image) {
		patch(t, image, off, func(b []byte) {
			p := format.Place{Device: image, Extent: format.Extent{Start: format.BlockNo(off / format.BlockBytes), Len: 1}}
			if s, err := format.DecodeSuperblock(p, b); err == nil && (newest == nil || s.Epoch > newest.Epoch) {
				newest = s
			}
		}, format.BlockBytes)
	}
	if newest == nil {
		t.Fatal("no superblock")
	}
	return newest
}

// A record of the journal that was durable has rotted: no node starts, nothing is done without --lose journal; then everything is as before that record.
func TestRepairLosesJournal(t *testing.T) {
	r := newRig(t)
	must(t, r.StartNode())
	x, err := basalt.Dial("unix:"+r.Socket(), basalt.Config{})
	must(t, err)
	kept := content(21, 200_000)
	for _, name := range []string{"kept", "lost", "later"} {
		must(t, x.WriteFile(name, kept))
		must(t, x.Sync())
	}
	must(t, x.Close())
	must(t, r.KillNode())

	var record, victim *dumped
	for _, d := range dump(t, r, "journal") {
		if d.What == "record" {
			record = &d
		}
		if victim == nil && strings.Contains(d.text, `\"lost\"`) {
			victim = record
		}
	}
	if victim == nil {
		t.Fatal("no record of the journal names the file")
	}
	flip(t, r, victim.Start*format.BlockBytes+format.JournalHeaderBytes+5)
	untouched(t, r.Image(), func() {
		refused(t, r, outcome.Damage, []string{"finding"}, "basalt", "fsck", r.Image())
		says(t, repair(t, r, "", "nothing was changed", "--lose journal"), "LOSS with --lose journal: transactions ", fmt.Sprintf("journal record %v is gone", victim.Fields["sequence"]))
		repair(t, r, "blocks,nodes", "nothing was changed", "--lose journal")
	})
	refused(t, r, outcome.Device, []string{r.Image(), "record"}, "storaged", storagedArgs(r, r.Image())...)
	says(t, repair(t, r, "journal"), "LOSS: transactions ", "store: clean")
	fsckClean(t, r)

	must(t, r.StartNode())
	x, err = basalt.Dial("unix:"+r.Socket(), basalt.Config{})
	must(t, err)
	have, err := x.ReadFile("kept")
	must(t, err)
	if string(have) != string(kept) {
		t.Error("what came before the record has changed")
	}
	for _, name := range []string{"lost", "later"} {
		if have, err := x.ReadFile(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s has %d bytes, %v", name, len(have), err)
		}
	}
	must(t, x.Close())
	must(t, r.StopNode())
	fsckClean(t, r)
}

// sliced is a rig whose image has two slices with an object in each.
func sliced(t *testing.T) (r *rig.Rig, data [2][]byte) {
	t.Helper()
	r = bareRig(t)
	r.Size, r.MkfsFlags = "320MiB", []string{"--slices", "2"}
	must(t, r.Mkfs())
	for i := range data {
		data[i] = content(uint64(31+i), 64<<10)
		putObject(t, r, "victim", data[i], "--create", "--slice", fmt.Sprint(i))
	}
	return r, data
}

// Both slices of a device are damaged: one repair names and mends both, and each slice has what it had but for what was given up.
func TestRepairOfTwoSlices(t *testing.T) {
	r, data := sliced(t)
	for i := range data {
		rot(t, r, data[i][(i+2)*4096:(i+2)*4096+512])
	}
	flip(t, r, superPlaces(t, r.Image())[1]+100)
	check, _ := r.Run("basalt", "fsck", r.Image())
	checkRefusal(t, check, outcome.Damage, []string{"2 findings"})
	first, second, _ := strings.Cut(repair(t, r, "", "2 findings"), "slice 1\n")
	says(t, first, "slice 0\n", "REPAIR a superblock copy", "LOSS with --lose blocks: block 2 of object victim")
	says(t, second, "LOSS with --lose blocks: block 3 of object victim")
	first, second, _ = strings.Cut(repair(t, r, "blocks"), "slice 1\n")
	says(t, first, "slice 0\n", "LOSS: block 2 of object victim")
	says(t, second, "LOSS: block 3 of object victim", "store: clean")
	for i := range data {
		clear(data[i][(i+2)*4096 : (i+3)*4096])
		got, err := r.Run("basalt", object(r, "get", "--slice", fmt.Sprint(i), "victim")...)
		must(t, err)
		if got.Stdout != string(data[i]) {
			t.Errorf("slice %d: the object is not what it was", i)
		}
	}
	fsckClean(t, r)
}

// One slice is of a later release, the other one is damaged: the exit code says the worse, whichever comes first.
func TestFsckEndsWithTheWorst(t *testing.T) {
	r, data := sliced(t)
	later := func(b []byte) {
		binary.LittleEndian.PutUint32(b[8:], 99) // version, as docs/FORMAT.md has it
		binary.LittleEndian.PutUint32(b[format.BlockBytes-4:], format.Crc(b[:format.BlockBytes-4]))
	}
	patch(t, r.Image(), superPlaces(t, r.Image())[0], later, format.BlockBytes)
	refused(t, r, outcome.Device, []string{"version 99"}, "basalt", "fsck", r.Image())
	rot(t, r, data[1][:512])
	untouched(t, r.Image(), func() {
		refused(t, r, outcome.Damage, []string{"version 99", "1 findings"}, "basalt", "fsck", r.Image())
		refused(t, r, outcome.Device, []string{"version 99"}, "basalt", "fsck", "--slice", "0", r.Image())
		refused(t, r, outcome.Damage, []string{"1 findings"}, "basalt", "fsck", "--slice", "1", r.Image())
	})
}
