package campaign

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"basalt/engine"
	"basalt/engine/sim"
	"basalt/storage"
	"basalt/storage/format"
)

// A store of version 1 stays one until its first clone, which raises it. Wherever the power goes meanwhile, no superblock that software of
// version 1 can read stands before a journal that it cannot, and the store goes on as what it was, or as what it has become.
func TestFirstCloneRaisesTheFormat(t *testing.T) {
	for _, name := range []string{"clean", "journal"} {
		t.Run(name, func(t *testing.T) {
			disk := readImage(t, filepath.Join(imageDir, "v1", name+".img.gz"))
			l, err := begin(imagePlan(), 3, disk, newModel())
			if err != nil {
				t.Fatal(err)
			}
			defer l.end()
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(l.mount())
			must(l.write(3))
			must(l.do(l.s.Checkpoint))
			want, err := l.content("blocks")
			must(err)
			if v := versions(t, l.disk); v != [2]uint32{1, 1} {
				t.Fatalf("superblocks are of versions %v before the first clone", v)
			}
			var cuts []*sim.Disk
			l.disk.OnEvent(func(d *sim.Disk, _ string) { cuts = append(cuts, d.Fork()) })
			must(l.spawn(func(f *engine.Fiber) { l.bad = l.churn(f, 10) }))
			must(l.cloneOnce())
			must(l.write(3))
			must(l.w.Run(l.done))
			must(l.bad)
			l.disk.OnEvent(nil)
			if v := versions(t, l.disk); v != [2]uint32{2, 2} {
				t.Fatalf("superblocks are of versions %v after the first clone", v)
			}
			must(l.unmount())
			must(l.fsck())
			between, raised, refused := 0, 0, 0
			for i, cut := range cuts {
				left := cut.AfterPowerLossSeed(uint64(i))
				v := versions(t, left)
				if hasClone(t, left) {
					raised++
					if v[0] == 1 || v[1] == 1 {
						t.Fatalf("cut %d: the journal has a clone, superblocks are of versions %v", i, v)
					}
				}
				if v[0] == 1 || v[1] == 1 { // a slot of 0 was being written
					between++
					if err := oldSoftware(t, left, want, &refused); err != nil {
						t.Fatalf("cut %d of %d, superblocks of versions %v, for software of version 1: %v", i, len(cuts), v, err)
					}
				}
				if err := goOnRaised(left, uint64(i), want); err != nil {
					t.Fatalf("cut %d of %d, superblocks of versions %v: %v", i, len(cuts), v, err)
				}
			}
			if between <= refused || raised == 0 || raised == len(cuts) {
				t.Fatalf("%d cuts, %d with superblocks of two versions, of which %d are refused, %d with a clone in the journal", len(cuts), between, refused, raised)
			}
		})
	}
}

// oldSoftware is what a store is for software of version 1: the superblocks of version 2 are damage. It refuses the store, or finds it sound.
func oldSoftware(t *testing.T, disk *sim.Disk, want []byte, refused *int) error {
	t.Helper()
	disk = disk.Fork()
	v := versions(t, disk)
	for slot, copies := range (&image{disk: disk}).superPlaces() {
		for _, at := range copies {
			if v[slot] != 1 {
				disk.WriteAt(make([]byte, format.SuperBytes), int64(at)*format.BlockBytes)
			}
		}
	}
	l, err := begin(imagePlan(), 9, disk, newModel())
	if err != nil {
		return err
	}
	defer l.end()
	var rot *storage.RotError
	if err := l.mount(); errors.As(err, &rot) { // a record names the newer superblock
		*refused++
		return nil
	} else if err != nil {
		return err
	}
	for _, step := range []func() error{func() error { return l.write(3) }, l.unmount, l.fsck, l.mount} {
		if err := step(); err != nil {
			return err
		}
	}
	if v := versions(t, disk); v != [2]uint32{1, 1} {
		return fmt.Errorf("it leaves superblocks of versions %v", v)
	}
	got, err := l.content("blocks")
	if err == nil && !bytes.Equal(got, want) {
		err = differ("it has %s, want %s", short(got), short(want))
	}
	return errors.Join(err, l.unmount())
}

