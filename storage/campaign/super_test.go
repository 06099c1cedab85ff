package campaign

import (
	"errors"
	"testing"

	"basalt/engine/device"
	"basalt/storage/format"
)

// Superblock slots that cannot be read: one copy of each is enough to mount; without both copies of a slot nobody can tell
// which is the newer one, and a mount must refuse. (One went back to the older superblock, and undid what was committed.)
func TestUnreadableSuperblockIsNotTheOlder(t *testing.T) {
	p := plan{disk: 8 << 20, journal: 256 << 10, node: 8 << 10, opt: tiny(), fibers: 2, txns: 30, actions: 6}
	for _, c := range []struct {
		name   string
		damage [][2]int // slot, copy
		mounts bool
	}{
		{"slot 0", [][2]int{{0, 0}, {0, 1}}, false},
		{"slot 1", [][2]int{{1, 0}, {1, 1}}, false},
		{"first copies", [][2]int{{0, 0}, {1, 0}}, true},
		{"second copies", [][2]int{{0, 1}, {1, 1}}, true},
		{"one of each", [][2]int{{0, 0}, {1, 1}}, true},
	} {
		m := newModel()
		l, err := begin(p, 1, nil, m)
		for _, step := range []func() error{l.format, l.mount, l.makeCollections, l.workload, func() error { return l.bad }, l.unmount} {
			if err == nil {
				err = step()
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		applied, disk := uint64(l.s.Applied()), l.disk.AfterPowerLoss()
		l.end()
		label, err := format.PlanLabel([16]byte{1}, uint64(p.disk)/format.BlockBytes, 1)
		if err != nil {
			t.Fatal(err)
		}
		places := format.SuperPlaces(label.Slice(0)[0])
		for _, d := range c.damage {
			disk.Damage(int64(places[d[0]][d[1]])*format.BlockBytes, format.SuperBytes)
		}
		if l, err = begin(p, 2, disk, m); err != nil {
			t.Fatal(err)
		}
		err = l.mount()
		var io *device.IOError
		switch {
		case c.mounts && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case !c.mounts && !errors.As(err, &io):
			t.Errorf("%s: the mount says %v", c.name, err)
		case c.mounts:
			if _, err := l.verify(applied, applied); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		l.end()
	}
}
