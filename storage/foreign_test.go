package storage

import (
	"strings"
	"testing"

	"basalt/storage/format"
)

// What another tool has written over a label is named before a repair writes over it, at both ends of the device; what is just rotten, or unknown, has no name.
func TestRepairNamesForeignContent(t *testing.T) {
	a, want := stored(t, 671)
	size := a.disk.Bytes()
	for name, c := range map[string]struct {
		spoil func(b *bench)
		found string // empty: nothing known
	}{
		"a file system at the beginning": {func(b *bench) {
			b.disk.WriteAt(make([]byte, format.LabelBytes), 0)
			b.disk.WriteAt([]byte("XFSB"), 0)
		}, "an XFS file system"},
		"md, which leaves our first bytes alone": {func(b *bench) { b.disk.WriteAt([]byte("\xfc\x4e\x2b\xa9\x01"), 4096) }, "an md RAID member"},
		"swap, over a part of it": {func(b *bench) {
			b.disk.WriteAt(make([]byte, blockSize), 0)
			b.disk.WriteAt([]byte("SWAPSPACE2"), 4086)
		}, "swap space"},
		"a partition table at the end": {func(b *bench) {
			b.disk.WriteAt(make([]byte, format.LabelBytes), size-format.LabelBytes)
			b.disk.WriteAt([]byte("EFI PART"), size-512)
		}, "a GPT partition table"},
		"zeros":            {func(b *bench) { b.disk.WriteAt(make([]byte, format.LabelBytes), 0) }, ""},
		"rot":              {func(b *bench) { b.disk.Flip(70, 1) }, ""},
		"EIO":              {func(b *bench) { b.disk.Damage(0, blockSize) }, ""},
		"rot at the end":   {func(b *bench) { b.disk.Flip(size-format.LabelBytes+70, 1) }, ""},
		"zeros at the end": {func(b *bench) { b.disk.WriteAt(make([]byte, format.LabelBytes), size-format.LabelBytes) }, ""},
	} {
		b := a.reboot(672)
		c.spoil(b)
		p := b.plan()
		if len(p.Fixes) != 1 || !p.Losses.None() || len(p.Refused) > 0 {
			t.Fatalf("%s: %+v", name, p)
		}
		if all := strings.Join(p.Foreign, "\n"); (c.found == "") != (all == "") || !strings.HasPrefix(all, c.found) {
			t.Errorf("%s: it is called %q", name, all)
		}
		if err := b.repair(p, RepairWish{}); (err == nil) != (c.found == "") {
			t.Errorf("%s: without consent to writing over it: %v", name, err)
		}
		b.must(b.repair(b.plan(), RepairWish{Foreign: true}))
		if rep := b.fsck(); len(rep.Mount.Bad) > 0 {
			t.Errorf("%s: still bad: %v", name, rep.Mount.Bad)
		}
		b.mount()
		if d := differences(b.contents(), want); len(d) > 0 {
			t.Errorf("%s: %v", name, d)
		}
		b.unmount()
	}
}