// churn overwrites an object again and again: what it frees is used again as soon as it may be.
func (l *life) churn(f *engine.Fiber, n int) error {
	for i := range n {
		data := bytes.Repeat(blockOf("churn", i), 24)
		seq, err := l.s.Update(f, func(tx *storage.Tx) error { return tx.Write(2, []byte("churn"), 0, data) })
		if err := errors.Join(err, l.s.Commit(f, seq)); err != nil {
			return err
		}
	}
	return nil
}

// goOnRaised finds a store that a cut has left sound, and goes on with it.
func goOnRaised(disk *sim.Disk, seed uint64, want []byte) error {
	l, err := begin(imagePlan(), seed, disk, newModel())
	if err != nil {
		return err
	}
	defer l.end()
	for _, step := range []func() error{l.fsck, l.mount, l.cloneOnce, func() error { return l.write(3) }, l.unmount, l.fsck, l.mount} {
		if err := step(); err != nil {
			return err
		}
	}
	for _, name := range []string{"blocks", "raised"} {
		got, err := l.content(name)
		if err == nil && !bytes.Equal(got, want) {
			err = differ("%s has %s, want %s", name, short(got), short(want))
		}
		if err != nil {
			return err
		}
	}
	return l.unmount()
}

// cloneOnce clones the object "blocks", unless the clone is there.
func (l *life) cloneOnce() error {
	return l.do(func(f *engine.Fiber) error {
		seq, err := l.s.Update(f, func(tx *storage.Tx) error { return tx.Clone(1, []byte("blocks"), []byte("raised")) })
		if errors.Is(err, storage.ErrExists) {
			return nil
		}
		return errors.Join(err, l.s.Commit(f, seq))
	})
}

// write does a few transactions, each in a group of its own.
func (l *life) write(n int) error {
	return l.do(func(f *engine.Fiber) error {
		for i := range n {
			seq, err := l.s.Update(f, func(tx *storage.Tx) error { return tx.Put(1, fmt.Appendf(nil, "written %d", i), make([]byte, 100)) })
			if err := errors.Join(err, l.s.Commit(f, seq)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *life) content(name string) (got []byte, err error) {
	err = l.do(func(f *engine.Fiber) error {
		got = make([]byte, 64<<10)
		n, err := l.s.Read(f, 1, []byte(name), 0, got)
		got = got[:n]
		return err
	})
	return got, err
}

// versions are those of the newest valid copies of the two slots; 0: a slot has none.
func versions(t *testing.T, d *sim.Disk) (v [2]uint32) {
	t.Helper()
	p := make([]byte, format.SuperBytes)
	for slot, copies := range (&image{disk: d}).superPlaces() {
		epoch := uint64(0)
		for _, at := range copies {
			d.ReadAt(p, int64(at)*format.BlockBytes)
			s, err := format.DecodeSuperblock(format.Place{Extent: format.Extent{Start: at, Len: 1}}, p)
			if err == nil && s.Epoch > epoch {
				epoch, v[slot] = s.Epoch, s.Version
			}
		}
	}
	return v
}

// hasClone tells whether a whole record of the journal clones an object.
func hasClone(t *testing.T, d *sim.Disk) bool {
	t.Helper()
	w := &image{disk: d}
	if err := w.findSuper(); err != nil {
		t.Fatal(err)
	}
	for b := format.BlockCount(0); b < w.super.Journal.Len; b++ {
		head := make([]byte, pageSize)
		d.ReadAt(head, w.super.Journal.Offset()+int64(b)*pageSize)
		h, err := format.DecodeJournalHeader(format.Place{}, head, w.super.Journal.Len, w.super.JournalRecord)
		if err != nil {
			continue
		}
		record := make([]byte, int(h.Blocks())*pageSize)
		d.ReadAt(record, w.super.Journal.Offset()+int64(b)*pageSize)
		rest, err := format.VerifyJournal(format.Place{}, &h, record)
		for err == nil && len(rest) > 0 {
			var ops []byte
			if _, ops, rest, err = format.NextTxn(format.Place{}, rest); err != nil {
				break
			}
			for len(ops) > 0 {
				var op format.Op
				if ops, err = format.NextOp(format.Place{}, ops, &op); err != nil {
					t.Fatal(err)
				}
				if op.Kind == format.OpClone {
					return true
				}
			}
		}
	}
	return false
}
