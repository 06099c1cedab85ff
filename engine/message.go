package engine

// What the reactor calls, as interfaces: pooled structs implement them, so that nothing is allocated per
// request. All methods run on the reactor's thread.

// ShardID is the number of a shard, and so of its reactor.
type ShardID uint16

// OpID names an operation in flight; 0 is none. It is never reused within 2³² operations of its slot.
type OpID uint64

// TimerID names a running timer; 0 is none.
type TimerID uint64

// Message crosses threads by Post. Deliver does not suspend.
type Message interface{ Deliver(t *Turn) }

// Refuser is a Message, or a Task, that wants to know when it was accepted but the reactor stopped before
// it was delivered, or begun. Refuse runs on the reactor's thread, after its last turn.
type Refuser interface{ Refuse(err error) }

// Task is what a fiber runs.
type Task interface{ Run(f *Fiber) }

// Completer learns the result of an operation: a byte count or -errno. It is called once, and for
// multishot operations once for every completion: flags&uring.CQEFMore says that more follow.
type Completer interface {
	Complete(t *Turn, res int32, flags uint32)
}

// Timer is called once, when its time has come.
type Timer interface{ Fire(t *Turn) }

// MessageFunc is a Message made of a function: for control paths, it allocates.
type MessageFunc func(t *Turn)

// Deliver calls m.
func (m MessageFunc) Deliver(t *Turn) { m(t) }

// TimerFunc is a Timer made of a function.
type TimerFunc func(t *Turn)

// Fire calls m.
func (m TimerFunc) Fire(t *Turn) { m(t) }

// CompleterFunc is a Completer made of a function.
type CompleterFunc func(t *Turn, res int32, flags uint32)

// Complete calls c.
func (c CompleterFunc) Complete(t *Turn, res int32, flags uint32) { c(t, res, flags) }

type taskFunc func(f *Fiber)

func (fn taskFunc) Run(f *Fiber) { fn(f) }
