package node

import (
	"fmt"
	"strings"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/storage"
	"basalt/storage/format"
	"basalt/tools/outcome"
)

// What Config.Discard may be.
const (
	DiscardAuto = "auto" // block devices that can; "" is the same
	DiscardOn   = "on"   // image files too; refused where the device cannot
	DiscardOff  = "off"
)

// discards decides whether the store tells the device what is free. An image file is left alone unless that is asked for: where it has holes a
// write allocates again, which takes time and may fail.
func discards(how string, d *device.Device) (bool, error) {
	g := d.Geometry()
	switch {
	case how == DiscardOff:
		return false, nil
	case how == DiscardOn && !g.Discard:
		return false, outcome.New(outcome.Device, "%s cannot discard (its queue/discard_max_bytes is 0): leave --discard at auto", d.Name())
	case how == DiscardOn:
		return true, nil
	}
	return g.Block && g.Discard, nil
}

// watchDiscards logs how the device is told, and when that ends, and gives the status its words.
func (s *shard) watchDiscards() (about string) {
	st := s.store.Stats().Discard
	if about = st.By; st.By != device.DiscardNone.String() {
		about = fmt.Sprintf("by %s, %d KiB at least", st.By, st.ChunkBytes>>10)
	}
	s.log.Info("free space is discarded", "how", about)
	s.store.OnDiscardFail(func(_ *engine.Turn, err error) {
		s.log.Warn("free space is not discarded any more: a discard failed; all else goes on", "error", err)
	})
	return about
}

// howDiscarded tells for each device how it is told what is free.
func (n *Node) howDiscarded() string {
	var how []string
	for _, s := range n.shards {
		switch {
		case s.slice > 0:
		case len(n.disks) == 1:
			how = append(how, s.discard)
		default:
			how = append(how, s.disk.path+": "+s.discard)
		}
	}
	return strings.Join(how, "; ")
}

// discardNumbers are the counters and gauges of the discards.
func discardNumbers(v map[string]float64, st *storage.Stats) {
	v["discarding"] = 0
	if st.Discard.By != device.DiscardNone.String() && st.Discard.Why == "" {
		v["discarding"] = 1
	}
	v["discards_total"], v["discarded_total"], v["discard_errors_total"] = float64(st.Discards), float64(st.DiscardedBytes), float64(st.DiscardErrors)
	v["discard_waiting_bytes"], v["discard_in_flight_bytes"] = float64(st.Discard.Marked), float64(st.Discard.HeldBlocks*format.BlockBytes)
	v["discard_marks_bytes"] = float64(st.Discard.MarkBytes)
}
