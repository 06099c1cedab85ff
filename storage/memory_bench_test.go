package storage

import (
	"math/rand/v2"
	"testing"

	"basalt/engine"
	"basalt/engine/device"
	"basalt/engine/uring"

	"golang.org/x/sys/unix"
)

// What an operation costs this process and no kernel: a device in memory, behind the ring. It answers at the next call, a few completions
// in a turn, so that a turn does about as much as with a disk.

const memoryPerTurn = 4

// memoryRing serves the operations of a device itself; the others, the wake-ups, are the kernel's.
type memoryRing struct {
	uring.Ring
	r      *engine.Reactor
	image  []byte
	segs   [][]byte // of the arena
	base   uint64   // address of segs[0]
	pushed []uring.SQE
	done   []uring.CQE
	theirs bool // something was pushed to the kernel's
}

func (m *memoryRing) RegisterBuffers(segs [][]byte) error { m.segs = segs; return nil }
func (m *memoryRing) RegisterFiles([]int32) error         { return nil }
func (m *memoryRing) UpdateFile(int, int32) error         { return nil }

func (m *memoryRing) Push(s *uring.SQE) error {
	switch s.Opcode {
	case uring.OpReadFixed, uring.OpWriteFixed, uring.OpFsync:
		m.pushed = append(m.pushed, *s)
		return nil
	}
	m.theirs = true
	return m.Ring.Push(s)
}

func (m *memoryRing) Enter(wait uint32, timeoutNs int64) error {
	for i := range m.pushed {
		m.serve(&m.pushed[i])
	}
	m.pushed = m.pushed[:0]
	if len(m.done) > 0 {
		wait = 0
	}
	if m.theirs || wait > 0 {
		m.theirs = false
		return m.Ring.Enter(wait, timeoutNs)
	}
	return nil
}

func (m *memoryRing) serve(s *uring.SQE) {
	if m.base == 0 {
		m.base = m.r.Arena().AddrOf(m.segs[0][:1])
	}
	if s.Opcode != uring.OpFsync {
		const segment = 1 << 30
		at := s.Addr - m.base
		mem, disk := m.segs[at/segment][at%segment:][:s.Len], m.image[s.Off:][:s.Len]
		if s.Opcode == uring.OpReadFixed {
			copy(mem, disk)
		} else {
			copy(disk, mem)
		}
	}
	m.done = append(m.done, uring.CQE{UserData: s.UserData, Res: int32(s.Len)})
}

func (m *memoryRing) Reap(dst []uring.CQE) int {
	n := copy(dst, m.done[:min(len(m.done), memoryPerTurn)])
	m.done = append(m.done[:0], m.done[n:]...)
	return n + m.Ring.Reap(dst[n:])
}

// benchMemory runs fn in 64 fibers, b.N times together, on a store with an object of that many blocks.
func benchMemory(b *testing.B, blocks uint64, fn func(s *Store, f *engine.Fiber, block uint64, p []byte) error) {
	const imageBytes = 2 << 30
	ring := &memoryRing{image: make([]byte, imageBytes)}
	for i := 0; i < imageBytes; i += 4096 { // no page fault is measured
		ring.image[i] = 0
	}
	y := newYardOn(b, device.New(1<<20, device.Geometry{Bytes: imageBytes, LogicalBytes: 512, PhysicalBytes: 4096, Direct: true, WriteCache: true}, "memory"),
		func(r *engine.Reactor) { ring.r = r },
		func() (uring.Ring, error) {
			inner, err := uring.Open(uring.Config{Entries: 512, CQEntries: 4096})
			ring.Ring = inner
			return ring, err
		})
	name := key8(1)
	if err := y.r.Call(func(f *engine.Fiber) error {
		data := make([]byte, 1<<20)
		for off := uint64(0); off < blocks*4096; off += 1 << 20 {
			if _, err := y.s.Update(f, func(tx *Tx) error { return tx.Write(1, name, off, data) }); err != nil {
				return err
			}
		}
		return y.s.Checkpoint(f)
	}); err != nil {
		b.Fatal(err)
	}
	left, spent := b.N, int64(0)
	y.in(b, func(f *engine.Fiber) error {
		var bad error
		spent = -threadNs(b)
		running := 64
		for w := range running {
			if err := f.Turn().Go("bench", func(g *engine.Fiber) {
				buf, err := f.Reactor().Arena().Get(4096)
				p := f.Reactor().Arena().Bytes(buf)
				rng := rand.New(rand.NewPCG(uint64(w), 3))
				for ; left > 0 && bad == nil && err == nil; left-- {
					err = fn(y.s, g, rng.Uint64N(blocks), p)
				}
				if err != nil {
					bad = err
				}
				if running--; running == 0 {
					g.Turn().Ready(f)
				}
			}); err != nil {
				return err
			}
		}
		f.Park()
		spent += threadNs(b)
		return bad
	})
	b.ReportMetric(float64(spent)/float64(b.N), "cpu-ns/op")
}

// threadNs is what the calling thread has had of a processor, whoever else wanted it meanwhile.
func threadNs(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

const benchBlocks = 512 << 20 / 4096

func BenchmarkMemoryRead4K(b *testing.B) {
	name := key8(1)
	benchMemory(b, benchBlocks, func(s *Store, f *engine.Fiber, block uint64, p []byte) error {
		_, err := s.Read(f, 1, name, block*4096, p)
		return err
	})
}

func BenchmarkMemoryOverwrite4K(b *testing.B) {
	name := key8(1)
	benchMemory(b, benchBlocks, func(s *Store, f *engine.Fiber, block uint64, p []byte) error {
		seq, err := s.Update(f, func(tx *Tx) error { return tx.Write(1, name, block*4096, p) })
		if err == nil {
			err = s.Commit(f, seq)
		}
		return err
	})
}
