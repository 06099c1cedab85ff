package storage

import (
	"bytes"
	"errors"
	"fmt"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/storage/format"
)

// Repair in two steps: PlanRepair looks, writes nothing and names everything; Repair does what the plan says, and gives up only what the wish
// allows. What it writes is a copy of the label where there is a good one, and otherwise what every mount writes: a checkpoint, transactions, a checkpoint. So a
// power cut leaves the state before a step or after it, and a second repair goes on from there. What makes a torn tree whole is in regrow.go and reconcile.go.

// RepairWish is what an operator is ready to give up.
type RepairWish struct {
	Blocks  bool // data blocks that cannot be read become holes, and changes of parts of such blocks that wait in the journal are dropped
	Journal bool // the log ends before the first record that has rotted
	Nodes   bool // a new tree is made of what can be read of the old one

	// Unmapped: blocks that only lost nodes name may be overwritten, because nobody knows which these are; so that nothing is found there if the
	// lost nodes can be read some day.
	Unmapped bool

	Foreign bool // what others have written over a copy of our label is written over in turn
}

// RepairPlan is what a repair would do.
type RepairPlan struct {
	Report  *FsckReport
	Fixes   []string // what it makes good; nothing is lost by it
	Losses  Losses   // what it gives up if that is wished
	Foreign []string // what others have written over our labels, and a repair that may do that writes over in turn
	Refused []string // what it cannot do anything about; then it does nothing at all
	Done    []string // filled by Repair: what it did about objects of which a part of the tree's records was lost

	labels  []Extent // copies to be written
	ring    []BlockNo
	rebuild bool // the space map
	mounts  bool // there is something to be done that a mount does
}

// Nothing tells whether there is nothing to be done.
func (p *RepairPlan) Nothing() bool {
	return len(p.Fixes) == 0 && p.Losses.None() && len(p.Refused) == 0
}

// Wanting lists which wish is missing for what cannot be left as it is.
func (p *RepairPlan) Wanting(w RepairWish) (missing []string) {
	if p.Losses.Tail != nil && !w.Journal {
		missing = append(missing, "journal")
	}
	if len(p.Losses.Patches) > 0 && !w.Blocks {
		missing = append(missing, "blocks")
	}
	if len(p.Losses.Ranges) > 0 && !w.Nodes {
		missing = append(missing, "nodes")
	}
	if p.Losses.Unmapped > 0 && !w.Unmapped {
		missing = append(missing, "unmapped")
	}
	if len(p.Foreign) > 0 && !w.Foreign {
		missing = append(missing, "foreign")
	}
	return missing
}

// PlanRepair looks what is wrong with a slice that nobody has mounted, and what could be done about it.
func PlanRepair(f *engine.Fiber, h *device.Handle, slice int, opt Options) (*RepairPlan, error) {
	sv := &salvage{}
	rep, err := fsck(f, h, slice, opt, sv)
	if err != nil {
		return nil, err
	}
	p := &RepairPlan{Report: rep, Losses: sv.losses, ring: sv.ring, mounts: len(sv.ring) > 0}
	if len(sv.ring) > 0 {
		p.Fixes = append(p.Fixes, fmt.Sprintf("zeros are written to blocks %v of the journal, which cannot be read", sv.ring))
	}
	if err := p.copies(f, h); err != nil {
		return nil, err
	}
	if rep.More > 0 {
		p.Fixes = append(p.Fixes, fmt.Sprintf("%d findings are too many for this list, and stay as they are: repair again afterwards", rep.More))
	}
	for _, x := range rep.Findings {
		switch x.Kind {
		case FoundBlock:
			p.Losses.Blocks = append(p.Losses.Blocks, x)
		case FoundMap:
			if !p.rebuild {
				p.Fixes = append(p.Fixes, "the space map is made anew from the tree: what nothing names becomes free, what is named does not count as free")
			}
			p.rebuild, p.mounts = true, true
		case FoundJournal, FoundNode: // in Losses already
		default:
			p.Refused = append(p.Refused, x.String())
		}
	}
	if rep.beyond != nil {
		p.Refused = append(p.Refused, rep.beyond.String())
	}
	return p, nil
}

