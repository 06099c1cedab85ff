package storage

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/sim"
)

// tiny makes every mechanism of the store work within a few hundred transactions.
func tiny() Options {
	return Options{
		CacheBytes: 256 << 10, DeltaBytesMax: 512 << 10, SlabChunkBytes: 32 << 10, TxnRecordMax: 16 << 10, TxnDataMax: 256 << 10,
		GroupRecordMax: 32 << 10, GroupDataMax: 512 << 10, GroupStartBytes: 64 << 10, RunBlocks: 16, GroupDelayNs: 2e6, LimboShare: 8,
	}
}

// bench is a world with one reactor and one disk.
type bench struct {
	t    *testing.T
	w    *sim.World
	r    *engine.Reactor
	disk *sim.Disk
	h    *device.Handle
	s    *Store
	opt  Options
	base int64 // bytes of the arena that the reactor itself has
}

func newBench(t *testing.T, seed uint64, disk *sim.Disk, bytes int64) *bench {
	b := &bench{t: t, w: sim.NewWorld(seed), opt: tiny()}
	t.Cleanup(b.w.Close)
	if disk == nil {
		b.disk = b.w.Disk("disk", bytes)
	} else {
		b.disk = b.w.Adopt(disk)
	}
	b.r = b.w.Reactor(engine.Config{Name: "store", ArenaBytes: 16 << 20, FibersMax: 64, InboxMax: 64, OpsMax: 128})
	b.must(b.w.Boot(b.r, func(f *engine.Fiber) error {
		h, err := b.disk.Device().Attach(f.Turn())
		b.h = h
		return err
	}))
	b.base = b.r.Arena().Used()
	return b
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) do(fn func(f *engine.Fiber) error) {
	b.t.Helper()
	b.must(b.w.Do(b.r, fn))
}

func (b *bench) format() {
	b.t.Helper()
	b.do(func(f *engine.Fiber) error {
		return Format(f, b.h, FormatOptions{UUID: [16]byte{1}, JournalBytes: 128 << 10, NodeBytes: 8 << 10})
	})
}

func (b *bench) mount() *MountReport {
	b.t.Helper()
	var rep *MountReport
	b.do(func(f *engine.Fiber) (err error) {
		b.s, rep, err = Mount(f, b.h, 0, b.opt)
		return err
	})
	return rep
}

func (b *bench) unmount() {
	b.t.Helper()
	b.do(func(f *engine.Fiber) error { return b.s.Unmount(f) })
	if n := b.r.Arena().Used() - b.base; n != 0 {
		b.t.Fatalf("%d bytes of the arena are still taken after the unmount", n)
	}
}

func (b *bench) fsck() *FsckReport {
	b.t.Helper()
	var rep *FsckReport
	b.do(func(f *engine.Fiber) (err error) {
		rep, err = Fsck(f, b.h, 0, Options{})
		return err
	})
	for _, x := range rep.Findings {
		b.t.Errorf("fsck: %v", x)
	}
	if b.t.Failed() {
		b.t.FailNow()
	}
	return rep
}

func (b *bench) update(fn func(tx *Tx) error) Seq {
	b.t.Helper()
	var seq Seq
	b.do(func(f *engine.Fiber) (err error) {
		seq, err = b.s.Update(f, fn)
		return err
	})
	return seq
}

func (b *bench) commit(seq Seq) {
	b.t.Helper()
	b.do(func(f *engine.Fiber) error { return b.s.Commit(f, seq) })
}

func TestFormatMountUnmount(t *testing.T) {
	b := newBench(t, 1, nil, 4<<20)
	b.format()
	b.fsck()
	if rep := b.mount(); !rep.Clean || rep.Records != 0 {
		t.Fatalf("%+v", rep)
	}
	seq := b.update(func(tx *Tx) error {
		if err := tx.CreateCollection(7); err != nil {
			return err
		}
		if err := tx.Put(7, []byte("key"), []byte("value")); err != nil {
			return err
		}
		return tx.Write(7, []byte("obj"), 100, bytes.Repeat([]byte("x"), 10000))
	})
	b.commit(seq)
	check := func() {
		b.do(func(f *engine.Fiber) error {
			return b.s.View(f, func(tx *Tx) error {
				v, err := tx.Get(7, []byte("key"))
				if err == nil && string(v) != "value" {
					err = fmt.Errorf("got %q", v)
				}
				return err
			})
		})
		b.do(func(f *engine.Fiber) error {
			p := make([]byte, 20000)
			n, err := b.s.Read(f, 7, []byte("obj"), 0, p)
			if err != nil {
				return err
			}
			if want := append(make([]byte, 100), bytes.Repeat([]byte("x"), 10000)...); !bytes.Equal(p[:n], want) {
				return errors.New("content differs")
			}
			return nil
		})
	}
	check()
	b.unmount()
	b.fsck()
	b.mount()
	check()
	b.unmount()
}

// A process that dies keeps what was committed; the next mount replays it.
func TestReplay(t *testing.T) {
	b := newBench(t, 2, nil, 4<<20)
	b.format()
	b.mount()
	seq := b.update(func(tx *Tx) error { return tx.CreateCollection(1) })
	for i := range 20 {
		seq = b.update(func(tx *Tx) error {
			if err := tx.Write(1, []byte("obj"), uint64(i)*3000, bytes.Repeat([]byte{byte(i + 1)}, 5000)); err != nil {
				return err
			}
			return tx.Put(1, []byte(fmt.Sprintf("k%d", i)), []byte{byte(i)})
		})
	}
	b.commit(seq)
	c := newBench(t, 3, b.disk.AfterPowerLoss(), 0)
	c.fsck()
	if rep := c.mount(); rep.Transactions != 21 {
		t.Fatalf("%+v", rep)
	}
	c.do(func(f *engine.Fiber) error {
		p := make([]byte, 100000)
		n, err := c.s.Read(f, 1, []byte("obj"), 0, p)
		if err != nil || n != 19*3000+5000 {
			return fmt.Errorf("%d bytes, %v", n, err)
		}
		for i := range n {
			want := min(i/3000+1, 20)
			if int(p[i]) != want {
				return fmt.Errorf("byte %d is %d, want %d", i, p[i], want)
			}
		}
		return nil
	})
	c.unmount()
	c.fsck()
}
