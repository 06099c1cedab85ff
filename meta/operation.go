package meta

import (
	"errors"

	"basalt/engine"
	"basalt/meta/record"
	"basalt/storage"
)

// errAnswered ends a transaction whose request was answered before: the reply is the remembered one.
var errAnswered = errors.New("meta: answered before")

// operation is one request on its way: pooled by the shard, owned by the fiber that runs it. Its decision (decide) is run by the store on one
// turn, perhaps several times: it starts from nothing each time, reads through get, changes through put and the like, and what it wants to change
// in the shard's memory it does at its very end (settle) or after the transaction was applied.
type operation struct {
	s      *Shard
	decide func(*operation) error
	apply  func(*storage.Tx) error // runs decide on a transaction; bound once, so that a request allocates no closure
	read   func(*storage.Tx) error

	sess   *Session // nil for the shard's own work
	reqid  uint64   // 0: nobody remembers the answer
	replay bool     // a request of an earlier life of this server
	q      *record.Request
	p      *record.Reply
	data   []byte // of a write
	dst    []byte // of a read
	nowNs  int64

	f      *engine.Fiber
	tx     transaction // only while decide runs
	err    error       // the first failed change
	again  bool        // one step is done: run decide once more
	inodes [inodesMax]node
	n      int

	ino        record.Ino // from memory, kept if decide runs again
	group      uint16     // in which a number is wanted
	willOpen   record.Ino // to be counted as open
	willOrphan record.Ino // to be marked: it goes when it is no longer open
	settled    bool
	counted    bool
	size       uint64 // of a read: the file's size and objects when it began
	stripes    uint32
	inline     bool
	frugal     bool   // the store is full: remove little at a time
	folded     bool   // the store was asked for a checkpoint
	pos        uint64 // where a job of several transactions is
	next       uint64 // where it will be if this step is applied

	key     [record.KeyMax]byte
	end     [record.KeyMax]byte
	name    [record.ObjectNameSize]byte
	val     [record.InodeSizeMax]byte
	block   [record.InlineMax]byte // inline bytes of a file on their way
	scratch [record.IdemSizeMax]byte
	answer  [record.IdemSizeMax]byte
	reqCopy record.Request // for the shard's own work
	repCopy record.Reply
}

// node is an inode that an operation looks at or changes: loaded once, written back once.
type node struct {
	record.Inode
	dirty bool
	gone  bool
}

func (s *Shard) take() *operation {
	if n := len(s.idle); n > 0 {
		o := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return o
	}
	o := &operation{s: s}
	o.apply = func(tx *storage.Tx) error { return o.run(tx) }
	o.read = func(tx *storage.Tx) error { return o.look(tx) }
	return o
}

func (s *Shard) give(o *operation) {
	o.sess, o.reqid, o.replay, o.q, o.p, o.data, o.dst, o.decide = nil, 0, false, nil, nil, nil, nil, nil
	o.ino, o.pos, o.next, o.again, o.tx, o.err, o.f = 0, 0, 0, false, nil, nil, nil
	o.willOpen, o.willOrphan, o.settled, o.counted, o.frugal, o.folded = 0, 0, false, false, false, false
	s.idle = append(s.idle, o)
}

// own prepares an operation of the shard itself.
func (s *Shard) own(decide func(*operation) error) *operation {
	o := s.take()
	o.decide, o.q, o.p = decide, &o.reqCopy, &o.repCopy
	*o.q = record.Request{}
	return o
}

// update runs the decision until it is applied, step by step if it has several.
func (o *operation) update(f *engine.Fiber) (storage.Seq, error) {
	o.f = f
	for {
		seq, err := o.s.store.Update(f, o)
		o.tx = nil
		if err != nil {
			o.unsettle()
		}
		if err == errNoNumbers {
			if err = o.s.reserveNow(f, o.group); err == nil {
				continue
			}
		}
		if errors.Is(err, storage.ErrFull) && o.mayFit(f) {
			continue
		}
		if err != nil {
			return 0, err
		}
		o.settled, o.pos = false, o.next
		if o.willOrphan != 0 && o.s.opens.total(o.willOrphan) == 0 {
			o.s.reap(f.Turn(), o.willOrphan)
		}
		if !o.again {
			return seq, nil
		}
		f.Yield()
	}
}

