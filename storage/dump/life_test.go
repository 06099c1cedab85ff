package dump

import (
	"fmt"
	"io"
	"math/rand"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/sim"
	"basalt/storage"
	"basalt/storage/format"
)

const diskBytes = 8 << 20

// grown makes a store, lets it live and cuts its power.
func grown(t *testing.T, seed uint64) *sim.Disk {
	w := sim.NewWorld(seed)
	defer w.Close()
	disk := w.Disk("disk", diskBytes)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	r := w.Reactor(engine.Config{Name: "store", ArenaBytes: 16 << 20, FibersMax: 64, InboxMax: 64, OpsMax: 128})
	must(w.Boot(r, func(*engine.Fiber) error { return nil }))
	must(w.Do(r, func(f *engine.Fiber) error {
		h, err := disk.Device().Attach(f.Turn())
		if err != nil {
			return err
		}
		return live(f, h, seed)
	}))
	w.PowerOff(r)
	return disk.AfterPowerLoss()
}

func live(f *engine.Fiber, h *device.Handle, seed uint64) error {
	if err := storage.Format(f, h, storage.FormatOptions{UUID: [16]byte{1}, JournalBytes: 128 << 10, NodeBytes: 8 << 10}); err != nil {
		return err
	}
	s, _, err := storage.Mount(f, h, 0, storage.Options{
		CacheBytes: 256 << 10, DeltaBytesMax: 512 << 10, SlabChunkBytes: 32 << 10, TxnRecordMax: 16 << 10, TxnDataMax: 256 << 10,
		GroupRecordMax: 32 << 10, GroupDataMax: 512 << 10, GroupStartBytes: 64 << 10, RunBlocks: 16, GroupDelayNs: 2e6, LimboShare: 8,
	})
	if err != nil {
		return err
	}
	rnd := rand.New(rand.NewSource(int64(seed)))
	for i := range 120 {
		seq, err := s.Update(f, func(tx *storage.Tx) error {
			if i == 0 {
				return tx.CreateCollection(3)
			}
			obj := []byte(fmt.Sprintf("object %d", rnd.Intn(20)))
			if err := tx.Put(3, []byte(fmt.Sprintf("key %d", rnd.Intn(100))), make([]byte, rnd.Intn(3000))); err != nil {
				return err
			}
			if err := tx.Write(3, obj, uint64(rnd.Intn(1<<16)), make([]byte, 1+rnd.Intn(20_000))); err != nil || i%9 != 5 {
				return err
			}
			return tx.Clone(3, obj, []byte(fmt.Sprintf("clone %d", i)))
		})
		if err == nil && i%3 == 0 {
			err = s.Commit(f, seq)
		}
		if err == nil && i == 80 {
			err = s.Checkpoint(f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// all runs every dump of a disk and hands its output over.
func all(t *testing.T, disk *sim.Disk, opt Options, name string) (text string, bad int) {
	w := sim.NewWorld(1)
	defer w.Close()
	w.Adopt(disk)
	r := w.Reactor(engine.Config{Name: "dump", ArenaBytes: 32 << 20, FibersMax: 16, InboxMax: 16, OpsMax: 64})
	if err := w.Boot(r, func(*engine.Fiber) error { return nil }); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err := w.Do(r, func(f *engine.Fiber) error {
		h, err := disk.Device().Attach(f.Turn())
		if err != nil {
			return err
		}
		for i, show := range []func(d *Dump) error{
			(*Dump).Super,
			func(d *Dump) error { return d.Journal(JournalOptions{Verify: true}) },
			func(d *Dump) error { return d.Journal(JournalOptions{All: true}) },
			func(d *Dump) error { return d.Tree(TreeOptions{Level: -1, Coll: -1}) },
			func(d *Dump) error { return d.Tree(TreeOptions{Keys: true, Coll: -1, Verify: true}) },
			func(d *Dump) error { return d.Object(ObjectOptions{Coll: 3, Name: []byte(name), Verify: true}) },
			func(d *Dump) error { return d.ObjectAt(200) },
			func(d *Dump) error { return d.Space(SpaceOptions{Extents: true, Tree: true}) },
		} {
			d := New(f, h, &out, opt)
			if err := show(d); err != nil && !format.IsCorrupt(err) && !IsNotFound(err) {
				return err
			}
			// Behind the end of the log a record may be torn: it was being written, as was one more at the most. Each is bad by its crc, and by its bytes.
			if torn := 2 * 2; i != 2 || d.Bad() > torn {
				bad += d.Bad()
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), bad
}

// A store that only lost its power is shown without a word of damage, and with as much in it as a check of it counts.
func TestARealStore(t *testing.T) {
	for seed := uint64(1); seed <= 2; seed++ {
		disk := grown(t, seed)
		text, bad := all(t, disk, Options{Lines: 1 << 20}, "object 7")
		if bad > 0 {
			t.Errorf("seed %d: %d bad:\n%s", seed, bad, text)
		}
		for _, want := range []string{"(the newest)", "transaction txn=", "node at ", "extent at ", "key collection=3", "tree named=", "free-and-named=0 neither=0", "share at ", "shared=true", "clone collection=3"} {
			if !strings.Contains(text, want) {
				t.Errorf("seed %d: no %q", seed, want)
			}
		}
		if again, _ := all(t, disk, Options{Lines: 1 << 20}, "object 7"); again != text {
			t.Errorf("seed %d: the same bytes are shown differently", seed)
		}
		counts(t, disk, text)
	}
}

// counts compares with the store's own check.
func counts(t *testing.T, disk *sim.Disk, text string) {
	w := sim.NewWorld(2)
	defer w.Close()
	w.Adopt(disk)
	r := w.Reactor(engine.Config{Name: "fsck", ArenaBytes: 32 << 20, FibersMax: 16, InboxMax: 16, OpsMax: 64})
	if err := w.Boot(r, func(*engine.Fiber) error { return nil }); err != nil {
		t.Fatal(err)
	}
	var rep *storage.FsckReport
	err := w.Do(r, func(f *engine.Fiber) error {
		h, err := disk.Device().Attach(f.Turn())
		if err == nil {
			rep, err = storage.Fsck(f, h, 0, storage.Options{CacheBytes: 256 << 10, DeltaBytesMax: 4 << 20, SlabChunkBytes: 256 << 10})
		}
		return err
	})
	if err != nil || len(rep.Findings) > 0 {
		t.Fatalf("%v %+v", err, rep)
	}
	if n := strings.Count(text, "\n  node at ") + strings.Count(text, "\n    node at ") + strings.Count(text, "\n      node at "); uint64(n) != rep.Nodes {
		t.Errorf("%d nodes are shown, the check counts %d", n, rep.Nodes)
	}
	if want := fmt.Sprintf("records=%d durable-through", rep.Mount.Records); !strings.Contains(text, want) {
		t.Errorf("no %q: the check replays that many", want)
	}
}

// Whatever bytes there are: no panic, and no more lines than were asked for. (A Device has no way to write.)
func TestAnyBytes(t *testing.T) {
	base := grown(t, 5)
	rapid.Check(t, func(rt *rapid.T) {
		disk := base.Fork()
		const lines = 300
		for range rapid.IntRange(1, 40).Draw(rt, "wounds") {
			block := rapid.OneOf(rapid.Int64Range(0, 60), rapid.Int64Range(0, diskBytes/4096-1)).Draw(rt, "block")
			off := block*4096 + rapid.OneOf(rapid.Int64Range(0, 140), rapid.Int64Range(0, 4095)).Draw(rt, "byte")
			switch rapid.IntRange(0, 3).Draw(rt, "how") {
			case 0:
				disk.Flip(off, uint(rapid.IntRange(0, 7).Draw(rt, "bit")))
			case 1:
				disk.WriteAt(rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(rt, "bytes"), min(off, diskBytes-8))
			case 2:
				disk.Damage(block*4096, 4096)
			case 3:
				mend(disk, block)
			}
		}
		text, _ := all(t, disk, Options{Lines: lines, JSON: true}, "object 3")
		if n := strings.Count(text, "\n"); n > 8*(lines+1) {
			rt.Fatalf("%d lines", n)
		}
	})
}

// mend makes a damaged superblock valid again, so that what it says is believed.
func mend(disk *sim.Disk, block int64) {
	b := make([]byte, format.SuperBytes)
	disk.ReadAt(b, block*4096)
	if begins(b, format.SuperMagic) {
		format.PeekSuperblock(b).Encode(b)
		disk.WriteAt(b, block*4096)
	}
}

func TestMinus(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := func(label string) (out []Extent, has [64]bool) {
			bits := rapid.SliceOfN(rapid.Bool(), 64, 64).Draw(t, label)
			for i, on := range bits {
				has[i] = on
				if n := len(out) - 1; on && n >= 0 && out[n].End() == BlockNo(i) && rapid.Bool().Draw(t, "join") {
					out[n].Len++
				} else if on {
					out = append(out, Extent{Start: BlockNo(i), Len: 1})
				}
			}
			return out, has
		}
		a, inA := set("a")
		b, inB := set("b")
		var got [64]bool
		for _, e := range minus(a, b) {
			for i := e.Start; i < e.End(); i++ {
				if got[i] {
					t.Fatalf("block %d twice", i)
				}
				got[i] = true
			}
		}
		for i := range got {
			if got[i] != (inA[i] && !inB[i]) {
				t.Fatalf("block %d of %v minus %v: %v", i, a, b, minus(a, b))
			}
		}
	})
}

func TestNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.SliceOf(rapid.ByteRange(' ', '~'))).Draw(t, "name")
		if rapid.Bool().Draw(t, "mark") {
			name = append([]byte(hexMark), name...)
		}
		got, err := ParseName(Name(name))
		if err != nil || string(got) != string(name) {
			t.Fatalf("%q is written %q and read %q, %v", name, Name(name), got, err)
		}
	})
	if _, err := ParseName("hex:0g"); err == nil {
		t.Error("hex:0g is accepted")
	}
}

// A device that takes no more output ends the dump with that error.
func TestOutputError(t *testing.T) {
	m := newImage(t, false)
	err := m.world.Do(m.r, func(f *engine.Fiber) error { return New(f, m.h, brokenPipe{}, Options{}).Super() })
	if err != io.ErrClosedPipe {
		t.Errorf("%v", err)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
