package engine

// What a fiber sends to another thread, and how it comes home. The way home can't be full: it is a stack
// linked through the fibers themselves.

type crossing struct {
	fn      func(f2 *Fiber) // CallOn
	offload func()          // Offload
	err     error
}

// CallOn runs fn in a fiber of another column and suspends f until it has returned; on the same column it
// is a call. ErrStopped: the other reactor ended, and fn may have run in part. What fn and the caller
// share is the caller's again when CallOn returns.
func CallOn(f *Fiber, other *Reactor, fn func(f2 *Fiber)) error {
	if other == f.r {
		fn(f)
		return nil
	}
	if f.r.dead { // a deferred call: nobody would take f home
		return ErrStopped
	}
	for {
		f.remote = crossing{fn: fn}
		err := other.Post((*crossRequest)(f))
		if err == nil {
			f.leave()
			err = f.remote.err
		}
		f.remote = crossing{}
		if err != ErrBusy {
			return err
		}
		f.Sleep(callRetryNs) // the other inbox or its fibers are at their bound
	}
}

// leave suspends f until comeBack. It counts as away: the reactor does not end before it is back.
func (f *Fiber) leave() {
	f.away = true
	f.r.away++
	f.suspend(fiberWaiting)
}

// crossRequest is a fiber on its way to another reactor.
type crossRequest Fiber

// Deliver runs on the other reactor.
func (c *crossRequest) Deliver(t *Turn) {
	f := (*Fiber)(c)
	if err := t.r.spawn("CallOn", (*crossTask)(f)); err != nil {
		c.Refuse(err)
	}
}

// Refuse sends the fiber home with the error.
func (c *crossRequest) Refuse(err error) {
	f := (*Fiber)(c)
	f.remote.err = err
	f.r.comeBack(f)
}

type crossTask Fiber

// Refuse sends the fiber home: the other reactor ended before the call began.
func (c *crossTask) Refuse(err error) { (*crossRequest)(c).Refuse(err) }

// Run runs on the other reactor, in its fiber f2.
func (c *crossTask) Run(f2 *Fiber) {
	f := (*Fiber)(c)
	f.remote.err = ErrStopped // unless fn returns
	defer f.r.comeBack(f)
	f.remote.fn(f2)
	f.remote.err = nil
}

// comeBack is called on any thread: f is its own reactor's again.
func (r *Reactor) comeBack(f *Fiber) {
	for {
		top := r.returned.Load()
		f.link = top
		if r.returned.CompareAndSwap(top, f) {
			break
		}
	}
	r.rouse()
}

// welcome wakes the fibers that have come back, in the order they came.
func (r *Reactor) welcome() (worked bool) {
	if r.returned.Load() == nil {
		return false
	}
	var inOrder *Fiber
	for f := r.returned.Swap(nil); f != nil; {
		next := f.link
		f.link, inOrder = inOrder, f
		f = next
	}
	for f := inOrder; f != nil; {
		next := f.link
		f.link, f.away = nil, false
		r.away--
		r.wake(f)
		f = next
	}
	return true
}

// Call runs fn in a fiber of the reactor and waits for it: for ordinary goroutines, never for code on a
// reactor's thread. ErrBusy: the inbox is full. ErrStopped: the reactor ended, and fn may have run in part.
func (r *Reactor) Call(fn func(f *Fiber) error) error {
	c := &call{fn: fn, done: make(chan error, 1)}
	if err := r.Post(c); err != nil {
		return err
	}
	return <-c.done
}

type call struct {
	fn   func(f *Fiber) error
	done chan error
}

// Deliver spawns the fiber.
func (c *call) Deliver(t *Turn) {
	if err := t.r.spawn("Call", c); err != nil {
		c.done <- err
	}
}

// Refuse tells the caller that the reactor has ended.
func (c *call) Refuse(err error) { c.done <- err }

// Run calls fn; a fiber that is killed meanwhile answers ErrStopped.
func (c *call) Run(f *Fiber) {
	err := ErrStopped
	defer func() { c.done <- err }()
	err = c.fn(f)
}
