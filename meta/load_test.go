package meta

import (
	"fmt"
	"math/rand/v2"

	"basalt/engine"
	"basalt/meta/record"
)

// load makes requests at random: on names and inodes that there are, were, or never will be. Every success that changed something is a deed.
type load struct {
	rng    *rand.Rand
	s      *Shard
	sess   *Session
	stripe int
	clock  int64
	dirs   []record.Ino
	files  []record.Ino
	opens  []record.Ino
	deeds  []deed
	count  map[record.Status]int
	most   int // bytes of one write
	bad    error

	// serve answers a request and tells the number of its transaction; by default the local mount does.
	serve func(f *engine.Fiber, q *record.Request, data []byte, p *record.Reply) uint64
}

func newLoad(rng *rand.Rand, stripe int) *load {
	l := &load{rng: rng, stripe: stripe, clock: 1e9, dirs: []record.Ino{root}, count: map[record.Status]int{}, most: stripe}
	l.serve = func(f *engine.Fiber, q *record.Request, data []byte, p *record.Reply) uint64 {
		return l.s.do(f, l.sess, 0, q, data, p, make([]byte, q.Count))
	}
	return l
}

// attach binds the load to a shard: what was open is not any more.
func (l *load) attach(s *Shard, sess *Session) { l.s, l.sess, l.opens = s, sess, nil }

func (l *load) pick(list []record.Ino) record.Ino {
	if len(list) == 0 {
		return record.MakeIno(1, 12345)
	}
	return list[max(l.rng.IntN(len(list)), l.rng.IntN(len(list)))]
}

func (l *load) name() []byte { return fmt.Appendf(nil, "n%d", l.rng.IntN(12)) }

// step makes one request.
func (l *load) step(f *engine.Fiber) {
	q, data := l.request()
	l.do(f, q, data)
}

// do serves one request and notes what came of it.
func (l *load) do(f *engine.Fiber, q record.Request, data []byte) record.Reply {
	l.clock += 1000
	q.NowNs = l.clock
	var p record.Reply
	txn := l.serve(f, &q, data, &p)
	l.count[p.Status]++
	switch p.Status {
	case record.IO, record.Corrupt, record.Busy, record.Stale:
		if l.bad == nil {
			l.bad = fmt.Errorf("%v: %v", q.Op, p.Status)
		}
	}
	if p.Status != record.OK {
		return p
	}
	switch q.Op {
	case record.OpCreate, record.OpMknod, record.OpMkdir, record.OpSymlink:
		l.made(&q, &p)
	case record.OpOpen:
		l.opens = append(l.opens, q.Ino)
	}
	if txn != 0 && q.Mutates() {
		l.deeds = append(l.deeds, deed{txn, q, data})
	}
	return p
}

func (l *load) made(q *record.Request, p *record.Reply) {
	ino := p.Attr.Ino
	if p.Flags&record.ReplyCreated != 0 {
		q.WantIno = ino
	}
	switch {
	case q.Op == record.OpMkdir:
		l.dirs = append(l.dirs, ino)
	case q.Op == record.OpCreate && q.Flags&record.FlagNoOpen == 0:
		l.opens = append(l.opens, ino)
	}
	if q.Op != record.OpMkdir {
		l.files = append(l.files, ino)
	}
}

// request draws one.
func (l *load) request() (record.Request, []byte) {
	r := l.rng
	q := record.Request{Dir: l.pick(l.dirs), Name: l.name(), UID: 1, GID: 2, Mode: 0o644}
	switch k := r.IntN(100); {
	case k < 22:
		q.Op, q.Flags = record.OpCreate, []uint32{0, record.FlagExcl, record.FlagNoOpen, record.FlagTrunc}[r.IntN(4)]
	case k < 28:
		q.Op, q.Mode = record.OpMkdir, 0o755
	case k < 30:
		q.Op, q.Value = record.OpSymlink, make([]byte, 1+r.IntN(3000))
		for i := range q.Value {
			q.Value[i] = 'x'
		}
	case k < 31:
		q.Op, q.Mode = record.OpMknod, record.ModeFifo|0o600
	case k < 34:
		q.Op, q.Ino = record.OpLink, l.pick(l.files)
	case k < 42:
		q.Op = record.OpUnlink
	case k < 45:
		q.Op = record.OpRmdir
	case k < 55:
		q.Op, q.NewDir, q.NewName = record.OpRename, l.pick(l.dirs), l.name()
		q.Flags = []uint32{0, 0, 0, record.FlagNoReplace, record.FlagExchange}[r.IntN(5)]
	case k < 80:
		return l.dataRequest(k)
	case k < 84:
		q = record.Request{Op: record.OpSetXattr, Ino: l.pick(l.files), Name: append([]byte("user."), l.name()...), Value: make([]byte, r.IntN(2000))}
	case k < 85:
		q = record.Request{Op: record.OpRemoveXattr, Ino: l.pick(l.files), Name: append([]byte("user."), l.name()...)}
	case k < 88:
		q = record.Request{Op: record.OpSetAttr, Ino: l.pick(l.files), Valid: record.SetMode | record.SetMtime, Mode: 0o600, Mtime: l.clock}
	case k < 91:
		return record.Request{Op: record.OpOpen, Ino: l.pick(l.files)}, nil
	case k < 95 && len(l.opens) > 0:
		i := r.IntN(len(l.opens))
		q = record.Request{Op: record.OpRelease, Ino: l.opens[i]}
		l.opens = append(l.opens[:i], l.opens[i+1:]...)
	case k < 97:
		return record.Request{Op: record.OpRead, Ino: l.pick(l.files), Off: uint64(r.IntN(2 * l.stripe)), Count: uint32(r.IntN(l.stripe))}, nil
	default:
		return record.Request{Op: record.OpFsync, Ino: l.pick(l.files)}, nil
	}
	return q, nil
}

func (l *load) dataRequest(k int) (record.Request, []byte) {
	r := l.rng
	ino := l.pick(l.files)
	off := []int{0, 0, r.IntN(5000), 4096, l.stripe - 100, r.IntN(4 * l.stripe)}[r.IntN(6)]
	switch {
	case k < 70:
		n := []int{1 + r.IntN(200), 1 + r.IntN(4096), 4096, 1 + r.IntN(l.most)}[r.IntN(4)]
		q := record.Request{Op: record.OpWrite, Ino: ino, Off: uint64(off)}
		if r.IntN(3) == 0 {
			q.Flags = record.FlagAppend
		}
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		return q, data
	case k < 76:
		return truncate(ino, uint64([]int{0, off, r.IntN(6000)}[r.IntN(3)])), nil
	}
	flags := []uint32{0, record.FlagPunchHole | record.FlagKeepSize, record.FlagZeroRange}[r.IntN(3)]
	return fallocate(ino, uint64(off), 1+uint64(r.IntN(3*l.stripe)), flags), nil
}
