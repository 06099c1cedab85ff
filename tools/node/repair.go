package node

import (
	"errors"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/storage"
	"basalt/tools/outcome"
)

// Repair looks what is wrong with a slice, or EverySlice, of a device that no node uses, lets agree say whether to go on and what may be given up,
// mends it, and tells done. The device is held all the time, so that nobody changes it in between. A slice that cannot be mended does not keep it
// from the others.
func Repair(path string, slice int, done func(p *storage.RepairPlan), agree func(slice int, p *storage.RepairPlan) (storage.RepairWish, error)) (err error) {
	dev, err := openOverwritten(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dev.Close()) }()
	first, end := slice, slice+1
	if slice == EverySlice {
		first, end = 0, 1
		err := attached(dev, func(f *engine.Fiber, h *device.Handle) error {
			if label, err := storage.ReadLabel(f, h); err == nil { // else the plan for the first says what is wrong
				end = int(label.Slices)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	var errs []error
	for n := first; n < end; n++ {
		errs = append(errs, repairSlice(dev, path, n, done, agree))
	}
	return errors.Join(errs...)
}

func repairSlice(dev *device.Device, path string, slice int, done func(p *storage.RepairPlan), agree func(slice int, p *storage.RepairPlan) (storage.RepairWish, error)) error {
	var plan *storage.RepairPlan
	err := attached(dev, func(f *engine.Fiber, h *device.Handle) (err error) {
		plan, err = storage.PlanRepair(f, h, slice, storage.Options{})
		return err
	})
	if err != nil {
		return explainStore(path, err)
	}
	if found := plan.Report.Findings; len(found) > 0 {
		if err := refusal(path, found[0].Err); err != nil {
			return err
		}
	}
	wish, err := agree(slice, plan)
	if err != nil || plan.Nothing() {
		return err
	}
	err = attached(dev, func(f *engine.Fiber, h *device.Handle) error {
		return storage.Repair(f, h, slice, storage.Options{}, plan, wish)
	})
	done(plan) // with an error too: what it says is durable by then
	if err != nil {
		return outcome.New(outcome.Damage, "repair of %s: %w", path, err)
	}
	return nil
}

// attached runs fn on a column that exists only for it and has the device.
func attached(dev *device.Device, fn func(f *engine.Fiber, h *device.Handle) error) error {
	return briefly(func(f *engine.Fiber) error {
		h, err := dev.Attach(f.Turn())
		if err != nil {
			return err
		}
		defer h.Detach(f.Turn())
		return fn(f, h)
	})
}
