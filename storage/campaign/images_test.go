package campaign

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/sim"
	"basalt/storage"
	"basalt/storage/format"
)

// Images of stores of each format version lie in testdata/images/v<version>, with what is on them beside. Today's code must
// still read them so, or refuse them with the reason that is recorded. makeimages_test.go makes those of the version that the
// code writes.

const (
	imageDir      = "testdata/images"
	imageBytesMax = 200 << 10 // of all images, compressed
)

// imagePlan is how a store on an image is used.
func imagePlan() plan {
	p := plan{seed: 1, disk: 3 << 20, journal: 128 << 10, node: 8 << 10, opt: tiny()}
	p.opt.TxnRecordMax, p.opt.GroupRecordMax = 32<<10, 64<<10
	return p
}

// Every image is as it was: what the check finds, whether it can be mounted, and each key and byte.
func TestImagesOfEveryFormat(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(imageDir, "v*", "*.img.gz"))
	if err != nil {
		t.Fatal(err)
	}
	current, total := 0, int64(0)
	for _, name := range names {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(name, imageDir+"/"), ".img.gz"), func(t *testing.T) {
			text, err := os.ReadFile(strings.TrimSuffix(name, ".img.gz") + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			have, err := describe(readImage(t, name))
			if err != nil {
				t.Fatal(err)
			}
			if have != string(text) {
				t.Errorf("%s", firstDifference(have, string(text)))
			}
		})
		if info, err := os.Stat(name); err == nil {
			total += info.Size()
		}
		if strings.HasPrefix(name, versionDir()) {
			current++
		}
	}
	if current < len(imageKinds) {
		t.Errorf("format version %d has %d images, want %d: %s", format.Version, current, len(imageKinds), makeThem)
	}
	if total > imageBytesMax {
		t.Errorf("all images have %d bytes, at most %d are for them", total, imageBytesMax)
	}
}

// A sound image is not only read: the store on it goes on, and leaves nothing for the check to find.
func TestImagesGoOn(t *testing.T) {
	for _, k := range imageKinds {
		if k.damaged {
			continue
		}
		disk := readImage(t, filepath.Join(versionDir(), k.name+".img.gz"))
		l, err := begin(imagePlan(), 2, disk, newModel())
		if err != nil {
			t.Fatal(err)
		}
		defer l.end()
		last := uint64(0)
		for _, step := range []func() error{l.mount,
			func() error {
				return l.do(func(f *engine.Fiber) (err error) { last, err = l.recovered(f); return err })
			},
			func() error {
				return l.do(func(f *engine.Fiber) error {
					seq, err := l.s.Update(f, func(tx *storage.Tx) error { return tx.Write(1, []byte("small"), 5000, []byte("goes on")) })
					if err == nil && uint64(seq) != last+1 {
						err = fmt.Errorf("transaction %d came after %d", seq, last)
					}
					return err
				})
			}, l.unmount, l.fsck} {
			if err := step(); err != nil {
				t.Fatalf("%s: %v", k.name, err)
			}
		}
	}
}

func versionDir() string { return filepath.Join(imageDir, fmt.Sprintf("v%d", format.Version)) }

// readImage puts an image on a simulated disk.
func readImage(t *testing.T, name string) *sim.Disk {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatalf("%v: %s", err, makeThem)
	}
	defer file.Close()
	zip, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	const bytesMax = 64 << 20
	content, err := io.ReadAll(io.LimitReader(zip, bytesMax))
	if err != nil {
		t.Fatal(err)
	}
	disk := sim.NewWorld(1).Disk("image", int64(len(content)))
	disk.WriteAt(content, 0)
	return disk
}

// describe says everything about a store on a disk, in words that do not change with a message.
func describe(disk *sim.Disk) (string, error) {
	p := imagePlan()
	p.opt.ReadOnly = true
	l, err := begin(p, 1, disk, newModel())
	if err != nil {
		return "", err
	}
	defer l.end()
	var out strings.Builder
	err = l.do(func(f *engine.Fiber) error {
		check, err := storage.Fsck(f, l.h, 0, l.p.opt)
		if err != nil {
			fmt.Fprintf(&out, "check: refused: %s\n", kindOf(err))
		} else {
			describeCheck(&out, check)
		}
		s, rep, err := storage.Mount(f, l.h, 0, l.p.opt)
		if err != nil {
			fmt.Fprintf(&out, "mount: refused: %s\n", kindOf(err))
			return nil
		}
		l.s = s
		fmt.Fprintf(&out, "mount: superblock %d, clean %v, %d bad copies, map rebuilt %v; %d records with %d transactions replayed, the log was cut %v\n",
			rep.Epoch, rep.Clean, len(rep.Bad), rep.MapRebuilt != "", rep.Records, rep.Transactions, rep.Cut != "")
		for c := 1; c <= colls; c++ {
			if err := l.describeCollection(f, &out, c); err != nil {
				return err
			}
		}
		return s.Unmount(f)
	})
	return out.String(), err
}

