package node

import (
	"testing"

	"basalt/engine/device"
	"basalt/tools/outcome"
)

// Image files are left alone unless they are meant, and a device that cannot is refused only where it was asked for.
func TestWhatDiscards(t *testing.T) {
	file, sparse := device.Geometry{Bytes: 1 << 30}, device.Geometry{Bytes: 1 << 30, Discard: true}
	disk, old := device.Geometry{Bytes: 1 << 30, Block: true, Discard: true}, device.Geometry{Bytes: 1 << 30, Block: true}
	for _, x := range []struct {
		how     string
		on      device.Geometry
		want    bool
		refused bool
	}{
		{DiscardAuto, file, false, false}, {DiscardAuto, sparse, false, false}, {DiscardAuto, disk, true, false}, {DiscardAuto, old, false, false},
		{"", disk, true, false}, {"", old, false, false},
		{DiscardOn, sparse, true, false}, {DiscardOn, disk, true, false}, {DiscardOn, old, false, true},
		{DiscardOff, sparse, false, false}, {DiscardOff, disk, false, false}, {DiscardOff, old, false, false},
	} {
		got, err := discards(x.how, device.New(-1, x.on, "a device"))
		if got != x.want || (err != nil) != x.refused || err != nil && outcome.CodeOf(err) != outcome.Device {
			t.Errorf("%s on %+v: %v, %v", x.how, x.on, got, err)
		}
	}
}
