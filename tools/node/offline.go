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

// bytesMin is the smallest device: the journal takes 64 MiB, and a reserve for deletes and folds must fit beside it.
const bytesMin = 128 << 20

// FormatConfig is what mkfs decides.
type FormatConfig struct {
	Device       string
	Bytes        int64 // of an image file that is to be made; 0: the device is there
	Force        bool
	JournalBytes int64
	NodeBytes    int
	Groups       int
}

// Format makes a store with an empty file system. An image file that it made, it removes again if it fails.
func Format(cfg FormatConfig) (err error) {
	made := false
	if cfg.Bytes > 0 && cfg.Bytes < bytesMin {
		return outcome.New(outcome.Device, "%s would be too small: a store needs at least %d MiB", cfg.Device, bytesMin>>20)
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
	err = briefly(func(f *engine.Fiber) error { return makeStore(f, dev, cfg) })
	return errors.Join(err, dev.Close())
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

// makeStore runs on the column.
func makeStore(f *engine.Fiber, dev *device.Device, cfg FormatConfig) error {
	h, err := dev.Attach(f.Turn())
	if err != nil {
		return err
	}
	defer h.Detach(f.Turn())
	var uuid, id [16]byte
	var seed [8]byte
	for _, b := range [][]byte{uuid[:], id[:], seed[:]} {
		if _, err := rand.Read(b); err != nil {
			return err
		}
	}
	if err := storage.Format(f, h, storage.FormatOptions{UUID: uuid, JournalBytes: cfg.JournalBytes, NodeBytes: cfg.NodeBytes}); err != nil {
		return outcome.New(outcome.Device, "%s cannot be formatted: %w", cfg.Device, err)
	}
	store, _, err := storage.Mount(f, h, 0, storage.Options{})
	if err != nil {
		return explainStore(cfg.Device, err)
	}
	err = meta.Format(f, store, meta.FormatOptions{
		ID: id, Seed: binary.LittleEndian.Uint64(seed[:]), Groups: uint32(cfg.Groups), UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), WallNs: time.Now().UnixNano(),
	})
	return errors.Join(err, store.Unmount(f))
}

// Check is the offline check, read-only, the journal replayed in memory: of the store, and if that is sound of the namespace on it.
func Check(path string) (store *storage.FsckReport, names *meta.Report, err error) {
	dev, err := openDevice(path, true)
	if err != nil {
		return nil, nil, err
	}
	err = briefly(func(f *engine.Fiber) (err error) {
		h, err := dev.Attach(f.Turn())
		if err != nil {
			return err
		}
		defer h.Detach(f.Turn())
		if store, err = storage.Fsck(f, h, 0, storage.Options{}); err != nil {
			return err
		}
		if len(store.Findings) > 0 {
			return refusal(path, store.Findings[0].Err)
		}
		s, _, err := storage.Mount(f, h, 0, storage.Options{ReadOnly: true})
		if err != nil {
			return err
		}
		names, err = meta.Check(f, s)
		return errors.Join(err, s.Unmount(f))
	})
	return store, names, errors.Join(err, dev.Close())
}

// briefly runs fn on a column that exists only for it.
func briefly(fn func(f *engine.Fiber) error) error {
	reactor, err := engine.New(engine.Config{Name: "offline", CPU: -1, ArenaBytes: cacheDefault + deltaDefault + flightBytes})
	if err != nil {
		return err
	}
	if err := reactor.Start(fn); err != nil {
		return err
	}
	reactor.Stop()
	return reactor.Wait()
}