// mayFit tells whether it is worth another try on a full store: in smaller steps, and then after what is on its way to be free is free. Who has
// removed a large file and is told that there is no space would not understand.
func (o *operation) mayFit(f *engine.Fiber) bool {
	switch {
	case !o.frugal && o.removes():
		o.frugal = true
		return true
	case o.sess == nil:
		return false
	case o.q.Op == record.OpFallocate && !o.folded: // its decision goes by an estimate, which is exact when nothing waits to be folded
		o.folded = true
		return o.s.store.Checkpoint(f) == nil
	}
	return o.s.awaitReaper(f)
}

// removes tells the operations that may remove many objects.
func (o *operation) removes() bool {
	switch o.q.Op {
	case record.OpUnlink, record.OpRename, record.OpSetAttr, record.OpFallocate, record.OpOpen, record.OpCreate:
		return true
	}
	return o.q.Op == 0 // the shard's own work
}

// view runs a decision that only reads.
func (o *operation) view(f *engine.Fiber) error {
	err := o.s.store.View(f, o)
	o.tx = nil
	if err != nil {
		o.unsettle()
	}
	o.settled = false
	return err
}

// run is one attempt at a transaction.
func (o *operation) run(tx transaction) error {
	o.start(tx)
	if err := o.recall(); err != nil {
		return err
	}
	if err := o.decide(o); err != nil {
		return err
	}
	o.flush()
	if !o.again {
		o.remember()
	}
	if o.err == nil {
		o.settle()
	}
	return o.err
}

// look is one attempt at a decision that changes nothing.
func (o *operation) look(tx transaction) error {
	o.start(tx)
	if err := o.decide(o); err != nil {
		return err
	}
	o.settle()
	return nil
}

func (o *operation) start(tx transaction) {
	o.unsettle()
	o.tx, o.err, o.n, o.again = tx, nil, 0, false
	*o.p = record.Reply{Value: o.p.Value[:0]}
}

// settle makes the changes of memory that must not be seen without those of the store, in the same turn. What they are, decide has put into
// willOpen and willOrphan.
func (o *operation) settle() {
	if o.willOpen != 0 {
		o.counted = o.countOpen(o.willOpen)
	}
	if o.willOrphan != 0 {
		o.s.opens.mark(o.willOrphan, true)
	}
	o.settled = true
}

// unsettle takes them back: the transaction was not applied, or is tried again.
func (o *operation) unsettle() {
	if o.settled && o.counted {
		o.s.opens.add(o.sess.mount, o.willOpen, -1)
		o.sess.forget(o.reqid)
	}
	if o.settled && o.willOrphan != 0 {
		o.s.opens.mark(o.willOrphan, false)
	}
	o.willOpen, o.willOrphan, o.settled, o.counted = 0, 0, false, false
}

// countOpen counts an open of the operation's mount, unless it is the repetition of a request that has been counted.
func (o *operation) countOpen(ino record.Ino) bool {
	if o.sess == nil || o.replay || !o.sess.first(o.reqid) {
		return false
	}
	o.s.opens.add(o.sess.mount, ino, 1)
	return true
}

// recall looks for the remembered answer of this very request.
func (o *operation) recall() error {
	if o.reqid == 0 {
		return nil
	}
	val, err := o.get(record.ShardGroup, record.AppendIdemKey(o.key[:0], o.sess.id, o.reqid))
	if err != nil {
		if err == record.NotFound {
			return nil
		}
		return err
	}
	var i record.Idem
	if err := i.Decode(val); err != nil {
		return err
	}
	switch {
	case i.Request == o.reqid:
		if err := o.p.Decode(i.Reply); err != nil {
			return err
		}
		return errAnswered
	case i.Request < o.reqid:
		return nil
	case o.replay: // the slot's next use: that one was answered later, so this one is applied too
		return errAnswered
	}
	return record.Stale // a straggler that its client has had an answer to, or has given up: its time to change anything is over
}

// remember keeps the answer in the transaction that it answers.
func (o *operation) remember() {
	if o.reqid == 0 {
		return
	}
	i := record.Idem{Request: o.reqid, Reply: o.p.Append(o.answer[:0])}
	o.put(record.ShardGroup, record.AppendIdemKey(o.key[:0], o.sess.id, o.reqid), i.Append(o.scratch[:0]))
}