func describeCheck(out io.Writer, r *storage.FsckReport) {
	fmt.Fprintf(out, "check: %d nodes, %d keys, %d objects, %d extents; blocks: %d data, %d values, %d free; %d findings\n",
		r.Nodes, r.Keys, r.Objects, r.Extents, r.DataBlocks, r.ValueBlocks, r.FreeBlocks, len(r.Findings))
	if r.Shares > 0 {
		fmt.Fprintf(out, "check: %d records of shared blocks\n", r.Shares)
	}
	for _, x := range r.Findings {
		kind := x.What
		if known(x.Err) {
			kind = kindOf(x.Err)
		}
		fmt.Fprintf(out, "finding at %v: %s\n", x.Extent, kind)
	}
}

func kindOf(err error) string {
	var bad *format.CorruptError
	var rot *storage.RotError
	var io *device.IOError
	switch {
	case errors.As(err, &rot):
		return fmt.Sprintf("journal record %d was durable and is not readable, record %d proves it", rot.Record, rot.Proof)
	case errors.As(err, &bad):
		return fmt.Sprintf("corrupt at %v: %s", bad.Extent, bad.What)
	case errors.As(err, &io):
		return fmt.Sprintf("device error: %s at %d", io.Op, io.Off)
	}
	return err.Error()
}

func (l *life) describeCollection(f *engine.Fiber, out io.Writer, c int) error {
	var keys bytes.Buffer
	err := l.s.View(f, func(tx *storage.Tx) error {
		keys.Reset()
		if !tx.HasCollection(storage.Coll(c)) {
			return nil
		}
		return tx.Scan(storage.Coll(c), nil, nil, 0, func(key, val []byte) bool {
			fmt.Fprintf(&keys, "key %d/%s: %d bytes, crc %08x\n", c, key, len(val), format.Crc(val))
			return true
		})
	})
	fmt.Fprintf(out, "%s", keys.Bytes())
	if err != nil {
		fmt.Fprintf(out, "the keys of %d end here: %s\n", c, kindOf(err))
	}
	for _, name := range imageObjects {
		if err := l.describeObject(f, out, c, name); err != nil {
			return err
		}
	}
	return nil
}

func (l *life) describeObject(f *engine.Fiber, out io.Writer, c int, name string) error {
	var info storage.ObjectInfo
	var color []byte
	err := l.s.View(f, func(tx *storage.Tx) (err error) {
		if info, err = tx.Stat(storage.Coll(c), []byte(name)); err != nil {
			return err
		}
		color, err = tx.GetAttr(storage.Coll(c), []byte(name), []byte("color"))
		color = bytes.Clone(color)
		if errors.Is(err, storage.ErrNotFound) {
			err = nil
		}
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		fmt.Fprintf(out, "object %d/%s: %s\n", c, name, kindOf(err))
		return nil
	}
	a := f.Reactor().Arena()
	buf, err := a.Get(readBytes)
	if err != nil {
		return err
	}
	defer a.Put(buf)
	sum, n := sha256.New(), 0
	for off := uint64(0); off < info.Size && err == nil; off += uint64(n) {
		n, err = l.s.Read(f, storage.Coll(c), []byte(name), off, a.Bytes(buf))
		sum.Write(a.Bytes(buf)[:n])
	}
	if err != nil {
		fmt.Fprintf(out, "object %d/%s: %d bytes, %s\n", c, name, info.Size, kindOf(err))
		return nil
	}
	hole, err := l.s.SeekHole(f, storage.Coll(c), []byte(name), 0)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "object %d/%s: version %d, %d bytes, %d blocks, first hole at %d, color %q, sha256 %x\n",
		c, name, info.Version, info.Size, info.Blocks, hole, color, sum.Sum(nil))
	return nil
}

func firstDifference(have, want string) string {
	h, w := strings.Split(have, "\n"), strings.Split(want, "\n")
	for i := range min(len(h), len(w)) {
		if h[i] != w[i] {
			return fmt.Sprintf("line %d is\n%s\nand must be\n%s", i+1, h[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(h), len(w))
}

// sequenceOf is the sequence of the record that begins in a block of a journal, and its length; 0: none does.
func sequenceOf(block []byte) (sequence uint64, bytes int64) {
	if string(block[:8]) != "BJOURNAL" {
		return 0, 0
	}
	return binary.LittleEndian.Uint64(block[40:]), int64(binary.LittleEndian.Uint32(block[80:]))
}
