package engine

import (
	"fmt"
	"slices"
	"testing"

	"basalt/engine/uring"
	"golang.org/x/sys/unix"
)

func TestGather(t *testing.T) {
	r := start(t, Config{})
	file := tempFile(t, make([]byte, 64<<10))
	on(t, r, func(f *Fiber) error {
		b, err := r.Arena().Get(64 << 10)
		if err != nil {
			return err
		}
		defer r.Arena().Put(b)
		var g Gather
		for round := range 3 {
			var res [17]int32
			for i := range 16 {
				g.Submit(f, uring.PrepRead(int32(file.Fd()), r.Arena().Addr(b)+uint64(i)*4096, uint32(100+i), uint64(i)*4096), &res[i])
			}
			g.Submit(f, uring.PrepRead(-1, r.Arena().Addr(b), 1, 0), &res[16])
			g.Wait(f)
			for i := range 16 {
				if res[i] != int32(100+i) {
					t.Errorf("round %d: result %d is %d", round, i, res[i])
				}
			}
			if res[16] != -int32(unix.EBADF) {
				t.Errorf("round %d: the bad one is %d", round, res[16])
			}
		}
		g.Wait(f) // nothing submitted: returns at once
		return nil
	})
}

func TestWaitListIsAFIFO(t *testing.T) {
	r := start(t, Config{})
	var order []int
	on(t, r, func(f *Fiber) error {
		var l WaitList
		fibers := make([]*Fiber, 6)
		for i := range 6 {
			f.Turn().Go("waits", func(g *Fiber) {
				fibers[i] = g
				l.Wait(g)
				order = append(order, i)
			})
		}
		f.Yield()
		if l.Len() != 6 {
			t.Errorf("%d wait, want 6", l.Len())
		}
		if got := l.WakeOne(f.Turn()); got != fibers[0] {
			t.Error("WakeOne did not take the first")
		}
		if !l.Wake(f.Turn(), fibers[3]) || l.Wake(f.Turn(), fibers[3]) {
			t.Error("Wake of one in the middle")
		}
		if !l.Wake(f.Turn(), fibers[5]) { // the last
			t.Error("Wake of the last")
		}
		f.Yield()
		l.WakeAll(f.Turn())
		f.Yield()
		if l.Len() != 0 || l.WakeOne(f.Turn()) != nil {
			t.Error("the list is not empty")
		}
		return nil
	})
	if want := []int{0, 3, 5, 1, 2, 4}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

func TestWaitForEndsByWakeOrByTime(t *testing.T) {
	r := start(t, Config{})
	on(t, r, func(f *Fiber) error {
		var l WaitList
		if l.WaitFor(f, 1_000_000) {
			t.Error("woken, though nobody did")
		}
		if l.Len() != 0 {
			t.Error("still in the list after its time")
		}
		f.Turn().Go("waker", func(g *Fiber) { l.WakeOne(g.Turn()) })
		if !l.WaitFor(f, 1<<60) {
			t.Error("not woken")
		}
		if n := len(r.timers.heap); n != 0 {
			t.Errorf("%d timers left behind", n)
		}
		return nil
	})
}

func TestSemaphoreServesInOrder(t *testing.T) {
	r := start(t, Config{})
	var order []string
	on(t, r, func(f *Fiber) error {
		s := NewSemaphore(10)
		s.Acquire(f, 8)
		for _, n := range []int64{5, 1, 2} { // 1 and 2 would fit, but came later
			f.Turn().Go("wants", func(g *Fiber) {
				s.Acquire(g, n)
				order = append(order, fmt.Sprint(n))
			})
		}
		f.Yield()
		if len(order) != 0 || s.Waiting() != 3 || s.TryAcquire(1) {
			t.Errorf("somebody overtook: %v, %d wait", order, s.Waiting())
		}
		s.Release(f.Turn(), 3)
		f.Yield()
		if want := []string{"5"}; !slices.Equal(order, want) {
			t.Errorf("served %v, want %v", order, want)
		}
		s.Release(f.Turn(), 5)
		f.Yield()
		if want := []string{"5", "1", "2"}; !slices.Equal(order, want) {
			t.Errorf("served %v, want %v", order, want)
		}
		s.Release(f.Turn(), 8)
		if s.Free() != 10 || s.Size() != 10 {
			t.Errorf("%d of %d free", s.Free(), s.Size())
		}
		for what, fn := range map[string]func(){
			"releasing too much":   func() { s.Release(f.Turn(), 1) },
			"wanting more than is": func() { s.TryAcquire(11) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s did not panic", what)
					}
				}()
				fn()
			}()
		}
		return nil
	})
}
