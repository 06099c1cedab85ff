package engine

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"basalt/engine/arena"
	"basalt/engine/uring"
	"golang.org/x/sys/unix"
)

// Ceiling and column, side by side: random 4 KiB reads past the page cache from a fully written file, by a
// bare ring and through reactor and fibers, at 1 and 64 outstanding. BASALT_BENCH_DIR chooses where the
// file is.

const benchFileBytes = 64 << 20

func benchFile(b *testing.B) int32 {
	dir := os.Getenv("BASALT_BENCH_DIR")
	if dir == "" {
		dir = b.TempDir()
	}
	path := filepath.Join(dir, "basalt-bench-file")
	data := make([]byte, benchFileBytes)
	for i := range data {
		data[i] = byte(i * 7)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	if err := unix.Fsync(fd); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Close(fd); os.Remove(path) })
	return int32(fd)
}

func benchOffset(rng *rand.Rand) uint64 { return rng.Uint64N(benchFileBytes/4096) * 4096 }

func BenchmarkRead4K(b *testing.B) {
	fd := benchFile(b)
	for _, depth := range []struct {
		name string
		n    int
	}{{"QD1", 1}, {"QD64", 64}} {
		b.Run(depth.name+"/ring", func(b *testing.B) { benchRing(b, fd, depth.n) })
		b.Run(depth.name+"/fibers", func(b *testing.B) { benchFibers(b, fd, depth.n) })
	}
}

func benchRing(b *testing.B, fd int32, depth int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ring, err := uring.Open(uring.Config{Entries: 128})
	if err != nil {
		b.Fatal(err)
	}
	defer ring.Close()
	a, err := arena.New(1 << 20)
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	if err := ring.RegisterBuffers(a.Segments()); err != nil {
		b.Fatal(err)
	}
	if err := ring.RegisterFiles([]int32{fd}); err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	addr := make([]uint64, depth)
	for i := range addr {
		p, err := a.Get(4096)
		if err != nil {
			b.Fatal(err)
		}
		addr[i] = a.Addr(p)
	}
	push := func(i int) {
		s := uring.PrepReadFixed(0, addr[i], 4096, benchOffset(rng), 0).Fixed(0)
		s.UserData = uint64(i)
		if err := ring.Push(&s); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(4096)
	b.ReportAllocs()
	b.ResetTimer()
	started, ended := 0, 0
	for ; started < min(depth, b.N); started++ {
		push(started)
	}
	var cqes [64]uring.CQE
	for ended < b.N {
		if err := ring.Enter(1, -1); err != nil {
			b.Fatal(err)
		}
		n := ring.Reap(cqes[:])
		for _, c := range cqes[:n] {
			if c.Res != 4096 {
				b.Fatal(c.Res)
			}
			if ended++; started < b.N {
				push(int(c.UserData))
				started++
			}
		}
	}
}

func benchFibers(b *testing.B, fd int32, depth int) {
	r := start(b, Config{ArenaBytes: 1 << 20})
	b.SetBytes(4096)
	b.ReportAllocs()
	on(b, r, func(f *Fiber) error {
		slot, ok := r.RegisterFile(fd)
		if !ok {
			b.Error("no file slot")
		}
		rng := rand.New(rand.NewPCG(1, 2))
		var done WaitList
		left, running := b.N, depth
		b.ResetTimer()
		for range depth {
			if err := f.Turn().Go("reader", func(g *Fiber) {
				p, err := r.Arena().Get(4096)
				if err != nil {
					b.Error(err)
				}
				for ; left > 0 && err == nil; left-- {
					s := uring.PrepReadFixed(0, r.Arena().Addr(p), 4096, benchOffset(rng), 0).Fixed(slot)
					if n := g.Do(s); n != 4096 {
						b.Error(n)
					}
				}
				if running--; running == 0 {
					done.WakeAll(g.Turn())
				}
			}); err != nil {
				return err
			}
		}
		done.Wait(f)
		b.StopTimer()
		r.ReleaseFile(slot)
		return nil
	})
}

// BenchmarkSwitch is a pair of fibers that wake each other: one suspension and resumption per step, no
// system call.
func BenchmarkSwitch(b *testing.B) {
	r := start(b, Config{ArenaBytes: 1 << 20})
	b.ReportAllocs()
	on(b, r, func(f *Fiber) error {
		var l, done WaitList
		left, running := b.N, 2
		b.ResetTimer()
		for range 2 {
			if err := f.Turn().Go("player", func(g *Fiber) {
				for ; left > 0; left-- {
					l.WakeOne(g.Turn())
					l.Wait(g)
				}
				l.WakeAll(g.Turn())
				if running--; running == 0 {
					done.WakeAll(g.Turn())
				}
			}); err != nil {
				return err
			}
		}
		done.Wait(f)
		b.StopTimer()
		return nil
	})
}

func BenchmarkNopThroughFiber(b *testing.B) {
	r := start(b, Config{ArenaBytes: 1 << 20})
	b.ReportAllocs()
	on(b, r, func(f *Fiber) error {
		b.ResetTimer()
		for range b.N {
			f.Do(uring.PrepNop())
		}
		b.StopTimer()
		return nil
	})
}

// echoRing answers a few entries at the next call and asks no kernel, so that what is measured is the reactor.
type echoRing struct {
	uring.Ring
	perTurn int
	done    []uring.CQE
}

func (e *echoRing) Push(s *uring.SQE) error {
	if s.Opcode != uring.OpNop { // the wake-up
		return e.Ring.Push(s)
	}
	e.done = append(e.done, uring.CQE{UserData: s.UserData})
	return nil
}

func (e *echoRing) Enter(uint32, int64) error { return nil }

func (e *echoRing) Reap(dst []uring.CQE) int {
	n := copy(dst, e.done[:min(len(e.done), e.perTurn)])
	e.done = append(e.done[:0], e.done[n:]...)
	return n
}

// BenchmarkTurn is what the reactor spends on one operation of one of 64 fibers, by how many of them a turn completes.
func BenchmarkTurn(b *testing.B) {
	for _, perTurn := range []int{1, 4, 32} {
		b.Run(strconv.Itoa(perTurn), func(b *testing.B) {
			ring := &echoRing{perTurn: perTurn}
			r := steppedBy(b, Config{Ring: func() (uring.Ring, error) {
				inner, err := uring.Open(uring.Config{Entries: 64, CQEntries: 4096})
				ring.Ring = inner
				return ring, err
			}}, func(f *Fiber) error { return nil })
			n := 0
			for range 64 {
				if err := r.turn.Go("bench", func(f *Fiber) {
					var g Gather
					var res int32
					for {
						g.Submit(f, Soon(uring.PrepNop()), &res)
						g.Wait(f)
						n++
					}
				}); err != nil {
					b.Fatal(err)
				}
			}
			r.Step()
			b.ReportAllocs()
			for b.ResetTimer(); n < b.N; {
				r.Step()
			}
			b.StopTimer()
		})
	}
}

// BenchmarkPost is a message from another thread to a reactor that is mostly awake.
func BenchmarkPost(b *testing.B) {
	r := start(b, Config{ArenaBytes: 1 << 20})
	m := &nothing{}
	b.ReportAllocs()
	for range b.N {
		for r.Post(m) == ErrBusy {
			runtime.Gosched()
		}
	}
}

type nothing struct{}

func (*nothing) Deliver(*Turn) {}