// copies plans for the copies of labels and superblocks of which others are good.
func (p *RepairPlan) copies(f *engine.Fiber, h *device.Handle) error {
	label, err := readLabel(f, h, &MountReport{})
	if err != nil {
		return nil // that is a finding
	}
	buf, err := f.Reactor().Arena().Get(format.LabelBytes)
	if err != nil {
		return err
	}
	defer f.Reactor().Arena().Put(buf)
	mem := f.Reactor().Arena().Bytes(buf)
	unread := 0 // copies of the label that the report counts before those of the superblocks
	for _, e := range format.LabelPlaces(label.Blocks) {
		l, err := labelAt(f, h, e, mem)
		if err != nil {
			unread++
		} else if l.Generation != label.Generation {
			err = fmt.Errorf("it is of generation %d, the newest is %d", l.Generation, label.Generation)
		}
		if err != nil {
			p.labels = append(p.labels, e)
			p.Fixes = append(p.Fixes, fmt.Sprintf("the label copy at blocks %v is written anew from the other one: %v", e, err))
			found, err := foreign(f, h, label, e)
			if err != nil {
				return err
			}
			if found != "" {
				p.Foreign = append(p.Foreign, fmt.Sprintf("%s shows at that end of the device: blocks %v of it are written over", found, e))
			}
		}
	}
	for _, bad := range p.Report.Mount.Bad[min(unread, len(p.Report.Mount.Bad)):] {
		p.mounts = true
		p.Fixes = append(p.Fixes, "a superblock copy is written anew: "+bad)
	}
	return nil
}

// Repair does what a plan says and the wish allows.
func Repair(f *engine.Fiber, h *device.Handle, slice int, opt Options, p *RepairPlan, w RepairWish) error {
	switch missing := p.Wanting(w); {
	case len(p.Refused) > 0:
		return fmt.Errorf("storage: %s has damage that no repair mends; nothing was changed: %s", h.Name(), p.Refused[0])
	case len(missing) > 0:
		return fmt.Errorf("storage: %s cannot be mounted without a loss that was not wished (%v); nothing was changed", h.Name(), missing)
	}
	if err := p.writeLabels(f, h); err != nil {
		return err
	}
	lost := w.Blocks && len(p.Losses.Blocks) > 0
	torn := len(p.Losses.Ranges) > 0
	if !p.mounts && p.Losses.Tail == nil && len(p.Losses.Patches) == 0 && !lost && !torn {
		return nil
	}
	sv := &salvage{rebuild: p.rebuild, named: &p.Losses, wish: w, holes: lost}
	s, _, err := mount(f, h, slice, opt, sv)
	if err != nil {
		return err
	}
	p.Done = sv.done
	if lost {
		err = s.loseBlocks(f, p.Losses.Blocks)
	}
	if err = errors.Join(err, s.Unmount(f)); err != nil {
		return err
	}
	if err = p.writeRing(f, h); err != nil || !torn && p.Losses.Tail == nil {
		return err
	}
	// What the lost part of the tree or of the journal named, and the old tree itself, nothing names any more.
	if s, _, err = mount(f, h, slice, opt, &salvage{rebuild: true, named: &Losses{}}); err != nil {
		return err
	}
	return s.Unmount(f)
}

// writeRing makes unreadable blocks of the journal readable, if a write does. The ring is empty: the store was unmounted.
func (p *RepairPlan) writeRing(f *engine.Fiber, h *device.Handle) error {
	if len(p.ring) == 0 {
		return nil
	}
	buf, err := f.Reactor().Arena().Get(format.BlockBytes)
	if err != nil {
		return err
	}
	defer f.Reactor().Arena().Put(buf)
	mem := f.Reactor().Arena().Bytes(buf)
	clear(mem)
	for _, no := range p.ring {
		if err := h.Write(f, mem, offsetOf(no)); err != nil {
			return err
		}
	}
	return h.Flush(f)
}

// writeLabels writes the bad copies from the good one.
func (p *RepairPlan) writeLabels(f *engine.Fiber, h *device.Handle) error {
	if len(p.labels) == 0 {
		return nil
	}
	label, err := readLabel(f, h, &MountReport{})
	if err != nil {
		return err
	}
	buf, err := f.Reactor().Arena().Get(format.LabelBytes)
	if err != nil {
		return err
	}
	defer f.Reactor().Arena().Put(buf)
	mem := f.Reactor().Arena().Bytes(buf)
	for _, e := range p.labels {
		label.Self = e.Start
		label.Encode(mem)
		if err := h.Write(f, mem, e.Offset()); err != nil {
			return err
		}
	}
	return h.Flush(f)
}

// loseBlocks makes holes of blocks that are as unreadable as they were. One that can be read now, or is the object's no more, stays.
func (s *Store) loseBlocks(f *engine.Fiber, list []Finding) error {
	buf, err := s.arena.Get(format.BlockBytes)
	if err != nil {
		return err
	}
	defer s.arena.Put(buf)
	for i := range list {
		x := &list[i]
		at, err := s.onDevice(f, x.Coll, x.Object, x.Block, x.Block+1)
		if err != nil {
			return err
		}
		if len(at) != 1 || at[0].ref.no != x.Extent.Start {
			continue
		}
		if err := s.readVerified(f, s.arena.Bytes(buf), at[0].ref); err == nil || !isDamage(err) {
			continue
		}
		_, err = s.Update(f, func(tx *Tx) error {
			return tx.Punch(x.Coll, bytes.Clone(x.Object), x.Block*format.BlockBytes, format.BlockBytes)
		})
		if err != nil {
			return err
		}
	}
	return s.Commit(f, s.Applied())
}
