package node

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"time"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/meta"
	"basalt/storage"
	"basalt/tools/outcome"
)

// bytesMin is the smallest slice: the journal takes 64 MiB, and a reserve for deletes and folds must fit beside it.
const bytesMin = 128 << 20

// FormatConfig is what mkfs decides.
type FormatConfig struct {
	Device       string
	Bytes        int64 // of an image file that is to be made; 0: the device is there
	Force        bool
	Slices       int   // one for each shard; 0: one
	JournalBytes int64 // of each
	NodeBytes    int
	Groups       int
}

// Format makes a store with an empty file system. An image file that it made, it removes again if it fails.
func Format(cfg FormatConfig) (err error) {
	made := false
	cfg.Slices = max(cfg.Slices, 1)
	if cfg.Bytes > 0 {
		if err := checkSlices(&cfg, cfg.Bytes, "would be"); err != nil {
			return err
		}
	}
	if cfg.Bytes > 0 {
		if made, err = createImage(cfg); err != nil {
			return err
		}
	}
	defer func() {
		if made && err != nil {
			os.Remove(cfg.Device) // the error that counts is on its way
		}
	}()
	found := false
	dev, err := device.Open(cfg.Device, device.Options{Force: cfg.Force, BytesMin: bytesMin, Own: func(head []byte) bool {
		found = ours(head)
		return found
	}})
	if err != nil {
		return explainDevice(cfg.Device, err)
	}
	if found && !cfg.Force {
		return errors.Join(outcome.New(outcome.Device, "%s already carries a Basalt store: basalt mkfs --force would destroy it", cfg.Device), dev.Close())
	}
	if err := checkSlices(&cfg, dev.Bytes(), "is"); err != nil {
		return errors.Join(err, dev.Close())
	}
	err = briefly(func(f *engine.Fiber) error { return makeStores(f, dev, cfg) })
	return errors.Join(err, dev.Close())
}

// checkSlices refuses slices that no store fits into.
func checkSlices(cfg *FormatConfig, bytes int64, verb string) error {
	switch {
	case bytes < bytesMin:
		return outcome.New(outcome.Device, "%s %s too small: a store needs at least %d MiB", cfg.Device, verb, bytesMin>>20)
	case bytes/int64(cfg.Slices) < bytesMin:
		return outcome.New(outcome.Device, "%s %s too small for %d slices: each needs at least %d MiB, so it may have %d", cfg.Device, verb, cfg.Slices, bytesMin>>20, bytes/bytesMin)
	}
	return nil
}

// createImage makes the file; one that exists is used if it has the size that was asked for.
func createImage(cfg FormatConfig) (made bool, err error) {
	if info, err := os.Stat(cfg.Device); err == nil {
		if info.Mode().IsRegular() && info.Size() != cfg.Bytes {
			return false, outcome.New(outcome.Device, "%s exists and has %d bytes, not %d: remove it, or leave --size away to use it as it is", cfg.Device, info.Size(), cfg.Bytes)
		}
		return false, nil
	}
	err = device.Create(cfg.Device, cfg.Bytes)
	if errors.Is(err, syscall.EOPNOTSUPP) {
		return false, outcome.New(outcome.Device, "make the image: %w: the file system that holds it has no fallocate, and likely no O_DIRECT; put the image on ext4, xfs or btrfs, or use a block device", err)
	}
	if err != nil {
		return false, outcome.New(outcome.Failed, "make the image: %w", err)
	}
	return true, nil
}

// makeStores runs on the column.
func makeStores(f *engine.Fiber, dev *device.Device, cfg FormatConfig) error {
	h, err := dev.Attach(f.Turn())
	if err != nil {
		return err
	}
	defer h.Detach(f.Turn())
	var uuid [16]byte
	if _, err := rand.Read(uuid[:]); err != nil {
		return err
	}
	if err := storage.Format(f, h, storage.FormatOptions{UUID: uuid, Slices: cfg.Slices, JournalBytes: cfg.JournalBytes, NodeBytes: cfg.NodeBytes}); err != nil {
		return outcome.New(outcome.Device, "%s cannot be formatted: %w", cfg.Device, err)
	}
	for slice := range cfg.Slices {
		if err := makeNamespace(f, h, slice, cfg); err != nil {
			return err
		}
	}
	return nil
}

// makeNamespace makes a slice's own file system.
func makeNamespace(f *engine.Fiber, h *device.Handle, slice int, cfg FormatConfig) error {
	var id [16]byte
	var seed [8]byte
	for _, b := range [][]byte{id[:], seed[:]} {
		if _, err := rand.Read(b); err != nil {
			return err
		}
	}
	store, _, err := storage.Mount(f, h, slice, storage.Options{})
	if err != nil {
		return explainStore(cfg.Device, err)
	}
	err = meta.Format(f, store, meta.FormatOptions{
		ID: id, Seed: binary.LittleEndian.Uint64(seed[:]), Groups: uint32(cfg.Groups), UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), WallNs: time.Now().UnixNano(),
	})
	return errors.Join(err, store.Unmount(f))
}

// SliceReport is what the offline check has found of one slice.
type SliceReport struct {
	Slice int
	Store *storage.FsckReport
	Names *meta.Report // nil: the store is not sound, so nobody looked
	Err   error        // it could not be looked at, or is refused; then what was found is no damage
}

// EverySlice has Check look at all of them.
const EverySlice = -1

// Check is the offline check of a slice, or of EverySlice, read-only, the journals replayed in memory: of the store, and if that is sound of
// the namespace on it. A slice that cannot be looked at does not keep it from the others.
func Check(path string, slice int) (reports []SliceReport, err error) {
	dev, err := openDevice(path, true)
	if err != nil {
		return nil, err
	}
	err = briefly(func(f *engine.Fiber) error {
		h, err := dev.Attach(f.Turn())
		if err != nil {
			return err
		}
		defer h.Detach(f.Turn())
		first, end := slice, slice+1
		if slice == EverySlice {
			first, end = 0, 1
			if label, err := storage.ReadLabel(f, h); err == nil { // else the check of the first says what is wrong
				end = int(label.Slices)
			}
		}
		var errs []error
		for n := first; n < end; n++ {
			report, err := checkSlice(f, h, path, n)
			if report.Err = err; report.Store != nil {
				reports = append(reports, report)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	return reports, errors.Join(err, dev.Close())
}

func checkSlice(f *engine.Fiber, h *device.Handle, path string, slice int) (r SliceReport, err error) {
	r.Slice = slice
	r.Store, err = storage.Fsck(f, h, slice, storage.Options{})
	if errors.Is(err, device.ErrShort) {
		err = explainStore(path, err)
	}
	if err != nil {
		return r, err
	}
	if len(r.Store.Findings) > 0 {
		return r, refusal(path, r.Store.Findings[0].Err)
	}
	s, _, err := storage.Mount(f, h, slice, storage.Options{ReadOnly: true})
	if err != nil {
		return r, err
	}
	r.Names, err = meta.Check(f, s)
	return r, errors.Join(err, s.Unmount(f))
}

// briefly runs fn on a column that exists only for it, with memory for a store.
func briefly(fn func(f *engine.Fiber) error) error {
	return on(cacheDefault+deltaDefault+flightBytes, fn)
}

// on runs fn on a column that exists only for it.
func on(arenaBytes int, fn func(f *engine.Fiber) error) error {
	reactor, err := engine.New(engine.Config{Name: "offline", CPU: -1, ArenaBytes: arenaBytes})
	if err != nil {
		return err
	}
	if err := reactor.Start(fn); err != nil {
		return err
	}
	reactor.Stop()
	return reactor.Wait()
}
