package engine

// offload is a bounded pool of goroutines for what would block a reactor: files, DNS, forks. They are
// started as they are needed and end with the reactor.
type offload struct {
	jobs    chan *Fiber // capacity FibersMax: each fiber has one job at most, so sending never blocks
	started int         // goroutines
	busy    int         // jobs sent and not back
}

// Offload runs fn on another goroutine and suspends f meanwhile. fn touches nothing of the shard but what
// the caller hands it. Under the simulator, and in a deferred call while the reactor ends, it runs at once,
// in place.
func (r *Reactor) Offload(f *Fiber, fn func()) {
	if r.stepped || r.dead {
		fn()
		return
	}
	o := &r.offload
	if o.jobs == nil {
		o.jobs = make(chan *Fiber, r.cfg.FibersMax)
	}
	if o.busy >= o.started && o.started < r.cfg.OffloadMax {
		o.started++
		go serveOffload(o.jobs)
	}
	o.busy++
	f.remote = crossing{offload: fn}
	o.jobs <- f
	f.leave()
	f.remote = crossing{}
	o.busy--
}

func serveOffload(jobs chan *Fiber) {
	for f := range jobs {
		f.remote.offload()
		f.r.comeBack(f)
	}
}

func (o *offload) close() {
	if o.jobs != nil {
		close(o.jobs)
	}
}
