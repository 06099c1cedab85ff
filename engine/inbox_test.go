package engine

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

type numbered struct{ producer, n int }

func (*numbered) Deliver(*Turn) {}

func TestInboxIsBounded(t *testing.T) {
	var q inbox
	q.init(5) // becomes 8
	for i := range 8 {
		if err := q.push(&numbered{n: i}); err != nil {
			t.Fatalf("push %d: %v", i, err)
		}
	}
	if err := q.push(&numbered{}); err != ErrBusy {
		t.Fatalf("push into a full inbox = %v, want ErrBusy", err)
	}
	if q.length() != 8 {
		t.Errorf("length %d, want 8", q.length())
	}
	for i := range 20 { // around the ring
		m, ok := q.pop()
		if !ok || m.(*numbered).n != i {
			t.Fatalf("pop %d: %v %v", i, m, ok)
		}
		if err := q.push(&numbered{n: i + 8}); err != nil {
			t.Fatal(err)
		}
	}
	q.close(func(Message) {})
	if _, ok := q.pop(); ok || !q.empty() || q.length() != 0 {
		t.Error("something is left after close")
	}
	if err := q.push(&numbered{}); err != ErrStopped {
		t.Errorf("push after close = %v, want ErrStopped", err)
	}
}

// Producers push until they are told to stop; the consumer closes in the middle. Nothing accepted may be
// lost or doubled, and each producer's messages arrive in order.
func TestInboxStress(t *testing.T) {
	const producers, enough = 4, 20_000
	var q inbox
	q.init(64)
	var wg sync.WaitGroup
	accepted := make([]int, producers)
	for p := range producers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := 0; ; {
				switch q.push(&numbered{p, n}) {
				case nil:
					n++
					accepted[p] = n
				case ErrBusy:
					runtime.Gosched()
				case ErrStopped:
					return
				}
			}
		}()
	}
	var next [producers]int
	take := func(m Message) {
		x := m.(*numbered)
		if x.n != next[x.producer] {
			t.Fatalf("producer %d: got %d, want %d", x.producer, x.n, next[x.producer])
		}
		next[x.producer]++
	}
	for got := 0; got < enough; {
		m, ok := q.pop()
		if !ok {
			runtime.Gosched()
			continue
		}
		take(m)
		got++
	}
	q.close(take)
	wg.Wait()
	for p := range producers {
		if next[p] != accepted[p] {
			t.Errorf("producer %d: %d accepted, %d taken", p, accepted[p], next[p])
		}
	}
}

type counting struct {
	delivered *int
	refused   *int
}

func (c counting) Deliver(*Turn) { *c.delivered++ }
func (c counting) Refuse(error)  { *c.refused++ }

// Posts race with sleeping, and at the end with Stop: every accepted message is delivered or refused.
func TestPostWakesASleepingReactor(t *testing.T) {
	r, err := New(Config{CPU: -1, ArenaBytes: 1 << 20, InboxMax: 16})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(func(*Fiber) error { return nil }); err != nil {
		t.Fatal(err)
	}
	var delivered, refused int
	accepted := make([]int, 3)
	var wg sync.WaitGroup
	for p := range accepted {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				switch r.Post(counting{&delivered, &refused}) {
				case nil:
					accepted[p]++
				case ErrStopped:
					return
				}
				if accepted[p]%10 == 0 {
					runtime.Gosched() // let it fall asleep now and then
				}
			}
		}()
	}
	for range 200 { // each waits for a delivery, so a lost wake would hang here
		if err := r.Call(func(*Fiber) error { return nil }); err != nil && err != ErrBusy {
			t.Fatal(err)
		}
	}
	r.Stop()
	wg.Wait()
	if err := r.Wait(); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, n := range accepted {
		total += n
	}
	if delivered+refused != total {
		t.Errorf("%d accepted, %d delivered, %d refused", total, delivered, refused)
	}
}

func TestOneWakePerSleep(t *testing.T) {
	r := start(t, Config{})
	for range 100 {
		on(t, r, func(*Fiber) error { return nil })
	}
	s := r.Stats()
	if s.Wakes == 0 || s.Wakes > s.Sleeps+1 {
		t.Errorf("%d wakes for %d sleeps", s.Wakes, s.Sleeps)
	}
}

// Whoever asks from outside sees a length that was possible: neither below nothing nor above the bound.
func TestInboxLengthIsPlausibleFromOutside(t *testing.T) {
	var q inbox
	q.init(4)
	var stop atomic.Bool
	done := make(chan bool)
	go func() {
		defer close(done)
		m := &numbered{}
		for !stop.Load() {
			for q.push(m) == nil {
			}
			for _, ok := q.pop(); ok; _, ok = q.pop() {
			}
		}
	}()
	for range 2_000_000 {
		if n := q.length(); n < 0 || n > 4 {
			t.Errorf("%d messages in an inbox of 4", n)
			break
		}
	}
	stop.Store(true)
	<-done
}
